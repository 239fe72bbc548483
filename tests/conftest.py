"""The book, built once, and a browser to read it with, for the tests that need them."""

import functools
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from benchmarks import browsing
from benchmarks.faults.book import build

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as cores: one thread each, also in what they start
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parent.parent


def toc_pages(root=ROOT):
    """The pages that `_toc.yml` lists, in the reader's order, without suffix: "book/index", ..."""

    def walk(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key in ("root", "file") else walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


def pytest_collection_modifyitems(items):
    """Slow files first, for a worker takes whole files, and nobody should wait for the last one.

    The very first one builds the book, the next ones do without it meanwhile.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    of_site = Counter(item.path for item in items if "site" in item.fixturenames)
    builder = max(of_site, key=of_site.get, default=None)
    items.sort(key=lambda item: (item.path != builder, item.path not in slow, item.path in of_site))


@pytest.fixture(scope="session")
def site():
    """The folder with the built book. Workers take turns: a second build of the same content takes seconds."""
    folder = ROOT / "_build"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        result = build(ROOT)
    if result.returncode:
        pytest.fail(f"the book does not build:\n{result.stdout[-5000:]}", pytrace=False)
    return folder / "html"


@pytest.fixture(scope="session")
def served(site):
    """The built book's address on a loopback port."""
    with browsing.served(site) as address:
        yield address


@pytest.fixture(scope="session")
def offered():
    """The names of the chapters that the site in the browser offers."""
    from pcbook import lite

    return set(lite.offered())


@pytest.fixture
def as_in_the_browser(tmp_path, monkeypatch):
    """Whatever is started finds only the packages that the site in the browser has. The environment."""
    folder = tmp_path / "absent"
    folder.mkdir()
    for name in ("torch", "sklearn", "pooch", "joblib", "filelock", "threadpoolctl"):
        (folder / f"{name}.py").write_text(f'raise ModuleNotFoundError("no {name} here", name="{name}")\n')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    return os.environ


@pytest.fixture(scope="session")
def real_images():
    """`real_images(name)`: the real MNIST or Fashion-MNIST, from a named folder or the cache, never downloaded here.

    Without the files the tests skip, or fail where CI or PCBOOK_REQUIRE_DATA=1 asks for them.
    """
    from pcbook import data

    def offline(*_, **__):
        raise OSError("the tests download nothing")

    @functools.cache
    def load(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pooch.HTTPDownloader.__call__", offline)
            try:
                return data.mnist(name=name)
            except FileNotFoundError as missing:
                required = os.environ.get("CI") or os.environ.get("PCBOOK_REQUIRE_DATA") == "1"
                (pytest.fail if required else pytest.skip)(str(missing))

    return load


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Without one the tests skip, or fail where CI or PCBOOK_REQUIRE_BROWSER=1 asks for it."""
    from playwright.sync_api import sync_playwright

    from pcbook import pdf

    with sync_playwright() as playwright:
        path = pdf.find_chromium(playwright)
        if path is None:
            reason = "no Chromium: install one (apt-get install chromium) or name it in PCBOOK_CHROMIUM"
            required = os.environ.get("CI") or os.environ.get("PCBOOK_REQUIRE_BROWSER") == "1"
            (pytest.fail if required else pytest.skip)(reason)
        chromium = pdf.launch(playwright, path)
        yield chromium
        chromium.close()
