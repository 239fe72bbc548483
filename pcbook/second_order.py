"""Steps that use curvature: damped Newton and natural gradient for networks of any size, many of them at once. Torch.

A network is the vector θ (..., P) of its weights, W_1 first and each row by row; leading axes are networks of the same
sizes [n_0, …, n_L], each with its own batch x (..., B, n_0), y (..., B, n_L). The loss is ½‖y − f(x)‖² averaged over
the batch, and f has no biases and unit precisions. Derivatives are `torch.func`'s. λ is Section 2.3's damping, 1/α.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pcbook import checks, network


def vector(net: network.PCN) -> Tensor:
    """The weights of a `network.PCN` as θ (P,). `ValueError` for biases or precisions, which θ does not hold."""
    for name in ("biases", "precisions"):
        if getattr(net, name) is not None:
            raise ValueError(f"net has {name}: must have weights only")
    return join(net.weights)


def join(parts: Iterable[Tensor]) -> Tensor:
    """Matrices (..., n_l, n_{l−1}), weights or gradients, as one vector (..., P)."""
    return torch.cat([part.flatten(-2) for part in parts], dim=-1)


def split(theta: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The inverse of `join`: views of θ (..., P) as matrices (..., n_l, n_{l−1})."""
    shapes = [(n, m) for m, n in itertools.pairwise(sizes)]
    if theta.shape[-1] != sum(map(math.prod, shapes)):
        raise ValueError(f"theta has shape {tuple(theta.shape)}: the last axis must be {sum(map(math.prod, shapes))}")
    parts = theta.split([math.prod(shape) for shape in shapes], dim=-1)
    return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]


def outputs(theta: Tensor, sizes: Sequence[int], activation: str, x: Tensor) -> Tensor:
    """f(x), (..., B, n_L)."""
    function = network.ACTIVATIONS[activation].function
    *hidden, last = split(theta, sizes)
    for w in hidden:
        x = function(x @ w.mT)
    return x @ last.mT


def loss(theta: Tensor, sizes: Sequence[int], activation: str, x: Tensor, y: Tensor) -> Tensor:
    """½‖y − f(x)‖² averaged over the batch, (...,)."""
    return 0.5 * (y - outputs(theta, sizes, activation, x)).square().sum(-1).mean(-1)


def gradient(theta: Tensor, sizes: Sequence[int], activation: str, x: Tensor, y: Tensor) -> Tensor:
    """∇ℒ, (..., P)."""
    return _mapped(torch.func.grad(loss), theta, sizes, activation, x, y)


def hessian(
    theta: Tensor, sizes: Sequence[int], activation: str, x: Tensor, y: Tensor, chunk: int | None = None
) -> Tensor:
    """∇²ℒ, exactly, (..., P, P). `chunk` columns at a time, to bound the memory."""
    columns = torch.func.jacrev(torch.func.grad(loss), chunk_size=chunk)
    return _mapped(columns, theta, sizes, activation, x, y)


def jacobian(theta: Tensor, sizes: Sequence[int], activation: str, x: Tensor) -> Tensor:
    """∂f/∂θ for each sample, (..., B, n_L, P)."""
    return _mapped(torch.func.jacrev(outputs), theta, sizes, activation, x)


def newton(gradient: Tensor, hessian: Tensor, damping: Tensor | float) -> Tensor:
    """−(H + μI)⁻¹g with μ = λ + max(0, −λ_min(H)), (..., P): Section 2.3's damped Newton step, always downhill.

    `damping` λ > 0 is (...,) or a number. The shift past the lowest eigenvalue is what the trust region does where H is
    not positive (Moré and Sorensen 1983); where it is, μ = λ.
    """
    damping = _damping(damping, gradient)
    lowest = torch.linalg.eigvalsh(hessian)[..., :1]
    shift = (damping + (-lowest).clamp(min=0))[..., None]
    eye = torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
    return -torch.linalg.solve(hessian + shift * eye, gradient[..., None])[..., 0]


def natural(jacobian: Tensor, residual: Tensor, damping: Tensor | float) -> Tensor:
    """(F + λI)⁻¹ of minus the gradient, F = JᵀJ averaged over the batch; (..., P).

    F is the Fisher information of p(y | x) = N(f(x), I), and the Gauss–Newton matrix. `jacobian` is (..., B, n_L, P),
    `residual` y − f(x) is (..., B, n_L). The system solved has P or B·n_L rows, whichever is less (Woodbury).
    """
    root = math.sqrt(residual.shape[-2])
    a, r = jacobian.flatten(-3, -2) / root, residual.flatten(-2)[..., None] / root
    damping = _damping(damping, residual[..., 0, 0][..., None])[..., None]
    if a.shape[-1] <= a.shape[-2]:
        eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        return torch.linalg.solve(a.mT @ a + damping * eye, a.mT @ r)[..., 0]
    eye = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device)
    return (a.mT @ torch.linalg.solve(a @ a.mT + damping * eye, r))[..., 0]


def samplewise(jacobian: Tensor, residual: Tensor, damping: Tensor | float) -> Tensor:
    """The mean over the batch of every sample's own `natural` step, (..., P): Jᵀ(λI + JJᵀ)⁻¹r of that sample alone."""
    return natural(jacobian[..., None, :, :], residual[..., None, :], _damping(damping, residual[..., 0])).mean(-2)


def _mapped(
    function: Callable[..., Tensor], theta: Tensor, sizes: Sequence[int], activation: str, *batch: Tensor
) -> Tensor:
    """`function` of one network, for every one along the leading axes."""
    checks.choice("activation", activation, network.ACTIVATIONS)
    lead = theta.shape[:-1]
    for name, part in zip("xy", batch, strict=False):
        if part.shape[:-2] != lead:
            shapes = f"theta {tuple(theta.shape)} and {name} {tuple(part.shape)}"
            raise ValueError(f"{shapes}: must have the same leading axes")

    def one(theta: Tensor, *batch: Tensor) -> Tensor:
        return function(theta, sizes, activation, *batch)

    for _ in lead:
        one = torch.func.vmap(one)
    return one(theta, *batch)


def _damping(damping: Tensor | float, like: Tensor) -> Tensor:
    """λ with a last axis to broadcast, like `like` (..., n)."""
    value = torch.as_tensor(damping, dtype=like.dtype, device=like.device)
    if not bool((value > 0).all()) or not bool(torch.isfinite(value).all()):
        raise ValueError(f"damping = {damping!r}: must be > 0 and finite")
    return value[..., None]
