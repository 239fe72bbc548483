"""What a chapter says about itself: the front matter in its first cell, its exercises and its quiz, read from the file.

The words that the reader sees are the metadata. A chapter is a notebook whose first cell has a heading, the objectives
as a list after "After this chapter you can", and lines that begin with *Prerequisites:*, *Reading time:* and *Needs:*.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GRADES = ("easy", "hard", "open")
_EXERCISE = re.compile(r"^```\{exercise\} *([^\n]*)\n:label: ex-(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Task:
    """An exercise as printed: the name that `check` knows, title, grade, text, and the cells of its solution."""

    name: str
    title: str
    grade: str
    text: str
    solution: str

    @property
    def asks(self) -> str:
        """The line of the text that says what `check` wants."""
        return next((line for line in self.text.splitlines() if f'check("{self.name}"' in line), "")


@dataclass(frozen=True)
class Chapter:
    """Front matter of the notebook `slug`: objectives as verbs, slugs of the chapters it rests on, minutes, device."""

    slug: str
    title: str
    objectives: tuple[str, ...]
    prerequisites: tuple[str, ...]
    minutes: int
    needs: str
    exercises: tuple[Task, ...]
    questions: int


def read(path: str | Path) -> Chapter | None:
    """The `Chapter` in the notebook at `path`, or None if its first cell is no front matter.

    `ValueError` names the file if it is no whole notebook, and what is missing if it has objectives but not all of the
    rest.
    """
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a whole notebook ({error})") from None
    sources = ["".join(cell["source"]) for cell in cells]
    if not cells or "After this chapter you can" not in sources[0]:
        return None
    text = sources[0]

    def find(pattern: str) -> str:
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{path}: the front matter lacks {pattern!r}")
        return found[1]

    rests_on = re.findall(r"\{doc\}`(?:[^`<]*<)?([\w-]+)", find(r"^\*Prerequisites:\* (.+)"))
    return Chapter(
        slug=Path(path).stem,
        title=find(r"^# (.+)"),
        objectives=tuple(re.findall(r"^- (.+?)[;.]?$", text.split("After this chapter you can")[1], re.MULTILINE)),
        prerequisites=tuple(rests_on),
        minutes=int(find(r"^\*Reading time:\* (?:about )?(\d+) minutes")),
        needs=find(r"^\*Needs:\* (.+?)\.?$"),
        exercises=tuple(_tasks(sources)),
        questions=sum(len(re.findall(r"^quiz\(", s, re.MULTILINE)) for s in sources),
    )


def read_all(folder: str | Path = ".") -> dict[str, Chapter]:
    """{slug: `Chapter`} of the notebooks in `folder`, each after those that it rests on."""
    pages = (read(path) for path in sorted(Path(folder).glob("*.ipynb")))
    found = {page.slug: page for page in pages if page}
    return dict(sorted(found.items(), key=lambda item: (level(item[0], found), item[0])))


def level(slug: str, chapters: Mapping[str, Chapter]) -> int:
    """How many chapters, at most, lie one behind the other before `slug`. `ValueError` if they go in a circle."""

    def depth(name: str, seen: Sequence[str]) -> int:
        if name in seen:
            raise ValueError(f"prerequisites go in a circle: {' → '.join([*seen, name])}")
        below = [p for p in chapters[name].prerequisites if p in chapters]
        return max((1 + depth(p, [*seen, name]) for p in below), default=0)

    return depth(slug, [])


def direct(slug: str, chapters: Mapping[str, Chapter]) -> list[str]:
    """The prerequisites of `slug` that no other one of them already rests on."""

    def all_below(name: str) -> set[str]:
        below = {p for p in chapters[name].prerequisites if p in chapters}
        return below.union(*(all_below(p) for p in below))

    below = [p for p in chapters[slug].prerequisites if p in chapters]
    return [p for p in below if not any(p in all_below(q) for q in below)]


def _tasks(sources: Iterable[str]) -> Iterator[Task]:
    text = "\n".join(sources)
    for title, name, body in _EXERCISE.findall(text):
        words, _, grade = title.rpartition(" · ")
        _, _, solution = text.partition(f"{{solution-start}} ex-{name}\n")
        yield Task(name, words, grade, body, solution.partition("{solution-end}")[0])
