"""The built book as one PDF: Chromium prints every page in the order of _toc.yml, pypdf joins them.

Links between pages lead to their places in the PDF; the sheets are numbered; bookmarks follow the headings.
"""

import html
import os
import re
import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, PdfMargins, Playwright
    from pypdf import PdfReader, PdfWriter

Parts = list[tuple[str | None, list[str]]]  # captions, and the pages below them

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL in software, but pages
    *("--disable-gpu-compositing", "--disable-background-networking"),  # without it, which is twice as fast
]
MARGIN: "PdfMargins" = {"top": "20mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
SCALE = 0.75  # 16 pixels on the screen are 9 points on paper
WIDTH = 876  # pixels between the margins of A4, at this scale

# Chromium keeps a place in the PDF for what a link of the same page leads to: so every place others refer to gets one.
PREPARE = """async ids => {
    for (const id of ids.filter(id => document.getElementById(id)))
        document.body.append(Object.assign(document.createElement("a"), { href: "#" + id, hidden: true }));
    await window.MathJax?.startup?.promise;
    dispatchEvent(new Event("beforeprint"));
}"""
DRAWN = """[...document.querySelectorAll(".pc-panel")].every(panel => panel.querySelector(".main-svg"))
    && [...document.querySelectorAll(".bd-article .math")].every(e => e.querySelector("mjx-container"))"""
_PLACE = re.compile(r'href="[^"]*#([^"]+)"')
HEADINGS = """() => [...document.querySelectorAll(".bd-article :is(h1, h2, h3, h4)")].map(heading =>
    [...heading.childNodes].map(e => e.className === "headerlink" ? "" : e.textContent).join("").trim())"""

_FRONT_STYLE = """
body { font-family: sans-serif; line-height: 1.4 }
h1 { margin: 4rem 0 1rem }
h2 { margin: 1.5rem 0 0.5rem; font-size: 1.1rem }
p { display: flex; justify-content: space-between; margin: 0.2rem 0 }
a { color: inherit; text-decoration: none }
"""


def find_chromium(playwright: "Playwright") -> str | None:
    """The browser's path: PCBOOK_CHROMIUM, an installed one, playwright's own, or None."""
    named = os.environ.get("PCBOOK_CHROMIUM")
    candidates = [named] if named else [*map(shutil.which, BROWSERS), playwright.chromium.executable_path]
    return next((path for path in candidates if path and Path(path).exists()), None)


def launch(playwright: "Playwright", path: str) -> "Browser":
    """Headless Chromium at `path`, which refuses to run as root in a sandbox."""
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, "--no-sandbox"] if as_root else FLAGS)


def make(root: str | Path = ROOT) -> Path:
    """Print the book that was built in `root` to _build/pdf/book.pdf, and say where. `ValueError` without Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = find_chromium(playwright)
        if path is None:
            raise ValueError("no Chromium: install one, or name it in PCBOOK_CHROMIUM")
        browser = launch(playwright, path)
        try:
            return write(browser, root)
        finally:
            browser.close()


def write(browser: "Browser", root: str | Path = ROOT) -> Path:
    """The same with a `browser` that runs already. `ValueError` if the book is not built."""
    target = Path(root) / "_build" / "pdf" / "book.pdf"
    target.parent.mkdir(parents=True, exist_ok=True)
    _book(browser, Path(root)).write(target)
    return target


def _book(browser: "Browser", root: Path) -> "PdfWriter":
    import yaml

    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    site, parts = root / "_build" / "html", contents(root)
    files = {name: (site / f"{name}.html").resolve() for _, names in parts for name in names}
    if missing := [str(file) for file in files.values() if not file.exists()]:
        raise ValueError(f"{missing[0]} is not there: build the book first, `jupyter-book build .`")
    places = {unquote(place) for f in files.values() for place in _PLACE.findall(f.read_text(encoding="utf-8"))}
    context = browser.new_context(viewport={"width": WIDTH, "height": 1250}, color_scheme="light", bypass_csp=True)
    page = context.new_page()
    page.emulate_media(media="print")
    titles: dict[str, str] = {}
    chapters = {name: _printed(page, file, config["title"], sorted(places), titles) for name, file in files.items()}
    front = _front(page, config, parts, chapters, files, titles)
    context.close()
    return _joined(front, config, parts, chapters, files, titles)


def contents(root: str | Path = ROOT) -> Parts:
    """[(caption, [page, …]), …] as _toc.yml has them; the first part is the opening page, without a caption."""
    import yaml

    toc = yaml.safe_load((Path(root) / "_toc.yml").read_text(encoding="utf-8"))
    rest = [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in toc.get("parts", [])]
    return [(None, [toc["root"]]), *rest]


def _printed(page: "Page", file: Path, title: str, places: list[str], titles: dict[str, str]) -> "PdfReader":
    """The page `file` on paper. Its headings go into `titles`, since Chromium's outline lacks spaces at line ends."""
    from pypdf import PdfReader

    page.goto(file.as_uri(), wait_until="load")
    page.evaluate(PREPARE, places)
    page.wait_for_function(DRAWN, timeout=60_000)
    page.evaluate('dispatchEvent(new Event("beforeprint"))')  # now that they are drawn, figures add their other frames
    page.wait_for_function(DRAWN, timeout=60_000)
    headings = page.evaluate(HEADINGS)
    titles |= {_packed(heading): " ".join(heading.split()) for heading in headings}
    return PdfReader(BytesIO(_paper(page, f"{title} · {headings[0]}")))


def _packed(text: str) -> str:
    return "".join(text.split())


def _paper(page: "Page", header: str) -> bytes:
    style = "width: 100%; margin: 0 18mm; font: 8px sans-serif; opacity: 0.67; text-align: center"
    return page.pdf(
        format="A4",
        margin=MARGIN,
        scale=SCALE,
        print_background=True,
        outline=True,
        tagged=True,
        display_header_footer=True,
        header_template=f'<div style="{style}">{html.escape(header)}</div>',
        footer_template="<span></span>",
    )


def _front(
    page: "Page",
    config: Mapping[str, Any],
    parts: Parts,
    chapters: Mapping[str, "PdfReader"],
    files: Mapping[str, Path],
    titles: Mapping[str, str],
) -> "PdfReader":
    """Title and contents. Their own sheets count, too, so they are printed twice."""
    from pypdf import PdfReader

    def printed(first: int) -> "PdfReader":
        rows, number = [], first
        for caption, names in parts:
            rows += [f"<h2>{html.escape(caption)}</h2>"] if caption else []
            for name in names:
                title = html.escape(_title(chapters[name].outline[0], titles))
                rows.append(f'<p><a href="{files[name].as_uri()}">{title}</a><span>{number}</span></p>')
                number += len(chapters[name].pages)
        head = f"<h1>{html.escape(config['title'])}</h1><div>{html.escape(config['author'])}</div>"
        page.set_content(f'<html lang="en"><style>{_FRONT_STYLE}</style>{head}{"".join(rows)}')
        return PdfReader(BytesIO(_paper(page, "")))

    return printed(1 + len(printed(1).pages))


def _title(bookmark: Any, titles: Mapping[str, str]) -> str:
    return titles.get(_packed(bookmark.title), bookmark.title)


def _joined(
    front: "PdfReader",
    config: Mapping[str, Any],
    parts: Parts,
    chapters: Mapping[str, "PdfReader"],
    files: Mapping[str, Path],
    titles: Mapping[str, str],
) -> "PdfWriter":
    from pypdf import PdfWriter
    from pypdf.generic import NameObject, TextStringObject

    writer = PdfWriter()
    starts: dict[str | None, int] = {}
    printed: dict[str | None, PdfReader] = {None: front}
    printed.update(chapters)
    for name, reader in printed.items():
        starts[name] = len(writer.pages)
        writer.append(reader, import_outline=False)
    for caption, names in parts:
        parent = writer.add_outline_item(title=caption, page_number=starts[names[0]]) if caption else None
        for name in names:
            _bookmark(writer, chapters[name], starts[name], chapters[name].outline, parent, titles)
    homes = {file.as_uri(): name for name, file in files.items()}
    places = {
        name: {key.removeprefix("/"): place for key, place in reader.named_destinations.items()}
        for name, reader in printed.items()
    }
    for name, reader in printed.items():
        for index, page in enumerate(reader.pages, starts[name]):
            _link(writer, index, page, name, homes, places, starts, printed)
    for number, page in enumerate(writer.pages, 1):
        _number(writer, page, number)
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    writer.root_object[NameObject("/Lang")] = TextStringObject(config["sphinx"]["config"]["language"])
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects()
    return writer


def _bookmark(
    writer: "PdfWriter", reader: Any, start: int, outline: Any, parent: Any, titles: Mapping[str, str]
) -> None:
    """The headings of a page, each list of subheadings below the heading before it."""
    from pypdf.generic import Fit

    above = parent
    for item in outline:
        if isinstance(item, list):
            _bookmark(writer, reader, start, item, above, titles)
        else:
            fit = Fit.xyz(item.left, item.top)
            sheet = start + reader.get_destination_page_number(item)
            above = writer.add_outline_item(title=_title(item, titles), page_number=sheet, parent=parent, fit=fit)


def _link(
    writer: "PdfWriter",
    index: int,
    page: Any,
    name: str | None,
    names: Mapping[str, str],
    places: Mapping[str | None, Any],
    starts: Mapping[str | None, int],
    chapters: Mapping[str | None, Any],
) -> None:
    """Give sheet `index` the links of the printed `page` again: into the book, to the web; others are dropped."""
    from pypdf.annotations import Link
    from pypdf.generic import Fit

    annotations = [item.get_object() for item in page.get("/Annots", [])]
    writer.pages[index].pop("/Annots", None)
    for item in annotations:
        action = item.get("/A", {})
        uri, place = action.get("/URI", ""), item.get("/Dest", action.get("/D"))
        if uri.startswith(("http://", "https://", "mailto:")):
            writer.add_annotation(index, Link(rect=item["/Rect"], url=uri))
            continue
        home, _, fragment = uri.partition("#")
        chapter, fragment = (names.get(home), unquote(fragment)) if uri else (name, str(place).lstrip("/"))
        if chapter is None:
            continue
        target, sheet, fit = places[chapter].get(fragment), starts[chapter], Fit.fit()
        if target is not None:
            sheet, fit = sheet + chapters[chapter].get_destination_page_number(target), Fit.xyz(target.left, target.top)
        writer.add_annotation(index, Link(rect=item["/Rect"], target_page_index=sheet, fit=fit))


def _number(writer: "PdfWriter", page: Any, number: int) -> None:
    """Write the sheet's `number` at its foot, behind what Chromium drew, whose streams stay as they are."""
    from pypdf.generic import ArrayObject, DecodedStreamObject, DictionaryObject, NameObject

    def stream(text: str) -> Any:
        new = DecodedStreamObject()
        new.set_data(text.encode("ascii"))
        return writer._add_object(new)

    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    font = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
    resources = page["/Resources"].get_object()
    resources.setdefault(NameObject("/Font"), DictionaryObject()).get_object()[NameObject("/Number")] = font
    left = float(page.mediabox.width) / 2 - 2.5 * len(str(number))
    digits = f"Q BT /Number 9 Tf 0.33 g {left:.1f} 28 Td ({number}) Tj ET"
    drawn = page["/Contents"].get_object()
    drawn = drawn if isinstance(drawn, ArrayObject) else [page.raw_get("/Contents")]
    page[NameObject("/Contents")] = ArrayObject([stream("q"), *drawn, stream(digits)])
