"""The JupyterLite site: which chapters it offers, that it holds all they need but Pyodide, and that cells run there."""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from jupyterlite_pyodide_kernel.constants import PYODIDE_CDN_URL, PYODIDE_VERSION
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_jupyterlab import STATE

from benchmarks import browsing
from pcbook import chapters, cli, lite, wheels

BOOK = ROOT / "book"
PIPE = {"capture_output": True, "encoding": "utf-8", "check": True}
THERE = {"ipython", "traitlets", "comm"}  # brought by the kernel
ELSEWHERE = {"widgetsnbextension", "jupyterlab-widgets"}  # front ends of widgets: the site has its own


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, built by the command."""
    output = tmp_path_factory.mktemp("lite") / "site"
    assert cli.main(["lite", "--output", str(output)]) == 0
    return output


def cells(path, kind):
    return [
        "".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind
    ]


# That each chapter offered runs to its end without PyTorch is in test_notebooks.py.


def test_every_chapter_that_is_not_offered_needs_pytorch(as_in_the_browser, offered):
    absent = chapters.read_all(BOOK).keys() - offered
    assert absent
    for slug in absent:
        code = lite._imports(BOOK / f"{slug}.ipynb")
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=as_in_the_browser)
        assert "ModuleNotFoundError: no torch here" in run.stderr, slug


def test_an_import_of_pytorch_takes_a_chapter_off_the_site_and_another_fault_is_an_error(tmp_path):
    notebook = nbformat.read(BOOK / "landscape.ipynb", as_version=4)
    for name, line in {"plain": "", "deep": "import torch.nn", "deeper": "from pcbook.network import PCN"}.items():
        notebook.cells[1].source = line
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    assert list(lite.offered(tmp_path)) == ["plain"]
    notebook.cells[1].source = "import nowhere"
    nbformat.write(notebook, tmp_path / "plain.ipynb")
    with pytest.raises(OSError, match="nowhere"):
        lite.offered(tmp_path)


def test_links_lead_to_notebooks_of_the_site_or_nowhere():
    text = "{doc}`here`, {doc}`that <here>`, {doc}`gone`, [x](gone.ipynb), [y\nz](here.ipynb), [w](#place)"
    there = "[Here](here.ipynb), [that](here.ipynb), *Gone* (in the book), *x* (in the book), "
    found = lite.linked(text, {"here"}, {"here": "Here", "gone": "Gone"})
    assert found == there + "[y\nz](here.ipynb), [w](#place)"


def test_a_wheel_holds_what_is_installed_and_nothing_compiled(tmp_path):
    path = wheels.of_installed("psygnal", tmp_path)
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        [record] = [name for name in names if name.endswith("/RECORD")]
        assert set(names) == {line.split(",")[0] for line in wheel.read(record).decode().splitlines()}
        assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc"))]
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", tmp_path / "there", path]
    subprocess.run(pip, check=True, capture_output=True)
    code = "import psygnal; print(psygnal.__file__, psygnal._compiled, psygnal.__version__)"
    out = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path / "there")}, **PIPE)
    assert out.stdout.split() == [
        str(tmp_path / "there/psygnal/__init__.py"),
        "False",
        importlib.metadata.version("psygnal"),
    ]
    with pytest.raises(ValueError, match="'numpy'.*compiled|'numpy'.*Python files"):
        wheels.of_installed("numpy", tmp_path)


def test_the_packages_of_the_site_need_nothing_that_is_not_there():
    known = {*lite.RUNTIME, *lite.SHIPPED, *THERE, *ELSEWHERE}
    for name in lite.SHIPPED:
        for needed in map(Requirement, importlib.metadata.requires(name) or []):
            there = {"extra": "", "sys_platform": "emscripten", "python_version": "3.14"}
            if not needed.marker or needed.marker.evaluate(there):
                assert canonicalize_name(needed.name) in known, f"{name} needs {needed}"


@pytest.mark.parametrize(("argument", "what"), [("--output", "a new folder"), ("--pyodide", "pyodide.mjs")])
def test_a_folder_with_something_else_is_refused(tmp_path, capsys, argument, what):
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.main(["lite", argument, str(tmp_path)]) == 2
    assert what in capsys.readouterr().err and (tmp_path / "thesis.txt").exists()


@pytest.mark.slow
def test_the_site_offers_exactly_the_chapters_that_need_no_pytorch(built, offered):
    here = offered
    assert {path.name for path in (built / "files").iterdir()} == {f"{slug}.ipynb" for slug in here}
    listed = json.loads((built / "api" / "contents" / "all.json").read_text())["content"]
    assert {item["path"] for item in listed} == {f"{slug}.ipynb" for slug in here}
    page = (built / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"lab/index\.html\?path=([\w-]+)\.ipynb", page)) == here
    for slug, chapter in chapters.read_all(BOOK).items():
        assert (f">{chapter.title}</a>" in page) == (slug in here)
        assert chapter.title in page
    assert "no PyTorch" in page and "The network." in page


@pytest.mark.slow
def test_the_chapters_are_the_books_with_one_cell_more_and_no_dead_links(built):
    for path in (built / "files").iterdir():
        setup, *code = cells(path, "code")
        assert code == cells(BOOK / path.name, "code")
        assert re.findall(r"'pcbook==([\d.]+)'", setup) == [importlib.metadata.version("pcbook")]
        text = "\n".join(cells(path, "markdown") + code)
        assert "{doc}" not in text
        for target in re.findall(r"\]\(([\w-]+\.(?:ipynb|md))\)", text):
            assert (built / "files" / target).exists(), f"{path.name}: {target}"
        nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.slow
def test_the_wheels_hold_the_package_its_records_and_what_it_needs(built, tmp_path):
    index = json.loads((built / "pypi" / "all.json").read_text())
    for name in ("pcbook", *lite.SHIPPED):
        [(version, [file])] = index[name]["releases"].items()
        assert version == importlib.metadata.version(name)
        content = (built / "pypi" / file["url"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["digests"]["sha256"]
    with zipfile.ZipFile(next(built.glob("pypi/pcbook-*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    code = "from pcbook import records; [records.load(p) for p in records.FOLDER.glob('*.json')]; print(records.FOLDER)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, **PIPE
    )
    assert Path(out.stdout.strip()) == tmp_path / "book" / "records"
    for folder in ("pcbook", "book/records"):
        suffix = "*.py" if folder == "pcbook" else "*.json"
        files = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / folder).rglob(suffix)}
        assert files == {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / folder).rglob(suffix)}


@pytest.mark.slow
def test_the_front_ends_of_the_widgets_are_there_in_the_versions_of_their_packages(built):
    settings = json.loads((built / "jupyter-lite.json").read_text())["jupyter-config-data"]
    assert {extension["name"] for extension in settings["federated_extensions"]} == set(lite.FRONT_ENDS)
    for name in lite.FRONT_ENDS:
        about = json.loads((built / "extensions" / name / "package.json").read_text())
        assert (built / "extensions" / name / about["jupyterlab"]["_build"]["load"]).exists()
    anywidget = json.loads((built / "extensions" / "anywidget" / "package.json").read_text())
    assert anywidget["version"] == importlib.metadata.version("anywidget")
    lab = settings["versionInfo"]["@jupyterlab/application"]["version"]
    assert lab.split(".")[:2] == importlib.metadata.version("jupyterlab").split(".")[:2]
    assert not list(built.rglob("*.map"))


@pytest.mark.slow
@pytest.mark.browser
def test_a_reader_opens_a_chapter_from_the_first_page_and_only_pyodide_comes_from_elsewhere(browser, built):
    with browsing.served(built) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        problems, foreign = [], []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or foreign.append(r.url))
        page.goto(address)
        page.click("text=The landscape of the smallest network")
        page.wait_for_selector(".jp-Notebook h1:has-text('The landscape of the smallest network')", timeout=60_000)
        page.wait_for_selector(".jp-Toolbar-kernelName:has-text('Pyodide')")
        # Where there is no network, what could not be fetched is reported by its address.
        assert all(text.startswith(PYODIDE_CDN_URL) for text in problems + foreign), problems + foreign
        page.close()


@pytest.fixture
def pyodide(tmp_path):
    """A Pyodide distribution without NumPy and SciPy: its core and what tests/pyodide.txt lists.

    `PCBOOK_PYODIDE` names its folder: the unpacked npm package `pyodide`, and the wheels beside its files.
    """
    core = os.environ.get("PCBOOK_PYODIDE")
    if core is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("PCBOOK_PYODIDE names no Pyodide")
    assert json.loads((Path(core) / "package.json").read_text())["version"] == PYODIDE_VERSION
    target = tmp_path / "pyodide"
    shutil.copytree(core, target)
    lock = json.loads((target / "pyodide-lock.json").read_text())
    waiting, done = ["micropip", "ipython", "jedi", *lite.RUNTIME], {"numpy", "scipy"}
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in done:
            done.add(name)
            entry = lock["packages"][name]
            path = target / entry["file_name"]
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            waiting += entry["depends"]
    (target / "pyodide-lock.json").write_text(json.dumps(lock))
    return target


PROOF = """\
from pcbook import proofs

len(proofs.THEOREMS["flat-minima"].prove())"""
SLIDER = """\
import ipywidgets
from plotly.graph_objects import FigureWidget

figure = FigureWidget([{"type": "scatter", "y": [1, 1, 3]}])
slider = ipywidgets.IntSlider(min=1, max=9)
slider.observe(lambda change: figure.data[0].update(y=[1, change.new, 3]), "value")
ipywidgets.VBox([slider, figure])"""


@pytest.mark.slow
@pytest.mark.browser
def test_a_proof_and_a_slider_run_in_the_browser(browser, pyodide, tmp_path, monkeypatch):
    """The chapters themselves need NumPy and SciPy, which only Pyodide's network has."""
    monkeypatch.setattr(lite, "RUNTIME", tuple(name for name in lite.RUNTIME if name not in ("numpy", "scipy")))
    (tmp_path / "book").mkdir()
    notebook = nbformat.read(BOOK / "landscape.ipynb", as_version=4)
    notebook.cells = [notebook.cells[0], *(nbformat.v4.new_code_cell(source) for source in (PROOF, SLIDER))]
    notebook.cells[0].source = re.sub(r"\{doc\}`[^`]*`", "", notebook.cells[0].source)
    nbformat.write(notebook, tmp_path / "book" / "probe.ipynb")
    with browsing.served(lite.build(tmp_path / "site", pyodide, tmp_path / "book")) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        foreign = []
        page.context.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or foreign.append(r.url))
        page.goto(f"{address}lab/index.html?path=probe.ipynb")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        browsing.run_all(page, longest=300)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        from pcbook import proofs

        steps = str(len(proofs.THEOREMS["flat-minima"].prove()))
        assert page.locator(".jp-OutputArea-executeResult").first.inner_text().split()[-1] == steps
        page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg') !== null", timeout=60_000)
        before = page.evaluate(STATE)
        page.locator(".widget-slider [role=slider]").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            f"before => JSON.stringify({STATE}) !== JSON.stringify(before)", arg=before, timeout=60_000
        )
        assert not foreign
        page.close()


@pytest.mark.slow
@pytest.mark.browser
def test_the_books_pages_link_to_the_site_where_it_is(browser, served):
    page = browser.new_page()
    page.route("**/lite.js", lambda route: route.fulfill(body='window.PCBOOK_LITE = ["landscape"];'))
    for name, count in (("landscape", 1), ("notation", 0)):
        page.goto(f"{served}book/{name}.html", wait_until="networkidle")
        link = page.locator(".pc-lite a")
        assert link.count() == count
        if count:
            assert link.evaluate("a => a.href") == f"{served}lite/lab/index.html?path=landscape.ipynb"
    page.close()
