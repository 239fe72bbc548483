"""The Taylor model of deep networks against autograd and against equilibria found by Newton's method in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import PHI

from pcbook import network, onemlp, taylor, trust_region

SMOOTH = ("linear", "tanh", "softplus", "gelu")
BENT = SMOOTH[1:]
FLOAT64 = torch.float64
RESIDUALS = (1e-1, 1e-2, 1e-3)


def random_net(seed, hidden, activation, dtype=FLOAT64):
    """A net with biases and precisions, a batch of inputs, and targets at a residual of about 1."""
    rng = torch.Generator().manual_seed(seed)
    sizes = [int(n) for n in torch.randint(1, 9, (hidden + 2,), generator=rng)]
    weights = network.init_weights(sizes, rng, "uniform", dtype=FLOAT64)
    biases = network.init_biases(sizes, rng, dtype=FLOAT64)
    precisions = [0.5 + torch.rand(n, generator=rng, dtype=FLOAT64) for n in sizes[1:]]
    net = network.PCN(weights, activation, biases, precisions)
    x = torch.randn(3, sizes[0], generator=rng, dtype=FLOAT64)
    y = network.forward(net, x)[-1] + torch.randn(3, sizes[-1], generator=rng, dtype=FLOAT64)
    return net.to(dtype), x.to(dtype), y.to(dtype)


def nets(hidden=(1, 6), activations=SMOOTH):
    return st.builds(random_net, st.integers(0, 2**31), st.integers(*hidden), st.sampled_from(activations))


def closer(net, x, y, residual):
    """Targets in the same directions from the output, `residual` times as far."""
    output = network.forward(net, x)[-1]
    return output + residual * (y - output)


# The oracle: Eq. 20 written out for one sample and stacked activities, and autograd


def errors(net, z, x, y, weights=None):
    """e_1 … e_L, each times √Π_l, for one sample and the stacked activities z."""
    weights, below, parts = weights or net.weights, x, [*z.split(net.sizes[1:-1]), y]
    result = []
    for l, (w, b, p, here) in enumerate(zip(weights, net.biases, net.precisions, parts, strict=True), 1):
        u = w @ below + b
        result.append(p.sqrt() * (here - (u if l == len(parts) else PHI[net.activation](u))))
        below = here
    return torch.cat(result)


def energy(net, z, x, y, weights=None):
    return 0.5 * errors(net, z, x, y, weights).square().sum()


def feedforward(net, x, weights=None):
    """The stacked hidden activities z_t of one sample."""
    parts, z = [], x
    for w, b in list(zip(weights or net.weights, net.biases, strict=True))[:-1]:
        z = PHI[net.activation](w @ z + b)
        parts.append(z)
    return torch.cat(parts)


def taylor_oracle(net, x, y):
    """L, g, I and H_L of one sample, dense."""
    z = feedforward(net, x)
    jacobian = torch.autograd.functional.jacobian(lambda z: errors(net, z, x, y), z)
    output = jacobian[-net.sizes[-1] :]
    gradient = torch.autograd.functional.jacobian(lambda z: energy(net, z, x, y), z)
    return energy(net, z, x, y), gradient, jacobian.T @ jacobian, output.T @ output


def slope_and_curvature(net, z, x, y, weights=None, create_graph=False):
    """∂F/∂z and ∂²F/∂z² of one sample at the stacked activities z."""
    return (
        derive(lambda z: energy(net, z, x, y, weights), z, create_graph=create_graph)
        for derive in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian)
    )


def equilibrium(net, x, y):
    """z* by Newton's method with autograd's derivatives, from the feedforward pass, a list of (B, n_l)."""
    rows = []
    for xi, yi in zip(x, y, strict=True):
        z = feedforward(net, xi)
        for _ in range(30):
            g, h = slope_and_curvature(net, z, xi, yi)
            delta = -torch.linalg.solve(h, g)
            z = z + delta
            if delta.norm() <= 1e-15 * (1 + z.norm()):
                break
        assert g.norm() < 1e-11
        rows.append(z)
    return list(torch.stack(rows).split(net.sizes[1:-1], 1))


def pulled_back(net, x, covectors):
    """(∂z_t/∂W_k)ᵀ v averaged over the batch, for the hidden layers, by autograd."""
    weights = [w.clone().requires_grad_() for w in net.weights]
    total = sum(feedforward(net, xi, weights) @ v for xi, v in zip(x, covectors, strict=True)) / len(x)
    return torch.autograd.grad(total, weights[:-1])


def stacked(parts):
    return torch.cat(list(parts), 1)


def close(actual, expected, tolerance=1e-9):
    actual, expected = (torch.as_tensor(v, dtype=FLOAT64) for v in (actual, expected))
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def lists_close(actual, expected, tolerance=1e-9):
    assert len(actual) == len(expected)
    for pair in zip(actual, expected, strict=True):
        close(*pair, tolerance)


def relative(actual, expected):
    """‖actual − expected‖ / ‖expected‖ over a list of tensors."""
    difference = sum((a - e).square().sum() for a, e in zip(actual, expected, strict=True))
    return math.sqrt(difference / sum(e.square().sum() for e in expected))


def slope(error_at):
    """The slope of log error over log residual, at the smaller residuals."""
    high, low = (error_at(residual) for residual in RESIDUALS[1:])
    return math.log10(high / low)


# Eqs. 5, 21 and 22: value, gradient, Hessian


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets(activations=tuple(PHI)))
def test_value_and_gradient_at_the_feedforward_pass(drawn):
    net, x, y = drawn
    activities = network.forward(net, x)[:-1]
    close(network.energy(net, activities, x, y), network.loss(net, x, y))
    for i, (xi, yi) in enumerate(zip(x, y, strict=True)):
        close(stacked(taylor.gradient(net, x, y))[i], taylor_oracle(net, xi, yi)[1])
    lists_close(taylor.gradient(net, x, y), network.activity_gradients(net, activities, x, y))


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets(activations=tuple(PHI)), st.integers(0, 2**31))
def test_hessian_and_fisher_at_any_activities(drawn, seed):
    net, x, y = drawn
    rng = torch.Generator().manual_seed(seed)
    z = [torch.randn(len(x), n, generator=rng, dtype=FLOAT64) for n in net.sizes[1:-1]]
    hessian, fisher = taylor.hessian(net, x, y, z), taylor.fisher(net, x, z)
    for i, (xi, yi, zi) in enumerate(zip(x, y, stacked(z), strict=True)):
        close(hessian[i], torch.autograd.functional.hessian(lambda z: energy(net, z, xi, yi), zi))  # noqa: B023
        jacobian = torch.autograd.functional.jacobian(lambda z: errors(net, z, xi, yi), zi)  # noqa: B023
        close(fisher[i], jacobian.T @ jacobian)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets())
def test_at_the_feedforward_pass_the_hessian_is_the_fisher_information(drawn):
    net, x, y = drawn
    fisher = taylor.fisher(net, x)
    close(taylor.hessian(net, x, y), fisher, 1e-12)
    for i, (xi, yi) in enumerate(zip(x, y, strict=True)):
        close(fisher[i], taylor_oracle(net, xi, yi)[2])
    assert torch.linalg.eigvalsh(fisher).min() > 0


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", [1, 2, 4])
def test_away_from_it_they_part_in_proportion_to_the_residual(activation, hidden):
    net, x, y = random_net(hidden, hidden, activation)

    def distance(residual):
        target = closer(net, x, y, residual)
        z = equilibrium(net, x, target)
        return float((taylor.hessian(net, x, target, z) - taylor.fisher(net, x, z)).norm())

    if activation == "linear" or hidden == 1:
        assert distance(1.0) == 0
    else:
        assert slope(distance) == pytest.approx(1, abs=0.05)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets())
def test_the_fisher_information_of_the_output_alone_is_singular(drawn):
    net, x, y = drawn
    alone, n = taylor.output_fisher(net), sum(net.sizes[1:-1])
    for xi, yi in zip(x, y, strict=True):
        close(alone, taylor_oracle(net, xi, yi)[3])
    rank = int(torch.linalg.matrix_rank(alone))
    assert rank == min(net.sizes[-2:])
    assert len(net.weights) == 2 or rank < n


# Eqs. 6 and 23: the step, and the model's least value


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets(activations=tuple(PHI)))
def test_step_and_model_equal_the_dense_ones(drawn):
    net, x, y = drawn
    step = taylor.inference_step(net, x, y)
    other = [torch.randn_like(s) for s in step]
    value, least = taylor.model(net, x, y, other), taylor.model_minimum(net, x, y)
    for i, (xi, yi) in enumerate(zip(x, y, strict=True)):
        loss, g, info, _ = taylor_oracle(net, xi, yi)
        delta, moved = -torch.linalg.solve(info, g), stacked(other)[i]
        close(stacked(step)[i], delta)
        close(value[i], loss + g @ moved + 0.5 * moved @ info @ moved)
        close(least[i], loss + 0.5 * g @ delta)
    close(taylor.model(net, x, y, step), least)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.one_of(nets(activations=("linear",)), nets(hidden=(1, 1))))
def test_the_step_is_exact_for_linear_nets_and_for_one_hidden_layer(drawn):
    net, x, y = drawn
    z = equilibrium(net, x, y)
    moved = [a + d for a, d in zip(network.forward(net, x), taylor.inference_step(net, x, y), strict=False)]
    lists_close(moved, z)
    close(network.energy(net, z, x, y), taylor.model_minimum(net, x, y))


@pytest.mark.slow
@pytest.mark.parametrize("activation", BENT)
@pytest.mark.parametrize("hidden", range(2, 7))
def test_elsewhere_the_steps_error_is_first_order(activation, hidden):
    net, x, y = random_net(hidden, hidden, activation)

    def step_error(residual):
        target = closer(net, x, y, residual)
        exact = [z - a for z, a in zip(equilibrium(net, x, target), network.forward(net, x), strict=False)]
        return relative(taylor.inference_step(net, x, target), exact)

    def energy_error(residual):
        target = closer(net, x, y, residual)
        exact = network.energy(net, equilibrium(net, x, target), x, target)
        return float((taylor.model_minimum(net, x, target) - exact).norm() / exact.norm())

    assert slope(step_error) == pytest.approx(1, abs=0.1)
    assert slope(energy_error) == pytest.approx(1, abs=0.1)


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
def test_float32_agrees_with_float64(seed):
    double, single = (random_net(seed, 3, "tanh", dtype) for dtype in (FLOAT64, torch.float32))
    for function in (taylor.inference_step, taylor.corrected_gradients, taylor.printed_gradients):
        lists_close(function(*single), function(*double), 1e-4)
        assert all(v.dtype == torch.float32 for v in function(*single))
    close(taylor.model_minimum(*single), taylor.model_minimum(*double), 1e-4)


# Eqs. 7, 24 and 25: the weight gradient


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets(activations=tuple(PHI)))
def test_weight_gradients_equal_their_formulas(drawn):
    net, x, y = drawn
    printed, corrected = [], []
    for xi, yi in zip(x, y, strict=True):
        _, g, info, curvature = taylor_oracle(net, xi, yi)
        delta = -torch.linalg.solve(info, g)
        printed.append(g - delta)
        corrected.append(g + curvature @ delta)
    lists_close(taylor.printed_gradients(net, x, y), pulled_back(net, x, printed))
    lists_close(taylor.corrected_gradients(net, x, y), pulled_back(net, x, corrected))
    backprop = network.backprop_gradients(net, x, y)[:-1]
    gradient = stacked(taylor.gradient(net, x, y))
    lists_close(backprop, pulled_back(net, x, gradient))


def exact_gradients(net, x, y):
    return network.weight_gradients(net, equilibrium(net, x, y), x, y)[:-1]


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(nets(hidden=(1, 1)))
def test_the_corrected_gradient_is_exact_for_one_hidden_layer(drawn):
    net, x, y = drawn
    lists_close(taylor.corrected_gradients(net, x, y), exact_gradients(net, x, y), 1e-12)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(nets(activations=("linear",)))
def test_in_linear_nets_it_is_exact_for_the_first_layer_and_at_the_moved_activities_for_all(drawn):
    net, x, y = drawn
    corrected, exact = taylor.corrected_gradients(net, x, y), exact_gradients(net, x, y)
    close(corrected[0], exact[0])
    moved = [a + d for a, d in zip(network.forward(net, x), taylor.inference_step(net, x, y), strict=False)]
    lists_close(network.weight_gradients(net, moved, x, y)[:-1], exact)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("hidden", range(1, 7))
def test_its_error_falls_with_the_residual_and_the_printed_ones_does_not(activation, hidden):
    net, x, y = random_net(10 + hidden, hidden, activation)

    def error(function):
        def at(residual):
            target = closer(net, x, y, residual)
            return relative(function(net, x, target), exact_gradients(net, x, target))

        return at

    if hidden == 1:
        assert max(map(error(taylor.corrected_gradients), RESIDUALS)) < 1e-11
    else:
        assert slope(error(taylor.corrected_gradients)) == pytest.approx(1, abs=0.1)
    assert slope(error(taylor.printed_gradients)) == pytest.approx(0, abs=0.05)
    assert error(taylor.printed_gradients)(RESIDUALS[-1]) > 0.5


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(nets())
def test_the_printed_error_has_a_floor_in_the_last_hidden_layer(drawn):
    """For W_{L−1} and one sample it is at least min φ′ / (max φ′ max Π_{L−1}) where first order is all there is."""
    net, x, y = drawn
    x, y = x[:1], y[:1]
    slopes = network.sweep(net, x).slopes[-1]
    spread = 1.0 if slopes is None else float(slopes.abs().min() / slopes.abs().max())
    first_order = taylor.corrected_gradients(net, x, y)[-1:]
    error = relative(taylor.printed_gradients(net, x, y)[-1:], first_order)
    assert error >= spread / float(net.precisions[-2].max()) * (1 - 1e-9)


@given(st.tuples(*[st.floats(-2, 2).filter(lambda v: abs(v) > 0.05)] * 4), st.floats(0.2, 5), st.floats(0.2, 5))
@settings(deadline=None, derandomize=True, database=None)
def test_on_the_1mlp_all_of_it_is_the_closed_form(numbers, pi1, pi2):
    w1, w2, x, y = numbers
    one = [torch.full((1, 1), v, dtype=FLOAT64) for v in numbers]
    net = network.PCN(one[:2], precisions=[pi1, pi2])
    exact = onemlp.equilibrated_energy_gradient(w1, w2, x, y, pi1, pi2)[0]
    info, g = pi1 + pi2 * w2**2, float(taylor.gradient(net, *one[2:])[0])
    close(taylor.fisher(net, one[2]).item(), info)
    close(w1 * x + taylor.inference_step(net, *one[2:])[0].item(), onemlp.equilibrium(w1, w2, x, y, pi1, pi2))
    close(taylor.model_minimum(net, *one[2:]).item(), onemlp.equilibrated_energy(w1, w2, x, y, pi1, pi2))
    close(taylor.corrected_gradients(net, *one[2:])[0].item(), exact)
    close(taylor.printed_gradients(net, *one[2:])[0].item(), x * g / info + x * g)
    close(taylor.printed_gradients(net, *one[2:])[0].item(), exact * (1 + info) / pi1)
    unit = network.PCN(one[:2])
    printed, exact = taylor.printed_gradients(unit, *one[2:]), onemlp.equilibrated_energy_gradient(w1, w2, x, y)
    close(printed[0].item(), (2 + w2**2) * exact[0])


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(nets(activations=("linear",)))
def test_the_linear_energy_is_the_loss_minus_the_gain_and_so_is_its_gradient(drawn):
    net, x, y = drawn
    z = equilibrium(net, x, y)

    def loss_minus_gain(*weights):
        """L − ½ gᵀ I⁻¹ g over the batch, dense and in terms of all weights."""
        total = 0.0
        for xi, yi in zip(x, y, strict=True):
            at = feedforward(net, xi, weights)
            g, info = slope_and_curvature(net, at, xi, yi, weights, create_graph=True)
            total = total + energy(net, at, xi, yi, weights) - 0.5 * g @ torch.linalg.solve(info, g)
        return total / len(x)

    close(loss_minus_gain(*net.weights), network.energy(net, z, x, y).mean())
    by_autograd = torch.autograd.functional.jacobian(loss_minus_gain, tuple(net.weights))
    lists_close(by_autograd, network.weight_gradients(net, z, x, y))


# The edges


def test_without_hidden_layers_there_is_nothing_to_infer():
    net, x, y = random_net(0, 0, "linear")
    for function in (taylor.gradient, taylor.inference_step, taylor.printed_gradients, taylor.corrected_gradients):
        assert function(net, x, y) == []
    assert taylor.hessian(net, x, y).shape == taylor.fisher(net, x).shape == (3, 0, 0)
    assert taylor.output_fisher(net).shape == (0, 0)
    close(taylor.model_minimum(net, x, y), network.loss(net, x, y))
    close(taylor.model(net, x, y, []), network.loss(net, x, y))


def test_at_zero_residual_nothing_moves():
    net, x, _ = random_net(3, 3, "tanh")
    y = network.forward(net, x)[-1]
    for function in (taylor.gradient, taylor.inference_step, taylor.printed_gradients, taylor.corrected_gradients):
        lists_close(function(net, x, y), [0 * v for v in function(net, x, y)], 1e-14)


@pytest.mark.parametrize("name", ["gradient", "hessian", "inference_step", "model_minimum", "printed_gradients"])
@pytest.mark.parametrize("argument", ["x", "y"])
@pytest.mark.parametrize("bad", [lambda v: v[:, :0], lambda v: v * math.nan, lambda v: v.float(), lambda v: None])
def test_bad_data_is_named(name, argument, bad):
    net, x, y = random_net(1, 2, "tanh")
    data = {"x": x, "y": y} | {argument: bad({"x": x, "y": y}[argument])}
    with pytest.raises(ValueError, match=f"^{argument} "):
        getattr(taylor, name)(net, **data)


def test_bad_activities_steps_and_nets_are_named():
    net, x, y = random_net(1, 2, "tanh")
    z = network.forward(net, x)[:-1]
    with pytest.raises(ValueError, match="^activities holds 1 layers: must be 2"):
        taylor.hessian(net, x, y, z[:1])
    with pytest.raises(ValueError, match=r"^activities\[1\] has shape"):
        taylor.fisher(net, x, [z[0], z[1][:, :0]])
    with pytest.raises(ValueError, match="^step holds 1 layers: must be 2"):
        taylor.model(net, x, y, z[:1])
    with pytest.raises(ValueError, match=r"^step\[0\] has shape"):
        taylor.model(net, x, y, [z[0][:, :0], z[1]])
    with pytest.raises(ValueError, match=r"^step\[1\] is a NoneType"):
        taylor.model(net, x, y, [z[0], None])
    with pytest.raises(ValueError, match="^step = None: must be a list"):
        taylor.model(net, x, y, None)
    with pytest.raises(ValueError, match="^x has shape"):
        taylor.fisher(net, x[:, :0])
    huge = network.PCN([1e200 * w for w in net.weights], "linear")
    with pytest.raises(ValueError, match="^net: "):
        taylor.corrected_gradients(huge, torch.zeros_like(x), torch.zeros_like(y))


@pytest.mark.parametrize("activation", SMOOTH)
def test_without_precisions_they_are_one(activation):
    net, x, y = random_net(5, 3, activation)
    plain, ones = (network.PCN(net.weights, activation, net.biases, p) for p in (None, [1.0] * len(net.weights)))
    for function in (taylor.gradient, taylor.inference_step, taylor.printed_gradients, taylor.corrected_gradients):
        lists_close(function(plain, x, y), function(ones, x, y), 1e-13)
    for function in (taylor.hessian, taylor.model_minimum):
        close(function(plain, x, y), function(ones, x, y))
    close(taylor.fisher(plain, x), taylor.fisher(ones, x))


def test_a_jacobian_that_overflows_in_one_sample_is_refused():
    """J = W_3 φ′(u_2) W_2 overflows, squared, where x = 0; at x = 1 the second unit is saturated, and J is 0."""
    net = network.PCN([torch.tensor([[w]], dtype=FLOAT64) for w in (1.0, 1e100, 1e100)], "tanh")
    x = torch.tensor([[1.0], [0.0]], dtype=FLOAT64)
    taylor.inference_step(net, x[:1], x[:1])
    with pytest.raises(ValueError, match="^net: its Jacobian overflows"):
        taylor.inference_step(net, x, x)


def test_trust_region_offers_the_same_names():
    assert sorted(trust_region._TAYLOR) == sorted(taylor.__all__)
    for name in taylor.__all__:
        assert getattr(trust_region, name) is getattr(taylor, name)
        assert name in dir(trust_region)
    assert {"step", "damped_newton"} <= set(dir(trust_region))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trust_region.nothing


def test_trust_region_step_in_the_fisher_geometry_ends_where_inference_does():
    """Eq. 4 with a linear model and A = I: the radius that reaches Δz makes it the best step, with multiplier 1."""
    net, x, y = random_net(7, 2, "tanh")
    delta = stacked(taylor.inference_step(net, x, y))[0].numpy()
    g, info = stacked(taylor.gradient(net, x, y))[0].numpy(), taylor.fisher(net, x)[0].numpy()
    step = trust_region.step(g, delta @ info @ delta, geometry=info)
    np.testing.assert_allclose(step.delta, delta, rtol=1e-8)
    assert step.multiplier == pytest.approx(1)
