"""What the records on optimisers and batch sizes say: factors between methods, and differences of cosines, in pairs.

Pairs are starts: both methods of a pair have run, or were measured, from the same weights with the same batches.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pcbook import intervals
from pcbook.experiments import batch_sizes, optimisers
from pcbook.experiments.inference_cost import recorded

ALGORITHMS = batch_sizes.ALGORITHMS


@functools.cache
def record(stem: str) -> dict[str, Any]:
    return recorded(stem)


def cells(stem: str, part: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """[(cell, results), …] of one part of a recorded sweep."""
    return [(c["cell"], c["results"]) for c in record(stem)["results"]["cells"] if c["cell"]["part"] == part]


def configuration(stem: str) -> dict[str, Any]:
    return record(stem)["configuration"]


def seconds(*stems: str) -> float:
    """What these records cost, on one core."""
    return sum(row["seconds"] for stem in stems for row in record(stem)["results"]["timing"])


def select(stem: str, part: str, **values: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Those of `cells` with these values, by seed. `ValueError` if there are none."""
    found = [(c, r) for c, r in cells(stem, part) if all(c[name] == value for name, value in values.items())]
    if not found:
        raise ValueError(f"{stem}: no {part} cell with {values}")
    return sorted(found, key=lambda pair: pair[0]["seed"])


# T7: races and directions


def steps(problem: str, start: str, method: str, mark: str = "converge") -> np.ndarray:
    """Steps of every fresh start at the method's best rate, what is not reached counted as the cap."""
    limit = cap(problem, method)
    return np.concatenate([optimisers.censored(results[mark], limit) for results in _race(problem, start, method)])


def arrived(problem: str, start: str, method: str, mark: str = "converge") -> float:
    """The share of fresh starts that arrive within the method's cap."""
    return float(np.mean([np.asarray(results[mark]) >= 0 for results in _race(problem, start, method)]))


def cap(problem: str, method: str) -> int:
    """The updates that a run of the method may take."""
    return optimisers.cap(_settings("optimisers"), {"problem": problem, "method": method})


def speed_up(problem: str, start: str, method: str, mark: str = "converge", over: str = "BP") -> intervals.Interval:
    """By what factor `method` needs fewer steps than `over`: geometric mean over starts, an `Interval`.

    Both are counted up to the smaller of their caps, so what does not arrive draws the factor towards 1.
    """
    limit = min(cap(problem, method), cap(problem, over))
    return _factor(*(np.minimum(steps(problem, start, name, mark), limit) for name in (over, method)))


def cosines(problem: str, target: str, method: str) -> np.ndarray:
    """Cosine of the method's update ("PC" or "BP") with the target's, mean along the paths of each start, (starts,)."""
    return _of_starts(problem, lambda results: results["training"][target][method])


def closer(problem: str, target: str) -> intervals.Interval:
    """cos(PC, target) − cos(BP, target), paired, an `Interval`: above 0 where PC is closer to the target than BP is."""
    return intervals.mean(cosines(problem, target, "PC") - cosines(problem, target, "BP"))


def ratios(problem: str, name: str, method: str = "PC") -> np.ndarray:
    """`directions.ratios`, mean over the paths of each start, (starts,)."""
    return _of_starts(problem, lambda results: results["ratios"][name][method])


def ratio(problem: str, name: str, method: str = "PC") -> intervals.Interval:
    """The mean of `ratios`, an `Interval`."""
    return intervals.mean(ratios(problem, name, method))


def beyond_half_of_adam(problem: str) -> intervals.Interval:
    """PC's correlation with RMSProp's factors less half of Adam's, whose momentum blurs its own, an `Interval`."""
    return intervals.mean(ratios(problem, "like RMSProp", "PC") - 0.5 * ratios(problem, "like RMSProp", "Adam"))


def at_edge(problem: str, start: str, method: str) -> bool:
    """Whether the best rate is the first or the last of its grid."""
    rate = select("optimisers", "race", problem=problem, start=start, method=method)[0][0]["rate"]
    grid = optimisers.rates(problem, method)
    return rate in (grid[0], grid[-1])


# T8: batch sizes


def batch_steps(problem: str, size: int, algorithm: str, mark: str = "converge", rate: str = "own") -> np.ndarray:
    """Steps of every fresh start at its own best rate, or ("equal") at BP's."""
    rates = {a: best_rate(problem, size, a) for a in ALGORITHMS}
    chosen = rates[algorithm if rate == "own" else "BP"]
    found = select("batch-sizes", "race", problem=problem, size=size, algorithm=algorithm, rate=chosen)
    limit = batch_sizes.cap(problem, size)
    return np.concatenate([optimisers.censored(results[mark], limit) for _, results in found])


def best_rate(problem: str, size: int, algorithm: str) -> float:
    ((cell, results),) = select("batch-sizes", "grid", problem=problem, size=size, algorithm=algorithm)
    return batch_sizes.best_rate(cell, results)


def advantage(problem: str, size: int, mark: str = "converge", rate: str = "own") -> intervals.Interval:
    """By what factor PC needs fewer steps than BP: geometric mean over starts, an `Interval`."""
    return _factor(batch_steps(problem, size, "BP", mark), batch_steps(problem, size, "PC", mark, rate))


def growth(problem: str, mark: str = "converge") -> intervals.Interval:
    """PC's advantage at batch 512 over that at batch 1, start by start, an `Interval`: 1 where size does not matter."""
    logs = [
        np.log1p(batch_steps(problem, size, "BP", mark)) - np.log1p(batch_steps(problem, size, "PC", mark))
        for size in (batch_sizes.POWERS[0], batch_sizes.POWERS[-1])
    ]
    return _exp(intervals.mean(logs[1] - logs[0]))


def nearer_natural(size: int) -> intervals.Interval:
    """cos(PC, natural gradient) − cos(BP, natural gradient) on batches of the digits of this size, an `Interval`."""
    column = batch_sizes.ANGLE_SIZES.index(size)
    rows = [results for _, results in cells("batch-sizes", "angles")]
    pc, bp = (np.array([row[f"{a} and natural gradient"][column] for row in rows]) for a in ("PC", "BP"))
    return intervals.mean(pc - bp)


def _race(problem: str, start: str, method: str) -> list[dict[str, Any]]:
    return [results for _, results in select("optimisers", "race", problem=problem, start=start, method=method)]


def _of_starts(problem: str, value: Callable[[dict[str, Any]], Sequence[float]]) -> np.ndarray:
    """`value(results)`, (runs,), for all seeds, each the mean of BP's path and PC's: they begin at the same weights."""
    paths = [select("optimisers-directions", "directions", problem=problem, path=path) for path in ("BP", "PC")]
    rows = zip(*([np.asarray(value(results)) for _, results in found] for found in paths), strict=True)
    return np.concatenate([np.mean(pair, axis=0) for pair in rows])


def _settings(stem: str) -> optimisers.Configuration:
    return optimisers.Configuration(**configuration(stem))


def _factor(slow: np.ndarray, fast: np.ndarray) -> intervals.Interval:
    """exp of the mean of log(1 + slow) − log(1 + fast), an `Interval`."""
    return _exp(intervals.mean(np.log1p(slow) - np.log1p(fast)))


def _exp(interval: intervals.Interval) -> intervals.Interval:
    return intervals.Interval(*(float(np.exp(v)) for v in (interval.value, interval.low, interval.high)))
