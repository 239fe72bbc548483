"""One explorable figure, two bodies: live widgets under a kernel, precomputed frames in the built book.

`explore(draw, *controls, caption=…, alt=…)` takes a function from parameter values to figures. With a
kernel, sliders run over a continuous range and every move calls `draw`. In the book, `draw` has been
called once for every combination of the controls' `values`, and a native `<input type="range">` picks
the frame. Each frame is stored as its difference from the opening frame.
"""

import functools
import html
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets

from pcbook import page
from pcbook.controls import Choice, Control, Slider
from pcbook.page import Panel

__all__ = ["Choice", "Explorer", "Slider", "explore"]

Draw = Callable[..., Panel | Sequence[Panel]]  # from a value of each control, by name

MAX_FRAMES = 400  # more would make a page slow to open


@dataclass(frozen=True)
class Explorer:
    """`draw(**values) -> Figure | list[Figure]`, its controls, and the words around it; Jupyter displays it.

    `draw` returns the same number of panels, and in each the same traces, for all values. Values that its
    control does not allow raise `ValueError`; under a kernel the reader sees that as a sentence.
    """

    draw: Draw
    controls: tuple[Control, ...]
    caption: str
    alt: str

    def __post_init__(self) -> None:
        names = [control.name for control in self.controls]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"controls are named {names}: must be one or more different names")
        count = math.prod(len(control.values) for control in self.controls if not control.live)
        if count > MAX_FRAMES:
            raise ValueError(f"controls span {count} frames: must be at most {MAX_FRAMES}")
        object.__setattr__(self, "draw", _checked(self.draw, {control.name: control for control in self.controls}))

    @property
    def start(self) -> dict[str, float | str]:
        return {control.name: control.start for control in self.controls}

    def figures(self, **values: Any) -> list[Panel]:
        """The panels for these values, always a list."""
        return _listed(self.draw(**values))

    def payload(self) -> dict[str, Any]:
        """What the book stores: the opening panels, every frame's difference from them, and their arrays once each."""
        pool: dict[str, int] = {}  # base64 string -> its number
        panels = page.encode(self.figures(**self.start))
        drawn = [figures for _, figures in frames(self.draw, *self.controls)]
        if any(_structure(figures) != _structure(panels) for figures in drawn):
            raise ValueError("draw: must return the same panels and traces for all values")
        return {
            "panels": _pooled(panels, pool),
            "frames": [_pooled(difference(panels, figures), pool) for figures in drawn],
            "texts": [c.texts() for c in self.controls if not c.live],
            "pool": list(pool),
        }

    def html(self) -> str:
        controls = "".join(control.html() for control in self.controls if not control.live)
        controls = f'<div class="pc-controls">{controls}</div>'
        return page.to_html(self.figures(**self.start), self.payload(), self.caption, self.alt, controls)

    def widget(self) -> ipywidgets.VBox:
        """A VBox with attributes `.controls` (name -> ipywidget), `.panels` and `.alert`."""
        controls = {control.name: control.widget() for control in self.controls}
        alert = ipywidgets.HTML()
        body = page.to_widget(self.figures(**self.start), self.caption, self.alt, [*controls.values(), alert])

        def update(_change: object) -> None:
            try:
                figures = self.figures(**{name: control.value for name, control in controls.items()})
                alert.value = ""
            except ValueError as error:
                alert.value = f'<p role="alert">{html.escape(str(error))}</p>'
                return
            for panel, figure in zip(body.panels, figures, strict=True):
                page.replace(panel, figure)

        for control in controls.values():
            control.observe(update, "value")
        body.controls, body.alert = controls, alert
        return body

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        if page.is_static():
            return {"text/html": self.html(), "text/plain": self.alt}
        return self.widget()._repr_mimebundle_(**options)


def explore(draw: Draw, *controls: Control, caption: str, alt: str) -> Explorer:
    """The `Explorer` of `draw`; as the last line of a cell, it shows itself."""
    return Explorer(draw, controls, caption, alt)


def frames(draw: Draw, *controls: Control) -> list[tuple[dict[str, Any], list[Any]]]:
    """`[(values, [encoded figure, …]), …]` for every combination of the controls' values, the last one fastest.

    Live controls stay at their start.
    """
    grid = itertools.product(*((control.start,) if control.live else control.values for control in controls))
    named = (dict(zip((control.name for control in controls), values, strict=True)) for values in grid)
    return [(values, page.encode(_listed(draw(**values)))) for values in named]


def shown(payload: Mapping[str, Any], index: int) -> list[Any]:
    """What the page draws for frame `index` of a payload: the panels, with numpy arrays."""
    return page.decode(_unpooled(merge(payload["panels"], payload["frames"][index]), payload["pool"]))


def difference(old: Any, new: Any) -> Any:
    """The merge patch (RFC 7386) from `old` to `new`; lists of objects are compared place by place."""
    if _both(dict, old, new):
        changed = {key for key in new if key not in old or old[key] != new[key]}
        gone = dict.fromkeys(old.keys() - new.keys())
        return gone | {key: difference(old.get(key), new[key]) for key in new if key in changed}
    if _both(list, old, new) and len(old) == len(new) and all(isinstance(item, dict) for item in (*old, *new)):
        return {str(i): difference(*pair) for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]}
    return new


def merge(old: Any, patch: Any) -> Any:
    """The inverse of `difference`, as the page does it."""
    if not isinstance(patch, dict) or not isinstance(old, dict | list) or (isinstance(old, list) and "dtype" in patch):
        return patch
    if isinstance(old, list):
        return [merge(item, patch[str(i)]) if str(i) in patch else item for i, item in enumerate(old)]
    merged = old | {key: merge(old.get(key), value) for key, value in patch.items()}
    return {key: value for key, value in merged.items() if value is not None}


def _checked(draw: Draw, controls: Mapping[str, Control]) -> Draw:
    @functools.wraps(draw)
    def checked(**values: Any) -> Any:
        for name, value in values.items():
            if name not in controls:
                raise ValueError(f"{name} = {value!r}: must be one of the controls {', '.join(controls)}")
            controls[name].check(value)
        return draw(**values)

    return checked


def _listed(drawn: Any) -> list[Panel]:
    return list(drawn) if isinstance(drawn, list | tuple) else [drawn]


def _both(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _structure(panels: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [[trace["type"] for trace in panel["data"]] for panel in panels]


def _pooled(value: Any, pool: dict[str, int]) -> Any:
    """`value` with each base64 string replaced by its number in `pool` (string -> number)."""
    if isinstance(value, dict):
        return {k: pool.setdefault(v, len(pool)) if k == "bdata" else _pooled(v, pool) for k, v in value.items()}
    return [_pooled(item, pool) for item in value] if isinstance(value, list) else value


def _unpooled(value: Any, pool: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {k: pool[v] if k == "bdata" else _unpooled(v, pool) for k, v in value.items()}
    return [_unpooled(item, pool) for item in value] if isinstance(value, list) else value
