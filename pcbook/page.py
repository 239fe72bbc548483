"""How figures reach the reader: HTML that the built book draws, or widgets when a kernel is at hand.

The build sets PCBOOK_STATIC=1 and gets HTML; JupyterLab, VS Code and plain Python do not, and get widgets.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import anywidget
import ipywidgets
import numpy as np
from IPython.display import Markdown, display
from markdown_it import MarkdownIt
from plotly.graph_objects import Figure, FigureWidget
from tqdm.notebook import tqdm

HEIGHT = 380  # pixels, unless a figure sets its own
PLACE = 0xE000  # private characters stand in for mathematics while Markdown is read
CODES = {"f": "f4", "i": "i4", "u": "u4"}  # numpy kind -> the four-byte type that the page receives

Panel: TypeAlias = Figure  # the page shows one or more side by side
Item = TypeVar("Item")


class Fit(anywidget.AnyWidget):
    """Invisible: keeps live figures as wide as their place; plotly by itself looks only when the window changes."""

    _esm = """
    if (!window.pcbookFit) {
      const changed = () => requestAnimationFrame(() => window.dispatchEvent(new Event("resize")));
      window.pcbookFit = new ResizeObserver(changed);
      document.querySelectorAll(".js-plotly-plot").forEach((plot) => window.pcbookFit.observe(plot));
      document.addEventListener("plotlywidget-after-render", ({ detail }) => window.pcbookFit.observe(detail.element));
    }
    export default { render() {} };
    """


def is_static() -> bool:
    """Whether the book is being built, so that no kernel will be there to answer."""
    return os.environ.get("PCBOOK_STATIC") == "1"


def check_words(panels: Sequence[Panel], caption: str, alt: str) -> None:
    """`ValueError` unless there is a caption, and an alt text that says more than any panel's title."""
    if not panels:
        raise ValueError("panels = (): must hold at least one figure")
    for name, text in {"caption": caption, "alt": alt}.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{name} = {text!r}: must be a sentence that states what the figure shows")
    title = max((panel.layout.title.text or "" for panel in panels), key=len)
    if len(alt) <= len(title):
        raise ValueError(f"alt = {alt!r}: must say more than the title {title!r}")


def encode(value: Any) -> Any:
    """A figure (or any part of one) as JSON-ready data without template; arrays in plotly's base64 form, float32."""
    if isinstance(value, Figure):
        parts = {"data": list(value.data), "layout": value.layout.to_plotly_json() | {"template": None}}
        return encode(parts)
    if isinstance(value, dict):
        encoded = {key: encode(item) for key, item in value.items() if key != "uid"}
        return {key: item for key, item in encoded.items() if item is not None}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if hasattr(value, "to_plotly_json"):
        return encode(value.to_plotly_json())
    if isinstance(value, np.ndarray) and value.dtype.kind in CODES and value.size:
        code = CODES[value.dtype.kind]
        packed = {"dtype": code, "bdata": base64.b64encode(value.astype(f"<{code}").tobytes()).decode()}
        return packed | ({"shape": ", ".join(map(str, value.shape))} if value.ndim > 1 else {})
    if isinstance(value, np.ndarray | np.generic):
        return encode(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def decode(value: Any) -> Any:
    """The inverse of `encode`, up to float32: the same data with numpy arrays in place of base64."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=f"<{value['dtype']}")
        return array.reshape([int(n) for n in value["shape"].split(",")]) if "shape" in value else array
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    return [decode(item) for item in value] if isinstance(value, list) else value


def to_html(panels: Sequence[Panel], payload: Mapping[str, Any], caption: str, alt: str, controls: str = "") -> str:
    """The book's HTML for `panels`: `controls` above them, and `payload` for book/_static/pcbook.js to draw."""
    check_words(panels, caption, alt)
    data = json.dumps(payload, separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("</", "<\\/")
    boxes = "".join(
        f'<div class="pc-panel" style="height:{panel.layout.height or HEIGHT}px"></div>' for panel in panels
    )
    alt = html.escape(alt)
    return (
        f'<figure class="pc-figure"><div class="pc-explorer">'
        f"<noscript>{alt} (This figure needs JavaScript.)</noscript>{controls}"
        f'<div class="pc-panels" role="group" aria-label="{alt}">{boxes}</div>'
        f'<script type="application/json">{data}</script></div>'
        f"<figcaption>{markup(caption)}</figcaption></figure>"
    )


def to_widget(
    panels: Sequence[Panel], caption: str, alt: str, above: Iterable[ipywidgets.Widget] = ()
) -> ipywidgets.VBox:
    """The same under a kernel: a VBox of the widgets `above`, live panels that wrap, and the caption.

    The box has the attribute `.panels`, a list of `FigureWidget`.
    """
    check_words(panels, caption, alt)
    live = [FigureWidget(panel) for panel in panels]
    place = {"flex": "1 1 320px", "min_width": "0", "display": "block"}
    for panel in live:
        panel._config = {"responsive": True, "displaylogo": False}
        panel.layout.update(height=panel.layout.height or HEIGHT, autosize=True, uirevision="keep")
    boxes = ipywidgets.Box([ipywidgets.Box([panel], layout=place) for panel in live], layout={"flex_flow": "row wrap"})
    hidden = f'<span style="position:absolute;clip-path:inset(50%)">{html.escape(alt)}</span>'
    words = ipywidgets.HTML(f"<p>{markup(caption)}{hidden}</p>")
    body = ipywidgets.VBox([Fit(), *above, boxes, words])
    body.panels = live
    return body


def replace(panel: FigureWidget, figure: Panel) -> None:
    """Make the live `panel` show `figure`, which has the same traces, in one message to the browser."""
    with panel.batch_update():
        for old, new in zip(panel.data, figure.data, strict=True):
            old.update(_difference(old, new), overwrite=True)
        panel.layout.update(_difference(panel.layout, figure.layout), overwrite=True)


def show(*panels: Panel, caption: str, alt: str) -> None:
    """Display one or more plotly figures side by side (in a column on a phone).

    `caption` states the finding in a sentence or two and may hold inline Markdown; `alt` says the same to
    those who cannot see the figure. Write symbols in Unicode (γ, ℱ*), not TeX. Raises `ValueError` when
    either is missing or `alt` says no more than a title.
    """
    if is_static():
        body = {"text/html": to_html(panels, {"panels": encode(list(panels))}, caption, alt), "text/plain": alt}
        display(body, raw=True)
    else:
        display(to_widget(panels, caption, alt))


def say(text: str, fold: str | None = None) -> None:
    """Display a computed sentence in Markdown; under the title `fold`, which the reader opens, if one is given."""
    if fold is None:
        display(Markdown(text))
    elif is_static():
        display(Markdown(f"::::{{admonition}} {fold}\n:class: dropdown\n\n{text}\n::::"))
    else:  # as HTML: JupyterLab does not typeset what Markdown holds inside of HTML
        body = f"<details><summary{marker()}>{markup(fold)}</summary>{markup(text, block=True)}</details>"
        display({"text/html": body, "text/plain": text}, raw=True)


def progress(items: Iterable[Item]) -> Iterable[Item]:
    """`items` one by one: for a loop of more than some seconds. Under a kernel a bar says how far it is, then goes."""
    return items if is_static() else tqdm(items, leave=False)


def marker() -> str:
    """What gives a `<summary>` its triangle back, which JupyterLab takes away; nothing in the built book."""
    return "" if is_static() else ' style="list-style:revert;cursor:pointer"'


def markup(text: str, block: bool = False) -> str:
    """Markdown as HTML; $mathematics$ as the built book marks it for MathJax, or left for the live page to typeset."""
    parser = MarkdownIt().enable("table")
    formulas = re.findall(r"\$[^$]+\$", text)
    for i, formula in enumerate(formulas):
        text = text.replace(formula, chr(PLACE + i), 1)
    result = (parser.render if block else parser.renderInline)(text)
    for i, formula in enumerate(map(html.escape, formulas)):
        static = f'<span class="math notranslate nohighlight">\\({formula[1:-1]}\\)</span>'
        result = result.replace(chr(PLACE + i), static if is_static() else formula)
    return result


def link(text: str, chapter: str, label: str) -> str:
    """Markdown that links to a labelled place: in the book to the place, under a kernel to the page's file."""
    return f"[{text}](#{label})" if is_static() else f"[{text}]({chapter if '.' in chapter else chapter + '.ipynb'})"


def _difference(old: Any, new: Any) -> dict[str, Any]:
    """What turns the properties `old` into `new`: values that are new, and `None` for those that are gone."""
    kept = {"uid", "type", "template", "height", "autosize", "uirevision"}
    old, new = old.to_plotly_json(), new.to_plotly_json()
    changed = (key for key in old.keys() | new.keys() if key not in kept and not _same(old.get(key), new.get(key)))
    return {key: new.get(key) for key in changed}  # plotly checks what it is given, at length


def _same(a: Any, b: Any) -> bool:
    """Whether two properties are equal all the way down; arrays of numbers, NaN or not, and of anything else."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)
