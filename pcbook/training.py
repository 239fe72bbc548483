"""One training loop for backpropagation and predictive coding: four optimisers, the paper's stopping rules. Torch.

BP descends the loss L of the feedforward pass, PC the energy F at its equilibrium (Eq. 3); all else is the same.
The loss is the book's, ½ rᵀΠ_L r averaged over the batch, whatever the gradients are scaled by.
"""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pcbook import checks, inference, network

METHODS = ("bp", "pc")
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
    "rmsprop": torch.optim.RMSprop,
}
# What the gradient is multiplied by, for a batch of B and d outputs, if the squared error is …
SCALINGS: dict[str, Callable[[int, int], float]] = {
    "half": lambda batch, outputs: 1.0,  # halved, summed over outputs and averaged over the batch, as in this book
    "mean": lambda batch, outputs: 2.0 / outputs,  # averaged over both, the default of most libraries
    "sum": lambda batch, outputs: float(batch),  # halved and summed over both, as PC's energy is often coded
}


@dataclass(frozen=True)
class Threshold:
    """The loss of a batch is below a level: rule (i) of appendix A.4."""

    below: float = 0.01
    stop: bool = True  # whether the rule ends the run, or is only watched
    name: str = "threshold"

    def __post_init__(self) -> None:
        checks.scalar("below", self.below)

    def fires(self, losses: Sequence[float]) -> bool:
        """Whether it does at the last of `losses`."""
        return losses[-1] < self.below


@dataclass(frozen=True)
class Plateau:
    """The mean loss of the last `every` batches is not below that of the `every` before: rule (ii) of A.4, and A.5."""

    every: int
    stop: bool = True
    name: str = "plateau"

    def __post_init__(self) -> None:
        if checks.count("every", self.every) == 0:
            raise ValueError("every = 0: must be at least one batch")

    def fires(self, losses: Sequence[float]) -> bool:
        """Whether it does at the last of `losses`; asked once every `every` batches."""
        n = self.every
        return len(losses) >= 2 * n and len(losses) % n == 0 and sum(losses[-n:]) >= sum(losses[-2 * n : -n])


@dataclass(frozen=True)
class Diverged:
    """The loss is not finite, or above a level: rule (iii) of A.4. It always ends the run."""

    above: float = math.inf
    stop: bool = field(default=True, init=False)
    name: str = "diverged"

    def __post_init__(self) -> None:
        if self.above != math.inf:
            checks.scalar("above", self.above)

    def fires(self, losses: Sequence[float]) -> bool:
        """Whether it does at the last of `losses`."""
        return not math.isfinite(losses[-1]) or losses[-1] > self.above


Rule = Threshold | Plateau | Diverged


@dataclass(frozen=True, eq=False)
class History:
    """What a run of n batches went through. Steps count updates: step k is the batch before the update k + 1."""

    loss: np.ndarray  # (n,) before each update; the last one of a diverged run may be infinite or NaN
    seconds: np.ndarray  # (n,) wall-clock up to the end of each update, of the updates alone
    cpu: np.ndarray  # (n,) the same in processor seconds, which neighbours on the machine hardly change
    iterations: np.ndarray  # (n,) of inference; 0 for BP
    evaluations: list[dict[str, Any]]  # what `evaluate` returned, each with its step and seconds
    stops: dict[str, int]  # rule's name → the step at which it first fired
    end: str  # the name of the rule that ended the run, or "batches": all were used

    def first_below(self, level: float) -> int | None:
        """The first step whose loss is below `level`, or None."""
        (steps,) = np.nonzero(self.loss < level)
        return int(steps[0]) if len(steps) else None

    @property
    def escape(self) -> int | None:
        """The first step whose loss is below half of the first loss: the time it took to leave the saddle; or None."""
        return self.first_below(0.5 * self.loss[0])


def train(
    net: network.PCN,
    batches: Iterable[tuple[Tensor, Tensor]],
    method: str = "bp",
    learning_rate: float = 0.1,
    *,
    optimiser: str = "sgd",
    scaling: str = "half",
    rules: Iterable[Rule] = (),
    solver: str = "auto",
    rtol: float = 1e-3,
    max_iterations: int | None = None,
    warm: bool = False,
    evaluate: Callable[[int], dict[str, Any] | None] | None = None,
) -> History:
    """Train `net`, in place, on an iterable of batches (x, y), and return the run's `History`.

    `method` is "bp" or "pc", `optimiser` one of `OPTIMISERS`, `scaling` one of `SCALINGS`. A run ends with the batches
    or at the first batch where one of `rules` fires that is to stop it, before that batch's update; a loss that is
    not finite always does. `evaluate(step)` is called before each update and after the last one, and may return a
    dictionary, kept in the history, or None.
    PC's equilibria come from `inference.solve` by `solver`, to `rtol`, in `max_iterations` at most. `warm` hands each
    the one before: the linear response is then computed once, at the first batch, and fits the less the longer the
    network trains, so that other networks than linear ones soon need many iterations.
    Raises `ValueError` for bad arguments and bad data.
    """
    if not isinstance(net, network.PCN):
        raise ValueError(f"net is a {type(net).__name__}: must be a PCN")
    rules, evaluate = _rules(rules), _function("evaluate", evaluate)
    step = _Step(net, method, solver, checks.scalar("rtol", rtol), max_iterations, warm)
    update = _updater(net, optimiser, checks.scalar("learning_rate", learning_rate), scaling)
    losses: list[float] = []
    clock: list[np.ndarray] = []
    stops: dict[str, int] = {}
    iterations, evaluations, end = list[int](), list[dict[str, Any]](), "batches"
    zero = np.zeros(2)

    def look(step: int) -> None:
        if (row := evaluate(step)) is not None:
            seconds, cpu = clock[-1] if clock else zero
            evaluations.append({"step": step, "seconds": float(seconds), "cpu": float(cpu), **row})

    for batch in _each("batches", batches):
        x, y = _pair(batch)
        look(len(losses))
        start = _now()
        output, gradients, count = step(x, y)
        losses.append(_loss(net, y, output))
        fired = [rule for rule in rules if rule.fires(losses)]
        for rule in fired:
            stops.setdefault(rule.name, len(losses) - 1)
        ends = [rule.name for rule in fired if rule.stop]
        if not ends:
            update(cast(network.Gradients, gradients), len(x))  # None only after an overflow, which ends the run
        iterations.append(count)
        clock.append((clock[-1] if clock else zero) + _now() - start)
        if ends:
            end = ends[0]
            break
    else:
        if not losses:
            raise ValueError("batches is empty: must hold at least one batch")
        look(len(losses))
        if not all(bool(torch.isfinite(p).all()) for p in _parameters(net)):
            end = "diverged"
            stops.setdefault(end, len(losses))
    seconds, cpu = np.array(clock).T
    return History(np.array(losses), seconds, cpu, np.array(iterations), evaluations, stops, end)


class _Step:
    """The feedforward output and the weight gradients at a batch, by backpropagation or at PC's equilibrium."""

    def __init__(
        self, net: network.PCN, method: str, solver: str, rtol: float, max_iterations: int | None, warm: bool
    ) -> None:
        checks.choice("method", method, METHODS), checks.choice("solver", solver, inference.METHODS)
        if not isinstance(warm, bool):
            raise ValueError(f"warm = {warm!r}: must be True or False")
        if max_iterations is not None:
            checks.count("max_iterations", max_iterations)
        self.net, self.method, self.warm = net, method, warm
        self.last: inference.Equilibrium | None = None
        self.solve = functools.partial(inference.solve, net, method=solver, rtol=rtol, max_iterations=max_iterations)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, network.Gradients | None, int]:
        """(output, `Gradients` or None after an overflow, iterations)."""
        x, y = network.inputs(self.net, x), network.targets(self.net, y, x)
        return self._backprop(x, y) if self.method == "bp" else self._equilibrium(x, y)

    def _backprop(self, x: Tensor, y: Tensor) -> tuple[Tensor, network.Gradients | None, int]:
        """As `network.backprop`, which keeps the output to itself."""
        net, state = self.net, network.sweep(self.net, x)
        top = network.weigh_layer(net, -1, y - state.output) * (-1.0 / len(x))
        deltas = network.backward(net, state.slopes, top).deltas
        return state.output, network.outer_products(net, deltas, state.inputs), 0

    def _equilibrium(self, x: Tensor, y: Tensor) -> tuple[Tensor, network.Gradients | None, int]:
        try:
            found = self.solve(x, y, warm=self.last if self.warm else None)
        except ValueError as error:
            if "overflows" not in str(error):
                raise
            return torch.full_like(y, math.nan), None, 0
        self.last = found
        return found.feedforward, found.gradients(), found.iterations


def _updater(
    net: network.PCN, optimiser: str, learning_rate: float, scaling: str
) -> Callable[[network.Gradients, int], None]:
    """A function that takes `Gradients` and the batch size, and makes one step of the optimiser."""
    checks.choice("optimiser", optimiser, OPTIMISERS), checks.choice("scaling", scaling, SCALINGS)
    parameters = _parameters(net)
    steps = OPTIMISERS[optimiser](parameters, lr=learning_rate)

    def update(gradients: network.Gradients, batch: int) -> None:
        factor = SCALINGS[scaling](batch, net.sizes[-1])
        found = [*gradients.weights, *(gradients.biases or [])]
        for p, g in zip(parameters, found, strict=True):
            p.grad = g if factor == 1 else g * factor
        steps.step()
        steps.zero_grad()  # the network keeps no gradients

    return update


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def _parameters(net: network.PCN) -> list[Tensor]:
    return [*net.weights, *(net.biases or [])]


def _loss(net: network.PCN, y: Tensor, output: Tensor) -> float:
    """½ rᵀΠ_L r averaged over the batch, a float; NaN or infinite after an overflow."""
    residual = (y - output).double()
    return float(0.5 * (residual * network.weigh_layer(net, -1, residual)).sum() / len(y))


def _rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules as a tuple, `Diverged` among them; `ValueError` unless each has a name of its own."""
    rules = tuple(_each("rules", rules))
    for rule in rules:
        if not isinstance(rule, (Threshold, Plateau, Diverged)):
            raise ValueError(f"rules holds {rule!r}: must be Threshold, Plateau or Diverged")
    if not any(isinstance(rule, Diverged) for rule in rules):
        rules = (*rules, Diverged())
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise ValueError(f"rules holds the names {names}: each must have its own")
    return rules


def _each(name: str, values: Iterable[Any]) -> Iterator[Any]:
    try:
        return iter(values)
    except TypeError:
        raise ValueError(f"{name} = {values!r}: must be iterable") from None


def _pair(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise ValueError(f"batches holds a {type(batch).__name__}: must hold pairs (x, y)")
    return batch


def _function(
    name: str, value: Callable[[int], dict[str, Any] | None] | None
) -> Callable[[int], dict[str, Any] | None]:
    if value is not None and not callable(value):
        raise ValueError(f"{name} = {value!r}: must be a function of the step, or None")
    return value or (lambda step: None)
