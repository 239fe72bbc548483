"""Whether records hold what their experiment gives: drawn cells are run again."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pcbook import checks
from pcbook.sweep.experiment import Cell, Experiment, planned, recorded_configuration
from pcbook.sweep.values import key_of, plain
from pcbook.sweep.workers import Workers


def verify(
    experiment: Experiment,
    found: dict[Path, dict[str, Any]],
    *,
    sample: int = 3,
    seed: int = 0,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> list[str]:
    """What is wrong with the records `found` of an experiment, {path: record}: a list of sentences, empty if nothing.

    The data must be the same, the cells those that the experiment asks for, and `sample` drawn cells of each record
    must give the same again, within the tolerance of the experiment's `check`.
    """
    wrong, sample = [], checks.count("sample", sample)
    workers = Workers(experiment.run.__module__, "loky", jobs, threads, device)
    first = next(iter(found.values()))
    if any(record["configuration"] != first["configuration"] for record in found.values()):
        return [f"the records of {experiment.name!r} come from different configurations"]
    configuration = recorded_configuration(experiment, first)
    data = plain("data", experiment.data(configuration))
    for path, record in found.items():
        if record["data"] != data:
            wrong.append(f"{path.name}: was run on other data: {record['data']}, here {data}")
    entries = {key_of(row["cell"]): (path, row) for path, record in found.items() for row in record["results"]["cells"]}
    wrong += _incomplete(experiment, configuration, entries)
    if wrong or not sample:
        return wrong
    tasks = []
    for path, record in found.items():
        rows = record["results"]["cells"]
        for row in random.Random(f"{seed} {path.stem}").sample(rows, min(sample, len(rows))):
            arguments = (configuration, row["cell"], row["results"], device)
            tasks.append((key_of(row["cell"]), arguments if experiment.check else (experiment.run, *arguments)))
    with workers:
        for key, different, failure in workers.each(experiment.check or again, tasks):
            path, row = entries[key]
            for problem in [failure] if failure else different:
                wrong.append(f"{path.name}: the cell {json.dumps(row['cell'])} run again: {problem}")
    return wrong


def again(
    run: Callable[..., Any], configuration: Any, cell: Cell, results: Any, device: str, rtol: float = 1e-6
) -> list[str]:
    """The differences when a whole cell is run again: what `verify` does where an experiment has no `check`."""
    return differences(results, plain("results", run(configuration, cell, device))["results"], rtol=rtol)


def differences(recorded: Any, found: Any, rtol: float = 0.0, atol: float = 0.0, where: str = "results") -> list[str]:
    """Sentences on where two JSON values differ, numbers by more than atol + rtol · |recorded|."""
    number = (int, float)
    if isinstance(recorded, dict) and isinstance(found, dict):
        if recorded.keys() != found.keys():
            return [f"{where} has the keys {sorted(found)}, recorded {sorted(recorded)}"]
        pairs = [(f"{where}.{key}", recorded[key], found[key]) for key in recorded]
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            return [f"{where} has {len(found)} entries, recorded {len(recorded)}"]
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(recorded, found, strict=True))]
    elif isinstance(recorded, number) and isinstance(found, number) and bool not in (type(recorded), type(found)):
        close = abs(found - recorded) <= atol + rtol * abs(recorded)
        return [] if close else [f"{where} = {found!r}, recorded {recorded!r}"]
    else:
        return [] if recorded == found else [f"{where} = {found!r}, recorded {recorded!r}"]
    return [text for place, a, b in pairs for text in differences(a, b, rtol, atol, place)]


def _incomplete(
    experiment: Experiment, configuration: Any, entries: dict[str, tuple[Path, dict[str, Any]]]
) -> list[str]:
    """Sentences on the cells that the records lack, and those that nobody asked for."""
    found: dict[str, dict[str, Any]] = {}
    while new := planned(experiment, configuration, found):
        if missing := [cell for cell in new if key_of(cell) not in entries]:
            return [f"the records of {experiment.name!r} lack {len(missing)} cells, such as {json.dumps(missing[0])}"]
        found |= {key_of(cell): entries[key_of(cell)][1] for cell in new}
    odd = [(path, row["cell"]) for key, (path, row) in entries.items() if key not in found]
    return [f"{path.name} holds a cell that the experiment does not have: {json.dumps(cell)}" for path, cell in odd[:1]]
