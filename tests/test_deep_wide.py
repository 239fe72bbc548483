"""Figure 4's experiment: which cells, what they record, and that real MNIST trains as recorded."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from pcbook import data, network, records, sweep, training
from pcbook.experiments import deep_wide as wide
from pcbook.experiments import deep_wide_record as reading

SMALL = dataclasses.replace(
    wide.Configuration(), dataset="digits", hidden=2, width=20, images=640, epochs=2, seeds=(0, 1), bins=5, looks=(0, 3)
)
ONE = dataclasses.replace(SMALL, activations=("tanh",), scalings=(("bp", "half"),))


def plan(configuration, last):
    """All cells, when a grid's run at a rate ends with the loss last(cell), or diverges where that is None."""
    found = []
    while new := [cell for cell in wide.cells(configuration, found) if cell not in [done for done, _ in found]]:
        found += [(cell, {"last": last(cell)}) for cell in json.loads(json.dumps(new))]
    return [cell for cell, _ in found]


def rates(cells, epochs):
    return sorted({cell["rate"] for cell in cells if cell["epochs"] == epochs})


# Which cells.


@pytest.mark.parametrize(
    "best, grid, final",
    [
        (0.01, [1e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1], [0.01]),
        (1, [1e-4, 1e-3, 1e-2, 0.1, 0.2, 0.5, 1, 2, 5, 10], [1]),
        (10, [1e-4, 1e-3, 1e-2, 0.1, 1, 2, 5, 10, 20, 50, 100], [1, 10]),
        (1e4, [1e-4, 1e-3, 1e-2, 0.1, 1, 10, 20, 50, 100, 200, 500], [1, 100, 500]),
        (2e-2, [1e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 1], [1e-2, 2e-2]),
        (1e-8, [2e-7, 5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1], [2e-7, 1e-6, 1e-4]),
    ],
)
def test_the_grid_grows_at_its_edges_and_around_its_best(best, grid, final):
    cells = plan(ONE, lambda cell: abs(np.log(cell["rate"] / best)))
    assert rates(cells, 1) == pytest.approx(grid)
    assert rates(cells, 2) == pytest.approx(final)
    assert sorted({cell["seed"] for cell in cells if cell["epochs"] == 2}) == [0, 1]
    assert {cell["seed"] for cell in cells if cell["epochs"] == 1} == {0}
    assert len({wide.key(cell) for cell in cells}) == len(cells)


def test_where_every_rate_diverges_the_grid_is_all():
    assert rates(plan(ONE, lambda cell: None), 1) == list(ONE.rates) and not rates(plan(ONE, lambda cell: None), 2)


def test_another_scaling_is_another_rate():
    """ "mean" at α is "half" at 2α/d, "sum" at α is "half" at αB: the same weights to rounding."""
    x, y = (part[: SMALL.batch] for part in wide._dataset("digits", 640)[:2])
    for scaling, factor in (("half", 1.0), ("mean", 0.2), ("sum", 64.0)):
        assert wide.effective(SMALL, scaling, 0.01) == pytest.approx(0.01 * factor)
        for method in training.METHODS:
            nets = [network.PCN(network.init_weights([64, 20, 10], 0), "tanh") for _ in range(2)]
            training.train(nets[0], [(x, y)] * 3, method, 0.01, scaling=scaling)
            training.train(nets[1], [(x, y)] * 3, method, wide.effective(SMALL, scaling, 0.01))
            for a, b in zip(nets[0].weights, nets[1].weights, strict=True):
                torch.testing.assert_close(a, b)


def test_scalings_that_coincide_are_run_once():
    both = dataclasses.replace(ONE, scalings=(("bp", "half"), ("bp", "mean")), rates=(0.02, 0.1))
    cells = plan(both, lambda cell: abs(np.log(cell["rate"] / 0.05)))
    found = [cell["rate"] for cell in cells if cell["epochs"] == 1]
    assert len(found) == len(set(found)) and {0.004, 0.02, 0.1} <= set(found)


# What a cell records.


@pytest.fixture(scope="module")
def row():
    cell = wide.final_cell(SMALL, "tanh", "pc", "half", 0.5, 1)
    return cell, wide.run(SMALL, cell, "cpu")


def history_of(cell):
    """The same run, from the parts."""
    x, y = wide._dataset("digits", 640)[:2]
    net = network.PCN(network.init_weights([64, 20, 20, 10], cell["seed"]), cell["activation"])
    order = [data.batches(x.numpy(), y.numpy(), 64, (cell["seed"], k)) for k in range(cell["epochs"])]
    pairs = [(torch.from_numpy(a), torch.from_numpy(b)) for epoch in order for a, b in epoch]
    return training.train(net, pairs, cell["method"], cell["rate"]), net


def test_a_cell_records_its_training(row):
    cell, found = row
    results, (history, net) = found["results"], history_of(cell)
    assert json.loads(json.dumps(found)) == found
    assert results["early"] == pytest.approx(history.loss[:200].tolist(), rel=1e-4)
    assert results["steps"] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20] and results["updates"] == 20
    assert results["loss"] == pytest.approx(history.loss.reshape(10, 2).mean(1).tolist(), rel=1e-4)
    assert results["epoch_loss"] == pytest.approx(history.loss.reshape(2, 10).mean(1).tolist(), rel=1e-4)
    assert results["last"] == pytest.approx(history.loss[-1], rel=1e-4)
    assert results["escape"] == history.escape and results["end"] == "batches"
    assert [look["step"] for look in results["tests"]] == [0, 3, 10, 20]
    test_x, test_y = wide._dataset("digits", 640)[2:]
    right = network.forward(net, test_x)[-1].argmax(1) == test_y.argmax(1)
    assert results["tests"][-1]["accuracy"] == pytest.approx(float(right.double().mean()), abs=0.005)
    assert results["tests"][-1]["converged"] == 1.0
    assert len(found["timing"]["cpu"]) == len(found["timing"]["wall"]) == 10
    assert (np.diff(found["timing"]["cpu"]) >= 0).all()


def test_a_cell_gives_the_same_again(row):
    cell, found = row
    assert wide.run(SMALL, cell, "cpu")["results"] == found["results"]
    other = wide.run(SMALL, cell | {"seed": 0}, "cpu")["results"]
    assert other["early"] != found["results"]["early"]


def test_check_sees_a_changed_loss_and_a_changed_rate(row):
    cell, found = row
    assert wide.check(SMALL, cell, found["results"], "cpu") == []
    early = found["results"]["early"]
    for changed in (early[:1] + [1.03 * early[1]] + early[2:], [*early[:-1], 0.9 * early[-1]]):
        assert wide.check(SMALL, cell, found["results"] | {"early": changed}, "cpu")
    assert wide.check(SMALL, cell | {"rate": 0.6}, found["results"], "cpu")
    assert wide.check(SMALL, cell | {"method": "bp"}, found["results"], "cpu")


@pytest.mark.parametrize("method", training.METHODS)
def test_divergence_is_recorded_without_infinities(method):
    found = wide.run(SMALL, wide.final_cell(SMALL, "linear", method, "half", 1e3, 0), "cpu")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    results = found["results"]
    assert results["end"] == "diverged" and results["last"] is None and results["stops"]["diverged"] < 20
    assert results["steps"][-1] <= results["updates"] < 20


def test_the_paper_s_rule_is_watched_and_the_run_goes_on():
    """At a rate this small the order of the images decides (the last batch is smaller): some epoch is worse."""
    still = dataclasses.replace(SMALL, epochs=6, images=600)
    results = wide.run(still, wide.final_cell(still, "relu", "bp", "half", 1e-9, 0), "cpu")["results"]
    epochs = results["epoch_loss"]
    worse = [k for k in range(1, 6) if epochs[k] >= epochs[k - 1]]
    assert results["updates"] == 60 and results["end"] == "batches"
    assert results["stops"] == {"plateau": 10 * (worse[0] + 1) - 1}


def test_digests_name_the_data():
    assert set(wide.digests(wide.Configuration()).values()) == {
        digest for digest, _ in wide.images.SOURCES["mnist"].digests.values()
    }
    assert list(wide.digests(SMALL)) == ["digits"]


def test_the_cost_is_estimated_for_every_cell():
    c = wide.Configuration()
    estimates = [wide.seconds(c, cell) for cell in wide.cells(c, [])]
    assert min(estimates) > 1 and sum(estimates) < 3 * 3600


def test_a_small_sweep_runs_is_read_and_verified(tmp_path):
    few = dataclasses.replace(SMALL, activations=("tanh",), rates=(0.1, 1.0), decades=0)
    small = dataclasses.replace(wide.EXPERIMENT, configuration=few)
    paths = sweep.run(small, journal=tmp_path / "journal", output=tmp_path)
    assert sorted(path.name for path in paths) == ["deep-wide-tanh.json"]
    assert sweep.verify(small, {path: records.load(path) for path in paths}, sample=1) == []
    record = reading.Record(tmp_path)
    assert record.epoch == 10 and record.configuration == small.configuration
    for activation in few.activations:
        for method, scaling in SMALL.scalings:
            best = [record.best(activation, method, scaling, grid) for grid in wide.GRIDS]
            ends = dict(record.tried(activation, method))
            ends = [ends[wide.effective(SMALL, scaling, rate)]["last"] for rate in best]
            assert ends == sorted(ends, reverse=True)  # a larger grid is never worse
            assert [run.results["updates"] for run in record.runs(activation, method, scaling, "fine")] == [20, 20]
            trained = record.trained(activation, method)
            chosen = {wide.effective(SMALL, scaling, rate) for rate in best}
            assert chosen <= trained.keys() and all(len(runs) == 2 for runs in trained.values())


# How a run is read.


def results(loss, early=None, **given):
    loss = [float(v) for v in loss]
    early = loss[:200] if early is None else early
    n = len(loss)
    fixed = {"early": early, "steps": list(range(1, n + 1)), "loss": loss, "escape": None, "stops": {}}
    return fixed | {"end": "batches", "epoch_loss": [float(np.mean(loss))]} | given


def test_a_run_is_read_from_its_curve():
    loss = np.r_[np.full(100, 0.5), np.linspace(0.5, 0.1, 400)]
    run = reading.Run(results(loss, stops={"plateau": 400}), np.arange(1, 501) * 0.02)
    assert run.steps[0] == 5 and run.loss[0] == 0.5
    assert (np.diff(run.steps) > 0).all() and run.steps[-1] == pytest.approx(499.5)
    assert np.interp(run.steps, np.arange(500) + 0.5, loss) == pytest.approx(run.loss, abs=0.006)
    assert run.seconds(250) == pytest.approx(5.0) and run.axis(reading.AXES[1])[0] == pytest.approx(0.1)
    assert run.reach(0.3) == pytest.approx(300, abs=2) and run.reach(0.05) == np.inf
    assert run.escape == np.inf and run.stopped == 400 and run.last == pytest.approx(loss.mean())


def test_speed_up_compares_the_times_to_where_the_slower_ends():
    slow = reading.Run(results(np.linspace(1, 0, 400), epoch_loss=[0.25]), np.arange(1, 401) * 0.01)
    fast = reading.Run(results(np.linspace(1, 0, 200), epoch_loss=[0.25]), np.arange(1, 201) * 0.04)
    assert reading.speed_up(slow, fast) == pytest.approx(2, rel=0.05)
    assert reading.speed_up(slow, fast, reading.AXES[1]) == pytest.approx(0.5, rel=0.05)
    assert reading.speed_up(fast, reading.Run(results(np.full(200, 0.9)), np.arange(1, 201))) == 0


# The record, and real MNIST against it.

MARGIN = 0.05  # beyond the lowest and highest of the recorded seeds
CALM = {"bp": "mean", "pc": "half"}  # at the other scaling's best rate BP's tanh network is chaotic


def test_the_record_is_whole():
    found = sweep.recorded(wide.EXPERIMENT)
    assert [path.stem for path in found] == ["deep-wide-linear", "deep-wide-relu", "deep-wide-tanh"]
    assert sweep.verify(wide.EXPERIMENT, found, sample=0) == []


@pytest.mark.parametrize("activation, method", [(a, m) for a in reading.ACTIVATIONS for m in training.METHODS])
def test_real_mnist_trains_as_recorded(real_images, activation, method):
    """The first 200 updates of the paper's network at its best rate: means over 20 of them lie in the seeds' band."""
    real_images("mnist")
    record, scaling = reading.recorded(), CALM[method]
    early = [run.results["early"] for run in record.runs(activation, method, scaling)]
    band = np.array([np.reshape(losses[:200], (10, 20)).mean(1) for losses in early])
    rate, seed = record.best(activation, method, scaling), record.configuration.seeds[0]
    cell = wide.final_cell(record.configuration, activation, method, scaling, rate, seed)
    history, _ = wide._train(record.configuration, cell, "cpu", steps=200)
    found = history.loss.reshape(10, 20).mean(1)
    assert (found > (1 - MARGIN) * band.min(0)).all() and (found < (1 + MARGIN) * band.max(0)).all()
