"""Exercises of book/deep-and-wide-networks: sooner out and higher up, PC's push over the layers, a price in seconds."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pcbook import checks
from pcbook.exercises.exercise import Exercise

if TYPE_CHECKING:
    from pcbook.experiments.deep_wide_record import Run


_EVEN = 1.5


def _runs(activation: str, grid: str = "paper", seeds: int | None = None) -> "list[list[Run]]":
    from pcbook.experiments.deep_wide_record import recorded

    return [recorded().runs(activation, method, grid=grid)[:seeds] for method in ("bp", "pc")]


def _factor(both: "Sequence[Sequence[Run]]") -> float:
    """BP's updates to the escape over PC's, geometric mean over the seeds."""
    bp, pc = ([run.escape for run in runs] for runs in both)
    return np.exp(np.log(np.divide(bp, pc)).mean())


def _tanh(**which: Any) -> tuple[float, float]:
    both = _runs("tanh", **which)
    bp, pc = (np.mean([run.last for run in runs]) for runs in both)
    return _factor(both), float(pc / bp)


@functools.cache
def _push(activation: str, gain: float, images: int = 64) -> tuple[float, ...]:
    """‖∂F/∂W_l‖ over ‖∂ℒ/∂W_l‖ in every layer of ten times 500 units at `gain` times PyTorch's weights, on digits."""
    from pcbook import inference, network
    from pcbook.experiments import inference_cost

    x, y = inference_cost.batch(images)
    weights = network.init_weights([x.shape[1], *[500] * 10, y.shape[1]], 0, dtype=x.dtype)
    net = network.PCN([gain * w for w in weights], activation)
    pc = inference.solve(net, x, y).weight_gradients()
    return tuple(float(a.norm() / b.norm()) for a, b in zip(pc, network.backprop_gradients(net, x, y), strict=True))


def _first(gain: float) -> float:
    return _push("linear", float(gain))[0]


def _judge_even(answer: object) -> str | None:
    gains = checks.positive("answer", answer)
    if gains.shape != (3,):
        raise ValueError(f"answer has shape {gains.shape}: must be three gains, for linear, tanh and ReLU")
    names = ("linear", "tanh", "relu")
    spread = {a: max(p) / min(p) for a, p in ((a, _push(a, float(g))) for a, g in zip(names, gains, strict=True))}
    if max(spread.values()) <= _EVEN:
        return None
    worst = max(spread, key=spread.__getitem__)
    return (
        f"In the {worst} network the layer that PC pushes hardest gets {spread[worst]:.3g} times as much as the least. "
        "What must signals do on their way up, so that BP's top layers get to hear the input?"
    )


def _prices(activation: str, average: Callable[[list[float]], float] = np.mean) -> tuple[float, float]:
    """An update of PC in updates of BP, by processor time over the whole runs, and the price of a tie."""
    both = _runs(activation)
    bp, pc = (average([run.seconds(run.steps[-1]) / run.steps[-1] for run in runs]) for runs in both)
    return pc / bp, _factor(both)


EXERCISES = {
    "order": Exercise(
        asks="two numbers: BP's updates over PC's, and PC's last loss over BP's",
        hints=(
            '`record.runs("tanh", "bp")` has a run for each seed, with `.escape` and `.last`.',
            "Average the first ratio over the seeds, and divide the means for the second.",
        ),
        why="First out of the plateau and last at the bottom: one curve, two answers.",
        near={
            "Those are the rates of the finer grid.": lambda: _tanh(grid="fine"),
            "That is the first seed. There are three.": lambda: _tanh(seeds=1),
            "The second one is upside down: PC's last loss over BP's.": lambda: np.array(_tanh()) ** [1, -1],
            "The first one is upside down: BP's updates over PC's.": lambda: np.array(_tanh()) ** [-1, 1],
        },
        expected=_tanh,
        rtol=2e-2,
    ),
    "push": Exercise(
        asks="a function of gain, or a sympy expression in gain",
        hints=(
            "The first layer's gradient holds S⁻¹r in place of r. How large is S on average?",
            "S ≈ s I with s = 1 + Σ gᵏ, k = 1 … 10, and g = gain²/3 for PyTorch's default weights.",
        ),
        why="As weights grow, PC slows down: the flat minimum of Theorem A.4, seen from the gradient.",
        near={
            "That is s itself. PC's gradient is divided by it.": lambda: lambda gain: 1 / _first(gain),
            "The variance of the weights is what counts: the gain enters squared.": lambda: (
                lambda gain: 1 / sum((gain / 3) ** k for k in range(11))
            ),
            "That is the limit of infinite depth. Here the sum ends after ten hidden layers.": lambda: (
                lambda gain: 1 - gain**2 / 3
            ),
        },
        expected=lambda: _first,
        at={"gain": [0.8, 1.3, 3**0.5]},
        rtol=0.1,
    ),
    "even": Exercise(
        asks="three gains, for the linear, the tanh and the ReLU network",
        hints=("Draw `explore.push` for a few gains. What becomes of the steep end of the curves?",),
        why="PC is BP divided by S here, in all layers alike: its push at the top belongs to the plateau.",
        near={
            "In the relu network": lambda: (1.7, 1.7, 1.0),
            "In the linear network": lambda: (1.0, 1.7, 2.4),
        },
        judge=_judge_even,
    ),
    "price": Exercise(
        asks="two numbers: the price of an update of PC, and the price at which there is a tie",
        hints=(
            "`run.seconds(n)` is the processor time of the first n updates, and `run.steps[-1]` the last one recorded.",
            "The tie is where fewer updates at a higher price take as long: the factor in updates is that price.",
        ),
        why="Whoever wins by updates need not win by seconds.",
        near={
            "The two have changed places.": lambda: _prices("relu")[::-1],
            "Those are the tanh networks.": lambda: _prices("tanh"),
        },
        expected=lambda: _prices("relu"),
        rtol=5e-2,
    ),
}
