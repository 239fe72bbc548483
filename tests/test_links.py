"""Every link inside the built book leads somewhere: the page is there, and on it the place."""

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

FILTERS = ("verdict=", "part=", "chapter=", "text=")  # the ledger's chosen rows, which are no place


class Page(HTMLParser):
    """The ids on a page, and what it links to or loads."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {value for name, value in attributes if name == "id" or (tag == "a" and name == "name")}
        self.links |= {found[name] for name in ("href", "src") if found.get(name)}


def broken(folder):
    """Yield "page: link" for each link inside of `folder` that leads to no file, or to no id on its page."""
    theirs = {"_static", "lite"}  # what others wrote: their libraries, and JupyterLite
    files = [path for path in folder.rglob("*.html") if not theirs & set(path.relative_to(folder).parts)]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in files}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            lost = place and target in pages and place not in pages[target].ids and not place.startswith(FILTERS)
            if lost or not target.is_file():
                yield f"{path.relative_to(folder)}: {link}"


@pytest.mark.slow
def test_every_internal_link_leads_somewhere(site):
    assert list(broken(site.resolve())) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">x</a><a href="b.html?q=1">x</a><a href="https://c.d/">x</a>'
    )
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="#there">x</a><img src="c.png"><a href="a.html#">x</a>')
    assert sorted(broken(tmp_path.resolve())) == ["b.html: #there", "b.html: c.png"]
