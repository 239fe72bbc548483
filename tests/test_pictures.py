"""What a reader gets from the figures of the built book without the text around them."""

import functools
import html
import json
import re

import pytest
from conftest import ROOT, toc_pages

from pcbook import figures, page, sliders

pytestmark = pytest.mark.slow
each = pytest.mark.parametrize("name", toc_pages())
FIGURE = re.compile(r'<figure class="pc-figure">(.*?)</figure>', re.DOTALL)


@functools.cache
def pictures(path):
    """[(alt text, caption, panels of the opening frame and then of all others)] of a built page."""
    found = []
    for figure in FIGURE.findall(path.read_text(encoding="utf-8")):
        alt = re.search(r'role="group" aria-label="([^"]*)"', figure)[1]
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure, re.DOTALL)[1]
        payload = json.loads(re.search(r'<script type="application/json">(.*?)</script>', figure, re.DOTALL)[1])
        count = len(payload.get("frames", ()))
        shown = [sliders.shown(payload, k) for k in range(count)] or [page.decode(payload["panels"])]
        found.append((html.unescape(alt), caption, shown))
    return found


def text(title):
    return (title or {}).get("text") or ""


@each
def test_words_of_every_figure_say_more_than_its_title(site, name):
    for alt, caption, frames in pictures(site / f"{name}.html"):
        titles = [text(panel["layout"].get("title")) for frame in frames for panel in frame]
        assert all(len(alt) > len(title) for title in titles), alt
        assert all(words.strip().endswith((".", ")", "</strong>")) and " " in words for words in (alt, caption)), alt
        assert alt != caption


@each
def test_every_panel_says_what_it_shows(site, name):
    """A title, and along every axis what it measures, unless its ticks are words."""
    for alt, _, frames in pictures(site / f"{name}.html"):
        for panel in (panel for frame in frames for panel in frame):
            layout = panel["layout"]
            assert text(layout.get("title")) or layout.get("annotations"), alt
            if any(trace["type"] == "surface" for trace in panel["data"]):
                continue
            for letter in "xy":  # a grid of panels may name its axes once
                axes = [layout.get(key, {}) for key in {*layout, f"{letter}axis"} if key.startswith(f"{letter}axis")]
                assert any(text(axis.get("title")) for axis in axes) or not all(
                    _numeric(axis, panel, letter) for axis in axes
                ), f"{letter} of {text(layout.get('title'))!r}"


def _numeric(axis, panel, letter):
    if axis.get("visible") is False:
        return False
    ticks = axis.get("ticktext")
    values = [v for trace in panel["data"] for v in (trace.get(letter) if trace.get(letter) is not None else [])]
    return not (any(isinstance(v, str) for v in values) or any(re.search("[a-z]{3}", t) for t in ticks or ()))


@each
def test_a_series_named_after_an_algorithm_has_its_colour(site, name):
    for _, _, frames in pictures(site / f"{name}.html"):
        for trace in (trace for frame in frames for panel in frame for trace in panel["data"]):
            algorithm = re.match(r"(\w*)(?! and)", trace.get("name") or "")[1]
            if algorithm in figures.COLOURS and trace["type"] == "scatter":
                look = trace.get("line", {}).get("color") or trace.get("marker", {}).get("color")
                assert look == figures.COLOURS[algorithm], trace["name"]


def test_every_image_has_words(site):
    sources = [(site / f"{name}.html").read_text(encoding="utf-8") for name in toc_pages()]
    images = [tag for source in sources for tag in re.findall(r"<img\b[^>]*>", source)]
    assert all(re.search(r'alt="[^"]{3,}"', tag) for tag in images)
    readme = re.findall(r"!\[(.*?)\]\(", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert readme and all(len(words) > 40 for words in readme)
