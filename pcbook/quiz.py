"""Questions that answer without a kernel and without a script: each option opens and says why it is right or wrong."""

import re
from collections.abc import Mapping

from IPython.display import display

from pcbook.page import marker, markup


def quiz(question: str, options: Mapping[str, str]) -> None:
    """Display `question` with `options`: what the reader may choose → what is then said.

    What is said begins with "Yes" for the one right option and with "No" for the others. All texts may hold inline
    Markdown and $mathematics$. Raises `ValueError` for fewer than two options, or without exactly one "Yes".
    """
    verdicts = [found[1] for says in options.values() if (found := re.match(r"(Yes|No)\b", says))]
    if len(options) < 2 or len(verdicts) < len(options) or verdicts.count("Yes") != 1:
        raise ValueError(f"options = {options!r}: must be two or more, one answered with Yes and the others with No")
    display({"text/html": to_html(question, options), "text/plain": question}, raw=True)


def to_html(question: str, options: Mapping[str, str]) -> str:
    """The question as a fieldset, with one `<details>` an option."""
    items = "".join(
        f'<details class="pc-{says.split(None, 1)[0].strip(":.,").lower()}"><summary{marker()}>{markup(text)}</summary>'
        f"<p>{markup(says)}</p></details>"
        for text, says in options.items()
    )
    return f'<fieldset class="pc-quiz"><legend>{markup(question)}</legend>{items}</fieldset>'
