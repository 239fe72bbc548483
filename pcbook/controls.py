"""The reader's hands on an explorable figure: sliders and choices, as native HTML inputs and as widgets."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import ipywidgets
import numpy as np
from numpy.typing import ArrayLike


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(-math.inf < value < math.inf)


@dataclass(frozen=True, init=False)
class Slider:
    """A number: in the book one of `values`, under a kernel anything from `low` to `high`, on a log scale if `log`.

    Whole `values` make a slider over whole numbers. `start` (one of `values`) defaults to the middle one, `low`
    and `high` to the ends. A `live` one is there under a kernel only; the book keeps it at `start`. Raises
    `ValueError` for values that are not finite, not increasing, or not positive when `log`.
    """

    name: str
    label: str
    values: tuple[float, ...]
    start: float
    log: bool
    low: float
    high: float
    live: bool

    def __init__(
        self,
        name: str,
        label: str,
        values: ArrayLike,
        start: float | None = None,
        log: bool = False,
        low: float | None = None,
        high: float | None = None,
        live: bool = False,
    ) -> None:
        numbers = tuple(np.ravel(values).tolist())
        if len(numbers) < 2 or not all(map(_is_number, numbers)) or list(numbers) != sorted(set(numbers)):
            raise ValueError(f"values of {name!r} = {numbers}: must be two or more increasing finite numbers")
        low = numbers[0] if low is None else low
        high = numbers[-1] if high is None else high
        if not (_is_number(low) and _is_number(high) and low <= numbers[0] and numbers[-1] <= high):
            raise ValueError(f"low, high of {name!r} = {low}, {high}: must be finite and enclose the values")
        if log and low <= 0:
            raise ValueError(f"low of {name!r} = {low}: must be > 0 on a log scale")
        start = _nearest(name, numbers, numbers[len(numbers) // 2] if start is None else start)
        own = {"name": name, "label": label, "values": numbers, "start": start, "log": log, "low": low, "high": high}
        for field, value in (own | {"live": live}).items():
            object.__setattr__(self, field, value)

    @property
    def whole(self) -> bool:
        return all(isinstance(v, int) for v in (*self.values, self.low, self.high))

    def check(self, value: object) -> None:
        """`ValueError` unless `value` is one number, whole for a whole slider, from `low` to `high`."""
        slack = 1e-9 * (abs(self.low) + abs(self.high))  # a log slider's ends are powers of ten, rounded
        if not (
            _is_number(value)
            and self.low - slack <= value <= self.high + slack
            and (not self.whole or value == int(value))
        ):
            kind = "whole number" if self.whole else "number"
            raise ValueError(f"{self.name} = {value!r}: must be a {kind} from {self.low:g} to {self.high:g}")

    def text(self, value: float) -> str:
        """What the reader sees and hears: "γ = 0.32"."""
        return f"{self.label} = {float(f'{value:.3g}'):g}".replace("-", "−")

    def texts(self) -> list[str]:
        """The same for each of `values`."""
        return [self.text(value) for value in self.values]

    def html(self) -> str:
        start, text = self.values.index(self.start), html.escape(self.text(self.start))
        return (
            f'<label class="pc-control"><output aria-live="off">{text}</output><input type="range" min="0" '
            f'max="{len(self.values) - 1}" step="1" value="{start}" aria-label="{html.escape(self.label)}" '
            f'aria-valuetext="{text}" autocomplete="off"></label>'
        )

    def widget(self) -> ipywidgets.Widget:
        style = {"description": self.label, "value": self.start, "continuous_update": True}
        style |= {"style": {"description_width": "initial"}, "layout": {"width": "auto", "max_width": "520px"}}
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            step = (high - low) / 200
            return ipywidgets.FloatLogSlider(min=low, max=high, step=step, readout_format=".3g", **style)
        if self.whole:
            return ipywidgets.IntSlider(min=self.low, max=self.high, **style)
        step = (self.high - self.low) / 200
        return ipywidgets.FloatSlider(min=self.low, max=self.high, step=step, readout_format=".3g", **style)


def _nearest(name: str, values: Sequence[float], start: object) -> float:
    if _is_number(start):
        nearest = min(values, key=lambda v: abs(v - start))
        if math.isclose(nearest, start, rel_tol=1e-9, abs_tol=1e-12):
            return nearest
    raise ValueError(f"start of {name!r} = {start!r}: must be one of {values}")


@dataclass(frozen=True, init=False)
class Choice:
    """One of several named `values` (strings); `start` defaults to the first. `live` as for a `Slider`."""

    name: str
    label: str
    values: tuple[str, ...]
    start: str
    live: bool

    def __init__(
        self, name: str, label: str, values: Sequence[str], start: str | None = None, live: bool = False
    ) -> None:
        names = tuple(values) if isinstance(values, list | tuple) else (values,)
        if not all(isinstance(v, str) for v in names) or len(set(names)) < max(len(names), 2):
            raise ValueError(f"values of {name!r} = {names}: must be two or more different strings")
        start = names[0] if start is None else start
        if start not in names:
            raise ValueError(f"start of {name!r} = {start!r}: must be one of {names}")
        for field, value in {"name": name, "label": label, "values": names, "start": start, "live": live}.items():
            object.__setattr__(self, field, value)

    def check(self, value: object) -> None:
        """`ValueError` unless `value` is one of `values`."""
        if not isinstance(value, str) or value not in self.values:
            raise ValueError(f"{self.name} = {value!r}: must be one of {', '.join(map(repr, self.values))}")

    def texts(self) -> list[str]:
        """What the reader sees and hears at each of `values`."""
        return list(self.values)

    def html(self) -> str:
        options = "".join(f"<option{' selected' * (v == self.start)}>{html.escape(v)}</option>" for v in self.values)
        return f'<label class="pc-control"><span>{html.escape(self.label)}</span><select>{options}</select></label>'

    def widget(self) -> ipywidgets.Widget:
        style = {"description_width": "initial"}
        return ipywidgets.Dropdown(options=self.values, value=self.start, description=self.label, style=style)


Control = Slider | Choice
