"""What every solver returns: the state it ended in, and how far that is from an equilibrium. Torch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pcbook import network
from pcbook.inference.newton import relative_step
from pcbook.inference.response import Response
from pcbook.inference.state import State

Methods = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """Activities at which the energy of each sample is stationary, up to `residual`."""

    net: network.PCN
    x: Tensor
    y: Tensor
    feedforward: Tensor  # (B, n_L) the output of the feedforward pass
    rtol: float
    iterations: int
    form: Callable[[], State]  # called when somebody asks for activities: linear networks need none for gradients
    local: Callable[[], network.Gradients] | None = None  # the weight gradients without the state
    methods: Methods = ()  # (name, number of samples it finished), in the order tried
    response: Response | None = None  # the network's linear response, for a warm start

    @functools.cached_property
    def state(self) -> State:
        """The `State` behind everything here."""
        return self.form()

    @property
    def activities(self) -> list[Tensor]:
        """[z_1, …, z_{L−1}], each (B, n_l)."""
        return self.state.inputs[1:]

    @functools.cached_property
    def energy(self) -> Tensor:
        """F at these activities, (B,), float64; it counts the output term."""
        return network.quadratic(self.net, [*self.state.errors, self.y - self.state.output])

    @functools.cached_property
    def residuals(self) -> Tensor:
        """How far each sample's errors are from where one more Newton step would put them, relatively, (B,) float64.

        To first order the relative error of the state (`newton.relative_step`), in linear networks exactly that.
        """
        return relative_step(self.net, self.x, self.y, self.state)

    @property
    def residual(self) -> float:
        """The largest of `residuals`."""
        return float(self.residuals.max())

    @property
    def converged(self) -> Tensor:
        """Whether each sample's residual is at most rtol, (B,) bool."""
        return self.residuals <= self.rtol

    def gradients(self) -> network.Gradients:
        """∂F/∂W_l and ∂F/∂b_l averaged over the batch (Eq. 3), from the state's deltas."""
        if self.local is not None:
            return self.local()
        scale, nothing, deltas = -1.0 / len(self.y), self.y.new_empty(1), self.state.deltas
        pairs = zip(deltas, self.state.inputs, strict=True)
        weights = [torch.addmm(nothing, d.t(), z, beta=0, alpha=scale) for d, z in pairs]
        return network.Gradients(weights, self.net.biases and [scale * d.sum(0) for d in deltas])

    def weight_gradients(self) -> list[Tensor]:
        """The weights' part of `gradients`: a list of L matrices like the weights."""
        return self.gradients().weights

    def bias_gradients(self) -> list[Tensor] | None:
        """The biases' part of `gradients`: a list of L vectors, or None for a network without biases."""
        return self.gradients().biases
