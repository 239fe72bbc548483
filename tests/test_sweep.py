"""The runner: the record does not depend on interruptions, processes, or where the cells ran; nothing is lost."""

import contextlib
import dataclasses
import errno
import functools
import importlib
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcbook import cli, experiments, records, sweep
from pcbook.sweep import journal, sources, workers


@dataclasses.dataclass(frozen=True)
class Tiny:
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (0.3, 0.1, 0.2)
    size: int = 40


def tiny_cells(configuration, done):
    """In stages: first every rate with seed 0, then every seed at the best rate."""
    grid = [{"rate": rate, "seed": 0} for rate in configuration.rates]
    if len(done) < len(grid):
        return grid
    best, _ = min(done[: len(grid)], key=lambda item: item[1]["loss"])
    return [{"rate": best["rate"], "seed": seed} for seed in configuration.seeds]


def tiny_run(configuration, cell, device):
    """Some numbers; where TINY_LOG says, a line for each start; as slow as TINY_WAIT says."""
    if log := os.environ.get("TINY_LOG"):
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps(cell) + "\n")
    if cell["rate"] == float(os.environ.get("TINY_FAIL", "nan")):
        raise RuntimeError("no such luck")
    time.sleep(float(os.environ.get("TINY_WAIT", "0")))
    generator = np.random.default_rng(cell["seed"])
    matrix = generator.normal(size=(configuration.size, configuration.size))
    found = {"loss": cell["rate"] * float(np.linalg.norm(matrix @ matrix)), "curve": matrix[0].tolist()}
    return {"results": found, "timing": {"process": os.getpid()}}


def tiny_seconds(configuration, cell):
    return 1.0 + cell["rate"]


def tiny_data(configuration):
    return {"toy": records.digest_of(b"abc")}


TINY = sweep.Experiment("tiny", "a toy", Tiny(), tiny_cells, tiny_run, tiny_seconds, tiny_data)
EXPERIMENT = TINY  # what `experiments.named` looks for
OTHER = dataclasses.replace(TINY, name="other")
CELLS = 5  # 3 rates, and 2 more seeds at the best of them


def command():
    """`python -m pcbook` with the experiment above: what the subprocesses below run."""
    experiments.EXPERIMENTS["tiny"] = "test_sweep"
    return cli.main()


@pytest.fixture
def start():
    """`start(*arguments, **environment)`: the command in a process of its own, which does not outlive the test."""
    started = []
    code = "import sys, test_sweep; sys.exit(test_sweep.command())"

    def function(*arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=Path(__file__).parent,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield function
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def run(tmp_path):
    """`run(experiment, …)` in folders of this test, one job; the record."""

    def function(experiment=TINY, **arguments):
        arguments = {"jobs": 1, "journal": tmp_path / "runs", "output": tmp_path / "records"} | arguments
        paths = sweep.run(experiment, **arguments)
        assert len(paths) == 1
        return records.load(paths[0])

    return function


@pytest.fixture
def log(tmp_path, monkeypatch):
    """`log()`: the cells that were started, in order."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("TINY_LOG", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


@functools.cache
def _uninterrupted(folder):
    paths = sweep.run(TINY, jobs=1, journal=folder / "runs", output=folder / "records")
    return records.load(paths[0])


@pytest.fixture
def whole(tmp_path_factory):
    """The record of an uninterrupted run with one job."""
    return _uninterrupted(tmp_path_factory.getbasetemp() / "whole")


def finished(tmp_path):
    return sorted((tmp_path / "runs").rglob("*.json"))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def interrupted(run, tmp_path, monkeypatch):
    """The journal of a run whose middle rate failed: the files of the other two cells of the first stage."""
    monkeypatch.setenv("TINY_FAIL", "0.1")
    with pytest.raises(sweep.Stopped):
        run()
    monkeypatch.delenv("TINY_FAIL")
    assert len(finished(tmp_path)) == 2
    return finished(tmp_path)


# The record


def test_a_record_holds_the_cells_of_all_stages_in_order(whole):
    rows = whole["results"]["cells"]
    best = min(rows[:3], key=lambda row: row["results"]["loss"])["cell"]["rate"]
    assert [row["cell"]["rate"] for row in rows] == [0.3, 0.1, 0.2, best, best] and best == 0.1
    assert [row["cell"]["seed"] for row in rows] == [0, 0, 0, 1, 2]
    for row in rows:
        assert row["results"] == tiny_run(Tiny(), row["cell"], "cpu")["results"]
    assert whole["seeds"] == [0, 1, 2] and whole["data"] == tiny_data(None)
    assert whole["configuration"] == {"seeds": [0, 1, 2], "rates": [0.3, 0.1, 0.2], "size": 40}
    assert whole["wall_clock"] >= sum(timing["seconds"] for timing in whole["results"]["timing"])


def test_the_record_does_not_depend_on_the_number_of_jobs(run, whole, tmp_path):
    parallel = run(jobs=2)
    processes = {timing["process"] for timing in parallel["results"]["timing"]}
    assert os.getpid() not in processes
    assert records.same(parallel, whole)
    assert not finished(tmp_path)


def thread_cells(configuration, done):
    return [{"k": k} for k in range(3)]


def thread_run(configuration, cell, device):
    from threadpoolctl import threadpool_info

    return {"results": sorted({pool["num_threads"] for pool in threadpool_info()})}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cell_has_the_threads_it_is_given_and_the_runner_keeps_its_own(run, jobs):
    from threadpoolctl import threadpool_limits

    threads = sweep.Experiment("threads", "", Tiny(), thread_cells, thread_run, lambda *_: 1.0)
    with threadpool_limits(2):
        before = thread_run(None, None, None)
        record = run(threads, jobs=jobs, threads=1)
        assert thread_run(None, None, None) == before
    assert [row["results"] for row in record["results"]["cells"]] == [[1]] * 3


def test_seeds_replace_the_configurations_own(run):
    record = run(seeds=1)
    assert record["seeds"] == [0] and len(record["results"]["cells"]) == 3


def test_records_by_cell_each_have_their_share(tmp_path):
    split = dataclasses.replace(TINY, record=lambda cell: f"tiny-seed-{cell['seed']}")
    paths = sweep.run(split, jobs=1, journal=tmp_path / "runs", output=tmp_path)
    assert [path.name for path in paths] == ["tiny-seed-0.json", "tiny-seed-1.json", "tiny-seed-2.json"]
    found = sweep.recorded(split, tmp_path)
    assert [len(record["results"]["cells"]) for record in found.values()] == [3, 1, 1]
    assert sweep.verify(split, found, jobs=1) == []


# Interruptions


@pytest.mark.parametrize(("jobs", "kills"), [(1, 2), (2, 1)])
def test_a_run_killed_at_random_moments_gives_the_same_record(start, run, whole, log, tmp_path, jobs, kills):
    folders = "--journal", tmp_path / "runs", "--output", tmp_path / "records"
    safe, started = [], 0
    for kill in range(kills):
        count = len(finished(tmp_path))
        process = start("run", "tiny", "--jobs", jobs, *folders, *["--resume"] * kill, TINY_WAIT="0.3")
        wait_for(lambda n=count, p=process: len(finished(tmp_path)) > n or p.poll() is not None)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        assert "Traceback" not in process.communicate()[1]
        assert process.returncode in (-signal.SIGKILL, 0)
        assert not any(cell in log()[started:] for cell in safe), "a finished cell was run again"
        safe, started = [json.loads(path.read_text())["cell"] for path in finished(tmp_path)], len(log())
    assert records.same(run(resume=True, jobs=jobs), whole)
    assert not any(cell in log()[started:] for cell in safe), "a finished cell was run again"


def test_no_worker_outlives_a_runner_that_was_killed(start, log, tmp_path):
    folders = "--journal", tmp_path / "runs", "--output", tmp_path / "records"
    process = start("run", "tiny", "--jobs", 2, *folders, TINY_WAIT="1.5")
    wait_for(log)
    process.kill()
    process.communicate(timeout=60)  # the workers hold the other ends of its pipes: it ends when the last one has
    assert len(log()) <= 3, "the workers went on with other cells"


@pytest.mark.parametrize(
    "harm", [lambda t: t[: len(t) // 2], lambda t: "", lambda t: t.replace('"loss": ', '"loss": 1', 1)]
)
def test_a_damaged_cell_is_named_and_run_again(run, whole, log, interrupted, harm, capsys):
    damaged = next(path for path in interrupted if '"rate": 0.3' in path.read_text())
    damaged.write_text(harm(damaged.read_text()))
    before = len(log())
    assert records.same(run(resume=True), whole)
    assert f"{damaged} is damaged" in capsys.readouterr().err
    assert {cell["rate"] for cell in log()[before : before + 2]} == {0.3, 0.1}


def test_a_journal_that_is_there_asks_what_to_do_with_it(run, whole, log, interrupted):
    with pytest.raises(sweep.Stopped, match=r"left 2 cells in .*--resume goes on .*--fresh deletes"):
        run()
    with pytest.raises(ValueError, match="resume and fresh exclude each other"):
        run(resume=True, fresh=True)
    before = len(log())
    assert records.same(run(fresh=True), whole)
    assert len(log()) == before + CELLS


def test_a_failed_cell_is_named_and_the_others_are_kept(run, log, whole, monkeypatch):
    monkeypatch.setenv("TINY_FAIL", "0.1")
    with pytest.raises(sweep.Stopped, match=r'(?s)cell \{"rate": 0.1, "seed": 0\} failed:.*no such luck') as caught:
        run()
    assert "2 finished cells are safe" in caught.value.__notes__[0] and "--resume" in caught.value.__notes__[0]
    assert len(log()) == 3
    monkeypatch.delenv("TINY_FAIL")
    assert records.same(run(resume=True), whole)
    assert len(log()) == 3 + 3


def test_nothing_to_resume_starts_from_the_beginning(run, whole, capsys):
    assert records.same(run(resume=True), whole)
    assert "nothing to resume" in capsys.readouterr().err


def test_the_wall_clock_adds_up_the_sessions(run, interrupted, monkeypatch):
    entries = [json.loads(path.read_text()) for path in interrupted]
    spent = max(entry["elapsed"] for entry in entries)
    monkeypatch.setenv("TINY_WAIT", "0.05")
    assert run(resume=True)["wall_clock"] >= spent + 3 * 0.05


# Code


def test_cells_of_other_code_are_refused_unless_accepted(run, whole, interrupted, monkeypatch):
    code = sources.fingerprint("test_sweep")
    for place in (workers, sources):
        monkeypatch.setattr(place, "fingerprint", lambda _: code | {"pcbook.records": "another"})
    with pytest.raises(sweep.Stopped, match=r"other code: pcbook\.records changed since.*--accept-other-code"):
        run(resume=True)
    record = run(resume=True, accept_other_code=True)
    assert records.same(record, whole) and record["environment"]["cells_of_other_code"] == 2


def test_the_fingerprint_follows_imports_and_ignores_comments(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "some_experiment.py"
    fingerprint = sources.fingerprint.__wrapped__
    found = []
    for text in (
        "from pcbook import data\n\ndef f():\n    return 1",
        "from pcbook import data  # MNIST\n\ndef f() -> int:\n    '''One.'''\n    return (1)",
        "from pcbook import data\n\ndef f():\n    return 2",
    ):
        path.write_text(text)
        importlib.import_module("some_experiment")
        found.append(fingerprint("some_experiment"))
    assert found[0] == found[1] != found[2]
    assert {"pcbook.data", "pcbook.images", "pcbook.checks", "numpy", "some_experiment"} <= found[0].keys()
    assert not found[0].keys() & {"pcbook.sweep", "pcbook.figures", "pcbook.experiments"}
    del sys.modules["some_experiment"]


def test_a_worker_with_other_code_is_refused(monkeypatch):
    _, value, failure = workers._work(tiny_run, "key", (), 1, "test_sweep", {"test_sweep": "another"}, os.getpid())
    assert value is None and "other code than the runner" in failure and "test_sweep" in failure


# One at a time


def test_a_second_run_of_the_same_experiment_is_refused_and_another_is_not(run, whole, tmp_path):
    with journal.Journal(tmp_path / "runs", "tiny", []):
        with pytest.raises(sweep.Stopped, match=rf"'tiny' is being run already, by process {os.getpid()} on .* since"):
            run()
        assert run(OTHER)["results"]["cells"] == whole["results"]["cells"]
    assert records.same(run(), whole)


def test_two_experiments_at_once_do_not_disturb_each_other(tmp_path, whole):
    folders = {"jobs": 1, "journal": tmp_path / "runs", "output": tmp_path / "records"}
    threads = [threading.Thread(target=sweep.run, args=[e], kwargs=folders) for e in (TINY, OTHER)]
    for act in ("start", "join"):
        for thread in threads:
            getattr(thread, act)()
    for name in ("tiny", "other"):
        assert records.load(tmp_path / "records" / f"{name}.json")["results"]["cells"] == whole["results"]["cells"]


# Full disks and read-only folders


@pytest.mark.parametrize("name", ["output", "journal"])
def test_a_folder_that_cannot_be_written_stops_before_any_work(run, log, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(sweep.Stopped, match=rf"{name} = '{tmp_path}/file/inside'.*nothing was run"):
        run(**{name: tmp_path / "file" / "inside"})
    assert log() == []


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_stops_before_any_work(run, log, reason, monkeypatch):
    def fail(*_, **__):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(journal.tempfile, "TemporaryFile", fail)
    with pytest.raises(sweep.Stopped, match=f"output = .*{os.strerror(reason)}.*nothing was run"):
        run()
    assert log() == []


def full_disk_from(call, monkeypatch):
    """The disk is full from the `call`-th file on: what os.fsync says then."""
    calls, fsync = itertools.count(1), os.fsync

    def full(handle):
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.parametrize(("call", "place", "safe"), [(5, "journal", 2), (8, "record", 5)])
def test_a_disk_that_runs_full_loses_nothing(run, whole, log, tmp_path, call, place, safe):
    with pytest.MonkeyPatch.context() as patch:
        full_disk_from(call, patch)  # two for the folders, five for the cells, one for the record
        with pytest.raises(sweep.Stopped, match=rf"(?s)the {place} .*{tmp_path}.*No space left") as caught:
            run()
    assert f"{safe} finished cells are safe" in caught.value.__notes__[0]
    assert len(finished(tmp_path)) == safe and not list(tmp_path.rglob("*.part"))
    before = len(log())
    assert records.same(run(resume=True), whole)
    assert len(log()) - before == CELLS - safe


# Extending


def test_extend_runs_only_what_is_missing(run, log, whole):
    run(seeds=2)
    before = len(log())
    record = run(extend=True)
    assert log()[before:] == [{"rate": 0.1, "seed": 2}]
    assert records.same(record, whole)
    assert [set(source) for source in record["environment"]["extends"]] == [{"digest", "commit"}]


def test_extend_refuses_another_configuration_data_or_device(run):
    with pytest.raises(sweep.Stopped, match="has no record of 'tiny' to extend"):
        run(extend=True)
    run(seeds=1)
    for change, complaint in (
        ({"configuration": Tiny(size=41)}, r"configuration\.size = 41, recorded 40"),
        ({"configuration": Tiny(rates=(0.1,))}, r"configuration\.rates has 1 entries, recorded 3"),
        ({"data": lambda _: {"toy": "another"}}, "other data"),
    ):
        with pytest.raises(sweep.Stopped, match=complaint):
            run(dataclasses.replace(TINY, **change), extend=True)


def test_extend_may_extend_the_ranges_that_an_experiment_names(run, log):
    ranges = dataclasses.replace(TINY, ranges=("seeds", "rates"))
    run(ranges)
    before = len(log())
    run(dataclasses.replace(ranges, configuration=Tiny(rates=(0.3, 0.1, 0.2, 0.4))), extend=True)
    assert log()[before:] == [{"rate": 0.4, "seed": 0}]


# A cluster


def test_a_cluster_that_loses_a_worker_gives_the_same_record(run, whole, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("TINY_WAIT", "0.2")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**settings) as cluster:
        processes = {worker.pid for worker in cluster.workers.values()}

        def kill_the_first_that_finishes_a_cell():
            wait_for(lambda: finished(tmp_path))
            os.kill(json.loads(finished(tmp_path)[0].read_text())["timing"]["process"], signal.SIGKILL)

        killer = threading.Thread(target=kill_the_first_that_finishes_a_cell)
        killer.start()
        record = run(backend="dask", scheduler=cluster.scheduler_address)
        killer.join()
    used = {timing["process"] for timing in record["results"]["timing"]}
    assert used & processes and os.getpid() not in used and len(used) >= 2
    assert records.same(record, whole)


def test_a_scheduler_that_does_not_answer_is_named(run, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with pytest.raises(sweep.Stopped, match="scheduler = 'tcp://127.0.0.1:9': no Dask scheduler answers"):
        run(backend="dask", scheduler="tcp://127.0.0.1:9")


# Bad arguments and bad experiments


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"jobs": 0}, "jobs = 0"),
        ({"jobs": -1}, "jobs = -1"),
        ({"threads": 0}, "threads = 0"),
        ({"seeds": 0}, "seeds = 0: must be at least 1"),
        ({"seeds": 1.5}, "seeds = 1.5"),
        ({"device": "tpu"}, "device = 'tpu': must be one of 'cpu', 'cuda'"),
        ({"backend": "ray"}, "backend = 'ray': must be one of 'loky', 'dask'"),
        ({"backend": "dask"}, "scheduler = None: the backend 'dask' needs an address"),
        ({"scheduler": "tcp://127.0.0.1:9"}, "scheduler = 'tcp://127.0.0.1:9': "),
    ],
)
def test_bad_arguments_are_named(run, log, arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        run(**arguments)
    assert log() == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"cells": lambda *_: [{"k": 1}, {"k": 2}, {"k": 1}]}, r'cells of \'tiny\' holds \{"k":1\} twice'),
        ({"cells": lambda *_: [{"k": np.zeros(2)}]}, "cells holds what JSON cannot"),
        ({"run": lambda *_: {"results": float("nan")}}, "results holds what JSON cannot"),
        ({"run": lambda *_: [1, 2]}, r"it gave \[1, 2\]: must be"),
        ({"run": lambda *_: {"result": 1}}, "must be {'results'"),
        ({"record": lambda cell: "elsewhere"}, "'elsewhere': must be 'tiny' or start with 'tiny-'"),
    ],
)
def test_bad_experiments_are_named(run, change, complaint):
    with pytest.raises((ValueError, sweep.Stopped), match=complaint):
        run(dataclasses.replace(TINY, **change))


def test_too_large_a_record_stops_at_once(run, log, monkeypatch):
    monkeypatch.setattr(records, "LIMIT", 3000)
    with pytest.raises(sweep.Stopped, match=r"'tiny' has more than 3,000 bytes already, the cell .* alone"):
        run()
    assert len(log()) < CELLS


# Verification


def edited(record, change):
    """The record after `change(results)`, with a digest that fits."""
    record = json.loads(json.dumps(record))
    change(record["results"])
    return {Path("tiny.json"): record | {"digest": records.digest(record)}}


def test_verify_accepts_what_was_run(whole):
    assert sweep.verify(TINY, {Path("tiny.json"): whole}, sample=CELLS, jobs=1) == []


def test_verify_names_the_cell_that_differs_and_by_what(whole):
    def change(results):
        results["cells"][4]["results"]["curve"][7] *= 1.001

    problems = sweep.verify(TINY, edited(whole, change), sample=CELLS, jobs=1)
    value = whole["results"]["cells"][4]["results"]["curve"][7]
    assert problems == [
        f'tiny.json: the cell {{"rate": 0.1, "seed": 2}} run again: '
        f"results.curve[7] = {value!r}, recorded {value * 1.001!r}"
    ]


def test_verify_asks_the_experiments_own_check(whole):
    def check(configuration, cell, results, device):
        return [f"{cell['seed']} is odd"] if cell["seed"] % 2 else []

    tiny = dataclasses.replace(TINY, check=check)
    problems = sweep.verify(tiny, {Path("tiny.json"): whole}, sample=CELLS, jobs=1)
    assert len(problems) == 1 and problems[0].endswith("run again: 1 is odd")


def test_verify_misses_cells_and_finds_strangers(whole):
    lost = edited(whole, lambda results: results["cells"].pop())
    assert "lack 1 cells, such as" in sweep.verify(TINY, lost, jobs=1)[0]
    more = edited(whole, lambda results: results["cells"].append({"cell": {"rate": 9}, "results": {}}))
    assert 'does not have: {"rate": 9}' in sweep.verify(TINY, more, jobs=1)[0]
    # a best rate that the recorded losses do not give
    other = edited(whole, lambda results: results["cells"][0]["results"].update(loss=0.0))
    assert "lack 2 cells" in sweep.verify(TINY, other, sample=0)[0]


def test_verify_refuses_other_data_and_other_fields(whole):
    other = dataclasses.replace(TINY, data=lambda _: {"toy": "another"})
    assert "was run on other data" in sweep.verify(other, {Path("tiny.json"): whole}, jobs=1)[0]

    @dataclasses.dataclass(frozen=True)
    class More(Tiny):
        extra: int = 1

    with pytest.raises(ValueError, match="differ in extra"):
        sweep.verify(dataclasses.replace(TINY, configuration=More()), {Path("tiny.json"): whole})


leaves = st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.text(max_size=2) | st.none() | st.booleans()
trees = st.recursive(leaves, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=2), t, max_size=3))


@given(trees, trees)
def test_differences_are_none_exactly_for_equal_values(a, b):
    assert sweep.differences(a, a) == []
    equal = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    if equal or not sweep.differences(a, b):
        assert a == b and sweep.differences(b, a) == []
    else:
        assert sweep.differences(b, a)


@given(st.floats(0.1, 1e3), st.floats(1e-9, 1e-1), st.floats(0.1, 3))
def test_differences_measure_relative_and_absolute_tolerance(value, tolerance, share):
    found = value * (1 + share * tolerance)
    beyond = abs(found - value) > tolerance * value
    assert bool(sweep.differences({"a": [value]}, {"a": [found]}, rtol=tolerance)) == beyond
    assert bool(sweep.differences(value, found, atol=tolerance * value)) == beyond


# What the user sees


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_with_the_time_left():
    stream = Terminal()
    with workers.Progress("tiny", stream) as progress:
        progress.expect(3, 1, 4.0)
        progress.advance(3.0)
    last = stream.getvalue().split("\r")[-1]
    assert last.startswith("tiny: 2 of 3 cells  75 %") and last.rstrip().endswith("left")


def test_elsewhere_a_line_comes_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    with workers.Progress("tiny") as progress:
        progress.expect(10, 0, 10.0)
        for _ in range(9):
            now[0] += 25
            progress.advance(1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 3
    assert lines[1] == "tiny: 3 of 10 cells, about 3 min left"  # 75 s for 3 of 10


def test_an_estimate_counts_the_longest_cell():
    assert sweep.estimate(TINY, Tiny(), jobs=1) == (3, pytest.approx(3.6), pytest.approx(3.6))
    assert sweep.estimate(TINY, Tiny(), jobs=100)[2] == pytest.approx(1.3)
