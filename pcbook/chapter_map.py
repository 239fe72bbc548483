"""The map of the chapters: which rests on which, drawn from their front matter as a picture made of links."""

import html
import itertools
from collections.abc import Mapping
from pathlib import Path

from IPython.display import HTML, display

from pcbook import chapters
from pcbook.page import is_static

Book = Mapping[str, chapters.Chapter]
Place = tuple[float, float]  # the middle of a box's top edge, in the picture's own units

WIDE, HIGH, GAP, RISE = 215, 92, 18, 44  # of a box and between boxes, in the picture's own units
LINK = (  # here, because a live notebook has no style sheet of the book's
    "box-sizing:border-box;height:100%;display:flex;flex-direction:column;justify-content:center;align-items:center;"
    "padding:0 0.75em;border:1px solid;border-radius:8px;text-align:center;font-size:16px;line-height:1.25"
)


def show_map(folder: str | Path = ".") -> None:
    """Display the map of the chapters in `folder`, each a link; arrows run from a prerequisite to what rests on it."""
    display(HTML(svg(chapters.read_all(folder))))


def svg(book: Book) -> str:
    """The map of `book` ({slug: `Chapter`}, prerequisites first) as inline SVG without script or style sheet."""
    rows, below = layers(book)
    width = 2 * max(abs(x) + WIDE / 2 * (name in book) for row in rows for name, x in row.items()) + GAP
    places = {name: (width / 2 + x, i * (HIGH + RISE) + 2) for i, row in enumerate(rows) for name, x in row.items()}
    arrows = "".join(arrow(places[p], places[name], name in book) for name in places for p in below[name])
    boxes = "".join(box(chapter, places[slug], book) for slug, chapter in book.items())
    height = len(rows) * (HIGH + RISE) - RISE + 4
    return (
        f'<svg class="pc-map" viewBox="0 0 {width:g} {height}" style="max-width:100%;width:{width:g}px;height:auto" '
        'role="group" aria-label="The chapters, each below those that it rests on" font-family="inherit">'
        '<defs><marker id="pc-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
        f'<g fill="none" stroke="currentColor" stroke-opacity="0.6" stroke-width="1.5">{arrows}</g>{boxes}</svg>'
    )


def layers(book: Book) -> tuple[list[dict[str, float]], dict[str, list[str]]]:
    """The rows of the map, each {name: distance from the middle}, and {name: names that its arrows come from}.

    A name is a slug, or stands for a narrow gap in a row that an arrow passes on its way to a later one. In a row
    each stands near the middle of what it rests on, so that arrows rarely cross.
    """
    depth = {slug: chapters.level(slug, book) for slug in book}
    arrows = {slug: [through(p, slug, depth) for p in chapters.direct(slug, book)] for slug in book}
    ways = [way for found in arrows.values() for way in found]
    below = {slug: [way[-1] for way in found] for slug, found in arrows.items()}
    below |= {gap: [before] for way in ways for before, gap in itertools.pairwise(way)}
    depth |= {gap: depth[way[0]] + i for way in ways for i, gap in enumerate(way)}
    rows: list[dict[str, float]] = []
    at: dict[str, float] = {}
    for level in range(1 + max(depth.values())):
        names = [name for name in depth if depth[name] == level]
        middles = [sum(at[p] for p in below[name]) / max(1, len(below[name])) for name in names]
        row = [name for _, name in sorted(zip(middles, names, strict=True))]
        sizes = [GAP + (WIDE if name in book else 0) for name in row]
        ends = itertools.accumulate(sizes)
        rows.append({name: end - (size + sum(sizes)) / 2 for name, end, size in zip(row, ends, sizes, strict=True)})
        at |= rows[-1]
    return rows, below


def through(start: str, end: str, depth: Mapping[str, int]) -> list[str]:
    """`start` and the gaps that an arrow from it passes in the rows before that of `end`."""
    return [start, *(f"{start} to {end}, row {row}" for row in range(depth[start] + 1, depth[end]))]


def arrow(start: Place, end: Place, arrives: bool) -> str:
    """A curve from under `start` to the top of `end`, with a tip if it arrives there, else on past the row."""
    (x0, y0), (x1, y1) = (start[0], start[1] + HIGH), (end[0], end[1] - 3)
    curve = f"M{x0:g} {y0:g}C{x0:g} {y0 + 0.6 * RISE:g} {x1:g} {y1 - 0.6 * RISE:g} {x1:g} {y1:g}"
    tip, rest = (' marker-end="url(#pc-map-tip)"', "") if arrives else ("", f"V{end[1] + HIGH:g}")
    return f'<path{tip} d="{curve}{rest}"/>'


def box(chapter: chapters.Chapter, place: Place, book: Book) -> str:
    """One chapter: a link with its title, and the minutes that it takes. HTML inside the picture, so it wraps."""
    x, y = place
    rests_on = " and ".join(short(book[p].title) for p in chapters.direct(chapter.slug, book))
    label = f"{chapter.title}. {chapter.minutes} minutes. " + (f"Rests on {rests_on}." if rests_on else "Start here.")
    target = f"{chapter.slug}.{'html' if is_static() else 'ipynb'}"
    return (
        f'<foreignObject x="{x - WIDE / 2:g}" y="{y:g}" width="{WIDE}" height="{HIGH}">'
        f'<a href="{target}" aria-label="{html.escape(label)}" style="{LINK}">{html.escape(short(chapter.title))}'
        f'<span style="font-size:0.875em">{chapter.minutes} min</span></a></foreignObject>'
    )


def short(title: str) -> str:
    """The title up to its first colon or comma."""
    return title.partition(":")[0].partition(",")[0]
