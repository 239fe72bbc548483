"""Plotly figures from arrays, with one look for the whole book. `page.show` puts them on the page.

Labels are Unicode (γ, ℱ*, ℒ, w₁), never TeX. An algorithm has one colour, one dash and one marker
everywhere, and all colours of the book are named here: colour-blind readers tell them apart, and lines read
on a light page and on a dark one. All builders return a `plotly.graph_objects.Figure`; `add_…` draw into
the figure they are given and return it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from numpy.typing import ArrayLike

from pcbook import checks

__all__ = ["COLOURS", "add_field", "add_manifold", "add_path", "curves", "intervals", "landscape", "surface"]

Values = np.ndarray | Sequence[float]
Series = ArrayLike | tuple[np.ndarray, ...]  # y, or (y, low, high)
Trace = dict[str, Any]  # a trace as plotly takes it

COLOURS = {"BP": "#D55E00", "PC": "#0072B2", "TRN": "#009E73", "TP": "#CC79A7"}
DASHES = {"BP": "dash", "PC": "solid", "TRN": "dot", "TP": "dashdot"}
MARKERS = {"BP": "circle", "PC": "square", "TRN": "diamond", "TP": "cross"}
GREY = "#767676"
NEUTRAL = ("#9148E8", "#905632", GREY, "#546478")  # for series that are no algorithm
ACTIVATIONS = {"linear": (NEUTRAL[0], "circle"), "tanh": (NEUTRAL[1], "square"), "relu": (NEUTRAL[2], "diamond")}
REFERENCE = {"dash": "dot", "color": GREY}  # a line to compare with
SHADE = "rgba(128,128,128,0.2)"  # a strip of ground, a region
FAINT = "rgba(128,128,128,0.55)"
WHITE, BLACK, CLEAR = "#ffffff", "#000000", "rgba(0,0,0,0)"
LEVEL, ARROW, VEIL = "rgba(255,255,255,0.4)", "rgba(255,255,255,0.85)", "rgba(0,0,0,0.5)"  # on a landscape
LANDSCAPE, SHARE, SHARE_REVERSED = "Cividis", "Viridis", "Viridis_r"
SIGNED = ((0, "#D3AC8C"), (0.5, "#F5F5F5"), (1, "#BFA2F2"))  # negative, zero, positive; black reads on all of it
BELOW, ABOVE = NEUTRAL[1], NEUTRAL[0]  # an error < 0, > 0
VERSUS = ((0, COLOURS["BP"]), (0.5, "#F5F5F5"), (1, COLOURS["PC"]))  # where BP leads, a draw, where PC does


def template(ink: str, grid: str = "rgba(128,128,128,0.3)") -> go.layout.Template:
    """The book's plotly template: text in the colour `ink`, on whatever background the page has."""
    axis = {"gridcolor": grid, "zerolinecolor": grid, "linecolor": grid, "automargin": True, "title": {"standoff": 6}}
    axis |= {"minorloglabels": "complete"}  # "20" between 10 and 100, where plotly alone would write a small "2"
    solid = {"gridcolor": grid, "zerolinecolor": grid, "backgroundcolor": CLEAR, "nticks": 5}
    layout = go.Layout(
        font={"color": ink, "size": 13},
        title={"x": 0.01, "y": 0.98, "yanchor": "top", "font": {"size": 15}},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        colorway=[*COLOURS.values(), *NEUTRAL],
        margin={"l": 48, "r": 8, "t": 40, "b": 44},
        legend={"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top", "bgcolor": CLEAR},
        xaxis=axis,
        yaxis=axis,
        modebar={"bgcolor": CLEAR, "color": grid, "activecolor": ink},
        scene={
            "xaxis": solid,
            "yaxis": solid,
            "zaxis": solid,
            "dragmode": "turntable",
            "camera": {"eye": {"x": 1.65, "y": 1.65, "z": 1.2}, "center": {"x": 0, "y": 0, "z": -0.15}},
        },
    )
    return go.layout.Template(layout=layout)


# The book swaps these two as the reader changes mode; a notebook's mode is unknown, so its ink suits both.
TEMPLATES = {"light": template("#1f2328"), "dark": template("#d8dee4")}
pio.templates["pcbook"] = template("#787878")
pio.templates.default = "pcbook"


def landscape(
    w1: Values,
    w2: Values,
    z: np.ndarray,
    title: str,
    zmax: float | None = None,
    log: bool = False,
    levels: int = 20,
    scale: bool = True,
) -> go.Figure:
    """Contours of z (len(w2), len(w1)) over the weights, clipped at `zmax`; `log` spaces the levels evenly in log z.

    `scale=False` leaves the colour bar out, for panels that share one.
    """
    z = np.asarray(z, dtype=float)
    if z.shape != (len(w2), len(w1)) or np.isnan(z).any():
        raise ValueError(f"z has shape {z.shape}: must be {(len(w2), len(w1))}, without NaN")
    top = float(np.max(z) if zmax is None else zmax)
    bottom = max(float(np.min(z)), 1e-4 * top) if log else float(np.min(z))
    shown = np.clip(z, bottom, top)
    bar: dict[str, Any] = {"thickness": 10, "outlinewidth": 0, "xpad": 4}
    if log:
        shown, bottom, top = np.log10(shown), np.log10(bottom), np.log10(top)
        ticks = np.arange(np.ceil(bottom), np.floor(top) + 1)
        bar |= {"tickvals": ticks, "ticktext": [f"{10.0**tick:g}" for tick in ticks]}
    trace = go.Contour(
        x=w1,
        y=w2,
        z=shown,
        zmin=bottom,
        zmax=top,
        colorscale=LANDSCAPE,
        showscale=scale,
        colorbar=bar,
        contours={"start": bottom, "end": top, "size": (top - bottom) / levels or 1},
        line={"width": 0.5, "color": LEVEL},
        hovertemplate=f"w₁ %{{x:.2f}}, w₂ %{{y:.2f}}<br>{'log₁₀ ' if log else ''}%{{z:.3g}}<extra></extra>",
    )
    layout = {"title": {"text": title}, "xaxis": {"title": {"text": "w₁"}}, "yaxis": {"title": {"text": "w₂"}}}
    fig = go.Figure(trace, layout)
    fig.update_xaxes(range=[np.min(w1), np.max(w1)], constrain="domain", showgrid=False, zeroline=False)
    fig.update_yaxes(range=[np.min(w2), np.max(w2)], constrain="domain", showgrid=False, zeroline=False)
    return fig.update_yaxes(scaleanchor="x")


def surface(w1: Values, w2: Values, z: np.ndarray, title: str, zmax: float | None = None) -> go.Figure:
    """The same landscape as a surface that the reader can turn."""
    z = np.minimum(z, np.inf if zmax is None else zmax)
    fig = go.Figure(go.Surface(x=w1, y=w2, z=z, colorscale=LANDSCAPE, showscale=False), {"title": {"text": title}})
    return fig.update_scenes(xaxis_title="w₁", yaxis_title="w₂", zaxis_title="", aspectmode="cube")


def add_field(
    fig: go.Figure, w1: Values, w2: Values, direction: np.ndarray, colour: str = ARROW, name: str = "direction"
) -> go.Figure:
    """Arrows of equal length along `direction` (len(w2), len(w1), 2); where it vanishes, none."""
    norm = np.linalg.norm(direction, axis=-1, keepdims=True)
    unit = np.divide(direction, norm, out=np.full(np.shape(direction), np.nan), where=norm > 0)
    centre = np.stack(np.meshgrid(w1, w2), axis=-1)
    length = 0.7 * min(np.ptp(w1) / (len(w1) - 1), np.ptp(w2) / (len(w2) - 1))
    across = np.stack([-unit[..., 1], unit[..., 0]], axis=-1)
    tail, tip = centre - length / 2 * unit, centre + length / 2 * unit
    left, right = (tip - length * (0.35 * unit + side * 0.22 * across) for side in (1, -1))
    gap = np.full_like(tip, np.nan)  # lifts the pen between arrows
    x, y = np.stack([tail, tip, left, tip, right, gap], axis=2).reshape(-1, 2).T
    line = {"color": colour, "width": 1}
    return fig.add_scatter(x=x, y=y, mode="lines", line=line, name=name, hoverinfo="skip", showlegend=False)


def add_manifold(fig: go.Figure, slope: float, limit: float, name: str = "solutions") -> go.Figure:
    """The solutions w₁w₂ = `slope` within ±`limit`: the two branches of a hyperbola, dashed in white."""
    slope, limit = float(checks.nonzero("slope", slope)), float(checks.positive("limit", limit))
    right = np.geomspace(abs(slope) / limit, limit, 60)
    x = np.concatenate([-right[::-1], [np.nan], right])
    line = {"color": WHITE, "width": 2, "dash": "dash"}
    return fig.add_scatter(x=x, y=slope / x, mode="lines", line=line, name=name, hoverinfo="skip", showlegend=False)


def add_path(fig: go.Figure, path: ArrayLike, algorithm: str, name: str | None = None) -> go.Figure:
    """The trajectory `path` (n, 2) of `algorithm`, with its first and last point marked, haloed to stand out."""
    checks.choice("algorithm", algorithm, tuple(COLOURS))
    path = np.asarray(path, dtype=float)
    marks, size = path, np.full(len(path), 5)
    if len(path) > 60:  # a browser draws markers slowly, also those of size 0
        marks, size = np.stack([path[0], [np.nan] * 2, path[-1]]), np.full(3, 9)
    size[[0, -1]] = 9
    style = {"legendgroup": name or algorithm, "mode": "lines", "showlegend": False}
    line = {"color": COLOURS[algorithm], "width": 2.5, "dash": DASHES[algorithm]}
    marker = {"size": size, "symbol": MARKERS[algorithm], "line": {"color": WHITE, "width": 1}, "opacity": 1}
    shown = {"mode": "lines+markers", "name": name or algorithm, "marker": marker, "showlegend": None}
    fig.add_scatter(x=path[:, 0], y=path[:, 1], line={"color": WHITE, "width": 5}, hoverinfo="skip", **style)
    fig.add_scatter(x=path[:, 0], y=path[:, 1], line=line, **style)
    return fig.add_scatter(x=marks[:, 0], y=marks[:, 1], line=line, **style | shown)


def curves(
    x: Values,
    series: Mapping[str, Series],
    title: str,
    x_title: str,
    y_title: str,
    log_x: bool = False,
    log_y: bool = False,
) -> go.Figure:
    """Lines over x from `{name: y}` or `{name: (y, low, high)}`, the latter with a band from low to high.

    A name whose first word is an algorithm ("PC, exact") takes its colour and dash.
    """
    fig = go.Figure(layout={"title": {"text": title}})
    fig.update_xaxes(title_text=x_title, type="log" if log_x else "linear")
    fig.update_yaxes(title_text=y_title, type="log" if log_y else "linear")
    for (name, value), (colour, dash, _) in zip(series.items(), _styles(series), strict=True):
        y, *band = value if isinstance(value, tuple) else (value,)
        if band:
            edges, there_and_back = np.concatenate([band[1], band[0][::-1]]), np.concatenate([x, x[::-1]])
            shade = {"fill": "toself", "fillcolor": colour + "33", "line": {"width": 0}, "hoverinfo": "skip"}
            fig.add_scatter(x=there_and_back, y=edges, mode="lines", **shade, showlegend=False, legendgroup=name)
        fig.add_scatter(x=x, y=y, mode="lines", name=name, line={"color": colour, "dash": dash}, legendgroup=name)
    return fig


def intervals(
    estimates: Mapping[str, tuple[float, float, float]], title: str, x_title: str, reference: float | None = None
) -> go.Figure:
    """Point estimates with intervals from `{name: (estimate, low, high)}`, one row each; a line at `reference`."""
    fig = go.Figure(layout={"title": {"text": title}})
    for (name, (value, low, high)), (colour, _, symbol) in zip(estimates.items(), _styles(estimates), strict=True):
        bar = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "thickness": 2}
        marker = {"color": colour, "symbol": symbol, "size": 9}
        fig.add_scatter(x=[value], y=[name], error_x=bar, mode="markers", marker=marker, name=name, showlegend=False)
    if reference is not None:
        fig.add_vline(reference, line=REFERENCE)
    return fig.update_xaxes(title_text=x_title).update_yaxes(autorange="reversed")


def _styles(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Colour, dash and marker of each name: its algorithm's, or the next neutral ones."""
    neutral = itertools.cycle(
        zip(NEUTRAL, ("solid", "dash", "dot", "dashdot"), ("circle", "star", "x", "hexagon"), strict=True)
    )
    for name in names:
        key = name.split()[0].rstrip(",:")
        yield (COLOURS[key], DASHES[key], MARKERS[key]) if key in COLOURS else next(neutral)
