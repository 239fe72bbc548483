"""Small common parts of the runner: JSON values, messages, and the error that stops a run."""

import json
import sys
from typing import Any


class Stopped(RuntimeError):
    """A run that cannot start or go on. The message says why, what is safe, and how to go on."""


def key_of(value: object) -> str:
    """One canonical text for a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def plain(name: str, value: Any) -> Any:
    """The value as it comes back from a JSON file, so that a resumed run sees the same as an uninterrupted one."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds what JSON cannot ({error}): use finite numbers, text, lists, None") from None


def say(message: str) -> None:
    """One line for whoever watches, on stderr."""
    print(message, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them: "40 s", "12 min", "3.2 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
