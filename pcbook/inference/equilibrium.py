"""What every solver returns: the state it ended in, and how far that is from an equilibrium. Torch."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from pcbook import network
from pcbook.inference.response import newton_step, per_sample
from pcbook.inference.rules import Multipliers, Slopes, down


@dataclass(frozen=True, eq=False)
class State:
    """Where a solver ended, for a batch.

    `inputs` are z_0 … z_{L−1}, `errors` e_1 … e_{L−1}, `output` u_L. `deltas` are the local factors of the weight
    gradients: δ_l = φ′(u_l) ⊙ Π_l e_l for l < L (at a kink: the subgradient that holds the unit there) and
    δ_L = λ, the solver's value of Π_L (y − u_L).
    """

    inputs: list
    errors: list
    output: torch.Tensor
    deltas: list

    def select(self, rows):
        """The same for some samples."""
        lists = ([v[rows] for v in part] for part in (self.inputs, self.errors, [self.output], self.deltas))
        inputs, errors, (output,), deltas = lists
        return State(inputs, errors, output, deltas)

    def replace(self, rows, other):
        """The same with some samples from another state."""
        keep = torch.ones(len(self.output), dtype=torch.bool, device=rows.device)
        keep[rows] = False
        return merge([(keep.nonzero().squeeze(1), self.select(keep)), (rows, other)])


def merge(pieces):
    """One `State` from [(rows, State), …] that share out the rows of a batch."""
    if len(pieces) == 1:
        return pieces[0][1]
    order = torch.cat([rows for rows, _ in pieces]).argsort()

    def join(tensors):
        return torch.cat(tensors)[order]

    states = [state for _, state in pieces]
    lists = ([join(v) for v in zip(*(getattr(s, name) for s in states), strict=True)] for name in ("inputs", "errors"))
    inputs, errors = lists
    deltas = [join(v) for v in zip(*(s.deltas for s in states), strict=True)]
    return State(inputs, errors, join([s.output for s in states]), deltas)


def noise(net, y, output):
    """What the dtype cannot tell from zero in a sample's weighted output error, (B,): sums of Σ n_l terms round off."""
    size = torch.linalg.vector_norm(network.weigh_layer(net, -1, y.abs() + output.abs()), dim=1)
    return (2 * torch.finfo(y.dtype).eps * math.sqrt(sum(net.sizes)) * size).clamp_min(torch.finfo(y.dtype).tiny)


def relative_step(net, y, state):
    """‖Π^½ Δe‖ / √(2F) of each sample, (B,), with Δe the next Gauss–Newton step in the errors.

    The gradient is Π_l e_l − μ_l, with μ from Π_L (y − u_L) at the state's own slopes; at kinks, after one step of the
    multipliers.
    """
    if not state.errors:
        return torch.zeros_like(y[:, 0])
    *weighted, top = network.weigh(net, [*state.errors, y - state.output])
    preactivations, slopes = network.slopes(net, state.inputs)
    kinked = network.ACTIVATIONS[net.activation].kinked
    rule = Multipliers(net, len(y)) if kinked else Slopes(net)
    mu, deltas = down(net, rule, top, rule.remember(preactivations, slopes, state.deltas))
    if kinked:  # δ = sμ with s between the leak and 1 at the kink
        pairs = zip(deltas[:-1], mu, slopes, strict=True)
        slopes = [torch.where(m == 0, s, d / torch.where(m == 0, 1.0, m)) for d, m, s in pairs]
    step = newton_step(net, per_sample(net, slopes), [w - m for w, m in zip(weighted, mu, strict=True)])
    length = 2 * network.quadratic(net, step)
    size = 2 * network.quadratic(net, [*state.errors, y - state.output])
    floor = noise(net, y, state.output).double().square() / network.weigh_layer(net, -1, torch.ones_like(y)).amax(1)
    return (length / torch.maximum(size, size.mean()).maximum(floor)).sqrt()


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Activities at which the energy of each sample is stationary, up to `residual`."""

    net: network.PCN
    x: torch.Tensor
    y: torch.Tensor
    feedforward: torch.Tensor  # (B, n_L) the output of the feedforward pass
    rtol: float
    iterations: int
    form: Callable[[], State]  # called when somebody asks for activities: linear networks need none for gradients
    local: Callable[[], network.Gradients] | None = None  # the weight gradients without the state
    methods: tuple = ()  # (name, number of samples it finished), in the order tried
    response: object = None  # the network's linear response, for a warm start

    @functools.cached_property
    def state(self):
        """The `State` behind everything here."""
        return self.form()

    @property
    def activities(self):
        """[z_1, …, z_{L−1}], each (B, n_l)."""
        return self.state.inputs[1:]

    @functools.cached_property
    def energy(self):
        """F at these activities, (B,), float64; it counts the output term."""
        return network.quadratic(self.net, [*self.state.errors, self.y - self.state.output])

    @functools.cached_property
    def residuals(self):
        """How far each sample's errors are from where one more Gauss–Newton step would put them, (B,) float64.

        `relative_step`: to first order the relative error of the state, in linear networks exactly that. F counts as
        the batch's mean at least, and as what the dtype can tell from zero: a sample that the network fits already has
        nothing to infer.
        """
        return relative_step(self.net, self.y, self.state)

    @property
    def residual(self):
        """The largest of `residuals`."""
        return float(self.residuals.max())

    @property
    def converged(self):
        """Whether each sample's residual is at most rtol, (B,) bool."""
        return self.residuals <= self.rtol

    def gradients(self):
        """∂F/∂W_l and ∂F/∂b_l averaged over the batch (Eq. 3), from the state's deltas."""
        if self.local is not None:
            return self.local()
        scale = -1.0 / len(self.y)
        deltas = [d * scale for d in self.state.deltas]
        weights = [d.t() @ z for d, z in zip(deltas, self.state.inputs, strict=True)]
        return network.Gradients(weights, self.net.biases and [d.sum(0) for d in deltas])

    def weight_gradients(self):
        """The weights' part of `gradients`: a list of L matrices like the weights."""
        return self.gradients().weights

    def bias_gradients(self):
        """The biases' part of `gradients`: a list of L vectors, or None for a network without biases."""
        return self.gradients().biases
