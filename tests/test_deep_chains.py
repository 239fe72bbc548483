"""The experiment on deep chains: its grid, its data, how a learning rate is picked, and what its records hold."""

import dataclasses
import json

import numpy as np
import pytest

from pcbook import chains
from pcbook.experiments import deep_chains

TINY = dataclasses.replace(
    deep_chains.Configuration(),
    seeds=(0, 1, 2, 3),
    depths=(1, 3),
    caps=tuple((a, m, low, high, min(long, 100), min(short, 50)) for a, m, low, high, long, short in deep_chains.CAPS),
    euler_seeds=(("linear", 2), ("relu", 2), ("tanh", 2)),
    points=6,
)
every_cell = pytest.mark.parametrize(
    "cell", deep_chains.cells(TINY, [])[::5], ids=lambda c: "-".join(map(str, c.values()))
)


def row(rate, hit, plateau, stop, end=(), cap=1000):
    return {
        "rate": rate,
        "hit": hit,
        "half": hit,
        "plateau": plateau,
        "stop_loss": stop,
        "end_loss": list(end),
        "cap": cap,
    }


TABLE = [
    row(0.1, [500, 700], [-1, -1], [0.009, 0.009]),
    row(1.0, [50, 900], [-1, 499], [0.008, 0.5], [0.001]),
    row(10.0, [-2, 5], [-1, -1], [None, 0.001]),
]


def test_the_best_rate_follows_the_criterion():
    assert deep_chains.best(TABLE, 2, True, "loss") == 0  # 0.009 < (0.008 + 0.5) / 2 < ∞
    assert deep_chains.best(TABLE, 2, False, "loss") == 1  # (0.008 + 0.001) / 2
    assert deep_chains.best(TABLE, 1, True, "loss") == 1
    assert deep_chains.best(TABLE, 2, False, "steps") == 1  # 475 < (1000 + 5) / 2 < 600
    assert deep_chains.best(TABLE, 2, True, "steps") == 2  # the rule ends the run before its 900 steps
    assert deep_chains.best(TABLE, 2, True, "steps", edge=1.0) == 1
    assert deep_chains.best(TABLE, 2, True, "steps", edge=0.5) == 0
    with pytest.raises(ValueError, match="criterion"):
        deep_chains.best(TABLE, 2, True, "speed")


def test_the_plateau_rule_hides_what_comes_after_it():
    assert deep_chains.steps_to(TABLE[1], True).tolist() == [50, -1]
    assert deep_chains.steps_to(TABLE[1], False).tolist() == [50, 900]
    assert deep_chains.steps_to(TABLE[2], False).tolist() == [-1, 5]
    assert deep_chains.last_losses(TABLE[1], False).tolist() == [0.008, 0.001]
    assert deep_chains.last_losses(TABLE[2], True).tolist() == [np.inf, 0.001]


def test_the_grid_holds_the_paper_s_rates_and_two_decades_more():
    configuration = deep_chains.Configuration()
    rows = deep_chains.grid(configuration, {"activation": "linear", "method": "PC"})
    plain = [rate for scaling, rate, *_ in rows if scaling == "half"]
    assert {1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0} < set(plain)
    assert {factor / rate for _, rate, factor, _ in rows if rate == 1.0} == {1.0, 64.0}
    assert all(cap % chains.SPAN == 0 and cap >= 500 for *_, cap in rows)
    assert len(deep_chains.cells(configuration, [])) == 3 * 3 * 7 * 2
    assert deep_chains.cells(configuration, [({}, {})]) == []


def test_inputs_are_those_of_the_paper_and_the_same_for_every_activation():
    x = deep_chains.inputs("variance", (3, 5), 0)
    assert (
        x.shape == (500, 2, 64) and x.mean() == pytest.approx(1, abs=0.01) and x.var() == pytest.approx(0.1, rel=0.05)
    )
    assert deep_chains.inputs("deviation", (3, 5), 0).std() == pytest.approx(0.1, rel=0.05)
    assert not np.array_equal(x, deep_chains.inputs("variance", (3, 5), 1))
    for activation in deep_chains.SLOPES:
        found = list(deep_chains.batches(activation, "variance", [3, 5], 501))
        samples, share = found[0]
        assert len(found) == 2 and share.sum(axis=-1) == pytest.approx(1)
        assert (share * samples**2).sum(axis=-1) == pytest.approx((x**2).mean(axis=-1))


def test_weights_start_where_the_paper_has_them():
    relu = np.concatenate([deep_chains.initial("relu", 10, seed) for seed in range(200)])
    tanh = np.concatenate([deep_chains.initial("tanh", 10, seed) for seed in range(200)])
    assert relu.min() >= 0.5 and relu.max() <= 1 and relu.mean() == pytest.approx(0.75, abs=0.01)
    assert np.abs(tanh).max() <= 1 and tanh.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert np.array_equal(deep_chains.initial("tanh", 10, 3), deep_chains.initial("linear", 10, 3))


@every_cell
def test_a_cell_runs_repeats_and_is_checked(cell):
    found = deep_chains.run(TINY, cell, "cpu")["results"]
    assert json.loads(json.dumps(found)) == found == deep_chains.run(TINY, cell, "cpu")["results"]
    assert deep_chains.check(TINY, cell, found, "cpu") == []
    changed = json.loads(json.dumps(found))
    victim = next(r for r in changed["rows"] if r["scaling"] == "half" and 0.1 <= r["rate"] <= 1)
    victim["hit"][0] += 40
    assert deep_chains.check(TINY, cell, changed, "cpu") != []


def test_curves_are_those_of_the_rates_that_figures_pick():
    cell = {"activation": "linear", "reading": "deviation", "method": "PC", "depth": 3}
    found = deep_chains.run(TINY, cell, "cpu")["results"]
    table = [r for r in found["rows"] if r["scaling"] == "half" and r["rate"] in TINY.rates]
    picked = {(c["rate"], c["seeds"], c["rule"]) for c in found["curves"]["half"]}
    for criterion in deep_chains.CRITERIA:
        for edge in deep_chains.EDGES:
            assert (table[deep_chains.best(table, 3, True, criterion, edge)]["rate"], 3, True) in picked
    curve = next(c for c in found["curves"]["half"] if c["rate"] == 1.0 and c["seeds"] == 4)
    history = deep_chains.history(TINY, cell, TINY.seeds)
    i = next(i for i, r in enumerate(deep_chains.grid(TINY, cell)) if r[:2] == ("half", 1.0))
    assert curve["train"] == pytest.approx(history.train_curve[:, i].mean(axis=1), rel=1e-3)
    assert curve["test_sem"] == pytest.approx(history.test_curve[:, i].std(axis=1, ddof=1) / 2, rel=1e-2, abs=1e-12)


def test_the_records_hold_every_cell_and_the_paper_s_seeds():
    for activation in deep_chains.SLOPES:
        for reading in deep_chains.READINGS:
            found = deep_chains.recorded(activation, reading)
            assert len(found) == 3 * 7
            for (method, _), results in found.items():
                euler = dict(deep_chains.Configuration().euler_seeds)[activation]
                assert results["seeds"] == (euler if method == "Euler" else 100)
