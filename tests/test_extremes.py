"""Numbers, shapes and dtypes at their limits: the right answer, or a `ValueError` that names the argument.

Warnings are errors in these tests, so an overflow that nobody notices fails them too.
"""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from oracles import distance, problem, prop
from test_checks import PAIRS, POSITIVE, PUBLIC, call, names_of

from pcbook import chains, inference, linear_theory, network, onemlp, taylor, trust_region

F64 = torch.float64
signs = st.sampled_from([-1.0, 1.0])
gammas = st.floats(-12, 12).map(lambda k: 10.0**k)


def magnitudes(low, high):
    """Numbers of either sign, of 10^low to 10^high, or 0."""
    return st.just(0.0) | st.builds(lambda s, k: s * float(f"1e{k}"), signs, st.integers(low, high))


# The 1MLP in exact arithmetic


def exactly(w1, w2, x, y, pi1, pi2, z, minus):
    """Every closed form, entry by entry, in fractions. With `minus` adding, the sizes of what is summed in them."""
    gamma, r = pi1 / pi2, minus(y, w2 * w1 * x)
    d = 1 + w2**2 / gamma
    e1, e2 = minus(z, w1 * x), minus(y, w2 * z)
    h12 = minus(2 * w1 * w2 * x**2, x * y)
    h22 = minus((w1 * x) ** 2 / d + 4 * r * w1 * w2 * x / (gamma * d**2), r**2 / (gamma * d**2))
    return {
        "loss": [r**2 / 2],
        "energy": [pi1 * e1**2 / 2 + pi2 * e2**2 / 2],
        "equilibrium": [(pi1 * w1 * x + pi2 * w2 * y) / (pi1 + pi2 * w2**2)],
        "equilibrated_energy": [pi2 * r**2 / 2 / d],
        "loss_gradient": [minus(0, r * w2 * x), minus(0, r * w1 * x)],
        "energy_gradient": [minus(0, pi1 * e1 * x), minus(0, pi2 * e2 * z)],
        "equilibrated_energy_gradient": [
            minus(0, pi2 * r * w2 * x / d),
            minus(0, pi2 * r * (w1 * x / d + r * w2 / (gamma * d**2))),
        ],
        "loss_hessian": [(w2 * x) ** 2, h12, h12, (w1 * x) ** 2],
        "equilibrated_energy_hessian": [
            pi2 * (w2 * x) ** 2 / d,
            *[pi2 * minus(2 * x * r * w2**2 / (gamma * d**2), x * minus(r, w1 * w2 * x) / d)] * 2,
            pi2 * (h22 + 4 * (r * w2 / gamma) ** 2 / d**3),
        ],
    }


def check_against_fractions(p, allowance, may_refuse):
    numbers = {k: Fraction(v) for k, v in p.items()}
    right = exactly(**numbers, minus=lambda a, b: a - b)
    sizes = exactly(**{k: abs(v) for k, v in numbers.items()}, minus=lambda a, b: a + b)
    for name, entries in right.items():
        try:
            found = PUBLIC[name](**{k: p[k] for k in names_of(PUBLIC[name])})
        except ValueError as error:
            assert may_refuse and "too extreme" in str(error), name
            continue
        for value, entry, size in zip(np.ravel(found), entries, sizes[name], strict=True):
            assert abs(Fraction(float(value)) - entry) <= Fraction(1e-13) * size + Fraction(allowance), (name, p)


def fields(numbers):
    return dict(w1=numbers, w2=numbers, x=numbers, y=numbers, z=numbers, gamma=gammas)


@prop(200, **fields(magnitudes(-20, 20)))
def test_twenty_orders_of_magnitude_up_and_down_the_closed_forms_are_exact(gamma, **p):
    check_against_fractions(p | {"pi1": gamma, "pi2": 1.0}, 0.0, may_refuse=False)


@prop(100, **fields(magnitudes(0, 308)))
def test_large_numbers_are_exact_or_refused(gamma, **p):
    check_against_fractions(p | {"pi1": gamma, "pi2": 1.0}, 0.0, may_refuse=True)


@prop(100, **fields(magnitudes(-323, 0)))
def test_small_numbers_are_exact_up_to_underflow(gamma, **p):
    check_against_fractions(p | {"pi1": gamma, "pi2": 1.0}, 1e-270, may_refuse=False)


# Every function of the 1MLP

EXTREMES = [0.0, 5e-324, 1e-310, 1e-300, 1e-160, 1e-12, 0.3, 1.0, 7.0, 1e12, 1e160, 1e300, 1.7e308]
extreme = st.builds(float.__mul__, signs, st.sampled_from(EXTREMES))
extreme_positive = st.sampled_from(EXTREMES[1:])
NAMES = sorted({name for function in PUBLIC.values() for name in names_of(function)} - {"generator", "batches"})


def drawn(name):
    if name in PAIRS:
        return st.tuples(extreme, extreme)
    if name == "hessian":
        return st.tuples(extreme, extreme, extreme).map(lambda h: np.array([[h[0], h[1]], [h[1], h[2]]]))
    if name == "algorithm":
        return st.sampled_from(onemlp.ALGORITHMS)
    if name in ("steps", "samples"):
        return st.integers(0, 5)
    return extreme_positive if name in POSITIVE | {"slope"} else extreme.map(abs) if name == "sigma" else extreme


def may_be_infinite(name, p):
    """What the docstrings say about it."""
    return (
        name == "descent"
        or (name.startswith("target_propagation") and p["w2"] == 0)
        or (name == "cosine_similarity" and not (any(p["a"]) and any(p["b"])))
        or (name == "update" and (p["algorithm"] == "TRN" or (p["algorithm"] == "TP" and p["w"][1] == 0)))
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_results_are_finite_or_refused_by_name(name):
    names = [n for n in names_of(PUBLIC[name]) if n not in ("generator", "batches")]

    @prop(150, **{n: drawn(n) for n in names})
    def check(**p):
        try:
            found = call(PUBLIC[name], **p)
        except ValueError as error:
            assert re.match(rf"({'|'.join(names)})\b.*(extreme|symmetric)", str(error)), error
        else:
            assert may_be_infinite(name, p) or np.isfinite(found).all(), (p, found)

    check()


@prop(150, a=st.tuples(extreme, extreme), b=st.tuples(extreme, extreme))
def test_the_cosine_does_not_depend_on_lengths(a, b):
    cosine = onemlp.cosine_similarity(a, b)
    if not (any(a) and any(b)):
        assert np.isnan(cosine)
        return
    (a1, a2), (b1, b2) = (map(Fraction, v) for v in (a, b))
    inner, squares = a1 * b1 + a2 * b2, (a1 * a1 + a2 * a2) * (b1 * b1 + b2 * b2)
    assert float(np.sign(inner)) * cosine >= -1e-15
    assert cosine**2 == pytest.approx(float(inner**2 / squares), rel=1e-9, abs=1e-30)


@prop(150, w1=magnitudes(-150, 150), w2=magnitudes(-150, 150), slope=magnitudes(-150, 150).filter(bool))
def test_the_closest_solution_beats_the_two_straight_below_and_beside_it(w1, w2, slope):
    try:
        u, v = map(Fraction, onemlp.closest_solution(w1, w2, slope).tolist())
    except ValueError as error:
        assert "too extreme" in str(error)
        return
    m, w1, w2 = Fraction(slope), Fraction(w1), Fraction(w2)
    assert abs(u * v - m) <= Fraction(1e-12) * abs(m)
    squared = (u - w1) ** 2 + (v - w2) ** 2
    slack = Fraction(1e-14) * (abs(w1) + abs(w2)) ** 2 + Fraction(1e-14) ** 2 * abs(m)
    for a, b in ([(w1, m / w1)] if w1 else []) + ([(m / w2, w2)] if w2 else []):
        assert squared <= ((a - w1) ** 2 + (b - w2) ** 2) * (1 + Fraction(1e-9)) + slack


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if hasattr(f, "__wrapped__")])
def test_no_weights_in_none_out(name):
    function = PUBLIC[name]
    given = {n: np.ones((3, 0)) for n in names_of(function) if n not in ("steps", "samples")}
    found, plain = call(function, **given), call(function)
    axis = 1 if function in (onemlp.euler_inference, onemlp.precisions) else 0
    assert found.shape == (*plain.shape[:axis], 3, 0, *plain.shape[axis:])


# Trust regions: what the units are does not matter

exponents = st.integers(-120, 120)


@prop(100, seed=st.integers(0, 2**32 - 1), model=exponents, length=exponents, metric=exponents)
def test_a_step_follows_its_units(seed, model, length, metric):
    """With g/ℓ, H/ℓ² times m, A times a and p times aℓ², Δθ is ℓ times as long, and μ is m/(aℓ²) times as large."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 5)
    g, h, a = rng.normal(size=n), rng.normal(size=(n, n)), rng.normal(size=(n, n))
    h, a, p = h + h.T, a @ a.T + 0.1 * np.eye(n), 10 ** rng.uniform(-2, 2)
    m, l, s = 2.0**model, 2.0**length, 2.0**metric
    plain, moved = trust_region.step(g, p, h, a), trust_region.step(m / l * g, s * l * l * p, m / l / l * h, s * a)
    np.testing.assert_allclose(moved.delta, l * plain.delta, rtol=1e-9)
    assert moved.on_boundary == plain.on_boundary
    assert moved.multiplier == pytest.approx(m / s / l / l * plain.multiplier, rel=1e-9)
    assert moved.decrease == pytest.approx(m * plain.decrease, rel=1e-9)


@prop(150, g=st.tuples(extreme, extreme), h=st.tuples(extreme, extreme, extreme), p=extreme_positive)
def test_a_step_is_finite_and_in_the_region_or_refused(g, h, p):
    try:
        step = trust_region.step(g, p, [[h[0], h[1]], [h[1], h[2]]])
    except ValueError as error:
        assert "too extreme" in str(error)
        return
    assert np.isfinite([*step.delta, step.multiplier, step.decrease]).all()
    assert np.hypot(*step.delta) <= np.sqrt(p) * (1 + 1e-9)
    assert step.decrease >= 0 and step.multiplier >= 0


@prop(100, g=st.tuples(extreme, extreme), h=st.tuples(extreme, extreme), alpha=extreme_positive)
def test_damped_newton_divides_entry_by_entry_or_refuses(g, h, alpha):
    try:
        step = trust_region.damped_newton(g, np.diag(h), alpha)
    except ValueError as error:
        assert re.search("too extreme|too large", str(error))
        return
    for d, a, b in zip(step.tolist(), g, h, strict=True):
        exact = -Fraction(a) / (Fraction(b) + 1 / Fraction(alpha))
        assert abs(Fraction(d) - exact) <= Fraction(1e-12) * abs(exact) + Fraction(5e-324)


# Deep networks

HOMOGENEOUS = ("linear", "relu", "leaky_relu")
ALL = tuple(network.ACTIVATIONS)


def example_of(activation, biases=True, precisions="vectors"):
    return problem(3, activation, 4, 20, 5, biases, precisions)


def scaled(given, factor):
    return given.net, factor * given.x, factor * given.y


@pytest.mark.parametrize("activation", HOMOGENEOUS)
@pytest.mark.parametrize("exponent", [-900, -500, -300, -100, 100, 300, 500, 520])
def test_a_positively_homogeneous_network_does_not_mind_units(activation, exponent):
    given, factor = example_of(activation, biases=False), 2.0**exponent
    z, gradients = network.forward(given.net, given.x), network.backprop_gradients(*given)
    moved, squared = scaled(given, factor), 2.0 ** (2 * exponent) if exponent < 510 else np.inf
    assert distance([v / factor for v in network.forward(*moved[:2])], z) == 0
    if squared < np.inf:
        assert torch.equal(network.loss(*moved), squared * network.loss(*given))
        for found, plain in zip(network.backprop_gradients(*moved), gradients, strict=True):
            assert torch.equal(found, squared * plain) or squared < 1e-250
    else:
        with pytest.raises(ValueError, match="overflow"):
            network.loss(*moved)


@pytest.mark.slow
@pytest.mark.parametrize("activation", HOMOGENEOUS)
@pytest.mark.parametrize(("dtype", "exponent"), [(F64, -400), (F64, -100), (F64, 100), (F64, 400)]
                         + [(torch.float32, k) for k in (-55, -20, 20, 55)])  # fmt: skip
def test_neither_does_its_equilibrium(activation, dtype, exponent):
    given = example_of(activation, biases=False)
    given = given._replace(net=given.net.to(dtype), x=given.x.to(dtype), y=given.y.to(dtype))
    tolerance = 1e-6 if dtype == F64 else 1e-3
    plain = inference.solve(*given, rtol=tolerance)
    moved = inference.solve(*scaled(given, 2.0**exponent), rtol=tolerance)
    assert bool(moved.converged.all()) == bool(plain.converged.all())
    assert distance([z / 2.0**exponent for z in moved.activities], plain.activities) <= 10 * tolerance
    torch.testing.assert_close(moved.energy, 4.0**exponent * plain.energy, rtol=10 * tolerance, atol=0)
    gradients = [g.double() / 4.0**exponent for g in moved.weight_gradients()]
    assert distance(gradients, plain.weight_gradients()) <= 20 * tolerance


@pytest.mark.slow
@pytest.mark.parametrize("activation", ALL)
@pytest.mark.parametrize("exponent", [-12, -6, 6, 12])
def test_only_the_ratio_of_precisions_matters_however_far_they_are_apart(activation, exponent):
    net, x, y = example_of(activation, precisions=None)
    gamma, hidden = 10.0**exponent, len(net.weights) - 1

    def solved(first, last):
        weighed = network.PCN(net.weights, activation, net.biases, [first] * hidden + [last])
        return inference.solve(weighed, x, y, rtol=1e-3 if network.ACTIVATIONS[activation].kinked else 1e-7)

    found, other = solved(gamma, 1.0), solved(1.0, 1 / gamma)
    if activation == "linear" or (activation in ("tanh", "softplus", "gelu") and exponent > -12):  # one equilibrium
        assert distance(found.activities, other.activities) < 1e-4
        torch.testing.assert_close(found.energy, gamma * other.energy, rtol=1e-4, atol=0)
    assert bool((found.energy <= network.loss(net, x, y) * (1 + 1e-9)).all())  # the output's precision is 1
    if exponent > 0:
        assert bool(found.converged.all())
        bound = 1e-2 if network.ACTIVATIONS[activation].kinked else 1e-4
        assert distance(found.weight_gradients(), network.backprop_gradients(net, x, y)) < bound


@prop(60, w1=magnitudes(-8, 8), w2=magnitudes(-8, 8), x=magnitudes(-8, 8), y=magnitudes(-8, 8), gamma=gammas)
def test_the_smallest_network_is_the_1mlp_at_any_scale(gamma, **p):
    one = torch.ones(1, 1, dtype=F64)
    net = network.PCN([p["w1"] * one, p["w2"] * one], precisions=[gamma, 1.0])
    batch, expected = (p["x"] * one, p["y"] * one), onemlp.equilibrated_energy(**p, pi1=gamma)
    gradient = onemlp.equilibrated_energy_gradient(**p, pi1=gamma)
    size = (abs(p["y"]) + abs(p["w1"] * p["w2"] * p["x"])) ** 2 / (1 + p["w2"] ** 2 / gamma)
    found = inference.solve(net, *batch)
    for energy in (found.energy, linear_theory.equilibrated_energy(net, *batch), taylor.model_minimum(net, *batch)):
        assert float(energy) == pytest.approx(float(expected), rel=1e-9, abs=1e-12 * size)
    slopes = exactly(**{k: Fraction(abs(v)) for k, v in p.items()}, pi1=Fraction(gamma), pi2=Fraction(1), z=Fraction(0),
                     minus=lambda a, b: a + b)["equilibrated_energy_gradient"]  # fmt: skip
    for found_by in (found.weight_gradients(), linear_theory.equilibrated_energy_gradients(net, *batch).weights):
        for g, value, slope in zip(found_by, gradient, slopes, strict=True):
            assert abs(float(g) - value) <= 1e-9 * float(slope)


@pytest.mark.parametrize("call", [
    lambda net, x, y: network.forward(net, x),
    network.loss,
    lambda net, x, y: network.energy(net, [x @ w.t() for w in net.weights[:1]], x, y),
    inference.solve,
    linear_theory.equilibrium,
    linear_theory.equilibrated_energy,
    linear_theory.equilibrated_energy_gradients,
    taylor.model_minimum,
    taylor.inference_step,
    taylor.corrected_gradients,
])  # fmt: skip
@pytest.mark.parametrize("large", [1e200, 1e300])
def test_a_network_that_overflows_says_so(call, large):
    net = network.PCN([large * torch.ones(2, 3, dtype=F64), large * torch.ones(2, 2, dtype=F64)])
    x, y = torch.ones(4, 3, dtype=F64), torch.ones(4, 2, dtype=F64)
    with pytest.raises(ValueError, match="overflow"):
        call(net, x, y)


# Memory layouts, read-only arrays, integers, empty batches


def strided(tensor):
    """The same numbers, every other one of a larger tensor, columns first."""
    rows, columns = tensor.shape
    return torch.stack([tensor.t(), torch.full_like(tensor.t(), torch.nan)], dim=1).reshape(2 * columns, rows)[::2].t()


@pytest.mark.parametrize("activation", ALL)
def test_memory_layout_does_not_matter(activation):
    given = example_of(activation)
    net, x, y = given
    weights, x_, y_ = [strided(w) for w in net.weights], strided(x), strided(y)
    assert not weights[1].is_contiguous() and torch.equal(x_, x)
    other = network.PCN(weights, activation, net.biases, net.precisions)
    for method in ("auto", "descent", "euler"):
        found, plain = (inference.solve(n, *b, method=method, max_iterations=5, rtol=1e-8)
                        for n, b in ((other, (x_, y_)), (net, (x, y))))  # fmt: skip
        assert distance(found.activities, plain.activities) < 1e-8
        assert distance(found.weight_gradients(), plain.weight_gradients()) < 1e-8
    for function in (network.backprop_gradients, taylor.corrected_gradients, taylor.inference_step):
        assert distance(function(other, x_, y_), function(net, x, y)) < 1e-12
    assert all(g.shape == w.shape for g, w in zip(network.backprop_gradients(other, x_, y_), weights, strict=True))


def test_read_only_precisions_are_copied():
    precision = np.array([1.0, 2.0])
    precision.flags.writeable = False
    net = network.PCN([torch.ones(2, 3, dtype=F64)], precisions=[precision])
    assert net.precisions[0].tolist() == [1.0, 2.0]
    mine = np.array([1.0, 2.0])
    net = network.PCN([torch.ones(2, 3, dtype=F64)], precisions=[mine])
    mine[:] = -1
    assert net.precisions[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.complex64])
def test_other_dtypes_are_refused_by_name(dtype):
    net, x, y = example_of("tanh")
    for function in (inference.solve, network.loss, network.backprop, taylor.inference_step):
        with pytest.raises(ValueError, match="^x is"):
            function(net, x.to(dtype), y)
        with pytest.raises(ValueError, match="^y is"):
            function(net, x, y.to(dtype))


def test_theory_takes_integers_for_floats():
    net, *_ = example_of("linear")
    rng = np.random.default_rng(0)
    x, y = (torch.tensor(rng.integers(-3, 4, (5, n))) for n in (net.sizes[0], net.sizes[-1]))
    for function in (linear_theory.equilibrium, linear_theory.equilibrated_energy):
        found, plain = (function(net, *b) for b in ((x, y), (x.double(), y.double())))
        assert distance(found, plain) == 0


THEORY = [
    linear_theory.equilibrium,
    linear_theory.equilibrated_energy,
    linear_theory.equilibrated_energy_gradients,
    linear_theory.against_backprop,
    linear_theory.origin_hessians,
]
DEEP = [inference.solve, network.loss, network.backprop, taylor.gradient, taylor.hessian, taylor.inference_step,
        taylor.model_minimum, taylor.corrected_gradients, taylor.printed_gradients]  # fmt: skip


@pytest.mark.parametrize("function", [*THEORY, *DEEP], ids=lambda f: f.__name__)
def test_batches_that_are_empty_or_no_tensors_are_refused_by_name(function):
    net, x, y = example_of("linear", biases=False)
    for value in (x[:0], x[0], x[:, :0], x.tolist(), None, 1.0, "x", np.ones((2, 2))):
        with pytest.raises(ValueError, match=r"\bx\b"):
            function(net, value, y)
    for value in (y[:0], y[0], y[:1], y.tolist(), None, np.ones((2, 2))):
        with pytest.raises(ValueError, match=r"\by\b"):
            function(net, x, value)


# Deep chains


def chain(activation):
    rng = np.random.default_rng(1)
    x = rng.normal(1, 0.5, (3, 6))
    return rng.uniform(0.3, 1.2, (3, 4)), x, (2.0 if activation == "relu" else -1.0) * x


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
@pytest.mark.parametrize("exponent", [-120, -40, 40, 120])
def test_homogeneous_chains_do_not_mind_units(activation, algorithm, exponent):
    w, x, y = chain(activation)
    factor = 2.0**exponent
    loss = chains.loss(w, factor * x, factor * y, activation)
    assert np.array_equal(loss, factor**2 * chains.loss(w, x, y, activation))
    found = chains.gradient(algorithm, w, factor * x, factor * y, activation, steps=50)
    np.testing.assert_allclose(found, factor**2 * chains.gradient(algorithm, w, x, y, activation, steps=50), rtol=1e-12)


@pytest.mark.parametrize("activation", chains.ACTIVATIONS)
def test_chains_are_finite_or_refused(activation):
    @prop(60, w=st.lists(extreme, min_size=2, max_size=5), x=extreme, y=extreme)
    def check(w, x, y):
        for function in (chains.loss, *(lambda *b, a=a, **k: chains.gradient(a, *b, **k) for a in chains.ALGORITHMS)):
            try:
                found = function([w], [[x, 0.5]], [[y, -0.5]], activation=activation)
            except ValueError as error:
                assert "too extreme" in str(error)
            else:
                assert np.isfinite(found).all()

    check()


@pytest.mark.parametrize("activation", chains.ACTIVATIONS)
@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_chains_take_any_layout_and_leave_it_alone(activation, algorithm):
    given = chain(activation)
    for v in given:
        v.flags.writeable = False
    plain = chains.gradient(algorithm, *given, activation, steps=20)
    layouts = [np.asfortranarray, lambda v: np.repeat(v, 2, axis=1)[:, ::2], lambda v: v.tolist()]
    for layout in layouts:
        assert np.array_equal(chains.gradient(algorithm, *map(layout, given), activation, steps=20), plain)
    whole = [np.round(3 * v) for v in given]
    found, same = (chains.gradient(algorithm, *b, activation) for b in (whole, [v.astype(int) for v in whole]))
    assert np.array_equal(found, same)
