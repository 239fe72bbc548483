"""The 1MLP f(x) = w2·w1·x in closed form: one hidden linear unit, everything exact.

Arguments `w1, w2, x, y` (and the precisions `pi1, pi2 > 0`) are numbers or arrays that broadcast; results
are float64. Pairs (w1, w2) sit on the last axis: gradients are (..., 2), Hessians (..., 2, 2). Every
function raises `ValueError` for input that is not finite, precisions that are not positive, shapes that do
not broadcast, and numbers so large that the result overflows. Equation numbers are the paper's.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from pcbook import checks
from pcbook.checks import checked

Real = np.ndarray | float


@checked
def loss(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ℒ = ½ (y − w2 w1 x)², Eq. 11.

    >>> float(loss(1.0, 1.0, x=1.0, y=-1.0))
    2.0
    """
    return 0.5 * (y - w2 * w1 * x) ** 2


@checked
def energy(
    z: np.ndarray, w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """ℱ(z) = ½Π1 (z − w1 x)² + ½Π2 (y − w2 z)², Eq. 12 with the precisions of Eq. 1.

    >>> float(energy(0.0, 1.0, 1.0, x=1.0, y=-1.0))
    1.0
    """
    return 0.5 * pi1 * (z - w1 * x) ** 2 + 0.5 * pi2 * (y - w2 * z) ** 2


@checked
def equilibrium(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """z* = (Π1 w1 x + Π2 w2 y) / (Π1 + Π2 w2²), the activity at which ∂ℱ/∂z = 0 (before Eq. 13)."""
    return (pi1 * w1 * x + pi2 * w2 * y) / (pi1 + pi2 * w2**2)


@checked
def equilibrated_energy(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """ℱ* = Π2 ℒ / (1 + w2²/γ) with γ = Π1/Π2, Eq. 13 with precisions.

    >>> float(equilibrated_energy(1.0, 1.0, x=1.0, y=-1.0))
    1.0
    """
    return pi2 * loss.__wrapped__(w1, w2, x, y) / (1 + w2**2 * pi2 / pi1)


@checked(gamma=checks.positive)
def precisions(gamma: np.ndarray) -> np.ndarray:
    """Π1 = 1 + γ and Π2 = 1 + 1/γ, the pair with ratio γ and total variance 1/Π1 + 1/Π2 = 1; shape (2, ...).

    With them ℱ* = (1 + γ) ℒ / (γ + w2²), which tends to ℒ as γ → ∞ and to `target_propagation_loss` as γ → 0.
    """
    return np.stack([1 + gamma, 1 + 1 / gamma])


@checked
def target_propagation_loss(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0
) -> np.ndarray:
    """½Π1 (y/w2 − w1 x)², the limit of ℱ* as γ → 0 at fixed Π1: the hidden unit is asked for y/w2.

    Infinite at w2 = 0 unless y = 0, where the limit is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 0.5 * pi1 * (y / w2 - w1 * x) ** 2
    return np.where(w2 != 0, value, np.where(y == 0, 0.0, np.inf))[()]


# Derivatives with respect to the weights. r is the residual, d the divisor of Eq. 13.


@checked
def loss_gradient(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """∇ℒ = −r x (w2, w1) with r = y − w2 w1 x; shape (..., 2)."""
    r = y - w2 * w1 * x
    return _stack(-r * w2 * x, -r * w1 * x)


@checked
def energy_gradient(
    z: np.ndarray, w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """∂ℱ/∂(w1, w2) at the activity z, Eq. 3: prediction error times presynaptic activity; shape (..., 2)."""
    return _stack(-pi1 * (z - w1 * x) * x, -pi2 * (y - w2 * z) * z)


@checked
def equilibrated_energy_gradient(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """∇ℱ*, the derivative of Eq. 13; shape (..., 2). Equals `energy_gradient` at `equilibrium`."""
    r, gamma = y - w2 * w1 * x, pi1 / pi2
    d = 1 + w2**2 / gamma
    return _stack(-pi2 * r * w2 * x / d, -pi2 * r * (w1 * x / d + r * w2 / (gamma * d**2)))


@checked
def target_propagation_gradient(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0
) -> np.ndarray:
    """The gradient of `target_propagation_loss`; shape (..., 2), infinite or NaN at w2 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        e = y / w2 - w1 * x
        return _stack(-pi1 * e * x, -pi1 * e * (y / w2) / w2)


@checked
def loss_hessian(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """∇²ℒ; shape (..., 2, 2). At the origin it is Eq. 14."""
    return _symmetric((w2 * x) ** 2, 2 * (w1 * x) * (w2 * x) - x * y, (w1 * x) ** 2)


@checked
def equilibrated_energy_hessian(
    w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, pi1: Real = 1.0, pi2: Real = 1.0
) -> np.ndarray:
    """∇²ℱ*; shape (..., 2, 2). At the origin, with unit precisions, it is Eq. 15."""
    r, gamma = y - w2 * w1 * x, pi1 / pi2
    d = 1 + w2**2 / gamma
    h11 = (w2 * x) ** 2 / d
    h12 = -x * ((r - w1 * w2 * x) / d - 2 * r * w2**2 / (gamma * d**2))
    h22 = (w1 * x) ** 2 / d + (4 * r * w1 * w2 * x - r**2) / (gamma * d**2) + 4 * (r * w2 / gamma) ** 2 / d**3
    return np.asarray(pi2)[..., None, None] * _symmetric(h11, h12, h22)


# Inference: the activity z descends the energy, Eq. 2.


@checked
def inference(
    t: np.ndarray,
    w1: np.ndarray,
    w2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    pi1: Real = 1.0,
    pi2: Real = 1.0,
    z0: np.ndarray | None = None,
) -> np.ndarray:
    """z(t) = z* + (z0 − z*) exp(−(Π1 + Π2 w2²) t), the exact solution of dz/dt = −∂ℱ/∂z.

    `z0` is the feedforward value w1 x unless given.
    """
    target = equilibrium.__wrapped__(w1, w2, x, y, pi1, pi2)
    start = w1 * x if z0 is None else z0
    return target + (start - target) * np.exp(-(pi1 + pi2 * w2**2) * t)


@checked(steps=checks.count, eta=checks.positive)
def euler_inference(
    steps: int,
    w1: np.ndarray,
    w2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    eta: Real = 0.1,
    pi1: Real = 1.0,
    pi2: Real = 1.0,
    z0: np.ndarray | None = None,
) -> np.ndarray:
    """The paper's inference, Eq. 2: z ← z − η ∂ℱ/∂z, from w1 x unless `z0` is given; shape (steps + 1, ...)."""
    z = np.zeros(np.broadcast_shapes(*map(np.shape, (w1, w2, x, y, eta, pi1, pi2)))) + (w1 * x if z0 is None else z0)
    path = [z]
    for _ in range(steps):
        z = z - eta * (pi1 * (z - w1 * x) - pi2 * w2 * (y - w2 * z))
        path.append(z)
    return np.stack(path)


@checked(eta=checks.positive)
def contraction(w2: np.ndarray, eta: Real = 0.1, pi1: Real = 1.0, pi2: Real = 1.0) -> np.ndarray:
    """1 − η (Π1 + Π2 w2²), the factor by which one Euler step multiplies z − z*; it diverges beyond ±1."""
    return 1 - eta * (pi1 + pi2 * w2**2)


# Near a critical point w*, with Hessian H there: Δw = w − w*.


def linear_flow(t: ArrayLike, hessian: ArrayLike, offset: ArrayLike) -> np.ndarray:
    """Δw(t) = Q exp(−Λt) Qᵀ Δw(0), the solution of Eq. 19 (where the printed exponent lacks its minus sign).

    `t` (...) is any array of times, `hessian` a symmetric (2, 2) matrix QΛQᵀ, `offset` the pair Δw(0).
    Returns (..., 2).
    """
    return _modes(lambda eigenvalues: np.exp(-np.multiply.outer(checks.array("t", t), eigenvalues)), hessian, offset)


def linear_descent(steps: int, hessian: ArrayLike, offset: ArrayLike, learning_rate: float) -> np.ndarray:
    """Δw after 0 … `steps` gradient steps on the quadratic model, Q (1 − αΛ)ᵏ Qᵀ Δw(0), Eq. 18; (steps + 1, 2)."""
    k = np.arange(checks.count("steps", steps) + 1)
    alpha = checks.positive("learning_rate", learning_rate)
    if alpha.ndim:
        raise ValueError(f"learning_rate has shape {alpha.shape}: must be one number")
    return _modes(lambda eigenvalues: (1 - alpha * eigenvalues) ** k[:, None], hessian, offset)


def _modes(factor: Callable[[np.ndarray], np.ndarray], hessian: ArrayLike, offset: ArrayLike) -> np.ndarray:
    """Q diag(factor(Λ)) Qᵀ Δw(0): what happens to each eigenvector's share of the offset."""
    hessian, offset = checks.array("hessian", hessian), checks.pairs("offset", offset)
    if hessian.shape != (2, 2) or not np.allclose(hessian, hessian.T, rtol=1e-12, atol=0):
        raise ValueError(f"hessian = {hessian.tolist()}: must be one symmetric 2 × 2 matrix")
    if offset.shape != (2,):
        raise ValueError(f"offset has shape {offset.shape}: must be one pair (Δw1, Δw2)")
    eigenvalues, q = np.linalg.eigh(hessian)
    with np.errstate(all="ignore"):
        result = factor(eigenvalues) * (offset @ q) @ q.T
    return checks.finite(result, hessian=hessian, offset=offset)


# Where to go: the closest solution, Eqs. 8–10.


@checked(slope=checks.nonzero)
def closest_solution(w1: np.ndarray, w2: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The point (u, m/u) on the manifold of solutions w1 w2 = m = `slope` closest to (w1, w2); shape (..., 2).

    Its u is a root of u⁴ − w1 u³ + m w2 u − m² (Eq. 10 is the case m = −1); all four are found and the
    nearest is kept. Some points lie equally far from two solutions, the origin for one: there the solution
    with the larger u is returned.

    >>> closest_solution(2.0, 0.5, slope=1.0)
    array([2. , 0.5])
    """
    scale, sign = np.sqrt(np.abs(slope)), np.sign(slope)
    # In units of √|m| and with the larger weight a first. By symmetry the larger coordinate of the solution
    # then comes first too, so that dividing by it stays accurate however lopsided the weights are.
    swapped = np.abs(w2) > np.abs(w1)
    a, b, sign, swapped = np.broadcast_arrays(
        *(np.where(swapped, p, q) / scale for p, q in ((w2, w1), (w1, w2))), sign, swapped
    )
    u = _quartic_roots(a, sign * b)
    a, b, v, swapped = a[..., None], b[..., None], sign[..., None] / u, swapped[..., None]
    distance = np.hypot(u - a, v - b)
    nearest = distance <= distance.min(axis=-1, keepdims=True) * (1 + 1e-12)
    w1s, w2s = np.where(swapped, v, u), np.where(swapped, u, v)
    pick = np.where(nearest, w1s, -np.inf).argmax(axis=-1, keepdims=True)
    closest = [np.take_along_axis(w, pick, axis=-1)[..., 0] for w in (w1s, w2s)]
    return _stack(*closest) * scale[..., None]


def _quartic_roots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Real parts of the four roots of u⁴ − a u³ + b u − 1, never 0; shape (..., 4).

    The real part of a complex root is a point like any other of the manifold: it never beats the minimum.
    """
    companion = np.zeros((*a.shape, 4, 4))
    companion[..., 0, 0], companion[..., 0, 2], companion[..., 0, 3] = a, -b, 1.0
    companion[..., [1, 2, 3], [0, 1, 2]] = 1.0
    u = np.linalg.eigvals(companion).real
    return np.where(u == 0, 1.0, u)


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """⟨a, b⟩ / (‖a‖ ‖b‖) over the last axis, Eq. 8; NaN where either vector is zero.

    >>> float(cosine_similarity([3.0, 0.0], [2.0, 0.0]))
    1.0
    """
    a, b = checks.pairs("a", a), checks.pairs("b", b)
    checks.broadcast(a=a, b=b)
    with np.errstate(invalid="ignore"):
        near_a, near_b = (v / np.abs(v).max(axis=-1, keepdims=True) for v in (a, b))  # no length over- or underflows
        unit_a, unit_b = (v / np.hypot(v[..., :1], v[..., 1:]) for v in (near_a, near_b))
    return np.clip(np.sum(unit_a * unit_b, axis=-1), -1, 1)


# Learning: four algorithms, one descent.

ALGORITHMS = ("BP", "PC", "TRN", "TP")


def update(
    algorithm: str,
    w: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    pi1: ArrayLike = 1.0,
    pi2: ArrayLike = 1.0,
    damping: ArrayLike = 2.0,
) -> np.ndarray:
    """The direction in which `algorithm` moves the weights, averaged over the batch; shape (..., 2).

    BP: −∇ℒ. PC: −∇ℱ*, with precisions `pi1` and `pi2`. TRN: −(∇²ℒ + λI)⁻¹ ∇ℒ with λ = `damping`, the
    paper's trust-region Newton. TP: minus the gradient of `target_propagation_loss`.
    `w` is (..., 2), the precisions (...); `x` and `y` are batches whose last axis is averaged over, or numbers.
    Infinite or NaN where there is no update: TP's at w2 = 0, TRN's where ∇²ℒ + λI is singular.
    """
    w, settings = checks.pairs("w", w), _settings(algorithm, pi1, pi2, damping)
    with checks.in_range(w=w, x=x, y=y, pi1=pi1, pi2=pi2, damping=damping):
        return _update(w, x, y, *settings)


def descent(
    algorithm: str,
    w0: ArrayLike,
    batches: Iterable[tuple[ArrayLike, ArrayLike]],
    learning_rate: ArrayLike,
    pi1: ArrayLike = 1.0,
    pi2: ArrayLike = 1.0,
    damping: ArrayLike = 2.0,
) -> np.ndarray:
    """Weights before and after each step of w ← w + α · `update`; shape (steps + 1, ..., 2).

    `w0` is (..., 2), so a whole grid of starts runs at once. `batches` yields the (x, y) of one step at a
    time: `itertools.repeat((x, y), steps)` is full-batch descent, fresh draws are mini-batch descent. Each is
    (B,), or (..., B) for draws of their own at every start. A run that diverges goes on as inf or NaN.
    """
    w, alpha = checks.pairs("w0", w0), checks.positive("learning_rate", learning_rate)[..., None]
    settings = _settings(algorithm, pi1, pi2, damping)
    checks.broadcast(w0=w[..., :1], learning_rate=alpha, pi1=settings[1], pi2=settings[2], damping=settings[3])
    path = [w]
    with np.errstate(all="ignore"):
        for x, y in _pairs(batches):
            w = w + alpha * _update(w, x, y, *settings)
            path.append(w)
    return np.stack(np.broadcast_arrays(*path))


def _pairs(batches: Iterable[tuple[ArrayLike, ArrayLike]]) -> Iterator[tuple[ArrayLike, ArrayLike]]:
    try:
        for batch in batches:
            x, y = batch
            yield x, y
    except TypeError:
        raise ValueError(f"batches = {batches!r}: must yield pairs (x, y) of inputs and targets") from None


def _settings(
    algorithm: str, pi1: ArrayLike, pi2: ArrayLike, damping: ArrayLike
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    checks.choice("algorithm", algorithm, ALGORITHMS)
    positive = dict(pi1=pi1, pi2=pi2, damping=damping)
    first, second, third = (checks.positive(name, value)[..., None] for name, value in positive.items())
    return algorithm, first, second, third


def _update(
    w: np.ndarray, x: ArrayLike, y: ArrayLike, algorithm: str, pi1: np.ndarray, pi2: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    w1, w2, x, y = w[..., :1], w[..., 1:], checks.array("x", x), checks.array("y", y)
    checks.broadcast(w1=w1, x=x, y=y, pi1=pi1, pi2=pi2, damping=damping)
    if x.size == 0 or y.size == 0:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}: a batch must hold at least one sample")
    if algorithm == "PC":
        return -equilibrated_energy_gradient.__wrapped__(w1, w2, x, y, pi1, pi2).mean(axis=-2)
    if algorithm == "TP":
        return -target_propagation_gradient.__wrapped__(w1, w2, x, y, pi1).mean(axis=-2)
    gradient = loss_gradient.__wrapped__(w1, w2, x, y).mean(axis=-2)
    if algorithm == "BP":
        return -gradient
    hessian = loss_hessian.__wrapped__(w1, w2, x, y).mean(axis=-3)
    a, b, d = hessian[..., 0, 0] + damping[..., 0], hessian[..., 0, 1], hessian[..., 1, 1] + damping[..., 0]
    g1, g2 = gradient[..., 0], gradient[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return -_stack(d * g1 - b * g2, a * g2 - b * g1) / (a * d - b * b)[..., None]


# Robustness: what noise on the weights does to the prediction, Fig. 6.


@checked(sigma=checks.nonnegative)
def perturbed_error(w1: np.ndarray, w2: np.ndarray, x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """E[(y − (w2 + ξ2)(w1 + ξ1) x)²] = r² + x² (σ² (w1² + w2²) + σ⁴) for independent ξ ~ N(0, σ²)."""
    return (y - w2 * w1 * x) ** 2 + x**2 * (sigma**2 * (w1**2 + w2**2) + sigma**4)


def sample_perturbed_error(
    w1: ArrayLike,
    w2: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    sigma: ArrayLike,
    samples: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """The same expectation from `samples` draws: (y − (w2 + ξ2)(w1 + ξ1) x)² for each; shape (samples, ...).

    `generator` is a `numpy.random.Generator`; the mean over the first axis estimates `perturbed_error`.
    """
    if not isinstance(generator, np.random.Generator):
        raise ValueError(f"generator = {generator!r}: must be a numpy.random.Generator")
    shape = perturbed_error(w1, w2, x, y, sigma).shape  # checks the arguments
    w1, w2, x, y, sigma = map(np.asarray, (w1, w2, x, y, sigma))
    noise1, noise2 = sigma * generator.normal(size=(2, checks.count("samples", samples), *shape))
    with checks.in_range(w1=w1, w2=w2, x=x, y=y, sigma=sigma):
        return (y - (w2 + noise2) * (w1 + noise1) * x) ** 2


def _stack(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(a, b), axis=-1)


def _symmetric(h11: np.ndarray, h12: np.ndarray, h22: np.ndarray) -> np.ndarray:
    return np.stack([_stack(h11, h12), _stack(h12, h22)], axis=-2)
