"""Exercises of book/which-way: the closest solution, the diagonal, same places, Newton."""

from collections.abc import Callable

import numpy as np

from pcbook import data, onemlp
from pcbook.exercises.exercise import Exercise
from pcbook.experiments import toy


def _corner() -> float:
    """The a beyond which (1, −1) is no longer the solution closest to (a, −a), by bisection."""
    low, high = 1.0, 3.0
    for _ in range(40):
        a = (low + high) / 2
        corner = np.allclose(onemlp.closest_solution(a, -a, toy.SLOPE), [1, -1], atol=1e-6)
        low, high = (a, high) if corner else (low, a)
    return low


def _step(name: str) -> Callable[[float], np.ndarray]:
    return lambda a: onemlp.update(name, (a, a), 1.0, toy.SLOPE)


def _leads() -> tuple[float, float]:
    """PC's lead at the third batch: each on its own path, and both at BP's places."""
    w0, generator = toy.starts(6000, seed=11), np.random.default_rng(11)
    batches = list(data.toy_batches(generator, 3, 6000))
    ends = {name: onemlp.descent(name, w0, batches, toy.LEARNING_RATE)[2] for name in ("BP", "PC")}
    cosines = {name: toy.cosine_to_closest(name, w).mean() for name, w in ends.items()}
    return cosines["PC"] - cosines["BP"], toy.alignment_gain(ends["BP"]).mean()


def _indefinite(scale: float, damping: float = 2.0) -> float:
    w = toy.starts(40_000, seed=1, scale=scale)
    return float(np.mean(np.linalg.eigvalsh(onemlp.loss_hessian(*w.T, 1.0, toy.SLOPE))[:, 0] < -damping))


EXERCISES = {
    "corner": Exercise(
        asks="one number, the a",
        hints=(
            "±1 are two roots of the quartic. Divide by u² − 1.",
            "The other two roots are complex at first. From which a on are they real?",
        ),
        why="From there on two mirrored solutions are closer than the corner.",
        near={
            "That is a². Take the root.": lambda: _corner() ** 2,
            "There the start is the corner itself.": lambda: 1.0,
        },
        expected=_corner,
    ),
    "diagonal": Exercise(
        asks="a function of a that returns PC's direction (Δw1, Δw2)",
        hints=(
            "At (a, a) the residual is r = −(1 + a²), and d = 1 + a².",
            "Put both into BP's direction and into the extra term. What happens in the second entry?",
        ),
        why="The extra term cancels BP's pull on w₂ exactly: PC moves w₁ alone, straight across.",
        near={
            "That is BP's direction. Add the extra term, and divide by d.": lambda: _step("BP"),
            "You added the extra term with the wrong sign.": lambda: (
                lambda a: 2 * _step("BP")(a) / (1 + a**2) - _step("PC")(a)
            ),
            "You forgot to divide by d.": lambda: lambda a: _step("PC")(a) * (1 + a**2),
        },
        expected=lambda: _step("PC"),
        at={"a": [0.2, 0.5, 1.5]},
    ),
    "same-points": Exercise(
        asks="two numbers: PC's lead at the third batch, each on its own path, and at BP's places",
        hints=(
            "`onemlp.descent` gives the path of each algorithm, `toy.cosine_to_closest` a cosine at any place.",
            "The first lead compares two places. For the second, take both cosines at the weights that BP has reached.",
        ),
        why="Part of PC's lead belongs to where it stands, not to where it points.",
        near={
            "You gave the same lead twice.": lambda: [_leads()[0]] * 2,
        },
        expected=_leads,
        rtol=0,
        atol=0.012,
    ),
    "newton": Exercise(
        asks="one number between 0 and 1, the share of starts",
        hints=(
            "`onemlp.loss_hessian` broadcasts over the starts, and so does `np.linalg.eigvalsh`.",
            "Count where the smallest eigenvalue is below −λ.",
        ),
        why="Where the damped matrix is indefinite, the step may go uphill.",
        near={
            "That is the share of starts at which H itself is indefinite: you forgot λ.": lambda: _indefinite(2.0, 0.0),
            "That is the share from U(−1, 1).": lambda: _indefinite(1.0),
        },
        expected=lambda: _indefinite(2.0),
        rtol=0,
        atol=0.02,
    ),
}
