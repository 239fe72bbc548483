"""What an exercise expects, which slips it knows by name, and what it replies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Slips that need no knowledge of the exercise: what the reader hears, and what makes the right answer that wrong one.
SLIPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "The sign is turned: which way does it go?": lambda right: -right,
    "You are off by a factor of 2: it is twice what it should be.": lambda right: 2 * right,
    "You are off by a factor of 2: it is half of what it should be.": lambda right: right / 2,
    "It is upside down: take one over it.": lambda right: 1 / right,
    "Is this in per cent? Give the share itself, between 0 and 1.": lambda right: 100 * right,
    "The entries are right, in the wrong order.": lambda right: right[..., ::-1] if right.ndim else right,
    "It is transposed: rows and columns have changed places.": lambda right: right.T,
}


@dataclass(frozen=True)
class Reply:
    """Whether the answer was right, and a sentence. Counts as true if it was."""

    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __str__(self) -> str:
        return f"{'Right.' if self.right else 'Not yet.'} {self.text}"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"**{'✓ Right.' if self.right else '✗ Not yet.'}** {self.text}"


@dataclass(frozen=True)
class Exercise:
    """An exercise with an answer that can be checked.

    `asks` says what an answer is. `expected()` computes the right one with the kernels: a number, an array, or a
    function, which is compared at the points `at` (argument → values, or a function that draws them). Where many
    answers are right, `judge` looks at the answer instead, and returns what is wrong with it, or None. `near` maps
    what the reader of a near miss hears to a function that gives this near miss, and `hints` go from a nudge to a plan.
    """

    asks: str
    hints: tuple[str, ...]
    why: str
    near: dict[str, Callable[[], Any]]
    expected: Callable[[], Any] | None = None
    judge: Callable[[Any], str | None] | None = None
    at: dict[str, Any] | Callable[[], dict[str, Any]] = field(default_factory=dict)
    rtol: float = 1e-2
    atol: float = 1e-9

    def reply(self, answer: object, attempt: int = 0) -> Reply:
        """The `Reply` to `answer`; `attempt` counts the wrong ones before. `ValueError` if it is no answer at all."""
        wrong = self._wrong(answer)
        if wrong is None:
            return Reply(True, self.why)
        return Reply(False, wrong or self.hints[min(attempt, len(self.hints) - 1)])

    def _wrong(self, answer: object) -> str | None:
        """None if the answer is right, the name of the slip if it is a known one, else an empty sentence."""
        if self.judge is not None:
            return self.judge(answer)
        assert self.expected is not None  # where there is no judge
        found, right = self.values(answer), self.values(self.expected())
        if self._same(found, right):
            return None
        for says, miss in self.near.items():
            if self._same(found, self.values(miss())):
                return says
        for says, slip in SLIPS.items():
            with np.errstate(all="ignore"):
                if self._same(found, slip(right)):
                    return says
        if found.shape != right.shape:
            turned = " Rows and columns have changed places." if found.shape == right.T.shape else ""
            return f"It has the shape {found.shape}; asked for is {self.asks}.{turned}"
        return ""

    def _same(self, found: np.ndarray, right: np.ndarray) -> bool:
        return found.shape == right.shape and np.allclose(found, right, rtol=self.rtol, atol=self.atol)

    def values(self, answer: object) -> np.ndarray:
        """The answer as one array; a function's (or a sympy expression's) values at the points of `at`."""
        try:
            if not self.at:
                return _array(answer)
            at = self.at() if callable(self.at) else self.at
            points = zip(*at.values(), strict=True)
            return np.stack([_array(_evaluate(answer, dict(zip(at, p, strict=True)))) for p in points])
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"answer = {answer!r}: must be {self.asks} ({error})") from None


def _evaluate(answer: Any, point: Mapping[str, Any]) -> Any:
    if hasattr(answer, "free_symbols"):  # sympy: symbols count by their names, whatever is assumed about them
        unknown = {symbol.name for symbol in answer.free_symbols} - point.keys()
        if unknown:
            raise ValueError(f"it contains {', '.join(sorted(unknown))}, and may contain {', '.join(point)}")
        return answer.subs({symbol: point[symbol.name] for symbol in answer.free_symbols})
    if not callable(answer):
        raise TypeError("it is not a function")
    with np.errstate(all="ignore"):
        return answer(*point.values())


def _array(value: Any) -> np.ndarray:
    """Numbers, arrays, tensors, sympy numbers and lists of matrices as one finite float64 array."""
    if isinstance(value, list | tuple) and all(map(np.ndim, value)) and len({np.shape(v) for v in value}) > 1:
        value = np.concatenate([np.ravel(v) for v in value])
    if isinstance(value, str | bytes | bool):
        raise TypeError("it is not a number")
    result = np.asarray(value)
    if result.dtype.kind == "c":
        raise TypeError("it is complex")
    if result.dtype == object and result.ndim == 2 and 1 in result.shape:  # a column of sympy's
        result = result.ravel()
    result = result.astype(np.float64)
    if not np.all(np.isfinite(result)):
        raise ValueError("it is not finite")
    return result
