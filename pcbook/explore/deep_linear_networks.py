"""Explorers and figures of the chapter on deep linear networks: the metric, the origin, the wide limit."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import torch

from pcbook import figures, linear_theory, network, sliders
from pcbook.network import PCN

X, Y = 1.0, -1.0  # the paper's task on one sample
GRID = np.linspace(-2, 2, 41)
DEPTHS = (2, 3, 4, 6, 8, 10)
SCHEMES = {
    "PyTorch's default": ("default", False),
    "He": ("he", False),
    "orthogonal": ("orthogonal", False),
    "μPC without skips": ("mupc", False),
    "μPC with skips": ("mupc", True),
}
WIDTHS, LAYERS = (2, 4, 8, 16, 32, 64, 128), (2, 3, 4, 6, 8, 12, 16, 24, 32)


def metric_explorer(gain: float = 0.8, most: int = 8, samples: int = 400, seed: int = 1) -> sliders.Explorer:
    """B1 with two outputs: residuals of equal energy, and the outputs' noise, whose covariance S makes the metric."""
    rand = torch.Generator().manual_seed(seed)
    layers = [gain * w for w in network.init_weights([2] * (most + 1), rand, "he", dtype=torch.float64)]
    noise = [torch.randn(samples, 2, generator=rand, dtype=torch.float64) for _ in range(most)]
    angle = np.linspace(0, 2 * np.pi, 121)
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)])

    def draw(depth: int) -> go.Figure:
        net = PCN(layers[most - depth :])
        origin = torch.zeros(samples, 2, dtype=torch.float64)
        output = network.sweep(net, origin, noise[: depth - 1]).output + noise[depth - 1]
        ellipse = np.linalg.cholesky(linear_theory.output_scale(net).numpy()) @ circle
        fig = go.Figure(layout={"title": {"text": "Residuals, and the noise of the outputs"}, "height": 460})
        dot = {"size": 4, "color": figures.GREY, "opacity": 0.5}
        fig.add_scatter(x=output[:, 0].numpy(), y=output[:, 1].numpy(), mode="markers", marker=dot, name="noise")
        for name, (x, y) in (("BP: ℒ = 2", circle), ("PC: ℱ* = 2", ellipse)):
            kind = name.split(":")[0]
            line = {"color": figures.COLOURS[kind], "dash": figures.DASHES[kind], "width": 3}
            fig.add_scatter(x=x, y=y, mode="lines", name=name, line=line)
        fig.update_xaxes(range=[-9, 9], title_text="residual r₁")
        return fig.update_yaxes(range=[-9, 9], title_text="residual r₂", scaleanchor="x")

    return sliders.explore(
        draw,
        sliders.Slider("depth", "weight layers L", tuple(range(1, most + 1)), start=3),
        caption="Points: what the output does when every layer adds unit noise. PC calls residuals on the solid curve "
        "equally bad: it forgives most where the network itself is noisiest. BP's circle treats all directions alike.",
        alt="A cloud of output noise around zero, a dashed circle of residuals of equal loss and a solid ellipse of "
        "residuals of equal energy. With one layer they coincide; with each layer more, cloud and ellipse "
        "stretch together while the circle stays.",
    )


def slice_explorer() -> sliders.Explorer:
    """ℒ and ℱ* of a chain over two numbers: a, the value of all lower weights, and b, the last weight."""
    lower, last = np.meshgrid(GRID, GRID)

    def draw(depth: int) -> list[go.Figure]:
        residual = Y - last * lower ** (depth - 1) * X
        loss = residual**2 / 2
        scale = 1 + last**2 * sum(lower ** (2 * k) for k in range(depth - 1))
        panels = []
        for title, z in ((f"ℒ, {depth} weights", loss), (f"ℱ*, {depth} weights", loss / scale)):
            fig = figures.landscape(GRID, GRID, z, title, zmax=1.0, scale=False)
            fig.update_xaxes(title_text="lower weights a").update_yaxes(title_text="last weight b")
            panels.append(fig)
        return panels

    return sliders.explore(
        draw,
        sliders.Slider("depth", "weight layers L", DEPTHS, start=4),
        caption="A chain whose lower weights all equal a. With depth the loss (left) becomes a plateau around the "
        "origin. The energy (right) keeps falling off along b, the last weight, as it does with one hidden unit.",
        alt="Two contour plots over the lower weights' value and the last weight. With more layers the loss turns into "
        "a wide flat plateau around the origin with steep walls beyond; the energy keeps a ridge along zero last "
        "weight, from which it falls to both sides.",
    )


def spectrum_figure(spectra: Mapping[str, Mapping[int, np.ndarray]]) -> go.Figure:
    """Eigenvalues at the origin from `{name: {depth: eigenvalues}}`, a marker each over the depth."""
    fig = go.Figure(layout={"title": {"text": "Eigenvalues of the Hessian at the origin"}})
    for shift, (name, by_depth) in zip((-0.12, 0.12), spectra.items(), strict=True):
        depth = np.concatenate([np.full(len(values), d + shift) for d, values in by_depth.items()])
        marker = {"color": figures.COLOURS[name], "symbol": figures.MARKERS[name], "size": 8, "opacity": 0.6}
        values = np.concatenate(list(by_depth.values()))
        fig.add_scatter(
            x=depth, y=values, mode="markers", marker=marker, name=f"{name}: {'ℒ' if name == 'BP' else 'ℱ*'}"
        )
    fig.update_xaxes(title_text="weight layers L", dtick=1)
    return fig.update_yaxes(title_text="eigenvalue")


@functools.cache
def descend(algorithm: str, depth: int, start: float, learning_rate: float, steps: int, seed: int = 0) -> np.ndarray:
    """ℒ before each of `steps` steps of BP or PC on a chain with weights `start` · N(0, 1); shape (steps,)."""
    x, y = torch.full((2, 1, 1), X, dtype=torch.float64).unbind()
    y = y * Y / X
    rand = torch.Generator().manual_seed(seed)
    net = PCN([start * torch.randn(1, 1, generator=rand, dtype=torch.float64) for _ in range(depth)])
    losses = np.empty(steps)
    for k in range(steps):
        losses[k] = network.loss(net, x, y).item()
        if algorithm == "PC":
            gradients = linear_theory.equilibrated_energy_gradients(net, x, y).weights
        else:
            gradients = network.backprop_gradients(net, x, y)
        for w, gradient in zip(net.weights, gradients, strict=True):
            w -= learning_rate * gradient
    losses.flags.writeable = False  # the cache hands the same array out again
    return losses


def escape_explorer(
    start: float = 0.5, learning_rate: float = 0.2, steps: int = 400, depths: Sequence[int] = (2, 3, 4, 6, 8)
) -> sliders.Explorer:
    """The loss of BP and PC on chains of several depths, from the same small weights."""

    def draw(depth: int, start: float = start) -> go.Figure:
        series = {name: descend(name, depth, float(start), learning_rate, steps) for name in ("BP", "PC")}
        series = {name: np.maximum(losses, 1e-6) for name, losses in series.items()}
        title = f"Loss of a chain with {depth} weights"
        fig = figures.curves(np.arange(steps), series, title, "step", "ℒ", log_y=True)
        return fig.update_yaxes(range=[-6, 0.5], dtick=1, exponentformat="power")

    return sliders.explore(
        draw,
        sliders.Slider("depth", "weight layers L", depths, start=6),
        sliders.Slider("start", "size of the first weights", (0.3, start, 0.8), start=start, live=True),
        caption=f"Learning rate {learning_rate:g}, one chain a depth. In shallow chains there is no plateau and BP is "
        "the faster one. With depth BP sits on its plateau ever longer, and PC does not.",
        alt="The loss of BP and of PC over steps, on a logarithmic axis. At two to six weights BP falls below one "
        "percent first; at eight weights BP stays on a plateau for hundreds of steps while PC falls earlier.",
    )


@functools.cache
def wide_grid(name: str, draws: int = 1) -> np.ndarray:
    """ℱ*/ℒ and the angle between the gradients over `LAYERS` × `WIDTHS` for one of `SCHEMES`, means over draws."""
    scheme, skips = SCHEMES[name]
    found = np.empty((draws, len(LAYERS), len(WIDTHS), 2))
    for k, i, j in np.ndindex(found.shape[:3]):
        rand = torch.Generator().manual_seed(k)
        net = linear_theory.random_net([WIDTHS[j]] * LAYERS[i] + [min(10, WIDTHS[j])], rand, scheme, skips)
        x, y = (torch.randn(4, n, generator=rand, dtype=torch.float64) for n in (net.sizes[0], net.sizes[-1]))
        found[k, i, j] = linear_theory.against_backprop(net, x, y)
    return np.moveaxis(found.mean(0), -1, 0)


def limit_explorer(start: str = "PyTorch's default") -> sliders.Explorer:
    """B3: ℱ*/ℒ and the angle between the gradients over width and depth, for each initialisation."""

    def draw(scheme: str) -> list[go.Figure]:
        ratio, angle = wide_grid(scheme)
        return [
            _heat(ratio, "ℱ*/ℒ", 0, 1, figures.SHARE),
            _heat(angle, "Angle between ∇ℱ* and ∇ℒ, degrees", 0, 90, figures.SHARE_REVERSED),
        ]

    return sliders.explore(
        draw,
        sliders.Choice("scheme", "Initial weights", tuple(SCHEMES), start=start),
        caption="Bright: PC is close to BP, in energy (left) or in direction (right). Only the two scalings with a "
        "small output layer (μPC) bring the energy to the loss, and of these only the one with skips brings the "
        "gradient along where width is far past depth, towards the lower right. Orthogonal weights give BP's "
        "direction at another length.",
        alt="Two heat maps over width and depth. With PyTorch's default the ratio stays near two thirds and the angle "
        "near ninety degrees for deep nets. With He's and orthogonal weights the ratio falls towards zero with depth. "
        "With μPC's scaling the ratio nears one with width; the angle falls with width over depth if there are "
        "skips, and stays at ninety degrees in deep nets if there are none.",
    )


def _heat(z: np.ndarray, title: str, low: float, high: float, colours: str) -> go.Figure:
    text = np.vectorize(lambda v: f"{v:.2g}" if high == 1 else f"{v:.0f}")(z)
    heat = go.Heatmap(
        x=[str(n) for n in WIDTHS],
        y=[str(n) for n in LAYERS],
        z=z,
        zmin=low,
        zmax=high,
        colorscale=colours,
        showscale=False,
        text=text,
        texttemplate="%{text}",
        textfont={"size": 10},
        hovertemplate="width %{x}, depth %{y}<br>%{z:.3g}<extra></extra>",
    )
    fig = go.Figure(heat, {"title": {"text": title}, "height": 440})
    fig.update_xaxes(title_text="width n", type="category")
    return fig.update_yaxes(title_text="weight layers L", type="category")
