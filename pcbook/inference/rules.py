"""How δ = φ′(u) ⊙ μ follows from μ: by the slope for smooth activations, by multipliers at kinks. Torch.

A rule has a memory of the last pass upwards, for all hidden units side by side, (B, N), or for one layer, (B, n_l).
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pcbook import network

Memory = Any  # what a rule remembers of the last pass upwards: each has its own
FIXED = 1e30  # a gain that no multiplier withstands


class Slopes:
    """δ = φ′(u) ⊙ μ, for smooth activations. The memory is φ′(u), None for 1."""

    smooth = True
    safety = 0.25  # what rtol is multiplied by: λ, δ and z all err, and a gradient is a product of two of them

    def __init__(self, net: network.PCN) -> None:
        self.slope = network.ACTIVATIONS[net.activation].slope

    def delta(self, mu: Tensor, slope: Tensor | None, out: Tensor | None = None) -> Tensor:
        """δ from μ and the memory."""
        return torch.mul(mu, 1.0 if slope is None else slope, out=out)

    def remember(self, u: Tensor, h: Tensor, deltas: Tensor) -> Tensor | None:
        """The memory after a pass upwards: φ′(u) from u and h = φ(u)."""
        return self.slope(u, h)


class Multipliers:
    """δ at the kinks of ReLU and leaky ReLU, where φ′(0) is any number between the leak a and 1.

    A unit with μ < 0 that rests at its kink has a δ between μ and aμ that holds it there: the multiplier of the
    constraint u = 0. Projected steps find it, δ ← clip(δ − θu / ‖w‖², μ, aμ), where ‖w‖² (with Π⁻¹ as its metric) is
    what u moves by when δ does. Away from the kink the clip returns φ′(u) μ. A unit with μ > 0 leaves its kink by
    itself. θ shrinks for the samples whose estimated error does not. The memory is δ − θu / ‖w‖², and u.
    """

    smooth = False
    THETA, MOMENTUM, SHRINK, LEAST = 0.6, 0.2, 0.7, 0.02

    def __init__(self, net: network.PCN, batch: int) -> None:
        self.leak = network.LEAK if net.activation == "leaky_relu" else 0.0
        self.gains = _gains(net)
        self.theta = self.gains.new_full((batch, 1), self.THETA)
        self.last: Tensor | None = None
        self.before: Tensor | None = None

    def delta(self, mu: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        """δ from μ and the memory."""
        held, u = memory
        # Branch-free: for μ < 0 the first term is the clip and the second 0, for μ ≥ 0 the first is aμ.
        clipped = torch.maximum(held, mu, out=out)
        clipped = clipped.minimum(self.leak * mu) if self.leak else clipped.clamp_max_(0)
        above = torch.ops.aten.threshold_backward(mu.clamp_min(0), u, 0)
        return torch.add(clipped, above, alpha=1 - self.leak, out=clipped if out is None else out)

    def remember(self, u: Tensor, h: Tensor, deltas: Tensor) -> Memory:
        """The memory after a pass upwards."""
        # In place where it can be: at these sizes fresh memory costs more than arithmetic.
        held = deltas.clone() if self.before is None else torch.lerp(self.before, deltas, 1 + self.MOMENTUM)
        held.addcmul_(u * self.gains, self.theta, value=-1)
        self.before = deltas
        return held, u

    def observe(self, estimate: Tensor) -> None:
        """Shrink θ where the estimate is not falling."""
        if self.last is not None:
            slower = (self.SHRINK * self.theta).clamp_min(self.LEAST)
            self.theta = torch.where((estimate > 0.9 * self.last)[:, None], slower, self.theta)
        self.last = estimate

    def stretch(self) -> Tensor:
        """How much farther the δ would move at full θ, (B,): a short step is no sign of a short way."""
        return (self.THETA / self.theta)[:, 0]

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are done."""
        self.theta = self.theta[keep]
        self.last, self.before = (None if v is None else v[keep] for v in (self.last, self.before))

    def top(self, net: network.PCN, start: int) -> "Multipliers":
        """The same for `net`, the layers above the first `start` units: the u of its first layer do not move either."""
        assert self.before is not None  # there has been a pass through the whole
        result = copy.copy(self)
        result.gains = self.gains[start:].clone()
        result.gains[: net.sizes[1]] = FIXED
        result.before, result.last, self.before, self.last = self.before[:, start:], None, None, None
        return result


class Held:
    """The same for a test of optimality: one full step of the multipliers, for units with μ > 0 too.

    These leave their kink, as a rule, but where no other unit can move them they rest there, and δ is of their sign.
    The memory is δ and u / ‖w‖².
    """

    def __init__(self, net: network.PCN) -> None:
        self.leak = network.LEAK if net.activation == "leaky_relu" else 0.0
        self.gains = _gains(net)

    def delta(self, mu: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        """δ from μ and the memory."""
        delta, way = memory
        held = torch.addcmul(delta, mu.sign(), way, value=Multipliers.THETA)
        ends = self.leak * mu, mu
        return torch.clamp(held, torch.minimum(*ends), torch.maximum(*ends), out=out)


def down(net: network.PCN, rule: Slopes | Multipliers | Held, lam: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """μ (B, N) and δ (B, N) of the hidden layers from δ_L = λ: μ_l = W_{l+1}ᵀ δ_{l+1}, δ_l by the rule."""
    widths = net.sizes[1:-1]
    mu = lam.new_empty(len(lam), sum(widths))
    deltas, top = torch.empty_like(mu), lam
    memories: Iterable[Memory] = [None] * len(widths)
    if isinstance(memory, tuple):
        memories = zip(*(m.split(widths, dim=1) for m in memory), strict=True)
    elif memory is not None:
        memories = memory.split(widths, dim=1)
    layers = zip(mu.split(widths, dim=1), deltas.split(widths, dim=1), memories, net.weights[1:], strict=True)
    for below, delta, kept, w in reversed(list(layers)):
        torch.mm(top, w, out=below)
        top = rule.delta(below, kept, out=delta)
    return mu, deltas


def _gains(net: network.PCN) -> Tensor:
    """1 / ‖w‖² (with Π_{l−1}⁻¹ as the metric) of each hidden unit, (N,).

    The first layer's u is fixed, and its slopes with it.
    """
    variances = network.unweigh(net, [torch.ones_like(w[0]) for w in net.weights[1:]])
    rates = [w.square() @ v for w, v in zip(net.weights[1:-1], variances[:-1], strict=True)]
    first = torch.full_like(net.weights[0][:, 0], FIXED)
    return torch.cat([first, *(1 / r.clamp_min(torch.finfo(r.dtype).tiny) for r in rates)])
