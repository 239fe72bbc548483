"""Argument checks for the kernels: one sentence that names the argument, its value and what is allowed."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

Result = TypeVar("Result", bound=ArrayLike)


def array(name: str, value: object) -> np.ndarray:
    """`value` as a float64 array; `ValueError` unless every entry is a finite real number."""
    try:
        if np.asarray(value).dtype.kind not in "biufO":  # NumPy would read "1" as 1 and drop imaginary parts
            raise TypeError
        result = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} = {value!r}: must be a real number or an array of them") from None
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{name} holds {_first(result, ~np.isfinite(result))}: must be finite")
    return result


def positive(name: str, value: object) -> np.ndarray:
    """`value` as a float64 array; `ValueError` unless every entry is finite and > 0."""
    result = array(name, value)
    if not np.all(result > 0):
        raise ValueError(f"{name} holds {_first(result, result <= 0)}: must be > 0")
    return result


def scalar(name: str, value: object) -> float:
    """`value` as a float; `ValueError` unless it is one finite number > 0."""
    result = positive(name, value)
    if result.ndim:
        raise ValueError(f"{name} has shape {result.shape}: must be one number")
    return float(result)


def nonnegative(name: str, value: object) -> np.ndarray:
    """`value` as a float64 array; `ValueError` unless every entry is finite and ≥ 0."""
    result = array(name, value)
    if not np.all(result >= 0):
        raise ValueError(f"{name} holds {_first(result, result < 0)}: must be ≥ 0")
    return result


def nonzero(name: str, value: object) -> np.ndarray:
    """`value` as a float64 array; `ValueError` unless every entry is finite and not 0."""
    result = array(name, value)
    if not np.all(result):
        raise ValueError(f"{name} holds 0: must not be 0")
    return result


def count(name: str, value: object) -> int:
    """`value` as an int; `ValueError` unless it is a whole number ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} = {value!r}: must be a whole number ≥ 0")
    return int(value)


def choice(name: str, value: str, allowed: Collection[str]) -> str:
    """`value` itself; `ValueError` unless it is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(map(repr, allowed))}")
    return value


def pairs(name: str, value: object) -> np.ndarray:
    """`value` as a float64 array whose last axis has length 2: (w1, w2)."""
    result = array(name, value)
    if result.ndim == 0 or result.shape[-1] != 2:
        raise ValueError(f"{name} has shape {result.shape}: the last axis must hold the pair (w1, w2)")
    return result


def broadcast(**arrays: ArrayLike) -> None:
    """`ValueError` that names every argument and its shape, unless the shapes broadcast."""
    shapes = {name: np.shape(value) for name, value in arrays.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"shapes do not broadcast: {listed}") from None


@contextlib.contextmanager
def in_range(**arguments: ArrayLike) -> Iterator[None]:
    """`ValueError` that says how large the arguments are, where the arithmetic inside leaves float64's range.

    That is where it overflows or divides by 0. Products too small for float64 count as 0.
    """
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except FloatingPointError:
        raise ValueError(f"{_sizes(arguments)}: too extreme, the result is not finite") from None


def finite(result: Result, **arguments: ArrayLike) -> Result:
    """`result`; `ValueError` that says how large the arguments are, unless it is finite."""
    if not np.all(np.isfinite(result)):
        raise ValueError(f"{_sizes(arguments)}: too extreme, the result is not finite")
    return result


if TYPE_CHECKING:

    class Checked(Protocol):
        """A function behind `checked`: it takes what can become an array, and keeps the bare formula."""

        __name__: str
        __wrapped__: Callable[..., np.ndarray]

        def __call__(self, *args: ArrayLike, **kwargs: ArrayLike | None) -> np.ndarray: ...


@overload
def checked(function: Callable[..., np.ndarray]) -> "Checked": ...
@overload
def checked(**rules: Callable[[str, object], Any]) -> Callable[[Callable[..., np.ndarray]], "Checked"]: ...
def checked(function: Callable[..., np.ndarray] | None = None, **rules: Callable[[str, object], Any]) -> Any:
    """Decorator: every argument becomes a finite float64 array, all of them must broadcast, and nothing may overflow.

    `rules` names a stricter check for an argument, as in `@checked(slope=nonzero)`; `pi1` and `pi2` are
    always positive. A `None` that is an argument's default passes. The bare formula stays at hand as `f.__wrapped__`.
    """
    if function is None:
        return lambda function: checked(function, **rules)
    signature = inspect.signature(function)
    rules = dict.fromkeys(signature.parameters, array) | {"pi1": positive, "pi2": positive} | rules

    @functools.wraps(function)
    def wrapper(*args: ArrayLike, **kwargs: ArrayLike | None) -> np.ndarray:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        absent = {k for k, v in bound.arguments.items() if v is None is signature.parameters[k].default}
        given = {k: rules[k](k, v) for k, v in bound.arguments.items() if k not in absent}
        broadcast(**given)
        with in_range(**given):
            return function(**{**bound.arguments, **given})

    return wrapper


def _sizes(arguments: Mapping[str, ArrayLike]) -> str:
    return ", ".join(f"{name} up to {np.abs(v).max():.3g}" for name, v in arguments.items() if np.size(v))


def _first(values: np.ndarray, bad: np.ndarray) -> Any:
    return values[bad].flat[0]
