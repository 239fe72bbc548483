"""What the chapters say about themselves: read from their first cells, complete, and drawn on the map."""

import json
import re
import xml.etree.ElementTree as ElementTree

import chapter_rules
import pytest
import yaml
from conftest import ROOT

from pcbook import chapter_map, chapters

BOOK = chapters.read_all(ROOT / "book")
PARTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
NUMBERED = [page["file"].removeprefix("book/") for part in PARTS if part.get("numbered") for page in part["chapters"]]
CELLS = [
    "# T: and so on\n\n**After this chapter you can**\n\n- do one thing;\n- do another.\n\n"
    "*Prerequisites:* {doc}`a`, {doc}`words <b>`.\n*Reading time:* about 30 minutes.\n*Needs:* a laptop."
]


def write(path, *cells):
    cells = [{"cell_type": "markdown", "source": source} for source in cells]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return path


@pytest.mark.parametrize("slug", NUMBERED)
def test_every_chapter_has_all_that_a_chapter_must_have(slug):
    assert not list(chapter_rules.gaps(ROOT / "book" / f"{slug}.ipynb"))


def test_no_chapter_rests_on_a_later_one():
    assert set(NUMBERED) == set(BOOK)
    for slug in NUMBERED:
        assert all(NUMBERED.index(p) < NUMBERED.index(slug) for p in BOOK[slug].prerequisites if p in BOOK)


def edit(pattern, replacement):
    """Changes the text of every cell."""

    def change(cells):
        for cell in cells:
            cell["source"] = re.sub(pattern, replacement, "".join(cell["source"]), flags=re.MULTILINE)

    return change


def put_last(heading):
    """Moves the cell with this heading to the end."""
    return lambda cells: cells.append(
        cells.pop(next(k for k, c in enumerate(cells) if "".join(c["source"]).startswith(heading)))
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (edit("After this chapter you can", "Aims"), "no front matter"),
        (edit(r"^- (\w+) ", r"- the \1 of "), "does not begin with a verb"),
        (edit(r"^\*Prerequisites:\* .*", "*Prerequisites:* none."), "prerequisites"),
        (edit(r"^(\*Prerequisites:\*) .*", r"\1 {doc}`nowhere`."), "prerequisites"),
        (edit(r"^\*Reading time:\* .*", ""), "Reading time"),
        (edit(r"^\*Needs:\* .*", ""), "Needs"),
        (edit("Predict first", "Look"), "no prediction"),
        (edit(r"\?$", "."), "no prediction with a question"),
        (edit("^:class: dropdown", ":class: tip"), "no folded answer"),
        (edit("^:class: dropdown", ":class: note"), "no folded solution"),
        (edit(" · open$", " · hard"), "graded"),
        (edit(r"^\*To check:\*", "Check:"), "how to check"),
        (edit(r"^check\(", "print("), "is checked"),
        (edit(r"^##+ ", ""), "pile up"),
        (edit(r"^quiz\(", "print("), "0 questions"),
        (edit("^## Summary", "## The end"), "no summary"),
        (put_last("## Summary"), "no next step"),
        (edit(r"\{doc\}`[^`]*`", "the next chapter"), "no next step"),
    ],
)
def test_the_rules_notice(tmp_path, change, complaint):
    slug = "saddle-and-minima"
    notebook = json.loads((ROOT / "book" / f"{slug}.ipynb").read_text(encoding="utf-8"))
    change(notebook["cells"])
    for page in (ROOT / "book").iterdir():
        (tmp_path / page.name).touch()
    path = tmp_path / f"{slug}.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert any(complaint in gap for gap in chapter_rules.gaps(path))


def test_front_matter_is_read_from_the_words(tmp_path):
    exercise = '```{exercise} Two · hard\n:label: ex-t-two\n\nText.\n*To check:* `check("t-two", a)`.\n```'
    solution = "```{solution-start} ex-t-two\n:class: dropdown\n```"
    path = write(
        tmp_path / "t.ipynb", *CELLS, exercise, solution, 'check("t-two", 2)', "```{solution-end}\n```", "quiz(1)"
    )
    found = chapters.read(path)
    assert (found.slug, found.title, found.minutes, found.needs) == ("t", "T: and so on", 30, "a laptop")
    assert found.objectives == ("do one thing", "do another")
    assert found.prerequisites == ("a", "b")
    task = found.exercises[0]
    assert (task.name, task.title, task.grade) == ("t-two", "Two", "hard")
    assert task.asks == '*To check:* `check("t-two", a)`.'
    assert 'check("t-two", 2)' in task.solution and "quiz" not in task.solution
    assert found.questions == 1


@pytest.mark.parametrize("word", ["Prerequisites", "Reading time", "Needs"])
def test_what_is_missing_is_named(tmp_path, word):
    path = write(tmp_path / "t.ipynb", CELLS[0].replace(f"*{word}:*", "*?:*"))
    with pytest.raises(ValueError, match=word):
        chapters.read(path)


def test_a_page_without_objectives_is_no_chapter(tmp_path):
    assert chapters.read(write(tmp_path / "t.ipynb", "# Index")) is None


def chain(*pairs):
    return {
        slug: chapters.Chapter(slug, slug.title(), ("see",), tuple(below), 20, "a laptop", (), 0)
        for slug, below in pairs
    }


def test_levels_and_direct_prerequisites():
    book = chain(("a", []), ("b", ["a", "notation"]), ("c", ["a", "b"]), ("d", ["a"]))
    assert [chapters.level(slug, book) for slug in book] == [0, 1, 2, 1]
    assert chapters.direct("c", book) == ["b"], "b rests on a already"
    rows, _ = chapter_map.layers(book)
    assert [list(row) for row in rows] == [["a"], ["b", "d"], ["c"]]
    with pytest.raises(ValueError, match="circle: a → b → a"):
        chapters.level("a", chain(("a", ["b"]), ("b", ["a"])))


def test_the_map_links_every_chapter_and_draws_every_direct_prerequisite(monkeypatch):
    monkeypatch.setenv("PCBOOK_STATIC", "1")
    picture = ElementTree.fromstring(chapter_map.svg(BOOK))
    links = {link.get("href"): link for link in picture.iter("a")}
    assert links.keys() == {f"{slug}.html" for slug in BOOK}
    for slug, chapter in BOOK.items():
        label = links[f"{slug}.html"].get("aria-label")
        assert label.startswith(f"{chapter.title}. {chapter.minutes} minutes.")
        assert all(chapter_map.short(BOOK[p].title) in label for p in chapters.direct(slug, BOOK))
    arrows = [path for path in picture.iter("path") if path.get("marker-end")]
    assert len(arrows) == sum(len(chapters.direct(slug, BOOK)) for slug in BOOK)
    for path in arrows:  # downwards: from a prerequisite to what rests on it
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d"))]
        assert numbers[1] < numbers[-1]


def test_an_arrow_to_a_later_row_passes_between_the_boxes():
    book = chain(("a", []), ("b", ["a"]), ("c", ["b"]), ("z", ["a"]), ("d", ["c", "z"]))
    rows, below = chapter_map.layers(book)
    gap = "z to d, row 2"
    assert list(rows[2]) == ["c", gap] and below["d"] == ["c", gap] and below[gap] == ["z"]
    assert abs(rows[2][gap] - rows[2]["c"]) >= chapter_map.WIDE / 2


def test_boxes_do_not_overlap_and_links_follow_the_place(monkeypatch):
    monkeypatch.delenv("PCBOOK_STATIC", raising=False)
    picture = ElementTree.fromstring(chapter_map.svg(BOOK))
    assert {link.get("href") for link in picture.iter("a")} == {f"{slug}.ipynb" for slug in BOOK}
    corners = [(float(r.get("x")), float(r.get("y"))) for r in picture.iter("foreignObject")]
    for i, (x, y) in enumerate(corners):
        assert all(abs(x - u) >= chapter_map.WIDE or abs(y - v) >= chapter_map.HIGH for u, v in corners[:i])


@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.99])
def test_a_truncated_notebook_is_named(tmp_path, keep):
    text = (ROOT / "book" / "landscape.ipynb").read_text(encoding="utf-8").rstrip()
    path = tmp_path / "cut.ipynb"
    path.write_text(text[: int(keep * len(text))], encoding="utf-8")
    with pytest.raises(ValueError, match=r"cut\.ipynb: not a whole notebook"):
        chapters.read_all(tmp_path)
