"""The training loop: one step by hand, rules on hand-made losses, optimisers as PyTorch's on autograd's gradients."""

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import strategies as st

from pcbook import inference, linear_theory, network, training

OPTIMISERS = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr),
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr),
    "rmsprop": lambda parameters, lr: torch.optim.RMSprop(parameters, lr),
}


def net(activation="tanh", sizes=(4, 6, 5, 3), seed=0, biases=True, dtype=torch.float64):
    weights = network.init_weights(list(sizes), seed, dtype=dtype)
    return network.PCN(weights, activation, network.init_biases(list(sizes), seed + 1, dtype) if biases else None)


def batches(count=3, size=8, inputs=4, outputs=3, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    pairs = [
        [torch.randn(size, n, generator=rng, dtype=torch.float64) for n in (inputs, outputs)] for _ in range(count)
    ]
    return [(x.to(dtype), y.to(dtype)) for x, y in pairs]


def parameters(net):
    return [*net.weights, *(net.biases or [])]


def copies(net):
    return [p.clone() for p in parameters(net)]


def oracle(net, method, x, y):
    """Autograd's gradients of the weights, then of the biases, at the feedforward pass or at a float64 equilibrium."""
    activities = None if method == "bp" else inference.solve(net, x, y, rtol=1e-10).activities
    weights, biases = oracles.gradients(net, x, y, activities)
    return weights if net.biases is None else [*weights, *biases]


# One step.


@oracles.prop(
    max_examples=30,
    problem=oracles.problems(("linear", "tanh"), depth=st.integers(1, 5), width=st.integers(1, 12)),
    method=st.sampled_from(training.METHODS),
    scaling=st.sampled_from(sorted(training.SCALINGS)),
    rate=st.sampled_from([1e-3, 0.3]),
)
def test_a_step_of_sgd_takes_the_rate_times_the_scaled_gradient(problem, method, scaling, rate):
    net, x, y = oracles.problem(**problem)
    before, gradients = copies(net), oracle(net, method, x, y)
    factor = {"half": 1, "mean": 2 / y.shape[1], "sum": len(y)}[scaling]
    history = training.train(net, [(x, y)], method, rate, scaling=scaling, rtol=1e-9)
    expected = [p - rate * factor * g for p, g in zip(before, gradients, strict=True)]
    moved = [a - b for a, b in zip(parameters(net), before, strict=True)]
    assert oracles.distance(moved, [e - b for e, b in zip(expected, before, strict=True)]) < 1e-6
    fresh = network.PCN(before[: len(net.weights)], net.activation, before[len(net.weights) :] or None, net.precisions)
    loss = oracles.energy(fresh, oracles.feedforward(fresh, x)[:-1], x, y).mean()
    assert history.loss.tolist() == pytest.approx([float(loss)], rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_pc_descends_the_equilibrated_energy_of_a_linear_network(seed):
    linear = network.PCN(linear_theory.random_net([4, 6, 5, 3], seed).weights)
    ((x, y),) = batches(1, seed=seed)
    before = [w.clone().requires_grad_() for w in linear.weights]
    product, s = before[0], torch.eye(3, dtype=torch.float64)
    for w in before[1:]:
        product = w @ product
    for l in range(1, len(before)):
        chain = torch.linalg.multi_dot(before[: l - 1 : -1]) if l < len(before) - 1 else before[-1]
        s = s + chain @ chain.t()
    r = y - x @ product.t()
    energy = 0.5 * (r * torch.linalg.solve(s, r.t()).t()).sum() / len(x)  # B1: ½ rᵀS⁻¹r
    expected = torch.autograd.grad(energy, before)
    training.train(linear, [(x, y)], "pc", 0.1)
    steps = [(b.detach() - w) / 0.1 for b, w in zip(before, linear.weights, strict=True)]
    assert oracles.distance(steps, expected) < 1e-10


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("method", training.METHODS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_optimisers_are_pytorchs_on_autograds_gradients(optimiser, method, biases):
    ours, data = net(biases=biases), batches(5)
    theirs = net(biases=biases)
    steps = OPTIMISERS[optimiser](parameters(theirs), 0.01)
    for x, y in data:
        for p, g in zip(parameters(theirs), oracle(theirs, method, x, y), strict=True):
            p.grad = g
        steps.step()
    training.train(ours, data, method, 0.01, optimiser=optimiser, rtol=1e-8)
    before = net(biases=biases)
    moved, expected = ([a - b for a, b in zip(parameters(n), parameters(before), strict=True)] for n in (ours, theirs))
    assert oracles.distance(moved, expected) < 1e-5
    assert all(p.grad is None for p in parameters(ours))


def test_euler_takes_the_gradient_at_the_activities_it_reaches():
    ((x, y),) = batches(1)
    ours, start = net(), net()
    reached = inference.solve(start, x, y, "euler", max_iterations=7)
    training.train(ours, [(x, y)], "pc", 0.1, solver="euler", max_iterations=7)
    steps = [(b - a) / 0.1 for a, b in zip(ours.weights, start.weights, strict=True)]
    assert oracles.distance(steps, reached.weight_gradients()) < 1e-10
    exact = inference.solve(start, x, y, rtol=1e-8).weight_gradients()
    assert oracles.distance(steps, exact) > 0.1  # seven steps are far from enough


def test_a_warm_start_changes_nothing_but_the_work():
    data = batches(6)
    warm, cold = net(), net()
    training.train(warm, data, "pc", 0.05, rtol=1e-8, warm=True), training.train(cold, data, "pc", 0.05, rtol=1e-8)
    assert oracles.distance(parameters(warm), parameters(cold)) < 1e-8


# Rules.


@pytest.mark.parametrize(
    "rule, losses, fires",
    [
        (training.Threshold(0.01), [1, 0.0101], False),
        (training.Threshold(0.01), [1, 0.0099], True),
        (training.Threshold(0.5), [0.4, 0.6], False),  # the current batch counts
        (training.Plateau(2), [3, 1], False),
        (training.Plateau(2), [3, 1, 2, 1.9], False),
        (training.Plateau(2), [3, 1, 2, 2], True),  # equal means: did not decrease
        (training.Plateau(2), [3, 1, 2, 2.1], True),
        (training.Plateau(2), [3, 1, 9, 9, 9], False),  # asked every second batch only
        (training.Plateau(2), [9, 9, 3, 1, 1, 1], False),
        (training.Plateau(1), [1, 1], True),
        (training.Diverged(), [1, 1e30], False),
        (training.Diverged(), [1, math.inf], True),
        (training.Diverged(), [1, math.nan], True),
        (training.Diverged(50), [1, 51], True),
        (training.Diverged(50), [51, 1], False),
    ],
)
def test_rules(rule, losses, fires):
    assert rule.fires([float(v) for v in losses]) is fires


def scripted(losses):
    """A network and batches with these losses before each update, at a learning rate that does next to nothing."""
    one = network.PCN([torch.zeros(1, 1, dtype=torch.float64)])
    x = torch.ones(1, 1, dtype=torch.float64)
    return one, [(x, torch.full_like(x, math.sqrt(2 * v))) for v in losses]


@pytest.mark.parametrize("method", training.METHODS)
def test_a_rule_stops_before_the_update_or_is_only_watched(method):
    losses = [4.0, 2.0, 3.0, 3.1, 0.005, 1.0]
    watched = [training.Threshold(0.01, stop=False), training.Plateau(2, stop=False), training.Diverged(3.5)]
    history = training.train(*scripted(losses), method, 1e-9, rules=watched[:2])
    assert history.loss.tolist() == pytest.approx(losses, rel=1e-6)
    assert history.stops == {"threshold": 4, "plateau": 3} and history.end == "batches"
    history = training.train(*scripted(losses), method, 1e-9, rules=[watched[0], training.Plateau(2)])
    assert (history.end, history.stops, len(history.loss)) == ("plateau", {"plateau": 3}, 4)
    history = training.train(*scripted(losses), method, 1e-9, rules=watched)
    assert (history.end, history.stops) == ("diverged", {"diverged": 0})
    one, data = scripted([1.0])
    training.train(one, data, method, 0.5, rules=[training.Threshold(2.0)])
    assert float(one.weights[0]) == 0.0


def test_one_rule_may_be_watched_twice_under_different_names():
    rules = [training.Threshold(v, stop=False, name=f"below {v}") for v in (3.5, 2.5)]
    assert training.train(*scripted([4.0, 3.0, 2.0]), "bp", 1e-9, rules=rules).stops == {"below 3.5": 1, "below 2.5": 2}


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu"])
@pytest.mark.parametrize("method", training.METHODS)
def test_divergence_ends_a_run_with_its_name(method, activation):
    small = net(activation, biases=False, dtype=torch.float32)
    data = batches(60, dtype=torch.float32)
    history = training.train(small, data, method, 1e30)
    assert history.end == "diverged" and len(history.loss) < 60
    assert history.stops["diverged"] == len(history.loss) - 1 and not math.isfinite(history.loss[-1])
    assert np.isfinite(history.loss[:-1]).all()


def test_weights_that_the_last_update_ruins_count_as_divergence():
    small = net("tanh", biases=False, dtype=torch.float32)
    history = training.train(small, batches(1, dtype=torch.float32), "bp", 3e38, scaling="sum")
    assert history.end == "diverged" and np.isfinite(history.loss).all() and history.stops == {"diverged": 1}


# The history.


@pytest.mark.parametrize("method", training.METHODS)
def test_a_history_counts_updates(method):
    seen = []

    def evaluate(step):
        seen.append(step)
        return {"weight": float(own.weights[0][0, 0])} if step % 2 == 0 else None

    own, data = net(), batches(5)
    start = float(own.weights[0][0, 0])
    history = training.train(own, iter(data), method, 0.1, evaluate=evaluate)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [row["step"] for row in history.evaluations] == [0, 2, 4]
    assert history.evaluations[0]["weight"] == start and history.evaluations[0]["seconds"] == 0
    assert history.evaluations[1]["seconds"] == history.seconds[1]
    assert history.loss.shape == history.seconds.shape == history.cpu.shape == history.iterations.shape == (5,)
    assert (np.diff(history.seconds) > 0).all() and (history.iterations > 0).all() == (method == "pc")


def test_seconds_leave_out_evaluation_and_loading():
    def slowly():
        for pair in batches(3):
            torch.linalg.svd(torch.ones(300, 300))
            yield pair

    def evaluate(step):
        torch.linalg.svd(torch.ones(300, 300))

    slow = training.train(net(), slowly(), "bp", 0.1, evaluate=evaluate)
    step = min(training.train(net(), batches(3), "bp", 0.1).cpu[-1] for _ in range(3))
    assert slow.cpu[-1] < 5 * step + 0.02


def test_escape_is_the_first_step_below_half_of_the_first_loss():
    history = training.train(*scripted([4.0, 2.01, 1.9, 3.0]), "bp", 1e-9)
    assert history.escape == 2 and history.first_below(4.5) == 0 and history.first_below(1.0) is None


def test_the_same_batches_give_the_same_run():
    for method in training.METHODS:
        first, second = (training.train(net("relu"), batches(4), method, 0.1).loss.tolist() for _ in range(2))
        assert first == second
        assert first != training.train(net("relu", seed=5), batches(4), method, 0.1).loss.tolist()


# Bad arguments.


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("net", {"net": [1]}),
        ("method", {"method": "BP"}),
        ("learning_rate", {"learning_rate": 0.0}),
        ("learning_rate", {"learning_rate": math.inf}),
        ("optimiser", {"optimiser": "newton"}),
        ("scaling", {"scaling": "double"}),
        ("rules", {"rules": [max]}),
        ("rules", {"rules": 3}),
        ("rules", {"rules": [training.Threshold(1), training.Threshold(2)]}),
        ("solver", {"solver": "fast"}),
        ("method", {"method": "pc", "solver": "exact"}),  # a tanh network
        ("rtol", {"rtol": 0}),
        ("max_iterations", {"max_iterations": 1.5}),
        ("warm", {"warm": 1}),
        ("evaluate", {"evaluate": 3}),
        ("batches", {"batches": []}),
        ("batches", {"batches": 5}),
        ("batches", {"batches": [torch.ones(3, 4)]}),
        ("x", {"batches": [(torch.full((2, 4), math.nan).double(), torch.ones(2, 3).double())]}),
        ("y", {"batches": [(torch.ones(2, 4).double(), torch.full((2, 3), math.inf).double())]}),
        ("x", {"batches": [(torch.ones(0, 4).double(), torch.ones(0, 3).double())]}),
        ("y", {"batches": [(torch.ones(2, 4).double(), torch.ones(1, 3).double())]}),
        ("x", {"batches": [(torch.ones(2, 4), torch.ones(2, 3))]}),  # float32 beside float64
    ],
)
def test_bad_arguments_are_named(name, arguments):
    given = {"net": net(), "batches": batches(1), "method": "bp"} | arguments
    for method in {given["method"], "pc"} if given["method"] in training.METHODS else {given["method"]}:
        with pytest.raises(ValueError, match=rf"^{name}\b"):
            training.train(**given | {"method": method})


@pytest.mark.parametrize(
    "name, make",
    [
        ("below", lambda: training.Threshold(0)),
        ("every", lambda: training.Plateau(0)),
        ("every", lambda: training.Plateau(2.5)),
        ("above", lambda: training.Diverged(-1)),
        ("above", lambda: training.Diverged(math.nan)),
    ],
)
def test_bad_rules_are_named(name, make):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        make()
