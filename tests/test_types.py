"""The types of the package, as `mypy` sees them; pyproject.toml says how strictly, and which modules are left out."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def check(*arguments):
    command = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")


@pytest.mark.slow
def test_mypy_has_nothing_to_say():
    result = check()
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_mypy_would_notice(tmp_path):
    """The settings are strict for the kernels: a wrong type, and a function without any."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from pcbook import network\n\nnetwork.times('φ', None)\n\n\ndef bare(x):\n    return x\n")
    result = check(str(wrong))
    assert result.returncode == 1
    assert "[arg-type]" in result.stdout and "[no-untyped-def]" in result.stdout
