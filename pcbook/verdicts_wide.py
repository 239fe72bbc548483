"""Verdicts on deep and wide networks (F4) and on what could decide them (C1, C3, C4, C5), from the record.

Three seeds show large effects only: each part holds if Student's 95 % interval of the seeds' paired differences lies
on the claim's side of zero. Times are compared as logarithms, so that an interval is one of ratios.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pcbook import intervals
from pcbook.experiments.deep_wide_record import ACTIVATIONS, AXES, Run, recorded
from pcbook.intervals import Interval
from pcbook.verdicts import Verdict, measured

Pairs = tuple[Sequence[Run], Sequence[Run]]  # BP's and PC's runs, seed by seed


def judge_deep_and_wide(seed: int) -> Verdict:
    """F4: in the paper's own setting, does PC leave the saddle sooner, and is its training loss lower in the end?"""
    pairs = {a: _pairs(a) for a in ACTIVATIONS}
    said = "; ".join(
        f"{a} (α = {_rate(a, 'bp')} and {_rate(a, 'pc')}): {_several(pairs[a], escape)} updates to half of the first "
        f"loss, sooner by a factor of {factor(pairs[a])}; training loss of the last epoch "
        f"{_several(pairs[a], last)}, lower by {lower(pairs[a])}"
        for a in ACTIVATIONS
    )
    return measured(
        f"Best rates of the paper's grid, {len(pairs['relu'][0])} seeds, {recorded().configuration.epochs} epochs, BP "
        f"and PC. {said}.",
        **{f"{a}: PC leaves the first plateau in fewer updates": sooner(pairs[a]).low > 0 for a in ACTIVATIONS},
        **{f"{a}: PC's training loss is lower at the end": lower(pairs[a]).low > 0 for a in ACTIVATIONS},
    )


def judge_grid(seed: int) -> Verdict:
    """C3 on F4: does the end of the paper's grid decide who is best?"""
    edges = {(a, m): _rate(a, m) == max(recorded().configuration.rates) for a in ACTIVATIONS for m in ("bp", "pc")}
    ends = {a: [_winner(_pairs(a, grid=grid)) for grid in ("paper", "fine")] for a in ACTIVATIONS}
    rates = "; ".join(f"{a} {_rate(a, 'bp', grid='fine')} and {_rate(a, 'pc', grid='fine')}" for a in ACTIVATIONS)
    gaps = {a: [lower(_pairs(a, grid=grid)) for grid in ("paper", "fine")] for a in ACTIVATIONS}
    words = "; ".join(
        f"{a}: {ends[a][0]} before ({before}), {ends[a][1]} after ({after})" for a, (before, after) in gaps.items()
    )
    return measured(
        f"On the paper's grid the best rate is its largest in {sum(edges.values())} of {len(edges)} cases. Best rates "
        f"of the larger and finer grid, BP and PC: {rates}. Who has the lower training loss (by how much PC's is "
        f"lower): {words}.",
        **{f"{a}: a best rate is the paper's largest": edges[a, "bp"] or edges[a, "pc"] for a in ACTIVATIONS},
        **{f"{a}: a larger and finer grid changes who ends lower": b != c for a, (b, c) in ends.items()},
    )


def judge_scaling(seed: int) -> Verdict:
    """C1 on F4: does averaging BP's error over the outputs too decide who is best, once rates are searched?"""
    ends = {a: [_winner(_pairs(a, scaling=s)) for s in ("half", "mean")] for a in ACTIVATIONS}
    losses = "; ".join(
        f"{a} " + " and ".join(str(_losses(_pairs(a, scaling=scaling)[0])) for scaling in ("half", "mean"))
        for a in ACTIVATIONS
    )
    return measured(
        f"BP's training loss of the last epoch on the paper's grid, with the book's scaling and averaged over outputs "
        f"too: {losses}. The average is the book's loss at a fifth of the rate.",
        **{f"{a}: the scaling changes who ends lower": before != after for a, (before, after) in ends.items()},
        **{f"{a}: the scaling changes who escapes first": _first(a, "half") != _first(a, "mean") for a in ACTIVATIONS},
    )


def judge_stop(seed: int) -> Verdict:
    """C4 on F4: does the rule to stop after an epoch without progress end runs that would still improve?"""
    of = [(a, m, g) for a in ACTIVATIONS for m in ("bp", "pc") for g in ("paper", "fine")]
    runs = {key: recorded().runs(key[0], key[1], "half", key[2]) for key in of}
    ended = {a: [run for key, own in runs.items() if key[0] == a for run in own if run.stopped] for a in ACTIVATIONS}
    cut = {
        a: [run for run in own if run.results["last"] and run.results["last"] < 0.9 * _at(run)]
        for a, own in ended.items()
    }
    tried, stops = (sum(map(len, found.values())) for found in (runs, ended))
    return measured(
        f"Within {recorded().configuration.epochs} epochs the rule would have ended {stops} of {tried} runs at best "
        f"rates, {intervals.share(np.arange(tried) < stops).percent()}, {sum(map(len, cut.values()))} of them a tenth "
        "or more above where they came to.",
        **{f"{a}: the rule ends runs that would still improve": bool(cut[a]) for a in ACTIVATIONS},
    )


def judge_compute(seed: int) -> Verdict:
    """C5 on F4: do seconds tell another story than updates?"""
    price = {a: _price(a) for a in ACTIVATIONS}
    story = {a: [_first(a, "half", axis) for axis in AXES] for a in ACTIVATIONS}
    said = "; ".join(f"{a} {price[a]}, first out of the plateau {' and '.join(story[a])}" for a in ACTIVATIONS)
    return measured(
        f"What an update of PC costs in updates of BP (processor time on one core, over the whole run; median and "
        f"range of the seeds), and who leaves the first plateau sooner by updates and by seconds: {said}.",
        **{
            f"{a}: an update of PC costs a quarter more or less than BP's": abs(np.log(price[a].value)) > np.log(1.25)
            for a in price
        },
        **{f"{a}: seconds change who escapes first": updates != seconds for a, (updates, seconds) in story.items()},
    )


def escape(run: Run, axis: str = AXES[0]) -> float:
    """Updates or seconds until half of the first loss, or to the end of the run where that never came."""
    updates = min(run.escape, run.results["updates"])
    return updates if axis == AXES[0] else float(run.seconds(updates))


def last(run: Run) -> float:
    """The training loss of the last epoch."""
    return run.last


def sooner(pairs: Pairs, axis: str = AXES[0]) -> Interval:
    """The interval of log₂ of BP's escape time over PC's, over the seeds."""
    return intervals.mean([np.log2(escape(b, axis) / escape(p, axis)) for b, p in zip(*pairs, strict=True)])


def factor(pairs: Pairs, axis: str = AXES[0]) -> Interval:
    """The interval of BP's escape time over PC's: their geometric mean over the seeds."""
    found = sooner(pairs, axis)
    return Interval(*(2.0**v for v in (found.value, found.low, found.high)))


def lower(pairs: Pairs) -> Interval:
    """The interval of BP's minus PC's training loss of the last epoch, over the seeds."""
    return intervals.mean([b.last - p.last for b, p in zip(*pairs, strict=True)])


def _pairs(activation: str, scaling: str = "half", grid: str = "paper") -> Pairs:
    """The runs of BP and of PC, seed by seed; `scaling` is BP's."""
    return recorded().runs(activation, "bp", scaling, grid), recorded().runs(activation, "pc", "half", grid)


def _winner(pairs: Pairs) -> str:
    interval = lower(pairs)
    return "PC" if interval.low > 0 else "BP" if interval.high < 0 else "neither"


def _first(activation: str, scaling: str, axis: str = AXES[0]) -> str:
    interval = sooner(_pairs(activation, scaling), axis)
    return "PC" if interval.low > 0 else "BP" if interval.high < 0 else "neither"


def _rate(activation: str, method: str, grid: str = "paper") -> float | None:
    return recorded().best(activation, method, "half", grid)


def _price(activation: str) -> Interval:
    """Processor seconds of an update of PC over one of BP, in whole runs: median and range over the seeds' pairs."""
    bp, pc = (np.array([run.seconds(run.steps[-1]) / run.steps[-1] for run in runs]) for runs in _pairs(activation))
    return Interval(float(np.median(pc / bp)), *np.percentile(pc / bp, [0, 100]))


def _at(run: Run) -> float:
    """The mean loss of the epoch at whose end the rule fired."""
    assert run.stopped is not None  # asked of runs that it ended alone
    return run.results["epoch_loss"][(run.stopped + 1) // recorded().epoch - 1]


def _losses(runs: Sequence[Run]) -> Interval:
    return intervals.mean([run.last for run in runs])


def _mean(runs: Sequence[Run], quantity: Callable[[Run], float]) -> str:
    value = np.mean([quantity(run) for run in runs])
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _several(pairs: Pairs, quantity: Callable[[Run], float]) -> str:
    return " and ".join(_mean(runs, quantity) for runs in pairs)
