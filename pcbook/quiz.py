"""Questions that answer without a kernel and without a script: each option opens and says why it is right or wrong."""

import html
import re

from IPython.display import display
from markdown_it import MarkdownIt

from pcbook.page import is_static

PLACE = 0xE000  # private characters stand in for mathematics while Markdown is read


def quiz(question, options):
    """Display `question` with `options`: what the reader may choose → what is then said.

    What is said begins with "Yes" for the one right option and with "No" for the others. All texts may hold inline
    Markdown and $mathematics$. Raises `ValueError` for fewer than two options, or without exactly one "Yes".
    """
    verdicts = [re.match(r"(Yes|No)\b", says) for says in options.values()]
    if len(options) < 2 or not all(verdicts) or sum(v[1] == "Yes" for v in verdicts) != 1:
        raise ValueError(f"options = {options!r}: must be two or more, one answered with Yes and the others with No")
    body = to_html(question, options)
    kind = "text/html" if is_static() else "text/markdown"  # JupyterLab typesets what is inside
    display({kind: body, "text/plain": question}, raw=True)


def to_html(question, options):
    """The question as a fieldset, with one `<details>` an option."""
    items = "".join(
        f'<details class="pc-{says.split(None, 1)[0].strip(":.,").lower()}"><summary>{inline(text)}</summary>'
        f"<p>{inline(says)}</p></details>"
        for text, says in options.items()
    )
    return f'<fieldset class="pc-quiz"><legend>{inline(question)}</legend>{items}</fieldset>'


def inline(text):
    """Inline Markdown as HTML; mathematics as the built book marks it for MathJax, or left to the live page."""
    formulas = re.findall(r"\$([^$]+)\$", text)
    for i, formula in enumerate(formulas):
        text = text.replace(f"${formula}$", chr(PLACE + i), 1)
    result = MarkdownIt().renderInline(text)
    for i, formula in enumerate(map(html.escape, formulas)):
        static = f'<span class="math notranslate nohighlight">\\({formula}\\)</span>'
        result = result.replace(chr(PLACE + i), static if is_static() else f"${formula}$")
    return result
