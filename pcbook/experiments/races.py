"""Problems, update rules and races: updates until the loss has halved (escape), and until it is small. Torch, float64.

Weights are θ (rows, P) as in `pcbook.second_order`: many starts of a chain, or one network for the digits. Batches are
x (rows, B, n_0), y (rows, B, n_L).
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from pcbook import chains, checks, data, inference, network, second_order, training
from pcbook.experiments import inference_cost

SLOPE, SPREAD = -1.0, 0.1  # y = −x with x ~ N(1, 0.1²)
DIGITS = 1500  # training images
DIVERGED = 1e3  # a weight, or a loss, beyond this will not come back


@dataclass(frozen=True)
class Problem:
    """A network, the loss that counts as converged, and the share of the usual weights that is "near the saddle"."""

    sizes: tuple[int, ...]
    activation: str
    converged: float = 0.01
    near: float = 0.1

    @property
    def chain(self) -> bool:
        return set(self.sizes) == {1}


def chain(hidden: int, activation: str) -> Problem:
    """The paper's chain with `hidden` hidden units. (Much nearer to its saddle BP would hardly leave a deep one.)"""
    return Problem((1,) * (hidden + 2), activation, near=0.1 if hidden == 1 else 0.7)


PROBLEMS = {
    "1MLP": chain(1, "linear"),
    "linear chain": chain(5, "linear"),
    "tanh chain": chain(5, "tanh"),
    "digits": Problem((64, 12, 12, 12, 10), "tanh", converged=0.1, near=0.3),
}


def starts(problem: Problem, seed: int, runs: int, near: bool = False) -> Tensor:
    """PyTorch's default weights (on chains U(−1, 1)), θ (runs, P); multiplied by `problem.near` near the saddle."""
    rng = torch.Generator().manual_seed(checks.count("seed", seed))
    drawn = [network.init_weights(problem.sizes, rng, dtype=torch.float64) for _ in range(runs)]
    return torch.stack([second_order.join(weights) for weights in drawn]) * (problem.near if near else 1.0)


def batches(
    problem: Problem, seed: int, runs: int, size: int = 64, condense: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches without end, x (runs, size, n_0) and y (runs, size, n_L); the digits are the same for every run.

    An epoch of the digits leaves out the last batch where it would be smaller.
    `condense` gives a linear chain the one sample that has the batch's gradients, `chains.stand_ins`.
    """
    if problem.chain:
        rng = np.random.default_rng(seed)
        while True:
            ((drawn, _),) = data.toy_batches(rng, 1, runs, SLOPE, SPREAD, size)
            if condense and problem.activation == "linear":
                drawn, _ = chains.stand_ins(drawn)
            x = torch.from_numpy(drawn)[..., None]
            yield x, SLOPE * x
    images, labels = inference_cost.batch(DIGITS)
    everything = np.arange(DIGITS)
    for epoch in itertools.count():
        for rows, _ in itertools.islice(data.batches(everything, everything, size, (seed, epoch)), DIGITS // size):
            yield images[rows].expand(runs, -1, -1), labels[rows].expand(runs, -1, -1)


def losses(problem: Problem, theta: Tensor) -> Tensor:
    """The loss (rows,) on all training digits, or on 16 equally likely inputs of a chain."""
    return second_order.loss(theta, problem.sizes, problem.activation, *_all(problem))


@functools.cache
def _all(problem: Problem) -> tuple[Tensor, Tensor]:
    if not problem.chain:
        return inference_cost.batch(DIGITS)
    x = torch.from_numpy(1 + SPREAD * stats.norm.ppf((np.arange(16) + 0.5) / 16))[:, None]
    return x, SLOPE * x


def gradients(problem: Problem, algorithm: str, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The weight gradients of "BP" or of "PC" at the equilibrium, (rows, P)."""
    if problem.chain:
        inputs, targets = (part[..., 0].numpy() for part in (x, y))
        return torch.from_numpy(chains.gradient(algorithm, theta.numpy(), inputs, targets, problem.activation))
    found = []
    for one, x_one, y_one in zip(theta, x, y, strict=True):
        net = network.PCN(second_order.split(one, problem.sizes), problem.activation)
        solve = network.backprop_gradients if algorithm == "BP" else _equilibrium
        found.append(second_order.join(solve(net, x_one, y_one)))
    return torch.stack(found)


def _equilibrium(net: network.PCN, x: Tensor, y: Tensor) -> list[Tensor]:
    return inference.solve(net, x, y).weight_gradients()


# Update rules.

ELEMENTWISE = {name: training.OPTIMISERS[name.lower()] for name in ("momentum", "RMSProp", "Adam")}
METHODS = ("BP", "momentum", "RMSProp", "Adam", "Newton", "natural gradient", "PC", "PC with Adam")


class Elementwise:
    """The steps of a `torch.optim` optimiser at rate 1, for gradients like `like`: called once for each update."""

    def __init__(self, name: str, like: Tensor) -> None:
        self.offset = torch.zeros_like(like)
        self.optimiser = ELEMENTWISE[checks.choice("name", name, ELEMENTWISE)]([self.offset], lr=1.0)

    def __call__(self, gradient: Tensor) -> Tensor:
        self.offset.zero_()
        self.offset.grad = gradient
        self.optimiser.step()
        return self.offset.clone()


class Rule:
    """The updates of one of `METHODS`, each row at its own rate; Newton's and natural gradient's damping is 1/rate."""

    def __init__(self, problem: Problem, method: str, rates: Tensor, like: Tensor) -> None:
        self.problem, self.method, self.rates = problem, checks.choice("method", method, METHODS), rates
        self.algorithm = "PC" if method.startswith("PC") else "BP"
        name = method.removeprefix("PC with ")
        self.elementwise = Elementwise(name, like) if name in ELEMENTWISE else None

    def __call__(self, theta: Tensor, x: Tensor, y: Tensor, going: Tensor) -> Tensor:
        """The step (rows, P); in rows that are not `going` it means nothing."""
        step, batch = torch.zeros_like(theta), (theta[going], x[going], y[going])
        if self.method in ("Newton", "natural gradient"):
            step[going] = self.curved(*batch, 1 / self.rates[going])
            return step
        step[going] = gradients(self.problem, self.algorithm, *batch)
        step = -step if self.elementwise is None else self.elementwise(step)
        return self.rates[:, None] * step

    def curved(self, theta: Tensor, x: Tensor, y: Tensor, damping: Tensor) -> Tensor:
        of = self.problem.sizes, self.problem.activation
        if self.method == "Newton":
            hessian = second_order.hessian(theta, *of, x, y, chunk=None if self.problem.chain else 256)
            return second_order.newton(gradients(self.problem, "BP", theta, x, y), hessian, damping)
        residual = y - second_order.outputs(theta, *of, x)
        return second_order.natural(second_order.jacobian(theta, *of, x), residual, damping)


def race(
    problem: Problem,
    method: str,
    rates: Sequence[float],
    theta: Tensor,
    stream: Iterator[tuple[Tensor, Tensor]],
    cap: int,
    every: int = 1,
) -> dict[str, np.ndarray]:
    """Updates until the loss is half of the first one and until it is `problem.converged`; −1 if not within `cap`.

    Every rate starts from all of θ (runs, P) and gets the same batches. The loss is looked at `every` so many updates.
    Returns {"escape", "converge"}, arrays (rates, runs).
    """
    runs, count = len(theta), len(rates)
    theta = theta.repeat(count, 1)
    rule = Rule(problem, method, torch.tensor(rates, dtype=theta.dtype).repeat_interleave(runs), theta)
    marks: dict[str, Tensor | float] = {"escape": losses(problem, theta) / 2, "converge": problem.converged}
    found = {name: torch.full((len(theta),), -1) for name in marks}
    going = torch.ones(len(theta), dtype=torch.bool)
    for step in range(cap + 1):
        if step % every == 0:
            value = losses(problem, theta)
            for name, mark in marks.items():
                found[name][(found[name] < 0) & (value < mark) & going] = step
            going &= (found["converge"] < 0) & (value < DIVERGED) & (theta.abs().amax(-1) < DIVERGED)
        if step == cap or not going.any():
            break
        x, y = (part.repeat(count, 1, 1) for part in next(stream))
        theta = torch.where(going[:, None], theta + rule(theta, x, y, going), theta)
    return {name: steps.reshape(count, runs).numpy() for name, steps in found.items()}
