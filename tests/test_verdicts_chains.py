"""The judges of deep chains on made-up records: every part of a verdict holds in one world and fails in another."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest

from pcbook import verdicts_chains
from pcbook.experiments import deep_chains
from pcbook.experiments import deep_chains_record as record

JUDGES = {name: judge for name, judge in vars(verdicts_chains).items() if name.startswith("judge_")}


def world(bp, pc, plateau=-1, gap=0.0, edge=None):
    """`recorded` of a world where steps to the threshold are bp(L) and pc(L) at α = 1; `edge`: PC's speed-up at 10."""

    def row(method, depth, scaling, rate):
        generator = np.random.default_rng(depth)
        base = bp(depth) if method == "BP" else pc(depth)
        best = rate == (10.0 if edge and method == "PC" else 1.0)
        factor = 1.0 if best else 3.0
        hit = (
            np.round(base * factor * generator.uniform(0.8, 1.2, 100)).astype(int)
            if np.isfinite(base)
            else -1 * np.ones(100, int)
        )
        stop = np.where(hit < 0, 0.5, 0.008 * factor) + 0 * hit
        fired = np.full(100, plateau)
        fired[hit < plateau] = -1
        return {
            "scaling": scaling,
            "rate": rate,
            "cap": 20_000,
            "hit": hit.tolist(),
            "half": np.maximum(hit // 2, -1).tolist(),
            "plateau": fired.tolist(),
            "stop_loss": stop.tolist(),
            "end_loss": stop[fired >= 0].tolist(),
            "stop_gap": [gap, 1e-4, 100],
            "end_gap": [gap, 1e-4, 100],
        }

    @functools.cache
    def recorded(activation, reading):
        found = {}
        for method, scalings in deep_chains.SCALINGS.items():
            for depth in record.DEPTHS:
                rows = [row(method, depth, s, rate) for s in scalings for rate in (0.1, 0.3, 1.0, 10.0)]
                curve = {"train": [1.0, 0.5], "test": [1.0, 0.5 + gap], "train_sem": [0.0, 0.0], "test_sem": [0.0, 0.0]}
                curves = {
                    s: [
                        {"rate": rate, "seeds": n, "rule": rule} | curve
                        for rate in (0.1, 0.3, 1.0, 10.0)
                        for n in (3, 100)
                        for rule in (True, False)
                    ]
                    for s in scalings
                }
                found[method, depth] = {"rows": rows, "curves": curves, "marks": [0, 1], "seeds": 100}
        return found

    return recorded


WORLDS = {
    "as the paper says": world(
        lambda depth: 100 * depth if depth < 15 else np.inf, lambda d: 10 * d if d < 15 else np.inf
    ),
    "the other way round": world(lambda depth: 10 + 0 * depth, lambda depth: 100 * depth, gap=0.1),
    "on plateaus": world(lambda depth: 400 * depth, lambda depth: 30 * depth, plateau=499),
}


def judged(monkeypatch, name):
    monkeypatch.setattr(record, "recorded", WORLDS[name])
    return SimpleNamespace(**{key.removeprefix("judge_"): judge(0) for key, judge in JUDGES.items()})


def test_a_world_as_the_paper_says_reproduces_everything(monkeypatch):
    found = judged(monkeypatch, "as the paper says")
    for name in ("test_losses", "untrainable", "scaling", "reading", "grid", "plateau_rule"):
        assert getattr(found, name).outcome == "reproduced", name
    assert all(found.faster.parts.values())


def test_a_world_the_other_way_round_reproduces_nothing(monkeypatch):
    found = judged(monkeypatch, "the other way round")
    for name in ("faster", "test_losses", "untrainable", "scaling", "reading", "grid"):
        assert getattr(found, name).outcome == "not reproduced", name
    assert not any(held for part, held in found.plateau_rule.parts.items() if "faster" in part)


def test_plateaus_that_runs_would_leave_are_counted(monkeypatch):
    found = judged(monkeypatch, "on plateaus")
    early = {part: held for part, held in found.plateau_rule.parts.items() if "too early" in part}
    assert len(early) == 3 and not any(early.values())


def test_ratios_are_paired_and_geometric(monkeypatch):
    monkeypatch.setattr(record, "recorded", WORLDS["as the paper says"])
    race = record.race("tanh", 5, record.FREE)
    assert race.ratio.value == pytest.approx(0.1, rel=0.05) and race.faster is True
    assert race.reached == (1.0, 1.0) and race.first.value == 1.0
    assert record.race("tanh", 15, record.FREE).ratio.value == 1.0  # neither gets there
    monkeypatch.setattr(record, "recorded", WORLDS["the other way round"])
    assert record.race("tanh", 5, record.FREE).faster is False


def test_the_grid_of_a_setting_ends_at_its_edge(monkeypatch):
    monkeypatch.setattr(record, "recorded", WORLDS["as the paper says"])
    rates = [row["rate"] for row in record.rows("linear", 5, "PC", record.PAPER)]
    assert rates == [0.1, 1.0, 10.0] and 0.3 in [r["rate"] for r in record.rows("linear", 5, "PC", record.FREE)]
    assert record.picked("linear", 5, "PC", record.PAPER)["rate"] == 1.0


@pytest.mark.parametrize("name", JUDGES)
def test_verdicts_on_the_records_are_the_same_for_every_seed(name):
    verdicts = [JUDGES[name](seed) for seed in range(4)]
    assert all(verdict == verdicts[0] for verdict in verdicts)
    assert "nan" not in verdicts[0].evidence and len(verdicts[0].parts) >= 3
