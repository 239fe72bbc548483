"""The reader's hands on an explorable figure: sliders and choices, as native HTML inputs and as widgets."""

import html
import math
from dataclasses import dataclass

import ipywidgets
import numpy as np


def _is_number(value):
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and abs(value) < math.inf


@dataclass(frozen=True)
class Slider:
    """A number: in the book one of `values`, under a kernel anything from `low` to `high`, on a log scale if `log`.

    Whole `values` make a slider over whole numbers. `start` (one of `values`) defaults to the middle one, `low`
    and `high` to the ends. A `live` one is there under a kernel only; the book keeps it at `start`. Raises
    `ValueError` for values that are not finite, not increasing, or not positive when `log`.
    """

    name: str
    label: str
    values: tuple
    start: float | None = None
    log: bool = False
    low: float | None = None
    high: float | None = None
    live: bool = False

    def __post_init__(self):
        values = tuple(np.ravel(self.values).tolist())
        if len(values) < 2 or not all(map(_is_number, values)) or list(values) != sorted(set(values)):
            raise ValueError(f"values of {self.name!r} = {values}: must be two or more increasing finite numbers")
        low = values[0] if self.low is None else self.low
        high = values[-1] if self.high is None else self.high
        if not (_is_number(low) and _is_number(high) and low <= values[0] and values[-1] <= high):
            raise ValueError(f"low, high of {self.name!r} = {low}, {high}: must be finite and enclose the values")
        if self.log and low <= 0:
            raise ValueError(f"low of {self.name!r} = {low}: must be > 0 on a log scale")
        start = values[len(values) // 2] if self.start is None else self.start
        if not _is_number(start):
            raise ValueError(f"start of {self.name!r} = {start!r}: must be one of {values}")
        nearest = min(values, key=lambda v: abs(v - start))
        if not math.isclose(nearest, start, rel_tol=1e-9, abs_tol=1e-12):
            raise ValueError(f"start of {self.name!r} = {start!r}: must be one of {values}")
        for field, value in {"values": values, "start": nearest, "low": low, "high": high}.items():
            object.__setattr__(self, field, value)

    @property
    def whole(self):
        return all(isinstance(v, int) for v in (*self.values, self.low, self.high))

    def check(self, value):
        """`ValueError` unless `value` is one number, whole for a whole slider, from `low` to `high`."""
        slack = 1e-9 * (abs(self.low) + abs(self.high))  # a log slider's ends are powers of ten, rounded
        inside = _is_number(value) and self.low - slack <= value <= self.high + slack
        if not inside or (self.whole and value != int(value)):
            kind = "whole number" if self.whole else "number"
            raise ValueError(f"{self.name} = {value!r}: must be a {kind} from {self.low:g} to {self.high:g}")

    def text(self, value):
        """What the reader sees and hears: "γ = 0.32"."""
        return f"{self.label} = {float(f'{value:.3g}'):g}".replace("-", "−")

    def html(self):
        start, text = self.values.index(self.start), html.escape(self.text(self.start))
        return (
            f'<label class="pc-control"><output aria-live="off">{text}</output><input type="range" min="0" '
            f'max="{len(self.values) - 1}" step="1" value="{start}" aria-label="{html.escape(self.label)}" '
            f'aria-valuetext="{text}" autocomplete="off"></label>'
        )

    def widget(self):
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


@dataclass(frozen=True)
class Choice:
    """One of several named `values` (strings); `start` defaults to the first. `live` as for a `Slider`."""

    name: str
    label: str
    values: tuple
    start: str | None = None
    live: bool = False

    def __post_init__(self):
        values = tuple(self.values) if isinstance(self.values, list | tuple) else (self.values,)
        if not all(isinstance(v, str) for v in values) or len(set(values)) < max(len(values), 2):
            raise ValueError(f"values of {self.name!r} = {values}: must be two or more different strings")
        start = values[0] if self.start is None else self.start
        if start not in values:
            raise ValueError(f"start of {self.name!r} = {start!r}: must be one of {values}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "start", start)

    def check(self, value):
        """`ValueError` unless `value` is one of `values`."""
        if not isinstance(value, str) or value not in self.values:
            raise ValueError(f"{self.name} = {value!r}: must be one of {', '.join(map(repr, self.values))}")

    def text(self, value):
        return value

    def html(self):
        options = "".join(f"<option{' selected' * (v == self.start)}>{html.escape(v)}</option>" for v in self.values)
        return f'<label class="pc-control"><span>{html.escape(self.label)}</span><select>{options}</select></label>'

    def widget(self):
        style = {"description_width": "initial"}
        return ipywidgets.Dropdown(options=self.values, value=self.start, description=self.label, style=style)
