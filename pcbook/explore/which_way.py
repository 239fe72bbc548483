"""Explorers of the chapter "Which way to step": the closest solution, Fig. 2 by blocks of seeds, and its map."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from pcbook import checks, figures, intervals, onemlp, sliders
from pcbook.experiments import toy

ALGORITHMS = ("BP", "PC", "TRN")


def stationary_points(w1: ArrayLike, w2: ArrayLike, slope: ArrayLike = toy.SLOPE) -> np.ndarray:
    """The solutions (u, m/u) at which the distance to (w1, w2) is stationary, nearest first; shape (2 to 4, 2).

    The u are the real roots of u⁴ − w1 u³ + m w2 u − m², Eq. 10 for any `slope` m. Raises `ValueError` unless
    all three are finite and the slope is not 0.
    """
    w1, w2, slope = checks.array("w1", w1), checks.array("w2", w2), checks.nonzero("slope", slope)
    roots = np.roots([1.0, -w1, 0.0, slope * w2, -(slope**2)])
    u = roots.real[np.abs(roots.imag) < 1e-4 * np.abs(roots)]
    points = np.stack([u, slope / u], axis=-1)
    return points[np.argsort(np.linalg.norm(points - (w1, w2), axis=-1))]


def closest_solution_explorer(limit: float = 2.0) -> sliders.Explorer:
    """Move (w1, w2): the stationary points of the distance, the closest one, and which way each algorithm steps."""
    axis = np.linspace(-limit, limit, 41)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    distances = np.linalg.norm(onemlp.closest_solution(*np.moveaxis(grid, -1, 0), toy.SLOPE) - grid, axis=-1)
    background = figures.landscape(axis, axis, distances, "Distance to the closest solution", scale=False)
    figures.add_manifold(background, toy.SLOPE, limit).update_layout(height=470)

    def draw(w1: float, w2: float) -> list[go.Figure]:
        w, points = np.array([w1, w2]), stationary_points(w1, w2)
        far = np.linalg.norm(points - w, axis=-1)
        tie = np.count_nonzero(far < far[0] + 1e-6) > 1
        plane = go.Figure(background)
        _add_rays(plane, w, points)
        for name in ALGORITHMS:
            _add_step(plane, name, w, points[0] - w)
        title = f"Closest at distance {far[0]:.2f}" + (", a tie" if tie else "")
        return [plane, _distance_profile(w, points, far, title)]

    steps = np.linspace(-1.25, 1.25, 11)
    return sliders.explore(
        draw,
        sliders.Slider("w1", "w₁", steps, start=0.75, low=-2, high=2),
        sliders.Slider("w2", "w₂", steps, start=0.25, low=-2, high=2),
        caption="Left: from w a dotted line runs to every solution at which the distance is stationary, and the star "
        "marks the closest. Each algorithm's arrow shows the direction of its step, and the legend its cosine with "
        "the way to the star. Right: the same distance along the hyperbola; its low points are roots of the quartic.",
        alt="The plane of the two weights with the hyperbola of solutions, one movable point, lines to the two to four "
        "solutions at stationary distance, and arrows for the steps of BP, PC and TRN. Beside it the distance to the "
        "solution (u, −1/u) as a function of u, with one minimum or two on each branch.",
    )


def _add_rays(fig: go.Figure, w: np.ndarray, points: np.ndarray) -> None:
    """Dotted lines from `w` to all `points` (a solid one to the first), and a star on the first."""
    rays = np.stack([np.broadcast_to(w, points.shape), points, np.full(points.shape, np.nan)], axis=1).reshape(-1, 2).T
    style = {"showlegend": False, "hoverinfo": "skip", "mode": "lines"}
    fig.add_scatter(x=rays[0], y=rays[1], line={"color": figures.WHITE, "width": 1.5, "dash": "dot"}, **style)
    fig.add_scatter(x=rays[0, :2], y=rays[1, :2], line={"color": figures.WHITE, "width": 2.5}, **style)
    star = {"size": 16, "symbol": "star", "color": figures.BLACK, "line": {"color": figures.WHITE, "width": 1.5}}
    fig.add_scatter(x=points[:1, 0], y=points[:1, 1], **style | {"mode": "markers"}, marker=star)


def _add_step(fig: go.Figure, name: str, w: np.ndarray, way: np.ndarray, length: float = 0.55) -> None:
    """An arrow along the update of `name` at `w`, labelled with its cosine to `way`; none where it vanishes."""
    update = onemlp.update(name, w, 1.0, toy.SLOPE)
    size = np.hypot(*update)
    moves = size > 1e-12 and np.hypot(*way) > 1e-9
    label = f"{name}, cosine {onemlp.cosine_similarity(update, way):.2f}" if moves else f"{name}, no step"
    tip = w + length * update / size if moves else w
    figures.add_path(fig, np.stack([w, tip]), name, label.replace("-", "−"))


def _distance_profile(w: np.ndarray, points: np.ndarray, far: np.ndarray, title: str, reach: float = 4.0) -> go.Figure:
    """The distance from `w` to (u, m/u) over u, with the stationary `points` at their distances `far`."""
    right = np.geomspace(0.2, reach, 40)
    u = np.concatenate([-right[::-1], [np.nan], right])
    fig = go.Figure(layout={"showlegend": True, "title": {"text": title}, "height": 470})
    distance = np.hypot(u - w[0], toy.SLOPE / u - w[1])
    fig.add_scatter(x=u, y=distance, mode="lines", line={"color": figures.NEUTRAL[0]}, name="distance to (u, −1/u)")
    marker = {"size": 9, "color": figures.CLEAR, "line": {"color": figures.GREY, "width": 2}}
    fig.add_scatter(x=points[:, 0], y=far, mode="markers", marker=marker, name="real roots of the quartic")
    star = {"size": 15, "symbol": "star", "color": figures.GREY}
    fig.add_scatter(x=points[:1, 0], y=far[:1], mode="markers", marker=star, name="the closest")
    fig.update_xaxes(title_text="u, the first weight of the solution", range=[-reach, reach])
    return fig.update_yaxes(title_text="distance D", range=[0, 5])


def seed_block_explorer(blocks: int = 40, seeds: int = 10, batches: int = 5, seed: int = 0) -> sliders.Explorer:
    """Fig. 2 as printed, ten seeds at a time: mean ± SEM for each block, and all blocks together."""
    cosines = toy.alignment(blocks * seeds, seed, batches=batches)
    by_block = {name: c.reshape(batches, blocks, seeds) for name, c in cosines.items()}
    leads = (by_block["PC"] - by_block["BP"]).mean(axis=-1) > 0
    ahead, behind = leads.all(axis=0).sum(), (~leads).all(axis=0).sum()

    def draw(block: int) -> go.Figure:
        x, here = np.arange(1, batches + 1), {name: c[:, block - 1] for name, c in by_block.items()}
        series = {}
        for name, c in here.items():
            mean, sem = c.mean(axis=-1), c.std(axis=-1, ddof=1) / np.sqrt(seeds)
            series[name] = (mean, mean - sem, mean + sem)
        fig = figures.curves(x, series, f"Ten seeds, block {block} of {blocks}", "training batch", "cosine similarity")
        for name, c in cosines.items():
            thin = {"color": figures.COLOURS[name], "width": 1, "dash": "dot"}
            fig.add_scatter(x=x, y=c.mean(axis=-1), mode="lines", line=thin, showlegend=False, hoverinfo="skip")
        return fig.update_xaxes(dtick=1).update_yaxes(range=[0.2, 1.03])

    return sliders.explore(
        draw,
        sliders.Slider("block", "block of ten seeds", range(1, blocks + 1), start=1),
        caption=f"Bands: mean ± SEM over ten starts. Dotted: the mean over all {blocks * seeds}. PC leads BP at "
        f"every batch in {ahead} of {blocks} blocks and trails at every batch in {behind}.",
        alt=f"Cosine similarity against training batch for BP, PC and TRN with shaded standard errors. In {ahead} of "
        f"{blocks} blocks PC's mean lies above BP's at all batches, in {behind} below at all, elsewhere they cross.",
    )


def square(scale: float, count: int = 80) -> np.ndarray:
    """The midpoints of a count × count grid over [−scale, scale]², shape (count, count, 2), first axis w2."""
    axis = checks.positive("scale", scale) * ((2 * np.arange(count) + 1) / count - 1)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def alignment_map_explorer(limit: float = 2.2) -> sliders.Explorer:
    """The map of cos(PC) − cos(BP) over the plane, with the square from which weights are drawn as a slider."""
    plane, bins = square(limit), np.linspace(-0.8, 0.8, 33)
    z, axis, middles = toy.alignment_gain(plane), plane[0, :, 0], (bins[1:] + bins[:-1]) / 2
    colours = np.where(middles > 0, figures.COLOURS["PC"], figures.COLOURS["BP"])

    def draw(scale: float) -> list[go.Figure]:
        inside = toy.alignment_gain(square(scale))
        weights = np.histogram(inside, bins)[0] / inside.size
        edge = scale * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        fig = _gain_map(axis, z, limit)
        fig.add_scatter(
            x=edge[:, 0], y=edge[:, 1], mode="lines", line={"color": figures.GREY, "width": 4}, name="initial weights"
        )
        fig.update_layout(height=470, showlegend=True)
        title = f"Mean {inside.mean():+.3f}, PC ahead in {np.mean(inside > 0):.0%}".replace("-", "−").replace("%", " %")
        bars = go.Figure(go.Bar(x=middles, y=weights, marker_color=colours, showlegend=False))
        bars.update_layout(title_text=title, height=470, bargap=0.05)
        bars.update_xaxes(title_text="cosine of PC minus cosine of BP", range=[bins[0], bins[-1]])
        bars.update_yaxes(title_text="share of initial weights", rangemode="tozero", tickformat=".0%")
        return [fig, bars]

    return sliders.explore(
        draw,
        sliders.Slider("scale", "initial scale s", np.linspace(0.25, 2, 8), start=1.0, low=0.1),
        caption="Left: where PC's step is better aligned with the closest solution (blue) and where BP's is (orange). "
        "On the thin line both are equally good, the dashed lines are the solutions, the square is U(−s, s)². "
        "Right: the same difference for all points of the square. PC gains a little more on average while the "
        "square is small, and falls behind as it grows.",
        alt="A map of the plane of weights. Along the diagonal of equal weights lie wedges: PC is much better "
        "aligned where the output weight is the larger one, much worse where it is the smaller. Elsewhere BP is better "
        "by a little. A square marks the initial weights. Beside it a histogram of the difference inside the square: "
        "a high bar just below zero, and a long tail on either side.",
    )


def _gain_map(axis: np.ndarray, z: np.ndarray, limit: float) -> go.Figure:
    bar = {"thickness": 10, "outlinewidth": 0, "xpad": 4}
    hover = "w₁ %{x:.2f}, w₂ %{y:.2f}<br>difference %{z:.2f}<extra></extra>"
    fig = go.Figure(
        go.Heatmap(
            x=axis, y=axis, z=z, zmin=-0.8, zmax=0.8, colorscale=figures.VERSUS, colorbar=bar, hovertemplate=hover
        )
    )
    border = {"start": 0, "end": 0, "size": 1, "coloring": "none"}
    style = {"line": {"color": figures.GREY, "width": 1.5}, "showscale": False, "hoverinfo": "skip"}
    fig.add_contour(x=axis, y=axis, z=z, contours=border, name="equally good", showlegend=True, **style)
    figures.add_manifold(fig, toy.SLOPE, limit)
    fig.data[-1].update(line={"color": figures.GREY}, showlegend=True)
    fig.update_layout(title_text="cosine of PC minus cosine of BP")
    fig.update_xaxes(title_text="w₁", range=[-limit, limit], constrain="domain", showgrid=False, zeroline=False)
    return fig.update_yaxes(
        title_text="w₂", range=[-limit, limit], scaleanchor="x", constrain="domain", showgrid=False, zeroline=False
    )


def gain_figures(
    x: figures.Values,
    means: Sequence[intervals.Interval],
    shares: Sequence[intervals.Interval],
    x_title: str,
    at_zero: float | None = None,
) -> list[go.Figure]:
    """Mean of the difference in cosine, and share of starts with PC ahead, over `x`; lists of `intervals.Interval`.

    `at_zero` marks the limit of the mean at x = 0.
    """
    left, right = (
        figures.curves(x, {"PC against BP, with 95 % interval": _band(estimates)}, title, x_title, y_title)
        for estimates, title, y_title in (
            (means, "Mean cosine of PC minus BP", "difference of cosines"),
            (shares, "Share of starts with PC ahead", "share of starts"),
        )
    )
    for fig, even in ((left, 0.0), (right, 0.5)):
        fig.add_hline(even, line={"dash": "dot", "color": figures.GREY})
    if at_zero is not None:
        marker = {"color": figures.COLOURS["PC"], "symbol": "diamond", "size": 10}
        left.add_scatter(x=[0], y=[at_zero], mode="markers", name="limit at the saddle", marker=marker)
    return [left, right.update_yaxes(tickformat=".0%", range=[0.3, 0.6])]


def many_seeds_figures(cosines: Mapping[str, np.ndarray]) -> list[go.Figure]:
    """From `{algorithm: (batches, count)}`: mean cosine by batch, and how often the first is below c, over c."""
    batch = np.arange(1, len(cosines["PC"]) + 1)
    means = {name: _band([intervals.mean(row) for row in values]) for name, values in cosines.items()}
    left = figures.curves(batch, means, "Mean cosine, 95 % intervals", "training batch", "cosine similarity")
    c = np.linspace(-1, 1, 101)
    below = {name: np.mean(values[0][:, None] < c, axis=0) for name, values in cosines.items()}
    right = figures.curves(c, below, "How often the cosine is below c", "cosine c", "share of initialisations")
    return [left.update_xaxes(dtick=1), right.update_yaxes(tickformat=".0%", range=[0, 1])]


def _band(estimates: Sequence[intervals.Interval]) -> tuple[np.ndarray, ...]:
    return tuple(np.array([getattr(e, end) for e in estimates]) for end in ("value", "low", "high"))
