"""Eqs. 6 and 7 and E7′ against equilibria of random deep networks: relative errors at a given residual. Torch, float64.

The networks have 3 inputs, hidden layers of 5 units, 2 outputs, small biases, and Gaussian weights of variance
gain²/n_{l−1}: the larger the gain, the farther the activations are driven out of their linear range.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pcbook import checks, inference, network, taylor


class Problem(NamedTuple):
    """A network, a batch of inputs, and the unit vectors (B, n_L) from its outputs to the targets."""

    net: network.PCN
    x: Tensor
    direction: Tensor


NAMES = ("Eq. 6, the step", "Eq. 7 as printed", "E7′, corrected")


def random_problem(seed: int, hidden: int, activation: str = "tanh", gain: float = 1.0, batch: int = 1) -> Problem:
    """A network with `hidden` layers of 5 units, a batch of inputs and directions of the residual."""
    rng, gain = torch.Generator().manual_seed(checks.count("seed", seed)), checks.scalar("gain", gain)
    sizes = [3, *[5] * checks.count("hidden", hidden), 2]

    def gauss(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weights = [gain / math.sqrt(m) * gauss(n, m) for m, n in zip(sizes[:-1], sizes[1:], strict=True)]
    biases = [0.1 * gauss(n) for n in sizes[1:]]
    net = network.PCN(weights, activation, biases)
    return Problem(net, gauss(batch, 3), torch.nn.functional.normalize(gauss(batch, 2)))


def targets(problem: Problem, residual: float) -> Tensor:
    """Targets (B, n_L) at the distance `residual` from the network's outputs."""
    return network.forward(problem.net, problem.x)[-1] + residual * problem.direction


def distance(found: Iterable[Tensor], exact: Iterable[Tensor]) -> float:
    """‖found − exact‖ / ‖exact‖ over two lists of tensors."""
    miss, size = torch.tensor(0.0).double(), torch.tensor(0.0).double()
    for f, e in zip(found, exact, strict=True):
        miss, size = miss + (f - e).square().sum(), size + e.square().sum()
    return float((miss / size).sqrt())


def relative_errors(problem: Problem, residual: float) -> dict[str, float]:
    """{name: relative error} of Eq. 6's step and of both weight gradients of the hidden layers, all layers together."""
    (net, x, _), y = problem, targets(problem, residual)
    found = inference.solve(net, x, y, rtol=1e-9)
    moved = [z - a for z, a in zip(found.activities, network.forward(net, x), strict=False)]
    exact = found.weight_gradients()[:-1]
    step, printed, corrected = (
        f(net, x, y) for f in (taylor.inference_step, taylor.printed_gradients, taylor.corrected_gradients)
    )
    errors = distance(step, moved), distance(printed, exact), distance(corrected, exact)
    return dict(zip(NAMES, errors, strict=True))


def error_table(problems: Iterable[Problem], residuals: Iterable[float]) -> dict[str, np.ndarray]:
    """{name: relative errors (len(residuals), len(problems))}."""
    found = [[relative_errors(problem, residual) for problem in problems] for residual in residuals]
    return {name: np.array([[errors[name] for errors in row] for row in found]) for name in NAMES}


def slope(problem: Problem, name: str, high: float = 1e-2, low: float = 1e-3) -> float:
    """The slope of log error over log residual between two small residuals: the error's order; 0 for round-off."""
    above, below = (max(relative_errors(problem, residual)[name], 1e-12) for residual in (high, low))
    return math.log(above / below) / math.log(high / low)


def bend(problem: Problem, residual: float) -> float:
    """‖H_F − I‖ / ‖I‖ at the equilibrium: how far the energy's Hessian leaves the Fisher information, Eq. 21."""
    (net, x, _), y = problem, targets(problem, residual)
    z = inference.solve(net, x, y, rtol=1e-9).activities
    return distance([taylor.hessian(net, x, y, z)], [taylor.fisher(net, x, z)])
