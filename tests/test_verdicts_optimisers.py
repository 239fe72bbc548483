"""The verdicts T7 and T8: every part can hold and can fail, pairs are pairs, and the recorded ones are quick."""

import time

import numpy as np
import pytest

from pcbook import verdicts_optimisers
from pcbook.experiments import batch_sizes, directions, optimisers, races, readings

SEEDS = 3


def optimiser_cells(fast, slow, close, far):
    """Made-up records in which PC needs `fast` steps where BP needs `slow`, and is `close` to what BP is `far` from."""
    rng, steps = (
        np.random.default_rng(0),
        {"BP": slow, "PC": fast, "PC with Adam": fast * (1.0 if close > far else 0.5)},
    )
    for problem in races.PROBLEMS:
        for start in optimisers.STARTS:
            for method in races.METHODS:
                for seed in range(SEEDS):
                    taken = steps.get(method, slow) * rng.uniform(0.99, 1.01, 4)
                    where = {"part": "race", "problem": problem, "start": start, "method": method, "seed": seed}
                    yield {
                        "cell": where | {"rate": 1.0},
                        "results": dict.fromkeys(("escape", "converge"), taken.tolist()),
                    }
        for path in ("BP", "PC"):
            for seed in range(SEEDS):
                noise = rng.uniform(-0.01, 0.01, 4)
                both = {"PC": (close + noise).tolist(), "BP": (far + noise).tolist()}
                ratios = dict.fromkeys(("like RMSProp", "reversed"), {"PC": both["PC"], "Adam": [0.8] * 4})
                results = {"training": dict.fromkeys(directions.TARGETS, both), "ratios": ratios}
                where = {"part": "directions", "problem": problem, "path": path, "seed": seed}
                yield {"cell": where, "results": results}


def batch_cells(fast, slow, growth):
    """PC needs `fast` steps at batch 1 and fast / `growth` at batch 512; BP always `slow`."""
    rng = np.random.default_rng(0)
    for problem in batch_sizes.PROBLEMS:
        for size in (1, 512):
            for algorithm, steps in (("BP", slow), ("PC", fast / (growth if size > 1 else 1))):
                where = {"problem": problem, "size": size, "algorithm": algorithm}
                rates = batch_sizes.rates(problem)
                grid = dict.fromkeys(("escape", "converge", "reached"), [1.0, *[2.0] * (len(rates) - 1)])
                yield {"cell": {"part": "grid", **where, "seed": 1000}, "results": grid}
                for seed in range(SEEDS):
                    taken = dict.fromkeys(("escape", "converge"), (steps * rng.uniform(0.99, 1.01, 4)).tolist())
                    yield {"cell": {"part": "race", **where, "rate": rates[0], "seed": seed}, "results": taken}
    for seed in range(SEEDS):
        cosines = dict(
            zip(batch_sizes.PAIRS, (0.9, slow / 100, fast / 100), strict=True)
        )  # PC and BP; PC, BP and natural
        noise = rng.uniform(0, 0.01, len(batch_sizes.ANGLE_SIZES))
        values = {pair: (value + noise).tolist() for pair, value in cosines.items()}
        yield {"cell": {"part": "angles", "problem": "digits", "seed": seed}, "results": values}


@pytest.fixture
def invented(monkeypatch):
    def install(optimiser=(10.0, 20.0, 0.9, 0.1), batch=(10.0, 20.0, 1.5)):
        made = {"optimisers": list(optimiser_cells(*optimiser)), "batch-sizes": list(batch_cells(*batch))}
        made["optimisers-directions"] = made["optimisers"]
        settings = {"optimisers": optimisers.Configuration(), "batch-sizes": batch_sizes.Configuration()}
        records = {
            name: {"results": {"cells": cells}, "configuration": vars(settings.get(name, settings["optimisers"]))}
            for name, cells in made.items()
        }
        monkeypatch.setattr(readings, "recorded", records.__getitem__)
        readings.record.cache_clear()

    yield install
    readings.record.cache_clear()


@pytest.mark.parametrize("judge", [verdicts_optimisers.judge_adaptive, verdicts_optimisers.judge_batches])
def test_every_part_can_hold_and_can_fail(judge, invented):
    invented()
    assert all(judge(0).parts.values()) and judge(0).outcome == "reproduced"
    invented(optimiser=(40.0, 20.0, 0.1, 0.9), batch=(30.0, 20.0, 0.5))
    assert not any(judge(0).parts.values()) and judge(0).outcome == "not reproduced"


def test_a_factor_is_the_ratio_of_steps_and_its_inverse_the_other_way(invented):
    invented(optimiser=(9.0, 99.0, 0.9, 0.1))
    forth = readings.speed_up("digits", "random", "PC")
    back = readings.speed_up("digits", "random", "BP", over="PC")
    assert forth.low < 10 < forth.high
    np.testing.assert_allclose([forth.value * back.value, forth.low * back.high], 1)


def test_differences_are_taken_start_by_start(invented):
    invented()
    found = readings.closer("digits", "Adam")
    np.testing.assert_allclose([found.value, found.low, found.high], 0.8)  # the starts' noise cancels in pairs


def test_growth_compares_the_two_ends(invented):
    invented(batch=(19.0, 39.0, 2.0))
    found = readings.growth("digits")
    assert found.low < (1 + 19.0) / (1 + 9.5) < found.high
    assert readings.advantage("digits", 512).value == pytest.approx(40 / 10.5, rel=0.02)


def test_what_was_not_reached_counts_as_the_cap(invented):
    invented(optimiser=(-1.0, 20.0, 0.9, 0.1))
    assert set(readings.steps("1MLP", "random", "PC")) == {optimisers.Configuration().linear_cap}


def test_unknown_cells_are_an_error(invented):
    invented()
    with pytest.raises(ValueError, match="optimisers: no race cell"):
        readings.select("optimisers", "race", problem="1MLP", method="Shampoo")


@pytest.mark.parametrize("judge", [verdicts_optimisers.judge_adaptive, verdicts_optimisers.judge_batches])
def test_the_recorded_verdicts_are_quick_and_do_not_depend_on_the_seed(judge):
    readings.record.cache_clear()
    start = time.process_time()
    found = [judge(seed) for seed in range(4)]
    assert time.process_time() - start < 2
    assert all(verdict == found[0] for verdict in found)
    assert "nan" not in found[0].evidence


def test_the_records_hold_every_seed_and_every_method():
    settings = readings.configuration("optimisers")
    for problem in races.PROBLEMS:
        for method in races.METHODS:
            cells = readings.select("optimisers", "race", problem=problem, start="random", method=method)
            assert [cell["seed"] for cell, _ in cells] == list(settings["seeds"]) and len(settings["seeds"]) >= 5
        starts = len(readings.cosines(problem, "Adam", "PC"))
        assert starts >= (100 if races.PROBLEMS[problem].chain else 5)


def test_best_rates_lie_inside_their_grids():
    """But for Newton and natural gradient, whose largest rate is hardly any damping."""
    edges = [
        (problem, start, method)
        for problem in races.PROBLEMS
        for start in optimisers.STARTS
        for method in ("BP", "momentum", "RMSProp", "Adam", "PC", "PC with Adam")
        if readings.at_edge(problem, start, method)
    ]
    assert edges == []


def test_what_does_not_arrive_draws_a_factor_towards_one(invented):
    """Newton, whose cap is small, would seem fast if its cap were compared with steps that BP has more time for."""
    invented(optimiser=(10.0, 1000.0, 0.9, 0.1))
    for row in readings.record("optimisers")["results"]["cells"]:
        if row["cell"].get("method") == "Newton":
            row["results"] = {mark: [-1] * 4 for mark in row["results"]}
    assert readings.arrived("1MLP", "random", "Newton") == 0 and readings.arrived("1MLP", "random", "BP") == 1
    assert readings.speed_up("1MLP", "random", "Newton").value == 1
    assert readings.speed_up("1MLP", "random", "PC").value > 50
