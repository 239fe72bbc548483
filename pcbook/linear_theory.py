"""Deep linear predictive coding networks in closed form: what inference makes of the loss. Torch, float64.

In error coordinates a linear network is one linear map: output = feedforward output + Σ_l J_l e_l with
J_l = W_L … W_{l+1}. Minimising ½ Σ e_lᵀΠ_l e_l under an output residual is least squares, so with r the
feedforward residual and

    S = Π_L⁻¹ + Σ_{l<L} J_l Π_l⁻¹ J_lᵀ,    ℱ* = ½ rᵀ S⁻¹ r,    e_l = Π_l⁻¹ J_lᵀ S⁻¹ r.

ℱ* is the loss measured in another metric: S is the covariance of the output when each layer adds noise of covariance
Π_l⁻¹. Innocenti et al. (2024) give S for unit precisions. Shapes are those of `network`; everything is computed and
returned in float64. Every function that takes a network raises `ValueError` unless it is linear.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from pcbook import checks, network


def jacobians(net: network.PCN) -> list[Tensor]:
    """[J_1, …, J_{L−1}], J_l = W_L … W_{l+1} of shape (n_L, n_l): how the output moves with the error e_l."""
    found, product = [], None
    for w in reversed(_linear(net).weights[1:]):
        product = w if product is None else product @ w
        found.append(product)
    return found[::-1]


def output_scale(net: network.PCN) -> Tensor:
    """S = Π_L⁻¹ + Σ_{l<L} J_l Π_l⁻¹ J_lᵀ, symmetric positive definite, (n_L, n_L)."""
    root = _root(_linear(net))
    return root @ root.t()


def equilibrium(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """[z_1, …, z_{L−1}], the only activities at which ∂F/∂z_l = 0 (Eq. 2): the sweep with e_l = Π_l⁻¹ J_lᵀ S⁻¹ r."""
    return _settle(net, x, y)[1][1:]


def equilibrated_energy(net: network.PCN, x: Tensor, y: Tensor) -> Tensor:
    """ℱ* = min F over the activities = ½ rᵀ S⁻¹ r, one number a sample, (B,). Eq. 13 is the case 1-1-1."""
    net, (x, y) = _linear(net), _doubles(x=x, y=y)
    return network.in_range("the energy", 0.5 * _whitened(net, x, y)[0].square().sum(0))


def equilibrated_energy_gradients(net: network.PCN, x: Tensor, y: Tensor) -> network.Gradients:
    """∂ℱ*/∂W_l = −⟨μ_l z*_{l−1}ᵀ⟩ and ∂ℱ*/∂b_l = −⟨μ_l⟩ with μ_l = J_lᵀ S⁻¹ r, averaged over the batch (`Gradients`).

    It is z* and not the feedforward activity that enters, because S moves with the weights too: with λ = S⁻¹ r,
    dℱ* = λᵀ dr − ½ λᵀ dS λ.
    """
    mu, below = _settle(net, x, y)
    return network.local_gradients(_linear(net), mu, [None] * (len(mu) - 1), below)


def origin_hessians(net: network.PCN, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The Hessians of ℒ and of ℱ* with respect to all weights, where these are 0: two matrices (P, P).

    The weights are stacked as vec(W_1), …, vec(W_L), row by row; `net` gives sizes and precisions, and must have no
    biases: with them the origin is no critical point. For L ≥ 3 the loss has no second order there at all, and ℱ* only
    −Π_L Σ_yy Π_L ⊗ Π_{L−1}⁻¹ in W_L's block. For L = 2 both have the cross term −⟨(Π_2 y)_i x_j⟩ of Eqs. 14 and 15.
    """
    net = _linear(net)
    if net.biases is not None:
        raise ValueError("net.biases: must be None, since the origin is no critical point with biases")
    x, y = _doubles(x=x, y=y)
    x = network.inputs(net, x)
    y = network.targets(net, y, y.new_zeros(x.shape[0], net.sizes[-1]))
    size = [w.numel() for w in net.weights]
    loss = x.new_zeros(sum(size), sum(size))
    top = network.weigh_layer(net, -1, y)
    if len(size) == 1:
        loss = torch.kron(torch.diag(_precision(net, 0)), x.t() @ x / len(x))
        return loss, loss.clone()
    if len(size) == 2:
        cross = -torch.einsum("bi,bj,km->ikmj", top, x, torch.eye(net.sizes[1], dtype=x.dtype)) / len(x)
        loss[size[0] :, : size[0]] = cross.reshape(size[1], size[0])
        loss = loss + loss.t()
    energy = loss.clone()
    energy[-size[-1] :, -size[-1] :] -= torch.kron(top.t() @ top / len(x), torch.diag(1 / _precision(net, -2)))
    return loss, energy


# Random weights: the expected scale, exactly.


def gains(sizes: Iterable[int], scheme: str = "default") -> list[float]:
    """[g_1, …, g_L] with E[W_l W_lᵀ] = g_l I, exactly, for the schemes of `network.init_weights`.

    g = n_{l−1} · variance: 1/3 for "default", 2 for "he", n_{l−1}/3 for "uniform" on (−1, 1); min(1, n_{l−1}/n_l) for
    "orthogonal"; 1, then 1/L, and 1/n_{L−1} at the top for "mupc".
    """
    checks.choice("scheme", scheme, network.SCHEMES)
    sizes = [checks.count(f"sizes[{i}]", n) for i, n in enumerate(sizes)]
    if len(sizes) < 2 or 0 in sizes:
        raise ValueError(f"sizes = {sizes}: must hold at least two layers, none of them empty")
    below, depth = sizes[:-1], len(sizes) - 1
    if scheme == "mupc":
        return [1.0 if k == 1 else 1 / n if k == depth else 1 / depth for k, n in enumerate(below, 1)]
    if scheme == "orthogonal":
        return [min(1.0, n / above) for n, above in zip(below, sizes[1:], strict=True)]
    return [{"default": 1 / 3, "he": 2.0, "uniform": n / 3}[scheme] for n in below]


def expected_output_scale(sizes: Iterable[int], scheme: str = "default", skips: bool = False) -> float:
    """s in E[S] = s I for unit precisions: s = 1 + Σ_{l<L} Π_{k>l} g_k, since independent layers multiply their gains.

    With `skips` the weights are `with_skips` of the scheme's, and the gain of each layer with a skip is 1 + g_k.
    """
    gain = gains(sizes, scheme)
    skipped = [1 + g if skips and 0 < k < len(gain) - 1 else g for k, g in enumerate(gain)]
    return 1 + sum(math.prod(skipped[k:]) for k in range(1, len(gain)))


def with_skips(weights: list[Tensor]) -> list[Tensor]:
    """[W_1, I + W_2, …, I + W_{L−1}, W_L]: a residual network z_l = z_{l−1} + W_l z_{l−1} as an ordinary linear one.

    Raises `ValueError` where a layer between the first and the last is not square.
    """
    for k, w in enumerate(weights[1:-1], 1):
        if w.shape[0] != w.shape[1]:
            raise ValueError(f"weights[{k}] has shape {tuple(w.shape)}: must be square to be skipped")
    inner = [torch.eye(len(w), dtype=w.dtype, device=w.device) + w for w in weights[1:-1]]
    return [weights[0], *inner, *weights[1:][-1:]]


def random_net(
    sizes: Iterable[int], generator: torch.Generator | int, scheme: str = "default", skips: bool = False
) -> network.PCN:
    """A linear network in float64 with weights from `network.init_weights`, turned into a residual one by `skips`."""
    weights = network.init_weights(sizes, generator, scheme, dtype=torch.float64)
    return network.PCN(with_skips(weights) if skips else weights)


def against_backprop(net: network.PCN, x: Tensor, y: Tensor) -> tuple[float, float]:
    """(ℱ*/ℒ, angle between ∇ℱ* and ∇ℒ in degrees), both of the batch's means and with all weights in one vector."""
    net, (x, y) = _linear(net), _doubles(x=x, y=y)
    ratio = equilibrated_energy(net, x, y).mean() / network.loss(net, x, y).mean()
    gradients = equilibrated_energy_gradients(net, x, y).weights, network.backprop_gradients(net, x, y)
    pc, bp = (torch.cat([g.flatten() for g in part]) for part in gradients)
    pc, bp = pc / pc.norm(), bp / bp.norm()
    return float(ratio), math.degrees(2 * math.atan2((pc - bp).norm(), (pc + bp).norm()))


def _linear(net: network.PCN) -> network.PCN:
    """`net` in float64; `ValueError` unless it is linear."""
    checks.choice("net.activation", net.activation, ("linear",))
    return net if net.dtype == torch.float64 else net.to(torch.float64)


def _doubles(**data: Tensor) -> list[Tensor]:
    """The tensors in float64."""
    for name, value in data.items():
        if not isinstance(value, Tensor) or value.is_complex():
            raise ValueError(f"{name} is a {type(value).__name__}: must be a tensor of real numbers")
    return [value.double() for value in data.values()]


def _settle(net: network.PCN, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """[μ_1, …, μ_L] and [z_0, …, z_{L−1}] at the equilibrium."""
    net, (x, y) = _linear(net), _doubles(x=x, y=y)
    mu = _weighted_errors(net, x, y)
    return mu, network.sweep(net, x, network.unweigh(net, mu[:-1])).inputs


def _precision(net: network.PCN, k: int) -> Tensor:
    return net.weights[k].new_ones(net.weights[k].shape[0]) if net.precisions is None else net.precisions[k]


def _root(net: network.PCN) -> Tensor:
    """A = [J_1 Π_1^−½, …, J_{L−1} Π_{L−1}^−½, Π_L^−½], wide, with S = A Aᵀ."""
    blocks = [*jacobians(net), torch.eye(net.sizes[-1], dtype=net.dtype, device=net.device)]
    return torch.cat([block * _precision(net, k).rsqrt() for k, block in enumerate(blocks)], dim=1)


def _whitened(net: network.PCN, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """R⁻ᵀ r of each sample, (n_L, B), where S = Rᵀ R: half its square is ℱ*. And R, upper triangular.

    R comes from a QR of Aᵀ, so that S, whose condition number is that of A squared, is never formed: deep products
    need that.
    """
    triangle = torch.linalg.qr(_root(net).t()).R
    return torch.linalg.solve_triangular(triangle.t(), _residual(net, x, y).t(), upper=False), triangle


def _weighted_errors(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    """[μ_1, …, μ_L], μ_l = Π_l e_l = J_lᵀ λ at the equilibrium, with μ_L = λ = S⁻¹ r."""
    white, triangle = _whitened(net, x, y)
    top = torch.linalg.solve_triangular(triangle, white, upper=True).t()
    return [*network.adjoint(net, [None] * (len(net.weights) - 1), top), top]


def _residual(net: network.PCN, x: Tensor, y: Tensor) -> Tensor:
    output = network.forward(net, x)[-1]
    return network.targets(net, y, output) - output


__all__ = [
    "against_backprop",
    "equilibrated_energy",
    "equilibrated_energy_gradients",
    "equilibrium",
    "expected_output_scale",
    "gains",
    "jacobians",
    "origin_hessians",
    "output_scale",
    "random_net",
    "with_skips",
]
