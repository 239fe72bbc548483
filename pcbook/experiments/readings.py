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
def cells(stem, part):
    """[(cell, results), …] of one part of a recorded sweep."""
    return [(c["cell"], c["results"]) for c in recorded(stem)["results"]["cells"] if c["cell"]["part"] == part]


def configuration(stem):
    return recorded(stem)["configuration"]


def select(stem, part, **values):
    """Those of `cells` with these values, by seed. `ValueError` if there are none."""
    found = [(c, r) for c, r in cells(stem, part) if all(c[name] == value for name, value in values.items())]
    if not found:
        raise ValueError(f"{stem}: no {part} cell with {values}")
    return sorted(found, key=lambda pair: pair[0]["seed"])


# T7: races and directions


def steps(problem, start, method, mark="converge"):
    """Steps of every fresh start at the method's best rate, what is not reached counted as the cap."""
    found, settings = select("optimisers", "race", problem=problem, start=start, method=method), _settings("optimisers")
    limit = optimisers.cap(settings, found[0][0])
    return np.concatenate([optimisers.censored(results[mark], limit) for _, results in found])


def speed_up(problem, start, method, mark="converge", over="BP"):
    """By what factor `method` needs fewer steps than `over`: geometric mean over starts, an `Interval`."""
    return _factor(steps(problem, start, over, mark), steps(problem, start, method, mark))


def cosines(problem, target, method):
    """Cosine of the method's update ("PC" or "BP") with the target's, mean along each path, BP's paths and PC's."""
    found = select("optimisers-directions", "directions", problem=problem)
    return np.concatenate([results["training"][target][method] for _, results in found])


def closer(problem, target):
    """cos(PC, target) − cos(BP, target), paired, an `Interval`: above 0 where PC is closer to the target than BP is."""
    return intervals.mean(cosines(problem, target, "PC") - cosines(problem, target, "BP"))


def ratio(problem, name, method="PC"):
    """The mean of `directions.ratios` over all paths, an `Interval`."""
    found = select("optimisers-directions", "directions", problem=problem)
    return intervals.mean(np.concatenate([results["ratios"][name][method] for _, results in found]))


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


def _settings(stem):
    return optimisers.Configuration(**configuration(stem))


def _factor(slow, fast):
    """exp of the mean of log(1 + slow) − log(1 + fast), an `Interval`."""
    return _exp(intervals.mean(np.log1p(slow) - np.log1p(fast)))


def _exp(interval):
    return intervals.Interval(*(float(np.exp(v)) for v in (interval.value, interval.low, interval.high)))
