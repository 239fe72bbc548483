"""A book of two pages made with this project's configuration, extension and style, and its build."""

import os
import re
import shutil
import subprocess
import sys

from benchmarks.faults.drills import ROOT, expect

BUILD = ["-c", "from jupyter_book.cli.main import main; main()", "build", "."]
PAGES = {
    "index": "from pcbook import probe; print(f'answer {probe.ANSWER}')",
    "second": "from pcbook import onemlp\nprint(f'energy {onemlp.equilibrated_energy(1.0, 2.0, 1.0, -1.0):.6f}')",
}


def build(root, **environment):
    """`jupyter-book build .` in `root`; the finished process with stdout and stderr together in `.stdout`."""
    clean = {"PYTHONUTF8": "1"} | {
        key: value for key, value in os.environ.items() if key not in ("PCBOOK_STATIC", "PYTHONPATH")
    }
    return subprocess.run(
        [sys.executable, *BUILD], cwd=root, env=clean | environment,
        encoding="utf-8", errors="backslashreplace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def built(root, **environment):
    """{page: its HTML} of a build that must succeed."""
    result = build(root, **environment)
    expect(result.returncode == 0, f"the build failed: {result.stdout[-1500:]}")
    return html(root)


def html(root):
    """{page: its HTML} of a built book, without the marks `?v=…` that only tell browsers how old a style is."""
    pages = (root / "_build" / "html" / "book").glob("*.html")
    return {path.stem: re.sub(r"\?v=\w+", "", path.read_text(encoding="utf-8")) for path in pages}


def write_page(root, code=PAGES["index"], text="", name="index"):
    """A notebook with a title, some text and one cell of code."""
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    cells = [("markdown", "text", f"# Tiny\n\n{text}"), ("code", "code", code)]
    notebook.cells = [getattr(nbformat.v4, f"new_{kind}_cell")(source, id=id) for kind, id, source in cells]
    nbformat.write(notebook, root / "book" / f"{name}.ipynb")


def small(root, pages=("index", "second")):
    """Makes `root` a copy of the machinery around a few pages, and around one module that the first imports."""
    keep = shutil.ignore_patterns("__pycache__", "*.ipynb", "*.md", "records")
    for folder in ("book", "pcbook"):
        shutil.copytree(ROOT / folder, root / folder, ignore=keep)
    for file in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / file, root)
    others = "".join(f"- file: book/{page}\n" for page in pages[1:])
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\n" + ("chapters:\n" + others) * bool(others))
    (root / "pcbook" / "probe.py").write_text("ANSWER = 41\n")
    for page in pages:
        write_page(root, PAGES[page], name=page)
    return root
