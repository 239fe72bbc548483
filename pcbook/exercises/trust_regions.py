"""Exercises of book/trust-regions: radius, hard case, geometry, damping, gain, Eq. 7."""

import numpy as np

from pcbook import checks, onemlp, trust_region
from pcbook.exercises.exercise import Exercise

_X, _Y = 1.0, -1.0
_START, _HARD = np.array([0.5, 0.3]), np.array([0.5, 0.5])
_w2, _pi1, _pi2 = np.array([[0.3, -1.2, 2.0, 0.7], [1.0, 2.0, 0.5, 4.0], [1.0, 0.5, 3.0, 1.0]])


def _gradient(w: np.ndarray) -> np.ndarray:
    return onemlp.loss_gradient(*w, _X, _Y)


def _hessian(w: np.ndarray) -> np.ndarray:
    return onemlp.loss_hessian(*w, _X, _Y)


def _lowest(s: float) -> float:
    axis = np.linspace(-s, s, 21)
    return np.linalg.eigvalsh(onemlp.loss_hessian(*np.meshgrid(axis, axis), _X, _Y))[..., 0].min()


def _share(w2: onemlp.Real, gamma: onemlp.Real) -> np.ndarray:
    """The share of the loss that inference gains, at a w1 and a task that do not matter."""
    return 1 - onemlp.equilibrated_energy(0.4, w2, _X, _Y, pi1=gamma) / onemlp.loss(0.4, w2, _X, _Y)


def _factor(w2: onemlp.Real, pi1: onemlp.Real, pi2: onemlp.Real) -> np.ndarray:
    """The right-hand side of Eq. 7 for w1 over the exact gradient."""
    z_t, z = 0.4 * _X, onemlp.equilibrium(0.4, w2, _X, _Y, pi1, pi2)
    bp = pi2 * onemlp.loss_gradient(0.4, w2, _X, _Y)[..., 0]
    exact = onemlp.equilibrated_energy_gradient(0.4, w2, _X, _Y, pi1, pi2)[..., 0]
    return (-(z - z_t) * _X + bp) / exact


def _judge_hard_case(answer: object) -> str | None:
    step = checks.array("answer", answer)
    if step.shape != (2,):
        raise ValueError(f"answer has shape {step.shape}: must be one step (Δw1, Δw2)")
    g, h = _gradient(_HARD), _hessian(_HARD)
    if step @ step > 1.01:
        return f"Its length is {np.linalg.norm(step):.3g}, and the radius is 1."
    best, found = trust_region.step(g, 1.0, h).decrease, -(g @ step + 0.5 * step @ h @ step)
    if found > 0.99 * best:
        return None
    if abs(step[0] - step[1]) < 1e-3 * np.linalg.norm(step):
        return "It stays on the line of symmetry. The model falls more steeply if you leave it, to either side."
    return f"It lowers the model by {found:.3g}; {best:.3g} is possible. Use the whole radius, also across the line."


def _judge_geometry(answer: object) -> str | None:
    geometry = checks.array("answer", answer)
    if geometry.shape != (2, 2) or not np.allclose(geometry, geometry.T):
        raise ValueError(f"answer = {geometry.tolist()}: must be a symmetric 2 × 2 matrix")
    if np.linalg.eigvalsh(geometry)[0] <= 0:
        return "It is not positive definite, so the region has no edge in some direction."
    g = _gradient(_START)

    def after(a: np.ndarray) -> np.ndarray:
        direction = -np.linalg.solve(a, g)
        return onemlp.loss(*(_START + direction / np.linalg.norm(direction)), _X, _Y)

    found, ball = after(geometry), after(np.eye(2))
    if found < ball - 1e-3:
        return None
    return f"The loss ends at {found:.4f}; a ball ends at {ball:.4f}. Which direction should the region be narrow in?"


EXERCISES = {
    "radius": Exercise(
        asks="one number, the radius √p",
        hints=("Read α = √p/‖g‖ from right to left.", "Compute g at the start, and its length."),
        why="A fixed learning rate trusts its map the farther, the steeper the ground.",
        near={
            "That is p, the squared radius.": lambda: (0.2 * np.linalg.norm(_gradient(_START))) ** 2,
            "That is the length of the gradient. How far does a step of α times it go?": lambda: np.linalg.norm(
                _gradient(_START)
            ),
        },
        expected=lambda: 0.2 * np.linalg.norm(_gradient(_START)),
    ),
    "geometry": Exercise(
        asks="a symmetric, positive definite 2 × 2 matrix",
        hints=("Make the region narrow where the ground bends.",),
        why="A geometry that knows the curvature turns the step without a better model.",
        near={
            "a ball ends at": lambda: np.eye(2),
            "It is not positive definite": lambda: _hessian(_START),
        },
        judge=_judge_geometry,
    ),
    "hard-case": Exercise(
        asks="one step (Δw1, Δw2) of length at most 1",
        hints=("Try steps off the line.",),
        why="Its mirror image is as good: swap the two entries.",
        near={
            "It stays on the line": lambda: trust_region.step(_gradient(_HARD), 1.0).delta,
            "Its length is 2": lambda: 2 * trust_region.step(_gradient(_HARD), 1.0, _hessian(_HARD)).delta,
        },
        judge=_judge_hard_case,
    ),
    "lambda": Exercise(
        asks="a function of s, or a sympy expression in s",
        hints=(
            "How negative can the lowest eigenvalue of H get on the square?",
            "It is never below −|r|. Where on the square is |r| largest, and is the bound reached there?",
        ),
        why="The paper's λ = 2 is the case s = 1.",
        near={
            "That is the paper's value, whatever s is.": lambda: lambda s: -_lowest(1.0),
            "You left out the target: at the origin the residual is y, and not 0.": lambda: lambda s: s**2,
        },
        expected=lambda: lambda s: -_lowest(s),
        at={"s": [0.5, 2.0, 3.0]},
    ),
    "gain": Exercise(
        asks="a function of w2 and gamma, or a sympy expression in them",
        hints=(
            "The gain is what the loss has more than the equilibrated energy.",
            "With Π₂ = 1 it is ½g²/ℐ. Divide by the loss ½r².",
        ),
        why="Where the output weight is large against √γ, inference removes nearly all of the loss.",
        near={
            "That is the share that is left. Asked for is the share that is gained.": lambda: (
                lambda w2, gamma: 1 - _share(w2, gamma)
            ),
            "You have γ upside down: it is Π₁/Π₂.": lambda: lambda w2, gamma: _share(w2, 1 / gamma),
        },
        expected=lambda: _share,
        at={"w2": _w2, "gamma": _pi1},
    ),
    "eq7": Exercise(
        asks="a function of w2, pi1, pi2, or a sympy expression in them",
        hints=(
            "The exact gradient for w₁ is −Π₁e₁x with the error at the equilibrium.",
            "Write the printed sum as a multiple of x ℐ⁻¹ g, and the exact gradient too.",
        ),
        why="It tends to 1 only where inference does not move.",
        near={
            "That is Eq. 7's factor for unit precisions, 2 + w₂².": lambda: (
                lambda w2, pi1, pi2: _factor(w2, np.ones(()), np.ones(()))
            ),
            "You forgot that the exact gradient has a factor Π₁ of its own.": lambda: (
                lambda w2, pi1, pi2: pi1 * _factor(w2, pi1, pi2)
            ),
        },
        expected=lambda: _factor,
        at={"w2": _w2, "pi1": _pi1, "pi2": _pi2},
    ),
}
