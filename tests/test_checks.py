"""What every public kernel promises: bad input is refused by name, any form of input gives the same answer."""

import inspect
import itertools
import re

import numpy as np
import pytest
import torch

from pcbook import checks, onemlp

PUBLIC = {
    name: member
    for name, member in vars(onemlp).items()
    if inspect.isfunction(member) and member.__module__ == onemlp.__name__ and not name.startswith("_")
}
# Two values for every numeric argument, one for the others. A function with an argument that is not listed here
# fails the tests below.
NUMBERS = dict(
    w1=(0.5, -1.25), w2=(-0.75, 2.0), x=(1.0, 0.5), y=(-1.0, 1.5), z=(0.5, -0.25), z0=(1.0, 2.0), t=(0.0, 0.5),
    pi1=(1.0, 2.0), pi2=(0.5, 1.0), eta=(0.125, 0.25), sigma=(0.0, 0.5), slope=(-1.0, 2.0), gamma=(0.5, 4.0),
    learning_rate=(0.25, 0.5), damping=(2.0, 3.0),
)  # fmt: skip
POSITIVE = {"gamma", "pi1", "pi2", "eta", "learning_rate", "damping"}
PAIRS = {name: (0.5, -0.75) for name in ("w", "w0", "a", "b", "offset")}
COUNTS = {"steps": 3, "samples": 3}
OTHERS = dict(hessian=np.ones((2, 2)), algorithm="PC", batches=[(1.0, -1.0)] * 2, generator=None)

NOT_REAL = [
    np.nan,
    np.inf,
    [1.0, -np.inf],
    "one",
    "1",
    1j,
    np.array([1j]),
    object(),
    None,
    [[1.0, 2.0], [3.0]],
    10**400,
]
NOT_POSITIVE = [0, -1, 0.0, [1.0, 0.0], [1.0, -1.0]]
NOT_PAIRS = [1.0, [], [1.0], [1.0, 2.0, 3.0], [[1.0], [2.0]]]
NOT_COUNTS = [-1, True, np.True_, 1.5, 2.0, np.float64(3), [3], "3", None]
NOT_HESSIANS = [1.0, [1.0, 2.0], np.eye(3), np.ones((3, 2, 2)), [[1.0, 2.0], [3.0, 4.0]]]
W = np.ones((5, 2))


def names_of(function):
    return list(inspect.signature(function).parameters)


def call(function, **given):
    """The function at valid values of its arguments, but for those given."""
    valid = {name: values[0] for name, values in NUMBERS.items()} | PAIRS | COUNTS | OTHERS
    valid["generator"] = np.random.default_rng(0)
    return function(**{name: given.get(name, valid[name]) for name in names_of(function)})


def refused(function, name):
    """Values that argument `name` must not take; nothing is said about the generator and the iterator of batches."""
    if name in NUMBERS:
        optional = inspect.signature(function).parameters[name].default is None
        bad = [value for value in NOT_REAL if not (optional and value is None)]
        return bad + NOT_POSITIVE * (name in POSITIVE) + [0, [1.0, 0.0]] * (name == "slope")
    if name in PAIRS:
        return NOT_REAL + NOT_PAIRS
    return (
        dict.fromkeys(COUNTS, NOT_COUNTS).get(name)
        or {
            "hessian": NOT_REAL + NOT_HESSIANS,
            "algorithm": ["SGD", "bp", "", None, 1],
            "batches": [None, 3, [3]],
            "generator": [None, 7],
        }[name]
    )


every_function = pytest.mark.parametrize("function", PUBLIC.values(), ids=PUBLIC)


@pytest.mark.parametrize(("function", "name"), [(f, n) for f in PUBLIC for n in names_of(PUBLIC[f])])
def test_bad_input_is_refused_by_name(function, name):
    call(PUBLIC[function])
    for value in refused(PUBLIC[function], name):
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            call(PUBLIC[function], **{name: value})


@every_function
def test_shapes_that_do_not_broadcast_are_refused_by_name(function):
    batch = {"x", "y"} if function is onemlp.update else set()  # their last axis is averaged over
    names = [name for name in names_of(function) if name in NUMBERS.keys() - batch]
    if function in (onemlp.linear_flow, onemlp.linear_descent):
        names = []  # at most one of their arguments broadcasts
    for first, second in itertools.combinations(names, 2):
        with pytest.raises(ValueError, match=rf"\b{first} \(2,.*\b{second} \(3,"):
            call(function, **{first: np.ones((2, 2)), second: np.ones((3, 1))})


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: onemlp.descent("BP", W, [(np.ones((4, 3)), 1.0)], 0.1), r"w1 \(5, 1\), x \(4, 3\)"),
        (lambda: onemlp.descent("BP", W, [(1.0, -1.0), (np.nan, 1.0)], 0.1), r"^x holds nan"),
        (lambda: onemlp.descent("BP", W, [(1.0, "one")], 0.1), r"^y = 'one'"),
        (lambda: onemlp.descent("BP", W, [(1.0, 1.0)], [0.1, 0.2]), r"w0 \(5, 1\), learning_rate \(2, 1\)"),
        (lambda: onemlp.update("TRN", W, 1.0, 1.0, damping=[1.0, 2.0]), r"w1 \(5, 1\).*damping \(2, 1\)"),
        (lambda: onemlp.linear_flow(1.0, np.eye(2), np.ones((3, 2))), r"^offset has shape \(3, 2\)"),
        (lambda: onemlp.linear_descent(3, np.eye(2), [1.0, 1.0], [0.1, 0.2]), r"^learning_rate has shape \(2,\)"),
        (lambda: onemlp.cosine_similarity(np.ones((2, 2)), np.ones((3, 2))), r"a \(2, 2\), b \(3, 2\)"),
    ],
)
def test_shapes_with_rules_of_their_own(act, message):
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("name", [name for name, function in PUBLIC.items() if hasattr(function, "__wrapped__")])
def test_every_number_broadcasts_against_every_other(name):
    """Each numeric argument on an axis of its own: every entry equals the call with plain numbers."""
    function = PUBLIC[name]
    names = [name for name in names_of(function) if name in NUMBERS]
    spread = {name: np.reshape(NUMBERS[name], (2,) + (1,) * k) for k, name in enumerate(reversed(names))}
    result = call(function, **spread)
    if function in (onemlp.euler_inference, onemlp.precisions):
        result = np.moveaxis(result, 0, -1)
    for index in np.ndindex(*(2,) * len(names)):
        plain = call(function, **{name: NUMBERS[name][i] for name, i in zip(names, index, strict=True)})
        assert result.dtype == plain.dtype == np.float64
        np.testing.assert_allclose(result[index], plain, rtol=1e-12, atol=1e-14)


@every_function
def test_every_form_of_input_gives_the_same_answer_and_is_left_alone(function):
    arrays = {name: np.array([1.0, 2.0]) for name in names_of(function) if name in NUMBERS.keys() | PAIRS.keys()}
    if function is onemlp.linear_descent:
        arrays["learning_rate"] = np.array(2.0)
    arrays |= {"hessian": np.array([[1.0, 2.0], [2.0, -1.0]])} if "hessian" in names_of(function) else {}
    for value in arrays.values():
        value.flags.writeable = False
    expected = call(function, **arrays)
    assert expected.dtype == np.float64
    for form in (
        lambda value: value.tolist(),
        lambda value: value.astype(int),
        lambda value: value.astype(np.float32),
        lambda value: np.repeat(value, 2, axis=-1)[..., ::2] if value.ndim else value,
        lambda value: torch.tensor(value.tolist()),
    ):
        assert np.array_equal(call(function, **{name: form(value) for name, value in arrays.items()}), expected)


@every_function
def test_defaults_are_the_papers(function):
    defaults = {
        name: p.default for name, p in inspect.signature(function).parameters.items() if p.default is not p.empty
    }
    assert defaults.items() <= dict(pi1=1.0, pi2=1.0, eta=0.1, damping=2.0, z0=None).items()


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (checks.array, [1.0, np.nan, np.inf], "q holds nan: must be finite"),
        (checks.array, np.inf, "q holds inf: must be finite"),
        (checks.array, "one", "q = 'one': must be a real number or an array of them"),
        (checks.positive, [1.0, -2.0, -3.0], "q holds -2.0: must be > 0"),
        (checks.positive, 0, "q holds 0.0: must be > 0"),
        (checks.nonzero, [1.0, 0.0], "q holds 0: must not be 0"),
        (checks.count, 1.5, "q = 1.5: must be a whole number ≥ 0"),
        (checks.pairs, np.ones((2, 3)), "q has shape (2, 3): the last axis must hold the pair (w1, w2)"),
        (lambda name, value: checks.choice(name, value, ("a", "b")), "c", "q = 'c': must be one of 'a', 'b'"),
    ],
)
def test_messages_name_the_argument_its_value_and_what_is_allowed(check, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check("q", value)


def test_broadcast_lists_the_arguments_that_have_a_shape():
    with pytest.raises(ValueError, match=r"^shapes do not broadcast: q \(2,\), r \(4, 3\)$"):
        checks.broadcast(p=1.0, q=np.ones(2), r=np.ones((4, 3)))
    assert checks.broadcast(p=1.0, q=np.ones((4, 1)), r=np.ones((3,))) is None


def test_valid_values_pass_unchanged():
    for check in (checks.array, checks.positive, checks.nonzero):
        assert check("q", [1, 2]).tolist() == [1.0, 2.0]
        assert check("q", 1).dtype == np.float64
    assert checks.array("q", -1.5) == -1.5
    assert checks.nonzero("q", -1.5) == -1.5
    assert checks.count("q", 0) == 0
    assert checks.count("q", np.int32(3)) == 3
    assert checks.choice("q", "a", ("a", "b")) == "a"
    assert checks.pairs("q", [[1, 2]]).shape == (1, 2)


def test_checked_keeps_the_formula_and_its_documentation():
    @checks.checked(b=checks.nonzero)
    def divide(a, b=2.0, c=None):
        """a / b."""
        return a / b if c is None else c

    assert divide.__doc__ == "a / b."
    assert names_of(divide) == ["a", "b", "c"]
    assert divide(1) == 0.5
    assert divide([2, 4], b=4).tolist() == [0.5, 1.0]
    assert divide(1, c=3) == 3
    assert divide.__wrapped__(np.inf) == np.inf  # the bare formula checks nothing
    with pytest.raises(ValueError, match="^b holds 0"):
        divide(1, 0)
    with pytest.raises(ValueError, match="^a = None|^a holds nan"):
        divide(None)
    with pytest.raises(TypeError):
        divide(1, d=2)
