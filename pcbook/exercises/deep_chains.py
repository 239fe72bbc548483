"""Exercises of book/deep-chains: imbalance, stable rates, factors in front of losses, the plateau rule, one choice."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pcbook import chains
from pcbook.exercises.exercise import Exercise

if TYPE_CHECKING:
    from pcbook.experiments.deep_chains_record import Setting


def _growth(pair: int, algorithm: str = "PC") -> Callable[[float, float, float], float]:
    """How fast ½(w_{l+1}² − w_l²) grows in a chain of three weights, l = `pair`, for x = 1 and y = −1."""

    def rate(w1: float, w2: float, w3: float) -> float:
        one = np.ones((1, 1))
        w = np.array([[w1, w2, w3]], dtype=float)
        flow = -w[0] * chains.gradient(algorithm, w, one, -one)[0]
        return flow[pair] - flow[pair - 1]

    return rate


def _sharpness(algorithm: str, depth: int = 10, h: float = 1e-5) -> float:
    """The largest eigenvalue of the Hessian where all weights have size 1 and the chain solves y = −x, x = 1."""
    point = np.ones(depth + 1)
    point[0] = -1
    shifted = point + h * np.vstack([np.eye(depth + 1), -np.eye(depth + 1)])
    ones = np.ones((len(shifted), 1))
    up, down = np.split(chains.gradient(algorithm, shifted, ones, -ones), 2)
    return np.linalg.eigvalsh((up - down) / (2 * h))[-1]


def _largest(factor: float = 2.0) -> tuple[float, ...]:
    return tuple(factor / _sharpness(algorithm) for algorithm in ("BP", "PC"))


def _factor(batch: int) -> float:
    """What a summed energy does to PC's step, over what a mean without the ½ does to BP's, for one output."""
    error = np.arange(1, batch + 1) + 1e-20j  # a complex step: the imaginary part is the derivative
    energy, loss = np.sum(error**2) / 2, np.mean(error**2)
    return energy.imag / loss.imag


def _blocks(longest: int = 8) -> float:
    """The expected number of blocks: the share of falling orders of k means, summed over k, by trying them all."""
    shares = (
        sum(all(a > b for a, b in itertools.pairwise(order)) for order in itertools.permutations(range(k)))
        / math.factorial(k)
        for k in range(longest)
    )
    return sum(shares)


def _judge_choice(answer: object) -> str | None:
    from pcbook.experiments.deep_chains_record import Setting, race

    if not isinstance(answer, list | tuple) or [type(part) for part in answer] != [Setting, Setting]:
        raise ValueError(f"answer = {answer!r}: must be two `record.Setting`s")
    names = [field.name for field in dataclasses.fields(Setting)]
    changed = [name for name in names if len({getattr(setting, name) for setting in answer}) == 2]
    if len(changed) != 1:
        return f"The two differ in {len(changed)} choices{': ' * bool(changed)}{', '.join(changed)}. Change one."
    try:
        first, second = (race("tanh", 5, setting).ratio for setting in answer)
    except (StopIteration, LookupError, ValueError):
        raise ValueError(f"answer = {answer!r}: must be settings that are recorded") from None
    if first.high < 1 < second.low:
        return None
    return (
        f"PC's steps over BP's: {first} with the first, {second} with the second setting. "
        "The first interval should lie below 1, and the second above."
    )


def _changed(**choices: Any) -> "Setting":
    from pcbook.experiments.deep_chains_record import PAPER

    return dataclasses.replace(PAPER, **choices)


EXERCISES = {
    "imbalance": Exercise(
        asks="a function of w1, w2 and w3, or a sympy expression in them",
        hints=(
            "The theorem says which error it is. What is that error at the equilibrium, in terms of the residual?",
            "e₂ = J₂ r/S with J₂ = w₃, r = −1 − P and S = 1 + J₁² + J₂².",
        ),
        why="The read-out gains on the weight below it wherever it is not zero and an error is left.",
        near={
            "That is BP's: it keeps every imbalance as it is.": lambda: _growth(2, "BP"),
            "That is the pair below, w₂ and w₁: e₁² in place of e₂².": lambda: _growth(1),
            "Inference divides the residual by S first.": lambda: lambda w1, w2, w3: np.square(w3 * (1 + w1 * w2 * w3)),
            "That is e₂ itself. The theorem has its square.": lambda: (
                lambda w1, w2, w3: -np.sqrt(_growth(2)(w1, w2, w3))
            ),
        },
        expected=lambda: _growth(2),
        at={"w1": [0.3, -1.0, 2.0], "w2": [0.5, 1.2, 0.4], "w3": [0.7, 0.4, 1.5]},
    ),
    "rate": Exercise(
        asks="two numbers, the largest stable learning rates of BP and of PC",
        hints=(
            "The largest eigenvalue decides. By which factor may one step multiply the distance along it?",
            "Stable means |1 − αλ| < 1. Ten hidden layers have eleven weights.",
        ),
        why="BP's shrinks with depth, PC's does not.",
        near={
            "Those are the eigenvalues. The rate is limited by 2 over them.": lambda: tuple(
                map(_sharpness, ("BP", "PC"))
            ),
            "There α = 1/λ: the steepest direction arrives in one step. It may overshoot, and yet converge.": lambda: (
                _largest(1.0)
            ),
            "Count weights, not hidden layers.": lambda: (2 / _sharpness("BP", 9), 2 / _sharpness("PC", 9)),
        },
        expected=_largest,
    ),
    "factor": Exercise(
        asks="a function of B, or a sympy expression in B",
        hints=(
            "A factor in front of the loss is a factor in front of the step. Which one is in front of each?",
            "Both differ from ½‖·‖² averaged over the batch: BP's loss by the ½, PC's energy by the 1/B.",
        ),
        why="A batch of 64 gives PC a head start of more than a decade of learning rates.",
        near={
            "BP's program has no ½: its steps are longer, too.": lambda: lambda B: 2 * _factor(B),
            "The missing ½ makes BP's steps longer, not PC's.": lambda: lambda B: 4 * _factor(B),
            "A summed energy makes PC's steps longer: BP's over PC's is upside down.": lambda: lambda B: 1 / _factor(B),
        },
        expected=lambda: _factor,
        at={"B": [1, 16, 64]},
    ),
    "rule": Exercise(
        asks="one number, how many blocks",
        hints=(
            "With which probability is the run still alive after k blocks?",
            "It is if one of the k! equally likely orders has come up. Sum over k, from 0.",
        ),
        why="A plateau is cut after two or three looks at it.",
        near={
            "You tossed a new coin for every comparison. But a low mean is hard to beat by the next one.": lambda: 3.0,
            "That counts comparisons. The first block has nothing to be compared with, and counts too.": lambda: (
                _blocks() - 1
            ),
            "That is the most likely number. Asked for is the mean.": lambda: 2.0,
        },
        expected=_blocks,
        rtol=5e-3,
    ),
    "choice": Exercise(
        asks="two `record.Setting`s that differ in one choice: PC wins with the first, BP with the second",
        hints=("Look at the last explorer: which choices move PC's valley, and which cut it off?",),
        why="One choice that a paper need not print, and the answer turns around.",
        near={
            "differ in 2 choices": lambda: (_changed(seeds=100, edge=100.0), _changed(seeds=100, rule=False)),
            "The first interval should": lambda: (_changed(pc="sum"), _changed()),
        },
        judge=_judge_choice,
    ),
}
