"""The ledger's page: every row is on it, and the form above chooses among them, for readers of all kinds."""

import html
import re
from collections import Counter

import pytest

from benchmarks.browsing import wait_until
from pcbook import claims, ledger, verdicts

ROWS = claims.CLAIMS.values()
OUTCOMES = list(verdicts.OUTCOMES)
FOUND = {
    claim_id: verdicts.Verdict(OUTCOMES[i % 3], f"At {i} < 100", {"a part": True}, claims.CLAIMS[claim_id].function)
    for i, claim_id in enumerate(claims.CLAIMS)
}
TITLES = {row.chapter: f"The {row.chapter}" for row in ROWS}


def test_every_row_names_its_claim_chapter_function_and_test(monkeypatch):
    monkeypatch.setenv("PCBOOK_STATIC", "1")
    page = ledger.to_html(FOUND, TITLES)
    articles = dict(re.findall(r'<article class="pc-claim" id="([\w-]+)"(.*?)</article>', page, re.DOTALL))
    assert len(articles) == len(ROWS)
    for row in ROWS:
        words = html.unescape(articles[row.anchor.replace("claim", "row")])
        assert all(part in words for part in (row.says, row.source, row.function, row.test, FOUND[row.id].evidence))
        assert f'<a href="{row.chapter}.html#{row.anchor}">' in words and f'data-part="{row.part}"' in words


def test_a_live_notebook_links_to_files(monkeypatch):
    monkeypatch.delenv("PCBOOK_STATIC", raising=False)
    assert set(re.findall(r'<a href="([^"]+)"', ledger.to_html(FOUND, TITLES))) == {f"{t}.ipynb" for t in TITLES}


def test_rows_are_in_the_papers_order_and_choices_are_counted():
    page = ledger.to_html(FOUND, TITLES)
    shown = re.findall(r"<h3>(.+?)</h3>", page)
    assert [shown.index(claim_id) for claim_id in ("E2, E3", "E17–E19", "A.3", "F1", "F9", "T1", "C1", "B4")] == sorted(
        shown.index(claim_id) for claim_id in ("E2, E3", "E17–E19", "A.3", "F1", "F9", "T1", "C1", "B4")
    )
    count = Counter(verdict.outcome for verdict in FOUND.values())
    for outcome in OUTCOMES:
        assert (f">{outcome} ({count[outcome]})<" in page) == (count[outcome] > 0)
        assert f"| {outcome} | {count[outcome]} |" in ledger.counts(FOUND)


@pytest.fixture
def ledger_page(browser, site):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    yield context.new_page(), (site / "book" / "ledger.html").as_uri()
    context.close()


def shown(page):
    return [row.get_attribute("id") for row in page.locator(".pc-claim").all() if row.is_visible()]


@pytest.mark.browser
@pytest.mark.slow
class TestInTheBrowser:
    def test_menus_work_by_keyboard_and_the_choice_can_be_linked(self, ledger_page):
        page, uri = ledger_page
        page.goto(uri)
        assert len(shown(page)) == len(ROWS)
        page.get_by_label("Part of the paper").focus()
        page.keyboard.type("theorem")
        assert shown(page) == ["row-a3", "row-a4"]
        assert page.get_by_role("status").inner_text() == f"2 of {len(ROWS)} claims"
        assert page.url == f"{uri}#part=theorem"
        page.get_by_label("With the words").fill("flatter Minima")
        assert shown(page) == ["row-a4"]
        linked = page.url
        page.get_by_role("button", name="Show all").press("Enter")
        wait_until(page, "location.hash === ''")
        assert len(shown(page)) == len(ROWS)
        page.goto("about:blank")
        page.goto(linked)
        assert shown(page) == ["row-a4"] and page.get_by_label("Part of the paper").input_value() == "theorem"

    def test_each_menu_shows_the_rows_that_it_names(self, ledger_page):
        page, uri = ledger_page
        page.goto(uri)
        for name in ledger.FILTERS:
            menu = page.locator(f".pc-filter select[name={name}]")
            for option in menu.locator("option").all()[1:]:
                menu.select_option(option.get_attribute("value"))
                told = int(re.search(r"\((\d+)\)$", option.inner_text())[1])
                assert len(shown(page)) == told > 0
            menu.select_option("")

    def test_a_link_to_a_row_shows_it_whatever_was_chosen(self, ledger_page):
        page, uri = ledger_page
        page.goto(f"{uri}#part=theorem")
        page.evaluate("location.hash = 'row-f2'")
        wait_until(page, "!document.getElementById('row-f2').hidden")
        assert len(shown(page)) == len(ROWS)
        page.goto("about:blank")
        page.goto(f"{uri}#part=nonsense")
        assert len(shown(page)) == len(ROWS)

    def test_without_a_script_all_rows_stand_and_no_form(self, browser, site):
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto((site / "book" / "ledger.html").as_uri() + "#part=theorem")
        assert page.locator(".pc-claim").count() == len(ROWS) == len(shown(page))
        assert not page.locator(".pc-filter").is_visible()
        context.close()
