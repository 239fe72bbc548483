"""The page on notation: what it names in code is there, and real objects have the shapes that it prints."""

import importlib
import inspect
import re

import numpy as np
import pytest
import torch
from conftest import ROOT

from pcbook import inference, linear_theory, network, onemlp
from pcbook.experiments import toy

LINES = (ROOT / "book" / "notation.md").read_text(encoding="utf-8").splitlines()
GRID, BATCH, SIZES = (3, 4), 6, (3, 5, 4, 2)
HIDDEN = sum(SIZES[1:-1])


def one_mlp():
    """Arguments of the 1MLP's functions, by name."""
    rng = np.random.default_rng(0)
    w1, w2, x, y, z, slope = rng.normal(size=(6, *GRID))
    pi1, pi2, gamma = rng.uniform(1, 2, size=(3, *GRID))
    w = np.stack([w1, w2], axis=-1)
    return {
        "w1": w1, "w2": w2, "x": x, "y": y, "z": z, "slope": slope, "pi1": pi1, "pi2": pi2, "gamma": gamma,
        "w": w, "w0": w, "eta": 0.1, "steps": 2, "learning_rate": 0.1, "damping": 2.0, "sigma": 0.5,
        "gradient": np.ones(4), "p": 2.0, "hessian": np.eye(4), "geometry": np.eye(4),
    }  # fmt: skip


def deep():
    """Arguments of the functions of deep networks, by name: a linear network, for which all of them are defined."""
    weights = network.init_weights(SIZES, 0, dtype=torch.float64)
    layers = [torch.full((n,), 2.0, dtype=torch.float64) for n in SIZES[1:]]
    net = network.PCN(weights, "linear", layers, layers)
    x, y = (torch.ones(BATCH, n, dtype=torch.float64) for n in (SIZES[0], SIZES[-1]))
    return {"net": net, "x": x, "y": y, "activities": network.forward(net, x)[:-1]}


def rows():
    """(symbol, [code], shape) of each row that names code, with the arguments for its part of the page."""
    given = one_mlp()
    for line in LINES:
        given = deep() if line.startswith("For deep networks") else given
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if line.startswith("| $") and "`" in cells[3]:
            yield pytest.param(re.findall(r"`([^`]+)`", cells[3]), cells[4], given, id=cells[1])


ROWS = list(rows())


def real(code, given):
    """What the page calls `code`: an argument, an attribute, an expression, or what a function returns for `given`."""
    if not re.fullmatch(r"\w+\.\w+", code) or code.startswith("net."):
        return eval(code, {}, given)
    module, name = code.split(".")
    function = getattr(importlib.import_module(f"pcbook.{module}"), name)
    needed = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    found = function(**{name: given[name] for name in needed})
    return found[:-1] if function is network.forward else getattr(found, "activities", getattr(found, "delta", found))


def fits(thing, shape):
    """Whether `thing`, or for a list each of its layers, has the printed shape."""
    if isinstance(thing, list | tuple):
        return all(np.shape(layer) == printed(shape, l) for l, layer in enumerate(thing, 1))
    return any(np.shape(thing) == printed(shape, l) for l in range(len(SIZES)))


def printed(shape, l):
    """The tuple that "B, n_l" stands for in layer l."""
    lengths = {r"\dots": GRID, "B": (BATCH,), "N": (HIDDEN,), "n": (4,), "2": (2,)}
    lengths |= {"n_l": (SIZES[l],), "n_{l-1}": (SIZES[l - 1],), "n_L": (SIZES[-1],)}
    return sum((lengths[part] for part in shape.split(", ")), ())


@pytest.mark.parametrize(("codes", "shape", "given"), ROWS)
def test_code_is_there_and_has_the_printed_shape(codes, shape, given):
    shapes = re.findall(r"\$\((.*?)\)\$", shape)
    each = zip(shapes) if len(shapes) == len(codes) and ";" not in shape else [shapes] * len(codes)
    for code, own in zip(codes, each, strict=True):
        thing = real(code, given)
        assert not own or any(fits(thing, one) for one in own), code


def test_every_function_that_the_page_names_is_tried():
    named = set(re.findall(r"`(\w+\.\w+)`", "\n".join(LINES)))
    assert named == {code for row in ROWS for code in row.values[0] if re.fullmatch(r"\w+\.\w+", code)}
    assert len(named) > 20


def test_plain_names_are_arguments_of_the_package():
    modules = (onemlp, network, inference, linear_theory, toy)
    functions = [f for module in modules for f in vars(module).values() if inspect.isfunction(f)]
    known = {name for function in functions for name in inspect.signature(function).parameters}
    assert {code for row in ROWS for code in row.values[0] if code.isidentifier()} <= known


def test_what_must_be_positive_is_refused_otherwise():
    given = one_mlp()
    for wrong in (0.0, -1.0):
        with pytest.raises(ValueError, match="pi1"):
            onemlp.equilibrium(*(given[name] for name in ("w1", "w2", "x", "y")), pi1=wrong)
        with pytest.raises(ValueError, match="gamma"):
            onemlp.precisions(wrong)


def test_a_wrong_shape_is_noticed():
    given = deep()
    assert fits(real("taylor.hessian", given), "B, N, N") and not fits(real("taylor.hessian", given), "N, N")
    assert fits(real("net.weights", given), "n_l, n_{l-1}") and not fits(real("net.weights", given), "n_{l-1}, n_l")
