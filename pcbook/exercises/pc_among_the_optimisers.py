"""Exercises of book/pc-among-the-optimisers: first steps, what S adds, ranks, frugal batches."""

import functools
from collections.abc import Callable

import numpy as np

from pcbook import checks, onemlp
from pcbook.exercises.exercise import Exercise


def _nearer(start: np.ndarray) -> float:
    """Cosine of PC's first step with Adam's, less that of BP's, on the 1MLP with x = 1 and y = −1."""
    bp, pc = (onemlp.update(name, start, 1.0, -1.0) for name in ("BP", "PC"))
    adam = np.sign(bp)
    return float(pc @ adam / np.linalg.norm(pc) - bp @ adam / np.linalg.norm(bp)) / np.sqrt(2)


def _judge_ways(answer: object) -> str | None:
    starts = checks.nonzero("answer", answer)
    if starts.shape != (2, 2):
        raise ValueError(f"answer has shape {starts.shape}: must be two starts ((w1, w2), (w1, w2))")
    if np.any(np.abs(onemlp.loss(*starts.T, 1.0, -1.0)) < 1e-6):
        return "One of the starts is a solution: there is no step."
    first, second = map(_nearer, starts)
    if first > 0.1 and second < -0.1:
        return None
    return (
        f"PC is nearer to Adam by {first:+.2f} at the first start and by {second:+.2f} at the second. "
        "Which of the two weights does PC push, and which one does Adam find too short?"
    )


def _at_edge(name: str) -> Callable[[float], np.ndarray]:
    return lambda w2: onemlp.update(name, (0.0, w2), 1.0, -1.0)


@functools.cache
def _ranks(updates: int = 30) -> dict[str, tuple[int, int]]:
    """Ranks of the updates of W_1 after single samples of the digits: {method: the first one's, the last one's}."""
    import torch

    from pcbook import second_order
    from pcbook.experiments import races

    problem = races.PROBLEMS["digits"]
    theta, stream = races.starts(problem, 0, 1), races.batches(problem, 0, 1, 1)
    memory, found = races.Elementwise("Adam", theta), []
    for _ in range(updates):
        batch = next(stream)
        bp, pc = (races.gradients(problem, name, theta, *batch) for name in ("BP", "PC"))
        steps = {"BP": -bp, "PC": -pc, "Adam": memory(bp)}
        first = {name: second_order.split(step[0], problem.sizes)[0] for name, step in steps.items()}
        found.append({name: int(torch.linalg.matrix_rank(w, rtol=1e-5)) for name, w in first.items()})
        theta = theta - 0.1 * bp
    return {name: (found[0][name], found[-1][name]) for name in found[0]}


def _last_ranks(**other: int) -> tuple[int, int, int]:
    ranks = {name: last for name, (_, last) in _ranks().items()} | other
    return ranks["BP"], ranks["PC"], ranks["Adam"]


def _frugal(count: str = "samples") -> tuple[int, ...]:
    """The batch size with the fewest samples (or steps) to convergence on the digits, of BP and of PC."""
    from pcbook.experiments import batch_sizes, readings

    def spent(algorithm: str, size: int) -> float:
        steps = 1 + readings.batch_steps("digits", size, algorithm)
        return np.exp(np.log(steps).mean()) * (size if count == "samples" else 1)

    sizes = batch_sizes.sizes("digits")
    return tuple(min(sizes, key=functools.partial(spent, algorithm)) for algorithm in ("BP", "PC"))


EXERCISES = {
    "ways": Exercise(
        asks="two starts, ((w1, w2), (w1, w2))",
        hints=("Adam's first step is a diagonal. Where is BP's already close to one, and where is PC's?",),
        why="A picture of one start can show either.",
        near={
            "PC is nearer to Adam by": lambda: ((0.1, 0.25), (0.25, 0.1)),
            "is a solution": lambda: ((1.0, -1.0), (0.25, 0.1)),
        },
        judge=_judge_ways,
    ),
    "residual": Exercise(
        asks="a function of w2 that returns PC's direction (Δw1, Δw2)",
        hints=(
            "At w₁ = 0 the residual is y, and S = 1 + w₂².",
            "−∇ℱ* = −∇ℒ/S + (ℒ/S²) ∇S: the second term has an entry for w₂ alone.",
        ),
        why="No rate for each weight makes BP do this: its second entry is zero.",
        near={
            "That is BP's direction.": lambda: _at_edge("BP"),
            "You divided BP's step by S, and forgot that S changes with w₂.": lambda: (
                lambda w2: onemlp.update("BP", (0.0, w2), 1.0, -1.0) / (1 + w2**2)
            ),
            "The second term is a fall of ℱ* along w₂: its sign is turned.": lambda: (
                lambda w2: onemlp.update("PC", (0.0, w2), 1.0, -1.0) * [1, -1]
            ),
        },
        expected=lambda: _at_edge("PC"),
        at={"w2": [0.5, -1.0, 2.0]},
    ),
    "rank": Exercise(
        asks="three whole numbers: the ranks of BP's, PC's and Adam's update",
        hints=(
            "Which two vectors make up BP's gradient of one sample? Which two make up PC's?",
            "Adam's square root of v has seen many samples. What is the largest rank that a 12 × 64 matrix can have?",
        ),
        why="PC has as many free numbers as a layer has ends, and Adam as many as it has weights.",
        near={
            "That is Adam's first step: its signs are an outer product too. Later v has a history.": lambda: (
                _last_ranks(Adam=_ranks()["Adam"][0])
            ),
            "PC's update of one sample is an outer product, as BP's is, of other vectors.": lambda: _last_ranks(
                PC=_last_ranks()[2]
            ),
            "A 12 × 64 matrix has at most rank 12.": lambda: _last_ranks(Adam=64),
        },
        expected=_last_ranks,
        rtol=1e-6,
    ),
    "samples": Exercise(
        asks="two whole numbers: the most frugal batch size of BP, and of PC",
        hints=(
            "`readings.batch_steps` has the steps of every start. What does a step cost?",
            "Average log(1 + steps) over the starts, multiply by the batch size, and take the smallest.",
        ),
        why="Large batches buy fewer steps with many more samples.",
        near={"Those need the fewest steps. Count samples: steps times batch size.": lambda: _frugal("steps")},
        expected=_frugal,
        rtol=1e-6,
    ),
}
