"""The benchmarks' parts: what they compare with is right, and what they write is whole. No time is asserted."""

import os

import numpy as np
import pytest
import torch

from benchmarks import contenders, inference, memory, peers, reference, scaling, timing
from pcbook import network, records
from pcbook.inference import solve

SIZES = [6, 9, 8, 7, 3]


def problem(activation, scale=2.0):
    generator = torch.Generator().manual_seed(3)
    weights = [scale * w for w in network.init_weights(SIZES, generator, dtype=torch.float64)]
    draw = [torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (SIZES[0], SIZES[-1])]
    return network.PCN(weights, activation), *draw


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_the_reference_is_an_equilibrium(activation):
    net, x, y = problem(activation)
    gradients, z, residual = reference.equilibrium(net, x, y, tolerance=1e-10)
    assert residual <= 1e-10
    start = network.activity_gradients(net, network.forward(net, x)[:-1], x, y)
    end = network.activity_gradients(net, z, x, y)
    assert max(float(g.abs().max()) for g in end) < 1e-8 * max(float(g.abs().max()) for g in start)
    assert reference.distance(network.weight_gradients(net, z, x, y), gradients) < 1e-8


def test_the_reference_of_a_relu_network_is_a_local_minimum_beside_the_given_activities():
    net, x, y = problem("relu")
    z = network.forward(net, x)[:-1]
    for _ in range(3000):
        z = [a - 0.05 * g for a, g in zip(z, network.activity_gradients(net, z, x, y), strict=True)]
    _, end, residual = reference.equilibrium(net, x, y, z, tolerance=1e-10)
    assert residual <= 1e-10
    assert max(float((a - b).abs().max()) for a, b in zip(z, end, strict=True)) < 0.05
    lowest = network.energy(net, end, x, y)
    assert bool((lowest <= network.energy(net, z, x, y) + 1e-9).all())
    generator = torch.Generator().manual_seed(0)
    for size in (1e-2, 1e-4):
        for _ in range(50):
            near = [a + size * torch.randn(a.shape, generator=generator, dtype=a.dtype) for a in end]
            assert bool((network.energy(net, near, x, y) >= lowest - 1e-12).all())


@pytest.mark.parametrize("seed", range(2))
def test_the_reference_of_a_relu_network_stays_where_the_solver_has_converged(seed):
    net = network.PCN(network.init_weights([30, *[60] * 6, 4], seed, dtype=torch.float64), "relu")
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 30, generator=generator, dtype=torch.float64)
    y = torch.eye(4, dtype=torch.float64)[torch.arange(16) % 4]
    found = solve(net, x, y, "kink", rtol=1e-7, max_iterations=5000)
    gradients, end, residual = reference.equilibrium(net, x, y, found.activities, tolerance=1e-9)
    assert bool(found.converged.all()) and residual <= 1e-9
    assert reference.distance(found.weight_gradients(), gradients) < 1e-4
    before = [a @ w.T for a, w in zip([x, *found.activities], net.weights[:-1], strict=False)]
    after = [a @ w.T for a, w in zip([x, *end], net.weights[:-1], strict=False)]
    for z, old, new in zip(end, before, after, strict=True):
        assert bool(((old > 0) == (new > 0))[z - new.relu() > 1e-6].all())


def test_the_reference_of_a_relu_network_does_not_cross_kinks_that_repel():
    """z_1 = 1 + e_1, z_2 = φ(−z_1) + e_2, output z_2, target 3. Off, the second unit has λ = 3/2. On, 3λ = 3 + 1.

    Both have e_2 = λ > 0, which pushes the unit away from its kink. The first start is beside the second equilibrium,
    but as λ begins at 9/10 the first pass through the network, with z_1 = 1 − λ, turns the unit off.
    """
    one = torch.ones(1, 1, dtype=torch.float64)
    net, x, y = network.PCN([one, -one, one], "relu"), one.expand(2, 1), 3 * one.expand(2, 1)
    start = [torch.tensor([[-0.2], [0.9]], dtype=torch.float64), torch.tensor([[2.1], [1.4]], dtype=torch.float64)]
    gradients, z, residual = reference.equilibrium(net, x, y, start, tolerance=1e-12)
    assert residual <= 1e-12
    torch.testing.assert_close(torch.cat(z, 1), torch.tensor([[-1 / 3, 5 / 3], [1.0, 1.5]], dtype=torch.float64))
    exact = [(4 / 3 + 0) / 2, (4 / 9 + 0) / 2, -(20 / 9 + 9 / 4) / 2]  # of W_1, W_2, W_3: −m_l z_{l−1}, m = λ or 0
    assert [float(g) for g in gradients] == pytest.approx(exact, abs=1e-10)


def test_the_reference_of_a_relu_network_is_found_where_the_given_side_has_none():
    net, x, y = problem("relu", scale=3.0)
    far = [a + 5.0 for a in network.forward(net, x)[:-1]]  # all units on
    gradients, end, residual = reference.equilibrium(net, x, y, far, tolerance=1e-10)
    assert residual <= 1e-10
    assert any(bool((a @ w.T <= 0).any()) for a, w in zip([x, *end], net.weights[:-1], strict=False))
    again = reference.equilibrium(net, x, y, end, tolerance=1e-10)[0]
    assert reference.distance(again, gradients) < 1e-8


def test_the_distance_is_that_of_all_layers_together():
    exact = [torch.tensor([[3.0]]), torch.tensor([[4.0]])]
    assert reference.distance([torch.tensor([[3.0]]), torch.tensor([[3.0]])], exact) == pytest.approx(0.2)


def test_measurements_take_turns_and_keep_to_the_budget():
    order = []

    def step(name, seconds):
        return lambda: order.append(name) or seconds

    steps = {"slow": step("slow", 5.0), "fast": step("fast", 0.1)}
    times = timing.interleaved(step("base", 0.05), steps, rounds=4, budget=12.0)
    assert [name for name in order if name != "base"] == ["slow", "fast", "slow", "fast", "fast", "fast"]
    assert (times["slow"]["rounds"], times["fast"]["rounds"]) == (2, 4)
    assert times["slow"]["ratio"] == pytest.approx(100) and times["fast"]["ratio"] == pytest.approx(2)


def test_the_peak_counts_what_lives_at_once():
    def both():
        return torch.zeros(1000), torch.zeros(2000)

    def one_by_one():
        for n in (1000, 2000):
            torch.zeros(n)

    assert memory.peak(both) == 12000
    assert memory.peak(one_by_one) == 8000


def test_a_library_that_is_not_there_says_how_to_get_it():
    with pytest.raises(peers.Missing, match="torch2pc: not installed .* --checkout torch2pc=FOLDER"):
        peers.Peer("torch2pc")


def test_a_library_that_fails_becomes_a_row(tmp_path):
    (tmp_path / "TorchSeq2PC.py").write_text("def PCInfer(*_):\n    raise ValueError('gave up')\n")
    peer = peers.Peer("torch2pc", checkout=tmp_path)
    net, x, y = problem("tanh")
    net, x, y = net.to(torch.float32), x.float(), y.float()
    rows = contenders.compare(net, x, y, solvers={}, peers=[peer], rounds=1)
    peer.close()
    assert peer.versions == {"torch": torch.__version__}
    assert [row["failed"] for row in rows] == ["gave up"] * 2


@pytest.mark.slow
def test_the_comparison_writes_a_whole_record(tmp_path):
    line = ["--quick", "--data", "digits", "--sizes", "64-12x2-10", "--activations", "tanh", "relu", "--rates", "0.1"]
    line += ["--updates", "3", "--peers", "torch2pc", "--threads", "1"]
    record = inference.main(line)
    path = records.save(tmp_path / "cost.json", record)
    assert os.path.getsize(path) < 200_000
    results = records.load(path)["results"]
    assert "not installed" in results["peers"]["torch2pc"]
    stages = {(row["activation"], row["stage"]) for row in results["steps"]}
    assert stages == {(a, s) for a in ("tanh", "relu") for s in ("initialisation", "trained, α = 0.1")}
    for row in results["steps"] + results["chains"]:
        if row["library"] == "pcbook":
            assert row["error"] < (0.1 if row["activation"] == "relu" else 1e-2), row
            assert row["reference_residual"] <= 1e-8 and row["ratio"] > 0
    training = [(row["update"], row["method"], row["samples"]) for row in results["training"]]
    warm = [(update, method, 64) for update in (1, 2) for method in ("auto", "auto, warm start")]
    assert training == [(0, "auto", 64), *warm] * 2
    assert {row["method"] for row in results["memory"]} == {"backpropagation", "autograd", "auto", "Euler"}
    assert all(row["error_worst"] >= row["error_median"] for row in results["summary"])


def test_training_is_examined_on_full_batches_and_on_the_ragged_one():
    net, x, y = problem("tanh")
    batches = [(x, y)] * 5 + [(x[:2], y[:2])]
    options = inference.arguments(["--checkpoints", "3", "--rounds", "1"])
    rows = [row for row in inference.train(net, batches, 0.1, options) if row["method"] == "auto"]
    assert [(row["update"], row["samples"]) for row in rows] == [(0, 5), (2, 5), (4, 5), (5, 2)]
    sizes = [
        (line["method"], line["samples"], line["checkpoints"])
        for line in inference.summary([{"activation": "tanh", "rate": 0.1, **row} for row in rows])
    ]
    assert sizes == [("auto", 5, 3), ("auto", 2, 1)]


@pytest.mark.slow
def test_the_scaling_study_has_every_size():
    record = scaling.main(["--quick", "--threads", "1", "--inputs", "12"])
    rows = record["results"]["rows"]
    assert {(row["axis"], row["value"]) for row in rows} == {(a, v) for a, vs in scaling.QUICK.items() for v in vs}
    assert all(np.isfinite(row["residual"]) and row["bytes"] > 0 and row["error"] < 0.1 for row in rows)
