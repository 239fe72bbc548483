"""The paper's inference: Euler steps on the activities, all layers at once (Eq. 2 and Appendix A.4). Torch."""

import itertools
from collections.abc import Iterator

from torch import Tensor

from pcbook import network
from pcbook.inference.state import State


def solve(net: network.PCN, x: Tensor, y: Tensor, steps: int) -> State:
    """The `State` after `steps` of `walk`."""
    return state_at(net, x, y, after(walk(net, x, y), steps))


def walk(net: network.PCN, x: Tensor, y: Tensor, step_size: float = 0.1, halvings: int = 2) -> Iterator[list[Tensor]]:
    """The activities of z_l ← z_l − η ∂F/∂z_l, step by step and without an end, from the feedforward pass on.

    η starts at `step_size` and is halved, `halvings` times at most, whenever the batch's energy does not fall.
    Energies are summed in float64: float32 round-off would spend the halvings at once.
    """
    z = network.forward(net, x)[:-1]
    last = float("inf")
    while True:
        yield z
        errors, slopes, _ = network.local(net, z, x, y)
        energy = float(network.quadratic(net, errors).sum())
        if energy >= last and halvings:
            step_size, halvings = step_size / 2, halvings - 1
        last = energy
        gradient = network.descent(net, network.weigh(net, errors), slopes)
        z = [a - step_size * g for a, g in zip(z, gradient, strict=True)]


def after(walked: Iterator[list[Tensor]], steps: int) -> list[Tensor]:
    """What a walk comes to in `steps` more steps; none of them where it starts."""
    return next(itertools.islice(walked, steps, None))


def state_at(net: network.PCN, x: Tensor, y: Tensor, activities: list[Tensor]) -> State:
    """The `State` of given activities."""
    errors, slopes, below = network.local(net, activities, x, y)
    mu = network.weigh(net, errors)
    deltas = [network.times(m, d) for m, d in zip(mu, [*slopes, None], strict=True)]
    return State(below, errors[:-1], y - errors[-1], deltas)
