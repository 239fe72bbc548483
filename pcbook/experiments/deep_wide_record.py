"""What the record of Figure 4 holds: the rates, the runs at the best ones, and how fast they learn."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from pcbook import records, sweep
from pcbook.experiments import deep_wide

ACTIVATIONS = ("linear", "tanh", "relu")
AXES = ("weight updates", "seconds of one core")


class Record:
    """The files deep-wide-*.json of a folder, each with its digest verified."""

    def __init__(self, folder: Path = records.FOLDER) -> None:
        files = [records.load(path) for path in sorted(folder.glob("deep-wide-*.json"))]
        if not files:
            raise FileNotFoundError(f"{folder} has no record of 'deep-wide': python -m pcbook run deep-wide makes it")
        self.environment = files[0]["environment"]
        self.configuration = sweep.recorded_configuration(deep_wide.EXPERIMENT, files[0])
        self.results, self.cpu = {}, {}
        for file in files:
            for row, timing in zip(file["results"]["cells"], file["results"]["timing"], strict=True):
                key = deep_wide.key(row["cell"])
                self.results[key], self.cpu[key] = row["results"], timing["cpu"]
        self.hours = sum(timing["seconds"] for file in files for timing in file["results"]["timing"]) / 3600

    @property
    def epoch(self) -> int:
        """Batches in an epoch."""
        return -(-self.configuration.images // self.configuration.batch)

    def rates(self, activation: str, method: str, scaling: str = "half", grid: str = "paper") -> tuple[float, ...]:
        """The learning rates of a grid, of the scaled loss."""
        return deep_wide.grids(self.configuration, self.results, activation, method, scaling)[0][grid]

    def best(self, activation: str, method: str, scaling: str = "half", grid: str = "paper") -> float | None:
        """The rate of the grid with the lowest training loss."""
        rates = self.rates(activation, method, scaling, grid)
        return deep_wide.best_rate(self.configuration, self.results, activation, method, scaling, rates)

    def tried(self, activation: str, method: str) -> list[tuple[float, dict[str, Any]]]:
        """[(rate of the book's loss, results)] of all the grids' runs, in order."""
        cells = ((dict(key), results) for key, results in self.results.items())
        own = {"activation": activation, "method": method, "epochs": self.configuration.grid_epochs}
        rows = [
            (cell["rate"], results)
            for cell, results in cells
            if own.items() <= cell.items() and cell["seed"] == self.configuration.seeds[0]
        ]
        return sorted(rows, key=lambda row: row[0])

    def trained(self, activation: str, method: str) -> dict[float, list["Run"]]:
        """{rate of the book's loss: the `Run` of each seed} of all that was trained for all epochs, in order."""
        c, found = self.configuration, {}
        for rate in sorted({dict(key)["rate"] for key in self.results}):
            keys = [self._key(activation, method, "half", rate, seed) for seed in c.seeds]
            if all(key in self.results for key in keys):
                found[rate] = [self._run(key) for key in keys]
        return found

    def runs(self, activation: str, method: str, scaling: str = "half", grid: str = "paper") -> list["Run"]:
        """The `Run` of each seed at the grid's best rate."""
        rate = self.best(activation, method, scaling, grid)
        return [self._run(self._key(activation, method, scaling, rate, seed)) for seed in self.configuration.seeds]

    def _key(self, activation: str, method: str, scaling: str, rate: Any, seed: int) -> tuple[tuple[str, Any], ...]:
        return deep_wide.key(deep_wide.final_cell(self.configuration, activation, method, scaling, rate, seed))

    def _run(self, key: tuple[tuple[str, Any], ...]) -> "Run":
        return Run(self.results[key], self.cpu[key])


class Run:
    """One network's training: its curve, and the times that matter."""

    EARLY = 10  # steps that are averaged where every loss is recorded

    def __init__(self, results: dict[str, Any], cpu: list[float]) -> None:
        self.results = results
        early, steps, loss = (np.array(results[name]) for name in ("early", "steps", "loss"))
        n = len(early) // self.EARLY
        later = steps > n * self.EARLY + (steps[0] if len(steps) else 0)
        middles = steps - np.diff(steps, prepend=0) / 2
        self.steps = np.r_[np.arange(n) * self.EARLY + self.EARLY / 2, middles[later]]
        self.loss = np.r_[early[: n * self.EARLY].reshape(n, -1).mean(1), loss[later]]
        self._clock = np.r_[0, steps], np.r_[0, cpu]

    def seconds(self, steps: Any) -> Any:
        """Processor seconds on one core after so many updates, of the updates alone."""
        return np.interp(steps, *self._clock)

    def axis(self, name: str) -> np.ndarray:
        """The curve's x values on one of `AXES`."""
        return self.steps if name == AXES[0] else self.seconds(self.steps)

    @property
    def escape(self) -> float:
        """Updates until a batch's loss is below half of the first; infinite where that never happens."""
        return np.inf if self.results["escape"] is None else self.results["escape"]

    @property
    def last(self) -> float:
        """The mean training loss of the last epoch; after a divergence the first loss, as if nothing was learnt."""
        return self.results["epoch_loss"][-1] if self.results["end"] == "batches" else self.results["early"][0]

    @property
    def stopped(self) -> int | None:
        """Updates after which the paper's rule would have ended the run, or None: no epoch was worse than before."""
        return self.results["stops"].get("plateau")

    def reach(self, level: float) -> float:
        """Updates until the curve is at `level` or below; infinite where it never is."""
        (below,) = np.nonzero(self.loss <= level)
        return float(self.steps[below[0]]) if len(below) else np.inf


@functools.cache
def recorded() -> Record:
    """The book's record."""
    return Record()


def speed_up(slow: Run, fast: Run, axis: str = AXES[0]) -> float:
    """How many times sooner `fast` gets where `slow` ends (its last epoch's loss), on the axis; 0 if it never does."""
    level = slow.last
    a, b = (run.reach(level) if axis == AXES[0] else run.seconds(run.reach(level)) for run in (slow, fast))
    return 0.0 if np.isinf(fast.reach(level)) else a / b
