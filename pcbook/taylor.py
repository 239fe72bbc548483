"""The energy's Taylor model around the feedforward pass, and the updates built on it, at any depth. Torch.

At the feedforward values z_t the hidden errors vanish, and what is left is a residual r = y − output. The energy there
is the loss, its gradient g with respect to the stacked hidden activities (z_1, …, z_{L−1}), N numbers, is the loss's,
and its Hessian is the Fisher information I (Eqs. 5, 21 and 22). D_l = diag φ′(u_l); J_l = W_L D_{L−1} W_{L−1} … W_{l+1}
is the output's Jacobian with respect to layer l's error, and

    S = Π_L⁻¹ + Σ_{l<L} J_l Π_l⁻¹ J_lᵀ,    λ = S⁻¹ r

live in the n_L dimensions of the output. Everything but the two (N, N) matrices is made of them by sweeps.
Arguments are checked as in `pcbook.network`: `ValueError` for other shapes or dtypes and non-finite values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pcbook import network

__all__ = [
    "corrected_gradients",
    "fisher",
    "gradient",
    "hessian",
    "inference_step",
    "model",
    "model_minimum",
    "output_fisher",
    "printed_gradients",
]


def gradient(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """g = ∇_z L = ∇_z F at z_t (Eqs. 5 and 21), a list of (B, n_l): only the last hidden layer feels the residual."""
    state, r = _feedforward(net, x, y)
    g = [torch.zeros_like(z) for z in state.inputs[1:]]
    if g:
        g[-1] = -network.weigh_layer(net, -1, r) @ net.weights[-1]
    return g


def hessian(net: network.PCN, x: Tensor, y: Tensor, activities: list[Tensor] | None = None) -> Tensor:
    """H_F (B, N, N): the energy's exact Hessian in the stacked hidden activities (Eq. 21), at z_t unless given others.

    Beyond `fisher` it holds the term −W_lᵀ diag(Π_l e_l ⊙ φ″(u_l)) W_l of every hidden layer l > 1, and so of no layer
    at z_t. Kinks are passed over: φ″ counts as 0 for (leaky) ReLU.
    """
    if activities is None:
        activities = network.forward(net, x)[:-1]
    errors = network.prediction_errors(net, activities, x, y)
    state = network.sweep(net, x, errors[:-1])
    bends = [network.ACTIVATIONS[net.activation].bend(u) for u in state.preactivations]
    weighted = network.weigh(net, errors)[:-1]
    bent = [None if b is None else -m * b for m, b in zip(weighted, bends, strict=True)]
    return _assemble(net, state, [*bent, None])


def fisher(net: network.PCN, x: Tensor, activities: list[Tensor] | None = None) -> Tensor:
    """I (B, N, N): the Fisher information of (y, z) given x about the stacked activities, at z_t unless given others.

    It is block-tridiagonal: Π_l + W_{l+1}ᵀ D_{l+1} Π_{l+1} D_{l+1} W_{l+1} on the diagonal and −Π_{l+1} D_{l+1} W_{l+1}
    in block (l+1, l), with D_L = 1. It is positive definite, does not depend on y, and equals `hessian` at z_t.
    """
    network.inputs(net, x)
    errors = None
    if activities is not None:
        unused = torch.zeros(x.shape[0], net.sizes[-1], dtype=net.dtype, device=net.device)
        errors = network.prediction_errors(net, activities, x, unused)[:-1]
    return _assemble(net, network.sweep(net, x, errors), [None] * len(net.weights))


def output_fisher(net: network.PCN) -> Tensor:
    """H_L = JᵀΠ_L J (N, N): the Fisher information of p(y | z) alone, which is also the Hessian of L(z).

    The output depends on z_{L−1} only, so all but the last block W_Lᵀ Π_L W_L are 0: its rank is at most n_L.
    """
    n, w = sum(net.sizes[1:-1]), net.weights[-1]
    full = torch.zeros(n, n, dtype=net.dtype, device=net.device)
    if n:
        full[-w.shape[1] :, -w.shape[1] :] = w.t() @ network.weigh_layer(net, -1, w.t()).t()
    return full


def model(net: network.PCN, x: Tensor, y: Tensor, step: list[Tensor]) -> Tensor:
    """L + gᵀΔz + ½ Δzᵀ I Δz (Eqs. 5 and 22), (B,) float64, at `step` [Δz_1, …, Δz_{L−1}].

    It is the energy of the network linearised at z_t, and is computed that way.
    """
    state, r = _feedforward(net, x, y)
    errors, below = [], None
    for l, delta in enumerate(_checked(step, state.inputs[1:])):
        errors.append(delta if below is None else delta - network.times(below @ net.weights[l].t(), state.slopes[l]))
        below = delta
    output = 0 if below is None else below @ net.weights[-1].t()
    return network.quadratic(net, [*errors, r - output])


def inference_step(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """Δz = −I⁻¹ g (Eqs. 6 and 23): where the Taylor model of the energy is least, a list of (B, n_l).

    In the errors it is Δe_l = Π_l⁻¹ J_lᵀ λ, one sweep down; Δz_l = Δe_l + D_l W_l Δz_{l−1} is one sweep up. The only
    system that is solved is n_L × n_L.
    """
    _, _, slopes, weighted = _output_space(net, x, y)
    steps: list[Tensor] = []
    for l, delta in enumerate(network.unweigh(net, weighted[:-1])):
        steps.append(delta + network.times(steps[-1] @ net.weights[l].t(), slopes[l]) if steps else delta)
    return steps


def model_minimum(net: network.PCN, x: Tensor, y: Tensor) -> Tensor:
    """L − ½ gᵀ I⁻¹ g = ½ rᵀ S⁻¹ r, (B,) float64: the model's value at `inference_step`, F* up to O(r³)."""
    r, _, _, weighted = _output_space(net, x, y)
    return 0.5 * (r.double() * weighted[-1].double()).sum(1)


def printed_gradients(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """(∂z_t/∂W_k)ᵀ I⁻¹ g + ∂L/∂W_k (Eqs. 7 and 25, as printed) for k < L, averaged over the batch.

    The reading: z_t stacks all hidden feedforward values, ∂z_t/∂W_k is their total derivative (through all layers
    above k), and g_L(W) is backpropagation's gradient. It is not the gradient of F at the equilibrium, nor near it.
    """
    state = network.sweep(net, network.inputs(net, x))
    targets = [g - delta for g, delta in zip(gradient(net, x, y), inference_step(net, x, y), strict=True)]
    return _pullback(net, state, targets)


def corrected_gradients(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """(∂z_t/∂W_k)ᵀ (g + H_L Δz) for k < L, averaged over the batch: ∂F/∂W_k at the equilibrium, up to O(r²).

    Because g + H_L Δz = (0, …, 0, −W_Lᵀ λ), this is backpropagation with λ = S⁻¹ r in the place of Π_L r. It is exact
    for one hidden layer, whatever its activation, and for W_1 in every linear network.
    """
    _, below, slopes, weighted = _output_space(net, x, y)
    return network.local_gradients(net, weighted, slopes, below).weights[:-1]


class OutputSpace(NamedTuple):
    """What the sweeps leave behind."""

    residual: Tensor
    inputs: list[Tensor]
    slopes: list[Tensor | None]
    weighted: list[Tensor]  # [J_1ᵀλ, …, J_{L−1}ᵀλ, λ]


def _feedforward(net: network.PCN, x: Tensor, y: Tensor) -> tuple[network.Sweep, Tensor]:
    state = network.sweep(net, network.inputs(net, x))
    return state, network.targets(net, y, x) - state.output


def _checked(step: list[Tensor], activities: list[Tensor]) -> list[Tensor]:
    if not isinstance(step, list | tuple):
        raise ValueError(f"step = {step!r}: must be a list")
    if len(step) != len(activities):
        raise ValueError(f"step holds {len(step)} layers: must be {len(activities)}")
    for l, (delta, z) in enumerate(zip(step, activities, strict=True)):
        if not isinstance(delta, Tensor):
            raise ValueError(f"step[{l}] is a {type(delta).__name__}: must be a tensor")
        if delta.shape != z.shape:
            raise ValueError(f"step[{l}] has shape {tuple(delta.shape)}: must be {tuple(z.shape)}")
    return step


def _output_space(net: network.PCN, x: Tensor, y: Tensor) -> OutputSpace:
    state, r = _feedforward(net, x, y)
    eye = torch.eye(net.sizes[-1], dtype=net.dtype, device=net.device)
    jacobians = network.adjoint(net, state.slopes, eye[:, None])  # (n_L, B or 1, n_l)
    s = torch.ones_like(r) if net.precisions is None else (1 / net.precisions[-1]).expand_as(r)
    s = torch.diag_embed(s).double()  # in float64, where a sum of squares stays positive definite
    for j, scaled in zip(jacobians, network.unweigh(net, jacobians), strict=True):
        s = s + torch.einsum("ibn,jbn->bij", j.double(), scaled.double())
    if not bool(torch.isfinite(s).all()):
        raise ValueError("net: its Jacobian overflows; the weights must be smaller")
    lam = torch.cholesky_solve(r[..., None].double(), torch.linalg.cholesky(s))[..., 0].to(r)
    return OutputSpace(r, state.inputs, state.slopes, [*network.adjoint(net, state.slopes, lam), lam])


def _pullback(net: network.PCN, state: network.Sweep, covectors: list[Tensor]) -> list[Tensor]:
    """(∂z_t/∂W_k)ᵀ v averaged over the batch, k < L, by one sweep down with v_l joining in at layer l."""
    weights, delta = [], state.output.new_zeros(())
    for l in reversed(range(len(covectors))):
        delta = network.times(covectors[l] + delta, state.slopes[l])
        weights.append(delta.t() @ state.inputs[l] / delta.shape[0])
        delta = delta @ net.weights[l]
    return weights[::-1]


def _assemble(net: network.PCN, state: network.Sweep, bent: Sequence[Tensor | None]) -> Tensor:
    """Σ_l ∂e_lᵀ Π_l ∂e_l + W_lᵀ diag(bent_l) W_l over the layers, in the stacked hidden activities, (B, N, N)."""
    x, sizes = state.inputs[0], net.sizes[1:-1]
    starts = [sum(sizes[:l]) for l in range(len(sizes) + 1)]
    full = torch.zeros(x.shape[0], starts[-1], starts[-1], dtype=net.dtype, device=net.device)
    at = [slice(*ends) for ends in zip(starts, starts[1:], strict=False)]
    for l, here in enumerate(at):
        w, slope, ones = net.weights[l + 1], [*state.slopes, None][l + 1], x.new_ones(x.shape[0], net.sizes[l + 2])
        slope, bend = network.times(ones, slope), bent[l + 1]
        stiff = network.weigh_layer(net, l + 1, slope * slope)
        full[:, here, here] += w.t() @ ((stiff if bend is None else stiff + bend)[..., None] * w)
        full[:, here, here] += torch.diag(network.weigh_layer(net, l, x.new_ones(net.sizes[l + 1])))
        if l + 1 < len(at):
            off = -network.weigh_layer(net, l + 1, slope)[..., None] * w
            full[:, at[l + 1], here], full[:, here, at[l + 1]] = off, off.mT
    return full
