"""Exercises of book/landscape: the line w1 = 0, step sizes, batches, wider starts."""

import functools
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from pcbook import data, onemlp
from pcbook.exercises.exercise import Exercise
from pcbook.experiments import toy


def _speed(w2: float) -> float:
    return onemlp.update("PC", (0.0, w2), 1.0, -1.0)[1]


def _fastest(function: Callable[[float], float]) -> float:
    return minimize_scalar(lambda w2: -function(w2), bounds=(0, 3), method="bounded").x


def _at(level: float) -> float:
    return brentq(lambda w2: onemlp.contraction(w2, 0.1) - level, 0, 10)


def _moments(size: int) -> np.ndarray:
    """Mean and standard deviation of the batch mean of x², for both readings: exact, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    rows = []
    for spread in data.SPREADS.values():
        square, fourth = (weights @ (1 + spread * nodes) ** k / weights.sum() for k in (2, 4))
        rows.append((square, np.sqrt((fourth - square**2) / size)))
    return np.array(rows)


@functools.cache
def _differences(scale: float) -> list[float]:
    """Mean differences PC − BP of the closest approach and of the detour."""
    bp, pc = (toy.training(name, 1000, seed=1, scale=scale) for name in ("BP", "PC"))
    return [np.mean(pc.nearest_to_saddle - bp.nearest_to_saddle), np.mean(pc.detour - bp.detour)]


EXERCISES = {
    "line": Exercise(
        asks="one number, the w₂ > 0",
        hints=(
            "On the line the energy is ½y²/(1 + w₂²). What moves w₂ is minus its slope.",
            "You want the steepest place: differentiate once more.",
        ),
        why="There the bell is steepest.",
        near={
            "There the energy has fallen to half. Where does it fall fastest?": lambda: brentq(
                lambda w2: onemlp.equilibrated_energy(0, w2, 1, -1) - 0.25, 0, 3
            ),
            "That is w₂². Take its root.": lambda: _fastest(_speed) ** 2,
        },
        expected=lambda: _fastest(_speed),
    ),
    "eta": Exercise(
        asks="two positive numbers: |w₂| where one step is enough, and |w₂| beyond which inference diverges",
        hints=("Which values of the factor belong to the two cases?", "Solve for the factor 0, and for the factor −1."),
        why="Between the two inference overshoots, and still arrives.",
        near={
            "Those are the squares w₂².": lambda: np.square([_at(0), _at(-1)]),
            "Your second one is where the curvature reaches 2/η. Subtract the 1 in 1 + w₂² first.": lambda: [
                _at(0),
                np.sqrt(_at(-1) ** 2 + 1),
            ],
        },
        expected=lambda: [_at(0), _at(-1)],
    ),
    "batch": Exercise(
        asks="a 2 × 2 array: rows for 0.1 as standard deviation and as variance, columns for mean and deviation",
        hints=(
            "Write x = 1 + s·n with a standard normal n, and square it.",
            "The variance of x² is 4s² + 2s⁴. What does averaging over a batch do to it?",
        ),
        why="Whichever way it is read, α hardly varies from batch to batch.",
        near={
            "That is the spread of a single x². A mean over 64 varies less.": lambda: _moments(1),
            "You have exchanged the two readings.": lambda: _moments(64)[::-1],
        },
        expected=lambda: _moments(64),
    ),
    "wider": Exercise(
        asks="two numbers: the mean differences PC − BP of the closest approach and of the detour",
        hints=(
            "`toy.training(name, 2000, seed=0, scale=2.0)` trains one of the two algorithms.",
            "Take `nearest_to_saddle` and `detour` of both runs, subtract BP's from PC's, and average.",
        ),
        why="Both differences have grown: BP's trap line is longer.",
        near={
            "Those are the differences from the narrow square, U(−1, 1).": lambda: _differences(1.0),
            "That is BP − PC: turn it round.": lambda: -np.array(_differences(2.0)),
        },
        expected=lambda: _differences(2.0),
        rtol=0.25,
    ),
}
