"""What the records on deep chains say in a given setting: the rates that are picked, curves, and ratios of steps."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcbook import intervals
from pcbook.experiments import deep_chains

DEPTHS = deep_chains.Configuration().depths
ACTIVATIONS = ("linear", "tanh", "relu")
ENOUGH = 30


@dataclass(frozen=True)
class Setting:
    """How runs are compared. The defaults are the paper's, as far as it says."""

    reading: str = "deviation"  # of N(1, 0.1): "variance" is the other one
    bp: str = "half"  # scaling of BP's loss; "mean" doubles its steps
    pc: str = "half"  # scaling of PC's energy; "sum" multiplies its steps by the batch size
    rule: bool = True  # whether the plateau rule stops runs
    criterion: str = "loss"  # by which a learning rate is picked; "steps" is the other one
    edge: float = 1.0  # the largest learning rate of the grid
    fine: bool = False  # whether the grid has rates between the powers of ten, for the scaling "half"
    seeds: int = 3


PAPER = Setting()
FREE = Setting(rule=False, criterion="steps", edge=100.0, fine=True, seeds=100)  # no confound left that we know of


@functools.cache
def recorded(activation: str, reading: str) -> dict[tuple[str, int], dict[str, Any]]:
    """`deep_chains.recorded`, read once."""
    return deep_chains.recorded(activation, reading)


def rows(activation: str, depth: int, method: str, setting: Setting) -> list[dict[str, Any]]:
    """The rows of the grid for "BP", "PC" or "Euler"."""
    scaling = setting.bp if method == "BP" else setting.pc
    found = recorded(activation, setting.reading)[method, depth]["rows"]
    return [row for row in found if row["scaling"] == scaling and (setting.fine or _is_decade(row["rate"]))]


def picked(activation: str, depth: int, method: str, setting: Setting) -> dict[str, Any]:
    """The row of the learning rate that the setting's criterion picks."""
    table = rows(activation, depth, method, setting)
    return table[deep_chains.best(table, setting.seeds, setting.rule, setting.criterion, setting.edge)]


def curve(
    activation: str, depth: int, method: str, setting: Setting, which: str = "train"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(steps, mean loss, its standard error) at the picked rate, arrays; for 3 seeds or all, and powers of ten."""
    row = picked(activation, depth, method, setting)
    results = recorded(activation, setting.reading)[method, depth]
    found = next(
        c
        for c in results["curves"][row["scaling"]]
        if (c["rate"], c["seeds"], c["rule"]) == (row["rate"], min(setting.seeds, results["seeds"]), setting.rule)
    )
    mean, error = (np.array(found[key], dtype=float) for key in (which, f"{which}_sem"))
    return np.array(results["marks"]), mean, error


def steps(row: dict[str, Any], setting: Setting, event: str = "hit", horizon: float | None = None) -> np.ndarray:
    """Steps to the event for the first seeds, floats ≥ 1; where it does not happen in time, the horizon (or ∞)."""
    found = deep_chains.steps_to(row, setting.rule, event)[: setting.seeds]
    missing = (found < 0) | (found > (np.inf if horizon is None else horizon))
    return np.where(missing, np.inf if horizon is None else horizon, np.maximum(found, 1)).astype(float)


@dataclass(frozen=True)
class Race:
    """PC against BP, seed by seed from the same weights and batches, each at its picked learning rate."""

    bp: dict[str, Any]
    pc: dict[str, Any]
    ratio: intervals.Interval  # PC's steps over BP's, geometric mean; no finish in time counts as the horizon
    first: intervals.Interval  # share of the seeds in which PC needs fewer steps
    reached: tuple[float, float]  # shares of the seeds in which BP, and PC, get there in time
    horizon: int

    @property
    def faster(self) -> bool | None:
        """Whether PC is faster, by a 95 % confidence interval; None if neither is."""
        return True if self.ratio.high < 1 else False if self.ratio.low > 1 else None


def race(
    activation: str, depth: int, setting: Setting, event: str = "hit", rate: float | None = None, method: str = "PC"
) -> Race:
    """The `Race` to the threshold ("hit") or to half the first loss ("half"); at one learning rate for both, if given.

    The horizon is the smaller one of the two caps, so that no algorithm has more time.
    """
    names = "BP", method
    if rate is None:
        bp, pc = (picked(activation, depth, name, setting) for name in names)
    else:
        bp, pc = (next(r for r in rows(activation, depth, n, setting) if r["rate"] == rate) for n in names)
    horizon = min(bp["cap"], pc["cap"])
    a, b = (steps(row, setting, event, horizon) for row in (bp, pc))
    log = intervals.mean(np.log(b / a))
    ratio = intervals.Interval(*(float(np.exp(v)) for v in (log.value, log.low, log.high)))
    late = [deep_chains.steps_to(row, setting.rule, event)[: setting.seeds] for row in (bp, pc)]
    in_time = [float(np.mean((s >= 0) & (s <= horizon))) for s in late]
    return Race(bp, pc, ratio, intervals.share(b < a), (in_time[0], in_time[1]), horizon)


def gap(activation: str, depth: int, method: str, setting: Setting) -> intervals.Interval | None:
    """Test minus training loss at the end, of the runs that did not diverge: an `intervals.Interval`, all seeds.

    By the normal distribution, so None where fewer than `ENOUGH` runs are left.
    """
    row = picked(activation, depth, method, setting)
    found = row["stop_gap" if setting.rule else "end_gap"]
    if found is None or found[2] < ENOUGH:
        return None
    mean, error, _ = found
    return intervals.Interval(mean, mean - 1.96 * error, mean + 1.96 * error)


def _is_decade(rate: float) -> bool:
    return math.isclose(math.log10(rate), round(math.log10(rate)), abs_tol=1e-9)
