"""The mutation testing itself: what it changes, whom it asks, and a list of survivors that is not out of date."""

import collections
import importlib.util
import subprocess
import sys

import mutation
import pytest

TOY = '''
"""Not this: 1."""
LIMIT = 3


def f(a, b=0.5):
    """a - b."""
    if not a:
        raise ValueError(f"{a + 1}")
    c = min(a, pow(a, b))
    return (c - 2 * b).T if a > LIMIT else -a
'''
EXPECTED = {
    "toy: : 3 => 4": None,
    "toy: : 0.5 => 1.0": None,
    "toy: f: if not a => if not not a": [8],
    "toy: f: not a => a": [8],
    "toy: f: min => max": [10],
    "toy: f: pow(a, b) => pow(b, a)": [10],
    "toy: f: (c - 2 * b).T if a > LIMIT else -a => -a if a > LIMIT else (c - 2 * b).T": [11],
    "toy: f: a > LIMIT => a >= LIMIT": [11],
    "toy: f: a > LIMIT => a <= LIMIT": [11],
    "toy: f: (c - 2 * b).T => c - 2 * b": [11],
    "toy: f: c - 2 * b => c + 2 * b": [11],
    "toy: f: 2 * b => 2 / b": [11],
    "toy: f: 2 => 3": [11],
    "toy: f: -a => a": [11],
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    path = tmp_path / "toy.py"
    path.write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(mutation, "source", lambda module: path)
    return {mutant.name: mutant for mutant in mutation.mutants("toy")}, str(path)


def test_mutants_are_one_change_each(toy):
    found, _ = toy
    assert {name: m.lines and list(m.lines) for name, m in found.items()} == EXPECTED


def test_a_mutant_compiles_to_the_changed_program_and_leaves_the_others_alone(toy):
    def run(mutant, *arguments):
        namespace = {}
        exec(mutant.compile(), namespace)
        return namespace["f"](*arguments)

    found, _ = toy
    assert run(found["toy: f: -a => a"], 2) == 2
    assert run(found["toy: f: a > LIMIT => a <= LIMIT"], 5) == -5
    assert run(found["toy: : 3 => 4"], 2) == run(found["toy: f: 2 * b => 2 / b"], 2) == -2


def test_the_tests_that_run_a_line_are_asked_the_quick_ones_first(toy):
    found, path = toy
    tests = {"a::slow": ({path: [11]}, 5.0), "a::quick": ({path: [10, 11]}, 1.0), "a::no": ({path: [8]}, 0.1),
             "a::import": ({}, 0.2), "b::other": ({}, 0.1)}  # fmt: skip
    assert mutation.fitting(found["toy: f: -a => a"], tests, 60) == (["a::quick", "a::slow"], 6.0)
    assert mutation.fitting(found["toy: f: -a => a"], tests, 3) == (["a::quick"], 1.0)
    assert mutation.fitting(found["toy: : 3 => 4"], tests, 60)[0] == ["a::no", "a::import", "a::quick", "a::slow"]


def test_listed_survivors_are_mutants_and_have_a_reason():
    listed = mutation.listed()
    names = [mutant.name for module in {p.split(":")[0] for p in listed} for mutant in mutation.mutants(module)]
    for pattern, reason in listed.items():
        assert any(mutation.excused(name, [pattern]) for name in names), pattern
        assert len(reason) > 20


def test_a_pattern_means_what_it_says():
    name = "toy: f: a[0] => a[1]"
    assert mutation.excused(name, ["toy: f: a[0] => *"]) and mutation.excused(name, [name])
    assert not mutation.excused(name, ["toy: f: a? => *", "toy: g*"])


def test_a_score_counts_what_became_of_each_mutant():
    results = collections.Counter(caught=8, late=1, survived=2)
    row = mutation.score("toy", 14, results, ["toy: f: not a => a", "toy: f: -a => a"])
    assert row == {
        "module": "toy", "of": 14, "run": 11, "caught": 9, "late": 1,
        "survived": ["toy: f: -a => a", "toy: f: not a => a"],
    }  # fmt: skip
    sentence = mutation.sentence(row, {"toy: f: -a *": "why"})
    assert "1 listed, 1 survived" in sentence and "score 90.0%" in sentence
    again, tried = mutation.score("toy", 14, collections.Counter(caught=1), []), {"toy: f: not a => a"}
    assert mutation.added(again, row, tried) == row | {"caught": 10, "survived": ["toy: f: -a => a"]}
    again = mutation.score("toy", 14, collections.Counter(survived=1), ["toy: f: not a => a"])
    assert mutation.added(again, row, tried) == row


def test_what_is_listed_must_be_there_and_must_live(toy):
    every = list(toy[0].values())
    patterns = {"toy: f: min => max": "", "toy: f: gone": "", "toy: f: 2 *": "", "other: f: gone": ""}
    caught = collections.Counter({"toy: f: min => max": 1, "toy: f: 2 *": 1})
    stale = ["toy: f: min => max", "toy: f: gone"]  # one of the two that begin with 2 lives
    assert mutation.outdated(every, every, patterns, caught) == stale
    assert mutation.outdated(every, every[:1], patterns, caught) == ["toy: f: gone"]  # the others were not run


def test_functions_that_are_imported_already_take_the_mutants_code(toy):
    found, path = toy
    spec = importlib.util.spec_from_file_location("toy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept = module.f  # as in a module that says `from toy import f`
    assert kept(2) == -2
    assert mutation.transplant(found["toy: f: -a => a"])
    assert kept(2) == 2


@pytest.mark.slow
def test_a_wrong_kernel_is_caught_and_an_untested_one_is_not(tmp_path):
    def run(*tests):
        wrong = "trust_region: damped_newton: h + np.eye(g.size) / alpha => *"
        line = [sys.executable, "-m", "tests.mutation", "trust_region", "--only", wrong, "--tests", *tests]
        return subprocess.run(line, cwd=mutation.ROOT, capture_output=True, encoding="utf-8")

    tested, untested = run("trust_region"), run("checks")
    assert tested.returncode == 0 and "caught" in tested.stdout, tested.stdout + tested.stderr
    assert untested.returncode == 1 and "survived" in untested.stdout, untested.stdout + untested.stderr


def test_the_record_keeps_one_row_for_each_module_and_its_code(tmp_path, monkeypatch):
    monkeypatch.setattr(mutation, "RECORD", tmp_path / "mutants.json")
    with pytest.raises(SystemExit, match="nothing of taylor"):
        mutation.recorded("taylor")
    for module, caught in (("taylor", 3), ("onemlp", 4), ("taylor", 5)):
        row = mutation.score(module, 9, collections.Counter(caught=caught), [])
        mutation.save(row | {"seconds": 1, "budget": 30.0})
    assert [(row["module"], row["caught"]) for row in mutation.rows_recorded()] == [("onemlp", 4), ("taylor", 5)]
    assert mutation.recorded("taylor")["caught"] == 5
    monkeypatch.setattr(mutation, "code_of", lambda module: "other")
    with pytest.raises(SystemExit, match="nothing of taylor as it is now"):
        mutation.recorded("taylor")
