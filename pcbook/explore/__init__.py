"""The explorable figures of each chapter: `explore/landscape.py` belongs to `book/landscape.ipynb`, and so on.

An explorer shows itself as the last line of a cell, with live sliders under a kernel and as frames in the book.
"""

from pcbook.explore.precision_ratio import gamma_explorer

__all__ = ["gamma_explorer"]
