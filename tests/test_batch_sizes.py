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
    return cell, {"converge": costs, "escape": costs, "reached": costs}


def races_after(*grids):
    return [cell for cell in batch_sizes.cells(SMALL, list(grids)) if cell["part"] == "race"]


def test_every_problem_is_tried_from_one_sample_to_512():
    for problem in batch_sizes.PROBLEMS:
        assert (batch_sizes.sizes(problem)[0], batch_sizes.sizes(problem)[-1]) == (1, 512)
    first = batch_sizes.cells(SMALL, [])
    assert {cell["size"] for cell in first if cell["part"] == "grid"} == {2**k for k in range(10)}


def test_races_wait_for_both_grids_and_share_a_common_rate():
    bp, pc = grid("linear, L = 5", 8, "BP", 3), grid("linear, L = 5", 8, "PC", 6)
    assert races_after(bp) == []
    rates = batch_sizes.rates("linear, L = 5")
    found = [(cell["algorithm"], cell["rate"], cell["seed"]) for cell in races_after(bp, pc)]
    expected = [("BP", rates[3]), ("PC", rates[6]), ("PC", rates[3])]
    assert found == [(*pair, seed) for pair in expected for seed in (0, 1)]
    same = races_after(bp, grid("linear, L = 5", 8, "PC", 3))
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


def test_with_one_sample_and_one_hidden_layer_pcs_first_layer_points_where_natural_gradient_does():
    """E7′: both are Jᵀ times one vector, S⁻¹r and (λ + JJᵀ)⁻¹r; with one output the vectors are parallel."""
    sizes, rng = (3, 4, 1), torch.Generator().manual_seed(0)
    theta, x, y = (torch.randn(1, *shape, generator=rng, dtype=torch.float64) for shape in ((16,), (1, 3), (1, 1)))
    problem = races.Problem(sizes, "tanh")
    pc = -races.gradients(problem, "PC", theta, x, y)
    jacobian = second_order.jacobian(theta, sizes, "tanh", x)
    natural = second_order.natural(jacobian, y - second_order.outputs(theta, sizes, "tanh", x), 1.0)
    first = 12
    linear = races.Problem(sizes, "linear")
    pc_linear = -races.gradients(linear, "PC", theta, x, y)
    jacobian = second_order.jacobian(theta, sizes, "linear", x)
    natural_linear = second_order.natural(jacobian, y - second_order.outputs(theta, sizes, "linear", x), 1.0)
    straight = directions.cosine(pc_linear[..., :first], natural_linear[..., :first])
    torch.testing.assert_close(straight, torch.ones(1, dtype=torch.float64))
    bent = directions.cosine(pc[..., :first], natural[..., :first])
    assert 0.9 < float(bent) < 1 - 1e-6  # the moved tanh units change the slopes


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
