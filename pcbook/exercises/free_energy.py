"""Exercises of book/free-energy: step sizes, precisions, the local rule."""

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from pcbook import checks, onemlp
from pcbook.exercises.exercise import Exercise

_rng = np.random.default_rng(0)
_draw = _rng.normal(size=(5, 6))
_positive = np.exp(_rng.normal(size=(2, 6)))


def _safe(level: float) -> tuple[float, float]:
    """The η at which the factor is `level` for w2 = 1, and the |w2| at which it is for η = 0.1."""
    return (
        brentq(lambda eta: onemlp.contraction(1.0, eta) - level, 1e-3, 10),
        brentq(lambda w2: onemlp.contraction(w2, 0.1) - level, 0, 100),
    )


def _worst(*etas: float) -> float:
    """The largest |factor| over |w2| ≤ 1 after one step of each size."""
    w2 = np.linspace(-1, 1, 2001)
    return np.abs(np.prod([onemlp.contraction(w2, eta) for eta in etas], axis=0)).max()


def _best_constant() -> float:
    return minimize_scalar(_worst, bounds=(0.01, 1), method="bounded").x


def _steps(share: float) -> tuple[float, ...]:
    """Steps until at most `share` is left, with η = 0.1 and with the best constant η."""
    return tuple(np.ceil(np.log(share) / np.log(_worst(eta))) for eta in (0.1, _best_constant()))


def _judge_schedule(answer: object) -> str | None:
    etas = checks.positive("answer", answer)
    if etas.shape != (3,):
        raise ValueError(f"answer has shape {etas.shape}: must be three step sizes")
    left, constant = _worst(*etas), _worst(_best_constant()) ** 3
    if left < 0.95 * constant:
        return None
    return (
        f"It leaves {left:.3g} of the distance in the worst case, and three equal steps leave {constant:.3g}. "
        "Draw the product of the three factors over the curvature: where is it largest?"
    )


EXERCISES = {
    "largest-eta": Exercise(
        asks="two numbers: the largest safe η, and the largest |w₂| for which η = 0.1 is safe",
        hints=(
            "Which values may ρ take so that its powers tend to zero?",
            "Set ρ = −1, once with w₂ = 1 and once with η = 0.1, and solve.",
        ),
        why="The steeper the parabola, the shorter the steps that it bears.",
        near={
            "You asked for ρ ≥ 0. A negative ρ overshoots, and yet converges while it is above −1.": lambda: _safe(0),
            "Your second number is w₂². Take its root.": lambda: np.array(_safe(-1)) ** [1, 2],
        },
        expected=lambda: _safe(-1),
    ),
    "precisions": Exercise(
        asks="a function of w1, w2, x, y, pi1, pi2, or a sympy expression in them",
        hints=(
            "At the equilibrium the two pulls on z cancel.",
            "The slope in z is Π₁e₁ − Π₂w₂e₂. Insert the errors, collect the terms with z, divide.",
        ),
        why="A weighted mean of two wishes. Only the ratio of the precisions enters.",
        near={
            "You have exchanged the two precisions.": lambda: lambda *a: onemlp.equilibrium(*a[:4], a[5], a[4]),
            "That is right for unit precisions only.": lambda: lambda *a: onemlp.equilibrium(*a[:4]),
            "That is where inference starts, w₁x. Where does it end?": lambda: lambda w1, w2, x, y, p, q: w1 * x,
        },
        expected=lambda: onemlp.equilibrium,
        at=dict(zip(("w1", "w2", "x", "y", "pi1", "pi2"), [*_draw[:4], *_positive], strict=True)),
    ),
    "local-rule": Exercise(
        asks="a function of z, w1, w2, x, y that returns the two changes (Δw1, Δw2)",
        hints=(
            "Error at the end times activity at the beginning: which end, which beginning?",
            "The first connection runs from x to z and has the error z − w₁x at its end.",
        ),
        why="Each factor is present where the connection is.",
        near={
            "That is the slope. Learning goes down it: turn the sign.": lambda: onemlp.energy_gradient,
            "That is backpropagation, which does not look at z.": lambda: (
                lambda z, w1, w2, x, y: -onemlp.loss_gradient(w1, w2, x, y)
            ),
        },
        expected=lambda: lambda *a: -onemlp.energy_gradient(*a),
        at=dict(zip(("z", "w1", "w2", "x", "y"), _draw, strict=True)),
    ),
    "steps": Exercise(
        asks="two whole numbers: the steps with η = 0.1, and with the best constant η",
        hints=(
            "For a fixed η, which curvature between 1 and 2 is the worst?",
            "The best η makes both ends of that range equally bad. Then |ρ|ᵀ ≤ 0.01.",
        ),
        why="A step size that fits the curvature saves most of the steps.",
        near={
            "You let the energy fall to 1 %, which is the square of the distance.": lambda: _steps(0.1),
            "You took w₂ = 1, where η = 0.1 is fastest. Which w₂ is the slowest?": lambda: (
                np.ceil(np.log(0.01) / np.log(onemlp.contraction(1.0, 0.1))),
                _steps(0.01)[1],
            ),
        },
        expected=lambda: _steps(0.01),
        rtol=1e-6,
    ),
    "schedule": Exercise(
        asks="three positive step sizes",
        hints=("Let the three steps be of different size.",),
        why="The best three are the inverse zeros of a Chebyshev polynomial, laid over the range of curvatures.",
        near={
            "three equal steps leave": lambda: [_best_constant()] * 3,
            "It leaves 0.": lambda: [0.1] * 3,
        },
        judge=_judge_schedule,
    ),
}
