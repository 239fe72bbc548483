"""Explorer and figures of the chapter that follows the Taylor expansion into deep networks."""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from pcbook import diagram, figures, inference, network, sliders, taylor
from pcbook.experiments import deep_taylor
from pcbook.inference import euler

BP, PC, TRN = (figures.COLOURS[name] for name in ("BP", "PC", "TRN"))
STYLES = dict(zip(deep_taylor.NAMES, ((TRN, "dot"), (figures.NEUTRAL[0], "dash"), (PC, "solid")), strict=True))
RESIDUALS = np.geomspace(0.01, 10, 7).round(4)
ALONG = np.linspace(-0.5, 2, 41)
STEPS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200)

Picture = tuple[list[np.ndarray], list[np.ndarray], list[float]]  # activities, errors, and the errors' lengths


def inference_explorer(seed: int = 1) -> sliders.Explorer:
    """Eq. 2 on a tanh network, drawn unit by unit: activities, prediction errors and each layer's energy."""

    def draw(t: int, residual: float = 1.0, hidden: int = 3) -> go.Figure:
        walk, settled = _walk(seed, int(hidden), float(residual))
        activities, errors, sizes = walk[int(t)]
        limits = [max(map(_largest, part)) for part in zip(*walk, strict=True)]
        name = f"After {t} steps of inference" if t > 1 else "After one step" if t else "The feedforward pass"
        title = f"{name}: ℱ = {np.square(sizes).sum() / 2:.2f}"
        return diagram.network(activities, errors, sizes, title, limits, settled).update_layout(height=540)

    return sliders.explore(
        draw,
        sliders.Slider("t", "inference step t", STEPS, start=0),
        sliders.Slider("residual", "residual ‖r‖", [0.5, 1.0, 3.0], start=1.0, live=True),
        sliders.Slider("hidden", "hidden layers", [1, 3, 6], start=3, live=True),
        caption="A feedforward pass leaves **all of the error at the output**. Inference hands it down, one layer a "
        "step, until every layer carries a part and the energy ℱ is far below the loss. A disc is a unit with its "
        "activity; the triangle in front of it is its prediction error: its area is the size, up means more than "
        "predicted, down less. Bars: the length ‖e‖ of each layer's error, and in outline where it ends; ℱ is half the "
        "sum of their squares.",
        alt="A network drawn unit by unit: three inputs, three hidden layers of five tanh units, two targets. At step "
        "0 only the targets have triangles, large ones, and only the last bar is there. With every step one more "
        "layer from the right gets triangles and a bar of its own, while the last bar shrinks. After 200 steps all "
        "layers have errors, and four bars of similar height, about a quarter of the first one's.",
    )


def _largest(vectors: Iterable[np.ndarray]) -> float:
    return max(float(np.abs(v).max()) for v in vectors)


@functools.lru_cache(16)
def _walk(seed: int, hidden: int, residual: float) -> tuple[list[Picture], list[float]]:
    """[(activities z_0 … z_L, errors e_1 … e_L, their lengths)] over the steps, and the lengths at their end."""
    problem = deep_taylor.random_problem(seed, hidden)
    (net, x, _), y = problem, deep_taylor.targets(problem, residual)

    def picture(z: Sequence[torch.Tensor]) -> Picture:
        errors = network.prediction_errors(net, z, x, y)
        sizes = [float(e.norm()) for e in errors]
        return [v[0].numpy() for v in (x, *z, y)], [e[0].numpy() for e in errors], sizes

    path = itertools.islice(euler.walk(net, x, y), STEPS[-1] + 1)
    return [picture(z) for z in path], picture(inference.solve(net, x, y, rtol=1e-6).activities)[2]


def model_explorer(seed: int = 1) -> sliders.Explorer:
    """Eqs. 5 to 7 on a tanh network: the energy along the trust-region step, and what the step predicts, over r."""

    def draw(residual: float, hidden: int, gain: float) -> list[go.Figure]:
        return [_along_the_step(seed, int(hidden), gain, residual), _errors(seed, int(hidden), gain, residual)]

    return sliders.explore(
        draw,
        sliders.Slider("residual", "residual ‖r‖", RESIDUALS, start=1.0, log=True),
        sliders.Slider("hidden", "hidden layers", [1, 2, 3, 6], start=3, high=12),
        sliders.Slider("gain", "gain of the weights", [0.5, 1.0, 2.0], start=1.0, low=0.1, high=3),
        caption="Left: from the feedforward pass (0) along the trust-region step (1) the energy follows its model the "
        "longer the smaller the residual. Right: the corrected weight gradient becomes exact as the residual vanishes; "
        "**the printed one does not**, at any depth or gain.",
        alt="Left: over the length of the step, energy, quadratic model and loss, each divided by the loss at the "
        "start; for small residuals or one hidden layer energy and model coincide, for large ones in deep networks "
        "they part. Right, doubly logarithmic: relative errors over the residual. Those of Eq. 6 and E7′ rise in "
        "proportion to it, that of Eq. 7 stays above 1 wherever the residual is small.",
    )


def _along_the_step(seed: int, hidden: int, gain: float, residual: float) -> go.Figure:
    values, settled = _along(seed, hidden, gain, residual)
    curves = dict(zip(("energy ℱ", "its model, Eq. 5", "loss, at the moved activities"), values, strict=True))
    fig = figures.curves(ALONG, curves, "Along the step", "length of the step", "energy ÷ loss at the start")
    for trace, (colour, dash) in zip(fig.data, ((PC, "solid"), (TRN, "dot"), (BP, "dash")), strict=True):
        trace.line = {"color": colour, "dash": dash, "width": 3}
    marker = {"symbol": "star", "size": 13, "color": PC}
    fig.add_scatter(x=[1], y=[settled], mode="markers", name="ℱ* at the equilibrium", marker=marker)
    return fig.update_yaxes(range=[0, 1.6]).update_layout(height=430)


@functools.lru_cache(512)
def _along(seed: int, hidden: int, gain: float, residual: float) -> tuple[list[np.ndarray], float]:
    """F, its model and the loss at z_t + t Δz for all t at once, and F* at the equilibrium, over the loss at z_t."""
    problem = deep_taylor.random_problem(seed, hidden, gain=gain)
    (net, x, _), y = problem, deep_taylor.targets(problem, residual)
    loss, settled = network.loss(net, x, y), inference.solve(net, x, y, rtol=1e-6).energy
    step, many = taylor.inference_step(net, x, y), (x.expand(len(ALONG), -1), y.expand(len(ALONG), -1))
    deltas = [torch.from_numpy(ALONG)[:, None] * d for d in step]
    moved = [z + d for z, d in zip(network.forward(net, x), deltas, strict=False)]
    errors = network.prediction_errors(net, moved, *many)
    read_out = network.quadratic(net, [*[0 * e for e in errors[:-1]], errors[-1]])
    values = network.energy(net, moved, *many), taylor.model(net, *many, deltas), read_out
    return [(v / loss).numpy() for v in values], float(settled / loss)


@functools.lru_cache(128)
def _sweep(seed: int, hidden: int, gain: float) -> dict[str, np.ndarray]:
    problem = deep_taylor.random_problem(seed, hidden, gain=gain)
    found = deep_taylor.error_table([problem], RESIDUALS)
    return {name: np.maximum(errors[:, 0], 1e-16) for name, errors in found.items()}


def _errors(seed: int, hidden: int, gain: float, residual: float) -> go.Figure:
    fig = errors_figure(RESIDUALS, _sweep(seed, hidden, gain), "Relative errors")
    line = figures.REFERENCE | {"width": 1.5}
    fig.add_scatter(x=[residual] * 2, y=[1e-16, 1e3], mode="lines", line=line, name="residual now", hoverinfo="skip")
    return fig.update_yaxes(range=[-5.2, 2.2], dtick=1).update_layout(height=430)


def errors_figure(
    residuals: np.ndarray, errors: Mapping[str, np.ndarray], title: str = "Relative errors, median and 5 to 95 %"
) -> go.Figure:
    """`{name: errors (len(residuals),) or (len(residuals), nets)}` over the residual, doubly logarithmic."""
    bands = {
        name: tuple(np.quantile(values, [0.5, 0.05, 0.95], axis=1)) if np.ndim(values) == 2 else values
        for name, values in errors.items()
    }
    fig = figures.curves(residuals, bands, title, "residual ‖r‖", "relative error", log_x=True, log_y=True)
    for trace in fig.data:
        colour, dash = STYLES[trace.legendgroup]
        if trace.fill:
            trace.fillcolor = colour + "33"
        else:
            trace.line = {"color": colour, "dash": dash, "width": 3}
    return fig.update_xaxes(dtick=1, exponentformat="power").update_yaxes(dtick=1, exponentformat="power")


def bend_figure(residuals: np.ndarray, bends: Mapping[float, np.ndarray]) -> go.Figure:
    """‖H_F − I‖ / ‖I‖ at the equilibrium over the residual, for `{gain: values}`."""
    series = {f"gain {gain:g}": values for gain, values in bends.items()}
    title = "Hessian against Fisher information, at z*"
    fig = figures.curves(residuals, series, title, "residual ‖r‖", "relative distance", log_x=True, log_y=True)
    for trace, dash in zip(fig.data, ("dot", "dash", "solid"), strict=True):
        trace.line.dash = dash
    return fig.update_xaxes(dtick=1, exponentformat="power").update_yaxes(dtick=1, exponentformat="power")
