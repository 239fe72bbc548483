"""The parts of the solvers by themselves, each against its definition: responses, rules at kinks, batches in parts."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import strategies as st
from oracles import (
    activity_gradients,
    clarke_residual,
    distance,
    feedforward,
    gradients,
    linear_equilibrium,
    noisy,
    problem,
    prop,
    smooth_equilibrium,
)
from oracles import energy as reference_energy

from pcbook import inference, network
from pcbook.inference import euler, fixed_point, kink, kinked, newton, response, rules
from pcbook.inference.state import State

F64 = torch.float64
KINKED = ("relu", "leaky_relu")
DEEP = dict(seed=st.integers(0, 999), depth=st.integers(4, 7), precisions=st.sampled_from([None, "numbers", "vectors"]))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


# The linear response


@prop(15, **DEEP, first=st.integers(1, 2))
def test_the_response_of_the_top_is_that_of_a_network_of_its_layers(seed, depth, precisions, first):
    net, x, _ = problem(seed, "tanh", depth, 8, 4, True, precisions)
    slopes = torch.cat(network.sweep(net, x).slopes, dim=1).mean(0)
    start, top = sum(net.sizes[1 : first + 1]), network.top(net, first)
    whole, own = response.mean_field(net, slopes), response.mean_field(top, slopes[start:])
    found = whole.top(top, start)
    for name in ("slopes", "adjoint", "lift"):
        torch.testing.assert_close(getattr(found, name), getattr(own, name))
    assert found.scale is whole.scale  # what the output does when λ moves is up to all layers
    assert response.mean_field(net, None).top(top, start).slopes is None


@prop(10, **DEEP)
def test_the_responses_of_samples_are_those_at_their_own_slopes(seed, depth, precisions):
    net, x, _ = problem(seed, "tanh", depth, 8, 4, True, precisions)
    slopes = torch.cat(network.sweep(net, x).slopes, dim=1)
    found, each = response.per_sample(net, slopes), [response.mean_field(net, row) for row in slopes]
    for name in ("adjoint", "scale", "lift", "inverse"):
        torch.testing.assert_close(getattr(found, name), torch.stack([getattr(one, name) for one in each]))
    assert found.slopes is slopes or torch.equal(found.slopes, slopes)


def test_samples_share_a_response_where_their_own_would_not_fit(monkeypatch):
    net, x, _ = problem(3, "tanh", 4, 8, 4, True, None, outputs=3)
    assert net.sizes[1] != 3
    slopes = torch.cat(network.sweep(net, x).slopes, dim=1)
    monkeypatch.setattr(response, "ENTRIES", slopes.numel() * net.sizes[-1])
    assert response.per_sample(net, slopes).adjoint.ndim == 3
    monkeypatch.setattr(response, "ENTRIES", slopes.numel() * net.sizes[-1] - 1)
    shared = response.per_sample(net, slopes)
    torch.testing.assert_close(shared.adjoint, response.mean_field(net, slopes.mean(0)).adjoint)


def test_one_output_that_overflows_is_enough():
    weights = [torch.ones(2, 2, dtype=F64), torch.tensor([[1e200, 0.0], [0.0, 1.0]], dtype=F64)]
    with pytest.raises(ValueError, match="overflows"):
        response.mean_field(network.PCN(weights, "linear"), None)


@prop(15, **DEEP)
def test_a_newton_step_solves_gauss_and_newtons_system(seed, depth, precisions):
    net, x, _ = problem(seed, "tanh", depth, 8, 4, True, precisions)
    slopes = network.sweep(net, x).slopes
    hidden = sum(net.sizes[1:-1])
    gradient = normal(len(x), hidden, seed=seed)
    eye = torch.eye(net.sizes[-1], dtype=F64)[:, None].expand(-1, len(x), -1)
    jacobian = torch.cat(network.adjoint(net, slopes, eye), dim=-1).transpose(0, 1)  # (B, n_L, N)
    ones = [torch.ones(n, dtype=F64) for n in net.sizes[1:]]
    *inner, outer = network.weigh(net, ones)
    matrix = torch.diag(torch.cat(inner)) + jacobian.mT @ (outer[:, None] * jacobian)
    expected = -torch.linalg.solve(matrix, gradient)
    found = response.newton_step(net, response.per_sample(net, torch.cat(slopes, dim=1)), gradient)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_an_equilibrium_is_found_where_round_off_takes_the_variance_of_an_output():
    """Two outputs with the same weights 2³⁰: S = I + 2⁶⁰ 11ᵀ is singular in float64, and still λ₁ − λ₂ = y₁ − y₂."""
    one = torch.ones(1, 1, dtype=F64)
    net = network.PCN([one, 2.0**30 * torch.ones(2, 1, dtype=F64)], "linear")
    found = inference.solve(net, 0 * one, torch.tensor([[3.0, 1.0]], dtype=F64))
    lam = -found.bias_gradients()[-1] if net.biases else found.state.deltas[-1][0]
    assert float(lam[0] - lam[1]) == pytest.approx(2.0, rel=1e-6)


# Kinks


@prop(15, **DEEP, activation=st.sampled_from(KINKED))
def test_gains_are_what_a_preactivation_moves_by_when_its_delta_does(seed, depth, precisions, activation):
    """u = W(φ(u) + Π⁻¹Wᵀδ): the diagonal of ∂u/∂δ = WΠ⁻¹Wᵀ, one over it; the first layer's u cannot move."""
    net, *_ = problem(seed, activation, depth, 8, 4, True, precisions)
    gains = rules.Multipliers(net, 4).gains.split(net.sizes[1:-1])
    assert bool((gains[0] == rules.FIXED).all())
    ones = [torch.ones(n, dtype=F64) for n in net.sizes[1:]]
    for gain, w, pi in zip(gains[1:], net.weights[1:-1], network.weigh(net, ones)[:-1], strict=False):
        torch.testing.assert_close(1 / gain, torch.diagonal(w @ torch.diag(1 / pi) @ w.T))


@prop(15, **DEEP, activation=st.sampled_from(KINKED), first=st.integers(1, 2))
def test_the_multipliers_of_the_top_are_those_of_a_network_of_its_layers(seed, depth, precisions, activation, first):
    net, x, _ = problem(seed, activation, depth, 8, 4, True, precisions)
    rule, top = rules.Multipliers(net, len(x)), network.top(net, first)
    before = rule.before = normal(len(x), sum(net.sizes[1:-1]))
    start = sum(net.sizes[1 : first + 1])
    found, own = rule.top(top, start), rules.Multipliers(top, len(x))
    torch.testing.assert_close(found.gains, own.gains)
    assert torch.equal(found.before, before[:, start:]) and found.last is None
    assert rule.before is None  # the whole begins without momentum when it goes on
    assert bool((rule.gains[start:][top.sizes[1] :] == found.gains[top.sizes[1] :]).all())


def test_theta_shrinks_where_the_estimate_does_not_fall_and_only_there():
    net, *_ = problem(0, "relu", 3, 8, 4, True, None)
    rule = rules.Multipliers(net, 3)
    rule.observe(torch.tensor([1.0, 1.0, 1.0], dtype=F64))
    assert rule.theta[:, 0].tolist() == [rule.THETA] * 3  # nothing to compare with yet
    rule.observe(torch.tensor([0.5, 0.95, 2.0], dtype=F64))
    shorter = rule.SHRINK * rule.THETA
    assert rule.theta[:, 0].tolist() == pytest.approx([rule.THETA, shorter, shorter])
    assert rule.stretch().tolist() == pytest.approx([1, 1 / rule.SHRINK, 1 / rule.SHRINK])
    for _ in range(100):
        rule.observe(torch.tensor([1.0, 1.0, 1.0], dtype=F64))
    assert rule.theta[:, 0].tolist() == [rule.LEAST] * 3


@pytest.mark.parametrize("activation", KINKED)
@pytest.mark.parametrize("mu", [-2.0, 2.0])
def test_off_its_kink_a_unit_has_the_slope_of_its_side(activation, mu):
    net, *_ = problem(0, activation, 3, 8, 1, True, None)
    leak, u = network.LEAK if activation == "leaky_relu" else 0.0, torch.tensor([[-50.0, 50.0]], dtype=F64)
    rule = rules.Multipliers(net, 1)
    rule.gains = torch.ones(2, dtype=F64)
    mu = torch.full((1, 2), mu, dtype=F64)
    memory = rule.remember(u, u.clamp_min(0), torch.zeros_like(u))
    assert rule.delta(mu, memory)[0].tolist() == pytest.approx([leak * float(mu[0, 0]), float(mu[0, 0])])


# Broyden's updates


def test_broydens_updates_satisfy_the_secant_condition():
    matrix, solver = torch.eye(4, dtype=F64) + 0.2 * normal(4, 4), fixed_point.Broyden(torch.eye(4, dtype=F64))
    for step in normal(4, 3, 4, seed=1):
        solver.learn(step, step @ matrix.T)
        torch.testing.assert_close(solver(step @ matrix.T), step)


def test_broydens_method_ends_on_a_linear_problem_after_twice_as_many_steps_as_unknowns():
    """As Gay (1979) proved; here for three samples of four unknowns at once."""
    matrix, b = torch.eye(4, dtype=F64) + 0.2 * normal(4, 4), normal(3, 4, seed=2)
    solver, v = fixed_point.Broyden(torch.eye(4, dtype=F64)), torch.zeros_like(b)
    for _ in range(2 * 4):
        step = solver(b - v @ matrix.T)
        solver.learn(step, step @ matrix.T)
        v = v + step
    torch.testing.assert_close(v @ matrix.T, b, rtol=0, atol=1e-10)


def test_broydens_memory_is_bounded_and_begins_anew():
    solver = fixed_point.Broyden(torch.eye(3, dtype=F64))
    for k in range(solver.MEMORY + 1):
        step = normal(2, 3, seed=k)
        solver.learn(step, 0.9 * step)
    assert len(solver.left) == len(solver.right) == 1


# Passes


@prop(10, **DEEP)
def test_a_pass_with_errors_repeats_a_sweep_and_keeps_the_heights_if_asked(seed, depth, precisions):
    net, x, _ = problem(seed, "tanh", depth, 8, 4, True, precisions)
    errors = normal(len(x), sum(net.sizes[1:-1]))
    expected = network.sweep(net, x, errors.split(net.sizes[1:-1], dim=1))
    u = torch.cat(expected.preactivations, dim=1)
    for heights in (True, False):
        found = fixed_point.up(net, x, errors, heights=heights, lowest=u[:, : net.sizes[1]])
        torch.testing.assert_close(found.output, expected.output)
        torch.testing.assert_close(found.u, u)
        assert (found.h is not None) == heights
    torch.testing.assert_close(fixed_point.up(net, x, errors).h, u.tanh())
    still = fixed_point.up(net, x, heights=False)  # without errors the heights are z itself, and cost nothing
    torch.testing.assert_close(still.h, torch.cat(still.inputs[1:], dim=1))


# Newton's steps


def newton_point(seed, activation="tanh", depth=4, precisions="vectors", size=0.5):
    """A point of the trust-region method away from the feedforward pass; its Hessians, exact and Gauss–Newton's."""
    net, x, y = problem(seed, activation, depth, 6, 3, True, precisions, target=3.0)
    errors = size * normal(len(x), sum(net.sizes[1:-1]), seed=seed)

    def sample(e, i):
        state = network.sweep(net, x[i : i + 1], e[None].split(net.sizes[1:-1], dim=1))
        return state.output[0], network.quadratic(
            net, [*e[None].split(net.sizes[1:-1], 1), y[i : i + 1] - state.output]
        )

    exact, gauss = [], []
    for i, e in enumerate(errors):
        exact.append(torch.autograd.functional.hessian(lambda v, i=i: sample(v, i)[1][0], e))
        j = torch.autograd.functional.jacobian(lambda v, i=i: sample(v, i)[0], e)
        ones = network.weigh(net, [torch.ones(n, dtype=F64) for n in net.sizes[1:]])
        gauss.append(torch.diag(torch.cat(ones[:-1])) + j.T @ (ones[-1][:, None] * j))
    return newton._Point(net, x, y, errors), torch.stack(exact), torch.stack(gauss)


@prop(12, seed=st.integers(0, 999), depth=st.integers(2, 5), activation=st.sampled_from(["tanh", "softplus", "gelu"]))
def test_hessian_products_and_the_gradient_are_autograds(seed, depth, activation):
    point, exact, gauss = newton_point(seed, activation, depth)
    p = normal(*point.errors.shape, seed=seed + 1)
    for full, matrix in ((True, exact), (False, gauss)):
        torch.testing.assert_close(point.product(p, full), (matrix @ p[:, :, None])[:, :, 0], rtol=1e-8, atol=1e-9)
    inverse = torch.linalg.solve(gauss, p[:, :, None])[:, :, 0]
    torch.testing.assert_close(point.precondition(p), inverse, rtol=1e-7, atol=1e-9)
    errors = point.errors.clone().requires_grad_()
    parts = errors.split(point.net.sizes[1:-1], dim=1)
    energy = network.quadratic(point.net, [*parts, point.y - network.sweep(point.net, point.x, parts).output])
    torch.testing.assert_close(point.gradient, torch.autograd.grad(energy.sum(), errors)[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(point.energy, energy.detach())


@prop(12, seed=st.integers(0, 999), share=st.floats(0.01, 0.9))
def test_steps_in_a_ball_lower_the_model_by_what_they_say(seed, share):
    point, exact, gauss = newton_point(seed)
    newtons = torch.linalg.vector_norm(torch.linalg.solve(gauss, point.gradient[:, :, None])[:, :, 0], dim=1)
    for radius in (share * newtons, 100 * newtons):
        step, predicted, downwards = newton._steihaug(point, radius, full=False)
        model = (point.gradient * step).sum(1) + 0.5 * torch.einsum("bi,bij,bj->b", step, gauss, step)
        torch.testing.assert_close(predicted, -model, rtol=1e-8, atol=1e-12)
        length = torch.linalg.vector_norm(step, dim=1)
        assert bool((length <= radius * (1 + 1e-9)).all()) and not bool(downwards.any())
        if radius[0] < newtons[0]:  # the minimum is outside: the step ends on the sphere
            torch.testing.assert_close(length, radius)
        else:  # inside: the preconditioner is the matrix itself, so that one iteration finds it
            torch.testing.assert_close((gauss @ step[:, :, None])[:, :, 0], -point.gradient, rtol=1e-6, atol=1e-8)


@prop(12, seed=st.integers(0, 999), share=st.floats(0.3, 0.99))
def test_several_iterations_stay_in_the_ball_and_lower_the_exact_model_by_what_they_say(seed, share):
    point, exact, _ = newton_point(seed)
    newtons = torch.linalg.vector_norm(torch.linalg.solve(exact, point.gradient[:, :, None])[:, :, 0], dim=1)
    step, predicted, _ = newton._steihaug(point, share * newtons, full=True)
    model = (point.gradient * step).sum(1) + 0.5 * torch.einsum("bi,bij,bj->b", step, exact, step)
    torch.testing.assert_close(predicted, -model, rtol=1e-8, atol=1e-12)
    assert bool((torch.linalg.vector_norm(step, dim=1) <= share * newtons * (1 + 1e-9)).all())
    cauchy = newton._steihaug(point, share * newtons, full=True, limit=1)[1]
    assert bool((predicted >= cauchy * (1 - 1e-12)).all())  # each further iteration lowers the model


def test_a_step_follows_negative_curvature_to_the_sphere():
    found = 0
    for seed in range(30):
        point, exact, _ = newton_point(seed, size=2.0)
        curved = torch.linalg.eigvalsh(exact)[:, 0] < 0
        radius = torch.full_like(point.energy, 1e3)
        step, predicted, downwards = newton._steihaug(point, radius, full=True)
        assert not bool((downwards & ~curved).any())
        torch.testing.assert_close(torch.linalg.vector_norm(step, dim=1)[downwards], radius[downwards])
        assert bool((predicted > 0).all())
        found += int(downwards.sum())
    assert found > 3


def test_the_way_to_the_sphere_is_the_positive_root():
    p, d, radius = normal(20, 5), normal(20, 5, seed=1), torch.linspace(3, 9, 20, dtype=F64)
    p = p * (0.9 * radius / torch.linalg.vector_norm(p, dim=1))[:, None]
    way = newton._to_boundary(p, d, radius)
    assert bool((way > 0).all())
    torch.testing.assert_close(torch.linalg.vector_norm(p + way[:, None] * d, dim=1), radius)
    assert newton._to_boundary(p, 0 * d, radius).tolist() == [0.0] * 20


def test_the_radius_follows_the_gain():
    radius, length = torch.tensor([4.0, 4, 4, 4, 4]), torch.tensor([2.0, 2, 2, 4, 2])
    gain = torch.tensor([0.2, 0.3, 0.9, 0.9, -1.0])
    assert newton._adapted(radius, length, gain).tolist() == [0.5, 4, 4, 8, 0.5]


def test_the_gain_is_the_share_of_the_predicted_fall_and_round_off_is_no_failure():
    before = torch.tensor([8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 0.0], dtype=F64)
    after = torch.tensor([7.0, 9.0, 8 + 1e-16, 8.1, math.nan, 8 + 8e-6, 0.0], dtype=F64)
    predicted = torch.tensor([2.0, 2.0, 1e-17, 1e-17, 2.0, 1.0, 0.0], dtype=F64)
    gain = newton._gain(before, after, predicted, torch.finfo(F64).eps).tolist()
    assert gain[:2] == [0.5, -0.5] and gain[2] == 1 and gain[3] < -1e9 and gain[4] == -1 and gain[6] == 1
    assert newton._gain(before, after, predicted, 1e-6).tolist()[5] == pytest.approx(-8e-6)  # a fall was predicted
    for scale in (2.0**-60, 2.0**60):  # a share has no unit
        assert newton._gain(scale * before, scale * after, scale * predicted, torch.finfo(F64).eps).tolist()[:3] == [
            0.5, -0.5, 1.0]  # fmt: skip


@prop(10, **DEEP)
def test_of_a_linear_network_the_prediction_is_the_equilibrium(seed, depth, precisions):
    net, x, y = problem(seed, "linear", depth, 8, 4, True, precisions, outputs=3)
    start, own = fixed_point.up(net, x), response.mean_field(net, None)
    lam, memory = fixed_point.predict(net, rules.Slopes(net), y - start.output, start, own)
    torch.testing.assert_close(lam, (y - start.output) @ own.inverse, rtol=1e-8, atol=1e-10)
    assert memory is None


# How far a state is from its end


def beside(net, x, y, errors, deltas=None):
    """The state with given errors, and the deltas that its slopes make of them, or others."""
    above = network.sweep(net, x, errors)
    weighted = network.weigh(net, [*errors, y - above.output])
    own = [network.times(m, d) for m, d in zip(weighted, above.slopes, strict=False)]
    return State(above.inputs, list(errors), above.output, [*(deltas or own), weighted[-1]])


@prop(10, seed=st.integers(0, 999), depth=st.integers(2, 6), precisions=st.sampled_from([None, "vectors"]))
def test_in_a_linear_network_the_residual_is_the_relative_error(seed, depth, precisions):
    net, x, y = problem(seed, "linear", depth, 8, 4, True, precisions)
    z = linear_equilibrium(net, x, y)
    exact = network.prediction_errors(net, z, x, y)[:-1]
    off = [e + 0.1 * normal(*e.shape, seed=seed + l) for l, e in enumerate(exact)]
    state = beside(net, x, y, off)
    weighted = network.weigh(net, [*off, y - state.output])
    size = torch.cat(weighted, dim=1).square().sum(1)
    missing = [network.weigh_layer(net, l, a - b) for l, (a, b) in enumerate(zip(off, exact, strict=True))]
    way = torch.cat(missing, dim=1).square().sum(1)
    for alone, least in ((True, size), (False, size.maximum(size.mean()))):
        found = newton.relative_step(net, x, y, state, alone=alone)
        torch.testing.assert_close(found, (way / least).sqrt(), rtol=1e-6, atol=1e-9)
    assert torch.equal(newton.relative_step(net, x, y, state), newton.relative_step(net, x, y, state, alone=False))
    still = beside(net, x, y, exact)
    assert float(newton.relative_step(net, x, y, still).max()) < 1e-12


def test_without_hidden_layers_there_is_no_way_to_go():
    for outputs in (1, 3):
        net, x, y = problem(1, "tanh", 1, 8, 4, True, None, outputs=outputs)
        assert inference.solve(net, x, y).residuals.tolist() == [0.0] * len(x)


def test_a_residual_equal_to_the_tolerance_is_within_it():
    net, x, y = problem(1, "tanh", 3, 8, 4, True, None)
    found = inference.solve(net, x, y, "newton", rtol=0.1)
    worst = found.residual
    assert worst > 0 and bool(dataclasses.replace(found, rtol=worst).converged.all())
    assert not bool(dataclasses.replace(found, rtol=math.nextafter(worst, 0)).converged.all())


@prop(10, seed=st.integers(0, 999))
def test_the_residual_of_a_smooth_network_is_an_exact_newton_step(seed):
    point, exact, _ = newton_point(seed, size=0.3)
    net, x, y, errors = point.net, point.x, point.y, list(point.layers)
    found = newton.relative_step(net, x, y, beside(net, x, y, errors), alone=True)
    step = torch.linalg.solve(exact, point.gradient[:, :, None])[:, :, 0]
    ones = torch.cat(network.weigh(net, [torch.ones(n, dtype=F64) for n in net.sizes[1:]])[:-1])
    size = torch.cat(network.weigh(net, [*errors, point.residual]), dim=1).norm(dim=1)
    convex = torch.linalg.eigvalsh(exact)[:, 0] > 0
    torch.testing.assert_close(found[convex], ((ones * step).norm(dim=1) / size)[convex], rtol=0.2, atol=1e-12)
    assert bool(torch.isinf(found[~convex]).all()) or not bool((~convex).any())


@prop(12, seed=st.integers(0, 999), activation=st.sampled_from(KINKED), met=st.booleans())
def test_off_its_kinks_the_residual_is_a_gauss_newton_step(seed, activation, met):
    point, _, gauss = newton_point(seed, activation)
    if met:  # the target is what the network says: no multiplier, but slopes all the same
        point = newton._Point(point.net, point.x, point.sweep.output, point.errors)
    net, x, y, errors = point.net, point.x, point.y, list(point.layers)
    deltas = [m * s for m, s in zip(point.mu, point.sweep.slopes, strict=True)]
    found = newton.relative_step(net, x, y, beside(net, x, y, errors, deltas), alone=True)
    step = torch.linalg.solve(gauss, point.gradient[:, :, None])[:, :, 0]
    ones = torch.cat(network.weigh(net, [torch.ones(n, dtype=F64) for n in net.sizes[1:]])[:-1])
    size = torch.cat(network.weigh(net, [*errors, point.residual]), dim=1).norm(dim=1)
    torch.testing.assert_close(found, (ones * step).norm(dim=1) / size, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("activation", KINKED)
def test_at_a_kink_the_multiplier_decides_whether_it_is_an_end(activation):
    """x = 1 through W = ½, 1, 1 to y = −5: z = (0, −5/2), where δ_2 = −½ holds z_1 at the kink, and no other does."""
    one = torch.ones(1, 1, dtype=F64)
    net = network.PCN([one / 2, one, one], activation)
    errors = [-one / 2, -2.5 * one]
    held, loose, strong = (
        newton.relative_step(net, one, -5 * one, beside(net, one, -5 * one, errors, [-one / 2, delta * one]))
        for delta in (-0.5, -0.1, -2.0)
    )
    assert float(held) < 1e-12
    # δ_2 is off by d, so g_1 = ±d; S = 1 + 1 + s² with the slope s = δ_2 / μ_2 = δ_2 / −2.5.
    for found, delta in ((loose, -0.1), (strong, -2.0)):
        slope = delta / -2.5
        e_1, e_2 = torch.linalg.solve(
            torch.eye(2, dtype=F64) + torch.tensor([[slope**2, slope], [slope, 1.0]], dtype=F64),
            torch.tensor([-0.5 - delta, 0.0], dtype=F64),
        )
        size = math.sqrt(0.5**2 + 2.5**2 + 2.5**2)
        assert float(found) == pytest.approx(math.hypot(float(e_1), float(e_2)) / size, rel=1e-9)


# The careful solver at kinks


def flow_at(seed, activation, z=None, widest=kinked.WIDEST):
    net, x, y = problem(seed, activation, 4, 7, 3, True, "vectors", target=2.0)
    return kinked._Flow(net, x, y, noisy(net, x, seed) if z is None else z, widest)


def hessians(flow):
    """Of each sample's energy in its stacked activities, with the kinks sharp, (B, N, N)."""
    widths, found = flow.net.sizes[1:-1], []
    for i, z in enumerate(torch.cat(flow.z, dim=1)):
        x, y = flow.x[i : i + 1], flow.y[i : i + 1]
        energy = lambda v, x=x, y=y: reference_energy(flow.net, v[None].split(widths, 1), x, y)[0]  # noqa: E731
        found.append(torch.autograd.functional.hessian(energy, z))
    return torch.stack(found)


@prop(10, seed=st.integers(0, 999), activation=st.sampled_from(KINKED))
def test_away_from_kinks_a_flow_takes_implicit_eulers_steps(seed, activation):
    flow = flow_at(seed, activation, widest=1e-9)
    z, n = torch.cat(flow.z, dim=1), sum(flow.net.sizes[1:-1])
    torch.testing.assert_close(flow.here.energy[:, 0], reference_energy(flow.net, flow.z, flow.x, flow.y))
    gradient = torch.cat(activity_gradients(flow.net, flow.z, flow.x, flow.y), dim=1)
    own = network.descent(flow.net, flow.here.mu, flow.here.slopes)
    torch.testing.assert_close(torch.cat(own, dim=1), gradient, rtol=1e-8, atol=1e-9)
    flow.time = torch.tensor([[0.1], [1.0], [50.0]], dtype=F64)
    matrix = hessians(flow) + torch.eye(n, dtype=F64) / flow.time[:, :, None]
    expected = -torch.linalg.solve(matrix, gradient[:, :, None])[:, :, 0]
    torch.testing.assert_close(torch.cat(flow.direction(own), dim=1), expected, rtol=1e-6, atol=1e-8)
    times, before = flow.time.clone(), flow.here.energy.clone()
    flow.step()
    moved = (torch.cat(flow.z, dim=1) - z).norm(dim=1)[:, None] > 0
    assert bool((flow.here.energy <= before * (1 + 1e-13)).all())
    torch.testing.assert_close(flow.time, torch.where(moved, 3 * times, times / 5))


@pytest.mark.parametrize("activation", KINKED)
def test_a_smoothed_kink_has_the_gradient_of_its_energy_and_the_area_below_its_slope(activation):
    flow = flow_at(5, activation, widest=0.5)
    flow.c = [torch.full_like(c, 0.4) for c in flow.c]
    flow.here = flow.look(flow.z)
    own = torch.cat(network.descent(flow.net, flow.here.mu, flow.here.slopes), dim=1)
    assert any(bool((bend > 0).any()) for bend in flow.here.bends)
    widths, z = flow.net.sizes[1:-1], torch.cat(flow.z, dim=1)
    for k in range(z.shape[1]):
        step = torch.zeros_like(z)
        step[:, k] = 1e-5
        high, low = (flow.look(list((z + sign * step).split(widths, 1))).energy[:, 0] for sign in (1, -1))
        torch.testing.assert_close((high - low) / 2e-5, own[:, k], rtol=1e-4, atol=1e-6)


def test_a_flow_sharpens_its_kinks_down_to_the_last_width():
    flow = flow_at(3, "relu")
    some, slopes, widths = torch.tensor([True, False, True]), [s.clone() for s in flow.here.slopes], flow.h.clone()
    for c in flow.c:
        c.fill_(0.5)
    flow.here = flow.look(flow.z)
    slopes = [s.clone() for s in flow.here.slopes]
    flow.sharpen(some)
    torch.testing.assert_close(flow.h, torch.where(some[:, None], kinked.SHRINK * widths, widths))
    for c, s in zip(flow.c, slopes, strict=True):
        torch.testing.assert_close(c[some], s[some])
        assert bool((c[~some] == 0.5).all())
    for _ in range(20):
        flow.sharpen(some)
    assert flow.h[some].unique().tolist() == [kinked.NARROWEST]


def test_a_flow_starts_from_the_lower_of_two_places():
    net, x, y = problem(4, "relu", 4, 8, 6, True, None, target=5.0)
    far, near = noisy(net, x, size=30.0), noisy(net, x, size=1e-9)
    both = [torch.where((torch.arange(6) % 2 == 0)[:, None], a, b) for a, b in zip(far, near, strict=True)]
    first = feedforward(net, x)[:-1]
    chosen, least = kinked._lower(net, x, y, both), reference_energy(net, first, x, y)
    energy = reference_energy(net, both, x, y)
    torch.testing.assert_close(reference_energy(net, chosen, x, y), torch.minimum(energy, least))
    assert bool((energy[::2] > least[::2]).all())


@pytest.mark.parametrize("activation", KINKED)
def test_two_ends_agree_where_the_same_units_are_on(activation):
    net, x, y = uneven(activation)
    y = y + 1.0
    state, *_ = kinked.solve(net, x, y, 1e-10, 600)
    z = state.inputs[1:]
    assert bool(kinked._agree(net, x, z, state).all())
    other = [v.clone() for v in z]
    other[0][2] = -other[0][2]  # the units above it turn round
    other[1][4] += 1e-9  # nothing does
    assert kinked._agree(net, x, other, state).tolist() == [True, True, False, True, True, True]


# Batches in which some samples are done before others


def uneven(activation, batch=6):
    """A problem in which every second sample begins at its equilibrium, and the others do not."""
    net = network.PCN(network.init_weights([10, 20, 20, 4], 0, "orthogonal", dtype=F64), activation)
    x = normal(batch, 10)
    y = network.forward(net, x)[-1] + normal(batch, 4, seed=1)
    y[::2] = network.forward(net, x)[-1][::2]
    return net, x, y


@pytest.mark.parametrize("method", ["newton", "descent", "secant", "auto"])
def test_samples_that_are_done_do_not_end_it_for_the_others(method):
    net, x, y = given = uneven("tanh")
    found = inference.solve(*given, method=method, rtol=1e-9)
    assert bool(found.converged.all())
    z = smooth_equilibrium(*given, start=found.activities)
    assert distance(found.weight_gradients(), gradients(net, x, y, z)[0]) < 1e-7
    for done in found.state.errors:
        assert float(done[::2].abs().max()) < 1e-9 < float(done[1::2].abs().max())


@pytest.mark.parametrize("activation", KINKED)
@pytest.mark.parametrize("method", ["kink", "lagrangian"])
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_at_kinks_neither(activation, method, rtol):
    found = inference.solve(*uneven(activation, batch=10), method=method, rtol=rtol)
    assert bool(found.converged.all())
    assert float(found.energy[::2].max()) < 1e-20 < 1e-2 < float(found.energy[1::2].min())


def test_the_careful_solver_ends_where_it_would_end_with_each_sample_alone():
    net, x, y = uneven("relu", batch=10)
    found = inference.solve(net, x, y, "lagrangian", rtol=1e-9)
    alone = [inference.solve(net, x[i : i + 1], y[i : i + 1], "lagrangian", rtol=1e-9) for i in range(len(x))]
    assert distance([found.energy], [torch.cat([one.energy for one in alone])]) < 1e-8


def test_targets_whose_square_overflows_are_none_where_the_network_meets_them():
    one = torch.ones(1, 1, dtype=F64)
    net = network.PCN([one, one], "tanh", [0 * one[0], 1e200 * one[0]])
    start = network.forward(net, one)[-1]
    found = inference.solve(net, one, start)
    assert float(found.energy) == 0 and bool(found.converged.all())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_descent_from_the_feedforward_pass_never_climbs(steps):
    for seed in range(8):
        net, x, y = problem(seed, "tanh", 5, 15, 6, True, "vectors", gain=2.0, target=10.0)
        energies = [newton.solve(net, x, y, 1e-12, k, full=True)[0] for k in (0, steps, steps + 1)]
        first, second, third = (network.quadratic(net, [*s.errors, y - s.output]) for s in energies)
        assert bool((second <= first * (1 + 1e-12)).all()) and bool((third <= second * (1 + 1e-12)).all())


@prop(10, seed=st.integers(0, 999), depth=st.integers(2, 6), precisions=st.sampled_from([None, "vectors"]))
def test_a_linear_network_needs_one_newton_step(seed, depth, precisions):
    net, x, y = problem(seed, "linear", depth, 10, 5, True, precisions)
    z = linear_equilibrium(net, x, y)
    for full in (False, True):
        state, iterations, done = newton.solve(net, x, y, 1e-6, 100, full)
        assert iterations == 1 and bool(done.all())
        assert distance(state.inputs[1:], z) < 1e-8
    found = inference.solve(net, x, y, method="secant")  # and one of the fixed point's
    assert found.iterations == 1 and distance(found.activities, z) < 1e-8


# Effort: what a wrong sign in a prediction, a lag or a step control costs, where the end is right all the same

EFFORT = {  # iterations that are enough at each rtol in networks as PyTorch initialises them
    "secant": {1e-3: 2, 1e-5: 4, 1e-7: 6},
    "newton": {1e-3: 3, 1e-5: 5, 1e-7: 7},
    "descent": {1e-3: 2, 1e-5: 3, 1e-7: 4},
    "kink": {1e-3: 7, 1e-5: 18, 1e-7: 26},
    "lagrangian": {1e-3: 90, 1e-5: 90, 1e-7: 90},
}


@pytest.mark.parametrize("activation", ["tanh", *KINKED])
@pytest.mark.parametrize(("method", "rtol"), [(m, rtol) for m, limits in EFFORT.items() for rtol in limits])
def test_a_few_iterations_end_at_stationary_points(activation, method, rtol):
    kinked = activation in KINKED
    if (method in ("kink", "lagrangian")) != kinked:
        return
    for depth in (3, 4, 5):
        net = network.PCN(network.init_weights([16] + [40] * (depth - 1) + [5], depth, dtype=F64), activation)
        x = normal(4 if method == "lagrangian" else 32, 16, seed=depth)
        y = network.forward(net, x)[-1] + 0.5 * normal(len(x), 5, seed=depth + 1)
        found = inference.solve(net, x, y, method, rtol=rtol)
        assert bool(found.converged.all())
        assert found.iterations <= EFFORT[method][rtol], depth
        z, start = found.activities, activity_gradients(net, feedforward(net, x)[:-1], x, y)
        if kinked:
            kink = 20 * rtol * max([1.0, *(float(v.abs().max()) for v in z)])
            left = clarke_residual(net, z, x, y, kink=kink)
        else:
            left = torch.cat(activity_gradients(net, z, x, y), dim=1).norm(dim=1)
        scale = torch.cat(start, dim=1).norm(dim=1) + (2 * found.energy).sqrt()
        assert bool((left <= 20 * rtol * scale).all()), depth


def deep_kinked(activation, seed):
    net = network.PCN(network.init_weights([50] + [60] * 10 + [10], seed, dtype=F64), activation)
    return net, normal(32, 50, seed=seed), torch.eye(10, dtype=F64)[torch.arange(32) % 10]


@pytest.mark.parametrize(("activation", "seed", "passes"), [
    ("relu", 0, 3.8), ("relu", 2, 3.7), ("leaky_relu", 0, 3.4), ("leaky_relu", 2, 5.2)
])  # fmt: skip
def test_settling_the_top_alone_saves_a_quarter_of_the_products_in_deep_networks(monkeypatch, activation, seed, passes):
    net, x, y = deep_kinked(activation, seed)
    spent, iterate = [], kink._Layers.iterate

    def counted(layers):
        spent.append(len(layers.lam) * sum(w.numel() for w in layers.net.weights))
        return iterate(layers)

    def cost():
        spent.clear()
        assert bool(inference.solve(net, x, y, "kink").converged.all())
        return sum(spent) / (len(x) * sum(w.numel() for w in net.weights))

    monkeypatch.setattr(kink._Layers, "iterate", counted)
    found = cost()
    assert found <= passes
    monkeypatch.setattr(kink, "SHARE", 0.0)  # nothing below the top may wait
    assert found <= 0.75 * cost()


@pytest.mark.parametrize("activation", KINKED)
def test_a_solver_at_kinks_stops_where_it_is_told_to_and_says_what_is_done(activation):
    net, x, y = deep_kinked(activation, 0)
    start = fixed_point.up(net, x)
    own = response.mean_field(net, fixed_point.mean_slopes(net, start))
    ended = []
    for limit in range(1, 14):
        state, iterations, done = kink.solve(net, x, y, start, own, 2e-2, limit)
        errors = network.prediction_errors(net, state.inputs[1:], x, y)
        assert distance([*state.errors, y - state.output], errors) < 1e-10
        assert iterations == limit or (iterations < limit and bool(done.all()))
        residuals = newton.relative_step(net, x, y, state)
        assert bool((residuals[done] <= 2 * 2e-2).all()) and bool((residuals[~done] > 0.25 * 2e-2).all())
        ended.append(iterations)
    assert ended[:5] == [1, 2, 3, 4, 5] and len(set(ended[-3:])) == 1


def test_broydens_updates_save_iterations(monkeypatch):
    net = network.PCN(network.init_weights([10, 30, 30, 5], 0, "he", dtype=F64), "tanh")
    x = normal(20, 10)
    y = network.forward(net, x)[-1] + 0.3 * normal(20, 5, seed=1)
    found = inference.solve(net, x, y, "secant", rtol=1e-9)
    monkeypatch.setattr(fixed_point.Broyden, "learn", lambda *_: None)
    assert found.iterations <= 0.6 * inference.solve(net, x, y, "secant", rtol=1e-9, max_iterations=200).iterations


def test_samples_that_are_done_leave_the_batch(monkeypatch):
    """As soon as they are more than half of it: then what stays behind is copied into smaller tensors."""
    sizes, counted = [], fixed_point.look
    monkeypatch.setattr(fixed_point, "look", lambda *given: sizes.append(len(given[3])) or counted(*given))
    net, x, y = uneven("tanh", batch=10)
    y[0] += 1.0  # four of ten are done at once
    inference.solve(net, x, y, "secant", rtol=1e-6)
    assert sizes[:2] == [10, 10]
    sizes.clear()
    y[:4] = network.forward(net, x)[-1][:4]  # now seven of ten are done at once
    inference.solve(net, x, y, "secant", rtol=1e-6)
    assert sizes[0] == 10 and set(sizes[1:]) <= {3, 2, 1} and len(sizes) > 2


def test_what_is_asked_for_unless_said_otherwise():
    """As `solve` says: one in a thousand, at kinks twenty times as much."""
    net, x, y = uneven("tanh")
    found = inference.solve(net, x, y)
    assert found.rtol == 1e-3 and found.methods == (("secant", len(x)),)
    assert inference.solve(*uneven("relu", batch=20)).rtol == pytest.approx(20 * 1e-3)
    assert inference.solve(net, x, y, "euler").iterations == 1000  # the paper's


def test_a_response_is_kept_as_long_as_it_is_no_slower():
    net, x, y = uneven("tanh")
    found = inference.solve(net, x, y)
    again = inference.solve(net, x, y, warm=found)
    assert again.iterations == found.iterations and again.response is found.response


@pytest.mark.parametrize(("share", "kept"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_a_response_is_stale_once_the_output_weights_have_moved_too_far(share, kept, gain):
    net, x, y = uneven("tanh")
    net = network.PCN([*net.weights[:-1], gain * net.weights[-1]], "tanh")
    found = inference.solve(net, x, y, rtol=0.1)
    way = normal(*net.weights[-1].shape, seed=7)
    way *= share * inference.STALE * 0.1 * net.weights[-1].norm() / way.norm()
    old = found.response.adjoint[..., -net.sizes[-2] :]
    torch.testing.assert_close(old, net.weights[-1])
    moved = network.PCN([*net.weights[:-1], net.weights[-1] + way * (1 - 0.01)], "tanh")
    again = inference._response(moved, fixed_point.up(moved, x), found, 0.1)
    assert (again is found.response) == kept


def test_a_linear_networks_response_is_never_taken_over_from_other_weights():
    """Its equilibrium is exact, so one whose lower weights have moved needs its own, though W_L is the same."""
    net, x, y = problem(3, "linear", 4, 8, 4, True, "vectors")
    found = inference.solve(net, x, y)
    moved = network.PCN([1.5 * w for w in net.weights[:-1]] + net.weights[-1:], "linear", net.biases, net.precisions)
    again = inference.solve(moved, x, y, warm=found)
    assert distance(again.weight_gradients(), gradients(moved, x, y, linear_equilibrium(moved, x, y))[0]) < 1e-9
    for one in (found, again):
        assert one.iterations == 1 and one.methods == (("exact", len(x)),) and one.response is not None
    shallow = inference.solve(network.PCN(net.weights[:1], "linear"), x, 0 * x[:, :1].expand(-1, net.sizes[1]))
    assert shallow.iterations == 0


@pytest.mark.parametrize("method", ["kink", "lagrangian"])
def test_methods_for_kinks_say_what_they_are_for(method):
    with pytest.raises(ValueError, match=f"^method = '{method}': needs a ReLU or leaky ReLU activation"):
        inference.solve(*uneven("tanh"), method=method)


def test_a_linear_network_out_of_range_is_refused_by_name():
    net = network.PCN([torch.tensor([[w]], dtype=F64) for w in (1e200, 1.0)], "linear")
    far = torch.tensor([[1e200]], dtype=F64)
    with pytest.raises(ValueError, match="^the feedforward pass overflows"):
        inference.solve(net, far, 0 * far)


@pytest.mark.parametrize("gain", [0.5, 12.0])
def test_eulers_steps_are_a_tenth_of_the_gradient_halved_twice_at_most(gain):
    """Against autograd, with the schedule written out; at the larger gain both halvings are spent."""
    net, x, y = problem(2, "tanh", 4, 8, 5, True, "vectors", gain=gain)
    z, last, size, halvings = feedforward(net, x)[:-1], math.inf, 0.1, 2
    walked = euler.walk(net, x, y)
    for _ in range(25):
        for a, b in zip(next(walked), z, strict=True):
            torch.testing.assert_close(a, b)
        now = float(reference_energy(net, z, x, y).sum())
        if now >= last and halvings:
            size, halvings = size / 2, halvings - 1
        last, slope = now, activity_gradients(net, z, x, y)
        z = [a - size * g for a, g in zip(z, slope, strict=True)]
    assert halvings == (2 if gain == 0.5 else 0)
    state = euler.solve(net, x, y, 25)
    assert distance(state.inputs[1:], z) < 1e-9
    torch.testing.assert_close(state.output, z[-1] @ net.weights[-1].T + net.biases[-1])


def test_an_energy_that_stays_as_it_was_does_not_fall():
    """Steps of 1 in an energy of curvature 2 go to and fro for ever; half of one ends at the minimum."""
    net, x, y = network.PCN([torch.ones(1, 1, dtype=F64)] * 2), torch.ones(1, 1, dtype=F64), torch.full((1, 1), 3.0)
    walked = euler.walk(net, x, y.double(), step_size=1.0)
    assert [float(z[0]) for z in itertools.islice(walked, 4)] == [1.0, 3.0, 2.0, 2.0]


@pytest.mark.parametrize("rtol", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_one_hard_sample_among_hundreds_of_easy_ones_is_solved_as_well(rtol):
    net = network.PCN(network.init_weights([10, 30, 30, 4], 1, "he", dtype=F64), "tanh")
    x = normal(400, 10)
    y = network.forward(net, x)[-1]
    y[7] += 0.5
    found = inference.solve(net, x, y, "secant", rtol=rtol)
    assert bool(found.converged.all())


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_targets_out_of_range_are_refused_by_name(activation):
    net, x, y = uneven(activation)
    far = network.PCN(net.weights, activation, [torch.zeros(n, dtype=F64) for n in net.sizes[1:]])
    far.biases[-1][0] = 1e200  # whose square overflows, where no weight is large
    with pytest.raises(ValueError, match="^the feedforward pass overflows"):
        inference.solve(far, x, y)


# Which solver "auto" takes, and what it solves again


@pytest.mark.parametrize(("batch", "width", "method"), [
    (8, 20, "lagrangian"), (9, 20, "kink"), (2, 1500, "lagrangian"), (2, 1501, "kink")
])  # fmt: skip
def test_a_few_samples_of_a_small_network_are_solved_with_care(monkeypatch, batch, width, method):
    monkeypatch.setattr(inference, "SMALL", 3000)
    net = network.PCN(network.init_weights([6, width, 3], 0, dtype=F64), "relu")
    x = normal(batch, 6)
    monkeypatch.setattr("pcbook.inference.kinked.EULER", 20)
    monkeypatch.setattr("pcbook.inference.kinked.LATER", (30,))
    found = inference.solve(net, x, network.forward(net, x)[-1] + 0.1 * normal(batch, 3, seed=1), max_iterations=300)
    assert found.methods[0][0] == method and sum(count for _, count in found.methods) == batch


def test_the_careful_solver_has_a_limit_of_its_own_unless_one_is_given():
    net = network.PCN(network.init_weights([16] + [40] * 4 + [5], 5, dtype=F64), "relu")
    x = normal(4, 16, seed=5)
    y = network.forward(net, x)[-1] + 0.5 * normal(4, 5, seed=6)
    found = inference.solve(net, x, y, rtol=1e-7)  # takes more than the forty iterations of other methods
    assert found.iterations > inference.LIMITS["auto"] and found.methods == (("lagrangian", 4),)
    short = inference.solve(net, x, y, rtol=1e-7, max_iterations=3)
    assert len(short.methods) == 2 and sum(count for _, count in short.methods) == 4


@pytest.mark.parametrize(("activation", "method"), [
    ("tanh", "secant"), ("tanh", "newton"), ("tanh", "descent"), ("relu", "kink"), ("relu", "lagrangian"),
    ("relu", "descent"),
])  # fmt: skip
def test_without_iterations_there_is_the_feedforward_pass_and_its_output_error(activation, method):
    net, x, y = uneven(activation)
    y = y + 1.0
    found = inference.solve(net, x, y, method, max_iterations=0)
    *below, top = found.weight_gradients()
    torch.testing.assert_close(top, network.backprop_gradients(net, x, y)[-1])
    assert all(float(gradient.abs().max()) == 0 for gradient in below)
    torch.testing.assert_close(found.energy, network.loss(net, x, y))
    assert found.iterations == 0 and not bool(found.converged.any())


def begun(activation, batch=10):
    """A problem, its feedforward pass, and its equilibrium."""
    net, x, y = uneven(activation, batch)
    y = y + 0.5
    return net, x, y, fixed_point.up(net, x), inference.solve(net, x, y, "descent", rtol=1e-6).state


def with_errors(net, x, y, errors):
    """The state with given errors; its deltas are not looked at."""
    above = network.sweep(net, x, errors)
    top = network.weigh_layer(net, -1, y - above.output)
    return State(above.inputs, list(errors), above.output, [*errors, top])


def scaled_to(net, x, y, errors, energies):
    """`errors`, each sample's by a factor of its own above 1, so that its energy is as given."""
    low, high = torch.ones(len(x), 1, dtype=F64), torch.full((len(x), 1), 1e3, dtype=F64)
    for _ in range(80):
        middle = (low + high) / 2
        state = with_errors(net, x, y, [middle * e for e in errors])
        above = network.quadratic(net, [*state.errors, y - state.output])[:, None] > energies[:, None]
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return state


@pytest.mark.parametrize(("activation", "careful"), [("tanh", "descent"), ("relu", "lagrangian")])
@pytest.mark.parametrize("excess", [1.0001, 1.5, 1000.0])
def test_what_ended_above_its_beginning_is_solved_again(monkeypatch, activation, careful, excess):
    net, x, y, start, end = begun(activation)
    high = scaled_to(net, x, y, end.errors, excess * network.loss(net, x, y))
    rows, done = torch.tensor([1, 4]), torch.ones(len(x), dtype=torch.bool)
    mixed = end.replace(rows, high.select(rows))
    given = net, x, y, start, 2e-3, mixed, 2, done, (("first", len(x)),)
    state, iterations, methods = inference._rescue(*given)
    assert methods == (("first", len(x) - 2), (careful, 2)) and iterations > 2
    expected = network.quadratic(net, [*end.errors, y - end.output])
    found = network.quadratic(net, [*state.errors, y - state.output])
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=0)
    monkeypatch.setattr(inference, "AFFORDABLE", 2 * sum(n * n for n in net.sizes[1:-1]))
    assert inference._rescue(*given)[2] == methods
    monkeypatch.setattr(inference, "AFFORDABLE", 2 * sum(n * n for n in net.sizes[1:-1]) - 1)
    assert (inference._rescue(*given)[0] is mixed) == (careful == "lagrangian")  # too dear: it stays as it is


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_what_ended_well_is_left_alone(activation):
    net, x, y, start, end = begun(activation)
    done = torch.ones(len(x), dtype=torch.bool)
    still = with_errors(net, x, y, [0 * e for e in end.errors])  # no higher than the feedforward pass: it is that
    for state in (end, still):
        assert inference._rescue(net, x, y, start, 2e-3, state, 2, done, ())[0] is state
    for iterations in (inference.PROMPT, inference.PROMPT + 1):  # what took long is looked at again, if it is smooth
        found = inference._rescue(net, x, y, start, 2e-3, still, iterations, done, (("first", len(x)),))
        assert (found[0] is still) == (iterations == inference.PROMPT or activation == "relu")


def test_what_is_not_done_is_solved_again():
    net, x, y, start, end = begun("tanh")
    still = with_errors(net, x, y, [0 * e for e in end.errors])
    done = torch.arange(len(x)) != 3
    state, _, methods = inference._rescue(net, x, y, start, 2e-3, still, 2, done, (("first", len(x)),))
    assert methods == (("first", len(x) - 1), ("descent", 1))
    moved = torch.cat([a - b for a, b in zip(state.errors, still.errors, strict=True)], dim=1).norm(dim=1)
    assert bool(moved[3] > 0) and float(moved[done].max()) == 0


def test_of_two_ends_the_one_kept_is_no_higher_than_the_beginning_and_finished_or_lower(monkeypatch):
    """First and second energies over that of the feedforward pass, whether the second is done, and who is kept."""
    cases = [(0.96, 0.98, True, 2), (0.96, 0.98, False, 1), (0.98, 0.96, False, 2), (0.96, 1.2, True, 1),
             (1.5, 0.96, False, 2), (1.5, 1.2, True, 1), (1.5, 1.2, False, 1), (1.5, 0.96, True, 2)]  # fmt: skip
    net, x, y, start, end = begun("tanh", len(cases))
    least = network.loss(net, x, y)
    assert float((network.quadratic(net, [*end.errors, y - end.output]) / least).max()) < 0.96
    first, second = (scaled_to(net, x, y, end.errors, torch.tensor([c[k] for c in cases]) * least) for k in (0, 1))
    finished, kept = torch.tensor([c[2] for c in cases]), torch.tensor([c[3] for c in cases])
    monkeypatch.setattr(inference, "_run", lambda *given: (second, 7, finished))
    done = torch.zeros(len(x), dtype=torch.bool)
    state, iterations, methods = inference._rescue(net, x, y, start, 2e-3, first, 2, done, (("first", len(x)),))
    expected = [torch.where(kept[:, None] == 2, b, a) for a, b in zip(first.errors, second.errors, strict=True)]
    assert all(map(torch.equal, state.errors, expected)) and iterations == 9
    assert methods == (("first", int((kept == 1).sum())), ("descent", int((kept == 2).sum())))


@pytest.mark.parametrize("full", [False, True])
def test_samples_with_small_errors_are_solved_to_their_own_size(full):
    net, x, y = problem(2, "tanh", 4, 8, 6, True, None)
    output, small = network.forward(net, x)[-1], torch.tensor([1.0, 1e-4] * 3, dtype=F64)[:, None]
    y = output + small * (y - output)
    state, _, done = newton.solve(net, x, y, 0.01, 100, full)
    own = newton.relative_step(net, x, y, state, alone=True)
    assert bool(done.all()) and float(own.max()) <= newton.SAFETY * 0.01


def test_what_ended_on_the_other_side_of_zero_is_solved_again():
    net = network.PCN([torch.ones(1, 1, dtype=F64), torch.full((1, 1), 10.0, dtype=F64)], "tanh")
    x, y, done = torch.zeros(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64), torch.ones(1, dtype=torch.bool)
    opposite = with_errors(net, x, y, [torch.full((1, 1), -0.1, dtype=F64)])  # its output is −y
    state, *_ = inference._rescue(net, x, y, fixed_point.up(net, x), 2e-3, opposite, 2, done, (("first", 1),))
    assert float(network.quadratic(net, [*state.errors, y - state.output])) < float(network.loss(net, x, y))


def test_the_careful_solver_is_patient_where_it_comes_first_and_not_where_it_helps_out(monkeypatch):
    net, x, y, start, end = begun("relu")
    asked = []

    def solve(net, x, y, rtol, limit, patient):
        asked.append(patient)
        return kinked_solve(net, x, y, rtol, limit, patient)

    kinked_solve = kinked.solve
    monkeypatch.setattr(kinked, "solve", solve)
    inference.solve(net, x, y, "lagrangian")
    done = torch.arange(len(x)) != 3
    inference._rescue(net, x, y, start, 2e-3, end, 2, done, (("first", len(x)),))
    assert asked == [True, False]


def test_broyden_learns_nothing_from_a_pair_that_says_nothing():
    solver, unit = fixed_point.Broyden(torch.eye(2, dtype=F64)), torch.eye(2, dtype=F64)
    solver.learn(unit[:1], unit[1:])  # s and Hq at a right angle
    v = normal(1, 2)
    torch.testing.assert_close(solver(v), v)


@pytest.mark.parametrize("size", [1e-4, 1e-2])
def test_a_single_sample_near_its_target_takes_one_iteration_whatever_its_size(size):
    """Its own response is the mean field, and what is left is of second order."""
    net, x, y = problem(4, "tanh", 4, 8, 1, True, None)
    output = network.forward(net, x)[-1]
    assert inference.solve(net, x, output + size * (y - output), "secant").iterations == 1
