"""Exercises of book/precision-ratio: scales, the branch, mean gaps, the rate of escape, a good γ."""

import functools
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from pcbook import checks, onemlp
from pcbook.exercises.exercise import Exercise
from pcbook.experiments import toy

_START, _TASK, _RATE = (1.0, 0.6), (1.0, toy.SLOPE), 0.05


def _path(gamma: float, steps: int) -> np.ndarray:
    pair = onemlp.precisions(gamma)
    return onemlp.descent("PC", _START, [_TASK] * steps, _RATE, *pair)


@functools.cache
def _branch() -> float:
    return brentq(lambda log: np.sign(_path(10**log, 600)[-1, 1]), 0, np.log10(2), xtol=1e-4)


def _gap(limit: str) -> Callable[[float], float]:
    """The mean share of the limit's energy that is missing, over w2 ~ U(−1, 1), as a function of γ."""
    w2 = np.linspace(1e-6, 1, 200_001)

    def missing(gamma: float) -> float:
        if limit == "BP":
            return 1 - np.mean(onemlp.equilibrated_energy(0.3, w2, *_TASK, pi1=gamma) / onemlp.loss(0.3, w2, *_TASK))
        energy = onemlp.equilibrated_energy(0.3, w2, *_TASK, pi2=1 / gamma)
        return 1 - np.mean(energy / onemlp.target_propagation_loss(0.3, w2, *_TASK))

    return missing


def _rate(gamma: float, which: int = 0) -> np.ndarray:
    return np.abs(np.linalg.eigvalsh(onemlp.equilibrated_energy_hessian(0.0, 0.0, *_TASK, pi1=gamma))[..., which])


def _arrival(path: np.ndarray) -> float:
    losses = onemlp.loss(*path.T, *_TASK)
    return int(np.argmax(losses < toy.TOLERANCE)) if np.any(losses < toy.TOLERANCE) else np.inf


def _judge_dial(answer: object) -> str | None:
    gamma = checks.scalar("answer", answer)
    bp = _arrival(onemlp.descent("BP", _START, [_TASK] * 600, _RATE))
    pc = _arrival(_path(gamma, 600))
    if pc < 0.9 * bp:
        return None
    needs = "does not arrive in 600 steps" if pc == np.inf else f"needs {pc} steps"
    return (
        f"BP needs {bp} steps, and PC with γ = {gamma:g} {needs}. On which branch does it end, and what is on its way?"
    )


EXERCISES = {
    "unit-weight": Exercise(
        asks="one number, the factor by which the paper's α must be multiplied",
        hints=(
            "Compare Π₁ and Π₂ in the two conventions at γ = 1.",
            "Every gradient is proportional to the precisions.",
        ),
        why="A scale on the energy is a learning rate in disguise.",
        near={
            "No change? Total variance 1 means 1/Π₁ + 1/Π₂ = 1.": lambda: 1.0,
            "Precisions enter ℱ* once, not squared.": lambda: float(onemlp.precisions(1.0)[0]) ** 2,
        },
        expected=lambda: np.mean(
            onemlp.update("PC", _START, *_TASK, *onemlp.precisions(1.0)) / onemlp.update("PC", _START, *_TASK)
        ),
    ),
    "branch": Exercise(
        asks="one number, the γ",
        hints=(
            "Write a function that says whether the path ends with w₂ > 0, and try it at γ = 1 and γ = 2.",
            "Halve the interval, and keep the half at whose ends the answers differ.",
        ),
        why="At this γ the start lies on the curve that leads into the saddle.",
        near={
            "That is where the first step is as far from BP's as from TP's. The whole path decides.": lambda: brentq(
                lambda g: toy.angles(g, "BP", _START) - toy.angles(g, "TP", _START), 0.01, 50
            ),
            "That is the end of the interval, not the jump.": lambda: 2.0,
        },
        expected=lambda: 10 ** _branch(),
        rtol=5e-3,
    ),
    "mean-gap": Exercise(
        asks="a function of gamma, or a sympy expression in gamma",
        hints=(
            "At a given w₂ the share is w₂²/(γ + w₂²). Average it over w₂ between 0 and 1.",
            "w²/(γ + w²) = 1 − γ/(γ + w²), and the integral of 1/(γ + w²) is an arctangent.",
        ),
        why="TP's share is what is left of one.",
        near={
            "That is TP's share. BP's and TP's add up to one.": lambda: _gap("TP"),
            "That is the share at w₂² = ⅓, the mean of w₂². Average the share, not the weight.": lambda: (
                lambda gamma: 1 / (3 * gamma + 1)
            ),
        },
        expected=lambda: _gap("BP"),
        at={"gamma": [0.05, 0.5, 2.0, 20.0]},
    ),
    "escape-rate": Exercise(
        asks="a function of gamma, or a sympy expression in gamma",
        hints=(
            "Trace and determinant of a 2 × 2 matrix fix its eigenvalues.",
            "For x = 1, y = −1 the trace is −1/γ and the determinant −1. You want minus the smaller root.",
        ),
        why="It grows like 1/γ towards TP and tends to BP's rate of 1 at the other end.",
        near={
            "That is the rate of attraction, the other eigenvalue.": lambda: lambda gamma: _rate(gamma, which=1),
            "You have γ upside down.": lambda: lambda gamma: _rate(1 / gamma),
        },
        expected=lambda: _rate,
        at={"gamma": [0.1, 0.5, 3.0]},
    ),
    "dial": Exercise(
        asks="one positive number, γ",
        hints=("Use the slider: which end points are close to the start?",),
        why="The way is shorter, or steeper, than BP's.",
        near={
            "needs": lambda: 1e4,
            "BP needs": lambda: 10 ** _branch(),
        },
        judge=_judge_dial,
    ),
}
