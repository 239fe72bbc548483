"""The book on paper: all of it is there, in order, open, light and linked."""

import itertools
import json
import re
import unicodedata

import pytest
from conftest import ROOT, toc_pages
from pypdf import PdfReader

from pcbook import pdf

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FORMULA = re.compile(r"\\\(.*?\\\)|\$[^$]*\$|<[^>]*>")  # drawn, not written; tags are not written either


class Book:
    """The printed book: its reader, the text of each sheet without spaces, and each page's sheets."""

    def __init__(self, path):
        self.reader = PdfReader(path)
        self.sheets = [packed(sheet.extract_text()) for sheet in self.reader.pages]
        outline, captions = self.reader.outline, {caption for caption, _ in pdf.contents()}
        tops = [outline[0]]  # the opening page; its sections follow as a list, like the chapters of each caption
        for entry, below in itertools.pairwise(outline):
            if isinstance(below, list) and entry.title in captions:
                tops += [item for item in below if not isinstance(item, list)]
        starts = [self.reader.get_destination_page_number(item) for item in tops]
        ends = [*starts[1:], len(self.sheets)]
        self.ranges = dict(zip(toc_pages(), map(range, starts, ends), strict=True))

    def text(self, name):
        return "".join(self.sheets[i] for i in self.ranges[name])


def packed(text):
    """Without spaces, soft hyphens and the difference between letters and their styled forms."""
    return re.sub(r"[\s\xad\u200b]+", "", unicodedata.normalize("NFKC", text))


@pytest.fixture(scope="module")
def book(browser, site):
    return Book(pdf.write(browser, ROOT))


@pytest.fixture(scope="module")
def pages(browser, site):
    """{page: the (html, text) of what must be on paper}, read from the built pages."""
    collect = """() => ({
        headings: [...document.querySelectorAll('.bd-article :is(h1, h2, h3)')].map(e => e.firstChild.textContent
            + (e.firstChild.className === 'section-number' ? e.childNodes[1].textContent : '')),
        captions: [...document.querySelectorAll('.bd-article figcaption')].map(e => e.innerText),
        code: [...document.querySelectorAll('.bd-article div.cell_input pre')].map(e => e.textContent),
        replies: [...document.querySelectorAll('.pc-quiz p')].map(e => e.textContent),
        sliders: document.querySelectorAll('.bd-article input[type=range]').length,
        figures: [...document.querySelectorAll('.pc-explorer > script')].map(e => e.textContent),
    })"""
    page, found = browser.new_page(java_script_enabled=False), {}
    for name in toc_pages():
        page.goto((site / f"{name}.html").as_uri())
        found[name] = page.evaluate(collect)
    page.close()
    return found


@pytest.mark.parametrize("name", toc_pages())
def test_everything_on_a_page_is_on_paper(book, pages, name):
    """Headings, captions, code (folded or not), the quiz's replies, and the titles that plotly draws into figures."""
    text, page = book.text(name), pages[name]
    panels = [panel for figure in page["figures"] for panel in json.loads(figure)["panels"]]
    titles = [panel["layout"].get("title", {}).get("text", "") for panel in panels]
    titles += [
        panel["layout"].get(f"{axis}axis", {}).get("title", {}).get("text", "") for panel in panels for axis in "xy"
    ]
    for kind, words in {"titles": titles, **{k: page[k] for k in ("headings", "captions", "code", "replies")}}.items():
        missing = [word for word in words if not all(packed(part) in text for part in FORMULA.split(word))]
        assert not missing, f"{kind}: {missing}"
    assert text.count(packed("(a slider online, ")) == page["sliders"]
    assert packed("Show code cell") not in text


def test_no_sheet_is_empty_by_accident(book):
    for name, sheets in book.ranges.items():
        for sheet in sheets[:-1]:
            drawing = len(book.reader.pages[sheet].get_contents().get_data())
            assert len(book.sheets[sheet]) / 400 + drawing / 60_000 > 1, f"{name}: sheet {sheet + 1}"


def test_links_stay_in_the_book_or_lead_to_the_web(book):
    inside = 0
    for number, sheet in enumerate(book.reader.pages, 1):
        for item in (item.get_object() for item in sheet.get("/Annots", [])):
            if "/Dest" in item:
                assert item["/Dest"][0].get_object()["/Type"] == "/Page"
                inside += 1
            else:
                assert item["/A"]["/URI"].startswith(("http://", "https://")), f"sheet {number}"
    assert inside > 500


def test_the_contents_lead_to_the_chapters(book):
    lines = [item.get_object() for item in book.reader.pages[0]["/Annots"]]
    led = [book.reader.get_page_number(line["/Dest"][0].get_object()) for line in lines]
    assert led == [sheets[0] for sheets in book.ranges.values()]
    assert [str(sheet + 1) in book.sheets[0] for sheet in led] == [True] * len(led)


def test_a_link_to_a_section_of_another_chapter_leads_to_it(book):
    """From a link of the landscape's chapter to the glossary's entry."""
    links = (
        item.get_object() for i in book.ranges["book/landscape"] for item in book.reader.pages[i].get("/Annots", [])
    )
    goals = {
        (book.reader.get_page_number(item["/Dest"][0].get_object()), item["/Dest"][3])
        for item in links
        if "/Dest" in item and item["/Dest"][1] == "/XYZ"
    }
    assert any(packed("saddle\nA critical point") in book.sheets[sheet] for sheet, _ in goals)


def test_the_book_says_what_it_is(book):
    assert book.reader.metadata.title.startswith("Predictive Coding as a Trust-Region Method")
    assert book.reader.metadata.author
    assert book.reader.trailer["/Root"]["/Lang"] == "en"
    assert [text[-len(str(n)) :] for n, text in enumerate(book.sheets, 1)] == [
        str(n) for n in range(1, len(book.sheets) + 1)
    ]
    assert b"file:" not in book.reader.stream.getvalue() if hasattr(book.reader.stream, "getvalue") else True
