"""No result is typed into a chapter: what code can compute reaches the page from code.

A number in running text is taken for a result unless it is part of a formula or a name ("Eq. 12", "N(1, 0.1)"), of a
question, of an exercise, of a line on what the paper says, of the words for a setting ("η = 0.1", "64 inputs"), or of
an exception below. Whole numbers under five count things. Running text is Markdown, and what code says in sentences.
"""

import ast
import re

import nbformat
import pytest
from conftest import ROOT

BOOK = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "book").glob("*.ipynb"))}
EXCEPTIONS = {  # (page, words around numbers): why they may stand
    ("deep-chains", "0.01"): "the loss at which the paper stops",
    ("deep-chains", "as well as 64"): "the batch size",
    ("deep-chains", "first 16 moments"): "eight points of a Gauss rule, by its definition",
    ("cost-of-inference", "500, one for each unit"): "an option of the quiz, from its question",
    ("deep-and-wide-networks", "1.3 times as large"): "the exercise sets it",
    ("pc-among-the-optimisers", "512"): "the largest batch",
}

PLACE = r"(?:A\.)?\d+(?:\.\d+)*"
NAME = re.compile(
    rf"(?:Eqs?\.|Figs?\.|Figures?|Sections?|Appendix|[Tt]heorems?|Definitions?) {PLACE}(?:(?:, | and |–| to ){PLACE})*"
    r"|N\(1, 0\.1\)|\b0\.[15](?= (?:as|is the) )|\b\d?[A-Za-z]+\d\w*|\b1MLPs?|\d+ × \d+|\d+(?:[-–×]\d+)+"
    r"|^ *\d+[.)] "
)
NUMBER = r"[-−]?\d+(?:\.\d+)?"
SEVERAL = rf"(?:{NUMBER}, )*(?:{NUMBER} and )?{NUMBER}"
FOUND = r"(?<!needs )(?<!takes )(?<!in )(?<!by )(?<!about )(?<!only )(?<!after )(?<!\d)"  # before a result
SETTING = re.compile(
    rf"=\s?{NUMBER}(?: %| and {NUMBER}\b)?|\({NUMBER}(?:, {NUMBER})+\)"  # η = 0.1, w = (0.5, 0.3)
    rf"|{FOUND}{SEVERAL} (?:Euler |test )?"
    r"(?:inputs|samples|steps|updates|batches|seeds|starts|draws|runs|images|panels)\b"
    rf"|{SEVERAL} (?:hidden |tanh |ReLU |weight )*(?:units|layers|weights)\b"
    rf"|after {NUMBER} (?:Euler )?(?:steps|updates)"
    rf"|\b(?:[Bb]atch(?:es of)?|a loss (?:of|below)|losses? below|radius|scale|residual of) {SEVERAL}"
    rf"|\b(?:deviation|variance|readings)(?: of)? 0\.1|{NUMBER}(?: at a time|, the batch size)"
    rf"|(?:grid|rates|α) up to {NUMBER}|sizes from {NUMBER} to {NUMBER}"
    r"|95 %(?= (?:confidence )?interval)|bands: 5 to 95 %"
)
TIMES = r" times (?:as|the|its|closer|flatter|lower|higher|larger|smaller|longer|shorter|faster|slower|more|less)\b"
WORD = "(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|fifty|a hundred|a thousand)"
RESULT = re.compile(
    r"\d+\.\d+|\d+e-?\d+|\d+(?=\s?(?:%|°|×|percent|per cent|times|fold|million|billion)|-fold)"
    rf"|\b{WORD}(?=fold|{TIMES}| times,| per cent)|(?<![\d.])(?:[5-9]|\d\d+)(?![\d.]*\d)"
)
ROUNDED = re.compile(r"(?:\\approx|≈|\\simeq)\s*-?\d*[2-9.]\d*\b(?!\s*[+\-(])")
NOT_OURS = re.compile(r"^(?:[>*(]|- )*(?:The paper|Its appendix|Printed|Reading time:|Needs:|Prerequisites:)")


def typed(text):
    """The results that stand in Markdown `text`, each with its line."""
    text = re.sub(r"^```\{exercise\}.*?^```$|^```(?!\{).*?^```$|\$\$.*?\$\$", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        if line.rstrip('*_"').endswith("?") or line.startswith((":", "(", "```")) or NOT_OURS.match(line):
            continue
        words = re.sub(r"\$[^$]*\$|`[^`]*`|\]\([^)]*\)|https?:\S+", " ", line)
        words = NAME.sub(" ", SETTING.sub(" ", words))
        yield from ((found[0], line) for found in RESULT.finditer(words))
        for formula in re.findall(r"\$[^$]*\$", line):
            yield from ((found[0], line) for found in ROUNDED.finditer(formula))


def said(code):
    """What code says: its strings of several words, with a gap for each value that it computes."""
    tree = ast.parse(code)
    mixed = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in mixed for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "$f$" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 2:
            yield node.value


def texts(page):
    """(cell, its running text) of a chapter."""
    for cell in BOOK[page].cells:
        yield from ((cell.id, text) for text in ([cell.source] if cell.cell_type == "markdown" else said(cell.source)))


def findings(page):
    """Yield "cell: number in line" for each result that is typed into a chapter, exceptions apart."""
    allowed = "|".join(rf"\b{re.escape(words)}\b" for name, words in EXCEPTIONS if name == page)
    for cell, text in texts(page):
        words = re.sub(allowed, "", text) if allowed else text
        yield from (f"{cell}: {number} in {line!r}" for number, line in typed(words))


@pytest.mark.parametrize("page", BOOK)
def test_no_result_is_typed_in(page):
    assert list(findings(page)) == []


@pytest.mark.parametrize(("page", "words"), EXCEPTIONS)
def test_every_exception_is_needed(page, words):
    assert list(typed(words)) and any(words in text for _, text in texts(page))


@pytest.mark.parametrize(
    "line",
    [
        "PC is ahead in 41 % of the starts.",
        "The angle is 12°.",
        "PC needs 19 steps, BP fewer.",
        "It is 2.5 times as fast.",
        "It escapes three times faster.",
        "PC is ahead in 41 seeds.",
        "The ratio is $\\rho \\approx 1.62$.",
        "With $\\eta = 0.1$ the error is 0.3 on average.",
        "The two agree to 1e-5.",
        "A tenfold gain.",
        "The paper's PC is better.\nThe gain is 7 %.",
        "```{solution-start} x\n:class: dropdown\n```\nIt is about 0.6.",
    ],
)
def test_a_typed_result_is_found(line):
    assert list(typed(line))


@pytest.mark.parametrize(
    "line",
    [
        "Eqs. 5, 6 and 21 and Theorem A.3 in Section 2.2 are on N(1, 0.1) and 64 inputs.",
        "The paper says: it is 100 times faster.",
        "With η = 0.1 and w = (0.5, 0.3), is 0.3 left?",
        "$x = 0.3$ and `steps = 500` are settings, as are batches of 64 and 10 seeds.",
        "```{exercise} Name · easy\n:label: ex-a\n\nFind an η with 99 % left.\n```",
        "Both are equally far from it, with 95 % intervals.",
    ],
)
def test_a_setting_is_none(line):
    assert not list(typed(line))


def test_what_code_says_is_read_with_gaps_for_what_it_computes():
    code = 'say(f"PC needs {steps:.0f} steps, " "7 more than BP.")\nx = {"a b": 3}'
    assert list(said(code)) == ["PC needs $f$ steps, 7 more than BP."]
    assert [number for number, _ in typed(next(said(code)))] == ["7"]
