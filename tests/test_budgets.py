"""The budgets' parts: what they measure is there, and what they say of it is right. No time is asserted here."""

import json
import os

import pytest

from benchmarks import budgets


def test_a_budget_is_met_up_to_its_limit():
    limit, _ = budgets.LIMITS["slider step in the book"]
    assert budgets.row("slider step in the book", "γ", limit)["met"]
    assert not budgets.row("slider step in the book", "γ", 1.01 * limit)["met"]


def test_imports_are_timed_in_fresh_processes_and_torch_is_noticed():
    assert {"pcbook", "pcbook.onemlp", "pcbook.explore.landscape"} <= set(budgets.modules())
    assert "pcbook.__main__" not in budgets.modules()  # to import it is to run it
    seconds, heavy = budgets.import_time("pcbook.checks")
    assert seconds > 0 and not heavy
    assert budgets.import_time("pcbook.network")[1]


def test_a_part_is_measured_and_not_recorded(tmp_path, capsys):
    path = tmp_path / "budgets.json"
    line = ["--only", "imports", "--modules", "pcbook.checks", "--rounds", "1", "--output", str(path)]
    (found,) = budgets.main(line)["results"]["rows"]
    assert not path.exists()
    assert (found["part"], found["budget"], found["name"]) == ("imports", "import without torch", "pcbook.checks")
    assert "of 1 s" in capsys.readouterr().out


def test_the_build_that_is_timed_can_be_called():
    assert budgets.timed([*budgets.BUILD, "--help"]) > 0


def test_what_fails_is_not_timed():
    with pytest.raises(SystemExit, match="gave up"):
        budgets.timed(["-c", "raise SystemExit('gave up')"])


@pytest.mark.slow
@pytest.mark.browser
def test_the_slider_of_the_built_page_is_timed(site):
    try:
        (found,) = budgets.main(["--only", "slider", "--steps", "6"])["results"]["rows"]
    except FileNotFoundError as missing:
        required = os.environ.get("CI") or os.environ.get("PCBOOK_REQUIRE_BROWSER") == "1"
        (pytest.fail if required else pytest.skip)(str(missing))
    assert found["rounds"] == 4 and 0 < found["low"] <= found["value"] <= found["high"]
    json.dumps(found, allow_nan=False)
