"""The built book as a reader meets it in Chromium, page by page, over HTTP and from a file."""

import json

import numpy as np
import pytest
from conftest import toc_pages

from benchmarks.browsing import wait_until
from pcbook import figures, sliders

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = toc_pages()
DRAWN = """element => [...element.querySelectorAll('.pc-panel')].every(panel =>
    panel.data?.length && panel.querySelector('.main-svg') && panel.querySelector('path, canvas'))"""
# What a panel holds after plotly has decoded it, as plain lists.
DATA = """panel => panel._fullData.map(trace => Object.fromEntries(
    ['x', 'y', 'z'].filter(key => trace[key]?.length).map(key => [
        key, Array.from(trace[key], row => row?.length === undefined ? row : Array.from(row))])))"""

TYPESET = "[...document.querySelectorAll('.bd-article .math')].every(e => e.querySelector('mjx-container'))"
LEFT = "net::ERR_ABORTED"


class Visit:
    """A page opened in the browser with everything that went wrong on it, and all its figures drawn."""

    def __init__(self, browser, url, **options):
        self.problems = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type == "error" and self.problems.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        # What was under way when the visitor went on to another page is aborted, and that is no failure.
        self.page.on("requestfailed", lambda r: r.failure == LEFT or self.problems.append(f"failed: {r.url}"))
        home = url.split("/book/")[0]
        local = (home, "data:", "blob:")
        self.page.on("request", lambda r: r.url.startswith(local) or self.problems.append(f"foreign: {r.url}"))
        self.page.goto(url, wait_until="load")
        self.explorers = self.page.query_selector_all(".pc-explorer")
        for element in self.explorers:
            element.scroll_into_view_if_needed()
            wait_until(self.page, DRAWN, element)

    def press(self, key, element):
        """Press `key` and wait until the explorer `element` has drawn another frame than before."""
        before = element.get_attribute("data-frame")
        self.page.keyboard.press(key)
        wait_until(self.page, "([e, before]) => e.dataset.frame !== before", [element, before])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def data(element):
    return [panel.evaluate(DATA) for panel in element.query_selector_all(".pc-panel")]


def payload(element):
    return json.loads(element.query_selector("script[type='application/json']").text_content())


UNNAMED = """[...document.querySelectorAll('button, a[href], input, select, summary')].filter(element =>
    element.checkVisibility({ visibilityProperty: true }) && !element.disabled
        && !(element.ariaLabel || element.innerText?.trim() || element.title
        || [...element.labels ?? []].some(label => label.innerText.trim())
        || element.querySelector('[aria-label], img[alt], title'))).map(element => element.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_and_fits_a_phone(browser, served, site, name):
    """Every figure drawn, all mathematics typeset, every control named, and nothing asked of another site."""
    with Visit(browser, f"{served}{name}.html") as visit:
        html = (site / f"{name}.html").read_bytes()
        assert len(visit.explorers) == html.count(b'class="pc-explorer"')
        if visit.page.locator(".bd-article .math").count():
            wait_until(visit.page, TYPESET)
        assert visit.page.locator("mjx-merror").count() == 0
        assert visit.page.evaluate(UNNAMED) == []
        assert len(html) <= 1.5e6, f"{len(html) / 1e6:.2f} MB"
        visit.page.set_viewport_size({"width": 390, "height": 844})
        wait_until(visit.page, "document.documentElement.scrollWidth <= 390", seconds=10)
        for panel in visit.page.query_selector_all(".pc-panel"):
            assert panel.bounding_box()["x"] + panel.bounding_box()["width"] <= 390
        assert visit.problems == []


@pytest.mark.parametrize("name", PAGES)
def test_page_works_from_a_file(browser, site, name):
    """By keyboard every slider moves its figure, to what Python stored, and every choice redraws it."""
    labels = []
    with Visit(browser, (site / f"{name}.html").as_uri()) as visit:
        for element in visit.explorers:
            for slider in element.query_selector_all("input[type=range]"):
                before, spoken = data(element), slider.get_attribute("aria-valuetext")
                labels.append(slider.get_attribute("aria-label"))
                slider.focus()
                at_end = slider.input_value() == slider.get_attribute("max")
                visit.press("ArrowLeft" if at_end else "ArrowRight", element)
                assert slider.get_attribute("aria-valuetext") != spoken
                assert slider.query_selector("xpath=..").inner_text() == slider.get_attribute("aria-valuetext")
                assert data(element) != before, labels[-1]
                frame = int(element.get_attribute("data-frame"))
                compare(data(element), sliders.shown(payload(element), frame))
            for select in element.query_selector_all(".pc-control select"):
                select.focus()
                last = select.evaluate("e => e.selectedIndex === e.length - 1")
                visit.press("ArrowUp" if last else "ArrowDown", element)
        assert visit.problems == []
    assert any("γ" in label for label in labels) or name != "book/precision-ratio"


def test_a_finger_on_a_figure_scrolls_the_page(browser, site):
    uri = (site / f"{first_with_figures(site)}.html").as_uri()
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with Visit(browser, uri, **phone) as visit:
        assert visit.page.evaluate("document.querySelector('.pc-panel')._fullLayout.dragmode") is False
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.problems == []


def compare(drawn, stored):
    for panel, figure in zip(drawn, stored, strict=True):
        shown = [trace for trace in figure["data"] if trace.get("visible", True) is not False]
        for trace, expected in zip(panel, shown, strict=True):
            for key, value in trace.items():
                if isinstance(expected[key], np.ndarray):
                    np.testing.assert_array_equal(np.array(value, dtype=float), expected[key].astype(float))
                else:
                    assert value == expected[key]


def test_dark_mode_redraws_the_figures(browser, site):
    in_the_ink_of_its_theme = """element => {
        const sample = document.createElement('i');
        sample.style.color = PCBOOK_TEMPLATES[document.documentElement.dataset.theme].layout.font.color;
        return getComputedStyle(element.querySelector('.pc-panel .xtick text')).fill === sample.style.color;
    }"""
    assert figures.TEMPLATES["light"].layout.font.color != figures.TEMPLATES["dark"].layout.font.color
    with Visit(browser, (site / f"{first_with_figures(site)}.html").as_uri(), color_scheme="light") as visit:
        themes = set()
        for _ in range(3):  # the theme's button goes round auto, light, dark
            visit.page.click(".theme-switch-button >> visible=true")
            wait_until(visit.page, in_the_ink_of_its_theme, visit.explorers[0])
            themes.add(visit.page.evaluate("document.documentElement.dataset.theme"))
        assert themes == {"light", "dark"}
        assert visit.problems == []


def test_a_page_loads_plotly_only_when_it_needs_it_and_print_draws_every_figure(browser, site):
    name = first_with_figures(site)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    loaded = []
    page.on("request", lambda request: loaded.append(request.url.rsplit("/", 1)[-1]))
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_selector(".pc-explorer[data-frame]")
    assert loaded.count("plotly.min.js") == 1
    page.pdf()
    assert page.evaluate("[...document.querySelectorAll('.pc-explorer')].every(e => e.dataset.frame !== undefined)")
    context.close()


def test_a_quiz_answers_by_keyboard_without_a_script_and_opens_on_paper(browser, site):
    name = next(name for name in PAGES if b'class="pc-quiz"' in (site / f"{name}.html").read_bytes())
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto((site / f"{name}.html").as_uri())
    options = page.locator(".pc-quiz details")
    assert not any(says.is_visible() for says in options.locator("p").all())
    for option in options.all():
        option.locator("summary").focus()
        page.keyboard.press("Enter")
        assert option.locator("p").inner_text().startswith(("Yes", "No"))
        assert option.locator("p").is_visible()
        page.keyboard.press("Enter")
    page.emulate_media(media="print")
    assert all(says.bounding_box()["height"] > 10 for says in options.locator("p").all())
    context.close()


def first_with_figures(site):
    return next(name for name in PAGES if b'class="pc-explorer"' in (site / f"{name}.html").read_bytes())
