"""The types of the package, as `mypy` sees them: strictly, and in every module; pyproject.toml holds the settings."""

import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
FILES = sorted((ROOT / "pcbook").rglob("*.py"))
EXEMPTING = re.compile(r"#\s*mypy:|#\s*type:\s*ignore(?!\[[\w-]+(?:, [\w-]+)*\]  # \w)|@(?:typing\.)?no_type_check")


def check(*arguments):
    command = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")


@pytest.mark.slow
def test_mypy_has_nothing_to_say():
    result = check()
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(FILES)} source files" in result.stdout  # it found them all


@pytest.mark.slow
def test_mypy_would_notice(tmp_path):
    """A wrong type, and a function without any."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from pcbook import network\n\nnetwork.times('φ', None)\n\n\ndef bare(x):\n    return x\n")
    result = check(str(wrong))
    assert result.returncode == 1
    assert "[arg-type]" in result.stdout and "[no-untyped-def]" in result.stdout


def test_the_settings_are_strict_for_the_whole_package():
    assert SETTINGS["packages"] == ["pcbook"] and SETTINGS["strict"] is True
    assert SETTINGS.keys().isdisjoint({"exclude", "ignore_errors", "disable_error_code", "follow_imports"})


def test_no_module_of_the_package_is_treated_otherwise():
    for override in SETTINGS.get("overrides", []):
        modules = [override["module"]] if isinstance(override["module"], str) else override["module"]
        for module in modules:
            root = module.split(".")[0]
            assert root != "pcbook" and "*" not in root, f"{module}: {override}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_lets_itself_off(path):
    """`# type: ignore` has to name its error, and say why."""
    found = [line for line in path.read_text(encoding="utf-8").splitlines() if EXEMPTING.search(line)]
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "# mypy: ignore-errors",
        "x = f()  # type: ignore",
        "x = f()  # type: ignore[no-any-return]",
        "#type:ignore",
        "@no_type_check",
    ],
)
def test_exempting_is_noticed(line):
    assert EXEMPTING.search(line)


def test_an_ignored_error_may_be_named_and_explained():
    assert not EXEMPTING.search("x = f()  # type: ignore[arg-type]  # the stubs of f are behind")
