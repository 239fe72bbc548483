"""The table of faults, bad inputs, mutants and budgets: what it counts, and what it does not forgive."""

import pytest

from benchmarks import audit
from pcbook import records

FAULT = {"fault": "disk full", "how": "", "survived": True, "outcome": "named", "seconds": 1.0}
MUTANTS = {"module": "onemlp", "of": 10, "run": 10, "caught": 9, "survived": ["onemlp: f: a => b"]}
BUDGET = {"budget": "import", "name": "toy", "value": 2.0, "unit": "s", "limit": 3.0, "met": True}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes the three records with one row each, changed as told; gives the table read from them."""

    monkeypatch.setattr(audit.mutation, "MODULES", ("onemlp",))
    monkeypatch.setattr(audit.mutation, "listed", lambda: {"onemlp: f: a => b": "the same"})

    def write(fault=(), mutants=(), budget=()):
        mutants = {"code": audit.mutation.code_of("onemlp")} | dict(mutants)
        rows = {"faults": FAULT | dict(fault), "mutants": MUTANTS | dict(mutants), "budgets": BUDGET | dict(budget)}
        for kind, row in rows.items():
            path = tmp_path / f"{kind}.json"
            path.unlink(missing_ok=True)
            records.save(path, records.new(kind, {}, {"rows": [row]}, environment={"device": "cpu"}))
        return tmp_path

    return write


def table(folder, good=7, tried=7):
    return audit.table(folder, bad=lambda name: audit.Line(name, tried, good, lost=good < tried))


def test_the_table_counts_what_was_recorded(folder, capsys):
    assert audit.main([], table(folder())) == 0
    out = capsys.readouterr().out
    for words in (
        "1 of     1  faults survived",
        "7 of     7  bad inputs",
        "9 of    10  mutants",
        "1 of     1  budgets",
    ):
        assert words in out
    assert "onemlp: 1 of 10 listed with a reason" in out and out.endswith("nothing lost\n")


@pytest.mark.parametrize("change", [{"fault": {"survived": False}}, {"mutants": {"survived": ["onemlp: f: b => a"]}}])
def test_what_was_lost_fails_it(folder, change, capsys):
    assert audit.main([], table(folder(**change))) == 1
    assert "lost: " in capsys.readouterr().out


def test_bad_input_badly_answered_fails_it(folder):
    assert audit.main([], table(folder(), good=6)) == 1


def test_a_missed_budget_and_a_drill_not_tried_are_named_and_forgiven(folder, capsys):
    changed = folder(budget={"met": False}, fault={"survived": None, "outcome": "no such Python"})
    assert audit.main([], table(changed)) == 0
    out = capsys.readouterr().out
    assert "import, toy: 2 of 3 s" in out and "disk full: no such Python" in out and "0 of     0  faults" in out


@pytest.mark.parametrize(("change", "flaw"), [
    ({"code": "older"}, "onemlp: has changed since"), ({"module": "gone"}, "onemlp: not recorded"),
    ({"of": 11}, "onemlp: 10 of 11 run"),
])  # fmt: skip
def test_mutants_that_were_not_tried_are_named_and_forgiven(folder, change, flaw, capsys):
    assert audit.main([], table(folder(mutants=change))) == 0
    assert flaw in capsys.readouterr().out


def test_a_missing_record_says_how_to_make_it(folder, capsys):
    place = folder()
    (place / "mutants.json").unlink()
    assert audit.main([], table(place)) == 0
    assert "not recorded: run `python -m tests.mutation --record`" in capsys.readouterr().out


def test_a_damaged_record_is_lost_and_named(folder, capsys):
    path = folder() / "faults.json"
    path.write_text(path.read_text(encoding="utf-8").replace("disk full", "disk filled"), encoding="utf-8")
    assert audit.main([], table(path.parent)) == 1
    assert str(path) in capsys.readouterr().out


def test_bad_inputs_are_run_and_counted(tmp_path):
    (tmp_path / "test_toy.py").write_text("def test_a(): pass\ndef test_b(): assert False\n", encoding="utf-8")
    line = audit.bad_inputs("bad", ["test_toy.py"], tmp_path)
    assert (line.tried, line.good, line.lost) == (2, 1, True) and "test_b" in line.flaws[0]
    assert audit.bad_inputs("bad", ["absent.py"], tmp_path).lost
