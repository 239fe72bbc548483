"""Explorers and figures of the chapter on the cost of inference."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import ArrayLike

from pcbook import figures, inference, network, sliders
from pcbook.experiments import inference_cost
from pcbook.network import PCN

STEP, TOLERANCE, PAPER = 0.1, 1e-3, 1000  # η, what counts as arrived, and the paper's T
DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)

Row = Mapping[str, Any]  # of a recorded benchmark


def steps_needed(depth: int, weight: float, step_size: float = STEP, tolerance: float = TOLERANCE) -> float:
    """Euler steps until the slowest direction has shrunk to `tolerance`, by the eigenvalues of `chain_spectrum`."""
    factor = np.abs(1 - step_size * inference_cost.chain_spectrum(depth, weight)).max()
    return np.log(tolerance) / np.log(factor)


def steps_explorer() -> sliders.Explorer:
    """T3, T4: the directions' contraction over Euler's steps, and the steps that the slowest one needs, over depth."""
    t = np.unique(np.round(np.geomspace(1, 3000, 50)))

    def draw(depth: int, weight: float) -> list[go.Figure]:
        values = np.abs(1 - STEP * inference_cost.chain_spectrum(depth, weight))
        left = go.Figure(layout={"title": {"text": "Distance left, each direction"}})
        for factor in (values[k] for k in np.unique(np.linspace(0, depth - 1, 8).astype(int))):
            line = {"color": figures.COLOURS["PC"], "width": 1.5}
            left.add_scatter(x=t, y=np.maximum(factor**t, 1e-9), mode="lines", line=line, showlegend=False)
        for _ in range(8 - len(left.data)):  # as many traces in every frame
            left.add_scatter(x=[None], y=[None], mode="lines", showlegend=False)
        left.add_vline(PAPER, line=figures.REFERENCE)
        left.update_xaxes(title_text="Euler steps", type="log", range=[0, 3.5], dtick=1)
        left.update_yaxes(title_text="share of the start", type="log", range=[-6, 0.1], exponentformat="power", dtick=1)
        needed = [steps_needed(n, weight) for n in DEPTHS]
        right = figures.curves(DEPTHS, {"PC": needed}, "Steps until 0.1 % is left", "hidden layers N", "Euler steps")
        marker = {"size": 11, "color": figures.COLOURS["PC"], "symbol": "square"}
        right.add_scatter(x=[depth], y=[steps_needed(depth, weight)], mode="markers", marker=marker)
        right.add_hline(PAPER, line=figures.REFERENCE)
        right.update_xaxes(type="log").update_layout(showlegend=False)
        right.update_yaxes(type="log", range=[1.3, 4.6], exponentformat="power", dtick=1)
        return [left, right]

    return sliders.explore(
        draw,
        sliders.Slider("depth", "hidden layers N", DEPTHS, start=2),
        sliders.Slider("weight", "weights w", (0.5, 0.8, 0.9, 1.0, 1.1, 1.5), start=1.0),
        caption="Left: each line is one direction in the space of activities, up to eight of them. The paper's 1000 "
        "steps are the dotted line. Right: what the slowest direction asks for. Where signals keep their size, w = 1, "
        "it grows with the square of depth.",
        alt="Left, falling lines of the remaining distance over Euler steps, one for each direction; with more layers "
        "they fan out and some stay near one. Right, the steps needed over the number of hidden layers on two "
        "logarithmic axes: a straight line of slope two at weights of one, crossing 1000 at a little over ten layers; "
        "flat for weights well below or above one.",
    )


def spectra_figure(activities: np.ndarray, errors: np.ndarray) -> go.Figure:
    """The Hessian's eigenvalues in the activities and in the errors, both sorted."""
    fig = go.Figure(layout={"title": {"text": "Eigenvalues of the Hessian of the energy"}})
    looks = ((figures.COLOURS["PC"], "square"), (figures.NEUTRAL[0], "diamond"))
    for name, values, (colour, symbol) in zip(("in z", "in e"), (activities, errors), looks, strict=True):
        marker = {"color": colour, "symbol": symbol, "size": 6}
        fig.add_scatter(x=np.arange(1, len(values) + 1), y=np.sort(values), mode="markers", name=name, marker=marker)
    fig.update_xaxes(title_text="rank")
    return fig.update_yaxes(title_text="eigenvalue", type="log", tickvals=[0.1, 0.2, 0.5, 1, 2, 5])


@functools.cache
def _ablation(gain: float, depth: int = 6, iterations: int = 6, seed: int = 0) -> dict[str, list[float]]:
    """{variant: errors after each iteration} on one batch of digits, the weights multiplied by `gain`."""
    net, (x, y) = inference_cost.digits_net("tanh", seed, depth), inference_cost.batch()
    net = PCN([gain * w for w in net.weights], "tanh")
    exact = inference.solve(net, x, y, rtol=1e-9).weight_gradients()
    runs = {k: inference_cost.fixed_point(net, x, y, iterations, *v) for k, v in inference_cost.VARIANTS.items()}
    return {k: [inference_cost.weight_error(g, exact) for g in run] for k, run in runs.items()}


def ablation_explorer() -> sliders.Explorer:
    """B4: the weight gradients' error after each iteration, with the devices added one by one."""

    def draw(gain: float) -> go.Figure:
        found = _ablation(gain)
        fig = figures.curves(
            np.arange(1, 7),
            found,
            "Error of the weight gradients",
            "iterations (one backward and one forward pass each)",
            "relative error",
            log_y=True,
        )
        looks = ((figures.GREY, "x"), (figures.NEUTRAL[0], "circle"), (figures.NEUTRAL[1], "diamond"))
        for trace, (colour, symbol) in zip(fig.data, (*looks, (figures.COLOURS["PC"], "square")), strict=True):
            trace.update(mode="lines+markers", line_color=colour, marker={"symbol": symbol, "size": 8, "color": colour})
        fig.update_layout(height=440)
        return fig.update_yaxes(range=[-10, 2], exponentformat="power")

    return sliders.explore(
        draw,
        sliders.Slider("gain", "weights × gain", (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0), start=1.25),
        caption="A tanh network with six hidden layers on digits, PyTorch's default weights multiplied by a gain. Each "
        "device saves about one iteration; none of them helps where tanh saturates strongly (gain 2.5 and more).",
        alt="Errors over one to six iterations on a logarithmic axis. Plain repetition rises. Solving with S falls "
        "steadily; anticipating the lag makes the fall steeper; predicting starts one to two decades lower. With "
        "larger gains all lines lie higher, and from 2.5 on none of them falls below ten percent.",
    )


START, KINK_STEPS = 0.5, 80


def kink_net(slope: float) -> PCN:
    """x → z₁ → z₂ → y with one ReLU unit each: W = (0.5, ±2, 1) and x = 1, so that z₁ starts at ½."""
    weights = (START, 2.0 * slope, 1.0)
    return PCN([torch.full((1, 1), w, dtype=torch.float64) for w in weights], "relu")


def kink_energy(slope: float, target: float, z: ArrayLike) -> np.ndarray:
    """F over z₁ (n,), with z₂ where it is lowest: at (φ(u₂) + y)/2."""
    net, z = kink_net(slope), torch.as_tensor(z)[:, None]
    x, y = torch.ones_like(z), torch.full_like(z, target)
    above = (torch.relu(z @ net.weights[1].t()) + y) / 2
    return network.energy(net, [z, above], x, y).numpy()


def kink_path(slope: float, target: float, steps: int = KINK_STEPS) -> np.ndarray:
    """z₁ over Euler's steps from the feedforward pass, (steps + 1,)."""
    net, x, y = kink_net(slope), *(torch.tensor([[v]], dtype=torch.float64) for v in (1.0, target))
    z, path = network.forward(net, x)[:-1], []
    for _ in range(steps + 1):
        path.append(z[0].item())
        z = [a - STEP * g for a, g in zip(z, network.activity_gradients(net, z, x, y), strict=True)]
    return np.array(path)


def kink_explorer() -> sliders.Explorer:
    """Where the energy of one ReLU unit is least, and whether Euler finds it."""
    grid = np.linspace(-1.0, 1.5, 101)

    def draw(target: float, slope: str) -> list[go.Figure]:
        sign = {"w₂ = 2": 1, "w₂ = −2": -1}[slope]
        values, path = kink_energy(sign, target, grid), kink_path(sign, target)
        left = go.Figure(layout={"title": {"text": "Energy over z₁"}})
        line = {"color": figures.COLOURS["PC"], "width": 2.5}
        left.add_scatter(x=grid, y=values, mode="lines", line=line, showlegend=False)
        for name, z, symbol in (("start", path[:1], "circle-open"), ("last steps", path[-6:], "x")):
            marker = {"symbol": symbol, "size": 11, "color": figures.NEUTRAL[0]}
            height = kink_energy(sign, target, z)
            left.add_scatter(x=z, y=height, mode="markers", marker=marker, name=name)
        left.update_xaxes(title_text="z₁").update_yaxes(title_text="energy ℱ", range=[0, 4])
        right = go.Figure(layout={"title": {"text": "Euler's z₁"}})
        right.add_scatter(y=path, mode="lines", line=line, showlegend=False)
        right.add_hline(0, line=figures.REFERENCE)
        right.update_xaxes(title_text="step").update_yaxes(title_text="z₁", range=[-0.7, 1.3])
        return [left, right]

    return sliders.explore(
        draw,
        sliders.Slider("target", "target y", (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0), start=2.0),
        sliders.Choice("slope", "second weight", ("w₂ = 2", "w₂ = −2"), start="w₂ = 2"),
        caption="One ReLU unit, u₂ = w₂z₁, with its kink at z₁ = 0. For targets of −1 and below and w₂ = 2 the energy "
        "is least at the kink, and Euler's steps jump across it for good. For large targets and w₂ = −2 there are two "
        "valleys, and Euler stays in the one where it starts.",
        alt="Left, the energy over the first activity, smooth on both sides of zero with a corner at zero. Right, its "
        "path over eighty steps. For targets of minus one and below with a positive weight the path falls to zero and "
        "zigzags around it. For a negative weight and targets of two or three the curve has a second, lower valley at "
        "negative values, and the path stays where it began.",
    )


def preactivations_figure(found: Mapping[str, np.ndarray]) -> go.Figure:
    """Histogram of u in the last hidden layer at the equilibria, from {name: array}, relative to their spread."""
    fig = go.Figure(layout={"title": {"text": "Preactivations at the equilibrium"}})
    edges = np.linspace(-2, 2, 62)
    for name, values in found.items():
        share = np.histogram(values / values.std(), edges)[0] / values.size
        line = {
            "color": figures.ACTIVATIONS[name][0],
            "shape": "hvh",
            "width": 2,
            "dash": "dot" if name == "tanh" else "solid",
        }
        fig.add_scatter(x=(edges[1:] + edges[:-1]) / 2, y=share, mode="lines", line=line, name=name)
    fig.update_xaxes(title_text="u / its standard deviation")
    return fig.update_yaxes(title_text="share of units", type="log")


def stall_figure(steps: figures.Values, residuals: Mapping[str, np.ndarray]) -> go.Figure:
    """Medians of the samples' residuals over Euler's steps, from {activation: values}."""
    fig = figures.curves(steps, residuals, "How far Euler is from rest", "Euler steps", "residual", True, True)
    for trace in fig.data:
        colour, symbol = figures.ACTIVATIONS[trace.name]
        trace.update(mode="lines+markers", line_color=colour, marker={"symbol": symbol, "size": 8})
    fig.add_vline(PAPER, line=figures.REFERENCE)
    return fig.update_yaxes(exponentformat="power")


LIBRARIES = {  # as the record names them: how the book does, colour, symbol
    "pcbook": ("this book's solver", figures.COLOURS["PC"], "square"),
    "Euler": ("the paper's Euler", figures.COLOURS["PC"], "circle-open"),
    "torch2pc": ("Torch2PC", figures.NEUTRAL[0], "diamond"),
    "jpc": ("JPC", figures.NEUTRAL[1], "cross"),
    "pcx": ("PCX", figures.NEUTRAL[2], "triangle-up"),
    "fabricpc": ("FabricPC", figures.NEUTRAL[0], "triangle-down"),
    "error_based_pc": ("error-based PC", figures.NEUTRAL[1], "star"),
}


def _kind(row: Row) -> str:
    return "Euler" if row["method"].startswith("Euler") and row["library"] == "pcbook" else row["library"]


def bill_explorer(rows: Sequence[Row] | None = None) -> sliders.Explorer:
    """T3, B4: price in BP steps against the weight gradients' error, from the rows of the record."""
    rows = inference_cost.recorded("inference-cost")["results"]["steps"] if rows is None else rows
    rows = [row for row in rows if row.get("error") and row.get("ratio")]
    limits = [[np.floor(np.log10(min(v))) - 0.2, np.ceil(np.log10(max(v))) + 0.2] for v in _extent(rows)]

    def draw(activation: str) -> go.Figure:
        fig = go.Figure(layout={"title": {"text": f"Price and accuracy, {activation}"}, "height": 500})
        for kind in dict.fromkeys(map(_kind, rows)):
            name, colour, symbol = LIBRARIES.get(kind, (kind, figures.GREY, "circle"))
            own = [row for row in rows if _kind(row) == kind and row["activation"] == activation]
            fig.add_scatter(
                x=[row["error"] for row in own],
                y=[row["ratio"] for row in own],
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.85},
                customdata=[f"{row['method']}, {row['stage']}" for row in own],
                hovertemplate="%{customdata}<br>error %{x:.1e}<br>%{y:.3g} BP steps<extra>" + name + "</extra>",
            )
        fig.add_hline(1, line=figures.REFERENCE | {"dash": "dash"})
        fig.update_xaxes(
            title_text="relative error of the weight gradients",
            type="log",
            range=limits[0],
            exponentformat="power",
            dtick=1,
        )
        return fig.update_yaxes(title_text="BP steps", type="log", range=limits[1], dtick=1).update_layout(
            showlegend=True
        )

    return sliders.explore(
        draw,
        sliders.Choice("activation", "Activation", tuple(figures.ACTIVATIONS), start="tanh"),
        caption="Each point is one way to the weight gradients: how many BP steps it takes, and the error it leaves. "
        "Cheap and accurate is down and left. The dashed line is one step of BP. Point at a mark to see the setting.",
        alt="Points over the error of the weight gradients and the price in backpropagation steps, both logarithmic. "
        "This book's solver lies lowest. The paper's Euler and the other libraries' accurate settings lie "
        "hundreds of BP steps higher, and their default settings, further to the right, at large errors.",
    )


def _extent(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    return [row["error"] for row in rows], [row["ratio"] for row in rows] + [0.5]


AXES = {"depth": "hidden layers", "width": "units a layer", "batch": "batch size", "classes": "outputs"}


def scaling_explorer(rows: Sequence[Row] | None = None) -> sliders.Explorer:
    """B4: the solver's price in BP steps over depth, width, batch and outputs, from the rows of the record."""
    rows = inference_cost.recorded("inference-scaling")["results"]["rows"] if rows is None else rows
    ratios = [row["ratio"] for row in rows if row.get("ratio")]
    limits = [np.log10(min(ratios)) - 0.2, np.log10(max(ratios)) + 0.2]

    def draw(axis: str) -> go.Figure:
        fig = go.Figure(layout={"title": {"text": f"Price over {AXES[axis]}"}, "height": 440})
        for activation, (colour, symbol) in figures.ACTIVATIONS.items():
            for start in ("PyTorch's default", "signals kept"):
                own = [row for row in rows if row["axis"] == axis and row["activation"] == activation]
                own = [row for row in own if (row["scheme"] == "default") == (start == "PyTorch's default")]
                fig.add_scatter(
                    x=[row["value"] for row in own],
                    y=[row.get("ratio") for row in own],
                    mode="lines+markers",
                    name=f"{activation}, {start}",
                    line={"color": colour, "dash": "solid" if start == "PyTorch's default" else "dot"},
                    marker={"symbol": symbol, "size": 8},
                    showlegend=bool(own),
                )
        fig.add_hline(1, line=figures.REFERENCE | {"dash": "dash"})
        fig.update_xaxes(title_text=AXES[axis], type="log")
        return fig.update_yaxes(title_text="BP steps", type="log", range=limits)

    return sliders.explore(
        draw,
        sliders.Choice("axis", "What changes", tuple(AXES), start="depth"),
        caption="The price of an equilibrium as one size changes at a time. Dotted, over depth only: initial weights "
        "that keep the signal's size (orthogonal; He's for ReLU).",
        alt="Lines of the price in backpropagation steps over one size, for linear, tanh and ReLU networks. Linear "
        "networks lie lowest, ReLU highest. Over the number of outputs the price rises once there are more of them "
        "than samples in the batch.",
    )
