"""The judges of Figure 4: each part follows the record, and can fail."""

from types import SimpleNamespace

import numpy as np
import pytest

from pcbook import verdicts_wide as judges
from pcbook.experiments.deep_wide_record import ACTIVATIONS, Run
from pcbook.verdicts import IN_PART, NOT_REPRODUCED, REPRODUCED

EPOCHS, EPOCH = 4, 100
ALL = ("judge_deep_and_wide", "judge_grid", "judge_scaling", "judge_stop", "judge_compute")


def run(escape, losses, price=0.01, stopped=None):
    """A run whose loss falls at `escape` from 0.5 to what the epochs' losses say."""
    steps = np.arange(1, EPOCHS * EPOCH + 1)
    loss = np.where(steps <= (escape or np.inf), 0.5, np.repeat(losses, EPOCH))
    stops = {} if stopped is None else {"plateau": stopped}
    results = {
        "early": loss[:200].tolist(),
        "steps": steps.tolist(),
        "loss": loss.tolist(),
        "epoch_loss": list(losses),
        "last": losses[-1],
        "updates": EPOCHS * EPOCH,
        "escape": escape,
        "stops": stops,
        "end": "batches",
    }
    return Run(results, price * steps)


class Fake:
    """A record: `choose(activation, method, scaling, grid, seed)` gives each run, `rate` each best rate."""

    epoch = EPOCH
    configuration = SimpleNamespace(epochs=EPOCHS, rates=(0.1, 1.0), seeds=(0, 1, 2))

    def __init__(self, choose, rate=lambda *of: 0.1):
        self.choose, self.rate = choose, rate

    def runs(self, activation, method, scaling="half", grid="paper"):
        return [self.choose(activation, method, scaling, grid, seed) for seed in self.configuration.seeds]

    def best(self, activation, method, scaling="half", grid="paper"):
        return self.rate(activation, method, scaling, grid)


def verdict(monkeypatch, judge, choose, **given):
    record = Fake(choose, **given)
    monkeypatch.setattr(judges, "recorded", lambda: record)
    return getattr(judges, judge)(0)


def simple(fast="pc", seconds=None, noise=1.0):
    """`fast` escapes at 40 ± 2 and ends at 0.1, the other at 80 ± 2 and 0.2; `noise` scales the seeds' spread."""

    def choose(activation, method, scaling, grid, seed):
        spread = noise * (seed - 1)
        price = (seconds or {}).get(method, 0.01)
        end = 0.1 if method == fast else 0.2
        escape = 40 if method == fast else 80
        return run(
            escape + int(2 * spread), [0.4, 0.3, 0.25, end + 0.001 * spread * (1 if method == "pc" else -1)], price
        )

    return choose


def test_pc_first_everywhere_reproduces_figure_four(monkeypatch):
    assert verdict(monkeypatch, "judge_deep_and_wide", simple()).outcome == REPRODUCED


def test_bp_first_everywhere_does_not(monkeypatch):
    assert verdict(monkeypatch, "judge_deep_and_wide", simple("bp")).outcome == NOT_REPRODUCED


def test_seeds_that_disagree_show_nothing(monkeypatch):
    parts = verdict(monkeypatch, "judge_deep_and_wide", simple(noise=80)).parts
    assert not any(held for part, held in parts.items() if "lower" in part)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("part", ["fewer updates", "lower at the end"])
def test_each_part_is_about_its_own_activation_and_time(monkeypatch, activation, part):
    def choose(a, method, scaling, grid, seed):
        late, high = (a == activation and method == "pc" and part == p for p in ("fewer updates", "lower at the end"))
        other = method == "bp"
        return run(
            120 + seed if late else 80 + seed if other else 40 + seed,
            [0.4, 0.3, 0.25, 0.3 if high else 0.2 if other else 0.1 + 0.001 * seed],
        )

    parts = verdict(monkeypatch, "judge_deep_and_wide", choose).parts
    failed = [name for name, held in parts.items() if not held]
    assert len(parts) == 6 and len(failed) == 1 and activation in failed[0] and part in failed[0]


def test_a_run_that_never_escapes_counts_to_its_end(monkeypatch):
    def choose(a, method, scaling, grid, seed):
        return run(
            40 + seed if method == "pc" else None, [0.4, 0.3, 0.25, 0.1 if method == "pc" else 0.4 + 0.001 * seed]
        )

    assert verdict(monkeypatch, "judge_deep_and_wide", choose).outcome == REPRODUCED


def test_the_grid_decides_where_a_larger_one_turns_the_end_around(monkeypatch):
    def choose(a, method, scaling, grid, seed):
        return simple("bp" if grid == "fine" and a == "tanh" else "pc")(a, method, scaling, grid, seed)

    def rate(activation, method, scaling, grid):
        return 1.0 if (activation, method) == ("relu", "pc") else 0.1

    found = verdict(monkeypatch, "judge_grid", choose, rate=rate)
    assert found.outcome == IN_PART
    assert {part for part, held in found.parts.items() if held} == {
        "tanh: a larger and finer grid changes who ends lower",
        "relu: a best rate is the paper's largest",
    }


def test_the_scaling_decides_where_it_turns_something_around(monkeypatch):
    def choose(a, method, scaling, grid, seed):
        return simple("bp" if scaling == "half" and a == "linear" and method == "bp" else "pc")(
            a, method, scaling, grid, seed
        )

    found = verdict(monkeypatch, "judge_scaling", choose)
    assert {part for part, held in found.parts.items() if held} == {
        "linear: the scaling changes who ends lower",
        "linear: the scaling changes who escapes first",
    }
    assert verdict(monkeypatch, "judge_scaling", simple()).outcome == NOT_REPRODUCED


def test_the_rule_counts_where_the_loss_fell_after_it(monkeypatch):
    def choose(a, method, scaling, grid, seed):
        losses = {"linear": [0.4, 0.4, 0.4, 0.1], "tanh": [0.4, 0.4, 0.4, 0.39], "relu": [0.4, 0.3, 0.2, 0.1]}[a]
        return run(None, losses, stopped=None if a == "relu" else 2 * EPOCH - 1)

    found = verdict(monkeypatch, "judge_stop", choose)
    assert list(found.parts.values()) == [True, False, False]
    assert "24 of 36 runs" in found.evidence and "12 of them" in found.evidence


def test_seconds_count_the_price_of_an_update(monkeypatch):
    assert not any(verdict(monkeypatch, "judge_compute", simple()).parts.values())
    found = verdict(monkeypatch, "judge_compute", simple(seconds={"pc": 0.05}))
    assert all(found.parts.values())  # five times the price, half of the updates
    found = verdict(monkeypatch, "judge_compute", simple(seconds={"pc": 0.015}))
    assert found.outcome == IN_PART and not any(held for part, held in found.parts.items() if "first" in part)
    cheaper = verdict(monkeypatch, "judge_compute", simple(seconds={"pc": 0.005})).parts
    assert all(held for part, held in cheaper.items() if "costs" in part)


@pytest.mark.parametrize("judge", ALL)
def test_the_record_gives_the_same_verdict_at_every_seed(judge):
    found = [getattr(judges, judge)(seed) for seed in range(4)]
    assert all(v == found[0] for v in found) and found[0].parts
