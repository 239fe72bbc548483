"""The linear response of a network: how activities and output move with the output error λ. Torch.

All of it is n_L rows wide, so it costs a fraction of a pass over a batch. Nonlinear networks use each unit's mean
slope over the batch (a mean field) or, in hard cases, every sample's own slopes; linear networks are exact.
"""

from dataclasses import dataclass

import torch

from pcbook import network


@dataclass(frozen=True, eq=False)
class Response:
    """`adjoint[l−1]` is J_l = ∂u_L/∂e_l, (n_L, n_l), l < L; `lift[l−1]` is U_l with δu_l = λ U_l, l = 2 … L (U_1 = 0).

    `scale` is S = Π_L⁻¹ + Σ_l J_l Π_l⁻¹ J_lᵀ, (n_L, n_L): at the equilibrium y − u_L = Sλ − what nonlinearity adds.
    `slopes` are those it was made with. All of it has a batch axis in front if they belong to samples.
    """

    slopes: list
    adjoint: list
    lift: list
    scale: torch.Tensor
    inverse: torch.Tensor


def mean_field(net, slopes):
    """The `Response` at the batch's mean slopes φ′(u_l), l < L, each (B, n_l) or None for 1."""
    return _response(net, [None if d is None else d.mean(0) for d in slopes])


ENTRIES = 50_000_000  # the most numbers that the Jacobians of all samples may hold


def per_sample(net, slopes):
    """The `Response` of every sample, (B, n_L, …), at its own slopes; the mean field's where that is too large."""
    if sum(d.numel() for d in slopes if d is not None) * net.sizes[-1] > ENTRIES or slopes[0] is None:
        return mean_field(net, slopes)
    return _response(net, [None if d is None else d[:, None, :] for d in slopes])


def _response(net, slopes):
    adjoint = [net.weights[-1]]
    for w, d in zip(reversed(net.weights[1:-1]), reversed(slopes[1:]), strict=True):
        adjoint.append(network.times(adjoint[-1], d) @ w)
    adjoint.reverse()
    weighted = network.unweigh(net, adjoint)  # J_l Π_l⁻¹
    variance = network.unweigh_output(net, torch.ones_like(net.weights[-1][:, 0]))
    scale = torch.diag(variance) + sum(a @ b.mT for a, b in zip(adjoint, weighted, strict=True))
    lift, moved = [None], weighted[0]
    for w, d, e in zip(net.weights[1:-1], slopes[1:], weighted[1:], strict=True):
        lift.append(moved @ w.t())
        moved = network.times(lift[-1], d) + e
    if not bool(torch.isfinite(scale).all()):
        raise ValueError("the linear response of the network overflows: the weights are too large")
    inverse = torch.linalg.inv(scale.double()).to(scale.dtype)
    slopes = [d if d is None or d.ndim == 1 else d[:, 0] for d in slopes]
    return Response(slopes, adjoint, lift, scale, inverse)


def newton_step(net, response, gradient):
    """−(Π + JᵀΠ_L J)⁻¹ g for a gradient in the errors [(B, n_l)], l < L, as −Π⁻¹g + Π⁻¹Jᵀ S⁻¹ JΠ⁻¹g (Woodbury)."""
    scaled = network.unweigh(net, gradient)
    inner = sum(gather(s, j) for s, j in zip(scaled, response.adjoint, strict=True))
    inner = spread(inner, response.inverse)
    back = network.unweigh(net, [spread(inner, j) for j in response.adjoint])
    return [b - s for s, b in zip(scaled, back, strict=True)]


def spread(v, matrix):
    """v (B, n_L) times a matrix (n_L, n) or one for each sample (B, n_L, n)."""
    return v @ matrix if matrix.ndim == 2 else (v[:, None] @ matrix)[:, 0]


def gather(v, matrix):
    """v (B, n) times the transpose of a matrix (n_L, n) or of one for each sample (B, n_L, n)."""
    return v @ matrix.t() if matrix.ndim == 2 else (matrix @ v[:, :, None])[:, :, 0]
