"""What opening the book takes: a server for its pages, headless Chromium, and JupyterLab on a copy of it."""

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pcbook import pdf

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def served(folder):
    """The address of `folder` on a loopback port."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def chromium():
    """Headless Chromium, drawing in software. `FileNotFoundError` without one."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = pdf.find_chromium(playwright)
        if path is None:
            raise FileNotFoundError("no Chromium: install one (apt install chromium) or name it in PCBOOK_CHROMIUM")
        browser = pdf.launch(playwright, path)
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page, expression, arg=None, seconds=60):
    """Waits until `expression` is true on the page. Playwright's own wait needs `eval`, which the book forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s this is not true yet: {expression}")
        page.wait_for_timeout(20)


@contextlib.contextmanager
def jupyterlab(folder):
    """The address of JupyterLab on a copy of the book in `folder`, with settings of its own; always stopped."""
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.root_dir": folder / "book",
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.user_settings_dir": folder / "settings",
        "LabApp.workspaces_dir": folder / "workspaces",
    }
    home = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    environment = {key: value for key, value in os.environ.items() if key != "PCBOOK_STATIC"}
    command = [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=environment | home | {"PYTHONPATH": str(ROOT)}
        )
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/api", server, folder / "lab.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()  # it stops its kernels, too
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_up(url, server, log, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


# Folded cells show no number; the notebook's progress circle says how many cells have run.
SAYS = "document.querySelector('.jp-Notebook-ExecutionIndicator-tooltip')?.textContent ?? ''"
RAN = rf"/Executed \d/.test({SAYS})"
DONE = rf"/Idle.*Executed \d+ cells/.test({SAYS})"


def run_all(page, seconds=60, longest=120):
    """Run every cell of the open notebook, and wait at most `longest` seconds for the last one.

    JupyterLab drops the command while the kernel is still connecting, so ask until it runs; while cells run it moves
    the focus from one to the next.
    """
    from playwright.sync_api import TimeoutError

    deadline = time.monotonic() + seconds
    while True:
        for button in page.locator(".jp-Dialog .jp-mod-accept").all():  # a slow kernel is asked after
            button.click()
        page.click(".lm-MenuBar-item:has-text('Run')")
        page.click(".lm-Menu-item[data-command='runmenu:run-all']")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function(RAN, timeout=5_000)
            break
        if time.monotonic() > deadline:
            raise RuntimeError("no cell ran")
    page.wait_for_function(DONE, timeout=1000 * longest)
