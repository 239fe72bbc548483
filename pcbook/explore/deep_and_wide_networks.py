"""Explorers and figures of the chapter on deep and wide networks."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch

from pcbook import figures, inference, network, sliders
from pcbook.experiments import deep_wide
from pcbook.experiments import deep_wide_record as reading
from pcbook.experiments.deep_wide_record import ACTIVATIONS, AXES, Run

METHODS = {"BP": "bp", "PC": "pc"}
SCALINGS = {"the book's, as PC's": "half", "averaged over outputs too": "mean"}
GRIDS = {"the paper's": "paper", "with more decades": "extended", "finer too": "fine"}
DRAWN = ("the batches' losses", "the epochs' means, till the stopping rule fires")
TITLES = {"linear": "Linear", "tanh": "Tanh", "relu": "ReLU"}


def figure_four() -> list[go.Figure]:
    """F4 as the paper draws it: three panels, the mean over the seeds and its standard error, over all updates."""
    return [_panel(activation, 3, {}) for activation in ACTIVATIONS]


def curves_explorer() -> sliders.Explorer:
    """F4 with its confounds: axis, BP's loss scaling, the grid of learning rates, and the stopping rule."""

    def draw(axis: str, scaling: str, grid: str, drawn: str) -> list[go.Figure]:
        choice = {"axis": axis, "scaling": SCALINGS[scaling], "grid": GRIDS[grid], "epochs": drawn == DRAWN[1]}
        return [_panel(activation, 0, choice) for activation in ACTIVATIONS]

    return sliders.explore(
        draw,
        sliders.Choice("axis", "Over", AXES, start=AXES[0]),
        sliders.Choice("scaling", "BP's squared error", tuple(SCALINGS), start="the book's, as PC's"),
        sliders.Choice("grid", "Learning rates", tuple(GRIDS), start="the paper's"),
        sliders.Choice("drawn", "Drawn", DRAWN, start=DRAWN[0]),
        caption="Training loss, mean of the seeds and their range, at each method's best learning rate α of the grid "
        "chosen, which the legend gives. Both axes are logarithmic: the drop from the first plateau is the escape, "
        "the level on the right the convergence. Dotted: half of the first loss. The paper's stopping rule sees the "
        "epochs' means only.",
        alt="Three panels of training loss over updates or seconds, for linear, tanh and ReLU networks. In each the PC "
        "curve drops from the plateau first. Further right the linear curves meet, BP's is the lower one for tanh, and "
        "for ReLU PC's is far below BP's.",
    )


def _panel(activation: str, sem: float, choice: Mapping[str, Any]) -> go.Figure:
    """One activation's curves. `sem`: how many standard errors the band spans, 0 for the seeds' range."""
    axis, scaling = choice.get("axis", AXES[0]), choice.get("scaling", "half")
    record, grid = reading.recorded(), choice.get("grid", "paper")
    fig = go.Figure(layout={"title": {"text": TITLES[activation]}, "height": 420})
    for name, method in METHODS.items():
        of = activation, method, scaling if method == "bp" else "half", grid
        rate, runs = record.best(*of), record.runs(*of)
        x, loss = (_epochs if choice.get("epochs") else _batches)(runs, axis)
        middle, spread = loss.mean(0), loss.std(0, ddof=1) / np.sqrt(len(loss))
        band = (loss.min(0), loss.max(0)) if sem == 0 else (middle - sem * spread, middle + sem * spread)
        colour, label = figures.COLOURS[name], f"{name}, α = {rate:g}"
        shade = {"fill": "toself", "fillcolor": colour + "33", "line": {"width": 0}, "hoverinfo": "skip"}
        fig.add_scatter(x=np.r_[x, x[::-1]], y=np.r_[band[1], band[0][::-1]], mode="lines", showlegend=False, **shade)
        line = {"color": colour, "dash": figures.DASHES[name], "width": 2.5}
        fig.add_scatter(x=x, y=middle, mode="lines", line=line, name=label)
    first = np.mean([run.results["early"][0] for run in runs])
    fig.add_hline(first / 2, line=figures.REFERENCE)
    fig.update_xaxes(title_text=axis if choice else "weight updates").update_yaxes(title_text="training loss")
    if choice:
        fig.update_xaxes(type="log", dtick=1, range=[0.5, 3.7] if axis == AXES[0] else [-1.2, 2.6])
        return fig.update_yaxes(type="log", range=[-2.2, -0.2], dtick=1, exponentformat="power")
    return fig.update_yaxes(range=[0, 0.55])


def _batches(runs: Sequence[Run], axis: str) -> tuple[np.ndarray, np.ndarray]:
    """x (n,) on the mean of the seeds' clocks, and the losses (seeds, n) of runs up to the shortest one's end."""
    n = min(len(run.loss) for run in runs)
    return np.mean([run.axis(axis)[:n] for run in runs], axis=0), np.array([run.loss[:n] for run in runs])


def _epochs(runs: Sequence[Run], axis: str) -> tuple[np.ndarray, np.ndarray]:
    """The same for the epochs' means, up to the one in which the paper's rule ends the first of the runs."""
    ends = [np.arange(1, 1 + len(run.results["epoch_loss"])) * reading.recorded().epoch for run in runs]
    n = min(int((end <= (run.stopped or np.inf) + 1).sum()) for run, end in zip(runs, ends, strict=True))
    x = ends[0][:n] if axis == AXES[0] else np.mean([run.seconds(ends[0][:n]) for run in runs], axis=0)
    return x, np.array([run.results["epoch_loss"][:n] for run in runs])


# (activation, method) → [(rate, value; None where it is missing)]
Measured = Callable[[str, str], list[tuple[float, float | None]]]


class Measure(NamedTuple):
    """What is drawn over the rates: the values, the axis, and where the crosses of the missing ones stand."""

    values: Measured
    title: str
    log: bool
    limits: list[float]
    edge: float


def _after_one_epoch(quantity: Callable[[dict[str, Any]], float | None]) -> Measured:
    def values(activation: str, method: str) -> list[tuple[float, float | None]]:
        tried = reading.recorded().tried(activation, method)
        return [(rate, quantity(results) if results["end"] == "batches" else None) for rate, results in tried]

    return values


def _after_all(activation: str, method: str) -> list[tuple[float, float | None]]:
    trained = reading.recorded().trained(activation, method)
    return [(rate, float(np.mean([run.last for run in runs]))) for rate, runs in trained.items()]


MEASURES = {
    "training loss after one epoch": Measure(
        _after_one_epoch(lambda results: results["last"]), "training loss", False, [0, 0.55], 0.54
    ),
    "updates until half of the first loss": Measure(
        _after_one_epoch(lambda results: results["escape"]), "updates", True, [1, 3.1], 1150
    ),
    "test accuracy after one epoch": Measure(
        _after_one_epoch(lambda results: results["tests"][-1]["accuracy"]), "accuracy", False, [0, 1], 0.01
    ),
    "training loss of the last epoch": Measure(_after_all, "training loss", False, [0, 0.55], 0.54),
}
READINGS = {
    "the book's loss": ("half", "half"),
    "BP averages over outputs, PC sums over the batch": ("mean", "sum"),
}


def rates_explorer() -> sliders.Explorer:
    """C1, C3: what is reached at every learning rate, and where the paper's grid lies."""

    def draw(measure: str, scaling: str) -> list[go.Figure]:
        _, title, log, limits, _ = MEASURES[measure]
        panels = []
        for activation in ACTIVATIONS:
            fig = go.Figure(layout={"title": {"text": TITLES[activation]}, "height": 400})
            for (name, method), coded in zip(METHODS.items(), READINGS[scaling], strict=True):
                _add_rates(fig, activation, name, method, coded, MEASURES[measure])
            fig.add_vrect(1e-4, 1, fillcolor=figures.SHADE, line_width=0)
            fig.update_xaxes(title_text="learning rate α", type="log", range=[-6.3, 2.9], exponentformat="power")
            panels.append(fig.update_yaxes(title_text=title, type="log" if log else "linear", range=limits))
        return panels

    return sliders.explore(
        draw,
        sliders.Choice("measure", "What", tuple(MEASURES), start=next(iter(MEASURES))),
        sliders.Choice("scaling", "α is the rate of", tuple(READINGS), start=next(iter(READINGS))),
        caption="What one epoch reaches at every learning rate tried (one seed); for the last epoch, the rates that "
        "were trained for all epochs (mean of the seeds). The grey strip is the paper's grid. Crosses at the edge: "
        "diverged, or never got there. The second scaling moves BP's points to the right and PC's to the left, and "
        "changes nothing else.",
        alt="Three panels over the learning rate on a logarithmic axis, for linear, tanh and ReLU networks. BP's and "
        "PC's curves lie almost on each other at small rates in linear and tanh networks. BP diverges first as the "
        "rate grows. For ReLU PC's loss falls far below BP's at rates of one and more, beyond the paper's grid.",
    )


def _add_rates(fig: go.Figure, activation: str, name: str, method: str, coded: str, measure: Measure) -> None:
    factor = deep_wide.effective(reading.recorded().configuration, coded, 1.0)
    values = [(rate / factor, value) for rate, value in measure.values(activation, method)]
    good, bad = ([v for v in values if (v[1] is None) == missing] for missing in (False, True))
    colour, symbol = figures.COLOURS[name], figures.MARKERS[name]
    x, y = ([v[i] for v in good] for i in (0, 1))
    line, marker = {"color": colour, "dash": figures.DASHES[name]}, {"color": colour, "symbol": symbol, "size": 8}
    fig.add_scatter(x=x, y=y, mode="lines+markers", name=name, line=line, marker=marker, legendgroup=name)
    x, cross = [rate for rate, _ in bad], {"color": colour, "symbol": "x", "size": 9}
    fig.add_scatter(x=x, y=[measure.edge] * len(x), mode="markers", marker=cross, showlegend=False, legendgroup=name)


def push(activation: str, gain: float = 1.0, seed: int = 0, batch: int = 64) -> np.ndarray:
    """‖∂F/∂W_l‖ / ‖∂L/∂W_l‖ for every layer of the paper's network at `gain` times its initial weights, on digits."""
    x, y, _, _ = deep_wide._dataset("digits", 1500)
    weights = network.init_weights([x.shape[1], *[500] * 10, y.shape[1]], seed)
    net = network.PCN([gain * w for w in weights], activation)
    pc = inference.solve(net, x[:batch], y[:batch]).weight_gradients()
    bp = network.backprop_gradients(net, x[:batch], y[:batch])
    return np.array([float(a.norm() / b.norm()) for a, b in zip(pc, bp, strict=True)])


def push_figure(ratios: Mapping[str, np.ndarray]) -> go.Figure:
    """The ratios of `push` for {activation: ratios}."""
    layers = np.arange(1, 1 + len(next(iter(ratios.values()))))
    fig = figures.curves(layers, ratios, "How much harder PC pushes", "layer l", "‖PC‖ / ‖BP‖", log_y=True)
    for trace in fig.data:
        colour, symbol = figures.ACTIVATIONS[trace.name]
        trace.update(mode="lines+markers", line_color=colour, marker={"symbol": symbol, "size": 9})
    fig.add_hline(1, line=figures.REFERENCE)
    return fig.update_yaxes(range=[-0.5, 2.3], dtick=1)


LIVE = dataclasses.replace(
    deep_wide.Configuration(), dataset="digits", width=50, images=1500, batch=32, epochs=4, bins=12, looks=()
)


@functools.cache
def live_run(activation: str, method: str, rate: float, hidden: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """A small network trained now on the digits 8 × 8: (steps, losses averaged over four steps, end)."""
    c = dataclasses.replace(LIVE, hidden=hidden)
    results = deep_wide.run(c, deep_wide.final_cell(c, activation, method, "half", rate, seed), "cpu")["results"]
    return np.array(results["steps"]), np.array(results["loss"]), results["end"]


def live_explorer() -> sliders.Explorer:
    """F4 in small, trained while the reader waits."""

    def draw(activation: str, rate: float, hidden: int, seed: int) -> go.Figure:
        fig = go.Figure(layout={"title": {"text": f"{TITLES[activation]}, {hidden} × 50 on digits"}, "height": 420})
        for name, method in METHODS.items():
            steps, loss, end = live_run(activation, method, rate, hidden, seed)
            line = {"color": figures.COLOURS[name], "dash": figures.DASHES[name], "width": 2.5}
            label = name + (" (diverged)" if end == "diverged" else "")
            fig.add_scatter(x=steps, y=loss, mode="lines", line=line, name=label)
        fig.update_xaxes(title_text="weight updates", range=[0, 190])
        return fig.update_yaxes(title_text="training loss", range=[0, 0.6]).update_layout(showlegend=True)

    return sliders.explore(
        draw,
        sliders.Choice("activation", "Activation", ACTIVATIONS, start="tanh"),
        sliders.Slider("rate", "learning rate α", (0.3, 1.0, 3.0), start=1.0, log=True, low=0.01, high=5.0),
        sliders.Slider("hidden", "hidden layers", (2, 6, 10), start=6, live=True),
        sliders.Slider("seed", "seed", (0, 1, 2), start=0, live=True),
        caption="Six hidden layers of 50 units on scikit-learn's digits, batch 32, four epochs, the same learning rate "
        "for both. Under a kernel depth and seed move too.",
        alt="Training loss of BP and PC over 188 updates. At small rates the two lie close together; at larger ones PC "
        "falls from the plateau first, and BP diverges or stays on it.",
    )


def threads() -> None:
    """Torch on one thread, as in the record: small networks are slower on many."""
    torch.set_num_threads(1)
