"""What the records on optimisers and batch sizes say: factors between methods, and differences of cosines, in pairs.

Pairs are starts: both methods of a pair have run, or were measured, from the same weights with the same batches.
"""

import functools

import numpy as np

from pcbook import intervals
from pcbook.experiments import batch_sizes, optimisers
from pcbook.experiments.inference_cost import recorded

ALGORITHMS = batch_sizes.ALGORITHMS


@functools.cache
def record(stem):
    return recorded(stem)


def cells(stem, part):
    """[(cell, results), …] of one part of a recorded sweep."""
    return [(c["cell"], c["results"]) for c in record(stem)["results"]["cells"] if c["cell"]["part"] == part]


def configuration(stem):
    return record(stem)["configuration"]


def seconds(*stems):
    """What these records cost, on one core."""
    return sum(row["seconds"] for stem in stems for row in record(stem)["results"]["timing"])


def select(stem, part, **values):
    """Those of `cells` with these values, by seed. `ValueError` if there are none."""
    found = [(c, r) for c, r in cells(stem, part) if all(c[name] == value for name, value in values.items())]
    if not found:
        raise ValueError(f"{stem}: no {part} cell with {values}")
    return sorted(found, key=lambda pair: pair[0]["seed"])


# T7: races and directions


def steps(problem, start, method, mark="converge"):
    """Steps of every fresh start at the method's best rate, what is not reached counted as the cap."""
    limit = cap(problem, method)
    return np.concatenate([optimisers.censored(results[mark], limit) for results in _race(problem, start, method)])


def arrived(problem, start, method, mark="converge"):
    """The share of fresh starts that arrive within the method's cap."""
    return float(np.mean([np.asarray(results[mark]) >= 0 for results in _race(problem, start, method)]))


def cap(problem, method):
    """The updates that a run of the method may take."""
    return optimisers.cap(_settings("optimisers"), {"problem": problem, "method": method})


def speed_up(problem, start, method, mark="converge", over="BP"):
    """By what factor `method` needs fewer steps than `over`: geometric mean over starts, an `Interval`.

    Both are counted up to the smaller of their caps, so what does not arrive draws the factor towards 1.
    """
    limit = min(cap(problem, method), cap(problem, over))
    return _factor(*(np.minimum(steps(problem, start, name, mark), limit) for name in (over, method)))


def cosines(problem, target, method):
    """Cosine of the method's update ("PC" or "BP") with the target's, mean along the paths of each start, (starts,)."""
    return _of_starts(problem, lambda results: results["training"][target][method])


def closer(problem, target):
    """cos(PC, target) − cos(BP, target), paired, an `Interval`: above 0 where PC is closer to the target than BP is."""
    return intervals.mean(cosines(problem, target, "PC") - cosines(problem, target, "BP"))


def ratios(problem, name, method="PC"):
    """`directions.ratios`, mean over the paths of each start, (starts,)."""
    return _of_starts(problem, lambda results: results["ratios"][name][method])


def ratio(problem, name, method="PC"):
    """The mean of `ratios`, an `Interval`."""
    return intervals.mean(ratios(problem, name, method))


def beyond_half_of_adam(problem):
    """PC's correlation with RMSProp's factors less half of Adam's, whose momentum blurs its own, an `Interval`."""
    return intervals.mean(ratios(problem, "like RMSProp", "PC") - 0.5 * ratios(problem, "like RMSProp", "Adam"))


def at_edge(problem, start, method):
    """Whether the best rate is the first or the last of its grid."""
    rate = select("optimisers", "race", problem=problem, start=start, method=method)[0][0]["rate"]
    grid = optimisers.rates(problem, method)
    return rate in (grid[0], grid[-1])


# T8: batch sizes


def batch_steps(problem, size, algorithm, mark="converge", rate="own"):
    """Steps of every fresh start at its own best rate, or ("equal") at BP's."""
    rates = {a: best_rate(problem, size, a) for a in ALGORITHMS}
    chosen = rates[algorithm if rate == "own" else "BP"]
    found = select("batch-sizes", "race", problem=problem, size=size, algorithm=algorithm, rate=chosen)
    limit = batch_sizes.cap(problem, size)
    return np.concatenate([optimisers.censored(results[mark], limit) for _, results in found])


def best_rate(problem, size, algorithm):
    ((cell, results),) = select("batch-sizes", "grid", problem=problem, size=size, algorithm=algorithm)
    return batch_sizes.best_rate(cell, results)


def advantage(problem, size, mark="converge", rate="own"):
    """By what factor PC needs fewer steps than BP: geometric mean over starts, an `Interval`."""
    return _factor(batch_steps(problem, size, "BP", mark), batch_steps(problem, size, "PC", mark, rate))


def growth(problem, mark="converge"):
    """PC's advantage at batch 512 over that at batch 1, start by start, an `Interval`: 1 where size does not matter."""
    logs = [
        np.log1p(batch_steps(problem, size, "BP", mark)) - np.log1p(batch_steps(problem, size, "PC", mark))
        for size in (batch_sizes.POWERS[0], batch_sizes.POWERS[-1])
    ]
    return _exp(intervals.mean(logs[1] - logs[0]))


def nearer_natural(size):
    """cos(PC, natural gradient) − cos(BP, natural gradient) on batches of the digits of this size, an `Interval`."""
    column = batch_sizes.ANGLE_SIZES.index(size)
    rows = [results for _, results in cells("batch-sizes", "angles")]
    pc, bp = (np.array([row[f"{a} and natural gradient"][column] for row in rows]) for a in ("PC", "BP"))
    return intervals.mean(pc - bp)


def _race(problem, start, method):
    return [results for _, results in select("optimisers", "race", problem=problem, start=start, method=method)]


def _of_starts(problem, value):
    """`value(results)`, (runs,), for all seeds, each the mean of BP's path and PC's: they begin at the same weights."""
    paths = [select("optimisers-directions", "directions", problem=problem, path=path) for path in ("BP", "PC")]
    rows = zip(*([np.asarray(value(results)) for _, results in found] for found in paths), strict=True)
    return np.concatenate([np.mean(pair, axis=0) for pair in rows])


def _settings(stem):
    return optimisers.Configuration(**configuration(stem))


def _factor(slow, fast):
    """exp of the mean of log(1 + slow) − log(1 + fast), an `Interval`."""
    return _exp(intervals.mean(np.log1p(slow) - np.log1p(fast)))


def _exp(interval):
    return intervals.Interval(*(float(np.exp(v)) for v in (interval.value, interval.low, interval.high)))
