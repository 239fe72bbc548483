"""Trust regions: the exact minimiser of a quadratic model inside a ball of any geometry, Eq. 4. NumPy.

What inference in a deep network has to do with it, Eqs. 5 to 7, is `pcbook.taylor`'s; its names are at hand here too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pcbook import checks

_TAYLOR = (
    "corrected_gradients",
    "fisher",
    "gradient",
    "hessian",
    "inference_step",
    "model",
    "model_minimum",
    "output_fisher",
    "printed_gradients",
)


def __getattr__(name: str) -> object:
    if name not in _TAYLOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pcbook import taylor  # only now: it needs torch, and the chapters on the toy model do not

    return getattr(taylor, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_TAYLOR])


@dataclass(frozen=True)
class Step:
    """Δθ with its Lagrange multiplier μ: (H + μA) Δθ = −g, μ ≥ 0, μ (ΔθᵀAΔθ − p) = 0 and H + μA ⪰ 0."""

    delta: np.ndarray
    multiplier: float
    decrease: float  # model(0) − model(Δθ) ≥ 0
    on_boundary: bool


def step(gradient: ArrayLike, p: float, hessian: ArrayLike | None = None, geometry: ArrayLike | None = None) -> Step:
    """The Δθ that minimises gᵀΔθ + ½ ΔθᵀHΔθ subject to ΔθᵀAΔθ ≤ p, Eq. 4, to machine precision.

    `gradient` g is (n,); `hessian` H is symmetric (n, n), zero (the linear model) unless given, and may be
    indefinite; `geometry` A is symmetric positive definite (n, n), the identity unless given; p > 0 is the
    squared radius. H = 0 and A = I give gradient descent with α = √p / ‖g‖. Where the minimiser is not unique
    (Moré and Sorensen's hard case) one of the two is returned.
    Raises `ValueError` for other shapes, asymmetry, an A that is not positive definite, p ≤ 0, values that are not
    finite, and values so extreme that the step overflows.
    """
    g = _vector("gradient", gradient)
    h = _symmetric("hessian", np.zeros((g.size, g.size)) if hessian is None else hessian, g.size)
    a = _symmetric("geometry", np.eye(g.size) if geometry is None else geometry, g.size)
    p = checks.scalar("p", p)
    given: dict[str, ArrayLike] = dict(gradient=g, p=p, hessian=h, geometry=a)
    with np.errstate(all="ignore"):
        # In units in which A, the radius and the model are of size 1, whatever they are.
        size = np.abs(a).max()
        radius = np.sqrt(p) / np.sqrt(size)
        try:
            root = np.linalg.cholesky(a / size)
        except np.linalg.LinAlgError:
            raise ValueError(f"geometry = {a.tolist()}: must be positive definite") from None
        inverse = np.linalg.inv(root)
        g, h = inverse @ (radius * g), inverse @ (radius * h * radius) @ inverse.T
        checks.finite([*g, *h.flat], **given)
        unit = max(np.abs(g).max(), np.abs(h).max()) or 1.0
        # In s = rootᵀ Δθ / radius the region is a ball, and in H's eigenvectors there the model falls apart.
        eigenvalues, q = np.linalg.eigh(h / unit)
        c = q.T @ (g / unit)
        mu, s = _secular(eigenvalues, c)
        decrease = -(c @ s + 0.5 * eigenvalues @ s**2)
        delta = radius * (inverse.T @ (q @ s))
        mu, decrease = mu * unit / radius / radius / size, decrease * unit
    checks.finite([*delta, mu, decrease], **given)
    return Step(delta, float(mu), float(decrease), bool(s @ s > 1 - 1e-9))


def damped_newton(gradient: ArrayLike, hessian: ArrayLike, learning_rate: float) -> np.ndarray:
    """−(H + I/α)⁻¹ g, the minimiser of gᵀΔθ + ½ ΔθᵀHΔθ + ‖Δθ‖²/2α (the paper's remark under Eq. 4).

    `gradient` is (n,), `hessian` symmetric (n, n). It is the minimiser only where H + I/α is positive definite;
    `ValueError` says so elsewhere.
    """
    g = _vector("gradient", gradient)
    h = _symmetric("hessian", hessian, g.size)
    alpha = checks.scalar("learning_rate", learning_rate)
    with np.errstate(all="ignore"):
        damped = checks.finite(h + np.eye(g.size) / alpha, hessian=h, learning_rate=alpha)
        if np.linalg.eigvalsh(damped)[0] <= 0:
            raise ValueError(f"learning_rate = {learning_rate!r}: too large for H + I/α to be positive definite")
        delta = -np.linalg.solve(damped, g)
    return checks.finite(delta, gradient=g, hessian=h, learning_rate=alpha)


def _secular(eigenvalues: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray]:
    """μ and s = −c / (Λ + μ) with ‖s‖ ≤ 1: inside if it can be, else on the boundary, by bisection on μ."""

    def at(mu: float) -> np.ndarray:
        shifted = eigenvalues + mu
        return -np.divide(c, shifted, out=np.zeros_like(c), where=shifted > 0)

    low = max(0.0, -eigenvalues[0])
    # Parts of c along the lowest eigenvector that are only round-off would send μ → −λ₁ for nothing.
    scale = np.abs(eigenvalues).max() + np.linalg.norm(c)
    lowest = eigenvalues + low <= 1e-14 * scale
    c = np.where(lowest & (np.abs(c) <= 1e-14 * np.linalg.norm(c)), 0.0, c)
    if not np.any(c[lowest]) and np.linalg.norm(at(low)) <= 1:
        s = at(low)
        if low > 0:  # the hard case: fill up along the lowest eigenvector, where the model still falls
            s[0] = np.sqrt(max(1 - s @ s, 0.0))
        return low, s
    high = low + np.linalg.norm(c)
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if np.linalg.norm(at(middle)) > 1 else (low, middle)
    return high, at(high)


def _vector(name: str, value: object) -> np.ndarray:
    value = checks.array(name, value)
    if value.ndim != 1 or value.size == 0:
        raise ValueError(f"{name} has shape {value.shape}: must be a vector")
    return value


def _symmetric(name: str, value: object, n: int) -> np.ndarray:
    value = checks.array(name, value)
    if value.shape != (n, n):
        raise ValueError(f"{name} has shape {value.shape}: must be ({n}, {n})")
    if not np.allclose(value, value.T, rtol=1e-12, atol=0):
        raise ValueError(f"{name} = {value.tolist()}: must be symmetric")
    return value
