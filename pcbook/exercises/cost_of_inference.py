"""Exercises of book/cost-of-inference: the best step, the price of outputs and of Euler, a kink, two valleys."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

from pcbook import checks
from pcbook.exercises.exercise import Exercise

if TYPE_CHECKING:
    from pcbook import network


_DEPTH, _LEFT = 10, 1e-3


def _eigenvalues() -> np.ndarray:
    from pcbook.experiments import inference_cost

    return inference_cost.chain_spectrum(_DEPTH, 1.0)


def _with_steps(eta: float) -> tuple[float, float]:
    """η, and the Euler steps until the slowest direction has shrunk to `_LEFT`."""
    return eta, np.log(_LEFT) / np.log(_slowest(eta))


def _slowest(eta: float) -> float:
    return np.abs(1 - eta * _eigenvalues()).max()


def _best() -> float:
    return minimize_scalar(_slowest, bounds=(0.01, 0.6), method="bounded", options={"xatol": 1e-8}).x


@functools.cache
def _price(outputs: int, batch: int, width: int = 300) -> float:
    """A step of PC over one of BP in counted multiplications, in wide linear layers."""
    import torch

    from pcbook import linear_theory
    from pcbook.experiments import inference_cost

    rng = torch.Generator().manual_seed(0)
    net = linear_theory.random_net([width] * 14 + [outputs], rng)
    x, y = (torch.randn(batch, n, generator=rng, dtype=torch.float64) for n in (width, outputs))
    return inference_cost.passes(inference_cost.pc_step, net, x, y)


@functools.cache
def _euler_price(steps: int, width: int = 20) -> float:
    """Euler steps in BP steps, for ten hidden layers as wide as input and output."""
    import torch

    from pcbook import network
    from pcbook.experiments import inference_cost

    net = network.PCN(network.init_weights([width] * 12, 0, dtype=torch.float64), "tanh")
    x = torch.ones(width, width, dtype=torch.float64)
    return inference_cost.euler_passes(net, x, x, steps)


def _chain(weights: Sequence[float], activation: str = "relu") -> "network.PCN":
    import torch

    from pcbook import network

    return network.PCN([torch.tensor([[float(w)]], dtype=torch.float64) for w in weights], activation)


def _settled(weights: Sequence[float], y: float, activation: str = "relu") -> list[float]:
    """z₁, z₂ and δ₂ at the equilibrium for x = 1."""
    import torch

    from pcbook import inference

    net, one = _chain(weights, activation), torch.ones(1, 1, dtype=torch.float64)
    found = inference.solve(net, one, y * one, rtol=1e-6)
    return [part.item() for part in (*found.activities, found.state.deltas[1])]


def _valleys(weights: Sequence[float], y: float, points: int = 20_001) -> tuple[float, float]:
    """The energy at which inference from the feedforward pass ends for x = 1, and the lowest one on a fine grid."""
    import torch

    from pcbook import inference, network

    net, one = _chain(weights), torch.ones(1, 1, dtype=torch.float64)
    ends = inference.solve(net, one, y * one).energy.item()
    reach = 2 * (1 + abs(weights[0]) + abs(y))
    z1 = torch.linspace(-reach, reach, points, dtype=torch.float64)[:, None]
    x, w3 = torch.ones_like(z1), weights[2]
    z2 = (torch.relu(weights[1] * z1) + w3 * y) / (1 + w3**2)
    return ends, network.energy(net, [z1, z2], x, y * x).min().item()


def _judge_valleys(answer: object) -> str | None:
    values = checks.nonzero("answer", answer)
    if values.shape != (4,):
        raise ValueError(f"answer has shape {values.shape}: must be the three weights and the target, (w1, w2, w3, y)")
    ends, lowest = _valleys(values[:3].tolist(), float(values[3]))
    if ends > 10 * lowest:
        return None
    return (
        f"Inference ends at an energy of {ends:.3g}, and the lowest one is {lowest:.3g}. "
        "What is left to pay in the other valley, and which weights make that cheap?"
    )


EXERCISES = {
    "step": Exercise(
        asks="two numbers: the best η, and the Euler steps that it needs",
        hints=(
            "Two directions decide: the slowest one, and the one that overshoots most.",
            "Both should shrink by the same factor: 1 − ηλ_min = ηλ_max − 1.",
        ),
        why="Five times fewer, and still of the order of (N + 1)².",
        near={
            "The step is right. Now the steps: those are the ones at the paper's η = 0.1.": lambda: (
                _best(),
                _with_steps(0.1)[1],
            ),
            "At 1/λ_max the fastest direction is gone at once, and the slowest waits. Let the first overshoot.": (
                lambda: _with_steps(1 / _eigenvalues().max())
            ),
        },
        expected=lambda: _with_steps(_best()),
    ),
    "outputs": Exercise(
        asks="a function of outputs and batch (both whole numbers)",
        hints=(
            "Count products of large matrices, and the rows of each.",
            "Both make three products a layer. BP's have a row for each sample: what has the closed form?",
        ),
        why="The closed form is the cheaper one while there are fewer outputs than samples in the batch.",
        near={
            "That is so for one sample. BP's products have a row for each sample of the batch.": lambda: (
                lambda outputs, batch: outputs
            ),
            "PC needs no BP step on top: neither the errors nor the moments climb sample by sample.": lambda: (
                lambda outputs, batch: 1 + _price(outputs, batch)
            ),
        },
        expected=lambda: _price,
        at={"outputs": [4, 8, 16], "batch": [64, 32, 16]},
        rtol=0.1,
    ),
    "multiplier": Exercise(
        asks="three numbers: z₁, z₂ and δ₂",
        hints=(
            "Where is the minimum if the unit is on, and where if it is off? Is it on, or off, there?",
            "So it is at the kink, z₁ = 0. Let the forces on z₂ and on z₁ vanish, in this order.",
        ),
        why="δ₂ lies between μ₂ and 0, so the kink holds.",
        near={
            "That is the equilibrium of a unit that is on. But is 2z₁ above zero there?": lambda: _settled(
                (0.5, 2, 1), -1, "linear"
            ),
            "That is the equilibrium of a unit that is off. But at z₁ = ½ it is on.": lambda: (0.5, -0.5, 0.0),
            "That is μ₂, what the layer above asks for. The kink passes on only what balances e₁.": lambda: (
                *_settled((0.5, 2, 1), -1)[:2],
                2 * _settled((0.5, 2, 1), -1)[2],
            ),
        },
        expected=lambda: _settled((0.5, 2, 1), -1),
        atol=1e-3,
    ),
    "valleys": Exercise(
        asks="four numbers, the weights and the target: (w1, w2, w3, y)",
        hints=("Start from the slider's w₂ = −2 and y = 2, and change one number at a time.",),
        why="How much a bad valley costs has no bound: the word equilibrium alone does not name an energy.",
        near={
            "Inference ends": lambda: (0.5, -2.0, 1.0, 2.0),
            "the lowest one": lambda: (0.5, 2.0, 1.0, 2.0),
        },
        judge=_judge_valleys,
    ),
    "bill": Exercise(
        asks="a function of T, or a sympy expression in T",
        hints=(
            "Which products of matrices does one Euler step take in a layer, and which does BP take?",
            "Euler: up for the predictions, down for the errors. BP: the same, and the weight gradients.",
        ),
        why="So a thousand steps cost several hundred BP steps, whatever the width and the depth.",
        near={
            "An Euler step computes no weight gradients: it makes fewer products than a BP step.": lambda: lambda T: T,
            "Predictions go up and errors come down: that makes two products a layer.": lambda: (
                lambda T: _euler_price(int(T)) / 2
            ),
        },
        expected=lambda: lambda T: _euler_price(int(T)),
        at={"T": [100, 500, 1000]},
        rtol=0.05,
    ),
}
