"""Exact trust-region steps: the optimality conditions, which are necessary and sufficient, and special cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcbook import onemlp, trust_region

seeds = st.integers(0, 2**32 - 1)


def problem(seed, convex=False):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 6)
    h, a = rng.normal(size=(2, n, n))
    h = h @ h.T if convex else h + h.T
    return rng.normal(size=n), 10 ** rng.uniform(-3, 3), h, a @ a.T + 0.1 * np.eye(n)


@given(seeds, st.booleans())
def test_step_meets_the_conditions_that_single_out_the_global_minimiser(seed, convex):
    g, p, h, a = problem(seed, convex)
    step = trust_region.step(g, p, h, a)
    d, shifted = step.delta, h + step.multiplier * a
    size = np.linalg.norm(g) + np.linalg.norm(shifted) * np.linalg.norm(d)
    assert np.linalg.norm(shifted @ d + g) < 1e-8 * size
    assert d @ a @ d <= p * (1 + 1e-8)
    assert step.multiplier >= 0
    assert step.multiplier * (p - d @ a @ d) <= 1e-7 * p * (1 + step.multiplier)
    assert np.linalg.eigvalsh(shifted)[0] >= -1e-8 * np.linalg.norm(shifted)


@given(seeds, st.booleans())
def test_no_point_of_the_region_has_a_lower_model(seed, convex):
    g, p, h, a = problem(seed, convex)
    step = trust_region.step(g, p, h, a)
    points = np.random.default_rng(seed).normal(size=(500, g.size))
    points *= np.sqrt(p / np.einsum("ki,ij,kj->k", points, a, points))[:, None]
    points *= np.linspace(0, 1, 500)[:, None]
    decrease = -(points @ g + 0.5 * np.einsum("ki,ij,kj->k", points, h, points))
    assert decrease.max() <= step.decrease * (1 + 1e-9) + 1e-12


@given(seeds)
def test_linear_model_in_the_euclidean_ball_is_gradient_descent(seed):
    g, p, _, _ = problem(seed)
    step = trust_region.step(g, p)
    np.testing.assert_allclose(step.delta, -np.sqrt(p) / np.linalg.norm(g) * g, rtol=1e-9)
    assert step.on_boundary


@given(seeds)
def test_damped_newton_is_the_step_whose_multiplier_is_one_over_alpha(seed):
    g, p, h, _ = problem(seed)
    step = trust_region.step(g, p, h)
    if step.multiplier > 1e-3 and np.linalg.eigvalsh(h)[0] + step.multiplier > 1e-3:
        newton = trust_region.damped_newton(g, h, learning_rate=1 / step.multiplier)
        np.testing.assert_allclose(step.delta, newton, rtol=1e-5, atol=1e-9)


def test_hard_case_leaves_the_saddle_along_the_escape_direction():
    step = trust_region.step([0.0, 0.0], 4.0, [[1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(np.abs(step.delta), [0, 2], atol=1e-12)
    assert step.decrease == pytest.approx(2.0)
    tilted = trust_region.step([1.0, 0.0], 1.0, [[1.0, 0.0], [0.0, -3.0]])
    np.testing.assert_allclose(tilted.delta[0], -0.25)
    assert tilted.delta @ tilted.delta == pytest.approx(1.0)


def test_large_region_gives_the_newton_step():
    h = np.array([[2.0, 0.3], [0.3, 1.0]])
    step = trust_region.step([1.0, -1.0], 1e6, h)
    np.testing.assert_allclose(step.delta, -np.linalg.solve(h, [1.0, -1.0]), rtol=1e-12)
    assert not step.on_boundary and step.multiplier == 0


def test_a_flat_direction_beside_a_steep_one_is_no_overflow():
    step = trust_region.step([1e-150, 0.0], 1.0, np.diag([1e200, 0.0]))
    assert not step.on_boundary and step.multiplier == 0
    np.testing.assert_allclose(step.delta, 0, atol=1e-300)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 10), st.floats(0.1, 10))
def test_inference_on_the_1mlp_is_a_newton_step_in_activity_space(w1, w2, pi1, pi2):
    x, y = 1.0, -1.0
    gradient, information = -pi2 * w2 * (y - w2 * w1 * x), pi1 + pi2 * w2**2
    step = trust_region.step([gradient], 1e9, [[information]])
    expected = onemlp.equilibrium(w1, w2, x, y, pi1, pi2) - w1 * x
    np.testing.assert_allclose(step.delta[0], expected, rtol=1e-9, atol=1e-12)
    drop = pi2 * onemlp.loss(w1, w2, x, y) - onemlp.equilibrated_energy(w1, w2, x, y, pi1, pi2)
    np.testing.assert_allclose(step.decrease, drop, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(gradient=[[1.0]], p=1.0), "gradient"),
        (dict(gradient=[], p=1.0), "gradient"),
        (dict(gradient=[np.nan], p=1.0), "gradient"),
        (dict(gradient=[1.0], p=0.0), "p"),
        (dict(gradient=[1.0], p=-1.0), "p"),
        (dict(gradient=[1.0], p=[1.0, 2.0]), "p"),
        (dict(gradient=[1.0, 2.0], p=1.0, hessian=[[1.0]]), "hessian"),
        (dict(gradient=[1.0, 2.0], p=1.0, hessian=[[1.0, 2.0], [3.0, 4.0]]), "hessian"),
        (dict(gradient=[1.0], p=1.0, geometry=[[-1.0]]), "geometry"),
    ],
)
def test_bad_input_is_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        trust_region.step(**arguments)


def test_damped_newton_refuses_a_model_without_a_minimum():
    with pytest.raises(ValueError, match="learning_rate"):
        trust_region.damped_newton([1.0], [[-2.0]], learning_rate=1.0)
    with pytest.raises(ValueError, match="learning_rate"):  # flat: no minimum either
        trust_region.damped_newton([1.0], [[-1.0]], learning_rate=1.0)
