"""Explorers and figures of the chapter on trust regions: a step in weight space, the step that inference takes."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pcbook import figures, onemlp, sliders, trust_region

PC, FIRST, GAIN = figures.COLOURS["PC"], figures.NEUTRAL[0], figures.NEUTRAL[3]
WINDOW, TOP = 2.2, 5.0  # half the width of the window on the weights, the highest loss drawn
GRID = np.linspace(-WINDOW, WINDOW, 41)
LINEAR, QUADRATIC = "linear", "quadratic"
EUCLIDEAN, CURVATURE = "A = I, Euclidean", "A = |H|, curvature"


def curvature_metric(hessian: np.ndarray) -> np.ndarray:
    """|H|: the same eigenvectors, the eigenvalues without their signs; a geometry wherever det H ≠ 0."""
    eigenvalues, q = np.linalg.eigh(hessian)
    return q * np.abs(eigenvalues) @ q.T


def region_explorer(w1: float = 0.5, x: float = 1.0, y: float = -1.0) -> sliders.Explorer:
    """Eq. 4 on the 1MLP's loss: the best step for a model, a geometry and a radius, on the model and on the loss."""

    def draw(radius: float, w2: float, model: str, geometry: str) -> list[go.Figure]:
        start = np.array([w1, w2])
        step = _solve(w1, w2, x, y, model, geometry, radius)
        solutions = start + _solutions(w1, w2, x, y, model, geometry)
        edge, end = start + radius * _unit_ball(w1, w2, x, y, geometry), start + step.delta
        fall = onemlp.loss(*start, x, y) - onemlp.loss(*end, x, y)
        predicted, loss = _model(w1, w2, x, y, model), onemlp.loss(*np.meshgrid(GRID, GRID), x, y)
        titles = f"Model: falls by {step.decrease:.3g}", f"Loss: {'falls' if fall >= 0 else 'rises'} by {abs(fall):.3g}"
        panels = [
            figures.landscape(GRID, GRID, z, title, zmax=TOP, scale=False)
            for z, title in zip((predicted, loss), titles, strict=True)
        ]
        cut = panels[0].data[0].contours
        cut.start += cut.size  # no line along the edge where the model is cut
        figures.add_manifold(panels[1], y / x, WINDOW)
        return [panel.add_traces(_step_traces(start, edge, solutions, end)) for panel in panels]

    return sliders.explore(
        draw,
        sliders.Slider("radius", "radius √p", np.geomspace(0.1, 3, 10).round(2), log=True),
        sliders.Slider("w2", "start at w₂", [-1.5, 0.3, 0.5], start=0.3, low=-1.9, high=2),
        sliders.Choice("model", "Model", [LINEAR, QUADRATIC], start=QUADRATIC),
        sliders.Choice("geometry", "Geometry", [EUCLIDEAN, CURVATURE]),
        caption=f"The best step inside the region (white outline), from w₁ = {w1}. With the quadratic model a small "
        "region gives almost the gradient step; a larger one turns the step along **negative curvature**, away from "
        "the saddle (white cross).",
        alt="Two contour plots over the weights. Left: the model of the loss around the start, the region around it, "
        "and the best step, which ends on the region's edge or at the model's minimum. Right: the same step on the "
        "true loss, with the saddle at the origin and the solutions. The curve of all best steps leaves the start "
        "along the gradient and bends into the direction in which the loss curves downwards.",
    )


def _taylor(w1: float, w2: float, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    return onemlp.loss_gradient(w1, w2, x, y), onemlp.loss_hessian(w1, w2, x, y)


def _model(w1: float, w2: float, x: float, y: float, model: str) -> np.ndarray:
    """The Taylor model of the loss around (w1, w2) on the grid; cut below, or its fall would use up all colours."""
    g, h = _taylor(w1, w2, x, y)
    delta = np.stack(np.meshgrid(GRID - w1, GRID - w2), axis=-1)
    bend = 0.5 * np.einsum("...i,ij,...j", delta, h, delta) if model == QUADRATIC else 0.0
    return np.maximum(onemlp.loss(w1, w2, x, y) + delta @ g + bend, -2)


def _solve(w1: float, w2: float, x: float, y: float, model: str, geometry: str, radius: float) -> trust_region.Step:
    g, h = _taylor(w1, w2, x, y)
    metric = curvature_metric(h) if geometry == CURVATURE else None
    return trust_region.step(g, radius**2, hessian=h if model == QUADRATIC else None, geometry=metric)


@functools.lru_cache(64)
def _solutions(w1: float, w2: float, x: float, y: float, model: str, geometry: str) -> np.ndarray:
    """The best steps for radii from small to large."""
    return np.stack([_solve(w1, w2, x, y, model, geometry, radius).delta for radius in np.geomspace(0.02, 4.5, 60)])


def _unit_ball(w1: float, w2: float, x: float, y: float, geometry: str) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if geometry == EUCLIDEAN:
        return circle
    return circle @ np.linalg.inv(np.linalg.cholesky(curvature_metric(onemlp.loss_hessian(w1, w2, x, y))))


def _step_traces(start: np.ndarray, edge: np.ndarray, solutions: np.ndarray, end: np.ndarray) -> list[figures.Trace]:
    step = np.stack([start, end])
    cross = {"symbol": "x-thin", "size": 12, "line": {"color": figures.WHITE, "width": 3}}
    ends = {
        "symbol": ["circle", "diamond"],
        "size": [10, 13],
        "color": figures.WHITE,
        "line": {"color": figures.BLACK, "width": 2},
    }
    return [
        _path(np.zeros((1, 2)), "saddle", mode="markers", marker=cross, showlegend=False),
        _path(edge, "edge of the region", line={"color": figures.WHITE, "width": 2}, showlegend=False),
        _path(step, "best step", line={"color": figures.WHITE, "width": 7}, showlegend=False, hoverinfo="skip"),
        _path(solutions, "halo", line={"color": figures.WHITE, "width": 5}, showlegend=False, hoverinfo="skip"),
        _path(solutions, "best steps, all radii", line={"color": FIRST, "width": 3, "dash": "dot"}),
        _path(step, "best step", mode="lines+markers", line={"color": figures.BLACK, "width": 3}, marker=ends),
    ]


def _path(points: np.ndarray, name: str, **style: Any) -> figures.Trace:
    x, y = points.T
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name} | style


def activity_step_explorer(w1: float = 1.0, x: float = 1.0, y: float = -1.0) -> sliders.Explorer:
    """Eqs. 5 and 6 on the 1MLP: inference as a trust-region step in z, and what it gains at every w2."""

    def draw(w2: float, gamma: float) -> list[go.Figure]:
        return [_activity_model(w1, w2, x, y, gamma), _gain(w1, w2, x, y, gamma)]

    return sliders.explore(
        draw,
        sliders.Slider("w2", "w₂", np.linspace(-2, 2, 21).round(2), start=1.0, low=-2.5, high=2.5),
        sliders.Slider("gamma", "γ = Π₁/Π₂", [0.25, 1.0, 4.0], start=1.0, log=True, low=0.05, high=20),
        caption="Inference is one trust-region step in z. It ends on the **edge of the region** (shaded), and the "
        "energy there is the loss minus what the step gains (thick bar).",
        alt="Left: over the activity z, the loss is a parabola, its linear model a line, and the energy a narrower "
        "parabola that touches both at the feedforward value; the energy's minimum lies exactly on the edge of the "
        "shaded trust region. Right: loss and equilibrated energy over w2; the gap between them is the gain of the "
        "step, zero at w2 = 0 and growing with the size of w2.",
    )


def _activity_model(w1: float, w2: float, x: float, y: float, gamma: float) -> go.Figure:
    start, settled = w1 * x, float(onemlp.equilibrium(w1, w2, x, y, pi1=gamma))
    top, low = onemlp.loss(w1, w2, x, y), onemlp.equilibrated_energy(w1, w2, x, y, pi1=gamma)
    slope, z, reach = -w2 * (y - w2 * start), np.linspace(-2.5, 2.5, 81), abs(settled - start)
    region = np.array([[start - reach, -9], [start - reach, 9], [start + reach, 9], [start + reach, -9]])
    shade = {"fill": "toself", "fillcolor": figures.SHADE, "line": {"width": 0}, "hoverinfo": "skip"}
    curves = {"loss at z": 0.5 * (y - w2 * z) ** 2, "its tangent": top + slope * (z - start)}
    curves["energy ℱ(z)"] = onemlp.energy(z, w1, w2, x, y, pi1=gamma)
    colours = (figures.COLOURS["BP"], "dash"), (figures.GREY, "dot"), (PC, "solid")
    return _panel(
        [
            _path(region, "trust region", **shade),
            *(
                _path(np.stack([z, values], axis=-1), name, line={"color": colour, "dash": dash, "width": 2.5})
                for (name, values), (colour, dash) in zip(curves.items(), colours, strict=True)
            ),
            _gain_bar(settled, low, top),
            _path(np.array([[start, top]]), "start w₁x", mode="markers", marker=_marker("circle-open")),
            _path(np.array([[settled, low]]), "end z*", mode="markers", marker=_marker("star-open")),
        ],
        "The step in activity space",
        ("activity z", [-2.5, 2.5]),
        ("energy, with Π₂ = 1", [-1, 5]),
    )


def _gain(w1: float, w2: float, x: float, y: float, gamma: float) -> go.Figure:
    grid = np.linspace(-2.5, 2.5, 61)
    loss, energy = onemlp.loss(w1, grid, x, y), onemlp.equilibrated_energy(w1, grid, x, y, pi1=gamma)
    here = onemlp.equilibrated_energy(w1, w2, x, y, pi1=gamma), onemlp.loss(w1, w2, x, y)
    traces = [
        _path(np.stack([grid, loss], axis=-1), "loss ℒ", line={"color": figures.COLOURS["BP"], "dash": "dash"}),
        _path(np.stack([grid, energy], axis=-1), "equilibrated energy ℱ*", line={"color": PC}),
        _gain_bar(w2, *here),
    ]
    return _panel(traces, "What the step gains", ("w₂", [-2.5, 2.5]), ("energy, with Π₂ = 1", [-1, 5]))


def _gain_bar(x: float, low: np.ndarray, high: np.ndarray) -> figures.Trace:
    return _path(np.array([[x, low], [x, high]]), "gain", line={"color": GAIN, "width": 6})


def _marker(symbol: str) -> dict[str, Any]:
    return {"symbol": symbol, "size": 14, "color": PC, "line": {"width": 2, "color": PC}}


def _panel(traces: Sequence[figures.Trace], title: str, *axes: tuple[str, Sequence[float]]) -> go.Figure:
    xaxis, yaxis = ({"title": {"text": text}, "range": ends} for text, ends in axes)
    return go.Figure(traces, {"title": {"text": title}, "xaxis": xaxis, "yaxis": yaxis, "height": 430})


def damping_figure(damping: float = 2.0, limit: float = 1.4, x: float = 1.0, y: float = -1.0) -> go.Figure:
    """The smallest eigenvalue of H + λI over the weights, with its zero line and the square of initial weights."""
    axis = np.linspace(-limit, limit, 57)
    smallest = np.linalg.eigvalsh(onemlp.loss_hessian(*np.meshgrid(axis, axis), x, y))[..., 0] + damping
    fig = figures.landscape(axis, axis, smallest, f"Smallest eigenvalue of H + {damping:g} I")
    fig.data[0].colorbar.update(tickvals=np.arange(-4, 5) / 2)
    line = {"start": 0, "end": 0, "size": 1, "coloring": "lines"}
    white = [[0, figures.WHITE], [1, figures.WHITE]]
    style = {"contours": line, "line": {"width": 4}, "colorscale": white, "showscale": False, "hoverinfo": "skip"}
    square = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1], [-1, -1]])
    dashed = {"color": figures.WHITE, "width": 3, "dash": "dash"}
    traces = [{"type": "contour", "x": axis, "y": axis, "z": smallest, "name": "zero"} | style]
    return fig.add_traces([*traces, _path(square, "initial weights", line=dashed, showlegend=False)])


def weight_gradient_figure(w2: np.ndarray, ratio: np.ndarray) -> go.Figure:
    """Eq. 7's printed gradient over the measured one, at the given w2, beside the theorem's 2 + w2²."""
    grid = np.linspace(np.min(w2), np.max(w2), 81)
    marker = {"size": 10, "color": PC, "symbol": "square"}
    traces = [
        _path(np.stack([grid, 2 + grid**2], axis=-1), "theorem: 2 + w₂²", line={"color": FIRST, "width": 3}),
        _path(np.stack([grid, np.ones_like(grid)], axis=-1), "correct: 1", line=figures.REFERENCE),
        _path(np.stack([w2, ratio], axis=-1), "measured", mode="markers", marker=marker),
    ]
    title = "Printed over exact gradient, for w₁"
    return _panel(traces, title, ("w₂", [1.05 * grid[0], 1.05 * grid[-1]]), ("ratio", [0, 1.1 * np.max(ratio)]))
