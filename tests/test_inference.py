"""Equilibria against dense algebra, Newton's method and long gradient flows; and what a solver says about itself."""

import contextlib
import itertools

import pytest
import torch
from hypothesis import strategies as st
from oracles import (
    LEAST_SLOPE,
    SMOOTH,
    activity_gradients,
    clarke_residual,
    condition,
    distance,
    error_residual,
    feedforward,
    gradients,
    linear_equilibrium,
    problem,
    problems,
    prop,
    smooth_equilibrium,
)
from oracles import energy as reference_energy
from oracles import euler as reference_euler

from pcbook import inference, network
from pcbook.inference import response

CURVED = tuple(name for name in SMOOTH if name != "linear")
KINKED = tuple(LEAST_SLOPE)
ALL = (*SMOOTH, *KINKED)
F64 = torch.float64
METHODS = {  # what each activation can be solved by; "euler" is tested by itself
    **{name: ("auto", "newton", "secant", "descent") for name in CURVED},
    **{name: ("auto", "kink", "lagrangian", "descent") for name in KINKED},
    "linear": ("auto", "exact", "newton", "secant", "descent"),
}


def example(activation="tanh", seed=3, depth=4, width=20, batch=5, biases=True, precisions="vectors", **more):
    return problem(seed, activation, depth, width, batch, biases, precisions, **more)


def methods_for(activation):
    return [m for m in METHODS[activation] if m in inference.METHODS]


def equilibrium_of(given, found):
    """The exact equilibrium that `found` approximates: gradient flow's, or another one that it lies beside.

    Strongly saturated networks have several equilibria; Newton's method from `found` tells which one it is at.
    """
    net, x, y = given
    if net.activation == "linear":
        return linear_equilibrium(net, x, y)
    try:
        z = smooth_equilibrium(net, x, y)
        if torch.allclose(reference_energy(net, z, x, y), found.energy, rtol=1e-3):
            return z
    except ArithmeticError:
        pass
    return smooth_equilibrium(net, x, y, start=found.activities)


def gradient_error(given, found):
    """The relative error of the weight gradients against the exact equilibrium's, all layers together."""
    return distance(found.weight_gradients(), gradients(*given, equilibrium_of(given, found))[0])


# The references themselves


@prop(10, arguments=problems(["linear"], gain=st.sampled_from([0.6, 1.0])))
def test_newtons_reference_agrees_with_least_squares(arguments):
    given = problem(**arguments)
    z = linear_equilibrium(*given)
    assert not z or distance(smooth_equilibrium(*given), z) < 1e-8
    assert float(error_residual(*given, z).max()) < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("gain", "target"), [(1.0, 1.0), (3.0, 5.0)])
def test_newtons_reference_ends_where_gradient_flow_ends(seed, gain, target):
    net, x, y = given = problem(seed, "tanh", 2 + seed % 3, 6, 3, False, None, gain, target)
    flow = reference_energy(net, reference_euler(*given, steps=8000, dt=0.03), x, y)
    torch.testing.assert_close(reference_energy(net, smooth_equilibrium(*given), x, y), flow, rtol=1e-2, atol=1e-9)


def test_a_kinked_unit_counts_as_stationary_where_a_slope_in_between_makes_it_so():
    """1-1-1-1 with unit weights and x = ½: at z = (0, −1) the second unit's kink holds z_1 down with the slope ½."""
    one = torch.ones(1, 1, dtype=F64)
    net, x, z = network.PCN([one, one, one], "relu"), one / 2, [0 * one, -one]
    assert float(clarke_residual(net, z, x, -2 * one, kink=1e-9)) == pytest.approx(0, abs=1e-12)
    assert float(clarke_residual(net, z, 3 * x, -2 * one, kink=1e-9)) == pytest.approx(0.5)  # it would take 3/2
    assert float(clarke_residual(net, z, x, -1.5 * one, kink=1e-9)) == pytest.approx(0.5)
    off = [one / 2, -one]  # u_2 = ½ with e_2 = −3/2: nothing is free
    assert float(clarke_residual(net, off, x, -2 * one, kink=1e-9)) == pytest.approx((1.5**2 + 0.5**2) ** 0.5)


# Linear networks: exact


@pytest.mark.parametrize("method", ["exact", "auto"])
def test_linear_gradients_are_exact(method):
    @prop(40, arguments=problems(["linear"]))
    def check(arguments):
        given = problem(**arguments)
        net, x, y = given
        found = inference.solve(*given, method=method)
        z = linear_equilibrium(*given)
        weights, biases = gradients(*given, z)
        assert bool(found.converged.all())
        tolerance = max(1e-10, 1e-15 * condition(net))  # beyond 1e5 the problem itself is known no better
        assert distance(found.weight_gradients(), weights) < tolerance
        assert net.biases is None or distance(found.bias_gradients(), biases) < tolerance
        torch.testing.assert_close(found.energy, reference_energy(net, z, x, y), rtol=1e-10, atol=1e-14)
        assert not z or distance(found.activities, z) < 10 * tolerance

    check()


# Smooth networks


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "newton", "secant", "descent"])
@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-8])
def test_smooth_gradients_are_accurate_to_rtol(method, rtol):
    @prop(12, arguments=problems(CURVED))
    def check(arguments):
        given = problem(**arguments)
        found = inference.solve(*given, method=method, rtol=rtol)
        if bool(found.converged.all()):
            assert gradient_error(given, found) <= 10 * rtol  # rtol is about the state

    check()


@pytest.mark.slow
@pytest.mark.parametrize("activation", CURVED)
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_smooth_networks_converge_from_the_start(activation, rtol):
    converged = []
    for seed in range(40):
        given = problem(seed, activation, 1 + seed % 12, 1 + 3 * seed % 60, 1 + seed % 8, seed % 2, None, 1.0)
        converged += inference.solve(*given, rtol=rtol).converged.tolist()
    assert sum(converged) >= 0.98 * len(converged)


@prop(15, arguments=problems(SMOOTH))
def test_float32_is_accurate_to_the_default_rtol(arguments):
    given = problem(**arguments)
    single = [v.to(torch.float32) for v in given]
    given = [v.to(F64) for v in single]
    found = inference.solve(*single)
    assert found.energy.dtype == F64 and all(g.dtype == torch.float32 for g in found.weight_gradients())
    if bool(found.converged.all()):
        double = inference.solve(*given, rtol=1e-10)
        assert distance(found.weight_gradients(), double.weight_gradients()) <= 3e-3


@pytest.mark.parametrize("activation", SMOOTH)
def test_samples_do_not_depend_on_their_batch(activation):
    net, x, y = example(activation, batch=6)
    together = inference.solve(net, x, y, rtol=1e-9)
    for i in range(len(x)):
        alone = inference.solve(net, x[i : i + 1], y[i : i + 1], rtol=1e-9)
        assert distance(alone.activities, [z[i : i + 1] for z in together.activities]) < 1e-7
        assert float(alone.energy) == pytest.approx(float(together.energy[i]), rel=1e-10)


# Kinked networks


@pytest.mark.slow
@pytest.mark.parametrize("activation", KINKED)
def test_kinked_networks_end_at_clarke_stationary_points(activation):
    @prop(15, arguments=problems([activation]))
    def check(arguments):
        net, x, y = given = problem(**arguments)
        found = inference.solve(*given, rtol=1e-6)
        start = sum(
            (g**2).sum(1) for g in activity_gradients(net, feedforward(net, x)[:-1], x, y) or [x.new_zeros(len(x), 1)]
        )
        scale = max([1.0, *(float(z.abs().max()) for z in found.activities)])
        left = clarke_residual(net, found.activities, x, y, kink=1e-4 * scale)
        bound = 1e-4 * (start.sqrt() + (2 * found.energy).sqrt() + 1e-9)
        assert bool((left <= bound)[found.converged].all()), (left / bound, found.converged)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("activation", KINKED)
def test_a_few_samples_of_small_kinked_networks_end_no_higher_than_four_thousand_euler_steps(activation):
    @prop(8, arguments=problems([activation]))
    def check(arguments):
        given = problem(**arguments)
        found = inference.solve(*given, rtol=1e-6)
        long = inference.solve(*given, method="euler", max_iterations=4000).energy
        assert bool((found.energy <= long * (1 + 1e-6) + 1e-14).all()), (found.energy / long - 1, found.converged)

    check()


# What a solver says about itself


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "method"), [(a, m) for a in ALL for m in METHODS[a]])
@pytest.mark.parametrize("iterations", [0, 1, 3, None])
def test_converged_is_never_true_when_the_residual_says_otherwise(activation, method, iterations):
    for seed, gain, target in itertools.product(range(3), (0.6, 1.4), (1.0, 5.0)):
        given = problem(seed, activation, 1 + 4 * seed, 12, 4, True, "vectors", gain, target)
        found = inference.solve(*given, method=method, rtol=1e-5, max_iterations=iterations)
        assert found.converged.shape == (4,) and found.converged.dtype == torch.bool
        assert bool(found.converged.all()) == (found.residual <= found.rtol)
        if activation in SMOOTH:
            recomputed = error_residual(*given, found.activities)
            assert bool((recomputed[found.converged] <= 3 * found.rtol + 1e-13).all()), recomputed


@pytest.mark.slow
@prop(30, arguments=problems(ALL), rtol=st.sampled_from([1e-3, 1e-7]))
def test_energy_and_gradients_are_those_of_the_activities(arguments, rtol):
    net, x, y = given = problem(**arguments)
    found = inference.solve(*given, rtol=rtol)
    sizes = [(len(x), n) for n in net.sizes[1:-1]]
    assert [tuple(z.shape) for z in found.activities] == sizes
    torch.testing.assert_close(found.energy, network.energy(net, found.activities, x, y), rtol=1e-9, atol=1e-13)
    assert found.energy.shape == (len(x),) and found.energy.dtype == F64
    assert isinstance(found.residual, float) and isinstance(found.iterations, int)
    local = network.gradients(net, found.activities, x, y)
    if net.activation in SMOOTH and bool(found.converged.all()):
        assert distance(found.weight_gradients(), local.weights) <= 10 * rtol
        assert net.biases is None or distance(found.bias_gradients(), local.biases) <= 10 * rtol
    if net.biases is None:
        assert found.bias_gradients() is None


MONOTONE = [(a, m) for a in ALL for m in METHODS[a] if m not in ("secant", "kink")]  # by themselves those are not


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "method"), MONOTONE)
def test_no_method_ends_above_the_feedforward_pass(activation, method):
    for seed, iterations in itertools.product(range(1, 6, 2), (0, 2, None)):
        given = problem(seed, activation, 1 + 2 * seed, 15, 4, True, "vectors", gain=2.5, target=5.0)
        found = inference.solve(*given, method=method, max_iterations=iterations)
        assert bool((found.energy <= network.loss(*given) * (1 + 1e-12)).all())


# Euler, as the paper has it


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu", "leaky_relu"])
@pytest.mark.parametrize("gain", [0.8, 2.0])  # at 2 the first step size overshoots, and is halved
def test_euler_is_the_papers_schedule(activation, gain):
    net, x, y = given = example(activation, width=8, gain=gain)
    for steps in (0, 1, 2, 20, 200):
        found = inference.solve(*given, method="euler", max_iterations=steps)
        assert found.iterations == steps
        assert distance(found.activities, reference_euler(*given, steps=steps)) < 1e-10
    default = inference.solve(*given, method="euler")
    assert default.iterations == 1000
    assert (
        distance(default.activities, reference_euler(*given, steps=1000)) < 1e-6
    )  # round-off decides the last halving


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_euler_is_not_called_converged_before_it_is(activation):
    """Where S is large ‖∂F/∂z‖ falls by three digits long before the weight gradients are near their equilibrium."""
    for seed, steps in itertools.product(range(6), (100, 1000)):
        given = problem(seed, activation, 8, 40, 4, False, None, gain=1.4)
        found = inference.solve(*given, method="euler", max_iterations=steps)
        if bool(found.converged.all()):
            assert gradient_error(given, found) <= 1e-2, seed


@pytest.mark.parametrize("first", [0, 2])
def test_the_top_of_a_network_goes_on_where_the_layers_below_it_end(first):
    net, x, _ = example("relu")
    z = network.forward(net, x)
    above = network.forward(network.top(net, first), [x, *z][first])
    assert len(above) == len(z) - first and torch.equal(above[-1], z[-1])


# Limits and corner cases


@pytest.mark.parametrize("activation", ALL)
def test_zero_loss_has_zero_errors_and_gradients(activation):
    net, x, _ = example(activation)
    y = network.forward(net, x)[-1]
    for method in methods_for(activation):
        found = inference.solve(net, x, y, method=method)
        assert bool(found.converged.all()) and found.residual <= 1e-3
        assert float(found.energy.max()) < 1e-25
        assert max(float(g.abs().max()) for g in found.weight_gradients()) < 1e-12
        assert distance(found.activities, network.forward(net, x)[:-1]) < 1e-12


@pytest.mark.parametrize("activation", SMOOTH)
def test_one_fitted_sample_does_not_disturb_the_others(activation):
    net, x, y = example(activation)
    y = torch.cat([network.forward(net, x[:1])[-1], y[1:]])
    found, rest = inference.solve(net, x, y, rtol=1e-9), inference.solve(net, x[1:], y[1:], rtol=1e-9)
    assert bool(found.converged.all())
    assert distance([z[1:] for z in found.activities], rest.activities) < 1e-7


@pytest.mark.parametrize("activation", ALL)
def test_without_a_hidden_layer_there_is_nothing_to_infer(activation):
    given = example(activation, depth=1)
    for method in (*methods_for(activation), "euler"):
        found = inference.solve(*given, method=method)
        assert found.activities == [] and bool(found.converged.all()) and found.residual == 0
        torch.testing.assert_close(found.energy, network.loss(*given), rtol=1e-12, atol=0)
        exact = network.backprop(*given)
        assert distance(found.weight_gradients(), exact.weights) < 1e-12
        assert distance(found.bias_gradients(), exact.biases) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("activation", CURVED)
@pytest.mark.parametrize(("gain", "target"), [(3.0, 5.0), (5.0, 20.0)])
def test_strong_saturation_is_solved_or_owned_up_to(activation, gain, target):
    for seed in range(6):
        given = problem(seed, activation, 2 + seed, 20, 4, True, None, gain, target)
        found = inference.solve(*given, rtol=1e-6)
        assert bool((found.energy <= network.loss(*given) * (1 + 1e-12)).all())
        assert bool(torch.isfinite(found.energy).all())
        with contextlib.suppress(ArithmeticError):  # where Newton's method finds no minimum there is no reference
            # Here a change of the state may change slopes, and so gradients, by much more.
            assert not bool(found.converged.all()) or gradient_error(given, found) <= 1e-3


@pytest.mark.parametrize("activation", ALL)
@pytest.mark.parametrize("batch", [1, 3])
def test_one_output_unit(activation, batch):
    net, x, y = given = example(activation, batch=batch, outputs=1)
    found = inference.solve(*given, rtol=1e-7)
    assert bool(found.converged.all())
    if activation in SMOOTH:
        assert gradient_error(given, found) <= 1e-7
    else:
        assert float(clarke_residual(net, found.activities, x, y, kink=1e-5).max()) < 1e-5


@pytest.mark.parametrize("activation", ALL)
def test_a_warm_start_ends_where_a_cold_one_does(activation):
    net, x, y = given = example(activation, gain=0.8)
    earlier = inference.solve(*given)
    moved = network.PCN([w + 0.01 * w.abs() for w in net.weights], activation, net.biases, net.precisions)
    warm, cold = (inference.solve(moved, x, y, rtol=1e-8, warm=w) for w in (earlier, None))
    assert bool(warm.converged.all()) and bool(cold.converged.all())
    torch.testing.assert_close(warm.energy, cold.energy, rtol=1e-7, atol=0)
    assert distance(warm.weight_gradients(), cold.weight_gradients()) < (1e-7 if activation in SMOOTH else 1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_chain_of_warm_starts_takes_no_more_iterations_than_cold_ones(activation):
    """Each starts from the one before while the weights move: slowly at first, where responses last, then fast."""
    net, x, y = example(activation, width=30, depth=6, batch=16, precisions=None, gain=0.8)
    warm, cold, kept = None, 0, []
    iterations = 0
    for rate in [1e-7] * 5 + [0.1] * 15:
        found = inference.solve(net, x, y, warm=warm)
        kept.append(warm is not None and found.response is warm.response)
        iterations, cold = iterations + found.iterations, cold + inference.solve(net, x, y).iterations
        for w, g in zip(net.weights, found.weight_gradients(), strict=True):
            w.sub_(g, alpha=rate)
        warm = found
    assert iterations <= 1.1 * cold
    assert any(kept[:5]) and not all(kept[5:])


def test_a_response_that_costs_iterations_is_not_handed_on():
    """The output layer stays, so that nothing shows before the solve how stale the response is."""
    net, x, y = example("tanh", gain=0.8)
    earlier = inference.solve(net, x, y)
    moved = network.PCN([w * 1.3 for w in net.weights[:-1]] + net.weights[-1:], "tanh", net.biases, net.precisions)
    found = inference.solve(moved, x, y, warm=earlier)
    assert found.iterations > earlier.iterations and found.response is None
    assert inference.solve(moved, x, y, warm=found).iterations <= inference.solve(moved, x, y).iterations


@pytest.mark.parametrize("warm", [1.0, "last", [torch.ones(2, 2)]])
def test_only_an_equilibrium_of_the_same_sizes_warms(warm):
    rejects(["warm", type(warm).__name__, "Equilibrium"], *example(), warm=warm)
    rejects(["warm", "sizes"], *example(), warm=inference.solve(*example(seed=4)))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ALL)
def test_stiff_hidden_layers_give_backpropagations_gradients(activation):
    net, x, y = example(activation, precisions=None)
    errors = []
    for stiffness in (1e3, 1e6):
        stiff = network.PCN(net.weights, activation, net.biases, [stiffness] * (len(net.weights) - 1) + [1.0])
        found = inference.solve(stiff, x, y, rtol=1e-9)
        errors.append(distance(found.weight_gradients(), network.backprop_gradients(net, x, y)))
    assert errors[0] < 0.3 and errors[1] < 1e-2 * errors[0] + 1e-9


@pytest.mark.parametrize("activation", ALL)
def test_soft_outputs_give_backpropagations_gradients(activation):
    net, x, y = example(activation, precisions=None)
    soft = network.PCN(net.weights, activation, net.biases, [1.0] * (len(net.weights) - 1) + [1e-6])
    found = [1e6 * g for g in inference.solve(soft, x, y, rtol=1e-9).weight_gradients()]
    assert distance(found, network.backprop_gradients(net, x, y)) < 1e-3


@pytest.mark.parametrize("activation", ALL)
def test_arguments_are_left_alone(activation):
    net, x, y = example(activation)
    tensors = [*net.weights, *net.biases, *net.precisions, x, y]
    copies = [t.clone() for t in tensors]
    for method in (*methods_for(activation), "euler"):
        inference.solve(net, x, y, method=method, max_iterations=3).weight_gradients()
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


# Bad input is answered by name

NAN, INF = float("nan"), float("inf")


def rejects(words, *args, **kwargs):
    with pytest.raises(ValueError) as caught:
        found = inference.solve(*args, **kwargs)
        assert found.weight_gradients() is None  # solved lazily, it must not get past here either
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("method", ["auto", "exact", "euler"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_non_finite_data_are_rejected(method, value):
    net, x, y = example("linear")
    for name in "xy":
        data = {"x": x.clone(), "y": y.clone()}
        data[name][-1, -1] = value
        rejects([name, str(value), "finite"], net, **data, method=method)


@pytest.mark.parametrize("method", ["auto", "exact", "euler"])
def test_misshapen_data_are_rejected(method):
    net, x, y = example("linear", seed=7)
    rejects(["x", "(B, "], net, x[:, :-1], y, method=method)
    rejects(["x", "(B, "], net, x[0], y, method=method)
    rejects(["x", "B ≥ 1"], net, x[:0], y[:0], method=method)
    rejects(["y", "row"], net, x, y[:-1], method=method)
    rejects(["y", "row"], net, x, y[:1], method=method)
    rejects(["x", "float32"], net, x.float(), y, method=method)
    rejects(["y", "int64"], net, x, y.long(), method=method)
    rejects(["x", "list"], net, x.tolist(), y, method=method)


@pytest.mark.parametrize("activation", ALL)
def test_overflow_is_an_error_and_never_a_silent_nan(activation):
    net, x, y = (v.to(torch.float32) for v in example(activation))
    for method in (*methods_for(activation), "euler"):
        huge = network.PCN([w * 1e30 for w in net.weights], activation, net.biases, net.precisions)
        try:
            found = inference.solve(huge, x, y, method=method)
            bad = not bool(found.converged.all())
            sound = all(bool(torch.isfinite(g).all()) for g in found.weight_gradients())
            assert bad or sound, method
        except ValueError as error:
            assert any(word in str(error) for word in ("finite", "overflow", "range")), error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(method="adam"), ["method", "'adam'", "'auto'", "'euler'"]),
        (dict(method=None), ["method", "None", "'auto'"]),
        (dict(method="Newton"), ["method", "'Newton'", "'newton'"]),
        (dict(rtol=0.0), ["rtol", "0.0", "> 0"]),
        (dict(rtol=-1e-3), ["rtol", "-0.001", "> 0"]),
        (dict(rtol=NAN), ["rtol", "nan"]),
        (dict(rtol=INF), ["rtol", "inf"]),
        (dict(rtol="small"), ["rtol", "'small'"]),
        (dict(rtol=None), ["rtol"]),
        (dict(rtol=[1e-3, 1e-4]), ["rtol"]),
        (dict(max_iterations=-1), ["max_iterations", "-1", "≥ 0"]),
        (dict(max_iterations=2.5), ["max_iterations", "2.5", "whole"]),
        (dict(max_iterations="10"), ["max_iterations", "'10'", "whole"]),
        (dict(max_iterations=True), ["max_iterations", "True", "whole"]),
        (dict(method="exact"), ["method", "'exact'", "tanh"]),
        (dict(method="kink"), ["method", "'kink'", "tanh"]),
    ],
    ids=str,
)
def test_bad_settings_are_rejected_by_name(arguments, words):
    rejects(words, *example("tanh"), **arguments)


@pytest.mark.parametrize(("activation", "method"), [("relu", "exact"), ("linear", "kink"), ("gelu", "kink")])
def test_methods_that_do_not_apply_are_rejected(activation, method):
    rejects(["method", repr(method), activation], *example(activation), method=method)


def test_the_methods_are_listed():
    assert set(inference.METHODS) == {"euler", "exact", "newton", "secant", "kink", "descent", "lagrangian", "auto"}


def test_the_lag_keeps_the_fixed_point_close_to_newtons_method():
    """Slopes that move are anticipated: about six iterations for six digits, and twice as many without or with −."""
    for seed in range(3):
        net = network.PCN(network.init_weights([20] + [60] * 8 + [5], seed, "orthogonal", dtype=F64), "tanh")
        generator = torch.Generator().manual_seed(seed)
        x = 0.5 * torch.randn(16, 20, generator=generator, dtype=F64)
        y = 0.3 * torch.randn(16, 5, generator=generator, dtype=F64)
        assert inference.solve(net, x, y, method="secant", rtol=1e-6).iterations <= 8


@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_of_two_unfinished_ends_the_lower_one_is_kept_and_every_sample_is_counted(monkeypatch, gain):
    net, x, y = problem(3, "tanh", 4, 20, 12, True, "vectors", gain=gain, target=3.0)
    monkeypatch.setitem(inference.LIMITS, "descent", 1)
    once = {m: inference.solve(net, x, y, m, rtol=1e-9, max_iterations=1) for m in ("auto", "secant", "descent")}
    assert not any(found.converged.any() for found in once.values())
    lower = torch.minimum(once["secant"].energy, once["descent"].energy)
    torch.testing.assert_close(once["auto"].energy, lower, rtol=1e-12, atol=0)
    counts = dict(once["auto"].methods)
    assert counts["descent"] == (once["descent"].energy < once["secant"].energy).sum()
    assert sum(counts.values()) == len(x)


@prop(seed=st.integers(0, 999), depth=st.integers(2, 8), precisions=st.sampled_from([None, "vectors"]))
def test_the_lift_is_how_preactivations_follow_the_output_errors(seed, depth, precisions):
    """In a linear network: from λ down to the errors, and up again, against λU."""
    net, x, _ = problem(seed, "linear", depth, 6, 3, True, precisions)
    lam = torch.randn(3, net.sizes[-1], dtype=F64, generator=torch.Generator().manual_seed(seed))
    errors = network.unweigh(net, network.adjoint(net, [None] * (depth - 1), lam))
    moved, rest = (network.sweep(net, x, e).preactivations for e in (errors, None))
    change = torch.cat([a - b for a, b in zip(moved, rest, strict=True)], dim=1)
    torch.testing.assert_close(lam @ response.mean_field(net, None).lift, change, rtol=1e-9, atol=1e-9)
