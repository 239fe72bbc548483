"""How δ_l = φ′(u_l) ⊙ μ_l follows from μ_l: by the slope for smooth activations, by multipliers at kinks. Torch."""

import math

import torch

from pcbook import network


class Slopes:
    """δ_l = φ′(u_l) ⊙ μ_l, for smooth activations. It remembers φ′(u_l)."""

    smooth = True
    safety = 0.25  # what rtol is multiplied by: λ, δ and z all err, and a gradient is a product of two of them

    def __init__(self, net):
        self.slope = network.ACTIVATIONS[net.activation].slope

    def delta(self, l, mu, slope):
        """δ_l from μ_l and the memory of layer l."""
        return network.times(mu, slope)

    def remember(self, preactivations, slopes, deltas):
        """The memory of each layer after a sweep."""
        return slopes

    def foresee(self, l, mu, delta, u, h):
        """The memory of a layer whose u_l and φ(u_l) are predicted."""
        return self.slope(u, h)

    def observe(self, estimate):
        """Nothing to adapt."""

    def stretch(self):
        """The memory moves as far as the activations do."""
        return 1.0

    def select(self, keep):
        """Nothing to drop."""


class Multipliers:
    """δ_l at the kinks of ReLU and leaky ReLU, where φ′(0) is any number between the leak a and 1.

    A unit with μ < 0 that rests at its kink has a δ between μ and aμ that holds it there: the multiplier of the
    constraint u = 0. Projected steps find it, δ ← clip(δ − θu / ‖w‖², μ, aμ), where ‖w‖² (with Π⁻¹ as its metric) is
    what u moves by when δ does. Away from the kink the clip returns φ′(u) μ. A unit with μ > 0 leaves its kink by
    itself, and no unit of the first layer moves. θ shrinks for the samples whose estimated error does not.
    """

    THETA, MOMENTUM, SHRINK, LEAST = 0.6, 0.2, 0.7, 0.02
    smooth = False

    def __init__(self, net, batch, patient=False):
        self.leak, self.gains = network.LEAK if net.activation == "leaky_relu" else 0.0, kink_gains(net)
        self.theta = net.weights[0].new_full((batch, 1), self.THETA / 4 if patient else self.THETA)
        self.last = self.before = None
        self.safety = min(0.5, max(0.1, math.sqrt(batch) / 16))  # the errors of many samples average out

    def delta(self, l, mu, memory):
        """δ_l from μ_l and the memory of layer l: the unclipped multipliers (none in the first layer) and u_l."""
        held, u = memory
        # Branch-free: for μ < 0 the first term is the clip and the second 0, for μ ≥ 0 the first is aμ.
        above = torch.ops.aten.threshold_backward(mu if held is None else mu.clamp_min(0), u, 0)
        if held is None:
            return torch.add(self.leak * mu, above, alpha=1 - self.leak) if self.leak else above
        clipped = held.maximum(mu)
        clipped = clipped.minimum(self.leak * mu) if self.leak else clipped.clamp_max_(0)
        return clipped.add_(above, alpha=1 - self.leak)

    def remember(self, preactivations, slopes, deltas):
        """The memory of each layer after a sweep."""
        memory = [self._held(l, *pair) for l, pair in enumerate(zip(deltas[:-1], preactivations, strict=True))]
        self.before = deltas[:-1]
        return memory

    def foresee(self, l, mu, delta, u, h):
        """The memory of a layer whose u_l and φ(u_l) are predicted."""
        return self._held(l, delta, u)

    def _held(self, l, delta, u):
        if l == 0:
            return None, u
        held = torch.addcmul(delta, u * self.gains[l], self.theta, value=-1)
        if self.before is not None:
            held.add_(delta - self.before[l], alpha=self.MOMENTUM)
        return held, u

    def observe(self, estimate):
        """Shrink θ where the estimate is not falling."""
        if self.last is not None:
            slower = (self.SHRINK * self.theta).clamp_min(self.LEAST)
            self.theta = torch.where((estimate > 0.9 * self.last)[:, None], slower, self.theta)
        self.last = estimate

    def stretch(self):
        """How much farther the δ_l would move at full θ, (B,): a short step is no sign of a short way."""
        return (self.THETA / self.theta)[:, 0]

    def select(self, keep):
        """Drop the samples that are done."""
        self.theta, self.last = self.theta[keep], self.last[keep]
        self.before = [d[keep] for d in self.before]


def down(net, rule, lam, memory):
    """[μ_1 … μ_{L−1}] and [δ_1 … δ_L] from δ_L = λ."""
    mu, deltas = [], [lam]
    for l in reversed(range(len(memory))):
        mu.append(deltas[-1] @ net.weights[l + 1])
        deltas.append(rule.delta(l, mu[-1], memory[l]))
    return mu[::-1], deltas[::-1]


def kink_gains(net):
    """1 / ‖w‖² (with Π_{l−1}⁻¹ as the metric) for each unit of layers 2 … L − 1; None for the first."""
    variances = network.unweigh(net, [torch.ones_like(w[0]) for w in net.weights[1:]])
    rates = [w.square() @ v for w, v in zip(net.weights[1:-1], variances[:-1], strict=True)]
    return [None, *(1 / r.clamp_min(torch.finfo(r.dtype).tiny) for r in rates)]
