"""Estimates with their uncertainty: 95 % confidence intervals of means and shares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pcbook import checks


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def percent(self) -> str:
        """The same as percentages, for shares: '39 % [38, 40]'."""
        return f"{self.value:.0%} [{100 * self.low:.0f}, {100 * self.high:.0f}]".replace("%", " %")


def mean(samples: ArrayLike) -> Interval:
    """Mean of `samples`, with Student's interval. `ValueError` for fewer than two samples or non-finite ones."""
    samples = checks.array("samples", samples).ravel()
    if samples.size < 2:
        raise ValueError(f"samples: {samples.size} values, must be at least two")
    half = stats.t.ppf(0.975, samples.size - 1) * stats.sem(samples)
    return Interval(samples.mean(), samples.mean() - half, samples.mean() + half)


def share(hits: ArrayLike) -> Interval:
    """Share of true entries in `hits`, with Wilson's interval. `ValueError` if there are none to count."""
    hits = np.asarray(hits).ravel()
    if hits.size == 0 or hits.dtype != bool:
        raise ValueError(f"hits: {hits.size} values of type {hits.dtype}, must be at least one, true or false")
    low, high = stats.binomtest(int(hits.sum()), hits.size).proportion_ci(method="wilson")
    return Interval(float(hits.mean()), float(low), float(high))
