"""Figures of the chapter on the precision ratio γ = Π1/Π2: the dial between BP and target propagation (Fig. 9)."""

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from pcbook import diagram, figures, onemlp, sliders
from pcbook.experiments import toy

X, Y = 1.0, toy.SLOPE  # one sample stands for all batches: theorem "batch"
AXIS = np.linspace(-2, 2, 41)
TOP = 4.0  # the colours end here
GAMMA_LOW, GAMMA_HIGH = 0.01, 100.0
FULL = {"BP": "backpropagation", "TP": "target propagation", "PC": "predictive coding"}


def ratios(count: int = 33) -> np.ndarray:
    """Precision ratios over four decades, evenly spaced on a log scale but for exact ½, 1 and 2."""
    values = np.geomspace(GAMMA_LOW, GAMMA_HIGH, count)
    for exact in (0.5, 1.0, 2.0):
        values[np.abs(np.log(values / exact)).argmin()] = exact
    return values


def path(algorithm: str, w0: ArrayLike, learning_rate: float, gamma: float, steps: int = 160) -> np.ndarray:
    """Weights (n, 2) of full-batch descent from `w0`, cut where a run leaves |w| ≤ 50."""
    pi1, pi2 = onemlp.precisions(gamma) if algorithm == "PC" else (1.0, 1.0)
    w = onemlp.descent(algorithm, w0, itertools.repeat((X, Y), steps), learning_rate, pi1, pi2)
    return w[np.logical_and.accumulate(np.all(np.abs(w) <= 50, axis=-1))]


_path = functools.lru_cache(512)(path)


def gamma_explorer(start: tuple[float, float] = (1.0, 0.6), learning_rate: float = 0.05) -> sliders.Explorer:
    """Fig. 9's dial: where inference leaves the error, ℱ* with the paths of BP, PC and TP, and PC's angle to both.

    The total variance is 1. In the book γ takes the values of `ratios`; with a kernel it is continuous, and start, α
    and algorithms move too.
    """
    w1, w2 = np.meshgrid(AXIS, AXIS)
    starts = toy.starts(2000, seed=0)
    ratio, means = _mean_angles()
    to_bp, to_tp = means["BP"], means["TP"]

    def draw(
        gamma: float,
        w1_start: float = start[0],
        w2_start: float = start[1],
        learning_rate: float = learning_rate,
        algorithm: str = "all three",
    ) -> list[go.Figure]:
        energy, w0 = onemlp.equilibrated_energy(w1, w2, X, Y, *onemlp.precisions(gamma)), (w1_start, w2_start)
        fig = figures.landscape(
            AXIS, AXIS, energy, f"2 The ground it makes: ℱ*, γ = {gamma:.3g}", zmax=TOP, scale=False
        )
        figures.add_manifold(fig, Y / X, AXIS[-1])
        for name, words in FULL.items():
            way = _path(name, tuple(map(float, w0)), float(learning_rate), float(gamma) if name == "PC" else 1.0)
            figures.add_path(fig, way, name, f"{name}, {words}")
            if algorithm not in ("all three", name):
                fig.update_traces(visible=False, selector={"legendgroup": f"{name}, {words}"})
        label = {"font": {"color": figures.WHITE}, "bgcolor": figures.VEIL, "showarrow": False}
        fig.add_annotation(x=0, y=0, text="saddle", yshift=-12, **label)
        fig.add_annotation(x=-1.15, y=1.45, text="solutions, ℱ* = 0", **label)
        return [_tug_of_war(gamma, *w0), fig.update_layout(height=460), _dial(gamma, starts)]

    return sliders.explore(
        draw,
        sliders.Slider("gamma", "precision ratio γ", ratios(), start=1.0, log=True),
        sliders.Slider("w1_start", "start w₁", (-2.0, start[0], 2.0), start=start[0], live=True),
        sliders.Slider("w2_start", "start w₂", (-2.0, start[1], 2.0), start=start[1], live=True),
        sliders.Slider("learning_rate", "learning rate α", (0.01, learning_rate, 0.21), start=learning_rate, live=True),
        sliders.Choice("algorithm", "paths", ("all three", "BP", "PC", "TP"), live=True),
        caption="1: inference lets the hidden unit z settle between what its input predicts and what its target asks. "
        "γ says whom it trusts, and so **where the error is left**. 2: the energy that remains, over the weights, is "
        "the ground on which PC descends; three paths from one start. 3: so **large γ makes PC backpropagation**, with "
        "all error at the output, and **small γ target propagation**, with all of it in the hidden layer. Both are "
        "limits; γ = 2 and γ = ½ are on the way.",
        alt="Three panels that follow one slider, the precision ratio. First, input, hidden unit and target with their "
        "prediction errors: at large ratios all error energy is at the target, at small ones all is at the hidden "
        "unit. Second, contours of the equilibrated energy over the two weights, with the paths of BP, PC and TP from "
        "one start; at small ratios a ridge stands along zero output weight and PC follows TP, at large ones the "
        "ridge is gone and PC follows BP. Third, over the ratio, PC's mean angle to BP falls from "
        f"{to_bp[0]:.0f} degrees to {to_bp[-1]:.1f}, its angle to TP rises from {to_tp[0]:.1f} to {to_tp[-1]:.0f}, and "
        f"they cross near {ratio[np.abs(to_bp - to_tp).argmin()]:.1g}.",
    )


def _tug_of_war(gamma: float, w1: float, w2: float) -> go.Figure:
    """The 1MLP at its equilibrium: which of its two errors is left."""
    ends = [_settled(g, w1, w2) for g in (GAMMA_LOW, gamma, GAMMA_HIGH)]
    limits = [max(1e-9, *(np.abs(np.concatenate(part)).max() for part in parts)) for parts in zip(*ends, strict=True)]
    title = "1 Inference shares the error out"
    (activities, errors, sizes), names = ends[1], ["input<br>x", "hidden unit<br>z", "target<br>y"]
    fig = diagram.network(activities, errors, np.concatenate(sizes), title, limits, names=names)
    return fig.update_layout(height=460)


def _settled(gamma: float, w1: float, w2: float) -> list[list[np.ndarray]]:
    """Activities, errors and the errors' weighted sizes, each a list of vectors of length 1."""
    pi1, pi2 = onemlp.precisions(gamma)
    z = float(onemlp.equilibrium(w1, w2, X, Y, pi1, pi2))
    e1, e2 = z - w1 * X, Y - w2 * z
    numbers = (X, z, Y), (e1, e2), (np.sqrt(pi1) * abs(e1), np.sqrt(pi2) * abs(e2))
    return [[np.array([float(v)]) for v in part] for part in numbers]


@functools.cache
def _mean_angles() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    starts, gamma = toy.starts(2000, seed=0), np.geomspace(GAMMA_LOW, GAMMA_HIGH, 81)
    return gamma, {limit: toy.angles(gamma[:, None], limit, starts).mean(axis=-1) for limit in ("BP", "TP")}


def _dial(gamma: float, starts: np.ndarray) -> go.Figure:
    """Mean angle of PC(γ) to BP and to TP over γ, with a marker at `gamma`."""
    x, means = _mean_angles()
    series = {f"{limit} to PC": mean for limit, mean in means.items()}
    title = "3 So PC turns from TP to BP"
    fig = figures.curves(x, series, title, "precision ratio γ", "mean angle, degrees", log_x=True)
    here = [toy.angles(gamma, limit, starts).mean() for limit in ("BP", "TP")]
    marker = {
        "size": 12,
        "color": figures.COLOURS["PC"],
        "symbol": "square",
        "line": {"color": figures.WHITE, "width": 1},
    }
    fig.add_scatter(x=[gamma, gamma], y=here, mode="markers+lines", marker=marker, name="PC now")
    fig.data[-1].line = {"color": figures.COLOURS["PC"], "width": 1}
    for claimed, text in ((0.5, "½"), (2.0, "2")):
        line = figures.REFERENCE | {"width": 1}
        style = {"mode": "lines+text", "text": [f"γ = {text}", ""], "textposition": "top center", "showlegend": False}
        fig.add_scatter(x=[claimed, claimed], y=[80, 0], line=line, hoverinfo="skip", **style)
    fig.update_yaxes(range=[-2, 90], dtick=15)
    return fig.update_xaxes(range=[-2.05, 2.05], dtick=1).update_layout(height=330)


def convergence_figure(k: np.ndarray, errors: Mapping[str, np.ndarray]) -> go.Figure:
    """Median and 5 to 95 % band over starts of `{name: errors (len(k), starts)}`, doubly logarithmic."""
    series = {name: tuple(np.quantile(error, [0.5, 0.05, 0.95], axis=1)) for name, error in errors.items()}
    fig = figures.curves(
        k, series, "Relative error of PC's gradient", "how far γ is turned, k", "relative error", log_x=True, log_y=True
    )
    return fig.update_xaxes(dtick=1).update_yaxes(dtick=1, exponentformat="power")


def escape_figures(gamma: np.ndarray, rates: dict[str, np.ndarray], turned: np.ndarray) -> list[go.Figure]:
    """−λ_min at the saddle by `{scale: rate}` over γ, and the angle between escape direction and closest solution."""
    series = rates | {"BP": np.ones(len(gamma))}
    speed = figures.curves(
        gamma, series, "Escape rate from the saddle", "precision ratio γ", "−λ_min", log_x=True, log_y=True
    )
    title = "Escape direction, off the solutions by"
    aim = figures.curves(gamma, {"PC": turned}, title, "precision ratio γ", "degrees", log_x=True)
    return [speed.update_xaxes(dtick=1).update_yaxes(dtick=1), aim.update_xaxes(dtick=1).update_yaxes(dtick=15)]


def flatness_figures(gamma: np.ndarray, factor: Mapping[tuple[str, str], np.ndarray]) -> list[go.Figure]:
    """PC's curvature at a solution over BP's, from `{(scale, label of the solution): factor}`; a panel per scale."""
    panels = []
    for scale in dict.fromkeys(scale for scale, _ in factor):
        series = {label: values for (of, label), values in factor.items() if of == scale}
        fig = figures.curves(gamma, series, f"Curvature ÷ BP's, {scale}", "γ", "factor", log_x=True, log_y=True)
        fig.update_xaxes(title_text="precision ratio γ")
        for trace, dash in zip(fig.data, ("solid", "dash", "dot"), strict=True):
            trace.line.dash = dash
        panels.append(fig.update_xaxes(dtick=1).update_yaxes(range=[-2.6, 0.8], dtick=1))
    return panels
