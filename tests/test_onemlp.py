"""The 1MLP's closed forms against calculus: brute-force minimisation, autograd, finite differences, limits."""

import itertools
from math import sqrt

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp

from pcbook import onemlp as mlp


def close(actual, expected, rtol=1e-9, atol=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def prop(max_examples=50, **strategies):
    """A hypothesis test that draws the same examples every time."""
    configure = settings(max_examples=max_examples, deadline=None, derandomize=True)
    return lambda test: configure(given(**strategies)(test))


real = st.floats(-2, 2)
sign = st.sampled_from([-1.0, 1.0])
away = st.builds(float.__mul__, sign, st.floats(0.2, 2))  # at least 0.2 from zero
precision = st.floats(0.2, 5)
lopsided = st.builds(lambda sign, exponent: sign * 10.0**exponent, sign, st.floats(-8, 8))

DATA = dict(x=real, y=real)
PRECISIONS = dict(pi1=precision, pi2=precision)
PLAIN = dict(w1=real, w2=real) | DATA
FULL = PLAIN | PRECISIONS


# Every formula once more, in torch and without the closed forms.


def torch_loss(w, x, y):
    return (y - w[1] * w[0] * x) ** 2 / 2


def torch_energy(z, w, x, y, pi1, pi2):
    return (pi1 * (z - w[0] * x) ** 2 + pi2 * (y - w[1] * z) ** 2) / 2


def torch_equilibrium(w, x, y, pi1, pi2):
    """argmin over z by one Newton step from 0, exact because the energy is quadratic in z."""
    z = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch_energy(z, w, x, y, pi1, pi2), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, z, create_graph=True)
    return -slope / curvature


def torch_equilibrated_energy(w, x, y, pi1, pi2):
    return torch_energy(torch_equilibrium(w, x, y, pi1, pi2), w, x, y, pi1, pi2)


def torch_target_propagation(w, x, y, pi1):
    """The energy of the hidden unit alone, with the activity clamped to the y/w2 that would produce y."""
    return torch_energy(y / w[1], w, x, y, pi1, 0.0)


def autograd(objective, w, **arguments):
    """Gradient and Hessian of a torch objective at w."""
    w = torch.tensor(w, dtype=torch.float64)
    f = lambda w: objective(w, **arguments)  # noqa: E731
    return torch.autograd.functional.jacobian(f, w).numpy(), torch.autograd.functional.hessian(f, w).numpy()


def central_difference(f, w1, w2, h=1e-5):
    """∂f/∂(w1, w2) on the last axis."""
    return np.stack([(f(w1 + h, w2) - f(w1 - h, w2)) / (2 * h), (f(w1, w2 + h) - f(w1, w2 - h)) / (2 * h)], axis=-1)


# Energy and equilibrium


@prop(**FULL, shift=away)
def test_equilibrium_minimises_the_energy(shift, **p):
    star = mlp.equilibrium(**p)
    ahead, behind = mlp.energy(star + shift, **p), mlp.energy(star - shift, **p)
    close(ahead, behind)  # a parabola is symmetric about its minimum
    close(ahead - mlp.energy(star, **p), 0.5 * (p["pi1"] + p["pi2"] * p["w2"] ** 2) * shift**2)
    brute = scipy.optimize.minimize_scalar(lambda z: mlp.energy(z, **p))
    close(star, brute.x, atol=1e-6)
    close(mlp.equilibrated_energy(**p), brute.fun)
    close(mlp.equilibrated_energy(**p), mlp.energy(star, **p))


@prop(**FULL)
def test_energy_at_the_feedforward_pass_is_the_loss(**p):
    w1, w2, x, y, _, pi2 = p.values()
    close(mlp.energy(w1 * x, **p), pi2 * mlp.loss(w1, w2, x, y))
    close(mlp.loss(w1, w2, x, y), 0.5 * (y - w1 * w2 * x) ** 2)


@prop(w1=real, w2=away, **DATA, pi1=precision, log_gamma=st.floats(-8, 8))
def test_equilibrated_energy_lies_between_its_limits_in_gamma(w1, w2, x, y, pi1, log_gamma):
    """Both limits with their exact remainders: F* → Π2 ℒ as γ → ∞, target propagation as γ → 0."""
    gamma = 10**log_gamma
    energy = mlp.equilibrated_energy(w1, w2, x, y, pi1, pi1 / gamma)
    close(energy * (1 + w2**2 / gamma), pi1 / gamma * mlp.loss(w1, w2, x, y), atol=1e-14)
    close(energy * (1 + gamma / w2**2), mlp.target_propagation_loss(w1, w2, x, y, pi1), atol=1e-14)


@prop(w1=real, w2=away, **DATA)
def test_gradients_at_both_ends_of_gamma(w1, w2, x, y):
    p = w1, w2, x, y
    close(mlp.equilibrated_energy_gradient(*p, pi1=1e9), mlp.loss_gradient(*p), atol=1e-6)
    close(mlp.equilibrated_energy_gradient(*p, pi2=1e9), mlp.target_propagation_gradient(*p), rtol=1e-6, atol=1e-6)


def test_target_propagation_without_output_weight():
    assert mlp.target_propagation_loss([0.0, 2.0], 0.0, 1.0, 1.0).tolist() == [np.inf, np.inf]
    assert mlp.target_propagation_loss([0.0, 2.0], 0.0, 1.0, 0.0).tolist() == [0.0, 0.0]
    assert not np.isfinite(mlp.target_propagation_gradient(1.0, 0.0, 1.0, 1.0)).any()


@prop(**FULL | dict(w2=away), z=real)
def test_flipping_both_weights_changes_no_objective(z, w1, w2, x, y, pi1, pi2):
    for f, *more in (
        (mlp.loss,),
        (mlp.loss_hessian,),
        (mlp.equilibrated_energy, pi1, pi2),
        (mlp.equilibrated_energy_hessian, pi1, pi2),
        (mlp.target_propagation_loss, pi1),
        (mlp.perturbed_error, abs(z)),
    ):
        close(f(-w1, -w2, x, y, *more), f(w1, w2, x, y, *more), 0, 0)
    close(mlp.energy(-z, -w1, -w2, x, y, pi1, pi2), mlp.energy(z, w1, w2, x, y, pi1, pi2), 0, 0)


# Derivatives


@prop(**FULL | dict(w2=away), z=real)
def test_derivatives_equal_autograd(z, w1, w2, x, y, pi1, pi2):
    w, p, data, precisions = (w1, w2), (w1, w2, x, y), dict(x=x, y=y), dict(pi1=pi1, pi2=pi2)
    gradient, hessian = autograd(torch_loss, w, **data)
    close(mlp.loss_gradient(*p), gradient)
    close(mlp.loss_hessian(*p), hessian)
    gradient, hessian = autograd(torch_equilibrated_energy, w, **data, **precisions)
    close(mlp.equilibrated_energy_gradient(*p, **precisions), gradient)
    close(mlp.equilibrated_energy_hessian(*p, **precisions), hessian)
    gradient, _ = autograd(torch_target_propagation, w, **data, pi1=pi1)
    close(mlp.target_propagation_gradient(*p, pi1), gradient)
    gradient, _ = autograd(lambda w, **kw: torch_energy(z, w, **kw), w, **data, **precisions)
    close(mlp.energy_gradient(z, *p, **precisions), gradient)


@pytest.mark.parametrize(
    ("f", "derivative", "extra"),
    [
        (mlp.loss, mlp.loss_gradient, {}),
        (mlp.loss_gradient, mlp.loss_hessian, {}),
        (mlp.equilibrated_energy, mlp.equilibrated_energy_gradient, PRECISIONS),
        (mlp.equilibrated_energy_gradient, mlp.equilibrated_energy_hessian, PRECISIONS),
        (mlp.target_propagation_loss, mlp.target_propagation_gradient, dict(pi1=precision)),
    ],
)
@prop(max_examples=20, data=st.data())
def test_derivatives_equal_finite_differences(f, derivative, extra, data):
    w1, w2, *rest = (data.draw(s) for s in (PLAIN | dict(w2=away) | extra).values())
    close(derivative(w1, w2, *rest), central_difference(lambda *w: f(*w, *rest), w1, w2), rtol=1e-5, atol=1e-5)


@prop(**FULL)
def test_envelope_theorem(**p):
    close(mlp.energy_gradient(mlp.equilibrium(**p), **p), mlp.equilibrated_energy_gradient(**p))


@prop(x=away, y=away, **PRECISIONS)
def test_the_saddle_of_the_energy_is_the_easier_one_to_escape(x, y, pi1, pi2):
    """Eqs. 14–16 and Theorem A.3, with precisions."""
    bp, pc = mlp.loss_hessian(0, 0, x, y), mlp.equilibrated_energy_hessian(0, 0, x, y, pi1, pi2)
    close(bp, [[0, -x * y], [-x * y, 0]])
    close(pc, [[0, -pi2 * x * y], [-pi2 * x * y, -(pi2**2) * y**2 / pi1]])
    close(mlp.loss_gradient(0, 0, x, y), [0, 0])
    close(mlp.equilibrated_energy_gradient(0, 0, x, y, pi1, pi2), [0, 0])
    assert (np.linalg.eigvalsh(pc) < pi2 * np.linalg.eigvalsh(bp)).all()
    unit = np.linalg.eigvalsh(mlp.equilibrated_energy_hessian(0, 0, x, y))
    close(unit, (-(y**2) + np.array([-1, 1]) * abs(y) * sqrt(4 * x**2 + y**2)) / 2)


@prop(w2=away, x=away, y=away, **PRECISIONS)
def test_the_minima_of_the_energy_are_flatter(w2, x, y, pi1, pi2):
    """Theorem A.4, with precisions: the one non-zero eigenvalue is divided by 1 + w2²/γ."""
    p = y / (w2 * x), w2, x, y
    bp = np.linalg.eigvalsh(mlp.loss_hessian(*p))
    pc = np.linalg.eigvalsh(mlp.equilibrated_energy_hessian(*p, pi1, pi2))
    close(bp, [0, (w2**4 * x**2 + y**2) / w2**2])
    close(pc, pi2 * bp / (1 + w2**2 * pi2 / pi1))
    assert pc[1] < pi2 * bp[1]
    close(mlp.equilibrated_energy_gradient(*p, pi1, pi2), [0, 0])


# Inference


@prop(**FULL, z0=st.none() | real, t=st.floats(0, 1), s=st.floats(0, 1))
def test_inference_solves_its_differential_equation(t, s, z0, **p):
    h, z = 1e-5, mlp.inference(t, **p, z0=z0)
    speed = (mlp.inference(t + h, **p, z0=z0) - mlp.inference(t - h, **p, z0=z0)) / (2 * h)
    force = -(mlp.energy(z + 1, **p) - mlp.energy(z - 1, **p)) / 2  # exact for a quadratic
    close(speed, force, rtol=1e-5, atol=1e-5)
    close(mlp.inference(0, **p, z0=z0), p["w1"] * p["x"] if z0 is None else z0)
    close(mlp.inference(s, **p, z0=z), mlp.inference(t + s, **p, z0=z0))
    close(mlp.inference(500, **p, z0=z0), mlp.equilibrium(**p))


@prop(**FULL, z0=st.none() | real, eta=st.floats(0.01, 0.3), steps=st.integers(0, 12))
def test_euler_inference_multiplies_the_distance_by_the_contraction(steps, eta, z0, **p):
    path = mlp.euler_inference(steps, **p, eta=eta, z0=z0)
    assert path.shape == (steps + 1,)
    star, factor = mlp.equilibrium(**p), mlp.contraction(p["w2"], eta, p["pi1"], p["pi2"])
    assert path[0] == (p["w1"] * p["x"] if z0 is None else z0)
    size = max(1, abs(factor)) ** np.arange(steps + 1)
    close((path - star) / size, (path[0] - star) * (factor ** np.arange(steps + 1)) / size)
    force = -(mlp.energy(path[:-1] + 1, **p) - mlp.energy(path[:-1] - 1, **p)) / 2
    close(path[1:] / size[1:], (path[:-1] + eta * force) / size[1:])


def test_euler_inference_converges_to_the_flow_at_first_order():
    p = dict(w1=0.7, w2=-1.3, x=1.2, y=0.8, pi1=2.0, pi2=0.5, z0=2.0)
    error = [abs(mlp.euler_inference(n, **p, eta=1 / n)[-1] - mlp.inference(1.0, **p)) for n in (1000, 2000)]
    assert error[1] < 1e-3
    assert error[0] / error[1] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("eta", [0.01, 0.1, 0.7, 0.99, 1.01, 1.5])
def test_euler_inference_descends_exactly_when_it_contracts(eta):
    p = dict(w1=0.7, w2=-1.0, x=1.2, y=0.8)  # curvature 1 + w2² = 2: stable below η = 1
    gap = mlp.energy(mlp.euler_inference(15, **p, eta=eta), **p) - mlp.equilibrated_energy(**p)
    assert (abs(mlp.contraction(-1.0, eta)) < 1) == (eta < 1)
    assert ((np.diff(gap) < 0) if eta < 1 else (np.diff(gap) > 0)).all()
    assert gap[-1] > 0


# Near critical points


@prop(h=st.tuples(real, real, real), offset=st.tuples(real, real), alpha=st.floats(0.01, 0.5), t=st.floats(-2, 2))
def test_linear_dynamics_equal_the_matrix_formulas(h, offset, alpha, t):
    hessian = np.array([[h[0], h[1]], [h[1], h[2]]])
    times = np.array([[0.0, t], [1.0, 2 * t]])
    flow = mlp.linear_flow(times, hessian, offset)
    assert flow.shape == (2, 2, 2)
    for index in np.ndindex(2, 2):
        close(flow[index], scipy.linalg.expm(-hessian * times[index]) @ offset)
    path = [np.array(offset)]
    for _ in range(6):
        path.append(path[-1] - alpha * hessian @ path[-1])
    close(mlp.linear_descent(6, hessian, offset, alpha), path)


@pytest.mark.parametrize(("point", "order"), [((0.0, 0.0), 3), ((-2.0, 0.5), 2)])
@pytest.mark.parametrize(("algorithm", "hessian"), [("BP", mlp.loss_hessian), ("PC", mlp.equilibrated_energy_hessian)])
def test_descent_near_a_critical_point_is_linear_descent(algorithm, hessian, point, order):
    """The gradient is odd about the saddle, so the error of the quadratic model is of third order there."""

    def error(size):
        offset = size * np.array([0.6, 0.8])
        path = mlp.descent(algorithm, point + offset, itertools.repeat((1.0, -1.0), 10), 0.1)
        return np.abs(path - point - mlp.linear_descent(10, hessian(*point, 1.0, -1.0), offset, 0.1)).max()

    assert np.log2(error(2e-3) / error(1e-3)) == pytest.approx(order, abs=0.05)


# The closest solution


def nearest_by_multiplier(w1, w2, m):
    """The global minimiser through its Lagrange multiplier λ: u + λv = w1, v + λu = w2, uv = m, |λ| < 1."""
    w1, w2, m = mp.mpf(w1), mp.mpf(w2), mp.mpf(m)
    low, high = mp.mpf(-1), mp.mpf(1)
    for _ in range(200):  # (w1 + w2)²/(1 + λ)² − (w1 − w2)²/(1 − λ)² falls from ∞ to −∞
        mid = (low + high) / 2
        rest = ((w1 + w2) * (1 - mid)) ** 2 - ((w1 - w2) * (1 + mid)) ** 2 - 4 * m * (1 - mid**2) ** 2
        low, high = (mid, high) if rest > 0 else (low, mid)
    return (w1 - mid * w2) / (1 - mid**2), (w2 - mid * w1) / (1 - mid**2), mid


@prop(100, w1=lopsided | st.just(0.0) | away, w2=lopsided | st.just(0.0) | away, m=lopsided)
def test_closest_solution_equals_the_multiplier_oracle(w1, w2, m):
    u, v = map(float, mlp.closest_solution(w1, w2, m))
    close(u * v, m, 1e-12, 0)
    assume(abs(w1) != abs(w2))
    with mp.workdps(60):
        best_u, best_v, multiplier = nearest_by_multiplier(w1, w2, m)
        distance, best = mp.hypot(mp.mpf(u) - w1, mp.mpf(v) - w2), mp.hypot(best_u - w1, best_v - w2)
    assert distance <= best * (1 + 1e-9) + 1e-14 * (abs(w1) + abs(w2) + sqrt(abs(m)))
    if abs(multiplier) < 0.999:  # beyond, two solutions are almost equally near
        close([u, v], [float(best_u), float(best_v)], 1e-9, 0)


@prop(w1=real, w2=real, m=away)
def test_closest_solution_is_stationary_and_beats_every_scanned_point(w1, w2, m):
    u, v = mlp.closest_solution(w1, w2, m)
    distance = np.hypot(u - w1, v - w2)
    close((u - w1) * u - (v - w2) * v, 0, atol=1e-6)  # displacement ⟂ tangent (1, −m/u²)
    close(u**4 - w1 * u**3 + m * w2 * u - m**2, 0, atol=1e-9 * (1 + u**4))  # Eq. 10 for any slope
    for branch in (-1, 1):
        squared = lambda s, b=branch: (b * np.exp(s) - w1) ** 2 + (m / (b * np.exp(s)) - w2) ** 2  # noqa: E731
        scan = np.linspace(-5, 5, 2001)
        start = scan[squared(scan).argmin()]
        refined = scipy.optimize.minimize_scalar(squared, (start - 0.01, start + 0.01))
        assert distance**2 <= min(squared(scan).min(), refined.fun) + 1e-12


@prop(w1=away, w2=away, m=away, c=st.floats(0.01, 100))
def test_closest_solution_symmetries(w1, w2, m, c):
    assume(abs(abs(w1) - abs(w2)) > 1e-2)  # on the diagonals two solutions are equally near
    u, v = mlp.closest_solution(w1, w2, m)
    close(mlp.closest_solution(-w1, -w2, m), [-u, -v])
    close(mlp.closest_solution(w2, w1, m), [v, u])
    close(mlp.closest_solution(w1, -w2, -m), [u, -v])
    close(mlp.closest_solution(c * w1, c * w2, c**2 * m), [c * u, c * v])


@prop(s=st.just(0.0) | real, m=away, far=st.floats(2.1, 50), side=sign)
def test_closest_solution_breaks_ties_towards_the_larger_u(s, m, far, side):
    """On the diagonals both roots of u² − su ∓ |m| = 0 are nearest: on one of them everywhere, on the other
    beyond the centre of curvature at 2√|m|."""
    far *= side * sqrt(abs(m))
    for w1, w2, square in ((s, -np.sign(m) * s, s**2 + 4 * abs(m)), (far, np.sign(m) * far, far**2 - 4 * abs(m))):
        u = (w1 + sqrt(square)) / 2
        close(mlp.closest_solution(w1, w2, m), [u, m / u])


@prop(u=lopsided, m=lopsided)
def test_closest_solution_leaves_solutions_where_they_are(u, m):
    close(mlp.closest_solution(u, m / u, m), [u, m / u], 1e-10, 0)


@pytest.mark.parametrize("m", [1.0, -1.0])
def test_closest_solution_leaves_all_of_many_solutions_where_they_are(m):
    """Also the one in a hundred whose root comes out exact, at distance 0, after another root."""
    u = np.exp(np.random.default_rng(0).uniform(-3, 3, 5000))
    close(mlp.closest_solution(u, m / u, m), np.stack([u, m / u], axis=-1), 1e-10, 0)


@pytest.mark.parametrize("m", [1.0, -1.0, 9.0])
def test_closest_solution_at_the_centre_of_curvature(m):
    """A triple root: u is good to the cube root of the rounding only, the distance to all digits."""
    s = sqrt(abs(m))
    u, v = mlp.closest_solution(2 * s, np.sign(m) * 2 * s, m)
    close([u, v], [s, np.sign(m) * s], 1e-4)
    close(np.hypot(u - 2 * s, v - np.sign(m) * 2 * s), s * sqrt(2), 1e-14, 0)


# Directions


@prop(a=st.tuples(away, away), b=st.tuples(away, away), c=st.floats(-300, 150))
def test_cosine_similarity(a, b, c):
    cosine = mlp.cosine_similarity(a, b)
    assert -1 <= cosine <= 1
    close(cosine, np.cos(np.arctan2(*a) - np.arctan2(*b)))
    close(mlp.cosine_similarity(10.0**c * np.array(a), b), cosine)
    close(mlp.cosine_similarity(a, -np.array(b)), -cosine)
    close(mlp.cosine_similarity(a, (-a[1], a[0])), 0)
    assert np.isnan(mlp.cosine_similarity([a, (0, 0)], [[0, 0], b])).all()


def test_cosine_similarity_never_leaves_its_range():
    v = np.random.default_rng(0).normal(size=(1000, 2))  # parallel vectors, some of which round beyond 1
    assert mlp.cosine_similarity(v, v).max() == 1
    assert mlp.cosine_similarity(v, -v).min() == -1


# Learning

W = np.random.default_rng(1).uniform(0.3, 1.5, (5, 2)) * [1, -1]
X, Y = np.random.default_rng(2).normal(size=(2, 7))


@pytest.mark.parametrize("algorithm", mlp.ALGORITHMS)
def test_update_follows_the_batch_average(algorithm):
    objective, settings = {
        "BP": (torch_loss, {}),
        "PC": (torch_equilibrated_energy, dict(pi1=2.0, pi2=0.7)),
        "TRN": (torch_loss, {}),
        "TP": (torch_target_propagation, dict(pi1=2.0)),
    }[algorithm]
    expected = []
    for w in W:
        samples = [autograd(objective, w, x=x, y=y, **settings) for x, y in zip(X, Y, strict=True)]
        gradient, hessian = (sum(parts) / len(X) for parts in zip(*samples, strict=True))
        damped = hessian + 3.0 * np.eye(2) if algorithm == "TRN" else np.eye(2)
        expected.append(-np.linalg.solve(damped, gradient))
    close(mlp.update(algorithm, W, X, Y, pi1=2.0, pi2=0.7, damping=3.0), expected)
    close(mlp.update(algorithm, W[0], X[0], Y[0]), mlp.update(algorithm, W[0], X[:1], Y[:1]))


@pytest.mark.parametrize("algorithm", mlp.ALGORITHMS)
def test_update_symmetries(algorithm):
    close(mlp.update(algorithm, -W, X, Y), -mlp.update(algorithm, W, X, Y), 1e-14, 0)
    rms = np.sqrt(np.mean(X**2))  # for y = mx a batch is one sample at the root mean square of x
    close(mlp.update(algorithm, W, X, -1.7 * X), mlp.update(algorithm, W, rms, -1.7 * rms))


@pytest.mark.parametrize("algorithm", mlp.ALGORITHMS)
def test_descent_runs_every_start_as_if_alone(algorithm):
    rng = np.random.default_rng(3)
    pi1, pi2, alpha = rng.uniform(0.5, 2, (3, 5)) * [[1], [1], [0.1]]
    x, y = rng.normal(size=(2, 4, 5, 3))  # 4 steps, 5 starts, batches of 3
    path = mlp.descent(algorithm, W, zip(x, y, strict=True), alpha, pi1, pi2, damping=3.0)
    assert path.shape == (5, 5, 2)
    assert np.array_equal(path[0], W)
    for i in range(5):
        w = W[i]
        for k in range(4):
            w = w + alpha[i] * mlp.update(algorithm, w, x[k, i], y[k, i], pi1[i], pi2[i], damping=3.0)
            close(path[k + 1, i], w)
    shared = mlp.descent(algorithm, W[0], [(X, Y)], alpha, pi1, pi2)  # one start, five settings
    assert shared.shape == (2, 5, 2)
    assert (shared[0] == W[0]).all()
    close(mlp.descent(algorithm, -W, [(X, Y)] * 3, 0.1), -mlp.descent(algorithm, W, [(X, Y)] * 3, 0.1), 1e-12)
    assert mlp.descent(algorithm, W, [], 0.1).shape == (1, 5, 2)


def test_precisions_share_out_a_total_variance_of_one():
    gamma = np.geomspace(1e-6, 1e6, 13)
    pi1, pi2 = mlp.precisions(gamma)
    close(pi1 / pi2, gamma, 1e-12, 0)
    close(1 / pi1 + 1 / pi2, 1, 1e-12, 0)
    low, high = (mlp.equilibrated_energy(0.5, 0.8, 1.0, -1.0, *mlp.precisions(g)) for g in (1e-9, 1e9))
    close(low, mlp.target_propagation_loss(0.5, 0.8, 1.0, -1.0), 1e-8, 0)
    close(high, mlp.loss(0.5, 0.8, 1.0, -1.0), 1e-8, 0)


def test_limits_of_the_algorithms():
    batches = [(X, Y)] * 20
    bp = mlp.descent("BP", W, batches, 0.05)
    close(mlp.descent("PC", W, batches, 0.05, pi1=1e9), bp, atol=1e-6)
    close(mlp.descent("PC", W, batches, 0.01, pi2=1e9), mlp.descent("TP", W, batches, 0.01), atol=1e-5)
    close(1e9 * mlp.update("TRN", W, X, Y, damping=1e9), mlp.update("BP", W, X, Y), atol=1e-6)
    assert np.abs(mlp.descent("PC", W, batches, 0.05) - bp).max() > 0.01


@prop(**FULL | dict(w2=away))
def test_what_becomes_of_w2_squared_minus_w1_squared(w1, w2, x, y, pi1, pi2):
    """Its rate of change is 2 (w2 Δw2 − w1 Δw1): zero under BP, never negative under PC and TP."""
    rate = lambda algorithm: 2 * mlp.update(algorithm, (w1, w2), x, y, pi1, pi2) @ (-w1, w2)  # noqa: E731
    divisor = 1 + w2**2 * pi2 / pi1
    close(rate("BP"), 0)
    close(rate("PC"), 4 * pi2**2 / pi1 * w2**2 * mlp.loss(w1, w2, x, y) / divisor**2)
    close(rate("TP"), 4 * mlp.target_propagation_loss(w1, w2, x, y, pi1))


def test_bp_conserves_the_difference_of_squares_as_the_step_shrinks():
    def drift(algorithm, steps):
        squares = mlp.descent(algorithm, W, [(X, Y)] * steps, 2 / steps)[[0, -1]] ** 2
        return np.diff(squares[1] - squares[0])

    close(drift("BP", 400) / drift("BP", 800), 2, rtol=0.05)
    assert (drift("PC", 400) > 1e-3).all()


# Robustness


@prop(**PLAIN, sigma=st.floats(0, 1.5))
def test_perturbed_error_equals_gauss_hermite_quadrature(w1, w2, x, y, sigma):
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)  # exact up to degree 9; the integrand has degree 4
    values = (y - (w2 + sigma * nodes[:, None]) * (w1 + sigma * nodes) * x) ** 2
    close(mlp.perturbed_error(w1, w2, x, y, sigma), weights @ values @ weights / weights.sum() ** 2, 1e-12, 1e-12)
    close(mlp.perturbed_error(w1, w2, x, y, 0), 2 * mlp.loss(w1, w2, x, y), 1e-14)


def test_sampled_perturbed_error_has_the_mean_and_the_spread_of_the_closed_form():
    p = dict(w1=W[:, 0], w2=W[:, 1], x=1.2, y=-0.7, sigma=np.array([[0.0], [0.3], [0.5]]))
    errors = mlp.sample_perturbed_error(**p, samples=20_000, generator=np.random.default_rng(4))
    assert errors.shape == (20_000, 3, 5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    w1, w2 = (p[name][..., None, None] + p["sigma"][..., None, None] * nodes for name in ("w1", "w2"))
    exact = ((p["y"] - w1 * np.swapaxes(w2, -1, -2) * p["x"]) ** 4 * weights).sum((-1, -2))  # E of the squared error
    spread = np.sqrt(np.maximum(exact - mlp.perturbed_error(**p) ** 2, 0))
    assert (np.abs(errors.mean(axis=0) - mlp.perturbed_error(**p)) <= 5 * spread / sqrt(20_000) + 1e-9).all()
    close(errors.std(axis=0), spread, 0.1, 1e-6)


@pytest.mark.parametrize("wrong", [dict(sigma=-0.1), dict(generator=7), dict(samples=-1), dict(samples=2.5)])
def test_sampling_names_a_bad_argument(wrong):
    arguments = dict(w1=1.0, w2=1.0, x=1.0, y=1.0, sigma=0.5, samples=3, generator=np.random.default_rng(0)) | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        mlp.sample_perturbed_error(**arguments)


@pytest.mark.parametrize("algorithm", mlp.ALGORITHMS)
@pytest.mark.parametrize(("x", "y"), [([], []), ([1.0], []), ([], [1.0])])
def test_an_empty_batch_is_refused(algorithm, x, y):
    with pytest.raises(ValueError, match="at least one sample"):
        mlp.update(algorithm, [1.0, 1.0], x, y)
