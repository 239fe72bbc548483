"""What every chapter must have. `python tests/chapter_rules.py book/*.ipynb` prints what is missing."""

import json
import re
import sys
from pathlib import Path

from pcbook import chapters

SLIDER = re.compile(r"\b\w+_explorer\(|\bsliders\.explore\(|\binteract")
FOLD = re.compile(r"^:class: dropdown|\bfold=", re.MULTILINE)
NO_VERBS = {"a", "an", "the", "how", "what", "why", "when", "that", "which", "where"}
NEAR = 3  # cells after a slider, the folded answer among them
QUESTIONS = 3, 4


def gaps(path):
    """Sentences that name what the notebook at `path` lacks of what a chapter must have."""
    try:
        chapter = chapters.read(path)
    except ValueError as error:
        yield str(error)
        return
    if chapter is None:
        yield "no front matter"
        return
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    cells = [cell | {"source": "".join(cell["source"])} for cell in cells]
    yield from _front_matter(chapter, {page.stem for page in Path(path).parent.iterdir()})
    yield from _sliders(cells)
    yield from _exercises(chapter, cells)
    yield from _end(cells)


def _front_matter(chapter, pages):
    if len(chapter.objectives) < 3:
        yield "fewer than three objectives"
    for objective in chapter.objectives:
        if not objective[0].islower() or objective.split()[0] in NO_VERBS:
            yield f"the objective {objective!r} does not begin with a verb after 'you can'"
    if not chapter.prerequisites or not set(chapter.prerequisites) <= pages:
        yield f"prerequisites {chapter.prerequisites}: must link pages of the book"
    if not 10 <= chapter.minutes <= 60:
        yield f"a reading time of {chapter.minutes} minutes"


def _sliders(cells):
    for k, cell in enumerate(cells):
        if cell["cell_type"] == "code" and SLIDER.search(cell["source"]):
            _, _, prompt = cells[k - 1]["source"].partition("Predict first")
            if "?" not in prompt:
                yield f"slider {cell['id']!r}: no prediction with a question in the cell before it"
            after = [c["source"] for c in cells[k + 1 : k + 1 + NEAR]]
            if not any(FOLD.search(text) and "{solution-start}" not in text for text in after):
                yield f"slider {cell['id']!r}: no folded answer in the cells after it"


def _exercises(chapter, cells):
    grades = {exercise.grade for exercise in chapter.exercises}
    if len(chapter.exercises) < 3 or grades != set(chapters.GRADES):
        yield f"{len(chapter.exercises)} exercises, graded {sorted(grades)}: must be three or more, of each grade"
    for exercise in chapter.exercises:
        if not exercise.name.startswith(f"{chapter.slug}-"):
            yield f"exercise {exercise.name}: must begin with the chapter's name"
        if "*To check:*" not in exercise.asks:
            yield f"exercise {exercise.name}: no line that says how to check an answer"
        if ":class: dropdown" not in exercise.solution:
            yield f"exercise {exercise.name}: no folded solution"
        call = re.compile(rf'^check\(\s*"{re.escape(exercise.name)}"', re.MULTILINE)
        run = [c["source"] for c in cells if c["cell_type"] == "code" and c["source"] in exercise.solution]
        if not any(map(call.search, run)):
            yield f"exercise {exercise.name}: no cell of its solution is checked"
    sections = re.split(r"^##+ ", "\n".join(cell["source"] for cell in cells), flags=re.MULTILINE)
    counts = [text.count("```{exercise}") for text in sections]
    if max(counts) > 2 or sum(map(bool, counts)) < 3:
        yield "exercises pile up: must be behind the concepts, in three sections or more and at most two in one"


def _end(cells):
    where = {"quiz": [], "summary": []}
    for k, cell in enumerate(cells):
        if cell["cell_type"] == "code" and re.search(r"^quiz\(", cell["source"], re.MULTILINE):
            where["quiz"].append(k)
        if cell["cell_type"] == "markdown" and re.search(r"^## Summary$", cell["source"], re.MULTILINE):
            where["summary"].append(k)
    if not QUESTIONS[0] <= len(where["quiz"]) <= QUESTIONS[1]:
        yield f"{len(where['quiz'])} questions in the quiz, must be three or four"
    if len(where["summary"]) != 1:
        yield "no summary"
    elif where["quiz"] and where["summary"][0] < where["quiz"][-1]:
        yield "the quiz must come before the summary"
    last = cells[-1]
    if last["cell_type"] != "markdown" or not re.search(r"\{doc\}`", last["source"]):
        yield "no next step: the last cell must link a page"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    found = [f"{path}: {gap}" for path in sys.argv[1:] for gap in gaps(path)]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
