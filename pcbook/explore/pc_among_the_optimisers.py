"""Explorers and figures of the chapter that sets PC beside other optimisers."""

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import ArrayLike

from pcbook import figures, onemlp, sliders
from pcbook.experiments import batch_sizes, directions, optimisers, races, readings

LOOKS = {  # colour, dash, symbol; Newton's are those of TRN, which is damped Newton
    "BP": (figures.COLOURS["BP"], "dash", "circle"),
    "momentum": (figures.GREY, "dot", "x"),
    "RMSProp": (figures.NEUTRAL[1], "longdash", "triangle-up"),
    "Adam": (figures.NEUTRAL[0], "solid", "star"),
    "Newton": (figures.COLOURS["TRN"], "dot", "diamond"),
    "natural gradient": (figures.NEUTRAL[3], "dashdot", "hexagon"),
    "PC": (figures.COLOURS["PC"], "solid", "square"),
    "PC with Adam": (figures.COLOURS["PC"], "longdashdot", "star-open"),
}
PAIRS = tuple(zip(figures.NEUTRAL[:3], ("solid", "dash", "dot"), ("circle", "star", "hexagon"), strict=True))
STARTS = {"near the saddle": (0.25, 0.1), "far from it": (1.7, -1.2)}
SHOWN = ("BP", "Adam", "Newton", "PC")


def line(fig: go.Figure, name: str, x: ArrayLike, y: ArrayLike, label: str | None = None) -> go.Figure:
    """A curve in the method's looks."""
    colour, dash, symbol = LOOKS[name]
    style = {"line": {"color": colour, "dash": dash}, "marker": {"symbol": symbol, "size": 7, "color": colour}}
    return fig.add_scatter(x=x, y=y, mode="lines+markers", name=label or name, **style)


def trajectory(method: str, rate: float, start: tuple[float, float], steps: int = 30) -> np.ndarray:
    """The path (steps + 1, 2) on the 1MLP with x = 1, y = −1, of one of `races.METHODS`."""
    theta = torch.tensor([start], dtype=torch.float64)
    rule = races.Rule(races.PROBLEMS["1MLP"], method, torch.tensor([rate], dtype=torch.float64), theta)
    x, going, path = torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.bool), [theta]
    for _ in range(steps):
        if bool((path[-1].abs() > 10).any()):
            break
        path.append(path[-1] + rule(path[-1], x, -x, going))
    return torch.cat(path).clamp(-10, 10).numpy()


def paths_explorer() -> sliders.Explorer:
    """T7: the paths of four methods on the loss of the 1MLP."""
    w = np.linspace(-2, 2, 41)
    height = onemlp.loss(w[None], w[:, None], 1.0, -1.0)

    def draw(rate: float, start: str) -> go.Figure:
        fig = figures.landscape(w, w, height, "Thirty updates on the 1MLP", zmax=4.0, scale=False)
        figures.add_manifold(fig, -1.0, 2.0)
        for name in SHOWN:
            x, y = trajectory(name, rate, STARTS[start]).T
            colour, dash, symbol = LOOKS[name]
            fig.add_scatter(x=x, y=y, mode="lines", line={"color": figures.WHITE, "width": 5}, showlegend=False)
            marker = {"size": 6, "symbol": symbol, "color": colour, "line": {"color": figures.WHITE, "width": 1}}
            style = {"line": {"color": colour, "dash": dash, "width": 2.5}, "marker": marker}
            fig.add_scatter(x=x, y=y, mode="lines+markers", name=name, **style)
        return fig.update_layout(height=520)

    return sliders.explore(
        draw,
        sliders.Slider("rate", "learning rate α (Newton: 1/λ)", (0.03, 0.1, 0.2, 0.3, 0.5, 0.7), start=0.2, log=True),
        sliders.Choice("start", "start", tuple(STARTS), start="near the saddle"),
        caption="The loss of the 1MLP, its solutions dashed in white, and thirty updates of four methods. Adam's first "
        "steps run along a diagonal, whatever the gradient: it divides each weight's step by its own size. PC's bend "
        "away from BP's only where the residual is large.",
        alt="Contours of the loss with a saddle at the origin and two valleys. From near the saddle, BP, PC and Newton "
        "curve out along similar paths, PC ahead of BP, while Adam leaves along a straight diagonal with steps of "
        "equal length and overshoots at large rates.",
    )


def directions_explorer() -> sliders.Explorer:
    """T7: cosines of PC's and BP's updates with another method's, over training, from the record."""

    def draw(problem: str, target: str) -> go.Figure:
        fig = go.Figure(layout={"title": {"text": f"Cosine with {target}: {problem}"}})
        share = np.linspace(0, 1, directions.SHARES)
        for path, method in itertools.product(("BP", "PC"), ("BP", "PC")):
            found = readings.select("optimisers-directions", "directions", problem=problem, path=path)
            mean = np.mean([results["curve"][target][method] for _, results in found], axis=0)
            label = f"{method}, at the weights on {path}'s path"
            line(fig, method, share, mean, label)
            fig.data[-1].line.width = 2.5 if path == method else 1
        fig.update_xaxes(title_text="share of the path to convergence")
        return fig.update_yaxes(title_text="cosine", range=[-0.25, 1.05]).update_layout(height=470)

    targets = tuple(t for t in directions.TARGETS if t != "BP")
    return sliders.explore(
        draw,
        sliders.Choice("problem", "problem", tuple(races.PROBLEMS), start="digits"),
        sliders.Choice("target", "the other method", targets, start="Adam"),
        caption="How far PC's update (squares) and BP's (circles) point the way of another method's, at the same "
        "weights and batches. Wherever the circles lie above the squares, PC is farther from that method than plain "
        "gradient descent is. Thick: on the method's own path. (Record: optimisers-directions.json.)",
        alt="Four curves of the cosine over the share of training, for PC's and BP's updates on each of the two paths. "
        "The choices switch problem and method; on the chains BP's curves lie above PC's for almost every method.",
    )


def closer_figure(targets: Sequence[str]) -> go.Figure:
    """cos(PC, target) − cos(BP, target) with intervals, for every problem."""
    fig = go.Figure(layout={"title": {"text": "Is PC closer to it than BP is?"}})
    colours, symbols = figures.NEUTRAL, ("circle", "square", "diamond", "star")
    for problem, colour, symbol in zip(races.PROBLEMS, colours, symbols, strict=True):
        found = [readings.closer(problem, target) for target in targets]
        value, low, high = (np.array([getattr(v, name) for v in found]) for name in ("value", "low", "high"))
        bar = {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low}
        marker = {"symbol": symbol, "size": 9, "color": colour}
        fig.add_scatter(x=value, y=list(targets), error_x=bar, mode="markers", name=problem, marker=marker)
    fig.add_vline(0, line=figures.REFERENCE)
    fig.update_xaxes(title_text="cos(PC, it) − cos(BP, it)")
    return fig.update_yaxes(autorange="reversed").update_layout(height=460)


def ratios_figure(shrink: Mapping[str, np.ndarray]) -> go.Figure:
    """Each weight's step relative to BP's, against RMSProp's, from {method: log10 ratios (P,)}; medians of tenths."""
    fig = go.Figure(layout={"title": {"text": "Step of each weight, relative to BP's"}})
    for name in ("PC", "Adam"):
        colour, _, symbol = LOOKS[name]
        marker = {"color": colour, "symbol": symbol, "size": 4, "opacity": 0.35}
        centred, order = shrink[name] - np.median(shrink[name]), np.argsort(shrink["RMSProp"])
        fig.add_scatter(x=shrink["RMSProp"], y=centred, mode="markers", name=name, marker=marker, showlegend=False)
        x, y = (
            [np.median(part[tenth]) for tenth in np.array_split(order, 10)] for part in (shrink["RMSProp"], centred)
        )
        line(fig, name, x, y)
    shown = np.quantile(shrink["RMSProp"], (0.01, 0.99))
    fig.update_xaxes(title_text="RMSProp: log₁₀ of 1/√v", range=shown.tolist())
    return fig.update_yaxes(title_text="log₁₀ |step / BP's|, less its median", range=[-2.5, 2.5])


@functools.cache
def _grid(problem: str, start: str, method: str, mark: str) -> list[float]:
    ((_, results),) = readings.select("optimisers", "grid", problem=problem, start=start, method=method)
    return results[mark]


def race_explorer() -> sliders.Explorer:
    """T7: steps over the rates of the grid, and the factor by which each method beats BP at its best rate."""
    marks = {"loss halved (escape)": "escape", "converged": "converge"}

    def draw(problem: str, start: str, mark: str) -> list[go.Figure]:
        left = go.Figure(layout={"title": {"text": f"Steps until {mark}: {problem}"}})
        right = go.Figure(layout={"title": {"text": "BP's steps over the method's"}})
        for name in races.METHODS:
            line(left, name, optimisers.rates(problem, name), 1 + np.array(_grid(problem, start, name, marks[mark])))
            if name == "BP":
                continue
            found = readings.speed_up(problem, start, name, marks[mark])
            bar = {"array": [found.high - found.value], "arrayminus": [found.value - found.low], "symmetric": False}
            style = {"color": LOOKS[name][0], "symbol": LOOKS[name][2], "size": 9}
            few = min(readings.arrived(problem, start, m, marks[mark]) for m in (name, "BP")) < 0.5
            label = f"{name} (few arrive)" if few else name
            right.add_scatter(x=[found.value], y=[label], error_x=bar, mode="markers", marker=style, showlegend=False)
        left.update_xaxes(title_text="rate (Newton, natural gradient: 1/λ)", type="log", exponentformat="power")
        left.update_yaxes(title_text="1 + steps", type="log", dtick=1, exponentformat="power").update_layout(height=520)
        right.add_vline(1, line=figures.REFERENCE)
        right.update_xaxes(title_text="factor, each at its best rate", type="log").update_layout(height=380)
        right.update_yaxes(autorange="reversed")
        return [left, right]

    return sliders.explore(
        draw,
        sliders.Choice("problem", "problem", tuple(races.PROBLEMS), start="linear chain"),
        sliders.Choice("start", "start", optimisers.STARTS, start="random"),
        sliders.Choice("mark", "until", tuple(marks), start="converged"),
        caption="Left: steps (geometric mean; what did not arrive counts as the limit) over the learning rate, on the "
        "starts that choose it. Right: on fresh starts, each at its own best rate, by what factor a method needs fewer "
        "steps than BP. PC helps most on chains near the saddle and least on the digits. (Record: optimisers.json.)",
        alt="Left, U-shaped curves of steps over the learning rate, one for each method: Adam and RMSProp are best at "
        "rates of a tenth or so, BP and PC at about one and above, Newton and natural gradient at little damping. "
        "Right, points with intervals to the right of one for methods faster than BP.",
    )


def table(heads: Sequence[str], rows: Mapping[str, Iterable[object]]) -> str:
    """Markdown, from column heads and {first column: the others}."""
    lines = [["", *heads], ["---"] * (len(heads) + 1), *([name, *map(str, row)] for name, row in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def race_table() -> str:
    """BP's steps over those of PC, Adam and PC with Adam to escape, and over PC's to converge."""
    names, rows = ("PC", "Adam", "PC with Adam"), {}
    for problem in races.PROBLEMS:
        escapes = [readings.speed_up(problem, optimisers.STARTS[1], name, "escape") for name in names]
        rows[problem] = [*escapes, readings.speed_up(problem, optimisers.STARTS[0], "PC")]
    return table(["PC escapes", "Adam escapes", "PC with Adam escapes", "PC converges"], rows)


def batch_table() -> str:
    """PC's advantage at the smallest and the largest batch, at equal rates, and its growth."""
    small, large = batch_sizes.POWERS[0], batch_sizes.POWERS[-1]
    rows = {}
    for problem in batch_sizes.PROBLEMS:
        found = [readings.advantage(problem, size) for size in (small, large)]
        rows[problem] = [*found, readings.advantage(problem, large, rate="equal"), readings.growth(problem)]
    return table([f"batch {small}", f"batch {large}", f"{large}, both at BP's best rate", "growth"], rows)


def batch_explorer() -> sliders.Explorer:
    """T8: PC's advantage over the batch size, from the record."""
    marks = {"converged": "converge", "loss halved (escape)": "escape"}
    rates = {"each at its best": "own", "both at BP's best": "equal"}

    def draw(problem: str, mark: str, rate: str) -> list[go.Figure]:
        sizes = batch_sizes.sizes(problem)
        left = go.Figure(layout={"title": {"text": f"Steps until {mark}: {problem}"}})
        for a in batch_sizes.ALGORITHMS:
            steps = [readings.batch_steps(problem, size, a, marks[mark], rates[rate]) for size in sizes]
            line(left, a, sizes, [np.exp(np.log1p(s).mean()) for s in steps])
        found = [readings.advantage(problem, size, marks[mark], rates[rate]) for size in sizes]
        value, low, high = (np.array([getattr(v, name) for v in found]) for name in ("value", "low", "high"))
        right = go.Figure(layout={"title": {"text": "BP's steps over PC's"}})
        bar = {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low}
        right.add_scatter(
            x=sizes,
            y=value,
            error_y=bar,
            mode="lines+markers",
            line_color=figures.COLOURS["PC"],
            marker_symbol="square",
            showlegend=False,
        )
        right.add_hline(1, line=figures.REFERENCE)
        for fig in (left, right):
            fig.update_xaxes(
                title_text="batch size", type="log", tickvals=sizes[::2], ticktext=[str(s) for s in sizes[::2]]
            )
        left.update_yaxes(title_text="1 + steps", type="log")
        right.update_yaxes(title_text="factor (above 1: PC is faster)", type="log")
        return [left, right]

    return sliders.explore(
        draw,
        sliders.Choice("problem", "problem", tuple(batch_sizes.PROBLEMS), start="linear, L = 10"),
        sliders.Choice("mark", "until", tuple(marks), start="converged"),
        sliders.Choice("rate", "learning rates", tuple(rates), start="each at its best"),
        caption="Steps of BP and PC over the batch size (left), and the ratio of the two with its interval (right). On "
        "the chains neither depends much on the batch size, for all samples tell almost the same there. On the digits "
        "both do, and PC is not ahead. (Record: batch-sizes.json.)",
        alt="Left, steps over batch sizes from one to 512 on logarithmic axes for BP and PC. Right, their ratio with "
        "intervals and a line at one. For the chains the curves are flat; for the digits the steps fall with the batch "
        "size for both.",
    )


def angles_figure() -> go.Figure:
    """Cosines between updates on one batch of the digits, over its size, with the range of the networks."""
    fig = go.Figure(layout={"title": {"text": "Updates on one batch of the digits"}})
    looks = zip(batch_sizes.PAIRS, PAIRS, strict=True)
    for pair, (colour, dash, symbol) in looks:
        values = np.array([results[pair] for _, results in readings.cells("batch-sizes", "angles")])
        mean = values.mean(axis=0)
        bar = {"array": values.max(axis=0) - mean, "arrayminus": mean - values.min(axis=0), "symmetric": False}
        style = {"line": {"color": colour, "dash": dash}, "marker": {"symbol": symbol, "size": 8, "color": colour}}
        fig.add_scatter(x=batch_sizes.ANGLE_SIZES, y=mean, error_y=bar, mode="lines+markers", name=pair, **style)
    fig.update_xaxes(title_text="batch size", type="log", tickvals=batch_sizes.ANGLE_SIZES)
    return fig.update_yaxes(title_text="cosine")
