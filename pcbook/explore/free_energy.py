"""Explorer and figures of the chapter on the free energy: inference on its parabola, and what T steps leave."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from pcbook import figures, onemlp, sliders
from pcbook.experiments import toy

PC, (FIRST, SECOND, GREY, *_) = figures.COLOURS["PC"], figures.NEUTRAL
LIMIT = 2.6  # half the width of the window on z


def inference_explorer(x: float = 1.0, y: float = -1.0, last: int = 40) -> sliders.Explorer:
    """Eq. 2 step by step: the activity on the parabola ℱ(z), and z over the steps beside the exact z(t)."""

    def draw(t: int, w1: float, w2: float, eta: float) -> list[go.Figure]:
        # A diverging path is cut well outside the window.
        path = np.clip(onemlp.euler_inference(last, w1, w2, x, y, eta), -9, 9)[: t + 1]
        return [_parabola(path, w1, w2, x, y), _activity(path, last, w1, w2, x, y, eta)]

    return sliders.explore(
        draw,
        sliders.Slider("t", "step t", [*range(11), 12, 15, 20, 30, last], start=0),
        sliders.Slider("w2", "w₂", [0.0, 1.0, 2.0], start=1.0, low=-2.5, high=2.5),
        sliders.Slider("eta", "step size η", [0.1, 0.6, 1.05], start=0.1, low=0.02, high=1.2),
        sliders.Slider("w1", "w₁", [-0.5, 1.0], start=1.0, low=-1.5, high=1.5),
        caption="The activity z rolls down the parabola ℱ(z), from the feedforward value **w₁x** to the "
        "**equilibrium z***. How fast depends on η and on w₂; if η is too large it never arrives.",
        alt="Left: the free energy over the activity z is a parabola, the sum of two parabolas with minima at w1 x "
        "and y / w2; the activity starts at w1 x and moves step by step to the bottom between the two. Right: z over "
        "the steps, beside the exact exponential and the level of the equilibrium. A small step size follows the "
        "exponential, a larger one overshoots and oscillates, one that is too large diverges.",
    )


def inference_error_figures(
    count: int = 2000, shown: int = 400, seed: int = 0, steps: int = 20, eta: float = 0.1
) -> list[go.Figure]:
    """T1: the relative error of the weight gradient over the number of steps, and after `steps` of them over w2."""
    return [_error_by_steps(count, seed, steps, eta), _error_by_weight(shown, seed, steps, eta)]


def _parabola(path: np.ndarray, w1: float, w2: float, x: float, y: float) -> go.Figure:
    def energy(z: ArrayLike) -> np.ndarray:
        return onemlp.energy(z, w1, w2, x, y)

    z, start, settled = np.linspace(-LIMIT, LIMIT, 81), w1 * x, onemlp.equilibrium(w1, w2, x, y)
    ends = np.array([start, settled])
    traces = [
        _line(z, 0.5 * (z - w1 * x) ** 2, "½e₁²", color=FIRST, dash="dot"),
        _line(z, 0.5 * (y - w2 * z) ** 2, "½e₂²", color=SECOND, dash="dash"),
        _line(z, energy(z), "their sum ℱ", color=GREY, width=3),
        _points(ends[:1], energy(ends[:1]), "start w₁x", "circle-open", 14),
        _points(ends[1:], energy(ends[1:]), "end z*", "star-open", 15),
        _points(path, energy(path), "steps so far", "square", 5) | {"showlegend": False},
        _points(path[-1:], energy(path[-1:]), "z now", "square", 11),
    ]
    return _panel(traces, "Energy over the activity", ("activity z", [-LIMIT, LIMIT]), ("energy", [-0.2, 6]))


def _activity(path: np.ndarray, last: int, w1: float, w2: float, x: float, y: float, eta: float) -> go.Figure:
    steps, settled = np.linspace(0, last, 121), float(onemlp.equilibrium(w1, w2, x, y))
    steps_so_far = _points(np.arange(len(path)), path, "Euler steps zₜ", "square", 6)
    traces = [
        _line([0, last], [settled, settled], "equilibrium z*", color=GREY, dash="dot"),
        _line(steps, onemlp.inference(eta * steps, w1, w2, x, y), "exact flow z(ηt)", color=FIRST, width=3),
        steps_so_far | {"mode": "lines+markers", "line": {"color": PC, "width": 1}},
    ]
    return _panel(traces, "The same, step by step", ("step t", [-1, last + 1]), ("activity z", [-LIMIT, LIMIT]))


def _line(x: ArrayLike, y: ArrayLike, name: str, **line: Any) -> figures.Trace:
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line}


def _points(x: ArrayLike, y: ArrayLike, name: str, symbol: str, size: int) -> figures.Trace:
    marker = {"symbol": symbol, "size": size, "color": PC, "line": {"width": 2, "color": PC}}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name, "marker": marker}


def _panel(traces: Sequence[figures.Trace], title: str, *axes: tuple[str, Sequence[float]]) -> go.Figure:
    xaxis, yaxis = ({"title": {"text": text}, "range": ends} for text, ends in axes)
    return go.Figure(traces, {"title": {"text": title}, "xaxis": xaxis, "yaxis": yaxis, "height": 430})


def _error_by_steps(count: int, seed: int, steps: int, eta: float) -> go.Figure:
    grid = np.arange(0, 81, 4)
    errors = np.stack([toy.inference_error(count, seed, int(t), eta)[0] for t in grid])
    low, middle, high = np.quantile(errors, [0.05, 0.5, 0.95], axis=1)
    series: dict[str, figures.Series] = {
        "PC: median, 5 to 95 % shaded": (middle, low, high),
        "1 %": np.full(len(grid), 0.01),
    }
    fig = figures.curves(grid, series, "Error by inference steps", "inference steps T", "relative error", log_y=True)
    fig.data[-1].line.update(dash="dot", color=GREY)
    fig.update_yaxes(dtick=1, exponentformat="power")
    return fig.add_vline(steps, line={"dash": "dot", "color": GREY}, annotation_text=f"T = {steps}")


def _error_by_weight(shown: int, seed: int, steps: int, eta: float) -> go.Figure:
    w2, error = toy.starts(shown, seed)[:, 1], toy.inference_error(shown, seed, steps, eta)[0]
    grid = np.linspace(-1, 1, 81)
    left = np.abs(onemlp.contraction(grid, eta)) ** steps
    dots = _points(w2, error, "one start", "circle", 4) | {"opacity": 0.6}
    traces = [dots, _line(grid, left, "share of the inference still missing", color=FIRST, width=3)]
    fig = _panel(traces, f"Error after {steps} steps", ("w₂", [-1, 1]), ("relative error", [-3, 0]))
    return fig.update_yaxes(type="log", dtick=1, exponentformat="power").update_layout(height=None)
