"""The exercises: right answers, near misses, types, and that chapters and `check` know the same ones."""

import numpy as np
import pytest
import sympy
from conftest import ROOT

import pcbook
from pcbook import chapters, exercises
from pcbook.exercises import SLIPS, Exercise

EVERY = exercises.every()
BOOK = chapters.read_all(ROOT / "book")
named = pytest.mark.parametrize("name", EVERY)


@named
def test_the_right_answer_is_accepted_and_every_near_miss_named(name):
    item = EVERY[name]
    if item.expected:
        assert item.reply(item.expected()).text == item.why
    for says, miss in item.near.items():
        reply = item.reply(miss())
        assert not reply
        assert says == reply.text if item.expected else says in reply.text


@named
def test_an_exercise_has_hints_that_grow_and_a_near_miss(name):
    item = EVERY[name]
    assert item.near and item.asks and item.why
    assert len(item.hints) >= (1 if item.judge else 2)
    assert len(set(item.hints)) == len(item.hints)
    assert (item.judge is None) != (item.expected is None)


def toy(right, **settings):
    return Exercise("an answer", ("First.", "Second."), "Good.", {}, lambda: right, **settings)


@pytest.mark.parametrize(
    ("right", "answer", "word"),
    [
        (3.0, -3.0, "sign"),
        (3.0, 6.0, "factor of 2"),
        (3.0, 1.5, "factor of 2"),
        (3.0, 1 / 3, "upside down"),
        (0.25, 25, "per cent"),
        ([1.0, 5.0], [5.0, 1.0], "order"),
        ([[1.0, 5.0], [2.0, 3.0]], [[1.0, 2.0], [5.0, 3.0]], "transposed"),
        (np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3).T, "transposed"),
        (np.ones((2, 3)), 7 * np.ones((3, 2)), "Rows and columns"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "shape (3,)"),
    ],
)
def test_common_slips_are_named(right, answer, word):
    reply = toy(right).reply(answer)
    assert not reply
    assert word in reply.text
    assert toy(right).reply(right)


def test_a_slip_that_changes_nothing_is_not_named():
    assert toy(0.0).reply(1.0).text == "First."  # −0, 2·0 and 0/2 are all right answers
    assert len(SLIPS) == len(set(SLIPS))


def test_hints_come_one_by_one_and_start_again_after_a_right_answer():
    name, item = "landscape-line", EVERY["landscape-line"]
    heard = [pcbook.check(name, 9.0).text for _ in range(3)]
    assert heard == [item.hints[0], item.hints[1], item.hints[1]]
    assert pcbook.check(name, 1 / np.sqrt(3))
    assert pcbook.check(name, 9.0).text == item.hints[0]
    assert pcbook.check(name, 1 / np.sqrt(3))


def test_a_reply_is_a_sentence_in_print_and_in_a_notebook():
    right, wrong = pcbook.check("saddle-and-minima-twice", 1.5), pcbook.check("saddle-and-minima-twice", 2)
    assert str(right).startswith("Right. ") and str(wrong).startswith("Not yet. That is ρ itself")
    assert "✓ Right." in right._repr_markdown_() and "✗ Not yet." in wrong._repr_markdown_()
    assert pcbook.check("saddle-and-minima-twice", 1.5)


def test_sympy_expressions_are_functions_too():
    w1, w2, x, y = sympy.symbols("w1 w2 x y", real=True)
    pi1, pi2 = sympy.symbols("pi1 pi2", positive=True)
    rest = (pi1 * w1 * x + pi2 * w2 * y) / (pi1 + pi2 * w2**2)
    assert pcbook.check("free-energy-precisions", rest)
    assert "unit precisions" in pcbook.check("free-energy-precisions", rest.subs({pi1: 1, pi2: 1})).text
    a = sympy.Symbol("a")
    assert pcbook.check("which-way-diagonal", sympy.Matrix([-a, 0]))
    assert pcbook.check("saddle-and-minima-twice", sympy.Rational(3, 2))
    with pytest.raises(ValueError, match="contains q, and may contain w1"):
        pcbook.check("free-energy-precisions", sympy.Symbol("q") * w1)


@pytest.mark.parametrize("answer", ["1.5", None, object(), float("nan"), np.inf, True, lambda q: q, [1.0, [2.0]], 1j])
def test_what_is_no_number_is_refused_in_a_sentence(answer):
    with pytest.raises(ValueError, match=r"answer = .*must be one number, \|y/x\|"):
        pcbook.check("saddle-and-minima-twice", answer)


@pytest.mark.parametrize("answer", [3.0, "w2", lambda w2: w2, lambda w2, gamma: "x", lambda w2, gamma: 1 / (w2 - w2)])
def test_what_is_no_function_is_refused_in_a_sentence(answer):
    with pytest.raises(ValueError, match="must be a function of w2 and gamma"):
        pcbook.check("trust-regions-gain", answer)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(
        ValueError, match="name = 'free-energy-setps': must be the name of an exercise, such as free-energy-steps"
    ):
        pcbook.check("free-energy-setps", 1)
    with pytest.raises(ValueError, match="such as .*landscape-line.*which-way-newton"):
        pcbook.check("q", 1)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("free-energy-schedule", [0.5, 0.6], "three step sizes"),
        ("trust-regions-geometry", np.ones((3, 3)), "symmetric 2 × 2"),
        ("trust-regions-hard-case", 1.0, "one step"),
        ("saddle-and-minima-init", np.ones((60, 2)), "50 different starts"),
        ("precision-ratio-dial", -1.0, "must be > 0"),
        ("deep-trust-region-long", [1, 1, 0, 1], "must not be 0"),
        ("deep-linear-networks-rescale", np.ones(2), "two matrices"),
        ("cost-of-inference-valleys", np.ones(3), "three weights and the target"),
        ("deep-chains-choice", (1, 2), "two `record.Setting`s"),
        ("deep-and-wide-networks-even", [1.0, 2.0], "three gains"),
        ("pc-among-the-optimisers-ways", (0.1, 1.0), "two starts"),
    ],
)
def test_judges_refuse_what_is_no_answer(name, answer, words):
    with pytest.raises(ValueError, match=words):
        pcbook.check(name, answer)


@pytest.mark.parametrize("slug", BOOK)
def test_the_chapter_and_the_package_know_the_same_exercises(slug):
    assert {exercise.name for exercise in BOOK[slug].exercises} == {n for n in EVERY if n.startswith(f"{slug}-")}


def test_every_exercise_belongs_to_a_chapter():
    assert EVERY.keys() == {exercise.name for chapter in BOOK.values() for exercise in chapter.exercises}
