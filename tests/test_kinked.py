"""The robust solver for ReLU and leaky ReLU: minima on kinks by hand, and by references that share no code with it."""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import strategies as st

from pcbook import network
from pcbook.inference import kinked
from pcbook.inference.newton import relative_step

KINKED = ("relu", "leaky_relu")
LIMIT = 600


def chain(activation, target, first=0.5):
    """x = 1 through two hidden units with W = first, 1 and 1. F = ½(z_1 − first)² + ½(z_2 − φ(z_1))² + ½(y − z_2)²."""
    weights = [torch.tensor([[v]], dtype=torch.float64) for v in (first, 1.0, 1.0)]
    one = torch.ones(1, 1, dtype=torch.float64)
    return network.PCN(weights, activation), one, target * one


def energy(net, y, state):
    return network.quadratic(net, [*state.errors, y - state.output])


@pytest.mark.parametrize("activation", KINKED)
@pytest.mark.parametrize("target", [-1.5, -5.0, -20.0])
def test_a_chain_rests_at_the_kink(activation, target):
    # z_2 = (φ(z_1) + y)/2 leaves ½(z_1 − ½)² + ¼(y − φ(z_1))². Its slope at z_1 = 0 is −½ − y/2 > 0 to the right and
    # −½ − ay/2 < 0 to the left for −1/a < y < −1: the minimum is z_1 = 0, z_2 = y/2, and δ_2 = e_1 = −½ holds it.
    net, x, y = chain(activation, target)
    state, iterations, done = kinked.solve(net, x, y, 1e-12, LIMIT)
    assert bool(done.all()) and 0 < iterations < LIMIT
    found = torch.cat([*state.inputs[1:], *state.deltas[1:], energy(net, y, state)[:, None]]).squeeze(1)
    expected = [0.0, target / 2, -0.5, target / 2, 0.125 + target**2 / 4]
    assert found.tolist() == pytest.approx(expected, abs=1e-10, rel=1e-10)


def test_a_leaky_chain_is_pulled_through_its_kink():
    # For y < −1/a it rests left of the kink: z_1 − ½ = ½a(y − az_1).
    a, target = network.LEAK, -300.0
    net, x, y = chain("leaky_relu", target)
    state, _, done = kinked.solve(net, x, y, 1e-12, LIMIT)
    expected = (0.5 + a * target / 2) / (1 + a * a / 2)
    assert expected < 0 and bool(done.all())
    assert float(state.inputs[1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("activation", KINKED)
def test_a_chain_stays_off_its_kink(activation):
    # z_1 − ½ = ½(y − z_1) on the right, and z_1 > 0 for y > −1.
    net, x, y = chain(activation, -0.4)
    state, _, done = kinked.solve(net, x, y, 1e-12, LIMIT)
    assert bool(done.all()) and float(state.inputs[1]) == pytest.approx(0.2, rel=1e-10)


def test_a_silent_chain_has_nothing_to_infer():
    net, x, y = chain("relu", 3.0, first=-0.5)  # u_2 = 0 where the slope is 0: only z_2 moves, halfway to y
    state, _, done = kinked.solve(net, x, y, 1e-12, LIMIT)
    assert bool(done.all())
    assert [float(z) for z in state.inputs[1:]] == pytest.approx([0.0, 1.5], abs=1e-12)


hard = dict(depth=st.integers(2, 12), target=st.sampled_from([1.0, 5.0]), gain=st.sampled_from([1.0, 1.4, 2.0]))


@pytest.mark.slow
@oracles.prop(20, problem=oracles.problems(KINKED, **hard))
def test_ends_are_stationary_and_below_the_feedforward_loss(problem):
    net, x, y = oracles.problem(**problem)
    state, _, done = kinked.solve(net, x, y, 1e-9, LIMIT)
    z, loss = state.inputs[1:], network.loss(net, x, y)
    assert bool(done.all())
    assert bool((oracles.energy(net, z, x, y) <= loss * (1 + 1e-9)).all())
    gradient = oracles.activity_gradients(net, network.forward(net, x)[:-1], x, y)
    scale = torch.cat(gradient, 1).norm(dim=1) + 1e-9 * (1 + loss.sqrt())
    kink = 1e-7 * (1 + max(float(u.abs().max()) for u in network.slopes(net, state.inputs)[0]))
    assert bool((oracles.clarke_residual(net, z, x, y, kink) <= 1e-5 * scale).all())


@pytest.mark.slow
@oracles.prop(20, problem=oracles.problems(KINKED, **hard))
def test_the_state_is_consistent(problem):
    net, x, y = oracles.problem(**problem)
    state, _, done = kinked.solve(net, x, y, 1e-8, LIMIT)
    errors = network.prediction_errors(net, state.inputs[1:], x, y)
    leak = oracles.LEAST_SLOPE[net.activation]
    assert oracles.distance([*state.errors, y - state.output], errors) <= 1e-12
    mu = network.weigh(net, errors)
    for m, d in zip(mu[:-1], state.deltas[:-1], strict=True):  # δ between aμ and μ
        slack = 1e-12 * (1 + y.abs().max())
        assert bool((d * m.sign() >= leak * m.abs() - slack).all())
        assert bool((d.abs() <= m.abs() + slack).all())
    torch.testing.assert_close(state.deltas[-1], mu[-1])
    assert bool((relative_step(net, x, y, state) <= 1e-6).all()) or not bool(done.all())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("activation", KINKED)
def test_no_end_is_above_eulers(seed, activation):
    net, x, y = oracles.problem(seed, activation, 4 + seed, 30, 3, bool(seed % 2), (None, "vectors")[seed % 2], 1.4)
    state, _, done = kinked.solve(net, x, y, 1e-8, LIMIT)
    euler = oracles.energy(net, oracles.euler(net, x, y, 4000), x, y)
    assert bool(done.all())
    assert bool((energy(net, y, state) <= euler * (1 + 1e-6)).all())


def test_samples_are_solved_apart_from_each_other(monkeypatch):
    net, x, y = oracles.problem(5, "leaky_relu", 6, 20, 5, True, "vectors", 1.4)
    whole, _, _ = kinked.solve(net, x, y, 1e-10, LIMIT)
    monkeypatch.setattr(kinked, "ENTRIES", sum(n * n for n in net.sizes[1:-1]))  # one at a time
    single, _, _ = kinked.solve(net, x, y, 1e-10, LIMIT)
    assert oracles.distance(whole.inputs, single.inputs) <= 1e-7


def test_too_large_a_network_is_not_tried(monkeypatch):
    net, x, y = oracles.problem(5, "relu", 4, 20, 3, False, None)
    monkeypatch.setattr(kinked, "ENTRIES", sum(n * n for n in net.sizes[1:-1]) - 1)
    state, iterations, done = kinked.solve(net, x, y, 1e-3, LIMIT)
    assert iterations == 0 and not bool(done.any())
    assert oracles.distance(state.inputs[1:], network.forward(net, x)[:-1]) <= 1e-15


def test_float32_is_as_good_as_its_rounding():
    net, x, y = oracles.problem(2, "relu", 6, 30, 3, True, None, 1.4)
    single = net.to(torch.float32)
    x32, y32 = x.float(), y.float()
    state, _, done = kinked.solve(single, x32, y32, 1e-8, LIMIT)
    reference, _, _ = kinked.solve(single.to(torch.float64), x32.double(), y32.double(), 1e-8, LIMIT)
    assert bool(done.all())
    assert {v.dtype for v in [*state.inputs, *state.errors, state.output, *state.deltas]} == {torch.float32}
    assert oracles.distance(state.deltas, reference.deltas) <= 10 * np.finfo(np.float32).eps
