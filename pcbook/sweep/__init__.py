"""Experiments as sweeps: independent cells, run side by side, kept one by one in a journal, recorded at the end.

A cell is one point of a sweep: a flat dictionary that says, with the configuration, all that its run depends on. Each
finished cell is on the disk before the next is counted, so an interruption loses only the cells under way. The record
depends on the cells alone: not on their order, the number of jobs, the backend, or interruptions.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pcbook import records
from pcbook.sweep.experiment import Cell, Experiment, configured, estimate, fields_of, planned, recorded_configuration
from pcbook.sweep.journal import Journal, journal_root, writable
from pcbook.sweep.sources import changes
from pcbook.sweep.values import Stopped, duration, key_of, plain, say
from pcbook.sweep.verification import differences, verify
from pcbook.sweep.workers import BACKENDS, DEVICES, Progress, Workers, cores

__all__ = [
    "BACKENDS",
    "DEVICES",
    "Experiment",
    "Stopped",
    "configured",
    "cores",
    "differences",
    "duration",
    "estimate",
    "folder_of_records",
    "journal_root",
    "planned",
    "recorded",
    "recorded_configuration",
    "run",
    "verify",
]


def run(
    experiment: Experiment,
    *,
    seeds: int | None = None,
    resume: bool = False,
    fresh: bool = False,
    extend: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    device: str = "cpu",
    backend: str = "loky",
    scheduler: str | None = None,
    journal: str | Path | None = None,
    output: str | Path | None = None,
    accept_other_code: bool = False,
) -> list[Path]:
    """Run an experiment's cells and save its records; the paths of these. What happens is told on stderr.

    `resume` takes the cells of an interrupted run from its journal, `fresh` throws them away; one of them is needed
    where there are any. `extend` takes the cells that `output` has with the same settings, apart from `ranges`.
    Cells of other code, or other versions of the libraries, are taken only with `accept_other_code`; the record then
    says how many. `jobs` processes, by default one for each core, with `threads` threads each, run them; or the workers
    of a Dask cluster at `scheduler`.
    Raises `ValueError` for a bad argument and `Stopped` for what else is in the way.
    """
    configuration = configured(experiment, seeds)
    if resume and fresh:
        raise ValueError("resume and fresh exclude each other: resume keeps the finished cells, fresh deletes them")
    output = writable("output", folder_of_records(output))
    workers = Workers(experiment.run.__module__, backend, jobs, threads, device, scheduler)
    data, fields = plain("data", experiment.data(configuration)), fields_of(configuration)
    environment = workers.describe()
    with Journal(journal, experiment.name, [fields, data, device]) as kept:
        known = _extendable(experiment, fields, data, device, output) if extend else {}
        known |= kept.take(resume, fresh)
        _same_code(known.values(), workers.code, accept_other_code)
        entries = _gather(experiment, configuration, known, workers, kept)
        record = functools.partial(
            records.new,
            experiment.name,
            fields,
            seeds=fields.get("seeds", []),
            environment=environment | _provenance(entries, workers.code),
            data=data,
            wall_clock=_wall_clock(entries),
        )
        paths = _save(experiment, record, entries, output)
        kept.remove()
    return paths


def _gather(
    experiment: Experiment, configuration: Any, known: dict[str, dict[str, Any]], workers: Workers, kept: Journal
) -> list[dict[str, Any]]:
    """The entries of all cells, in order: those `known`, the others run now, stage by stage."""
    begin, session = time.perf_counter(), datetime.now(UTC).isoformat(timespec="microseconds")
    found: dict[str, Any] = {}  # None until a cell is finished
    sizes: dict[str, int] = {}
    failures: list[tuple[Cell, str]] = []
    with workers, Progress(experiment.name) as progress, contextlib.ExitStack() as stack:
        while new := planned(experiment, configuration, found):
            stage = {key_of(cell): cell for cell in new}
            found |= {key: known[key] | {"cell": cell} if key in known else None for key, cell in stage.items()}
            cost = {key: experiment.seconds(configuration, cell) for key, cell in stage.items() if key not in known}
            progress.expect(len(stage), len(stage) - len(cost), sum(cost.values()))
            longest_first = sorted(cost, key=cost.__getitem__, reverse=True)
            tasks = [(key, (configuration, stage[key], workers.device)) for key in longest_first]
            outcomes = stack.enter_context(contextlib.closing(workers.each(experiment.run, tasks)))
            for key, outcome, failure in outcomes:
                progress.advance(cost[key])
                if not failure and (not isinstance(outcome, dict) or outcome.keys() != {"results", "timing"}):
                    failure = f"it gave {records.text(outcome)[:200]}: must be {{'results': …, 'timing': …}}"
                if failure:
                    failures.append((stage[key], failure))
                    continue
                entry = {"cell": stage[key], **outcome, "code": workers.code, "session": session}
                found[key] = kept.put(key, entry | {"elapsed": time.perf_counter() - begin})
                _bound(experiment, found[key], sizes)
            if failures:  # told only now: the other cells are finished
                raise Stopped(_failed(failures))
    return list(found.values())


def folder_of_records(folder: str | Path | None = None) -> Path:
    """The folder of records: the one given, or book/records beside the package, which must be there."""
    if folder is not None:
        return Path(folder).expanduser()
    if not records.FOLDER.is_dir():
        raise ValueError(f"output = None: {records.FOLDER} is not there, so a folder must be named")
    return records.FOLDER


def recorded(experiment: Experiment, folder: str | Path | None = None) -> dict[Path, dict[str, Any]]:
    """{path: record} of an experiment's records in a folder, each checked as `records.load` does."""
    found = {}
    for path in sorted(folder_of_records(folder).glob("*.json")):
        if path.stem == experiment.name or path.stem.startswith(f"{experiment.name}-"):
            record = records.load(path)
            if record["kind"] == experiment.name:
                found[path] = record
    return found


def _same_code(entries: Iterable[dict[str, Any]], code: dict[str, str | None], accept: bool) -> None:
    changed = {text for entry in entries if (text := changes(entry["code"], code))}
    if changed and not accept:
        raise Stopped(
            f"finished cells were computed by other code: {'; '.join(sorted(changed))} changed since."
            " --fresh starts again, --accept-other-code takes them all the same, and the record says so"
        )


def _extendable(
    experiment: Experiment, fields: dict[str, Any], data: dict[str, Any], device: str, output: Path
) -> dict[str, dict[str, Any]]:
    """{key: entry} of the recorded cells whose settings, apart from `ranges`, are the ones now."""

    def fixed(configuration: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in configuration.items() if name not in experiment.ranges}

    found = recorded(experiment, output)
    if not found:
        raise Stopped(f"extend: {output} has no record of {experiment.name!r} to extend; run it without --extend")
    entries = {}
    for path, record in found.items():
        if differ := differences(fixed(record["configuration"]), fixed(fields), where="configuration"):
            raise Stopped(f"extend: {path} was run with another configuration: {'; '.join(differ)}")
        if record["data"] != data or record["environment"].get("device") != device:
            raise Stopped(f"extend: {path} was run on other data or another device than {device!r}")
        source = {"digest": record["digest"], "commit": record["environment"]["commit"]}
        rows = zip(record["results"]["cells"], record["results"]["timing"], strict=True)
        for row, timing in rows:
            entries[key_of(row["cell"])] = row | {
                "timing": timing,
                "code": record["environment"]["code"],
                "session": record["created"],
                "elapsed": record["wall_clock"],
                "from": source,
            }
    return entries


def _provenance(entries: list[dict[str, Any]], code: dict[str, str | None]) -> dict[str, Any]:
    """What the environment says of cells that other code or an earlier record gave."""
    earlier = {key_of(e["from"]): e["from"] for e in entries if "from" in e}
    other = sum(e["code"] != code for e in entries)
    return ({"extends": list(earlier.values())} if earlier else {}) | ({"cells_of_other_code": other} if other else {})


def _wall_clock(entries: list[dict[str, Any]]) -> float:
    """Seconds of all sessions together: of each, until its last finished cell."""
    sessions: dict[str, float] = {}
    for entry in entries:
        sessions[entry["session"]] = max(sessions.get(entry["session"], 0.0), entry["elapsed"])
    return round(sum(sessions.values()), 3)


def _save(
    experiment: Experiment, record: Callable[..., dict[str, Any]], entries: list[dict[str, Any]], output: Path
) -> list[Path]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(experiment.stem(entry["cell"]), []).append(entry)
    paths = []
    for stem, group in groups.items():
        path = output / f"{stem}.json"
        rows = [{"cell": entry["cell"], "results": entry["results"]} for entry in group]
        new = record(results={"cells": rows, "timing": [entry["timing"] for entry in group]})
        news = _compared(path, new)
        try:
            paths.append(records.save(path, new))
        except (OSError, ValueError) as error:
            raise Stopped(f"the record {path} could not be saved ({error})") from error
        say(f"{path}: {len(group)} cells, {duration(new['wall_clock'])}{news}")
    return paths


def _compared(path: Path, new: dict[str, Any]) -> str:
    """What a run says of the record that it is about to replace."""
    try:
        before = records.load(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f", in place of a damaged record ({error})"
    return f", {'the same as' if records.same(before, new) else 'another than'} before"


def _bound(experiment: Experiment, entry: dict[str, Any], sizes: dict[str, int]) -> None:
    """Stop as soon as a record is too large, not at the end."""
    stem = experiment.stem(entry["cell"])
    sizes[stem] = sizes.get(stem, 0) + len(records.text({k: entry[k] for k in ("cell", "results", "timing")}).encode())
    if sizes[stem] > records.LIMIT:
        raise Stopped(
            f"the record {stem!r} has more than {records.LIMIT:,} bytes already, the cell {json.dumps(entry['cell'])}"
            f" alone {len(records.text(entry['results'])):,}: coarser curves, or more records (`record`)"
        )


def _failed(failures: list[tuple[Cell, str]]) -> str:
    cell, text = failures[0]
    others = f"\n{len(failures) - 1} more cells failed" if len(failures) > 1 else ""
    return f"the cell {json.dumps(cell)} failed:\n{text.rstrip()}{others}"
