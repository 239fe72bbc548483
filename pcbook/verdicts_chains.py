"""Verdicts on deep chains (F3, F7, T5) and on what may decide them (C1–C4), from the recorded runs.

Each confound is judged by one question: is PC still the faster one at 5 and at 10 hidden layers when it is taken away?
Faster means fewer steps to a loss below 0.01, seed by seed, by a 95 % confidence interval over 100 seeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from pcbook import intervals
from pcbook.experiments import deep_chains
from pcbook.experiments import deep_chains_record as record
from pcbook.experiments.deep_chains_record import Setting
from pcbook.intervals import Interval
from pcbook.verdicts import Verdict, measured

NAMES = {"linear": "linear", "tanh": "tanh", "relu": "ReLU"}
DEEP = (5, 10)
ALL = replace(record.PAPER, seeds=100)  # the paper's setting, with more seeds
RATE = 0.1  # one learning rate for both


def judge_faster(seed: int) -> Verdict:
    """F3: does PC train deep chains significantly faster than BP?"""
    few = {a: [record.race(a, depth, record.PAPER).faster for depth in DEEP] for a in NAMES}
    slower = {a: _slows_down(a) for a in ("linear", "tanh")}
    same = {event: _ratios("linear", record.FREE, event, RATE) for event in ("hit", "half")}
    return measured(
        f"PC's steps over BP's at {_listed(DEEP)} hidden layers, 100 seeds. The paper's setting: {_all(ALL)}. Neither "
        f"plateau rule nor edge of the grid: {_all(record.FREE)}. Of the {3 * len(DEEP)} comparisons "
        f"{sum(map(sum, map(_true, few.values())))} are significant with the paper's three seeds. At one learning rate "
        f"for both, {RATE:g}, linear chains: {_listed(same['hit'])}, and to half the first loss "
        f"{_listed(same['half'])}.",
        **{f"{NAMES[a]}: faster in the paper's setting": _faster(a, ALL) for a in NAMES},
        **{f"{NAMES[a]}: faster without its confounds": _faster(a, record.FREE) for a in NAMES},
        **{f"{NAMES[a]}: BP slows down with depth": slower[a] for a in slower},
        **{f"faster at one learning rate for both, {RATE:g} (our test)": all(r.high < 1 for r in same["hit"])},
    )


def judge_test_losses(seed: int) -> Verdict:
    """F7: do test losses differ significantly from training losses?"""
    places = [(a, depth, m) for a in NAMES for depth in (1, *DEEP) for m in ("BP", "PC")]
    parts, words = {}, []
    for reading in deep_chains.READINGS:
        setting = replace(ALL, reading=reading)
        gaps = [g for place in places if (g := record.gap(*place, setting))]
        apart = [g for g in gaps if g.low > 0 or g.high < 0]
        largest = max(gaps, key=lambda g: abs(g.value))
        words.append(
            f"{reading}: {len(apart)} of {len(gaps)} differ significantly, {sum(g.low > 0 for g in apart)} of these "
            f"with the higher loss in the test, and the largest difference is {largest}"
        )
        parts[f"not significantly, 0.1 as {reading}"] = len(apart) <= _chance(len(gaps))
        parts[f"curves agree within 10 %, 0.1 as {reading}"] = max(_apart(*p, setting) for p in places) < 0.1
    return measured(
        f"Test minus training loss where runs end, 100 seeds, 1, 5 and 10 hidden layers. 0.1 as {'; as '.join(words)}.",
        **parts,
    )


def judge_untrainable(seed: int) -> Verdict:
    """T5: are both unable to train chains of 15 hidden layers?"""
    paper, free = (_shares(s) for s in (ALL, record.FREE))
    return measured(
        f"Share of 100 chains with 15 hidden layers that get to a loss below 0.01, in the paper's setting: "
        f"{_told(paper)}. With larger learning rates and without the plateau rule: {_told(free)}.",
        **{f"{NAMES[a]}: {m} trains less than half of them": paper[a, m].high < 0.5 for a, m in paper},
        **{
            f"{NAMES[a]}: nor does {m} at larger learning rates (our test)": free[a, m].high < 0.5
            for a, m in free
            if m == "PC"
        },
    )


def judge_scaling(seed: int) -> Verdict:
    """C1: is PC the faster one however the two losses are scaled?"""
    return _survives(
        "The paper's setting with equal losses, BP's loss averaged over outputs too (× 2), PC's energy summed over the "
        "batch (× 64), and both",
        {
            "equal": ALL,
            "BP × 2": replace(ALL, bp="mean"),
            "PC × 64": replace(ALL, pc="sum"),
            "both": replace(ALL, bp="mean", pc="sum"),
        },
    )


def judge_reading(seed: int) -> Verdict:
    """C2: is PC the faster one however 0.1 is read?"""
    return _survives(
        "The paper's setting with 0.1 as the standard deviation and as the variance",
        {reading: replace(ALL, reading=reading) for reading in deep_chains.READINGS},
    )


def judge_grid(seed: int) -> Verdict:
    """C3: is PC the faster one when the grid of learning rates goes on beyond 1, and when it is finer?"""
    return _survives(
        "The paper's setting, learning rates picked by the fewest steps, with the grid going on to 100, and up to 1 "
        "with rates between the powers of ten",
        {
            "up to 100": replace(ALL, criterion="steps", edge=100.0),
            "finer": replace(ALL, criterion="steps", fine=True),
            "both": replace(ALL, criterion="steps", edge=100.0, fine=True),
        },
    )


def judge_plateau_rule(seed: int) -> Verdict:
    """C4: is PC the faster one when runs may sit on plateaus as long as they like?"""
    off = replace(ALL, rule=False)
    stopped = {a: _stopped(a) for a in NAMES}
    words = ", ".join(f"{NAMES[a]} {share.percent()}" for a, share in stopped.items())
    verdict = _survives(
        f"Share of BP's runs at 10 hidden layers that the rule ends before the threshold although they get there "
        f"later: {words}. The paper's setting without the rule",
        {"no plateau rule": off},
    )
    return measured(
        verdict.evidence,
        **verdict.parts,
        **{f"{NAMES[a]}: the rule ends hardly any BP run too early": stopped[a].value < 0.05 for a in NAMES},
    )


def _survives(words: str, settings: Mapping[str, Setting]) -> Verdict:
    """The verdict on whether PC stays the faster one in each of the settings."""
    told = "; ".join(f"{name}: {_all(setting)}" for name, setting in settings.items())
    return measured(
        f"PC's steps over BP's at {_listed(DEEP)} hidden layers, 100 seeds. {words}. {told[0].upper() + told[1:]}.",
        **{
            f"{NAMES[a]}, {name}: PC is still faster": _faster(a, setting)
            for name, setting in settings.items()
            for a in NAMES
        },
    )


def _ratios(activation: str, setting: Setting, event: str = "hit", rate: float | None = None) -> list[Interval]:
    return [record.race(activation, depth, setting, event, rate).ratio for depth in DEEP]


def _faster(activation: str, setting: Setting) -> bool:
    return all(ratio.high < 1 for ratio in _ratios(activation, setting))


def _all(setting: Setting) -> str:
    return ", ".join(f"{NAMES[a]} {_listed(_ratios(a, setting))}" for a in NAMES)


def _listed(values: Iterable[object]) -> str:
    return " and ".join(map(str, values))


def _true(values: Iterable[object]) -> list[bool]:
    return [value is True for value in values]


def _slows_down(activation: str) -> bool:
    """Whether BP's steps, at its best learning rate, grow from 1 to 5 to 10 hidden layers in most seeds."""
    rows = [record.picked(activation, depth, "BP", record.FREE) for depth in (1, *DEEP)]
    one, five, ten = (record.steps(row, record.FREE, horizon=max(r["cap"] for r in rows)) for row in rows)
    return intervals.share(one < five).low > 0.5 and intervals.share(five < ten).low > 0.5


def _chance(count: int) -> float:
    """How many of so many independent 95 % intervals may miss zero by chance: the mean and two deviations."""
    return 0.05 * count + 2 * np.sqrt(0.05 * 0.95 * count)


def _apart(activation: str, depth: int, method: str, setting: Setting) -> float:
    """The largest difference of the mean test from the mean training curve, relative, while the loss is above 0.02."""
    (_, train, _), (_, test, _) = (record.curve(activation, depth, method, setting, w) for w in ("train", "test"))
    shown = np.isfinite(train) & np.isfinite(test) & (train > 0.02)
    return float(np.max(np.abs(test - train)[shown] / train[shown], initial=0.0))


def _shares(setting: Setting, depth: int = 15) -> dict[tuple[str, str], Interval]:
    found = {}
    for activation in NAMES:
        for method in ("BP", "PC"):
            row = record.picked(activation, depth, method, setting)
            found[activation, method] = intervals.share(np.isfinite(record.steps(row, setting)))
    return found


def _told(shares: Mapping[tuple[str, str], Interval]) -> str:
    return ", ".join(f"{NAMES[a]} {m} {share.percent()}" for (a, m), share in shares.items())


def _stopped(activation: str, depth: int = 10) -> Interval:
    row = record.picked(activation, depth, "BP", ALL)
    ruled, free = (np.isfinite(record.steps(row, replace(ALL, rule=rule))) for rule in (True, False))
    return intervals.share(free & ~ruled)
