"""The map of the chapters: which rests on which, drawn from their front matter as a picture made of links."""

import html

from IPython.display import HTML, display

from pcbook import chapters
from pcbook.page import is_static

WIDE, HIGH, GAP, RISE = 215, 92, 18, 44  # of a box and between boxes, in the picture's own units
LINK = (  # here, because a live notebook has no style sheet of the book's
    "box-sizing:border-box;height:100%;display:flex;flex-direction:column;justify-content:center;align-items:center;"
    "padding:0 0.75em;border:1px solid;border-radius:8px;text-align:center;font-size:16px;line-height:1.25"
)


def show_map(folder="."):
    """Display the map of the chapters in `folder`, each a link; arrows run from a prerequisite to what rests on it."""
    display(HTML(svg(chapters.read_all(folder))))


def svg(book):
    """The map of `book` ({slug: `Chapter`}, prerequisites first) as inline SVG without script or style sheet."""
    rows = layers(book)
    width = max(len(row) for row in rows) * (WIDE + GAP)
    places = {
        slug: (width / 2 + (i - (len(row) - 1) / 2) * (WIDE + GAP), depth * (HIGH + RISE) + 2)
        for depth, row in enumerate(rows)
        for i, slug in enumerate(row)
    }
    arrows = "".join(
        arrow(places[below], places[slug]) for slug in book for below in sorted(chapters.direct(slug, book))
    )
    boxes = "".join(box(book[slug], place, book) for slug, place in places.items())
    height = len(rows) * (HIGH + RISE) - RISE + 4
    return (
        f'<svg class="pc-map" viewBox="0 0 {width} {height}" style="max-width:100%;width:{width}px;height:auto" '
        'role="group" aria-label="The chapters, each below those that it rests on" font-family="inherit">'
        '<defs><marker id="pc-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
        f'<g fill="none" stroke="currentColor" stroke-opacity="0.6" stroke-width="1.5">{arrows}</g>{boxes}</svg>'
    )


def layers(book):
    """Slugs by level; within a level each stands near the middle of what it rests on, so that arrows rarely cross."""
    rows, at = [], {}
    for depth in range(1 + max(chapters.level(slug, book) for slug in book)):
        row = [slug for slug in book if chapters.level(slug, book) == depth]
        below = {slug: [at[p] for p in chapters.direct(slug, book)] or [0.0] for slug in row}
        middle = {slug: sum(places) / len(places) for slug, places in below.items()}
        row = sorted(row, key=lambda slug, middle=middle: (middle[slug], slug))
        at |= {slug: i - (len(row) - 1) / 2 for i, slug in enumerate(row)}
        rows.append(row)
    return rows


def arrow(start, end):
    (x0, y0), (x1, y1) = (start[0], start[1] + HIGH), (end[0], end[1] - 3)
    bend = 0.6 * min(RISE, y1 - y0)
    curve = f"M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"
    return f'<path marker-end="url(#pc-map-tip)" d="{curve}"/>'


def box(chapter, place, book):
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


def short(title):
    """The title up to its first colon or comma."""
    return title.partition(":")[0].partition(",")[0]
