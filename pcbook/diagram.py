"""A predictive coding network as a picture: its units' activities, their prediction errors, and each layer's.

A disc is a unit, with its activity as a number and as a colour. The triangle in front of it is its prediction error:
its area is the error's size, and it points up where the activity is higher than predicted, down where it is lower.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pcbook import figures

__all__ = ["network"]

BEFORE = 0.36  # how far in front of its disc a triangle stands, in layers
DISC, TRIANGLE = 27, 25  # pixels across; a triangle's at the largest error
SIGNS = {"error > 0": ("triangle-up", figures.ABOVE), "error < 0": ("triangle-down", figures.BELOW)}


def network(
    activities: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    sizes: figures.Values,
    title: str,
    limits: Sequence[float],
    settled: figures.Values | None = None,
    names: Sequence[str] | None = None,
) -> go.Figure:
    """Layers from input to target, and under each the size of its error; in outline, `settled`, where it will end.

    `activities` [z_0 … z_L] and `errors` [e_1 … e_L] are vectors, `sizes` and `settled` hold L numbers ‖√Π e‖,
    half of whose squares add up to the energy. `limits` are the activity, error and size at which the scales end, so
    that they stand still between frames. `names` of the layers replace z₀ … z_L.
    """
    layers, places = np.arange(1, len(activities)), [_column(z) for z in activities]
    fig = go.Figure(layout={"title": {"text": title}, "barmode": "overlay"})
    fig.add_scatter(**_wires(places), mode="lines", line={"color": figures.FAINT, "width": 0.8}, **_QUIET)
    fig.add_scatter(**_triangles(errors, places[1:], limits[1]), **_HIDDEN)
    fig.add_scatter(**_discs(activities, places, limits[0]), name="activity z")
    for name, (symbol, colour) in SIGNS.items():
        fig.add_scatter(x=[None], y=[None], mode="markers", marker={"symbol": symbol, "color": colour}, name=name)
    bars = {"x": layers, "width": 0.5, "yaxis": "y2", "hovertemplate": "%{y:.3g}<extra></extra>"}
    fig.add_bar(y=sizes, marker={"color": figures.COLOURS["PC"]}, name="layer's error", **bars)
    tops = sizes if settled is None else np.maximum(sizes, settled)
    numbers = {"text": [f"{size:.2f}" for size in sizes], "textposition": "top center", "yaxis": "y2"}
    fig.add_scatter(x=layers, y=tops, mode="text", **numbers, **_QUIET)
    if settled is not None:
        outline = {"color": figures.CLEAR, "line": {"color": figures.GREY, "width": 2}}
        fig.add_bar(y=settled, marker=outline, name="at the end", **bars)
    return _frame(fig, names or _names(len(layers)), limits[2], 0.26 if len(errors[0]) > 1 else 0.5)


def _column(z: np.ndarray) -> np.ndarray:
    """The heights of a layer's units, the first one on top, the middle at 0."""
    return (len(z) - 1) / 2 - np.arange(len(z))


_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_HIDDEN = {"showlegend": False}
_QUIET = {"hoverinfo": "skip"} | _HIDDEN


def _names(last: int) -> list[str]:
    kinds = ["input", *["hidden"] * (last - 1), "target"]
    return [f"{kind}<br>z{l}".translate(_SUBSCRIPTS) for l, kind in enumerate(kinds)]


def _wires(places: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Every unit to every one of the next layer, with gaps that lift the pen."""
    ends = [
        [(l, a), (l + 1, b), (np.nan, np.nan)]
        for l, (below, above) in enumerate(zip(places[:-1], places[1:], strict=True))
        for a in below
        for b in above
    ]
    x, y = np.reshape(ends, (-1, 2)).T
    return {"x": x, "y": y}


def _discs(activities: Sequence[np.ndarray], places: Sequence[np.ndarray], limit: float) -> dict[str, Any]:
    z = np.concatenate(activities)
    x = np.concatenate([np.full(len(column), l) for l, column in enumerate(places)])
    marker = {"size": DISC, "color": z, "colorscale": figures.SIGNED, "cmin": -limit, "cmax": limit, "opacity": 1}
    marker |= {"line": {"color": figures.GREY, "width": 1.5}}
    text = {
        "text": [f"{round(v, 1) + 0.0:.1f}".replace("-", "−") for v in z],
        "textfont": {"color": figures.BLACK, "size": 11},
    }
    hover = {"hovertemplate": "activity %{marker.color:.3g}<extra></extra>"}
    return {"x": x, "y": np.concatenate(places), "mode": "markers+text", "marker": marker} | text | hover


def _triangles(errors: Sequence[np.ndarray], places: Sequence[np.ndarray], limit: float) -> dict[str, Any]:
    e, (up, down) = np.concatenate(errors), SIGNS.values()
    size = TRIANGLE * np.sqrt(np.abs(e) / limit)
    symbols, colours = (np.where(e > 0, *pair).tolist() for pair in zip(up, down, strict=True))
    marker = {"symbol": symbols, "color": colours, "size": np.where(size > 1, size, 0), "opacity": 1}
    x = np.concatenate([np.full(len(column), l - BEFORE) for l, column in enumerate(places, 1)])
    hover = {"customdata": e, "hovertemplate": "error %{customdata:.3g}<extra></extra>"}
    return {"x": x, "y": np.concatenate(places), "mode": "markers", "marker": marker | {"line": {"width": 0}}} | hover


def _frame(fig: go.Figure, names: Sequence[str], highest: float, share: float) -> go.Figure:
    """Axes: layers by name along the bottom, bars in the lowest `share`, above them the units, without numbers."""
    last = len(names) - 1
    fig.update_xaxes(tickvals=np.arange(last + 1), ticktext=names, range=[-0.4, last + 0.4], anchor="y2")
    fig.update_xaxes(showgrid=False, zeroline=False, fixedrange=True)
    fig.update_layout(
        yaxis={"visible": False, "domain": [share + 0.1, 1], "fixedrange": True},
        yaxis2={"domain": [0, share], "range": [0, 1.25 * highest], "title": {"text": "size of error"}, "nticks": 3},
        legend={"itemsizing": "constant", "y": -0.14},
    )
    return fig
