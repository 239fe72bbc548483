"""The parts of the solvers by themselves, each against its definition: responses, rules at kinks, batches in parts."""

import pytest
import torch
from hypothesis import strategies as st
from oracles import distance, gradients, linear_equilibrium, problem, prop, smooth_equilibrium

from pcbook import inference, network
from pcbook.inference import fixed_point, newton, response, rules

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
