"""Figures of the chapter "The landscape of the smallest network": paths over ℒ and ℱ*, and inference over time."""

import functools
import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from pcbook import figures, intervals, onemlp, sliders
from pcbook.experiments import toy

X, Y = 1.0, toy.SLOPE  # one sample stands for all batches: theorem "batch"
AXIS = np.linspace(-2, 2, 41)
W1, W2 = np.meshgrid(AXIS, AXIS)
ARROWS = np.linspace(-1.8, 1.8, 10)
TOP = 4.0  # the colours end here
STEPS = 60
NAMES = {"BP": "the loss ℒ", "PC": "the energy ℱ*", "TRN": "the loss ℒ", "TP": "TP's loss"}


def objective(algorithm: str, w1: ArrayLike, w2: ArrayLike) -> np.ndarray:
    """What `algorithm` descends, at the weights (w1, w2)."""
    descended = {"PC": onemlp.equilibrated_energy, "TP": onemlp.target_propagation_loss}
    return descended.get(algorithm, onemlp.loss)(w1, w2, X, Y)


def path(algorithm: str, w0: ArrayLike, learning_rate: float = toy.LEARNING_RATE, steps: int = STEPS) -> np.ndarray:
    """Weights (n, 2) from `w0` until ℒ < 0.001, for `steps` steps, or until the run leaves |w| ≤ 50."""
    w = onemlp.descent(algorithm, w0, itertools.repeat((X, Y), steps), learning_rate)
    w = w[np.logical_and.accumulate(np.all(np.abs(w) <= 50, axis=-1))]
    done = onemlp.loss(*w.T, X, Y) < toy.TOLERANCE
    return w[: done.argmax() + 1] if done.any() else w


def panel(algorithm: str) -> go.Figure:
    """Contours of what `algorithm` descends, the solutions, and an arrow along its update at each point."""
    title = f"{algorithm} on {NAMES[algorithm]}"
    fig = figures.landscape(AXIS, AXIS, objective(algorithm, W1, W2), title, zmax=TOP)
    grid = np.stack(np.meshgrid(ARROWS, ARROWS), axis=-1)
    figures.add_field(fig, ARROWS, ARROWS, onemlp.update(algorithm, grid, X, Y))
    return figures.add_manifold(fig, Y / X, AXIS[-1])


_panel = functools.cache(panel)


def surfaces(limit: float = 1.4) -> list[go.Figure]:
    """Fig. 1, top: ℒ and ℱ* as surfaces on the same scale."""
    axis = np.linspace(-limit, limit, 41)
    grid, top = np.meshgrid(axis, axis), objective("BP", limit, limit)
    both = [
        figures.surface(axis, axis, objective(name, *grid), title)
        for name, title in (("BP", "The loss ℒ"), ("PC", "The equilibrated energy ℱ*"))
    ]
    return [fig.update_scenes(zaxis_range=[0, float(top)]) for fig in both]


def contours(starts: Iterable[ArrayLike]) -> list[go.Figure]:
    """Fig. 1, bottom: the contours of ℒ and ℱ* with arrows, and the paths of BP and PC from each of `starts`."""
    both = [panel("BP"), panel("PC")]
    for fig, algorithm in zip(both, ("BP", "PC"), strict=True):
        for i, w0 in enumerate(starts):
            figures.add_path(fig, path(algorithm, w0), algorithm)
            fig.data[-1].showlegend = i == 0
    return both


def cuts() -> list[go.Figure]:
    """ℒ and ℱ* along two straight lines: w1 = 0, through the saddle, and w2 = 2, across a valley."""
    along: dict[str, tuple[str, ArrayLike, ArrayLike]] = {
        "Along w₁ = 0, through the saddle": ("w₂", 0.0, AXIS),
        "Along w₂ = 2, across a valley": ("w₁", AXIS, 2.0),
    }
    both = []
    for title, (moving, w1, w2) in along.items():
        series = {f"{name} {symbol}": objective(name, w1, w2) for name, symbol in (("BP", "ℒ"), ("PC", "ℱ*"))}
        series = {key: np.broadcast_to(values, AXIS.shape) for key, values in series.items()}
        both.append(figures.curves(AXIS, series, title, moving, "loss, energy").update_yaxes(rangemode="tozero"))
    return both


def _losses(paths: Mapping[str, np.ndarray]) -> go.Figure:
    """ℒ by step for each path, padded with NaN after its end."""
    padded = np.full((len(paths), STEPS + 1), np.nan)
    for row, w in zip(padded, paths.values(), strict=True):
        row[: len(w)] = onemlp.loss(*w.T, X, Y)
    fig = figures.curves(np.arange(STEPS + 1), dict(zip(paths, padded, strict=True)), "The loss ℒ", "step", "ℒ")
    fig.update_yaxes(type="log", range=[-3.6, 1.2], dtick=1).update_xaxes(range=[0, STEPS])
    return fig.add_hline(toy.TOLERANCE, line=figures.REFERENCE | {"width": 1})


@functools.lru_cache(512)
def _traced(algorithm: str, w0: tuple[float, float], learning_rate: float) -> tuple[go.Figure, np.ndarray]:
    """The landscape with the path from `w0`, and that path."""
    w = path(algorithm, w0, learning_rate)
    return figures.add_path(go.Figure(_panel(algorithm)), w, algorithm), w


def start_explorer() -> sliders.Explorer:
    """Drop both algorithms anywhere in the plane: ℒ with BP's path, what the other descends with its own, ℒ by step."""

    def draw(w1: float, w2: float, algorithm: str, learning_rate: float = toy.LEARNING_RATE) -> list[go.Figure]:
        (bp, bp_path), (other, other_path) = (
            _traced(name, (float(w1), float(w2)), float(learning_rate)) for name in ("BP", algorithm)
        )
        return [bp, other, _losses({"BP": bp_path, algorithm: other_path})]

    starts = tuple(np.arange(-1.5, 1.6, 0.5))
    return sliders.explore(
        draw,
        sliders.Slider("w1", "start w₁", starts, start=0.5, low=-2, high=2),
        sliders.Slider("w2", "start w₂", starts, start=0.5, low=-2, high=2),
        sliders.Choice("algorithm", "on the right", ("PC", "TRN", "TP")),
        sliders.Slider("learning_rate", "learning rate α", (0.02, 0.2, 1.02), start=0.2, live=True),
        caption="The same start, two landscapes. From **w₁ = w₂** BP ends in the saddle for good; PC does not.",
        alt="Three panels for one pair of initial weights: the loss landscape with the path of backpropagation, the "
        "landscape of the chosen algorithm with its path, and the loss of both by step. From equal weights of "
        "one half, backpropagation ends in the saddle at the origin and predictive coding reaches a solution.",
    )


def inference_landscape_explorer(eta: float = 0.1, last: int = 20) -> sliders.Explorer:
    """Fig. 8: ℱ(z_t(w), w) after t Euler steps, and the share of what inference can remove that is left."""
    energies = onemlp.energy(onemlp.euler_inference(last, W1, W2, X, Y, eta), W1, W2, X, Y)
    w2 = np.linspace(-3, 3, 121)

    def draw(t: int) -> list[go.Figure]:
        title = "ℱ after 1 step" if t == 1 else f"ℱ after {t} steps"
        left = figures.landscape(AXIS, AXIS, energies[t], title, zmax=TOP)
        figures.add_manifold(left, Y / X, AXIS[-1])
        share = {"share left": onemlp.contraction(w2, eta) ** (2 * t)}
        right = figures.curves(w2, share, "What inference has left to remove", "w₂", "(ℱ − ℱ*) / (ℒ − ℱ*)")
        return [left, right.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")]

    return sliders.explore(
        draw,
        sliders.Slider("t", "inference steps t", tuple(range(last + 1)), start=0),
        caption=f"Inference (η = {eta:g}) turns the loss ℒ, t = 0, into the equilibrated energy ℱ*. "
        "It is slowest where **w₂ is near 0**.",
        alt="Left, the energy over the weights after t inference steps: at t = 0 it is the loss, and the ground above "
        "and below the origin sinks as t grows. Right, the share of the removable energy that is left, as a "
        "function of w2: a bump centred at w2 = 0 that shrinks with t but is the last to vanish.",
    )


def paths_figure(runs: Mapping[str, toy.Training]) -> list[go.Figure]:
    """Fig. 1 over many starts: how many paths of BP and PC come close to the saddle, and how many make a detour."""
    closest, detour = np.linspace(0, 1.3, 66), np.linspace(1, 1.5, 51)
    near = {name: np.mean(run.nearest_to_saddle[:, None] < closest, axis=0) for name, run in runs.items()}
    long = {name: np.mean(run.detour[:, None] > detour, axis=0) for name, run in runs.items()}
    both = [
        figures.curves(closest, near, "Paths that come closer to the saddle than …", "distance d", "share of starts"),
        figures.curves(detour, long, "Paths that are longer than …", "times the shortest way", "share of starts"),
    ]
    return [fig.update_yaxes(rangemode="tozero", tickformat=".0%") for fig in both]


def speed_figure(runs: Mapping[str, toy.Training]) -> go.Figure:
    """T2: mean steps of BP and PC in each phase of training, with 95 % intervals."""
    bp, pc = runs["BP"], runs["PC"]
    phases = {"escape": "until ℒ < ¼", "last": "from ℒ < 0.01 on", "steps": "all, to ℒ < 0.001"}
    estimates = {
        f"{name}, {phase}": intervals.mean(getattr(run, field))
        for field, phase in phases.items()
        for name, run in (("BP", bp), ("PC", pc))
    }
    rows = {name: (e.value, e.low, e.high) for name, e in estimates.items()}
    fig = figures.intervals(rows, "Steps in each phase of training", "mean number of steps")
    return fig.update_xaxes(rangemode="tozero")


def steps_needed(algorithm: str, learning_rate: float, starts: ArrayLike, limit: int = 200) -> np.ndarray:
    """Full-batch steps until ℒ < 0.001 from each of `starts`; `limit` where that is not enough or the run diverges."""
    w = onemlp.descent(algorithm, starts, itertools.repeat((X, Y), limit), learning_rate)
    with np.errstate(all="ignore"):
        done = (Y - w[..., 0] * w[..., 1] * X) ** 2 / 2 < toy.TOLERANCE
    return np.where(done.any(axis=0), done.argmax(axis=0), limit)


def learning_rate_figure(rates: np.ndarray, steps: Mapping[str, np.ndarray]) -> go.Figure:
    """Mean steps to ℒ < 0.001 over the learning rate, from `{algorithm: (rates, starts)}`, with 95 % bands."""
    series = {}
    for name, counts in steps.items():
        rows = [intervals.mean(row) for row in counts]
        series[name] = tuple(np.array([getattr(row, end) for row in rows]) for end in ("value", "low", "high"))
    title = "Steps to a solution, by learning rate"
    fig = figures.curves(rates, series, title, "learning rate α", "mean steps to ℒ < 0.001", log_y=True)
    return fig.update_yaxes(tickvals=[2, 5, 10, 20, 50, 100, 200])
