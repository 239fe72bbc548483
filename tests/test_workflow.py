"""The workflow: little power, nothing that can change behind its back, and the same script as everywhere."""

import os
import re
import shutil
import subprocess
import sysconfig

import yaml
from conftest import ROOT

PATH = ROOT / ".github" / "workflows" / "book.yml"
TEXT = PATH.read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load(TEXT)


def test_it_is_a_workflow_in_which_an_auditor_finds_nothing():
    zizmor = shutil.which("zizmor", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    command = [zizmor, "--offline", "--no-progress", "--persona=pedantic", PATH]
    result = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stdout + result.stderr


def test_actions_are_pinned_by_digest_with_their_version_beside_it():
    used = re.findall(r"uses: (.+)", TEXT)
    assert used
    for line in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_only_the_job_that_publishes_may_do_more_than_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in WORKFLOW["jobs"].items() if "permissions" in job}
    assert more == {"publish": {"pages": "write", "id-token": "write"}}
    assert not any("run" in step or "checkout" in step.get("uses", "") for step in WORKFLOW["jobs"]["publish"]["steps"])


def test_what_is_published_has_passed_the_tests():
    jobs = WORKFLOW["jobs"]
    assert jobs["publish"]["needs"] == "test"
    commands = [step.get("run") or step["uses"].partition("@")[0] for step in jobs["test"]["steps"]]
    assert commands[-3:] == ["bash .ci/run", "cp _build/pdf/book.pdf _build/html/", "actions/upload-pages-artifact"]


def test_the_chapters_that_run_in_a_browser_are_published_too():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().endswith("\npython -m pcbook lite")


def test_a_schedule_tries_the_latest_libraries():
    assert WORKFLOW[True]["schedule"]  # `on` is a boolean of YAML 1.1
    assert WORKFLOW["jobs"]["latest"]["steps"][-1]["run"] == "bash .ci/run latest"
    script = re.search(r"sed '(.+)' requirements.txt", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))[1]
    result = subprocess.run(
        ["sed", script, ROOT / "requirements.txt"], capture_output=True, encoding="utf-8", check=True
    )
    lines = [line.partition(" #")[0] for line in result.stdout.splitlines() if line and not line.startswith("#")]
    assert {"-e .", "numpy", "torch", "plotly", "pytest", "jupyter-book==1.0.4.post1"} <= set(lines)
    assert not any("requirements.lock" in line for line in lines)


def test_a_schedule_asks_for_known_vulnerabilities_of_all_that_is_locked():
    [*_, command] = WORKFLOW["jobs"]["audit"]["steps"]
    assert command["run"].startswith("pip-audit --strict ") and command["run"].endswith(" requirements.hashes")
