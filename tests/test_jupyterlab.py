"""A reader starts JupyterLab, meets the first page, runs a chapter, and moves γ: the figure follows the live kernel."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, toc_pages

from benchmarks.browsing import run_all
from pcbook import lab as extension

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def chapter_with_gamma():
    """The first chapter of the book that shows the γ slider."""
    paths = (ROOT / f"{name}.ipynb" for name in toc_pages())
    marks = ("gamma_explorer(", 'Slider(\\"gamma\\"')
    return next(p for p in paths if p.exists() and any(mark in p.read_text(encoding="utf-8") for mark in marks))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`jupyter lab book` in a copy of the project, with settings of its own; always stopped. The folder it runs in."""
    tmp_path = tmp_path_factory.mktemp("lab")
    for folder in ("book", "pcbook"):
        ignore = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    installed = tmp_path / "config" / "jupyter_server_config.d" / "pcbook.json"  # as an installation has it
    installed.parent.mkdir(parents=True)
    shutil.copy(ROOT / "pcbook" / "lab.json", installed)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.user_settings_dir": tmp_path / "settings",
        "LabApp.workspaces_dir": tmp_path / "workspaces",
    }
    home = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    environment = {key: value for key, value in os.environ.items() if key != "PCBOOK_STATIC"}
    command = [sys.executable, "-m", "jupyterlab", "book", *(f"--{key}={value}" for key, value in options.items())]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, stdout=log, stderr=log, env=environment | home | {"PYTHONPATH": str(tmp_path)}
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/api", server, tmp_path / "lab.log")
        yield tmp_path
    finally:
        server.terminate()  # it stops its kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_up(url, server, log, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start:\n{Path(log).read_text()[-3000:]}")


STATE = """[...document.querySelectorAll('.js-plotly-plot')].map(plot => JSON.stringify([
    plot.layout?.title?.text, plot._fullData?.map(trace => [trace.x, trace.y, trace.z].map(
        rows => Array.from(rows ?? [], row => row?.length ? Array.from(row) : row)))]))"""
FITS = """[...document.querySelectorAll('.js-plotly-plot')].every(plot =>
    plot.querySelector('.main-svg')?.getBoundingClientRect().width <= plot.parentElement.clientWidth + 1)"""


def opened(lab):
    """The address that `jupyter lab` would open in the reader's browser."""
    (page,) = (lab / "runtime").glob("jpserver-*-open.html")
    return re.search(r'href="([^"]+)"', page.read_text())[1]


def test_jupyterlab_opens_on_the_page_that_says_where_to_start(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(opened(lab))
    page.wait_for_selector(".jp-Notebook h1", timeout=60_000)
    page.get_by_role("heading", name="Where to start").wait_for()
    assert page.locator(".jp-CodeCell .jp-InputPlaceholder").count() == page.locator(".jp-CodeCell").count() > 2
    page.close()


def test_the_server_lets_the_threads_of_its_kernels_sleep_unless_told_otherwise(monkeypatch):
    server = SimpleNamespace(root_dir=".", base_url="/", default_url="/lab")
    for before, after in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.setenv("OMP_WAIT_POLICY", "x")  # so that what the extension sets is undone
        if before:
            monkeypatch.setenv("OMP_WAIT_POLICY", before)
        else:
            monkeypatch.delenv("OMP_WAIT_POLICY")
        extension._load_jupyter_server_extension(server)
        assert os.environ["OMP_WAIT_POLICY"] == after
    assert server.default_url == "/lab"


def test_the_installation_tells_jupyter_where_the_book_starts():
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert shared["shared-data"] == {"pcbook/lab.json": "etc/jupyter/jupyter_server_config.d/pcbook.json"}


def test_the_gamma_slider_moves_its_figure_in_jupyterlab(browser, lab):
    path = chapter_with_gamma()
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(opened(lab).replace("lab/tree/index.ipynb", f"lab/workspaces/own/tree/{path.name}"))
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    run_all(page)
    row = page.locator(".widget-slider:has-text('γ')").first
    row.wait_for(timeout=60_000)
    row.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.js-plotly-plot .main-svg') !== null", timeout=60_000)
    page.wait_for_function(FITS, timeout=60_000)
    before, number = page.evaluate(STATE), row.locator(".widget-readout").inner_text()
    row.locator("[role=slider]").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"before => JSON.stringify({STATE}) !== JSON.stringify(before)", arg=before, timeout=60_000)
    assert row.locator(".widget-readout").inner_text() != number
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    page.close()
