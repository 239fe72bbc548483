"""Exercises of book/deep-trust-region: ranks, what inference leaves, the moved update, a long printed one."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcbook import checks
from pcbook.exercises.exercise import Exercise

if TYPE_CHECKING:
    from torch import Tensor

    from pcbook import network


def _flat(sizes: Sequence[int]) -> tuple[int, int]:
    """The rank of H_L, and how many directions of activity space are flat for the loss."""
    import torch

    from pcbook import network, taylor

    net = network.PCN(network.init_weights(sizes, 0, dtype=torch.float64), "tanh")
    matrix = taylor.output_fisher(net)
    rank = int(torch.linalg.matrix_rank(matrix))
    return rank, len(matrix) - rank


def _chain(weights: Iterable[float], activation: str = "linear") -> "network.PCN":
    import torch

    from pcbook import network

    return network.PCN([torch.tensor([[float(w)]], dtype=torch.float64) for w in weights], activation)


def _left(w: float, hidden: int) -> float:
    """The share of the residual that inference leaves at the output of a chain: 1/S."""
    from pcbook import linear_theory

    return 1 / linear_theory.output_scale(_chain([w] * (int(hidden) + 1))).item()


def _linear_networks() -> "dict[str, list[network.PCN] | list[Tensor]]":
    from pcbook.experiments import deep_taylor

    problems = [deep_taylor.random_problem(seed, 3, "linear") for seed in (3, 4)]
    targets = [deep_taylor.targets(problem, 1.0) for problem in problems]
    return {"net": [p.net for p in problems], "x": [p.x for p in problems], "y": targets}


def _exact(net: "network.PCN", x: "Tensor", y: "Tensor") -> "list[Tensor]":
    from pcbook import inference

    return inference.solve(net, x, y, rtol=1e-9).weight_gradients()


def _hidden(name: str) -> "Callable[[network.PCN, Tensor, Tensor], list[Tensor]]":
    """A formula for the hidden layers' gradients, completed by backpropagation's for the last layer."""

    def gradients(net: "network.PCN", x: "Tensor", y: "Tensor") -> "list[Tensor]":
        from pcbook import network, taylor

        return [*getattr(taylor, name)(net, x, y), network.backprop_gradients(net, x, y)[-1]]

    return gradients


def _judge_long(answer: object) -> str | None:
    weights = checks.nonzero("answer", answer)
    if weights.shape != (4,):
        raise ValueError(f"answer has shape {weights.shape}: must be the four weights w1, …, w4")
    import torch

    from pcbook import network, taylor

    net, one = _chain(weights, "tanh"), torch.ones(1, 1, dtype=torch.float64)
    y = network.forward(net, one)[-1] + 1e-4
    factor = float(taylor.printed_gradients(net, one, y)[0] / taylor.corrected_gradients(net, one, y)[0])
    if factor > 100:
        return None
    return f"The printed update is {factor:.3g} times too long. Which weights amplify an error on its way up?"


EXERCISES = {
    "rank": Exercise(
        asks="two whole numbers: the rank, and the number of flat directions",
        hints=(
            "Only one block of the matrix is not zero. Which, and how large is it?",
            "W_Lᵀ Π_L W_L has as many rows as the last hidden layer has units.",
        ),
        why="The output sees no more directions than the narrowest of its last two layers has units.",
        near={
            "10 outputs look at 3 units: the rank cannot exceed 3.": lambda: (10, sum(_flat([4, 20, 20, 3, 10])) - 10),
            "You counted the input among the activities; it is clamped.": lambda: (3, _flat([4, 20, 20, 3, 10])[1] + 4),
        },
        expected=lambda: _flat([4, 20, 20, 3, 10]),
        rtol=1e-6,
    ),
    "left": Exercise(
        asks="a function of w and hidden (how many hidden layers)",
        hints=(
            "In a chain S is a number, and the output is left with λ = r/S.",
            "J_l is a product of the weights above layer l: powers of w.",
        ),
        why="The deeper and the more strongly coupled the chain, the less of the error stays at the output.",
        near={
            "That is S itself. The output keeps r/S.": lambda: lambda w, hidden: 1 / _left(w, hidden),
            "One layer is missing: the output's own variance counts too.": lambda: (
                lambda w, hidden: 1 / (1 / _left(w, hidden) - 1)
            ),
            "The errors enter S squared: w² in place of w.": lambda: (
                lambda w, hidden: 1 / sum(w**k for k in range(int(hidden) + 1))
            ),
        },
        expected=lambda: _left,
        at={"w": [0.5, 1.0, 2.0, 1.5], "hidden": [1, 3, 2, 4]},
    ),
    "moved": Exercise(
        asks="a function of net, x, y that returns the list of all layers' gradients",
        hints=(
            "Which of the three factors moves during inference in a linear network?",
            "Add the step to the feedforward activities, and let `network.weight_gradients` do the rest.",
        ),
        why="At the end of the step the local rule is exact, in every layer of a linear network.",
        near={
            "That is E7′, with the feedforward activities below.": lambda: _hidden("corrected_gradients"),
            "That is the paper's Eq. 7.": lambda: _hidden("printed_gradients"),
        },
        expected=lambda: _exact,
        at=_linear_networks,
        rtol=1e-5,
    ),
    "long": Exercise(
        asks="four weights w1, …, w4, none of them 0",
        hints=("Start from four ones, and change one weight at a time.",),
        why="There is no bound from above: the printed form can be as wrong as you like.",
        near={
            "times too long": lambda: np.ones(4),
            "The printed update is": lambda: np.full(4, 0.1),
        },
        judge=_judge_long,
    ),
}
