"""The build on a book of one page: it reruns what changed, trusts what did not, and fails on any warning."""

import importlib
import os

import pytest
from conftest import ROOT, build, toc_pages

from benchmarks.faults.book import small, write_page


@pytest.fixture
def tiny(tmp_path):
    """A copy of the machinery around one page, and around one module that the page imports."""
    return small(tmp_path, pages=["index"])


def page(root):
    return (root / "_build" / "html" / "book" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_edit_in_the_package_reruns_the_page_and_nothing_else_does(tiny):
    first = build(tiny)
    assert first.returncode == 0, first.stdout
    assert "Executing notebook" in first.stdout
    assert "opening this file in a browser:\n    _build/html/index.html" in first.stdout
    assert "answer 41" in page(tiny)
    assert "book/index.html" in (tiny / "_build" / "html" / "index.html").read_text()

    again = build(tiny)
    assert again.returncode == 0
    assert "Executing notebook" not in again.stdout

    with (tiny / "book" / "_static" / "pcbook.css").open("a") as style:
        style.write(".dressed {}")
    dressed = build(tiny)
    assert "Executing notebook" not in dressed.stdout
    assert ".dressed" in (tiny / "_build" / "html" / "_static" / "pcbook.css").read_text()

    write_page(tiny, text="The clock was set back.")
    os.utime(tiny / "book" / "index.ipynb", (0, 0))
    assert build(tiny).returncode == 0
    assert "The clock was set back." in page(tiny)

    (tiny / "pcbook" / "probe.py").write_text("ANSWER = 42\n")
    edited = build(tiny)
    assert edited.returncode == 0
    assert "answer 42" in page(tiny)
    assert "answer 41" not in page(tiny)
    assert len(list((tiny / "_build" / ".jupyter_cache").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "messages"),
    [
        (
            {"text": "{ref}`nowhere`, {cite}`nobody`, {role}`x`"},
            [
                "undefined label: 'nowhere'",
                'could not find bibtex key "nobody"',
                'Unknown interpreted text role "role"',
            ],
        ),
        ({"code": "1 / 0"}, ["ZeroDivisionError"]),
        (
            {"code": "import sys, plotly.graph_objects as go; print('beware', file=sys.stderr); go.Figure()"},
            ["stderr was found in the cell outputs", "unknown output mime type"],
        ),
    ],
    ids=["references", "exception", "outputs"],
)
def test_a_fault_in_a_page_fails_the_build(tiny, fault, messages):
    write_page(tiny, **fault)
    result = build(tiny)
    assert result.returncode != 0, result.stdout
    for message in messages:
        assert message in result.stdout


def test_a_chapter_that_describes_itself_anew_reruns_the_map(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    extension = importlib.import_module("pcbook_sphinx")
    (tmp_path / "book").mkdir()
    path = tmp_path / "book" / "landscape.ipynb"
    text = (ROOT / "book" / "landscape.ipynb").read_text(encoding="utf-8")
    said = []
    for old, new in (("", ""), ("*Reading time:* 35", "*Reading time:* 34"), ("## Summary", "## In short")):
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8") if old else path.write_text(text, encoding="utf-8")
        said.append(extension.front_matter(tmp_path))
    assert said[0] == said[2] != said[1]


def test_every_page_is_in_the_table_of_contents():
    files = [p for p in (ROOT / "book").glob("**/*") if p.suffix in (".ipynb", ".md")]
    shown = {p.relative_to(ROOT).with_suffix("").as_posix() for p in files if ".ipynb_checkpoints" not in p.parts}
    assert shown == set(toc_pages())
