"""Exercises of book/deep-linear-networks: scales, the edge of a saddle, widths, symmetries, rescalings."""

import functools
import math

import numpy as np

from pcbook import checks
from pcbook.exercises.exercise import Exercise

_FIRST, _SECOND = np.array([[1.0, 0.5], [-0.5, 2.0]]), np.array([[1.0, -1.0]])


def _scale(depth: int) -> float:
    """S/I of an orthogonal network."""
    import torch

    from pcbook import linear_theory

    net = linear_theory.random_net([3] * (int(depth) + 1), torch.Generator().manual_seed(0), "orthogonal")
    return torch.trace(linear_theory.output_scale(net)).item() / 3


def _speed(w3: float) -> float:
    """How fast PC moves the last of three weights at (0, 0, w3), for x = 1 and y = −1."""
    import torch

    from pcbook import linear_theory, network

    net = network.PCN([torch.tensor([[float(w)]], dtype=torch.float64) for w in (0, 0, w3)])
    one = torch.ones(1, 1, dtype=torch.float64)
    return -linear_theory.equilibrated_energy_gradients(net, one, -one).weights[2].item()


@functools.cache
def _widths(skips: bool = True) -> tuple[int, ...]:
    """The smallest widths at which 1/s reaches 0.9 and 0.99 in 100 layers of μPC, by bisection."""
    from pcbook import linear_theory

    def reached(width: int, ratio: float) -> bool:
        return linear_theory.expected_output_scale([width] * 101, "mupc", skips=skips) <= 1 / ratio

    found = []
    for ratio in (0.9, 0.99):
        low, high = 1, 100_000
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle, ratio) else (middle, high)
        found.append(high)
    return tuple(found)


def _copies(*hidden: int) -> int:
    from pcbook import symmetries

    return math.prod(sum(1 for _ in symmetries.signed_permutations(n)) for n in hidden)


def _energies(first: np.ndarray, second: np.ndarray) -> float:
    """ℱ* over ℒ of two networks, averaged over residuals of unit size: 1/S, since there is one output."""
    import torch

    from pcbook import linear_theory, network

    net = network.PCN([torch.tensor(w, dtype=torch.float64) for w in (first, second)])
    return 1 / linear_theory.output_scale(net).item()


def _judge_rescale(answer: object) -> str | None:
    if not isinstance(answer, list | tuple) or len(answer) != 2:
        raise ValueError(f"answer = {answer!r}: must be the two matrices W1 (2, 2) and W2 (1, 2)")
    first, second = (checks.array(f"answer[{i}]", part) for i, part in enumerate(answer))
    if (first.shape, second.shape) != (_FIRST.shape, _SECOND.shape):
        return f"The shapes are {first.shape} and {second.shape}; keep {_FIRST.shape} and {_SECOND.shape}."
    if not np.allclose(second @ first, _SECOND @ _FIRST):
        return "The network computes something else now: W₂W₁ has changed. Undo in W₂ what you did to W₁."
    ratio = _energies(first, second) / _energies(_FIRST, _SECOND)
    if ratio <= 0.51:
        return None
    return f"The function is the same, and so far the energy is {ratio:.2f} times what it was. What makes S larger?"


EXERCISES = {
    "orthogonal": Exercise(
        asks="a function of L, the factor in S = factor · I, or a sympy expression in L",
        hints=("What is J_l J_lᵀ if all factors are orthogonal?", "Count the layers that add an identity to S."),
        why="The residual is shared equally by all layers.",
        near={
            "That is what is left of the loss. S is its inverse.": lambda: lambda depth: 1 / _scale(depth),
            "You forgot the output layer's own variance.": lambda: lambda depth: _scale(depth) - 1,
        },
        expected=lambda: _scale,
        at={"L": [2, 5, 9]},
    ),
    "edge": Exercise(
        asks="a function of w3, PC's direction of change of w3, or a sympy expression in w3",
        hints=(
            "With w₁ = w₂ = 0 the output is 0. What is S?",
            "ℱ* = ½y²/(1 + w₃²). Differentiate, and turn the sign.",
        ),
        why="PC makes the output noisier, so that being wrong is less surprising.",
        near={
            "The loss does not move, but the energy does.": lambda: lambda w3: 0.0,
            "The denominator of the derivative is squared.": lambda: lambda w3: _speed(w3) * (1 + w3**2),
        },
        expected=lambda: _speed,
        at={"w3": [0.5, 1.0, -2.0]},
    ),
    "width": Exercise(
        asks="two numbers, the widths for 0.9 and for 0.99",
        hints=(
            "`linear_theory.expected_output_scale` gives s for a list of sizes.",
            "Solve s − 1 ≈ (e − 1) L/n for n, with 1/s = 0.9.",
        ),
        why="Ten times closer costs about ten times the width.",
        near={
            "Those are the widths without skips.": lambda: _widths(skips=False),
            "With skips the first layers do not start from zero: e − 1, not e.": lambda: (
                np.array(_widths()) * np.e / (np.e - 1)
            ),
        },
        expected=_widths,
        rtol=0.03,
    ),
    "copies": Exercise(
        asks="one whole number",
        hints=("Only hidden units may change places and signs.", "A layer of n units has n!·2ⁿ signed permutations."),
        why="The targets know the outputs by name, so only hidden layers count.",
        near={
            "You counted the sign flips only. Units may change places too.": lambda: 2.0 ** (3 + 2),
            "You counted the exchanges only. Signs may change too.": lambda: _copies(3, 2) / 2 ** (3 + 2),
            "You let the input and the output flip as well.": lambda: _copies(1, 3, 2, 1),
        },
        expected=lambda: _copies(3, 2),
        rtol=1e-6,
    ),
    "rescale": Exercise(
        asks="the two matrices W1 (2, 2) and W2 (1, 2)",
        hints=("Insert Q⁻¹Q between the two.",),
        why="The loss cannot tell the two networks apart, and PC can.",
        near={
            "times what it was": lambda: [_FIRST, _SECOND],
            "W₂W₁ has changed": lambda: [_FIRST, 2 * _SECOND],
        },
        judge=_judge_rescale,
    ),
}
