"""From a chapter to a kernel: its notebook to download, and the buttons for Binder and Colab."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlparse

import nbformat
import pytest
import yaml
from conftest import ROOT, toc_pages
from jupyter_book.config import get_final_config
from sphinx_book_theme.header_buttons import update_context_with_repository_info
from sphinx_book_theme.header_buttons.launch import add_launch_buttons

CHAPTERS = [name for name in toc_pages() if (ROOT / f"{name}.ipynb").exists()]
ADDRESS = "https://github.com/nobody/nothing"
BUTTON, LINK = ".dropdown-download-buttons > button", ".dropdown-download-buttons a:has-text('.ipynb')"


@pytest.fixture
def launch(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")
    return importlib.import_module("pcbook_launch")


def configured(launch, url):
    """A stand-in for the Sphinx application of this book with that address."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == "", "fill in ADDRESS's role: these tests are about the setting itself"
    config["repository"]["url"] = url
    config["sphinx"].pop("local_extensions")
    final, _ = get_final_config(user_yaml=config, cli_config={"latex_individualpages": False}, raise_on_invalid=True)
    app = SimpleNamespace(config=type("Config", (dict,), {"__getattr__": dict.__getitem__})(final))
    app.env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb", metadata={name: {} for name in CHAPTERS})
    app.builder = SimpleNamespace(theme_options=app.config.html_theme_options)
    launch.configure(app, app.config)
    return app


def buttons(app, name):
    """{text: address} of the launch buttons that the theme gives the chapter."""
    update_context_with_repository_info(app)
    context = app.config.html_context | {
        "pagename": name,
        "page_source_suffix": ".ipynb",
        "sourcename": f"{name}.ipynb",
    }
    context["header_buttons"] = []
    add_launch_buttons(app, name, "page.html", context, None)
    return {button["text"]: button["url"] for group in context["header_buttons"] for button in group["buttons"]}


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/", f"{ADDRESS}.git"])
def test_every_chapter_opens_on_binder_and_colab_once_there_is_an_address(launch, address):
    app = configured(launch, address)
    for name in CHAPTERS:
        found = {text: urlparse(url) for text, url in buttons(app, name).items()}
        assert found.keys() == {"Binder", "Colab"}
        assert found["Binder"].path == "/v2/gh/nobody/nothing/main"
        assert parse_qs(found["Binder"].query) == {"urlpath": [f"lab/tree/{name}.ipynb"]}
        assert found["Colab"].path == f"/github/nobody/nothing/blob/main/{name}.ipynb"


def test_a_book_elsewhere_opens_on_binder_only(launch):
    found = buttons(configured(launch, "https://gitlab.com/nobody/nothing"), CHAPTERS[0])
    assert found.keys() == {"Binder"}


def test_without_an_address_there_is_no_button_at_all(launch):
    app = configured(launch, "")
    assert buttons(app, CHAPTERS[0]) == {}
    assert app.config.html_theme_options["use_repository_button"] is False


def test_how_to_use_says_what_to_run_on_colab_only_where_there_is_a_button(launch):
    page = (ROOT / "book" / "how-to-use.md").read_text(encoding="utf-8")
    for address in ("", ADDRESS):
        source = [page]
        launch.write_elsewhere(configured(launch, address), "book/how-to-use", source)
        assert ("Colab" in source[0]) == bool(address)
        assert (f"--branch main {ADDRESS} " in source[0]) == bool(address)
        assert "% elsewhere" not in source[0]


def test_binder_installs_what_the_book_needs():
    lines = (ROOT / ".binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    [included] = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert (ROOT / ".binder" / included).resolve() == ROOT / "requirements.txt"
    runtime = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert runtime == "python-3.11", "requirements.lock is made with Python 3.11"


@pytest.mark.slow
def test_no_page_leads_to_a_repository_that_nobody_named(site):
    for name in toc_pages():
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        assert (
            "mybinder.org" not in html and "colab.research" not in html and "executablebooks/jupyter-book" not in html
        )


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", [CHAPTERS[0], CHAPTERS[-1]])
def test_a_chapter_downloads_as_the_notebook_it_is(browser, served, name):
    page = browser.new_page()
    page.goto(f"{served}{name}.html")
    page.click(BUTTON)
    with page.expect_download() as download:
        page.click(LINK)
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename == f"{name.split('/')[-1]}.ipynb"
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert json.loads(text) == json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))
    page.close()


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_book_opened_as_a_file_the_browser_shows_the_notebook_to_save(browser, site):
    page = browser.new_page()
    page.goto((site / f"{CHAPTERS[0]}.html").as_uri())
    page.click(BUTTON)
    with page.expect_popup() as popup:
        page.click(LINK)
    shown = popup.value.evaluate("document.body.textContent")
    assert json.loads(shown) == json.loads((ROOT / f"{CHAPTERS[0]}.ipynb").read_text(encoding="utf-8"))
    page.close()


@pytest.mark.slow
def test_every_chapter_has_a_download(site):
    for name in CHAPTERS:
        assert f'_sources/{name}.ipynb"' in (site / f"{name}.html").read_text(encoding="utf-8")
        assert (site / "_sources" / f"{name}.ipynb").read_bytes() == (ROOT / f"{name}.ipynb").read_bytes()
