"""The prose pages: the code they name exists, and the README's commands are the ones CI runs."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pcbook import chapters, claims

ROOT = Path(__file__).parent.parent
TITLES = {slug: chapter.title for slug, chapter in chapters.read_all(ROOT / "book").items()}
MODULES = {path.stem for path in (ROOT / "pcbook").glob("[a-z]*.py")}
NAMES = {
    (page.name, *found)
    for page in (ROOT / "book").glob("*.md")
    for found in re.findall(r"`(\w+)\.(\w+)[`(\[]", page.read_text(encoding="utf-8"))
    if found[0] in MODULES
}


@pytest.mark.parametrize(("page", "module", "name"), sorted(NAMES))
def test_named_function_exists(page, module, name):
    assert hasattr(importlib.import_module(f"pcbook.{module}"), name)


def test_notation_names_code_at_all():
    assert {name for page, _, name in NAMES if page == "notation.md"} >= {"loss", "equilibrated_energy", "step"}


def test_ci_runs_the_test_command_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    build, test, *_ = re.findall(r"```bash\n(.+)\n```", readme)
    assert build.endswith("jupyter-book build .")
    assert test.endswith("pytest")
    assert f"\n{test}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def pins(name):
    """{package: version} of a file of requirements."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", m[1]).lower(): m[2] for m in found if m}


def test_every_requirement_is_pinned_and_locked():
    required, locked = pins("requirements.txt"), pins("requirements.lock")
    assert required.items() <= locked.items()
    named = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    loose = [line for line in named if line and not line.startswith(("#", "-")) and "==" not in line]
    assert not loose


def test_every_locked_package_has_digests():
    assert pins("requirements.hashes") == pins("requirements.lock")
    lines = (ROOT / "requirements.hashes").read_text(encoding="utf-8").splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+( --hash=sha256:[0-9a-f]{64})+", line) for line in lines)


def test_digests_come_from_what_pip_reports(tmp_path):
    def report(version, digest):
        item = {"metadata": {"name": "A_b.c", "version": version}}
        item["download_info"] = {"archive_info": {"hashes": {"sha256": digest}}}
        path = tmp_path / f"{digest}.json"
        path.write_text(json.dumps({"install": [item]}), encoding="utf-8")
        return path

    script = [sys.executable, ROOT / ".ci" / "hashes.py", report("1.2", "2f"), report("1.2+cpu", "1e")]
    result = subprocess.run(script, capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.splitlines()[-1] == "a-b-c==1.2 --hash=sha256:1e --hash=sha256:2f"


def test_every_word_of_the_glossary_is_linked_from_a_chapter():
    glossary = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8").partition("```{glossary}\n")[2]
    words = set(re.findall(r"^(?! )(\S[^\n]*)\n  ", glossary, re.MULTILINE))
    assert list(words) and len(words) > 25
    chapters = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.ipynb"))
    linked = {
        found for pair in re.findall(r"\{term\}`(?:[^`<]*<([^>]*)>|([^`<]*))`", chapters) for found in pair if found
    }
    assert linked == words


def test_the_glossary_is_in_alphabetical_order():
    glossary = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8").partition("```{glossary}\n")[2]
    words = re.findall(r"^(?! )(\S[^\n]*)\n  ", glossary, re.MULTILINE)
    assert words == sorted(words, key=lambda word: word.lower().replace("μ", "m"))


def errata():
    """{heading: its cells} of the errata page."""
    cells = nbformat.read(ROOT / "book" / "errata.ipynb", as_version=4).cells
    sections = {}
    for cell in cells:
        if cell.source.startswith("## "):
            sections[cell.source.splitlines()[0]] = own = []
        if sections:
            own.append(cell)
    return sections


@pytest.mark.parametrize("cells", errata().values(), ids=errata())
def test_an_erratum_says_what_is_printed_and_what_is_right_and_shows_it(cells):
    words = cells[0].source
    assert re.search(r"^\*\*Printed:\*\* .+\n\n\*\*Right:\*\* ", words, re.MULTILINE)
    assert any("assert " in cell.source for cell in cells if cell.cell_type == "code")
    linked = re.findall(r"\{ref\}`([^<`]+) <(claim-[\w-]+)>`", words)
    assert linked
    chapter = {row.anchor: TITLES[row.chapter] for row in claims.CLAIMS.values()}
    assert all(chapter[anchor].startswith(words) for words, anchor in linked)
