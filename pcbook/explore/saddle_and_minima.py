"""Figures of the chapter "The saddle and the minima, proved": rates, flows, flatness and noise on the weights."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from pcbook import figures, intervals, onemlp, sliders
from pcbook.experiments import toy
from pcbook.explore import landscape

X, Y = 1.0, toy.SLOPE
HESSIANS = {"BP": onemlp.loss_hessian, "PC": onemlp.equilibrated_energy_hessian}
ANGLE = np.linspace(0, 2 * np.pi, 49)
RING = np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)  # starts at distance 1 from the critical point


def rho(ratio: ArrayLike) -> np.ndarray:
    """ρ = (q + √(q² + 4)) / 2 with q = |y/x|: how many times faster PC leaves the saddle, Theorem A.3."""
    q = np.abs(ratio)
    return (q + np.sqrt(q**2 + 4)) / 2


def rate_figure() -> list[go.Figure]:
    """ρ over |y/x|, and the rates themselves for x = 1: away from the saddle and towards it."""
    q = np.geomspace(0.1, 10, 61)
    ratio = figures.curves(
        q,
        {"ρ": rho(q)},
        "How many times faster PC escapes",
        "|y/x|",
        "PC's escape rate ÷ BP's, ρ",
        log_x=True,
        log_y=True,
    )
    bp, pc = (np.linalg.eigvalsh(hessian(0.0, 0.0, 1.0, q)) for hessian in HESSIANS.values())
    series = {"BP, both": bp[:, 1], "PC, away": -pc[:, 0], "PC, towards": pc[:, 1]}
    title = "Rates away from the saddle and towards it"
    rates = figures.curves(q, series, title, "|y/x|", "|λ| for x = 1", log_x=True, log_y=True)
    rates.data[2].line.width = 1
    for fig in (ratio, rates):
        fig.update_xaxes(tickvals=[0.1, 0.3, 1, 3, 10])
    ratio.update_yaxes(tickvals=[1, 1.5, 2, 3, 5, 10])
    return [ratio, rates.update_yaxes(tickvals=[0.1, 1, 10, 100])]


def sign_figure(hessian: np.ndarray, offset: ArrayLike, learning_rate: float = 0.01, steps: int = 300) -> go.Figure:
    """Distance from the saddle over time: Eq. 19 with its minus sign, as printed, and gradient descent itself."""
    t = learning_rate * np.arange(steps + 1)
    w = onemlp.descent("PC", offset, [(X, Y)] * steps, learning_rate)
    distances = {
        "descent with tiny steps": w,
        "exp(−Λt), corrected": onemlp.linear_flow(t, hessian, offset),
        "exp(+Λt), as printed": onemlp.linear_flow(-t, hessian, offset),
    }
    series = {name: np.linalg.norm(path, axis=-1) for name, path in distances.items()}
    fig = figures.curves(t, series, "Distance from the saddle", "time t", "‖w(t)‖", log_y=True)
    fig.data[0].line.width, fig.data[1].line.dash, fig.data[2].line.dash = 6, "dash", "dot"
    return fig.update_yaxes(dtick=1, exponentformat="power")


def flow(hessian: np.ndarray, t: float, offsets: np.ndarray) -> np.ndarray:
    """Eq. 19 for many offsets (n, 2) at once: the flow is linear, so two of them give its matrix."""
    matrix = np.stack([onemlp.linear_flow(t, hessian, unit) for unit in np.eye(2)], axis=-1)
    return offsets @ matrix.T


def _flow_panel(algorithm: str, hessian: np.ndarray, t: float, limit: float) -> go.Figure:
    fig, arrows = go.Figure(), np.linspace(-0.9 * limit, 0.9 * limit, 9)
    field = -np.stack(np.meshgrid(arrows, arrows), axis=-1) @ hessian
    figures.add_field(fig, arrows, arrows, field, colour=figures.FAINT)
    dots = {"color": figures.GREY, "dash": "dot"}
    fig.add_scatter(x=RING[:, 0], y=RING[:, 1], mode="lines", line=dots, name="start")
    trails = np.stack([flow(hessian, s, RING[:-1:4]) for s in np.linspace(0, t, 6)], axis=1)
    x, y = np.concatenate([trails, np.full_like(trails[:, :1], np.nan)], axis=1).reshape(-1, 2).T
    colour, now = figures.COLOURS[algorithm], flow(hessian, t, RING)
    fig.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 1}, showlegend=False, hoverinfo="skip")
    line = {"color": colour, "width": 3, "dash": figures.DASHES[algorithm]}
    fig.add_scatter(x=now[:, 0], y=now[:, 1], mode="lines", line=line, name=f"{algorithm}, t = {t:.3g}")
    fig.update_layout(title_text=f"{algorithm}: mean distance {np.linalg.norm(now[:-1], axis=-1).mean():.2f}")
    fig.update_xaxes(title_text="Δw₁", range=[-limit, limit], constrain="domain")
    return fig.update_yaxes(title_text="Δw₂", range=[-limit, limit], constrain="domain", scaleanchor="x")


def escape_explorer() -> sliders.Explorer:
    """Fig. 5: a ring of starts around the saddle, or around the minimum closest to it, flowing by Eq. 19."""

    def draw(t: float, place: str, slope: float) -> list[go.Figure]:
        minimum, limit = onemlp.closest_solution(0.0, 0.0, slope), 4.0 if place == "saddle" else 1.6
        w = (0.0, 0.0) if place == "saddle" else minimum
        return [_flow_panel(name, hessian(*w, 1.0, slope), t, limit) for name, hessian in HESSIANS.items()]

    return sliders.explore(
        draw,
        sliders.Slider("t", "time t", tuple(np.arange(0, 1.51, 0.125)), start=0.0, high=3.0),
        sliders.Choice("place", "around the", ("saddle", "minimum")),
        sliders.Slider("slope", "y/x", (-2.0, -1.0, -0.5), start=-1.0, low=-3.0, high=3.0),
        caption="A ring of starts, in units of its radius. At the **saddle** PC stretches it faster and at a steeper "
        "slant; at the **minimum** it presses it onto the valley floor more slowly.",
        alt="Two panels, backpropagation and predictive coding, each with a ring of starts around a critical point "
        "and the shape it has flowed into. Around the saddle both rings become ellipses; predictive coding's is "
        "longer and leans towards w2. Around the minimum both are squeezed onto the valley's floor, predictive "
        "coding's less.",
    )


def flatness_figure() -> go.Figure:
    """Theorem A.4: the curvature across the valley of ℒ and of ℱ* along the solutions w1 = y / (w2 x)."""
    w2 = np.geomspace(0.25, 4, 81)
    series = {
        f"{name}, on {on}": np.linalg.eigvalsh(hessian(Y / (X * w2), w2, X, Y))[:, 1]
        for (name, hessian), on in zip(HESSIANS.items(), ("ℒ", "ℱ*"), strict=True)
    }
    title = "Curvature across the valley"
    fig = figures.curves(w2, series, title, "w₂ of the solution", "largest eigenvalue", log_x=True, log_y=True)
    fig.update_yaxes(tickvals=[0.5, 1, 2, 5, 10, 20])
    return fig.update_xaxes(tickvals=[0.25, 0.5, 1, 2, 4])


# What noise on the weights does after training.

PLACES = {"a surplus in w₁": (1.3, 0.6), "nearly equal weights": (0.6, 0.5), "a surplus in w₂": (0.5, 1.2)}


@functools.cache
def _ends(place: str) -> tuple[go.Figure, dict[str, np.ndarray]]:
    """The landscape ℒ with the paths of BP and PC from a start, and where they end."""
    fig = landscape.panel("BP")
    fig.data = [trace for trace in fig.data if trace.name != "direction"]
    paths = {k: onemlp.descent(k, PLACES[place], [(X, Y)] * 300, toy.LEARNING_RATE) for k in HESSIANS}
    for name, path in paths.items():
        figures.add_path(fig, path, name)
        fig.data[-1].mode = "lines"
    return fig.update_layout(title_text="Where training ended, and noise"), {k: path[-1] for k, path in paths.items()}


def noise_explorer(draws: int = 2000, shown: int = 100) -> sliders.Explorer:
    """Fig. 6 with a slider for the noise: clouds around both ends of training, and the error they make."""
    noise = np.random.default_rng(0).normal(size=(draws, 2))
    sigmas = np.linspace(0, 1, 41)

    def draw(sigma: float, place: str) -> list[go.Figure]:
        base, ends = _ends(place)
        left, errors = go.Figure(base), {k: onemlp.perturbed_error(*end, X, Y, sigmas) for k, end in ends.items()}
        right = figures.curves(sigmas, errors, "Mean squared error of the prediction", "noise σ", "error")
        for name, end in ends.items():
            cloud, colour = end + sigma * noise, figures.COLOURS[name]
            marker = {
                "color": colour,
                "size": 4,
                "symbol": figures.MARKERS[name],
                "line": {"color": figures.WHITE, "width": 0.5},
            }
            x, y = cloud[:shown].T
            left.add_scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, hoverinfo="skip")
            mean = intervals.mean(2 * onemlp.loss(*cloud.T, X, Y))
            bar = {"type": "data", "array": [mean.high - mean.value], "thickness": 2}
            marker = {"color": colour, "size": 9, "symbol": figures.MARKERS[name]}
            right.add_scatter(x=[sigma], y=[mean.value], error_y=bar, mode="markers", marker=marker, showlegend=False)
        return [left, right.update_yaxes(range=[0, 3.5])]

    return sliders.explore(
        draw,
        sliders.Slider("sigma", "noise σ", tuple(np.arange(0, 1.01, 0.1)), start=0.5),
        sliders.Choice("place", "start with", tuple(PLACES)),
        caption="Lines: closed form. Points: the mean of sampled noise, with its 95 % interval. "
        "Which algorithm errs less depends on **where training ended**, and that on where it started.",
        alt="Left, the loss landscape with the end points of both algorithms on the curve of solutions and a cloud of "
        "perturbed weights around each. Right, the mean squared error over the noise: two curves that rise from "
        "zero. From a start with a surplus in w1 predictive coding's curve is lower, from the other starts "
        "backpropagation's is.",
    )


def imbalance_figure(imbalance: np.ndarray, difference: np.ndarray, sigma: float) -> go.Figure:
    """Each run's difference in error, PC − BP, over the imbalance w2² − w1² of its start, and the least it can be."""
    fig = go.Figure(layout={"title": {"text": "Who is more robust, by the start"}})
    for name, part in (("BP", difference >= 0), ("PC", difference < 0)):
        marker = {"color": figures.COLOURS[name], "symbol": figures.MARKERS[name], "size": 4, "opacity": 0.6}
        x, y = imbalance[part].astype(np.float32), difference[part].astype(np.float32)
        fig.add_scatter(x=x, y=y, mode="markers", marker=marker, name=f"{name} errs less", hoverinfo="skip")
    s = np.linspace(-1, 1, 81)
    bound = sigma**2 * X**2 * np.where(s < 0, 2 * abs(Y / X) - np.sqrt(s**2 + 4 * (Y / X) ** 2), 0.0)
    line = {"color": figures.GREY, "dash": "dash"}
    fig.add_scatter(x=s, y=bound, mode="lines", line=line, name="least difference the flow allows")
    fig.update_xaxes(title_text="imbalance w₂² − w₁² of the start")
    return fig.update_yaxes(title_text="error of PC − error of BP")


def ten_seed_experiments(
    ends: Mapping[str, np.ndarray], sigma: float, draws: Sequence[int], generator: np.random.Generator, seeds: int = 10
) -> np.ndarray:
    """In which of many experiments PC's mean error is the lower one; bool (len(draws), experiments).

    `ends` maps BP and PC to final weights (runs, 2), cut into experiments of `seeds` runs; `draws` are the numbers
    of noise draws over which each run's error is averaged.
    """
    means = {}
    for name, w in ends.items():
        errors = onemlp.sample_perturbed_error(w[:, 0], w[:, 1], X, Y, sigma, int(max(draws)), generator)
        experiments = errors.reshape(len(errors), -1, seeds).mean(axis=-1)
        means[name] = np.cumsum(experiments, axis=0)[np.asarray(draws) - 1]
    return means["PC"] < means["BP"]


def seeds_figure(draws: Sequence[int], ahead: Mapping[str, np.ndarray]) -> go.Figure:
    """The share of experiments with PC ahead over the noise draws per run, from `{reading of 0.5: ahead}`."""
    series = {}
    for reading, hits in ahead.items():
        shares = [intervals.share(row) for row in hits]
        series[reading] = tuple(np.array([getattr(s, end) for s in shares]) for end in ("value", "low", "high"))
    title, x_title = "Ten-seed experiments with PC ahead", "noise draws per run"
    fig = figures.curves(np.asarray(draws), series, title, x_title, "share of experiments", log_x=True)
    fig.update_xaxes(tickvals=list(draws), range=[-0.05, np.log10(draws[-1]) + 0.1])
    return fig.update_yaxes(range=[0, 0.62], tickformat=".0%").add_hline(0.5, line=figures.REFERENCE)
