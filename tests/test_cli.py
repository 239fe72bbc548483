"""The command line: what it says, where it writes, how it exits."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_sweep import TINY, finished, log, start, wait_for  # noqa: F401 (log and start are fixtures)

from pcbook import cli, experiments, records, sweep


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call(*arguments)` with the toy experiment, in folders of this test: (exit code, stdout, stderr)."""
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"tiny": "test_sweep"})
    monkeypatch.setenv("PCBOOK_RUNS", str(tmp_path / "runs"))

    def function(*arguments):
        output = () if "--output" in arguments else ("--output", str(tmp_path / "records"))
        try:
            code = cli.main([*arguments, *output])
        except SystemExit as exit:
            code = exit.code
        return code, *capsys.readouterr()

    (tmp_path / "records").mkdir()
    return function


@pytest.fixture
def record(call, tmp_path):
    """The path of a record of the toy experiment."""
    assert call("run", "tiny", "--jobs", "1")[0] == 0
    return tmp_path / "records" / "tiny.json"


def test_run_writes_the_record_and_says_where(call, tmp_path):
    code, out, err = call("run", "tiny", "--jobs", "1", "--seeds", "2")
    assert code == 0 and out == f"{tmp_path / 'records' / 'tiny.json'}\n"
    assert records.load(out.strip())["seeds"] == [0, 1]
    assert "0 of 3 cells finished" in err and "3 of 4 cells finished" in err


def test_a_run_says_whether_the_record_is_the_same_as_before(call, record):
    assert "the same as before" in call("run", "tiny", "--jobs", "1")[2]
    assert "another than before" in call("run", "tiny", "--jobs", "1", "--seeds", "1")[2]


def test_a_run_names_the_damaged_record_that_it_replaces(call, record):
    record.write_text(record.read_text()[:100])
    code, _, err = call("run", "tiny", "--jobs", "1")
    assert code == 0 and f"in place of a damaged record ({record}: not a whole JSON file" in err
    assert records.load(record)


def test_dry_run_runs_nothing(call, log, tmp_path):  # noqa: F811
    code, out, _ = call("run", "tiny", "--dry-run", "--jobs", "2")
    assert code == 0 and log() == []
    assert "tiny: 3 cells" in out and "0.001 core-hours, about 2 s with --jobs 2" in out
    assert f"journal: {tmp_path / 'runs' / 'tiny'}" in out and f"records: {tmp_path / 'records'}" in out
    assert not (tmp_path / "runs").exists()


def test_list_says_what_there_is(call):
    code, out, _ = call("list")
    assert code == 0 and "tiny: a toy\n    not recorded; 3 cells or more, about 4 s" in out
    call("run", "tiny", "--jobs", "1")
    assert re.search(r"recorded 2\d\d\d-\d\d-\d\d; 5 cells, \d+ s on one core", call("list")[1])


def test_show_tells_all_of_a_record_but_its_results(call, record):
    code, out, _ = call("show", "tiny")
    content = records.load(record)
    assert code == 0 and content["digest"] in out and str(record) in out
    for part in ('"rates": [0.3, 0.1, 0.2]', "seeds [0, 1, 2]", "5 cells", "wall clock", content["data"]["toy"]):
        assert part in out
    assert content["environment"]["python"] in out


def test_show_without_a_record_says_so(call):
    assert call("show", "tiny")[:2] == (0, "tiny: a toy\nnot recorded; 3 cells or more, about 4 s on one core\n")


def test_verify_accepts_what_was_run(call, record):
    code, out, err = call("verify", "--sample", "3", "--jobs", "1")
    assert (code, err) == (0, "")
    assert records.load(record)["digest"] in out and "tiny: complete; 3 drawn cells" in out


def test_verify_names_an_edited_record(call, record):
    text = record.read_text()
    digit = re.search(r'"loss": \d+\.\d*?(\d),', text).start(1)
    record.write_text(text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :])
    code, _, err = call("verify")
    assert code == 1 and "tiny.json: its content does not match its digest" in err


def test_verify_names_the_cell_that_another_run_does_not_give(call, record):
    content = records.load(record)
    row = content["results"]["cells"][3]
    row["results"]["loss"] *= 1 + 1e-5
    records.save(record, content)
    code, _, err = call("verify", "tiny", "--sample", "5", "--jobs", "1")
    assert code == 1 and json.dumps(row["cell"]) in err and "results.loss" in err
    assert call("verify", "tiny", "--sample", "0")[0] == 0


def test_verify_goes_on_when_cells_cannot_be_run_again(call, record, monkeypatch):
    def missing(_):
        raise FileNotFoundError("no MNIST here")

    monkeypatch.setattr("test_sweep.EXPERIMENT", dataclasses.replace(TINY, data=missing))
    code, _, err = call("verify")
    assert code == 1 and "tiny: the cells could not be run again: no MNIST here" in err


def test_verify_checks_the_digest_of_records_that_no_experiment_made(call, tmp_path):
    records.save(tmp_path / "records" / "times.json", records.new("times", {}, {"a": 1}))
    assert call("verify")[0] == call("verify", "times")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("run", "tyny"), 2, "experiment = 'tyny': must be one of 'tiny'"),
        (("show", "tyny"), 2, "experiment = 'tyny': must be one of 'tiny'"),
        (("verify", "tyny"), 2, "name = 'tyny': .* has no record of it"),
        (("verify", "--sample", "-1"), 1, "sample = -1"),
        (("run", "tiny", "--jobs", "0"), 2, "jobs = 0"),
        (("run", "tiny", "--dry-run", "--jobs", "0"), 2, "jobs = 0"),
        (("run", "tiny", "--seeds", "0"), 2, "seeds = 0"),
        (("run", "tiny", "--resume", "--fresh"), 2, "not allowed with"),
        (("run", "tiny", "--device", "tpu"), 2, "invalid choice: 'tpu'"),
        (("run", "tiny", "--backend", "dask"), 2, "scheduler = None"),
        (("run", "tiny", "--output", "/dev/null/records"), 1, "output = '/dev/null/records'"),
        (("--jobs", "2"), 2, "required|invalid choice"),
    ],
)
def test_bad_arguments_are_named(call, record, arguments, code, complaint):
    found = call(*arguments)
    assert found[0] == code and re.search(complaint, found[2]), found


def test_ctrl_c_says_how_to_go_on(start, log, tmp_path):  # noqa: F811
    folders = "--journal", tmp_path / "runs", "--output", tmp_path / "records"
    process = start("run", "tiny", "--jobs", 2, *folders, TINY_WAIT="1")
    wait_for(lambda: finished(tmp_path))
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert re.search(r"interrupted\n\d finished cells are safe in .* --resume goes on from them", err)


def test_the_module_is_a_command():
    command = [sys.executable, "-m", "pcbook", "run", "nothing"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert result.returncode == 2 and "must be one of 'deep-chains'" in result.stderr


@pytest.mark.parametrize("arguments", [["list"], ["run", "--help"]])
def test_signs_that_the_locale_lacks_do_not_stop_the_command(arguments):
    command = [sys.executable, "-m", "pcbook", *arguments]
    ascii = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, env=ascii)
    assert result.returncode == 0 and r"\u2026" in result.stdout, result.stderr


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_can_be_planned(name):
    experiment = experiments.named(name)
    configuration = experiment.configuration
    assert experiment.name == name and experiment.about
    cells = sweep.planned(experiment, configuration, {})
    assert all(experiment.seconds(configuration, cell) > 0 and experiment.stem(cell) for cell in cells)
    assert all(not isinstance(value, (dict, list)) for cell in cells for value in cell.values())
    stored = {"configuration": json.loads(json.dumps(dataclasses.asdict(configuration)))}
    assert sweep.recorded_configuration(experiment, stored) == configuration
    assert {"seeds", *experiment.ranges} <= stored["configuration"].keys()
