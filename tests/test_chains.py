"""Deep chains: gradients against the network's, Euler against the paper's, training against a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcbook import chains, inference, network, onemlp

SLOPES = {"linear": -1.0, "tanh": -1.0, "relu": 2.0}
every_activation = pytest.mark.parametrize("activation", chains.ACTIVATIONS)
every_depth = pytest.mark.parametrize("depth", [1, 2, 3, 6])


def problem(seed, depth, activation, batch=5, scale=1.0):
    """One chain, and a batch with inputs of both signs."""
    generator = np.random.default_rng(seed)
    w = generator.uniform(-scale, scale, (1, depth + 1))
    if activation == "relu" and seed % 3:  # alive; every other one with a read-out of the wrong sign
        w = np.abs(w)
        w[:, -1] *= (-1) ** seed
    x = generator.normal(1, 0.7, (1, batch))
    return w, x, SLOPES[activation] * x


def as_network(w, x, y, activation):
    net = network.PCN([torch.tensor([[v]]) for v in w[0]], activation)
    return net, torch.tensor(x).T.contiguous(), torch.tensor(y).T.contiguous()


def solved(w, x, y, activation, method=None, **limits):
    net, *batch = as_network(w, x, y, activation)
    method = method or ("lagrangian" if activation == "relu" else "auto")
    return inference.solve(net, *batch, method=method, **limits)


def flat(gradients):
    return torch.cat(gradients).flatten().numpy()


@every_activation
@every_depth
@pytest.mark.parametrize("seed", range(4))
def test_loss_and_backprop_are_those_of_a_network_of_width_one(activation, depth, seed):
    w, x, y = problem(seed, depth, activation)
    net, *batch = as_network(w, x, y, activation)
    assert chains.loss(w, x, y, activation)[0] == pytest.approx(float(network.loss(net, *batch).mean()), rel=1e-12)
    expected = flat(network.backprop_gradients(net, *batch))
    assert chains.gradient("BP", w, x, y, activation)[0] == pytest.approx(expected, rel=1e-10, abs=1e-14)


@every_activation
@every_depth
@pytest.mark.parametrize("seed", range(6))
def test_the_equilibrium_is_the_network_s(activation, depth, seed):
    w, x, y = problem(seed, depth, activation)
    expected = flat(solved(w, x, y, activation, rtol=1e-11).weight_gradients())
    assert chains.gradient("PC", w, x, y, activation)[0] == pytest.approx(expected, rel=1e-7, abs=1e-8)


@every_activation
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_pc_descends_the_equilibrated_energy(activation, depth):
    # The energy at the equilibrium, from the networks' solver, by central differences in every weight.
    w, x, y = problem(2, depth, activation)

    def energy(v):
        return float(solved(v, x, y, activation, rtol=1e-12).energy.mean())

    h, eye = 1e-5, np.eye(depth + 1)
    expected = [(energy(w + h * row) - energy(w - h * row)) / (2 * h) for row in eye]
    assert chains.gradient("PC", w, x, y, activation)[0] == pytest.approx(expected, rel=1e-5, abs=1e-8)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_linear_energy_is_the_loss_over_s(seed, depth):
    # F* = L / S with S = 1 + Σ_l (w_{l+1} ⋯ w_{L+1})², differentiated by autograd.
    w, x, y = problem(seed, depth, "linear")
    v = torch.tensor(w[0], requires_grad=True)
    products = torch.cumprod(v.flip(0), 0)
    s = 1 + (products[:-1] ** 2).sum()
    (0.5 * ((torch.tensor(y) - products[-1] * torch.tensor(x)) ** 2).mean() / s).backward()
    assert chains.gradient("PC", w, x, y)[0] == pytest.approx(v.grad.numpy(), rel=1e-9, abs=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_one_linear_unit_is_the_1mlp(seed):
    w, x, y = problem(seed, 1, "linear")
    for algorithm in ("BP", "PC"):
        expected = -onemlp.update(algorithm, w, x, y)
        assert chains.gradient(algorithm, w, x, y) == pytest.approx(expected, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("target", [-0.4, -1.5, -5.0, -20.0])
def test_relu_rests_at_its_kink(target):
    # Weights ½, 1, 1 and x = 1: F = ½(z_1 − ½)² + ½(z_2 − φ(z_1))² + ½(y − z_2)². For y < −1 the minimum is z_1 = 0,
    # z_2 = y/2; else z_1 − ½ = ½(y − z_1), and the chain is linear.
    z1 = 0.0 if target < -1 else (0.5 + target / 2) / 1.5
    z2 = (z1 + target) / 2
    expected = [0.5 - z1, -(z2 - z1) * z1, -(target - z2) * z2]
    found = chains.gradient("PC", [[0.5, 1.0, 1.0]], [[1.0]], [[target]], "relu")[0]
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_dead_chain_moves_its_read_out_only():
    found = chains.gradient("PC", [[1.0, -1.0, 0.5, 0.5]], [[1.0]], [[2.0]], "relu")[0]
    lam = 2.0 / 1.25  # z_3 alone moves: F* = ½ y²/(1 + w_4²)
    assert found == pytest.approx([0, 0, 0, -lam * 0.5 * lam], abs=1e-14)


@every_activation
@pytest.mark.parametrize(("scale", "steps"), [(1.0, 7), (1.0, 60), (4.0, 30)])
def test_euler_is_the_paper_s_schedule(activation, scale, steps):
    # At the larger weights the energy rises, and the step size is halved.
    for seed in range(5):
        w, x, y = problem(seed, 4, activation, scale=scale)
        expected = flat(solved(w, x, y, activation, "euler", max_iterations=steps).weight_gradients())
        found = chains.gradient("Euler", w, x, y, activation, steps=steps)[0]
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * np.abs(expected).max())


@every_activation
def test_euler_reaches_the_equilibrium(activation):
    w, x, y = problem(1, 3, activation)
    w = np.abs(w)
    exact = chains.gradient("PC", w, x, y, activation)
    assert chains.gradient("Euler", w, x, y, activation, steps=3000) == pytest.approx(exact, abs=1e-7)
    assert chains.gradient("Euler", w, x, y, activation, steps=3) != pytest.approx(exact, rel=1e-2)


def with_stand_ins(algorithm, w, x, activation, steps=40):
    """Loss and gradient, one sample and its weight at a time."""
    samples, share = chains.stand_ins(x, activation)
    total = 0.0
    for k in range(samples.shape[1]):
        one = samples[:, [k]], SLOPES[activation] * samples[:, [k]]
        value, gradient = chains.loss(w, *one, activation), chains.gradient(algorithm, w, *one, activation, steps=steps)
        total = total + share[:, [k]] * np.concatenate([value[:, None], gradient], axis=1)
    return total[0]


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_stand_ins_are_exact_for_homogeneous_chains(activation, algorithm):
    for seed in range(6):
        w, x, y = problem(seed, 4, activation, batch=64)
        expected = chains.gradient(algorithm, w, x, y, activation, steps=40)[0]
        loss, *found = with_stand_ins(algorithm, w, x, activation)
        if algorithm == "Euler":  # whose step size is the whole batch's; the weights are equal here
            samples, _ = chains.stand_ins(x, activation)
            found = chains.gradient("Euler", w, samples, SLOPES[activation] * samples, activation, steps=40)[0]
        assert loss == pytest.approx(chains.loss(w, x, y, activation)[0], rel=1e-12)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("algorithm", ["BP", "PC"])
@pytest.mark.parametrize(("spread", "bound"), [(0.1, 1e-8), (0.316, 1e-5)])
def test_stand_ins_are_as_good_for_tanh(algorithm, spread, bound):
    generator = np.random.default_rng(4)
    for depth in (1, 3, 10):
        w, x = generator.uniform(-1.5, 1.5, (1, depth + 1)), generator.normal(1, spread, (1, 64))
        expected = chains.gradient(algorithm, w, x, -x, "tanh")[0]
        loss, *found = with_stand_ins(algorithm, w, x, "tanh")
        assert loss == pytest.approx(chains.loss(w, x, -x, "tanh")[0], rel=bound)
        assert found == pytest.approx(expected, abs=bound * np.abs(expected).max())


def test_the_gauss_rule_has_the_batch_s_moments():
    x = np.random.default_rng(0).normal(1, 0.3, (5, 2, 64))
    nodes, share = chains.stand_ins(x, "tanh")
    assert nodes.shape == share.shape == (5, 2, chains.NODES) and np.all(share > 0)
    for k in range(2 * chains.NODES):
        assert (share * nodes**k).sum(axis=-1) == pytest.approx((x**k).mean(axis=-1), rel=1e-11)
    beyond = 2 * chains.NODES + 2
    assert (share * nodes**beyond).sum(axis=-1) != pytest.approx((x**beyond).mean(axis=-1), rel=1e-9)


@pytest.mark.parametrize("x", [[2.0, 2.0, 2.0], [1.0, -1.0, 1.0, 1.0], [0.0, 0.0]])
def test_the_gauss_rule_of_few_values_is_the_batch(x):
    nodes, share = chains.stand_ins(np.array(x), "tanh")
    for k in range(12):
        assert (share * nodes**k).sum() == pytest.approx(np.mean(np.array(x) ** k), abs=1e-12)


def test_wide_chains_reach_an_equilibrium():
    # Weights far beyond what training visits: the energy's gradient vanishes, and it is not above the loss.
    generator = np.random.default_rng(3)
    w, x = generator.uniform(-4, 4, (40, 6)), generator.normal(1, 0.3, (40, 8))
    columns = w.T, x.T, -x.T
    z, slopes, out = chains._up(columns[0], columns[1], "tanh")
    found = chains._equilibrium(*columns, z, slopes, columns[2] - out, "tanh", 1e-9)
    z, slopes, errors, lam, missed = found
    up = np.concatenate([errors[1:] * slopes[1:], lam[None]])
    gradient = errors - columns[0][1:, None] * up
    assert missed <= 1 and np.quantile(np.abs(gradient).max(axis=0), 0.97) < 1e-8
    assert np.all((errors**2).sum(axis=0) + lam**2 <= (columns[2] - out) ** 2 * (1 + 1e-9))


def data(activation, seeds=4, steps=200, spread=0.3, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(1, spread, (50, seeds, 16)) for _ in range(0, steps, 50)]


def starts(activation, seeds, depth, seed=0):
    low = (0.5, 1.0) if activation == "relu" else (-1.0, 1.0)
    return np.random.default_rng([seed, 7]).uniform(*low, (seeds, depth + 1))


def plain(algorithm, w, xs, rate, activation, threshold=0.01):
    """(hit, half, last loss, weights) of one run by a loop that anyone would write, full batches in float64."""
    slope, first, half = SLOPES[activation], None, -1
    for t, x in enumerate(xs):
        now = chains.loss(w, x[None], slope * x[None], activation)[0]
        first = now if first is None else first
        half = t if half < 0 and now <= first / 2 else half
        if now < threshold:
            return t, half, now
        last = now
        w = w - rate * chains.gradient(algorithm, w, x[None], slope * x[None], activation, steps=20)
    return -1, half, last


@every_activation
@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_training_is_the_plain_loop(activation, algorithm):
    rates, w, xs = [0.1, 0.5], starts(activation, 4, 3), data(activation)
    test = np.random.default_rng(9).normal(1, 0.3, (4, 30))
    options = {"steps": 200, "test": test, "marks": [0, 1, 5, 30, 199], "inference_steps": 20}
    found = chains.train(algorithm, w, xs, rates, activation, SLOPES[activation], **options)
    inputs = np.concatenate(xs)
    for i, rate in enumerate(rates):
        for s in range(4):
            hit, half, last = plain(algorithm, w[s : s + 1], inputs[:, s], rate, activation)
            assert (found.hit[i, s], found.half[i, s]) == (hit, half)
            assert found.end_train[i, s] == pytest.approx(last, rel=1e-4 if activation == "tanh" else 1e-9)
    assert (found.hit >= 0).any() and (found.half > 0).any()
    assert found.train_curve[0, 0] == pytest.approx(
        chains.loss(w, xs[0][0], SLOPES[activation] * xs[0][0], activation), rel=1e-9
    )
    assert found.test_curve[0, 1] == pytest.approx(chains.loss(w, test, SLOPES[activation] * test, activation))
    assert np.array_equal(found.train_curve[-1], found.end_train)


@every_activation
def test_runs_do_not_disturb_each_other_and_repeat(activation):
    w, xs, test = starts(activation, 4, 5), data(activation), np.ones((4, 3))
    rates = [0.03, 0.3, 3.0]
    options = {"activation": activation, "slope": SLOPES[activation], "test": test}
    caps = [200, 100, 25]
    both = [chains.train("PC", w, xs, rates, steps=caps, **options) for _ in range(2)]
    for name in ("hit", "half", "plateau", "diverged", "stop", "end_train", "end_test"):
        assert np.array_equal(getattr(both[0], name), getattr(both[1], name))
    for i, (rate, cap) in enumerate(zip(rates, caps, strict=True)):
        alone = chains.train("PC", w, xs, [rate], steps=cap, **options)
        assert np.array_equal(alone.hit[0], both[0].hit[i]) and np.array_equal(alone.stop[0], both[0].stop[i])


def test_the_plateau_rule_watches_means_of_blocks():
    # With a learning rate too small to change a weight the loss is ½ (1 + 1/4)² times the inputs' scale squared.
    scales = [1.0, 0.9, 0.8, 0.8, 0.7, 0.9, 0.6, 0.6]
    xs = [s * np.ones((25, 1, 4)) for s in scales]
    options = {"steps": 200, "every": 25, "test": np.ones((1, 2)), "marks": [0, 98, 99, 150]}
    found = chains.train("BP", [[0.5, 0.5]], xs, [1e-300], **options)
    size = 0.5 * (1 + 0.25) ** 2
    assert found.plateau[0, 0] == found.stop[0, 0] == 99  # the fourth block: equal is no decrease
    assert (found.hit[0, 0], found.diverged[0, 0]) == (-1, -1)
    assert found.half[0, 0] == 100  # 0.7² < ½
    assert found.stop_train[0, 0] == pytest.approx(size * 0.64) and found.end_train[0, 0] == pytest.approx(size * 0.36)
    assert found.stopped_curve()[:, 0, 0] == pytest.approx(size * np.array([1, 0.64, 0.64, 0.64]))
    assert found.train_curve[:, 0, 0] == pytest.approx(size * np.array([1, 0.64, 0.64, 0.36]))


def test_the_plateau_rule_keeps_quiet_while_means_fall():
    xs = [s * np.ones((25, 1, 4)) for s in (1.0, 0.9, 0.8, 0.7)]
    found = chains.train("BP", [[0.5, 0.5]], xs, [1e-300], steps=100, every=25, test=np.ones((1, 2)))
    assert found.plateau[0, 0] == -1 and found.stop[0, 0] == 99


def test_divergence_is_noted_and_infinite():
    found = chains.train("BP", [[0.9, 0.9, 0.9]], [np.ones((50, 1, 4))], [50.0, 0.1], steps=50, test=np.ones((1, 2)))
    assert found.diverged[0, 0] > 0 and found.hit[0, 0] == -1 and found.stop[0, 0] == found.diverged[0, 0]
    assert np.isinf([found.stop_train[0, 0], found.end_train[0, 0]]).all()
    assert found.diverged[1, 0] == -1 and np.isfinite(found.end_train[1, 0])


def test_bad_input_is_named():
    ok = {"steps": 50, "test": np.ones((1, 2))}
    xs = [np.ones((50, 1, 4))]
    for match, call in {
        "algorithm": lambda: chains.gradient("bp", [[1, 1]], [[1]], [[1]]),
        "activation": lambda: chains.loss([[1, 1]], [[1]], [[1]], "gelu"),
        "weights": lambda: chains.loss([[1.0]], [[1]], [[1]]),
        "x holds": lambda: chains.loss([[1, 1]], [[np.nan]], [[1]]),
        r"y \(1, 2\)": lambda: chains.loss([[1, 1]], [[1]], [[1, 2]]),
        "learning_rates": lambda: chains.train("BP", [[1, 1]], xs, [0.0], **ok),
        "steps": lambda: chains.train("BP", [[1, 1]], xs, [0.1], steps=60, test=ok["test"]),
        "every": lambda: chains.train("BP", [[1, 1]], xs, [0.1], every=30, **ok),
        "batches": lambda: chains.train("BP", [[1, 1]], xs, [0.1], steps=100, test=ok["test"]),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
