"""Every page for every reader: axe-core, in light and in dark, and the ticks of what has been read."""

import re
from pathlib import Path

import axe_playwright_python
import pytest
from conftest import toc_pages
from test_browser import Visit

from benchmarks.browsing import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = toc_pages()
AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js"))
# Plotly's pictures have their words beside them. Code is most of a page's elements: its colours are looked at apart.
VIOLATIONS = """async (rules) => (await axe.run({ exclude: [[".main-svg"], [".highlight pre"]] }, {
    resultTypes: ["violations"], preload: false, ...(rules && { runOnly: rules }),
})).violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target}: ${node.html.slice(0, 200)}`))"""
SCROLLS = VIOLATIONS.replace(', [".highlight pre"]', "")  # code may scroll, and then has to do so by keyboard
OF_COLOUR = ["color-contrast", "link-in-text-block"]  # what can differ between the modes


@pytest.fixture
def examined(browser, served):
    """`examined(name)`: the page, ready for axe. Formulas stay TeX: typeset, they are most of a page's elements."""
    context = browser.new_context(reduced_motion="reduce", color_scheme="light", bypass_csp=True)

    def visit(name):
        page = context.new_page()
        page.route("**/mathjax/**", lambda route: route.abort())
        page.goto(f"{served}{name}.html")
        page.add_script_tag(path=AXE)
        return page

    yield visit
    context.close()


@pytest.mark.parametrize("name", [*PAGES, "search"])
def test_axe_finds_nothing_amiss_in_light_and_dark(examined, name):
    page = examined(name)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate(VIOLATIONS) == []
    assert page.evaluate(SCROLLS, ["scrollable-region-focusable"]) == []
    page.emulate_media(color_scheme="dark")
    wait_until(page, "document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(VIOLATIONS, OF_COLOUR) == []


def test_code_is_readable_in_every_colour(examined, site):
    """One word in each style that code has anywhere in the book."""
    pages = (path.read_text(encoding="utf-8") for path in (site / "book").glob("*.html"))
    code = "".join("".join(re.findall(r"<pre>.*?</pre>", page, re.DOTALL)) for page in pages)
    styles = sorted(set(re.findall(r'<span class="(\w+)">', code)))
    assert len(styles) > 10
    words = "".join(f'<span class="{style}">word</span> ' for style in styles)
    page = examined(PAGES[0])
    page.evaluate(
        """words => { document.querySelector("article").innerHTML =
        `<div class="cell_input"><div class="highlight-ipython3"><div class="highlight">
            <p class="looked-at">${words}</p></div></div></div>`; }""",
        words,
    )
    for mode in ("light", "dark"):
        page.emulate_media(color_scheme=mode)
        wait_until(page, f"document.documentElement.dataset.theme === '{mode}'")
        assert page.evaluate(VIOLATIONS, OF_COLOUR) == []
    page.evaluate("document.querySelector('.looked-at').style.opacity = 0.3")
    assert page.evaluate(VIOLATIONS, OF_COLOUR)


def test_axe_notices_faults(examined):
    page = examined(PAGES[0])
    page.evaluate("""() => {
        document.querySelector(".pc-control input").removeAttribute("aria-label");
        document.querySelector(".pc-control output").remove();
        document.querySelector("article h1").style.color = "rgba(128, 128, 128, 0.3)";
    }""")
    assert {fault.partition(":")[0] for fault in page.evaluate(VIOLATIONS)} == {"label", "color-contrast"}


def ticked(page):
    """The pages with a tick in the table of contents."""
    return page.evaluate("""[...document.querySelectorAll('.bd-docs-nav .pc-tick')].map(
        tick => tick.parentElement.href.split('/').at(-1).split('.')[0])""")


def test_a_page_ticked_off_by_keyboard_stays_so_on_every_page_and_from_a_file(browser, site):
    first, second = (site / f"{name}.html" for name in PAGES[4:6])
    with Visit(browser, first.as_uri()) as visit:
        page = visit.page
        box = page.get_by_label("I have read this page")
        assert ticked(page) == []
        assert not box.is_checked()
        box.focus()
        page.keyboard.press("Space")
        assert ticked(page) == [first.stem]
        page.goto(second.as_uri())
        assert ticked(page) == [first.stem]
        assert not box.is_checked()
        assert page.get_by_role("link", name="(read)").count() == 1
        page.reload()
        assert ticked(page) == [first.stem]
        page.go_back()
        assert box.is_checked()
        box.focus()
        page.keyboard.press("Space")
        assert ticked(page) == []
        assert visit.context.cookies() == []
        assert visit.problems == []


def test_the_first_page_is_not_ticked_off(browser, site):
    with Visit(browser, (site / f"{PAGES[0]}.html").as_uri()) as visit:
        assert visit.page.get_by_label("I have read this page").count() == 0


def test_what_another_page_kept_under_the_same_name_is_no_tick(browser, served):
    with Visit(browser, f"{served}{PAGES[1]}.html") as visit:
        for kept in ("5", "{", '"x"', "null"):
            visit.page.evaluate("kept => localStorage.setItem('pcbook-read', kept)", kept)
            visit.page.reload()
            assert ticked(visit.page) == []
        visit.page.get_by_label("I have read this page").check()
        assert len(ticked(visit.page)) == 1
        assert visit.problems == []


def test_without_storage_there_are_no_ticks_and_no_error(browser, served):
    context = browser.new_context()
    page, ours = context.new_page(), []
    page.on("pageerror", lambda error: "ticks.js" in (error.stack or "") and ours.append(str(error)))
    page.add_init_script("""Object.defineProperty(window, "localStorage", {
        get() { throw new DOMException("refused", "SecurityError") } })""")
    page.goto(f"{served}{PAGES[1]}.html")
    assert page.locator(".pc-read").count() == 0
    assert ours == []
    context.close()
