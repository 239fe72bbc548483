"""Exercises of book/saddle-and-minima: rates of escape, flat minima, noise."""

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from pcbook import checks, intervals, onemlp
from pcbook.exercises.exercise import Exercise

_HESSIANS = {"BP": onemlp.loss_hessian, "PC": onemlp.equilibrated_energy_hessian}


def _eigenvalues(name: str, x: float = 1.0, y: float = -1.0, w: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    return np.linalg.eigvalsh(_HESSIANS[name](*w, x, y))


def _slope(ratio: float) -> float:
    """The q = |y/x| at which PC leaves the saddle `ratio` times as fast as BP."""
    return brentq(lambda y: _eigenvalues("PC", 1, y)[0] - ratio * _eigenvalues("BP", 1, y)[0], 1e-3, 50)


def _flattest(name: str) -> float:
    top = minimize_scalar(lambda w2: _eigenvalues(name, w=(-1 / w2, w2))[1], bounds=(0.3, 4), method="bounded")
    return top.x


def _times(growth: float, which: int = 0) -> np.ndarray:
    return np.array([np.log(growth) / abs(_eigenvalues(name)[which]) for name in ("BP", "PC")])


def _judge_starts(answer: object) -> str | None:
    w0 = checks.pairs("answer", answer)
    if w0.ndim != 2 or len(np.unique(w0, axis=0)) < 50:
        raise ValueError(f"answer has shape {w0.shape}: must be (n, 2), with at least 50 different starts")
    ends = {name: onemlp.descent(name, w0, [(1.0, -1.0)] * 300, 0.2)[-1] for name in ("BP", "PC")}
    if not all(np.all(onemlp.loss(*end.T, 1.0, -1.0) < 1e-2) for end in ends.values()):
        return "From some of these starts 300 steps of α = 0.2 do not arrive. Stay off the saddle, and not too far out."
    error = {name: onemlp.perturbed_error(*end.T, 1.0, -1.0, 0.5) for name, end in ends.items()}
    difference = intervals.mean(error["PC"] - error["BP"])
    if difference.high < 0:
        return None
    surplus = "w₂" if np.mean(w0[:, 1] ** 2 - w0[:, 0] ** 2) > 0.1 else "neither weight on average"
    return f"PC's error is {difference} above BP's. Your starts have a surplus in {surplus}: what does PC do to it?"


EXERCISES = {
    "twice": Exercise(
        asks="one number, |y/x|",
        hints=(
            "The ratio of the two rates is ρ. What does the proof say about ρ − 1/ρ?",
            "Set ρ = 2 in ρ² − qρ − 1 = 0.",
        ),
        why="The ratio depends on |y/x| alone.",
        near={
            "That is ρ itself, the ratio of the rates. Which q belongs to it?": lambda: 2.0,
            "That is ρ + 1/ρ. The product of the eigenvalues is negative.": lambda: _slope(2) + 1,
        },
        expected=lambda: _slope(2.0),
    ),
    "growth": Exercise(
        asks="two numbers: the time that BP's flow needs, and the time that PC's needs",
        hints=(
            "Along an eigenvector the flow is e^(−λt). Which eigenvector leads away?",
            "Set e^(−λt) = 10 with the negative eigenvalue of each Hessian.",
        ),
        why="PC is faster by the golden ratio.",
        near={
            "You took the positive eigenvalue: along that direction the flow comes in.": lambda: _times(10, which=1),
            "That is the time for doubling.": lambda: _times(2),
        },
        expected=lambda: _times(10),
    ),
    "flattest": Exercise(
        asks="two positive numbers: |w₂| of the flattest solution of ℒ, and of ℱ*",
        hints=(
            "On the solutions w₁ = −1/w₂. Write the eigenvalues as functions of u = w₂².",
            "Set the derivatives in u to zero; the second gives a quadratic equation.",
        ),
        why="PC's flattest minimum lies off balance, towards w₂.",
        near={
            "Those are the squares w₂².": lambda: np.square([_flattest("BP"), _flattest("PC")]),
            "You gave ℒ's answer twice. Dividing by 1 + w₂² moves the place.": lambda: [_flattest("BP")] * 2,
        },
        expected=lambda: [_flattest("BP"), _flattest("PC")],
    ),
    "init": Exercise(
        asks="an array (n, 2) of at least 50 different starts",
        hints=("PC raises w₂² − w₁². Where must it start, to be brought towards balance?",),
        why="A surplus in w₁ is what PC's drift repairs.",
        near={
            "neither weight": lambda: np.random.default_rng(0).uniform(-1, 1, size=(500, 2)),
            "a surplus in w₂": lambda: np.random.default_rng(0).uniform([-0.5, 1], [0.5, 1.5], size=(500, 2)),
        },
        judge=_judge_starts,
    ),
}
