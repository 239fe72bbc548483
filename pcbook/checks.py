"""Argument checks for the kernels: one sentence that names the argument, its value and what is allowed."""

import functools
import inspect

import numpy as np


def array(name, value):
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


def positive(name, value):
    """`value` as a float64 array; `ValueError` unless every entry is finite and > 0."""
    result = array(name, value)
    if not np.all(result > 0):
        raise ValueError(f"{name} holds {_first(result, result <= 0)}: must be > 0")
    return result


def scalar(name, value):
    """`value` as a float; `ValueError` unless it is one finite number > 0."""
    result = positive(name, value)
    if result.ndim:
        raise ValueError(f"{name} has shape {result.shape}: must be one number")
    return float(result)


def nonnegative(name, value):
    """`value` as a float64 array; `ValueError` unless every entry is finite and ≥ 0."""
    result = array(name, value)
    if not np.all(result >= 0):
        raise ValueError(f"{name} holds {_first(result, result < 0)}: must be ≥ 0")
    return result


def nonzero(name, value):
    """`value` as a float64 array; `ValueError` unless every entry is finite and not 0."""
    result = array(name, value)
    if not np.all(result):
        raise ValueError(f"{name} holds 0: must not be 0")
    return result


def count(name, value):
    """`value` as an int; `ValueError` unless it is a whole number ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"{name} = {value!r}: must be a whole number ≥ 0")
    return int(value)


def choice(name, value, allowed):
    """`value` itself; `ValueError` unless it is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} = {value!r}: must be one of {', '.join(map(repr, allowed))}")
    return value


def pairs(name, value):
    """`value` as a float64 array whose last axis has length 2: (w1, w2)."""
    result = array(name, value)
    if result.ndim == 0 or result.shape[-1] != 2:
        raise ValueError(f"{name} has shape {result.shape}: the last axis must hold the pair (w1, w2)")
    return result


def broadcast(**arrays):
    """`ValueError` that names every argument and its shape, unless the shapes broadcast."""
    shapes = {name: np.shape(value) for name, value in arrays.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"shapes do not broadcast: {listed}") from None


def checked(function=None, **rules):
    """Decorator: every argument becomes a finite float64 array, and all of them must broadcast.

    `rules` names a stricter check for an argument, as in `@checked(slope=nonzero)`; `pi1` and `pi2` are
    always positive. A `None` that is an argument's default passes. The bare formula stays at hand as `f.__wrapped__`.
    """
    if function is None:
        return functools.partial(checked, **rules)
    rules = {"pi1": positive, "pi2": positive, **rules}
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        absent = {k for k, v in bound.arguments.items() if v is None is signature.parameters[k].default}
        given = {k: rules.get(k, array)(k, v) for k, v in bound.arguments.items() if k not in absent}
        broadcast(**given)
        return function(**{**bound.arguments, **given})

    return wrapper


def _first(values, bad):
    return values[bad].flat[0]
