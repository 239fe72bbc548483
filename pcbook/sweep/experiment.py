"""What an experiment is: a name, a configuration, cells, and how to run one."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from pcbook import checks
from pcbook.sweep.values import key_of, plain

Cell = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run and recorded under a name. `run` and `check` are functions of a module: other processes call them."""

    name: str  # what `run` is given and the record's kind
    about: str  # one line
    configuration: Any  # a frozen dataclass of JSON values and tuples of them, among them `seeds`
    cells: Callable[
        ..., list[Cell]
    ]  # (configuration, done) → cells; again with the [(cell, results), …] so far, until no new one comes
    run: Callable[
        ..., dict[str, Any]
    ]  # (configuration, cell, device) → {"results": …, "timing": …}; only the timing may vary
    seconds: Callable[..., float]  # (configuration, cell) → estimated seconds on one core
    data: Callable[..., dict[str, str]] = lambda configuration: {}  # configuration → {name: digest}
    check: Callable[..., list[str]] | None = (
        None  # (configuration, cell, results, device) → differences; None: the whole cell again
    )
    record: Callable[[Cell], str] | None = None  # cell → stem of its record; None: one record, named as the experiment
    ranges: tuple[str, ...] = ("seeds",)  # fields that only say which cells there are: what `extend` may extend

    def stem(self, cell: Cell) -> str:
        """The stem of the record that a cell belongs to: the experiment's name, or what starts with it."""
        stem = self.name if self.record is None else self.record(cell)
        if stem != self.name and not stem.startswith(f"{self.name}-"):
            raise ValueError(f"record({cell}) = {stem!r}: must be {self.name!r} or start with '{self.name}-'")
        return stem


def configured(experiment: Experiment, seeds: int | None = None) -> Any:
    """The experiment's configuration; with `seeds`, a count ≥ 1, the seeds 0 … `seeds` − 1 instead of its own."""
    if seeds is None:
        return experiment.configuration
    if checks.count("seeds", seeds) == 0:
        raise ValueError("seeds = 0: must be at least 1")
    return dataclasses.replace(experiment.configuration, seeds=tuple(range(seeds)))


def recorded_configuration(experiment: Experiment, record: dict[str, Any]) -> Any:
    """The configuration that a record holds, as the experiment's dataclass. `ValueError` if its fields differ."""
    kind = type(experiment.configuration)
    names = {field.name for field in dataclasses.fields(kind)}
    if names != record["configuration"].keys():
        odd = ", ".join(sorted(names ^ record["configuration"].keys()))
        raise ValueError(f"record of {experiment.name!r}: its configuration and this version's differ in {odd}")
    return kind(**{name: _tuples(value) for name, value in record["configuration"].items()})


def planned(experiment: Experiment, configuration: Any, found: dict[str, dict[str, Any]]) -> list[Cell]:
    """The cells, in order, that the experiment asks for next, after those in `found`: {key: entry}."""
    done = [(json.loads(json.dumps(e["cell"])), json.loads(json.dumps(e["results"]))) for e in found.values()]
    cells = [plain("cells", cell) for cell in experiment.cells(configuration, done)]
    keys = [key_of(cell) for cell in cells]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"cells of {experiment.name!r} holds {twice} twice: every cell must be different")
    return [cell for key, cell in zip(keys, cells, strict=True) if key not in found]


def estimate(experiment: Experiment, configuration: Any, jobs: int = 1) -> tuple[int, float, float]:
    """(cells, seconds on one core, seconds with `jobs`) of a sweep's first stage; later ones depend on its results."""
    if checks.count("jobs", jobs) == 0:
        raise ValueError("jobs = 0: must be at least 1")
    cells = planned(experiment, configuration, {})
    costs = [experiment.seconds(configuration, cell) for cell in cells]
    return len(cells), sum(costs), max(sum(costs) / jobs, max(costs, default=0.0))


def fields_of(configuration: Any) -> dict[str, Any]:
    return plain("configuration", dataclasses.asdict(configuration))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
