"""The linear response of a network: how activities and output move with the output error λ. Torch.

All of it is n_L rows wide, so it costs a fraction of a pass over a batch. Nonlinear networks use each unit's mean
slope over the batch (a mean field) or, in hard cases, every sample's own slopes; linear networks are exact.
Hidden units stand side by side, layer after layer: N = n_1 + … + n_{L−1} columns.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pcbook import network

ENTRIES = 50_000_000  # the most numbers that the Jacobians of all samples may hold


@dataclass(frozen=True, eq=False)
class Response:
    """J = ∂u_L/∂e (n_L, N), `adjoint`, and U (n_L, N) with δu = λU, `lift`, zero for the first layer.

    `scale` is S = Π_L⁻¹ + J Π⁻¹ Jᵀ, (n_L, n_L): at the equilibrium y − u_L = Sλ − what nonlinearity adds. `slopes` (N,)
    are those it was made with, None for 1. All of it has a batch axis in front if it belongs to samples.
    """

    slopes: Tensor | None
    adjoint: Tensor
    scale: Tensor
    net: network.PCN

    @functools.cached_property
    def inverse(self) -> Tensor:
        """S⁻¹."""
        return torch.linalg.inv(self.scale.double()).to(self.scale.dtype)

    @functools.cached_property
    def lift(self) -> Tensor:
        """U, layer by layer upwards: U_{l+1} = (U_l ⊙ φ′_l + J_l Π_l⁻¹) W_{l+1}ᵀ."""
        weighted = network.unweigh_hidden(self.net, self.adjoint).split(self.net.sizes[1:-1], dim=-1)
        lift, moved = [torch.zeros_like(weighted[0])], weighted[0]
        slopes = _layers(self.net, None if self.slopes is None else self.slopes[..., None, :])
        for w, d, e in zip(self.net.weights[1:-1], slopes[1:], weighted[1:], strict=True):
            lift.append(moved @ w.t())
            moved = network.times(lift[-1], d) + e
        return torch.cat(lift, dim=-1)

    def top(self, net: network.PCN, start: int) -> "Response":
        """The response of `net`, the layers above the first `start` units, to drift there; to λ that of all layers."""
        slopes = None if self.slopes is None else self.slopes[..., start:]
        return Response(slopes, self.adjoint[..., start:], self.scale, net)


def mean_field(net: network.PCN, slopes: Tensor | None) -> Response:
    """The `Response` at the mean slopes φ′(u) over a batch, (N,) or None for 1."""
    return _response(net, slopes)


def per_sample(net: network.PCN, slopes: Tensor | None) -> Response:
    """The `Response` of every sample at its own slopes (B, N); the mean field's where that is too large."""
    if slopes is None or slopes.numel() * net.sizes[-1] > ENTRIES:
        return mean_field(net, None if slopes is None else slopes.mean(0))
    return _response(net, slopes[:, None])


def _response(net: network.PCN, slopes: Tensor | None) -> Response:
    parts = _layers(net, slopes)
    adjoint = [net.weights[-1] if slopes is None or slopes.ndim == 1 else net.weights[-1].expand(len(slopes), -1, -1)]
    for w, d in zip(reversed(net.weights[1:-1]), reversed(parts[1:]), strict=True):
        adjoint.append(network.times(adjoint[-1], d) @ w)
    adjoint.reverse()
    weighted = network.unweigh(net, adjoint)  # J_l Π_l⁻¹
    variance = network.unweigh_output(net, torch.ones_like(net.weights[-1][:, 0]))
    scale = torch.diag(variance) + sum(a @ b.mT for a, b in zip(adjoint, weighted, strict=True))
    if not bool(torch.isfinite(scale).all()):
        raise ValueError("the linear response of the network overflows: the weights are too large")
    slopes = slopes if slopes is None or slopes.ndim == 1 else slopes[:, 0]
    return Response(slopes, torch.cat(adjoint, dim=-1), scale, net)


def _layers(net: network.PCN, slopes: Tensor | None) -> Sequence[Tensor | None]:
    widths = net.sizes[1:-1]
    return [None] * len(widths) if slopes is None else slopes.split(widths, dim=-1)


def newton_step(net: network.PCN, response: Response, gradient: Tensor) -> Tensor:
    """−(Π + JᵀΠ_L J)⁻¹ g for a gradient in the errors (B, N), as −Π⁻¹g + Π⁻¹Jᵀ S⁻¹ JΠ⁻¹g (Woodbury)."""
    scaled = network.unweigh_hidden(net, gradient)
    inner = spread(gather(scaled, response.adjoint), response.inverse)
    return network.unweigh_hidden(net, spread(inner, response.adjoint)) - scaled


def spread(v: Tensor, matrix: Tensor) -> Tensor:
    """v (B, n_L) times a matrix (n_L, n) or one for each sample (B, n_L, n)."""
    return v @ matrix if matrix.ndim == 2 else (v[:, None] @ matrix)[:, 0]


def gather(v: Tensor, matrix: Tensor) -> Tensor:
    """v (B, n) times the transpose of a matrix (n_L, n) or of one for each sample (B, n_L, n)."""
    # Few rows on the left: twice as fast as few columns on the right.
    return (matrix @ v.t()).t() if matrix.ndim == 2 else (matrix @ v[:, :, None])[:, :, 0]
