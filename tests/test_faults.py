"""The drills' machinery, on toys: what a drill says, loses or cannot try becomes a row, and the rows a record."""

import os
import random
import signal

import pytest

from benchmarks.faults import __main__ as faults
from benchmarks.faults import drills, mirror
from pcbook import records


def sound(folder, rng):
    """A drill that finds nothing.

    And more about it.
    """
    drills.expect(list(folder.iterdir()) == [], "the folder is not empty")
    (folder / "litter").touch()
    return f"drew {rng.random()}"


def losing(folder, rng):
    """A drill that loses something."""
    drills.expect(False, f"half a record in {folder}")


def impossible(folder, rng):
    """A drill for other machines."""
    raise drills.NotTried("no disk here")


def dying(folder, rng):
    """A drill whose own process is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


TOYS = {drills.named(drill): drill for drill in (sound, losing, impossible, dying)}


def test_an_outcome_is_survived_or_lost_or_neither():
    rows = [drills.attempt(drill, seed=3) for drill in TOYS.values()]
    assert [row["survived"] for row in rows] == [True, False, None, False]
    assert rows[0]["outcome"] == f"drew {random.Random(3).random()}"
    assert (
        rows[1]["outcome"] == "AssertionError: half a record in …" and rows[2]["outcome"] == "not tried: no disk here"
    )
    assert "BrokenProcessPool" in rows[3]["outcome"]
    assert rows[0]["how"] == "A drill that finds nothing." and all(row["seconds"] >= 0 for row in rows)


def test_the_record_holds_the_rows_and_some_drills_alone_leave_none(tmp_path, capsys):
    path, toys = tmp_path / "faults.json", {name: TOYS[name] for name in ("sound", "impossible")}
    arguments = ["--output", str(path), "--seed", "5"]
    faults.main([*arguments, "--only", "sound"], toys)
    assert not path.exists()
    rows = faults.main(arguments, toys)
    record = records.load(path)
    assert record["results"] == {"rows": rows} and record["seeds"] == [5] and record["kind"] == "faults"
    assert "1 survived, 0 lost" in capsys.readouterr().out


def test_the_list_runs_nothing(tmp_path, capsys):
    assert faults.main(["--list", "--output", str(tmp_path / "faults.json")]) == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(faults.DRILLS) and not list(tmp_path.iterdir())
    assert any(line.startswith("killed-during-a-run: SIGKILL") for line in lines)


@pytest.mark.parametrize("name", faults.DRILLS)
def test_a_drill_says_in_one_line_how_it_goes(name):
    how = faults.DRILLS[name].__doc__.strip().splitlines()
    assert len(how) == 1 and how[0].endswith(".")


def test_exactly_one_byte_is_flipped():
    rng, content = random.Random(0), bytes(range(50))
    for _ in range(200):
        other, place = drills.flipped(content, rng)
        assert [k for k in range(50) if other[k] != content[k]] == [place] and len(other) == 50


def test_a_killed_process_is_dead_and_a_finished_one_was_not_alive(tmp_path):
    process = drills.start(["-c", "import time; time.sleep(60)"], tmp_path)
    assert drills.kill(process) and process.returncode == -signal.SIGKILL
    process = drills.start(["-c", ""], tmp_path)
    process.wait()
    assert not drills.kill(process)


def test_a_process_that_fails_is_told_with_what_it_said(tmp_path):
    with pytest.raises(AssertionError, match=r"exit 3 of .*no such luck"):
        drills.succeeds(["-c", "print('no such luck'); raise SystemExit(3)"], tmp_path)


def test_a_damaged_cache_is_noticed(tmp_path):
    (tmp_path / "cache").mkdir()
    name, content = next(iter(mirror.PACKED.items()))
    (tmp_path / "cache" / name).write_bytes(content)
    mirror.sound_cache(tmp_path)
    with pytest.raises(AssertionError, match="holds"):
        mirror.sound_cache(tmp_path, whole=True)
    (tmp_path / "cache" / name).write_bytes(content[:-1])
    with pytest.raises(AssertionError, match=f"damaged files: .*{name}"):
        mirror.sound_cache(tmp_path)
