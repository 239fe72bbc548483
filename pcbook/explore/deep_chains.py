"""Explorers and figures of the chapter on deep chains."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from pcbook import chains, figures, sliders
from pcbook.experiments import deep_chains
from pcbook.experiments import deep_chains_record as record

NAMES = {"linear": "linear", "tanh": "tanh", "relu": "ReLU"}
PAPER_DEPTHS = (1, 5, 10)
SCALINGS = {
    "both ½‖·‖², averaged over the batch": ("half", "half"),
    "BP's loss averaged over outputs too (× 2)": ("mean", "half"),
    "PC's energy summed over the batch (× 64)": ("half", "sum"),
    "both at once": ("mean", "sum"),
}
RULES = {"with the plateau rule": True, "without it": False}
CRITERIA = {"lowest last loss": "loss", "fewest steps": "steps"}
GRIDS = {"powers of ten": False, "with rates between": True}


def losses_figure(setting: record.Setting, which: str = "train") -> go.Figure:
    """Figs. 3 and 7: mean losses ± standard error over the steps, activations in rows and depths in columns."""
    traces = [
        trace | {"xaxis": f"x{k}", "yaxis": f"y{k}", "showlegend": trace["mode"] == "lines" and k == 1}
        for k, (activation, depth) in enumerate(itertools.product(NAMES, PAPER_DEPTHS), 1)
        for method in ("BP", "PC")
        for trace in _band(record.curve(activation, depth, method, setting, which), method)
    ]
    return go.Figure(traces, _nine_panels())


@functools.cache
def _nine_panels() -> go.Layout:
    """The layout, once for all frames."""
    titles = [f"{NAMES[a]}, L = {depth}" for a in NAMES for depth in PAPER_DEPTHS]
    space = {"horizontal_spacing": 0.04, "vertical_spacing": 0.1}
    fig = make_subplots(3, 3, shared_yaxes=True, subplot_titles=titles, **space)
    fig.update_xaxes(type="log", exponentformat="power", tick0=1, dtick=2, tickangle=0, range=[0, 4.3])
    fig.update_yaxes(type="log", exponentformat="power", dtick=1, range=[-3.6, 1.2])
    fig.update_xaxes(title_text="step", row=3).update_yaxes(title_text="loss", col=1)
    fig.update_annotations(font_size=12)
    return fig.update_layout(height=620, legend={"y": -0.1}, margin={"t": 28}).layout


def _band(curve: tuple[np.ndarray, np.ndarray, np.ndarray], method: str) -> Iterator[figures.Trace]:
    """A filled band and a line; step 0 is drawn at 1, on the left edge of the logarithmic axis."""
    x, y, error = curve
    x, colour = np.maximum(x, 1)[1:], figures.COLOURS[method]
    y, error = y[1:], error[1:]
    y = np.where(np.isfinite(y), y, 1e6)
    error = np.where(np.isfinite(error), error, 0.0)
    band = np.concatenate([y + error, np.maximum(y - error, 1e-4)[::-1]])
    shade = {"fill": "toself", "fillcolor": colour + "33", "line": {"width": 0}, "hoverinfo": "skip"}
    group = {"legendgroup": method}
    yield {"x": np.r_[x, x[::-1]], "y": band, "mode": "none"} | shade | group
    line = {"color": colour, "dash": figures.DASHES[method]}
    yield {"x": x, "y": y, "mode": "lines", "name": method, "line": line} | group


def losses_explorer() -> sliders.Explorer:
    """F3 with all its confounds: the paper's figure under other seeds, grids, scalings and stopping rules."""

    def draw(seeds: int, edge: float, rule: str, scaling: str) -> go.Figure:
        bp, pc = SCALINGS[scaling]
        return losses_figure(
            record.Setting(seeds=int(_nearest(seeds, (3, 100))), edge=_nearest(edge), rule=RULES[rule], bp=bp, pc=pc)
        )

    return sliders.explore(
        draw,
        sliders.Slider("seeds", "seeds", (3, 100), start=3),
        sliders.Slider("edge", "largest α", deep_chains.EDGES, start=1.0, log=True),
        sliders.Choice("rule", "stopping", tuple(RULES)),
        sliders.Choice("scaling", "loss", tuple(SCALINGS)),
        caption="Mean training loss and its standard error, every algorithm at the learning rate with the lowest last "
        "loss, recorded by `python -m pcbook run deep-chains`. Losses beyond the top are off the scale or infinite.",
        alt="Nine panels of training loss over steps on logarithmic axes, BP dashed and PC solid, for linear, tanh and "
        "ReLU chains in rows and 1, 5 and 10 hidden layers in columns. The controls change the number of seeds, the "
        "end of the grid of learning rates, the plateau rule and the scaling of the losses.",
    )


def _nearest(value: float, values: Sequence[float] = deep_chains.EDGES) -> float:
    """The recorded value that a live slider is closest to, on a logarithmic scale."""
    return min(values, key=lambda v: abs(np.log(v / value)))


def ratios_figure(
    setting: record.Setting, event: str = "hit", title: str = "PC's steps over BP's", rate: float | None = None
) -> go.Figure:
    """The ratio of steps and its 95 % interval over depth, for each activation; 1 is a draw."""
    fig = go.Figure(layout={"title": {"text": title}})
    for k, activation in enumerate(NAMES):
        races = [record.race(activation, depth, setting, event, rate).ratio for depth in record.DEPTHS]
        value, low, high = (np.array([getattr(r, name) for r in races]) for name in ("value", "low", "high"))
        colour, symbol = figures.ACTIVATIONS[activation]
        bar = {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low, "thickness": 1.5}
        x = np.array(record.DEPTHS) * 1.04 ** (k - 1)
        marker = {"color": colour, "symbol": symbol, "size": 8}
        line = {"color": colour, "width": 1}
        look = {"marker": marker, "line": line, "name": NAMES[activation], "mode": "lines+markers"}
        fig.add_scatter(x=x, y=value, error_y=bar, **look)
    fig.add_hline(1, line=figures.REFERENCE)
    fig.update_xaxes(title_text="hidden layers L", type="log", tickvals=record.DEPTHS, range=[-0.1, 1.28])
    return fig.update_yaxes(title_text="PC / BP", type="log", exponentformat="power", dtick=1, range=[-2.5, 1.5])


def seeds_explorer() -> sliders.Explorer:
    """F3 and its seeds: the ratios of steps with their intervals, from 3 seeds to 100."""

    def draw(seeds: int, criterion: str) -> list[go.Figure]:
        setting = replace(record.PAPER, seeds=max(2, int(seeds)), criterion=CRITERIA[criterion])
        return [
            ratios_figure(setting, title="Steps to loss < 0.01"),
            ratios_figure(setting, "half", title="Steps to half the first loss"),
        ]

    return sliders.explore(
        draw,
        sliders.Choice("criterion", "α by", tuple(CRITERIA)),
        sliders.Slider("seeds", "seeds", (3, 10, 30, 100), start=3),
        caption="PC's steps over BP's from the same weights and on the same batches, geometric mean over seeds with "
        "its 95 % interval, in the paper's setting. Below the dotted line PC is faster. Runs that never get there "
        "count as long as the longest.",
        alt="Two panels: the ratio of PC's steps to BP's over the number of hidden layers, for linear, tanh and ReLU "
        "chains, with error bars that span decades at three seeds and shrink as seeds are added.",
    )


ALL = replace(record.PAPER, seeds=100)
CONFOUNDS = {
    "the paper's setting": ALL,
    "α by fewest steps": replace(ALL, criterion="steps"),
    "0.1 as variance": replace(ALL, reading="variance"),
    "BP × 2": replace(ALL, bp="mean"),
    "PC × 64": replace(ALL, pc="sum"),
    "BP × 2, PC × 64": replace(ALL, bp="mean", pc="sum"),
    "α up to 100": replace(ALL, criterion="steps", edge=100.0),
    "α between decades": replace(ALL, criterion="steps", fine=True),
    "no plateau rule": replace(ALL, rule=False),
    "all removed": record.FREE,
}


def confounds_figure(depth: int) -> go.Figure:
    """The ratio of steps to the threshold, each confound changed alone, and all of them removed."""
    fig = go.Figure(layout={"title": {"text": f"PC's steps over BP's, L = {depth}"}, "height": 470})
    for k, activation in enumerate(NAMES):
        found = [record.race(activation, depth, setting).ratio for setting in CONFOUNDS.values()]
        value, low, high = (np.array([getattr(r, name) for r in found]) for name in ("value", "low", "high"))
        colour, symbol = figures.ACTIVATIONS[activation]
        bar = {"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low, "thickness": 1.5}
        y = np.arange(len(found)) + 0.22 * (k - 1)
        look = {"marker": {"color": colour, "symbol": symbol, "size": 8}, "name": NAMES[activation], "mode": "markers"}
        fig.add_scatter(x=value, y=y, error_x=bar, **look)
    fig.add_vline(1, line=figures.REFERENCE)
    fig.update_xaxes(title_text="PC / BP", type="log", exponentformat="power", dtick=1, range=[-2.1, 0.6])
    ticks = {"tickvals": list(range(len(CONFOUNDS))), "ticktext": list(CONFOUNDS)}
    return fig.update_yaxes(**ticks, range=[len(CONFOUNDS) - 0.4, -0.6], zeroline=False)


def edge_explorer() -> sliders.Explorer:
    """C3: steps over the learning rate, and the ratios at the best rate, as the grid grows and gets finer."""

    def draw(edge: float, grid: str, activation: str) -> list[go.Figure]:
        setting = replace(record.FREE, edge=_nearest(edge), fine=GRIDS[grid])
        left = rates_figure(activation, setting, depth=5)
        right = ratios_figure(setting, title="PC's steps over BP's, best α each")
        return [left, right]

    return sliders.explore(
        draw,
        sliders.Slider("edge", "largest α", deep_chains.EDGES, start=1.0, log=True),
        sliders.Choice("grid", "rates", tuple(GRIDS)),
        sliders.Choice("activation", "chain", tuple(NAMES)),
        caption="Left: mean steps to loss < 0.01 over the learning rate, five hidden layers, 100 seeds; a run that "
        "does not get there counts as long as the longest. Rates on the grey ground are outside the grid, the large "
        "marks are the best inside it. Right: PC's steps over BP's at these rates.",
        alt="Left, two valleys of steps over the learning rate on logarithmic axes. BP's ends early on the right; PC's "
        "goes on to larger rates. Right, the ratio of steps over depth for three activations, which falls further "
        "below one as the grid grows, and less far when it gets finer.",
    )


def rates_figure(activation: str, setting: record.Setting, depth: int) -> go.Figure:
    """Mean steps to the threshold over the learning rate, and the best rate within the grid."""
    fig = go.Figure(layout={"title": {"text": f"{NAMES[activation]}, L = {depth}"}})
    for method in ("BP", "PC"):
        table = sorted(record.rows(activation, depth, method, setting), key=lambda row: row["rate"])
        cap = max(row["cap"] for row in table)
        mean = [record.steps(row, setting, horizon=cap).mean() for row in table]
        best = deep_chains.best(table, setting.seeds, setting.rule, "steps", setting.edge)
        marker = {"symbol": figures.MARKERS[method], "size": np.where(np.arange(len(table)) == best, 15, 6)}
        line = {"color": figures.COLOURS[method], "dash": figures.DASHES[method]}
        x = [row["rate"] for row in table]
        fig.add_scatter(x=x, y=mean, mode="lines+markers", name=method, line=line, marker=marker)
    edge = np.log10(setting.edge * 1.8)
    fig.add_vrect(10**edge, 10**2.3, fillcolor=figures.SHADE, line_width=0)
    fig.update_xaxes(title_text="learning rate α", type="log", exponentformat="power", dtick=1, range=[-4.2, 2.3])
    return fig.update_yaxes(title_text="steps", type="log", exponentformat="power", dtick=1, range=[0.2, 4.6])


def scaling_explorer() -> sliders.Explorer:
    """C1: the same valleys and ratios when the two losses are scaled differently."""

    def draw(scaling: str, edge: float, activation: str) -> list[go.Figure]:
        bp, pc = SCALINGS[scaling]
        setting = replace(record.FREE, bp=bp, pc=pc, fine=False, edge=_nearest(edge))
        return [
            rates_figure(activation, setting, depth=5),
            ratios_figure(setting, title="PC's steps over BP's, best α each"),
        ]

    return sliders.explore(
        draw,
        sliders.Choice("activation", "chain", tuple(NAMES), start="tanh"),
        sliders.Slider("edge", "largest α", deep_chains.EDGES, start=1.0, log=True),
        sliders.Choice("scaling", "loss", tuple(SCALINGS)),
        caption="As above, powers of ten only, with BP's loss or PC's energy on other scales: a factor in front of a "
        "loss is a factor in front of α. The valleys keep their depth and move sideways; where the grid ends, they are "
        "cut.",
        alt="Two valleys of steps over the learning rate that move left by a factor of two or of 64 with the scaling, "
        "and the ratio of steps over depth beside them.",
    )


def rule_explorer() -> sliders.Explorer:
    """C4 and T5: how many runs get to the threshold, with the plateau rule and without."""

    def draw(rule: str, edge: float) -> list[go.Figure]:
        setting = replace(record.FREE, rule=RULES[rule], edge=_nearest(edge), fine=False)
        return [_reached_figure(method, setting) for method in ("BP", "PC")]

    return sliders.explore(
        draw,
        sliders.Choice("rule", "stopping", tuple(RULES)),
        sliders.Slider("edge", "largest α", deep_chains.EDGES, start=1.0, log=True),
        caption="The share of 100 seeds whose loss gets below 0.01, each algorithm at its learning rate with the "
        "fewest steps. The rule ends runs on plateaus that they would leave.",
        alt="Two panels, BP and PC: the share of runs that converge over the number of hidden layers, one line for "
        "each activation. It is near one in shallow chains and falls in deep ones, earlier with the plateau rule.",
    )


def _reached_figure(method: str, setting: record.Setting) -> go.Figure:
    fig = go.Figure(layout={"title": {"text": f"{method}: runs that converge"}})
    for activation in NAMES:
        found = []
        for depth in record.DEPTHS:
            row = record.picked(activation, depth, method, setting)
            found.append(np.isfinite(record.steps(row, setting)).mean())
        colour, symbol = figures.ACTIVATIONS[activation]
        marker = {"color": colour, "symbol": symbol, "size": 8}
        look = {"marker": marker, "line": {"color": colour}, "name": NAMES[activation], "mode": "lines+markers"}
        fig.add_scatter(x=record.DEPTHS, y=found, **look)
    fig.update_xaxes(title_text="hidden layers L", type="log", tickvals=record.DEPTHS, range=[-0.1, 1.28])
    return fig.update_yaxes(title_text="share of the seeds", range=[-0.03, 1.05])


# Why: one run, looked at from inside.


UPDATES = 200


@functools.cache
def descent(
    algorithm: str, depth: int, rate: float, size: float, updates: int = UPDATES
) -> tuple[np.ndarray, np.ndarray]:
    """|weights| and loss of a linear chain that starts with all weights near `size`; y = −x, x = 1."""
    w = (size * np.linspace(0.97, 1.03, depth + 1) * np.where(np.arange(depth + 1) == 0, -1, 1))[None]
    x, path, losses = np.ones((1, 1)), [], []
    for _ in range(updates):
        path.append(np.abs(w[0]))
        losses.append(chains.loss(w, x, -x)[0])
        w = np.clip(w - rate * chains.gradient(algorithm, w, x, -x), -1e3, 1e3)
    return np.array(path), np.minimum(losses, 1e3)


def cascade_explorer() -> sliders.Explorer:
    """Why: the weights of a chain on their way off the plateau, from one learning rate to another."""

    def draw(rate: float, depth: int) -> list[go.Figure]:
        updates = np.arange(UPDATES)
        panels = []
        for algorithm in ("BP", "PC"):
            path, _ = descent(algorithm, int(depth), float(rate), 0.5)
            fig = go.Figure(layout={"title": {"text": f"{algorithm}: size of the weights"}})
            chosen = (0, path.shape[1] // 2, path.shape[1] - 2, path.shape[1] - 1)
            for k, (name, dash) in zip(chosen, WEIGHTS.items(), strict=True):
                line = {"color": figures.COLOURS[algorithm], "dash": dash, "width": 2}
                fig.add_scatter(x=updates, y=np.minimum(path[:, k], 9.0), mode="lines", name=name, line=line)
            fig.update_xaxes(title_text="step")
            panels.append(fig.update_yaxes(title_text="|w|", range=[0, 4]))
        loss = {name: descent(name, int(depth), float(rate), 0.5)[1] for name in ("BP", "PC")}
        fig = figures.curves(updates, loss, "Loss", "step", "loss", log_y=True)
        panels.append(fig.update_yaxes(range=[-4, 1], exponentformat="power", dtick=1))
        return panels

    return sliders.explore(
        draw,
        sliders.Slider("rate", "α", (0.1, 0.3, 1.0, 3.0), start=0.3, log=True),
        sliders.Slider("depth", "L", (3, 5, 7), start=5),
        caption="A linear chain with weights near ½ learns y = −x, one sample, no noise. BP's weights grow together. "
        "PC's grow from the output downwards.",
        alt="Sizes of four weights over steps for BP and PC, and the loss of both. PC's read-out weight grows first, "
        "and the others follow; BP's grow side by side. At large learning rates BP's run breaks off and PC's does not.",
    )


WEIGHTS = {"first": "dot", "middle": "dashdot", "last hidden": "dash", "read-out": "solid"}
