"""The quiz: what reaches the page, and what is refused. Its keyboard is tested in the browser."""

import re

import pytest

from pcbook import page
from pcbook import quiz as module
from pcbook.page import markup
from pcbook.quiz import quiz, to_html

OPTIONS = {"*right* for $a < b$": "Yes: because.", "wrong": "No. That is it."}


@pytest.fixture(params=["static", "live"])
def mode(request, monkeypatch):
    monkeypatch.setattr(page, "is_static", lambda: request.param == "static")
    return request.param


def test_each_option_opens_to_its_answer(mode):
    body = to_html("Which $x_1$ and $x_2$?", OPTIONS)
    assert body.startswith('<fieldset class="pc-quiz"><legend>Which ')
    assert body.count("<details") == body.count("<summary") == 2
    assert ("style=" in body) == (mode == "live")
    assert re.search(r'<details class="pc-yes"><summary[^>]*><em>right</em> for ', body)
    assert re.search(r'<details class="pc-no"><summary[^>]*>wrong</summary><p>No. That is it.</p>', body)
    assert "<script" not in body and "on" not in {part.split("=")[0][:2] for part in body.split(" ")[1:]}


def test_mathematics_is_marked_for_the_page_that_shows_it(mode):
    found = markup("if $a < b_1$ and *$c$*, $b_1$")
    if mode == "static":
        assert found.count('<span class="math notranslate nohighlight">\\(') == 3
        assert "\\(a &lt; b_1\\)" in found
    else:
        assert found == "if $a &lt; b_1$ and <em>$c$</em>, $b_1$"


def test_a_folded_answer_reaches_jupyterlab_typeset(monkeypatch):
    shown = []
    monkeypatch.setattr(page, "is_static", lambda: False)
    monkeypatch.setattr(page, "display", lambda data, raw: shown.append(data["text/html"]))
    page.say("1) $w_1 < *$\n2) more\n\n| a |\n|---|\n| $b$ |", fold="See $z^*$")
    assert "list-style:revert" in shown[0] and "See $z^*$</summary>" in shown[0]
    assert "<li>$w_1 &lt; *$</li>" in shown[0] and "<td>$b$</td>" in shown[0]


def test_it_is_displayed_as_html_and_in_words(mode, monkeypatch):
    shown = []
    monkeypatch.setattr(module, "display", lambda data, raw: shown.append(data))
    quiz("Which?", OPTIONS)
    assert shown == [{"text/html": to_html("Which?", OPTIONS), "text/plain": "Which?"}]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"a": "Yes"},
        {"a": "No", "b": "No"},
        {"a": "Yes", "b": "Yes"},
        {"a": "Yes", "b": "Maybe"},
        {"a": "Yesterday", "b": "No"},
    ],
)
def test_one_option_must_be_right(options):
    with pytest.raises(ValueError, match="one answered with Yes"):
        quiz("Which?", options)
