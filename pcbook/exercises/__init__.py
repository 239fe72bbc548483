"""The exercises of the chapters, and `check`. One module a chapter; right answers are computed by the kernels."""

import difflib
import importlib
import pkgutil
from collections import Counter

from pcbook.exercises.exercise import SLIPS, Exercise, Reply

__all__ = ["SLIPS", "Exercise", "Reply", "check", "every"]

_wrong: Counter[str] = Counter()  # wrong answers in a row to each exercise: the hints grow with them


def every() -> dict[str, Exercise]:
    """All exercises with a checkable answer: name → `Exercise`, "free-energy-steps" for `STEPS` of its module."""
    chapters = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "exercise")
    found: dict[str, Exercise] = {}
    for chapter in chapters:
        module = importlib.import_module(f"pcbook.exercises.{chapter}")
        found |= {f"{chapter}-{topic}".replace("_", "-"): item for topic, item in module.EXERCISES.items()}
    return found


def check(name: str, answer: object) -> Reply:
    """The `Reply` to `answer`: what `pcbook.check` says. It remembers wrong answers, and its hints grow with them."""
    exercises = every()
    if name not in exercises:
        known = difflib.get_close_matches(str(name), exercises, cutoff=0.5) or exercises
        raise ValueError(f"name = {name!r}: must be the name of an exercise, such as {', '.join(known)}")
    reply = exercises[name].reply(answer, _wrong[name])
    _wrong[name] = 0 if reply.right else _wrong[name] + 1
    return reply
