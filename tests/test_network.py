"""The deep network's kernel against autograd, scalar arithmetic and finite differences."""

import math

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from oracles import LEAST_SLOPE, PHI, distance, feedforward, noisy, problem, problems, prop
from oracles import activity_gradients as autograd_activities
from oracles import energy as reference_energy
from oracles import gradients as autograd_gradients

from pcbook import network

ALL = tuple(network.ACTIVATIONS)
F64 = torch.float64


def example(activation="tanh", seed=3, depth=3, width=9, batch=5, biases=True, precisions="vectors", **more):
    return problem(seed, activation, depth, width, batch, biases, precisions, **more)


def as_numbers(value):
    return value.detach().tolist()


def all_finite(tensors):
    return all(bool(torch.isfinite(t).all()) for t in tensors)


# Activations

EXTREME = [0.0, 1e-30, 1e-8, 1e-3, 0.5, 1.0, 3.0, 8.0, 19.9, 20.1, 39.9, 40.1, 88.0, 100.0, 710.0, 1e3]
EXTREME = torch.tensor(sorted({s * u for u in EXTREME for s in (-1.0, 1.0)}), dtype=F64)


@pytest.mark.parametrize("name", ALL)
def test_activation_matches_its_definition(name):
    function, place = network.ACTIVATIONS[name].function, torch.full_like(EXTREME, torch.nan)
    torch.testing.assert_close(function(EXTREME), PHI[name](EXTREME), rtol=1e-14, atol=1e-16)
    assert function(EXTREME, out=place) is place
    torch.testing.assert_close(place, PHI[name](EXTREME), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", ALL)
def test_slope_is_the_derivative_of_the_definition(name):
    u = EXTREME.clone().requires_grad_()
    (expected,) = torch.autograd.grad(PHI[name](u).sum(), u)
    function, slope, *_ = network.ACTIVATIONS[name]
    found = slope(EXTREME, function(EXTREME))
    found = torch.ones_like(EXTREME) if found is None else found
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    single = slope(EXTREME.float(), function(EXTREME.float()))
    single = torch.ones_like(EXTREME.float()) if single is None else single
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_bend_is_the_second_derivative(name):
    points = EXTREME[EXTREME.abs() < 100]  # beyond, autograd has infinities to divide
    u = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(PHI[name](u).sum(), u, create_graph=True)
    expected = torch.autograd.grad(slope.sum(), u)[0] if slope.requires_grad else torch.zeros_like(points)
    found = network.ACTIVATIONS[name].bend(points)
    torch.testing.assert_close(torch.zeros_like(points) if found is None else found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_kinked_activations_are_those_whose_slope_jumps_at_zero(name):
    function, slope, _, kinked = network.ACTIVATIONS[name]
    u = torch.tensor([-1e-9, 1e-9], dtype=F64)
    sides = slope(u, function(u))
    assert kinked == (sides is not None and abs(float(sides[1] - sides[0])) > 0.5)
    assert kinked == (name in LEAST_SLOPE)
    if kinked:
        assert float(sides[0]) == LEAST_SLOPE[name]


# Energy


def scalar_energy(net, activities, x, y, sample):
    """Eq. 20 with Python's floats, one unit at a time."""
    phi = {
        "linear": lambda u: u,
        "tanh": math.tanh,
        "relu": lambda u: max(u, 0.0),
        "leaky_relu": lambda u: u if u > 0 else 0.01 * u,
        "softplus": lambda u: max(u, 0.0) + math.log1p(math.exp(-abs(u))),
        "gelu": lambda u: u * math.erfc(-u / math.sqrt(2)) / 2,
    }[net.activation]
    layers = [as_numbers(z[sample]) for z in (x, *activities, y)]
    total = 0.0
    for l, (below, above) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        for i, row in enumerate(as_numbers(net.weights[l])):
            u = sum(w * z for w, z in zip(row, below, strict=True))
            u += float(net.biases[l][i]) if net.biases else 0.0
            prediction = u if l == len(net.weights) - 1 else phi(u)
            total += (float(net.precisions[l][i]) if net.precisions else 1.0) * (above[i] - prediction) ** 2
    return total / 2


@prop(30, arguments=problems(ALL, width=st.integers(1, 20), batch=st.integers(1, 3)))
def test_energy_is_the_sum_over_units(arguments):
    net, x, y = problem(**arguments)
    z = noisy(net, x)
    expected = [scalar_energy(net, z, x, y, i) for i in range(len(x))]
    found = network.energy(net, z, x, y)
    assert found.shape == (len(x),) and found.dtype == F64
    torch.testing.assert_close(found, torch.tensor(expected, dtype=F64), rtol=1e-12, atol=1e-14)


@prop(30, arguments=problems(ALL))
def test_feedforward_pass_has_the_loss_for_its_energy_and_no_hidden_errors(arguments):
    net, x, y = problem(**arguments)
    z = network.forward(net, x)
    assert distance(z, feedforward(net, x)) < 1e-13
    errors = network.prediction_errors(net, z[:-1], x, y)
    assert all(float(e.abs().max()) == 0 for e in errors[:-1])
    torch.testing.assert_close(errors[-1], y - z[-1], rtol=0, atol=0)
    precision = 1.0 if net.precisions is None else net.precisions[-1]
    expected = 0.5 * (precision * (y - z[-1]) ** 2).sum(1)
    for found in (network.loss(net, x, y), network.energy(net, z[:-1], x, y)):
        assert found.dtype == F64
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@prop(20, arguments=problems(ALL))
def test_prediction_errors_undo_a_sweep_with_these_errors(arguments):
    net, x, y = problem(**arguments)
    given = [0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
             for z in feedforward(net, x)[:-1]]  # fmt: skip
    state = network.sweep(net, x, given)
    assert len(state.inputs) == len(state.slopes) + 1 == len(net.weights)
    found = network.prediction_errors(net, state.inputs[1:], x, y)
    assert distance(found, [*given, y - state.output]) < 1e-12


def test_energy_is_summed_in_float64():
    net = network.PCN([torch.zeros(60, 2)])
    y = torch.ones(1, 60)
    y[0, 0] = 2.0**13  # float32's spacing at the sum, 2²⁵, is 4
    assert network.energy(net, [], torch.ones(1, 2), y).item() == (2.0**26 + 59) / 2
    net = network.PCN([torch.zeros(1, 2), torch.zeros(1, 1)])
    hidden, y = torch.ones(1, 1), torch.full((1, 1), 2.0**13)
    assert network.energy(net, [hidden], torch.ones(1, 2), y).item() == (2.0**26 + 1) / 2
    precision = 1 + 2.0**-23  # times 3² = 9 it does not fit into float32
    net = network.PCN([torch.zeros(1, 2)], precisions=[precision])
    assert network.loss(net, torch.ones(1, 2), torch.full((1, 1), 3.0)).item() == 4.5 * precision


# Gradients


@prop(40, arguments=problems(ALL))
def test_activity_gradients_match_autograd(arguments):
    net, x, y = problem(**arguments)
    z = noisy(net, x)
    found = network.activity_gradients(net, z, x, y)
    assert [g.shape for g in found] == [a.shape for a in z]
    assert not z or distance(found, autograd_activities(net, z, x, y)) < 1e-12


@prop(40, arguments=problems(ALL))
def test_local_gradients_match_autograd(arguments):
    net, x, y = problem(**arguments)
    z = noisy(net, x)
    weights, biases = autograd_gradients(net, x, y, z)
    found = network.gradients(net, z, x, y)
    assert [g.shape for g in found.weights] == [w.shape for w in net.weights]
    for g, expected in zip(found.weights, weights, strict=True):
        assert distance([g], [expected]) < 1e-11
    if net.biases is None:
        assert found.biases is None
    else:
        assert distance(found.biases, biases) < 1e-12
    assert distance(network.weight_gradients(net, z, x, y), weights) < 1e-12


@prop(40, arguments=problems(ALL))
def test_backprop_matches_autograd(arguments):
    net, x, y = problem(**arguments)
    weights, biases = autograd_gradients(net, x, y)
    found = network.backprop(net, x, y)
    for g, expected in zip(found.weights, weights, strict=True):
        assert distance([g], [expected]) < 1e-10
    if net.biases is None:
        assert found.biases is None
    else:
        assert distance(found.biases, biases) < 1e-11
    assert distance(network.backprop_gradients(net, x, y), weights) < 1e-11


@prop(30, arguments=problems(ALL))
def test_float32_gradients_are_float64s_to_float32s_accuracy(arguments):
    net, x, y = (v.to(torch.float32) for v in problem(**arguments))
    z = [a.float() for a in noisy(net, x)]
    double = [a.double() for a in z]
    tolerance = 2e-5  # round-off of 6e-8 grows with fan-in and depth
    assert network.energy(net, z, x, y).dtype == F64
    torch.testing.assert_close(
        network.energy(net, z, x, y), reference_energy(net, double, x, y), rtol=tolerance, atol=1e-7
    )
    found = network.gradients(net, z, x, y)
    assert all(g.dtype == torch.float32 for g in found.weights)
    assert distance(found.weights, autograd_gradients(net, x, y, double)[0]) < tolerance
    assert (
        not z or distance(network.activity_gradients(net, z, x, y), autograd_activities(net, double, x, y)) < tolerance
    )
    if net.activation not in LEAST_SLOPE:  # beside a kink round-off may change the side
        assert distance(network.backprop_gradients(net, x, y), autograd_gradients(net, x, y)[0]) < 20 * tolerance


@prop(25, arguments=problems(ALL, width=st.integers(1, 12), depth=st.integers(1, 6)), step=st.just(1e-6))
def test_gradients_match_finite_differences(arguments, step):
    net, x, y = problem(**arguments)
    z = noisy(net, x)

    def moved(t):
        """The network, its activities and their preactivations' signs a step t along one random direction."""
        rng = torch.Generator().manual_seed(5)
        move = [[a + t * torch.randn(a.shape, generator=rng, dtype=F64) for a in part]
                for part in (net.weights, net.biases or [], z)]  # fmt: skip
        return network.PCN(move[0], net.activation, move[1] or None, net.precisions), move[2]

    def signs(t):
        there, activities = moved(t)
        own = [torch.cat([v.sign().flatten() for v in network.sweep(there, x).preactivations] or [torch.zeros(0)])]
        below = zip([x, *activities], there.weights, there.biases or [0.0] * len(there.weights), strict=True)
        return torch.cat(own + [(a @ w.T + b).sign().flatten() for a, w, b in below])

    if net.activation in LEAST_SLOPE:
        assume(bool((signs(-step) == signs(step)).all()))
    ends = [moved(t) for t in (-step, step)]
    direction = [
        (b - a) / (2 * step) for a, b in zip(*([*n.weights, *(n.biases or []), *a] for n, a in ends), strict=True)
    ]

    def slope(gradients):
        return sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))

    own = network.gradients(net, z, x, y)
    activity = [g / len(x) for g in network.activity_gradients(net, z, x, y)]
    low, high = (float(network.energy(n, a, x, y).mean()) for n, a in ends)
    scale = max(abs(low), 1.0)
    found = slope([*own.weights, *(own.biases or []), *activity])
    assert found == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-7 * scale)
    own = network.backprop(net, x, y)
    low, high = (float(network.loss(n, x, y).mean()) for n, _ in ends)
    del direction[len(own.weights) + len(own.biases or []) :]
    scale = max(abs(low), 1.0)
    found = slope([*own.weights, *(own.biases or [])])
    assert found == pytest.approx((high - low) / (2 * step), rel=1e-5, abs=1e-6 * scale)


@pytest.mark.parametrize("name", ALL)
def test_saturated_and_dead_units_give_finite_gradients(name):
    net, x, y = example(name)
    net = network.PCN([w * 1e3 for w in net.weights], name, net.biases, net.precisions)
    z = noisy(net, x)
    assert all_finite(network.activity_gradients(net, z, x, y))
    assert all_finite(network.gradients(net, z, x, y).weights)
    zero = network.PCN([torch.zeros_like(w) for w in net.weights], name)  # every u is exactly 0
    assert all_finite(network.backprop(zero, x, y).weights)


@pytest.mark.parametrize(("biases", "precisions"), [(True, "vectors"), (False, None)])
def test_the_top_of_a_network_continues_it(biases, precisions):
    net, x, _ = problem(1, "tanh", 4, 5, 3, biases, precisions)
    top = network.top(net, 2)
    activities = network.forward(net, x)
    torch.testing.assert_close(network.forward(top, activities[1])[-1], activities[-1])
    assert top.activation == net.activation and (top.biases is None) == (not biases)
    e = torch.ones_like(activities[2])
    torch.testing.assert_close(network.weigh_layer(top, 0, e), network.weigh_layer(net, 2, e))


@prop(15, arguments=problems(ALL))
def test_slopes_at_any_activities_are_those_of_the_predictions_there(arguments):
    net, x, _ = problem(**arguments)
    z = noisy(net, x)
    u, slopes = network.slopes(net, [x, *z])
    assert len(u) == len(slopes) == len(net.weights) - 1
    for below, above, slope, w, b in zip([x, *z], u, slopes, net.weights, net.biases or [0.0] * len(z), strict=False):
        torch.testing.assert_close(above, below @ w.T + b)
        point = above.clone().requires_grad_()
        (expected,) = torch.autograd.grad(PHI[net.activation](point).sum(), point)
        torch.testing.assert_close(torch.ones_like(above) if slope is None else slope, expected, rtol=0, atol=1e-14)


@prop(15, arguments=problems(ALL))
def test_adjoint_is_the_transposed_jacobian_in_error_coordinates(arguments):
    net, x, y = problem(**arguments)
    errors = [torch.zeros_like(z, requires_grad=True) for z in feedforward(net, x)[:-1]]
    state = network.sweep(net, x)
    if not errors:
        assert network.adjoint(net, state.slopes, y) == []
        return
    output = network.sweep(net, x, errors).output
    rows = [torch.autograd.grad(output[:, k].sum(), errors, retain_graph=True) for k in range(output.shape[1])]
    expected = [torch.stack(layer) for layer in zip(*rows, strict=True)]
    found = network.adjoint(net, state.slopes, torch.eye(output.shape[1], dtype=F64)[:, None, :].expand(-1, len(x), -1))
    assert distance(found, expected) < 1e-12


@prop(15, arguments=problems(ALL, batch=st.integers(2, 8)))
def test_a_batch_is_the_mean_of_its_samples(arguments):
    net, x, y = problem(**arguments)
    z = noisy(net, x)
    ones = [([a[i : i + 1] for a in z], x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    single = [network.weight_gradients(net, *one) for one in ones]
    assert (
        distance(network.weight_gradients(net, z, x, y), [sum(g) / len(x) for g in zip(*single, strict=True)]) < 1e-12
    )
    single = [network.backprop(net, *one[1:]) for one in ones]
    means = [sum(g) / len(x) for g in zip(*(s[0] for s in single), strict=True)]
    assert distance(network.backprop(net, x, y).weights, means) < 1e-12
    if net.biases:
        means = [sum(g) / len(x) for g in zip(*(s[1] for s in single), strict=True)]
        assert distance(network.backprop(net, x, y).biases, means) < 1e-12
    energies = torch.cat([network.energy(net, *one) for one in ones])
    torch.testing.assert_close(network.energy(net, z, x, y), energies, rtol=1e-12, atol=1e-14)


@prop(15, arguments=problems(ALL, precisions="vectors"))
def test_weigh_and_unweigh_are_inverse(arguments):
    net, x, y = problem(**arguments)
    errors = [*noisy(net, x), y]
    weighed = network.weigh(net, errors)
    assert distance(weighed, [p * e for p, e in zip(net.precisions, errors, strict=True)]) < 1e-15
    assert distance(weighed[-1:], [network.weigh_layer(net, -1, y)]) == 0
    assert distance([network.unweigh_output(net, weighed[-1])], [y]) < 1e-15
    assert len(errors) == 1 or distance(network.unweigh(net, weighed[:-1]), errors[:-1]) < 1e-15
    torch.testing.assert_close(
        network.quadratic(net, errors),
        sum(0.5 * (e * w).sum(1) for e, w in zip(errors, weighed, strict=True)),
        rtol=1e-13,
        atol=0,
    )


# Precisions and biases


def test_a_number_is_a_precision_for_every_unit():
    net, x, y = example(precisions=None)
    wide = [torch.full((n,), p, dtype=F64) for n, p in zip(net.sizes[1:], (0.5, 2.0, 3.0), strict=True)]
    for given in (
        [0.5, 2, 3.0],
        [torch.tensor(0.5), torch.tensor(2), 3],
        wide,
        tuple(wide),
        [w.tolist() for w in wide],
    ):
        made = network.PCN(net.weights, "tanh", net.biases, given)
        assert [p.dtype for p in made.precisions] == [F64] * 3
        assert distance(made.precisions, wide) == 0


@prop(10, arguments=problems(ALL, precisions=None), factor=st.floats(0.01, 100))
def test_equal_precisions_scale_everything(arguments, factor):
    net, x, y = problem(**arguments)
    scaled = network.PCN(net.weights, net.activation, net.biases, [factor] * len(net.weights))
    z = noisy(net, x)
    for compute in (network.weight_gradients, network.activity_gradients):
        once = [factor * g for g in compute(net, z, x, y)]
        assert not once or distance(compute(scaled, z, x, y), once) < 1e-13
    torch.testing.assert_close(
        network.energy(scaled, z, x, y), factor * network.energy(net, z, x, y), rtol=1e-12, atol=0
    )


@prop(10, arguments=problems(ALL, biases=True))
def test_biases_are_weights_of_a_constant_input(arguments):
    """The first layer's bias is one more input, always 1."""
    net, x, y = problem(**arguments)
    longer = [torch.cat([net.weights[0], net.biases[0][:, None]], 1), *net.weights[1:]]
    rest = [torch.zeros_like(net.biases[0]), *net.biases[1:]]
    folded = network.PCN(longer, net.activation, rest, net.precisions)
    ones = torch.cat([x, torch.ones(len(x), 1, dtype=F64)], 1)
    z = noisy(net, x)
    torch.testing.assert_close(network.energy(net, z, x, y), network.energy(folded, z, ones, y), rtol=1e-12, atol=1e-14)
    found, first = network.gradients(net, z, x, y), network.gradients(folded, z, ones, y).weights[0]
    assert distance([found.weights[0], found.biases[0]], [first[:, :-1], first[:, -1]]) < 1e-13


# Tensors are kept, read and left alone


def test_updates_in_place_train_the_network():
    net, x, y = example(depth=2)
    weights, biases, precisions = net.weights, net.biases, net.precisions
    before = network.loss(net, x, y)
    for tensors in (weights, biases, precisions):
        for t in tensors:
            t.mul_(1.5)
            after = network.energy(net, noisy(net, x), x, y)
            fresh = network.PCN([w.clone() for w in weights], "tanh", [b.clone() for b in biases], precisions)
            torch.testing.assert_close(after, network.energy(fresh, noisy(net, x), x, y), rtol=0, atol=0)
    given = [torch.ones(3, 2), torch.ones(1, 3)]
    held = network.PCN(given).weights
    assert all(a is b for a, b in zip(given, held, strict=True)) and held is not given
    assert not torch.equal(before, network.loss(net, x, y))


def test_a_step_along_the_gradient_lowers_the_loss():
    net, x, y = example(depth=4)
    before = network.loss(net, x, y).mean()
    for tensor, g in zip([*net.weights, *net.biases], sum(network.backprop(net, x, y), []), strict=True):
        tensor.sub_(g, alpha=1e-4)
    assert network.loss(net, x, y).mean() < before


@pytest.mark.parametrize("name", ALL)
def test_views_give_what_copies_give_and_nothing_is_written(name):
    net, x, y = example(name, seed=5, width=20)
    z = noisy(net, x)

    def stride(t):
        return t.t().contiguous().t()

    strided = network.PCN([stride(w) for w in net.weights], name, net.biases, net.precisions)
    assert not any(w.is_contiguous() for w in strided.weights)
    inputs = [stride(a) for a in (x, y, *z)]
    tensors = [*strided.weights, *strided.biases, *strided.precisions, *inputs]
    versions, copies = [t._version for t in tensors], [t.clone() for t in tensors]
    found = network.gradients(strided, inputs[2:], *inputs[:2])
    assert distance(sum(found, []), sum(network.gradients(net, z, x, y), [])) < 1e-13
    assert distance(network.backprop(strided, *inputs[:2])[0], network.backprop(net, x, y)[0]) < 1e-13
    network.forward(strided, inputs[0]), network.loss(strided, *inputs[:2])
    network.activity_gradients(strided, inputs[2:], *inputs[:2])
    assert [t._version for t in tensors] == versions
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


def test_expanded_inputs_and_parameters_are_read_like_full_ones():
    net, x, y = example(batch=1)
    z = noisy(net, x)
    wide = [a.expand(4, -1) for a in (x, y, *z)]
    full = [a.contiguous() for a in wide]
    for f in (network.weight_gradients, network.activity_gradients):
        assert distance(f(net, wide[2:], *wide[:2]), f(net, full[2:], *full[:2])) == 0
    assert distance(network.backprop_gradients(net, *wide[:2]), network.backprop_gradients(net, x, y)) < 1e-14
    constant = network.PCN([torch.tensor(0.5).expand(3, 4), torch.tensor(0.1).expand(2, 3)], "relu", None, [2, 3])
    plain = network.PCN([torch.full((3, 4), 0.5), torch.full((2, 3), 0.1)], "relu", None, [2, 3])
    x, y = torch.ones(2, 4), torch.ones(2, 2)
    assert distance(network.backprop_gradients(constant, x, y), network.backprop_gradients(plain, x, y)) == 0


def test_to_casts_every_tensor_and_keeps_the_rest():
    net, x, y = example()
    single = net.to(torch.float32)
    assert {t.dtype for t in (*single.weights, *single.biases, *single.precisions)} == {torch.float32}
    assert single.activation == "tanh" and single.dtype == torch.float32 and single.device == torch.device("cpu")
    assert single.sizes == net.sizes == [net.weights[0].shape[1], *(w.shape[0] for w in net.weights)]
    assert (
        distance(network.backprop_gradients(single, x.float(), y.float()), network.backprop_gradients(net, x, y)) < 1e-5
    )
    bare = network.PCN(net.weights).to(dtype=torch.float32)
    assert bare.biases is None and bare.precisions is None and bare.dtype == torch.float32


def test_networks_are_told_apart_by_identity():
    net = example().net
    assert net == net and net != net.to(torch.float32) and len({net, net}) == 1


# Initialisation

SIZES = [400, 300, 300, 200, 100]


def moments(values):
    """(mean, second, fourth moment) with the sampling error of each, six standard errors, in its own units."""
    flat = values.double().flatten()
    powers = [flat, flat**2, flat**4]
    return [(float(p.mean()), 6 * float(p.std()) / math.sqrt(len(flat))) for p in powers]


def check_moments(values, second, kurtosis):
    (mean, tol1), (square, tol2), (fourth, tol4) = moments(values)
    assert abs(mean) < tol1
    assert abs(square - second) < tol2
    assert abs(fourth - kurtosis * second**2) < tol4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scheme", ["default", "he", "mupc", "uniform"])
def test_schemes_have_the_moments_they_state(scheme, seed):
    depth = len(SIZES) - 1
    for l, w in enumerate(network.init_weights(SIZES, seed, scheme, dtype=F64), 1):
        n = SIZES[l - 1]
        assert w.shape == (SIZES[l], n)
        second = {
            "default": 1 / (3 * n),  # the variance of U(±a) is a²/3
            "uniform": 1 / 3,
            "he": 2 / n,
            "mupc": 1 / n if l == 1 else 1 / n**2 if l == depth else 1 / (n * depth),
        }[scheme]
        uniform = scheme in ("default", "uniform")
        check_moments(w, second, 9 / 5 if uniform else 3.0)
        if uniform:
            bound = math.sqrt(3 * second)
            assert bound * (1 - 20 / w.numel()) < float(w.abs().max()) <= bound  # fails once in e²⁰ draws


def test_a_single_layer_in_mupc_is_the_first():
    (w,) = network.init_weights([400, 300], 0, "mupc", dtype=F64)
    check_moments(w, 1 / 400, 3.0)


def test_uniform_fills_its_interval():
    (w,) = network.init_weights([100, 100], 0, "uniform", interval=(0.5, 1.0), dtype=F64)
    assert 0.5 <= float(w.min()) < 0.5 + 1e-3 and 1 - 1e-3 < float(w.max()) <= 1
    check_moments(w - 0.75, 0.25**2 / 3, 9 / 5)
    assert torch.equal(network.init_weights([2, 3], 0, "uniform", interval=(2, 2))[0], torch.full((3, 2), 2.0))


@pytest.mark.parametrize("sizes", [[7, 7], [3, 9], [9, 3], [1, 5], [5, 1], [60, 31, 60, 1]])
def test_orthogonal_weights_are_orthonormal(sizes):
    for w, *shape in zip(network.init_weights(sizes, 0, "orthogonal", dtype=F64), sizes[1:], sizes[:-1], strict=True):
        assert list(w.shape) == shape
        gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        torch.testing.assert_close(gram, torch.eye(len(gram), dtype=F64), rtol=0, atol=1e-13)


def test_orthogonal_weights_are_uniformly_distributed():
    """Under the Haar measure on O(n) the trace has mean 0 and variance 1; QR's own signs give another mean."""
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([network.init_weights([4, 4], rng, "orthogonal", dtype=F64)[0] for _ in range(500)])
    traces = draws.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(traces.mean())) < 6 / math.sqrt(500)
    assert float(traces.var()) == pytest.approx(1, abs=6 * float((traces**2).std()) / math.sqrt(500))
    assert float(draws.mean(0).abs().max()) < 6 * 0.5 / math.sqrt(500)  # an entry's variance is 1/n


@pytest.mark.parametrize("scheme", network.SCHEMES)
def test_seeds_decide_the_draw_and_dtypes_do_not(scheme):
    draw = network.init_weights([5, 4, 4, 4, 3], 1, scheme, dtype=F64)
    assert distance(network.init_weights([5, 4, 4, 4, 3], 1, scheme, dtype=F64), draw) == 0
    single = network.init_weights([5, 4, 4, 4, 3], 1, scheme)
    assert all(torch.equal(s, w.float()) for s, w in zip(single, draw, strict=True))
    assert distance(network.init_weights([5, 4, 4, 4, 3], 2, scheme, dtype=F64), draw) > 0.1
    assert distance(draw[1:2], draw[2:3]) > 0.1  # layers of one shape are drawn one by one
    rng = torch.Generator().manual_seed(1)
    first, second = (network.init_weights([5, 4, 4, 4, 3], rng, scheme, dtype=F64) for _ in range(2))
    assert distance(first, draw) == 0 and distance(second, draw) > 0.1
    state = torch.random.get_rng_state()
    network.init_weights([5, 4], 1, scheme)
    assert torch.equal(state, torch.random.get_rng_state())  # torch's global generator is left alone


def test_biases_are_drawn_like_pytorchs():
    sizes = [50, 1000, 2000, 1000]
    biases = network.init_biases(sizes, 0, dtype=F64)
    for n, size, b in zip(sizes[:-1], sizes[1:], biases, strict=True):
        assert b.shape == (size,) and b.is_contiguous()
        check_moments(b, 1 / (3 * n), 9 / 5)
        assert float(b.abs().max()) <= n**-0.5
    assert all(torch.equal(s, b.float()) for s, b in zip(network.init_biases(sizes, 0), biases, strict=True))


# Bad input is answered by name

W = [torch.ones(3, 2), torch.ones(4, 3)]
X, Y, Z = torch.ones(5, 2), torch.ones(5, 4), torch.ones(5, 3)
NET = network.PCN(W, "tanh")
NAN, INF = float("nan"), float("inf")


def spoiled(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


BAD_NETWORKS = {
    "no weights": (dict(weights=[]), ["weights", "[]", "at least one"]),
    "None": (dict(weights=None), ["weights", "None", "list"]),
    "a number": (dict(weights=5), ["weights", "5", "list"]),
    "one tensor": (dict(weights=W[0]), ["weights[0]", "(2,)", "n_1, n_0"]),
    "a 0-d tensor": (dict(weights=torch.tensor(1.0)), ["weights", "1", "list"]),
    "a string": (dict(weights="ab"), ["weights[0]", "str", "tensor"]),
    "lists of numbers": (dict(weights=[[[1.0, 2.0]]]), ["weights[0]", "list", "float32 or float64 tensor"]),
    "NumPy": (dict(weights=[W[0].numpy()]), ["weights[0]", "ndarray", "float32 or float64 tensor"]),
    "integers": (dict(weights=[W[0].int(), W[1].int()]), ["weights[0]", "int32", "float32 or float64"]),
    "half precision": (dict(weights=[W[0].half()]), ["weights[0]", "float16", "float32 or float64"]),
    "mixed dtypes": (
        dict(weights=[W[0], W[1].double()]),
        ["weights[1] is torch.float64 on cpu: must be torch.float32"],
    ),
    "mixed devices": (dict(weights=[W[0], W[1].to("meta")]), ["weights[1]", "meta", "cpu"]),
    "a vector": (dict(weights=[W[0], torch.ones(3)]), ["weights[1]", "(3,)", "n_2, n_1"]),
    "three axes": (dict(weights=[torch.ones(2, 2, 2)]), ["weights[0]", "(2, 2, 2)"]),
    "a width of zero": (dict(weights=[torch.ones(0, 2), torch.ones(4, 0)]), ["weights[0]", "(0, 2)", "none of them 0"]),
    "no input": (dict(weights=[torch.ones(2, 0)]), ["weights[0]", "(2, 0)", "none of them 0"]),
    "no chain": (dict(weights=[W[0], W[0]]), ["weights[0]", "weights[1]", "(3, 2)", "chain"]),
    "a transposed matrix": (dict(weights=[W[0], W[1].T]), ["weights[1]", "(3, 4)", "chain"]),
    "NaN weights": (dict(weights=[W[0], spoiled(W[1], NAN)]), ["weights[1]", "nan", "finite"]),
    "infinite weights": (dict(weights=[spoiled(W[0], -INF), W[1]]), ["weights[0]", "-inf", "finite"]),
    "unknown activation": (dict(activation="sigmoid"), ["activation", "'sigmoid'", "'tanh'", "'gelu'"]),
    "a function": (dict(activation=torch.tanh), ["activation", "tanh", "'relu'"]),
    "no activation": (dict(activation=None), ["activation", "None", "'linear'"]),
    "one bias": (dict(biases=[torch.ones(3)]), ["biases", "1", "2 layers"]),
    "a number for biases": (dict(biases=0.0), ["biases", "0.0", "list"]),
    "a bias's shape": (dict(biases=[torch.ones(3), torch.ones(3)]), ["biases[1]", "(3,)", "(4,)"]),
    "a row for a bias": (dict(biases=[torch.ones(1, 3), torch.ones(4)]), ["biases[0]", "(1, 3)", "(3,)"]),
    "numbers for biases": (dict(biases=[0.0, 0.0]), ["biases[0]", "float", "tensor"]),
    "a bias's dtype": (dict(biases=[torch.ones(3), torch.ones(4).double()]), ["biases[1]", "float64", "float32"]),
    "NaN biases": (dict(biases=[torch.ones(3), spoiled(torch.ones(4), NAN)]), ["biases[1]", "nan", "finite"]),
    "no precision": (dict(precisions=[]), ["precisions", "0", "2 layers"]),
    "three precisions": (dict(precisions=[1, 1, 1]), ["precisions", "3", "2 layers"]),
    "one number for all": (dict(precisions=2.0), ["precisions", "2.0", "list"]),
    "a zero": (dict(precisions=[1.0, 0.0]), ["precisions[1]", "0.0", "> 0"]),
    "a negative": (dict(precisions=[-1, 1.0]), ["precisions[0]", "-1.0", "> 0"]),
    "one negative unit": (dict(precisions=[spoiled(torch.ones(3), -2.0), 1]), ["precisions[0]", "-2.0", "> 0"]),
    "NaN": (dict(precisions=[NAN, 1.0]), ["precisions[0]", "nan"]),
    "a NaN unit": (dict(precisions=[1.0, spoiled(torch.ones(4), NAN)]), ["precisions[1]", "nan"]),
    "infinite": (dict(precisions=[1.0, INF]), ["precisions[1]", "inf", "finite"]),
    "an infinite unit": (dict(precisions=[1.0, spoiled(torch.ones(4), INF)]), ["precisions[1]", "inf", "finite"]),
    "too small for float32": (dict(precisions=[1e-60, 1.0]), ["precisions[0]", "0.0", "> 0"]),
    "too large for float32": (dict(precisions=[1e60, 1.0]), ["precisions[0]", "inf", "finite"]),
    "precisions' shape": (dict(precisions=[torch.ones(2), 1.0]), ["precisions[0]", "(2,)", "(3,)"]),
    "a matrix": (dict(precisions=[torch.ones(3, 3), 1.0]), ["precisions[0]", "(3, 3)", "(3,)"]),
    "a word": (dict(precisions=["high", 1.0]), ["precisions[0]", "'high'", "number"]),
    "None inside": (dict(precisions=[None, 1.0]), ["precisions[0]"]),
    "complex": (dict(precisions=[1j, 1.0]), ["precisions[0]", "1j", "real"]),
}


def rejects(words, function, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message


@pytest.mark.parametrize("case", BAD_NETWORKS, ids=str)
def test_bad_networks_are_rejected_by_name(case):
    arguments, words = BAD_NETWORKS[case]
    rejects(words, network.PCN, **(dict(weights=W) | arguments))


BAD_DATA = {
    "x, one row": (dict(x=torch.ones(2)), ["x", "(2,)", "(B, 2)"]),
    "x, three axes": (dict(x=torch.ones(1, 5, 2)), ["x", "(1, 5, 2)", "(B, 2)"]),
    "x, a wrong width": (dict(x=torch.ones(5, 3)), ["x", "(5, 3)", "(B, 2)"]),
    "x, empty": (dict(x=torch.ones(0, 2)), ["x", "(0, 2)", "B ≥ 1"]),
    "x, NaN": (dict(x=spoiled(X, NAN)), ["x", "nan", "finite"]),
    "x, inf": (dict(x=spoiled(X, -INF)), ["x", "-inf", "finite"]),
    "x, integers": (dict(x=X.long()), ["x", "int64", "float32 or float64"]),
    "x, float64": (dict(x=X.double()), ["x", "float64", "float32"]),
    "x, a device": (dict(x=X.to("meta")), ["x", "meta", "cpu"]),
    "x, a list": (dict(x=X.tolist()), ["x", "list", "tensor"]),
    "x, a string": (dict(x="x"), ["x", "str", "tensor"]),
    "x, None": (dict(x=None), ["x", "NoneType", "tensor"]),
    "y, one row": (dict(y=torch.ones(4)), ["y", "(4,)", "(B, 4)"]),
    "y, a wrong width": (dict(y=torch.ones(5, 3)), ["y", "(5, 3)", "(B, 4)"]),
    "y, empty": (dict(y=torch.ones(0, 4)), ["y", "(0, 4)", "B ≥ 1"]),
    "y, fewer rows": (dict(y=torch.ones(4, 4)), ["y", "(4, 4)", "5"]),
    "y, one row to broadcast": (dict(y=torch.ones(1, 4)), ["y", "(1, 4)", "5"]),
    "y, NaN": (dict(y=spoiled(Y, NAN)), ["y", "nan", "finite"]),
    "y, inf": (dict(y=spoiled(Y, INF)), ["y", "inf", "finite"]),
    "y, labels": (dict(y=torch.ones(5, dtype=torch.int64)), ["y", "int64", "float32 or float64"]),
    "y, float64": (dict(y=Y.double()), ["y", "float64", "float32"]),
    "y, a list": (dict(y=Y.tolist()), ["y", "list", "tensor"]),
}
BAD_ACTIVITIES = {
    "none": (dict(activities=[]), ["activities", "0 layers", "1"]),
    "None": (dict(activities=None), ["activities", "None", "list"]),
    "the output too": (dict(activities=[Z, Y]), ["activities", "2 layers", "1"]),
    "a tensor": (dict(activities=Z), ["activities", "5 layers", "1"]),
    "a wrong width": (dict(activities=[torch.ones(5, 2)]), ["activities[0]", "(5, 2)", "(5, 3)"]),
    "too few rows": (dict(activities=[torch.ones(1, 3)]), ["activities[0]", "(1, 3)", "(5, 3)"]),
    "one row": (dict(activities=[torch.ones(3)]), ["activities[0]", "(3,)", "(5, 3)"]),
    "float64": (dict(activities=[Z.double()]), ["activities[0]", "float64", "float32"]),
    "integers": (dict(activities=[Z.int()]), ["activities[0]", "int32", "float32 or float64"]),
    "lists": (dict(activities=[Z.tolist()]), ["activities[0]", "list", "tensor"]),
    "a number": (dict(activities=[1.0]), ["activities[0]", "float", "tensor"]),
}
AT_ACTIVITIES = (
    network.energy,
    network.prediction_errors,
    network.activity_gradients,
    network.gradients,
    network.weight_gradients,
)


@pytest.mark.parametrize("function", AT_ACTIVITIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", [*BAD_DATA, *BAD_ACTIVITIES], ids=str)
def test_bad_data_and_activities_are_rejected_by_name(function, case):
    arguments, words = (BAD_DATA | BAD_ACTIVITIES)[case]
    rejects(words, function, NET, **(dict(activities=[Z], x=X, y=Y) | arguments))


@pytest.mark.parametrize("function", [network.loss, network.backprop, network.backprop_gradients, network.forward])
@pytest.mark.parametrize("case", BAD_DATA, ids=str)
def test_bad_data_are_rejected_by_name_without_activities(function, case):
    arguments, words = BAD_DATA[case]
    if function is not network.forward:
        rejects(words, function, NET, **(dict(x=X, y=Y) | arguments))
    elif "x" in arguments:
        rejects(words, function, NET, arguments["x"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(scheme="xavier"), ["scheme", "'xavier'", "'he'", "'mupc'"]),
        (dict(scheme=None), ["scheme", "None", "'default'"]),
        (dict(sizes=[3]), ["sizes", "[3]", "at least two"]),
        (dict(sizes=[]), ["sizes", "[]", "at least two"]),
        (dict(sizes=[3, 0, 2]), ["sizes", "[3, 0, 2]", "empty"]),
        (dict(sizes=[3, -1]), ["sizes[1]", "-1", "whole number"]),
        (dict(sizes=[3, 2.0]), ["sizes[1]", "2.0", "whole number"]),
        (dict(sizes=["3", 2]), ["sizes[0]", "'3'", "whole number"]),
        (dict(sizes=5), ["sizes", "5", "list"]),
        (dict(sizes=None), ["sizes", "None", "list"]),
        (dict(generator=-1), ["generator", "-1", "whole number"]),
        (dict(generator=1.5), ["generator", "1.5", "whole number"]),
        (dict(generator=None), ["generator", "None", "whole number"]),
        (dict(generator="0"), ["generator", "'0'", "whole number"]),
        (dict(generator=2**64), ["generator", str(2**64), "2**64"]),
        (dict(interval=(1, 0)), ["interval", "(1, 0)", "low to high"]),
        (dict(interval=(0, INF)), ["interval", "inf", "finite"]),
        (dict(interval=3), ["interval", "()"]),
        (dict(interval=(0, 1, 2)), ["interval", "(3,)"]),
        (dict(interval=[[0, 1], [0, 1]]), ["interval", "[[0, 1], [0, 1]]", "pair"]),
        (dict(interval="ab"), ["interval", "'ab'", "number"]),
        (dict(dtype=torch.int32), ["dtype", "int32", "float32"]),
        (dict(dtype=torch.float16), ["dtype", "float16", "float32"]),
        (dict(dtype="float32"), ["dtype", "'float32'", "torch.float32"]),
        (dict(dtype=None), ["dtype", "None", "torch.float32"]),
    ],
    ids=str,
)
def test_bad_initialisations_are_rejected_by_name(arguments, words):
    rejects(words, network.init_weights, **(dict(sizes=[3, 2], generator=0) | arguments))
    if arguments.keys() <= {"sizes", "generator", "dtype"}:
        rejects(words, network.init_biases, **(dict(sizes=[3, 2], generator=0) | arguments))


@pytest.mark.parametrize("seed", [200, 2**63, 2**64 - 1])
def test_seeds_may_be_large(seed):
    weights, others = (network.init_weights([3, 2], s)[0] for s in (seed, seed - 1))
    assert not torch.equal(weights, others)


def test_one_sample_that_overflows_is_enough():
    net, x = network.PCN([torch.full((1, 1), 1e200, dtype=F64)] * 2), torch.tensor([[0.0], [1.0]], dtype=F64)
    assert float(network.loss(net, x[:1], x[:1])) == 0
    rejects(["overflow"], network.loss, net, x, x)


def test_to_rejects_what_no_network_may_hold():
    rejects(["weights[0]", "float16"], NET.to, torch.float16)
