"""`jupyter lab book` opens the book's first page. Jupyter's server loads this where the book is installed: lab.json."""

import os
from pathlib import Path
from typing import Any

BOOK = Path(__file__).parent.parent / "book"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Let JupyterLab begin with the first page if it serves the book, unless somebody has chosen another beginning.

    Kernels inherit this environment. Where other programs are busy, OpenMP's threads, which wait for one another by
    spinning, made a cell of the book sixty times slower; these sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if Path(server.root_dir).resolve() == BOOK.resolve() and server.default_url == f"{server.base_url}lab":
        server.default_url += "/tree/index.ipynb"
