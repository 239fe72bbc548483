"""The chapters as notebooks: their format, and every one run from top to bottom in a live kernel."""

import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_rules
import pytest
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "book").rglob("*.ipynb"))
named = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


@named
def test_chapter_is_committed_as_it_should_be(path):
    assert not list(notebook_rules.problems(path))


@named
@pytest.mark.slow
def test_chapter_runs_in_a_live_kernel(path, monkeypatch, offered, request):
    if path.stem in offered:
        request.getfixturevalue("as_in_the_browser")
    monkeypatch.delenv("PCBOOK_STATIC", raising=False)  # sliders become widgets, as they do for a reader
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    streams = [o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert not streams
    assert "✗ Not yet" not in str(notebook), "an exercise's own solution is not accepted"
    if "_explorer(" in path.read_text(encoding="utf-8"):
        assert "application/vnd.jupyter.widget-view+json" in str(notebook)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda nb: nb.cells[1].update(execution_count=3), "outputs or an execution count"),
        (lambda nb: nb.cells[1].update(id="3f2a9c1e"), "readable"),
        (lambda nb: nb.cells[1].update(id="intro"), "used twice"),
        (lambda nb: nb.cells[1].update(source="x = 1\n" * 13), "13 lines"),
        (lambda nb: nb.cells[0].update(source="One sentence. Another one."), "more than one sentence"),
        (lambda nb: nb.cells[0].metadata.update(collapsed=True), "metadata"),
        (lambda nb: nb.cells[1].metadata.update(tags=["remove-input"]), "metadata.jupyter"),
        (lambda nb: nb.cells[1].metadata.update(jupyter={"source_hidden": True}), "metadata.jupyter"),
        (lambda nb: nb.metadata.update(widgets={}), "notebook metadata"),
    ],
)
def test_the_rules_notice(tmp_path, change, complaint):
    cells = [nbformat.v4.new_markdown_cell("See Fig. 2 for it.", id="intro"), nbformat.v4.new_code_cell("1", id="one")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=notebook_rules.METADATA)
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    assert not list(notebook_rules.problems(path))
    change(notebook)
    path.write_text(nbformat.v4.nbjson.writes(notebook) + "\n", encoding="utf-8")
    script = [sys.executable, notebook_rules.__file__, str(path)]
    result = subprocess.run(script, capture_output=True, encoding="utf-8")
    assert result.returncode == 1
    assert complaint in result.stdout


def test_the_fix_folds_for_jupyterlab_what_the_book_does_not_show(tmp_path):
    cells = [nbformat.v4.new_code_cell("1", id=name, metadata={"tags": [name]}) for name in notebook_rules.TAGS]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=notebook_rules.METADATA)
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook, path)
    subprocess.run([sys.executable, notebook_rules.__file__, "--fix", str(path)], check=True)
    fixed = nbformat.read(path, as_version=4)
    shown = {cell.id for cell in fixed.cells if "jupyter" not in cell.metadata}
    assert shown == {"remove-output"}
    assert fixed.cells[0].source == "1"


def test_the_commit_hook_strips_an_executed_chapter_and_keeps_a_clean_one(tmp_path):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entry = next(hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    clean = (ROOT / "book" / "landscape.ipynb").read_bytes()
    used = nbformat.reads(clean.decode(), as_version=4)
    used.metadata["language_info"] |= {"version": "3.11.7", "mimetype": "text/x-python", "file_extension": ".py"}
    for cell in used.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = 1, [nbformat.v4.new_output("stream", text="x")]
    for content in (clean, nbformat.writes(used).encode()):
        path = tmp_path / "chapter.ipynb"
        path.write_bytes(content)
        subprocess.run([sys.executable, "-m", *shlex.split(entry), str(path)], check=True)
        assert path.read_bytes() == clean
