"""The small measurements on what inference costs."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcbook import inference, linear_theory, network, taylor
from pcbook.experiments import inference_cost as cost


@given(depth=st.integers(1, 6), weight=st.floats(0.1, 2.0), width=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_chains_spectrum_is_the_fisher_informations(depth, weight, width):
    net = linear_theory.random_net([width] * (depth + 2), 0, "orthogonal")
    net = network.PCN([weight * w for w in net.weights])
    values = torch.linalg.eigvalsh(taylor.fisher(net, torch.ones(1, width, dtype=torch.float64))[0])
    expected = np.sort(np.repeat(cost.chain_spectrum(depth, weight), width))
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 7])
def test_linear_euler_walks_as_euler_does(steps):
    x, y = cost.batch(4)
    net = cost.digits_net("linear", 0, depth=3, width=12)
    walked = inference.solve(net, x, y, "euler", max_iterations=steps).activities
    for a, b in zip(cost.linear_euler(net, x, y, steps), walked, strict=True):
        torch.testing.assert_close(a, b)


def test_passes_count_the_multiplications_of_matrix_products():
    x, y = cost.batch(8)
    net = cost.digits_net("tanh", 0, depth=2, width=20)
    every, hidden = (sum(w.numel() for w in weights) for weights in (net.weights, net.weights[1:]))
    bp = 2 * every + hidden  # up, the weight gradients, and down without the first layer
    assert cost.passes(network.backprop, net, x, y) == 1
    assert cost.passes(lambda net, x, y: network.forward(net, x), net, x, y) == pytest.approx(every / bp)
    step = functools.partial(cost.pc_step, method="euler", max_iterations=5)
    assert cost.euler_passes(net, x, y, 5) == pytest.approx(cost.passes(step, net, x, y))


def test_the_fixed_point_with_all_devices_is_the_packages():
    x, y = cost.batch(8)
    net = cost.digits_net("tanh", 1, depth=4, width=30)
    (ours,) = cost.fixed_point(net, x, y, 1)
    package = inference.solve(net, x, y, "secant", max_iterations=1).weight_gradients()
    assert cost.weight_error(ours, package) < 1e-10


@pytest.mark.parametrize("devices", list(cost.VARIANTS.values())[1:])
def test_every_variant_but_repetition_reaches_the_equilibrium(devices):
    x, y = cost.batch(8)
    net = cost.digits_net("tanh", 1, depth=4, width=30)
    exact = inference.solve(net, x, y, rtol=1e-10).weight_gradients()
    assert cost.weight_error(cost.fixed_point(net, x, y, 20, *devices)[-1], exact) < 1e-8


def test_anticipating_the_lag_speeds_the_second_iteration_up():
    x, y = cost.batch(8)
    net = cost.digits_net("tanh", 1, depth=4, width=30)
    exact = inference.solve(net, x, y, rtol=1e-10).weight_gradients()
    with_lag, without = (cost.fixed_point(net, x, y, 2, True, lag, False)[-1] for lag in (True, False))
    assert cost.weight_error(with_lag, exact) < 0.3 * cost.weight_error(without, exact)


def test_the_weight_error_is_that_of_all_layers_together():
    zero, one = [torch.zeros(2), torch.zeros(1)], [torch.ones(2), torch.full((1,), 2.0)]
    assert cost.weight_error(one, one) == 0
    assert cost.weight_error(zero, one) == 1


def test_training_lowers_the_loss():
    x, y = cost.batch(64)
    net = cost.digits_net("tanh", 0, depth=2, width=30)
    before = float(network.loss(net, x, y).mean())
    assert float(network.loss(cost.train(net, 20, 0.3), x, y).mean()) < before


def test_most_iterations_at_kinks_spare_the_lower_layers():
    x, y = cost.batch(64)
    net = cost.digits_net("relu", 0, depth=8, width=60)
    found = inference.solve(net, x, y, "kink")
    tight = inference.solve(net, x, y, "kink", rtol=1e-6)
    assert cost.weight_error(found.weight_gradients(), tight.weight_gradients()) < 1e-2
    step = functools.partial(cost.pc_step, method="kink")
    assert found.iterations >= 5 and cost.passes(step, net, x, y) < 0.75 * found.iterations
