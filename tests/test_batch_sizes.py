"""The sweep over batch sizes: its cells, its limits, and the angle between PC and the natural gradient at batch 1."""

import json

import numpy as np
import pytest
import torch

from pcbook import second_order, sweep
from pcbook.experiments import batch_sizes, directions, named, races

SMALL = batch_sizes.Configuration(seeds=(0, 1), runs=4, tuning_runs=3)


def grid(problem, size, algorithm, best):
    costs = [50.0] * len(batch_sizes.rates(problem))
    costs[best] = 2.0
    cell = {"part": "grid", "problem": problem, "size": size, "algorithm": algorithm, "seed": SMALL.tuning_seed}
    return cell, {"converge": costs, "escape": costs, "reached": [1.0] * len(costs)}


def races_after(*grids):
    return [cell for cell in batch_sizes.cells(SMALL, list(grids)) if cell["part"] == "race"]


def test_every_problem_is_tried_from_one_sample_to_512():
    for problem in batch_sizes.PROBLEMS:
        assert (batch_sizes.sizes(problem)[0], batch_sizes.sizes(problem)[-1]) == (1, 512)
    first = batch_sizes.cells(SMALL, [])
    assert {cell["size"] for cell in first if cell["part"] == "grid"} == {2**k for k in range(10)}


def test_races_wait_for_both_grids_and_share_a_common_rate():
    bp, pc = grid("linear, L = 1", 8, "BP", 3), grid("linear, L = 1", 8, "PC", 5)
    assert races_after(bp) == []
    rates = batch_sizes.rates("linear, L = 1")
    found = [(cell["algorithm"], cell["rate"], cell["seed"]) for cell in races_after(bp, pc)]
    expected = [("BP", rates[3]), ("PC", rates[5]), ("PC", rates[3])]
    assert found == [(*pair, seed) for pair in expected for seed in (0, 1)]
    same = races_after(bp, grid("linear, L = 1", 8, "PC", 3))
    assert [cell["algorithm"] for cell in same] == ["BP", "BP", "PC", "PC"]


@pytest.mark.parametrize("problem", ["linear, L = 5", "tanh, L = 1"])
@pytest.mark.parametrize("size", [1, 64])
def test_cells_run_and_repeat(problem, size):
    cell, _ = grid(problem, size, "PC", 0)
    first, second = (batch_sizes.run(SMALL, cell, "cpu") for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    assert max(first["results"]["reached"]) > 0.5
    race = batch_sizes.run(SMALL, cell | {"part": "race", "rate": 1.0, "seed": 1}, "cpu")["results"]
    assert len(race["converge"]) == 4 and min(race["converge"]) > 0


def test_the_loss_that_decides_does_not_depend_on_the_batch():
    problem = batch_sizes.PROBLEMS["linear, L = 1"]
    theta = races.starts(problem, 0, 5)
    product = theta.prod(-1)
    x, _ = races._all(problem)
    torch.testing.assert_close(races.losses(problem, theta), 0.5 * (-1 - product) ** 2 * x.square().mean())


def normalised(sizes, seed):
    """θ (1, P) of a linear network, x and y of one sample, such that every layer's activity has length 1."""
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(1, 1, n, generator=rng, dtype=torch.float64) for n in (sizes[0], sizes[-1]))
    x, weights = x / x.norm(), []
    z = x[0, 0]
    for n, m in zip(sizes[1:], sizes[:-1], strict=True):
        w = torch.randn(n, m, generator=rng, dtype=torch.float64)
        weights.append(w / (w @ z).norm())
        z = weights[-1] @ z
    return second_order.join(weights)[None], x, y


@pytest.mark.parametrize("sizes", [(3, 4, 2), (3, 4, 5, 2), (6, 4, 4, 4, 3)])
def test_with_one_sample_and_activities_of_length_one_pcs_first_layer_takes_the_natural_step(sizes):
    """S = I + Σ J_l J_lᵀ (B1) is then the weights' JJᵀ, so J₁ᵀS⁻¹r xᵀ is the undamped natural step."""
    theta, x, y = normalised(sizes, 0)
    residual = y - second_order.outputs(theta, sizes, "linear", x)
    natural = second_order.natural(second_order.jacobian(theta, sizes, "linear", x), residual, 1e-12)
    pc, bp = (-races.gradients(races.Problem(sizes, "linear"), a, theta, x, y) for a in ("PC", "BP"))
    first = sizes[0] * sizes[1]
    torch.testing.assert_close(pc[:, :first], natural[:, :first])
    assert float(directions.cosine(bp[:, :first], natural[:, :first])) < 1 - 1e-6
    longer = 2 * theta[:, :first], theta[:, first:]  # activities of length 2 above the first layer
    theta = torch.cat(longer, 1)
    residual = y - second_order.outputs(theta, sizes, "linear", x)
    natural = second_order.natural(second_order.jacobian(theta, sizes, "linear", x), residual, 1e-12)
    pc = -races.gradients(races.Problem(sizes, "linear"), "PC", theta, x, y)
    assert float((pc - natural)[:, :first].norm() / natural[:, :first].norm()) > 0.01


def test_angles_are_cosines():
    found = batch_sizes.updates_cosines(
        races.PROBLEMS["digits"],
        races.starts(races.PROBLEMS["digits"], 0, 1),
        *next(races.batches(races.PROBLEMS["digits"], 0, 1, 2)),
        damping=1e7,
    )
    assert found.keys() == batch_sizes.PAIRS.keys()
    np.testing.assert_allclose(found["BP and natural gradient"], 1, atol=1e-6)  # much damping: both descend the loss
    np.testing.assert_allclose(found["PC and BP"], found["PC and natural gradient"], atol=1e-5)
    assert found["PC and BP"] < 1 - 1e-4


@pytest.mark.parametrize(("problem", "size"), [("linear, L = 1", 512), ("tanh, L = 1", 1)])
def test_the_record_repeats(problem, size):
    record = next(iter(sweep.recorded(named("batch-sizes")).values()))
    settings = batch_sizes.Configuration(**record["configuration"])
    cells = record["results"]["cells"]
    rows = [
        r
        for r in cells
        if (r["cell"]["part"], r["cell"].get("problem"), r["cell"].get("size")) == ("race", problem, size)
    ]
    again = batch_sizes.run(settings, rows[0]["cell"], "cpu")["results"]
    for name, values in rows[0]["results"].items():
        np.testing.assert_allclose(values, again[name], rtol=0.02, atol=1)
