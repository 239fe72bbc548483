"""The API page: every public function is there, its text is its docstring's, and its links lead somewhere."""

import re

import pytest
from conftest import ROOT

from pcbook import claims, reference

PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
MODULES = re.findall(r"^% api: ?(\w*)$", PAGE, re.MULTILINE)
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.ipynb")}


@pytest.mark.parametrize("module", MODULES)
def test_every_entry_has_a_label_a_signature_and_a_place_that_exists(module):
    text = reference.text(module, ROOT / "book")
    found = reference.entries(module)
    assert found
    for name in found:
        full = f"{module}.{name}" if module else name
        assert f"({reference.label(full)})=\n### {reference.escaped(full)}\n\n```python\n{name}(" in text
    for slug in re.findall(r"\{doc\}`([\w-]+)`", text):
        assert slug in SOURCES
    for anchor in re.findall(r"\]\(#([\w-]+)\)", text):
        assert any(f"({anchor})=" in source for source in SOURCES.values())


def test_every_kernel_that_a_claim_names_is_on_the_page():
    named = {claim.function for claim in claims.CLAIMS.values() if not claim.function.startswith("experiments.")}
    shown = {f"{module}.{name}" for module in MODULES for name in reference.entries(module)}
    assert named <= shown


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("ℱ(z), Eq. 12 with the precisions of Eq. 1.", {1, 12}),
        ("Eqs. 5, 6, 21–23", {5, 6, 21, 22, 23}),
        ("Eqs. 7 and 25, as printed", {7, 25}),
        ("Eqs. 8 to 10 are", {8, 9, 10}),
        ("Fig. 2, Section 3", set()),
        (None, set()),
    ],
)
def test_equations_are_read_from_words(words, numbers):
    assert reference.equations(words) == numbers


def test_a_function_links_to_the_chapter_of_its_equation_in_its_own_part_of_the_book():
    text = reference.text("taylor", ROOT / "book")
    step = text.partition("### taylor.inference\\_step")[2].partition("###")[0]
    assert "#claim-e6-deep" in step and "deep-trust-region" in step
    flow = reference.places("onemlp.linear_flow", "Eq. 19", ROOT / "book")
    assert "(#claim-e17)" in flow and "saddle-and-minima" in flow


def test_a_function_without_an_equation_links_to_the_chapter_that_calls_it():
    assert "{doc}`free-energy`" in reference.places("onemlp.contraction", "1 − η", ROOT / "book")
    assert reference.places("onemlp.nothing", "", ROOT / "book") == ""


def test_a_docstring_keeps_its_characters():
    found = reference.prose("z* = [J_1, …] < 1 with `w_1*`.\n\n>>> f(2)\n4")
    assert found == "z\\* = \\[J\\_1, …\\] \\< 1 with `w_1*`.\n\n```python\n>>> f(2)\n4\n```"
    assert "→" not in reference.signature(reference.entries("onemlp")["loss"])
    assert reference.signature(reference.entries("onemlp")["loss"]) == "(w1, w2, x, y)"


@pytest.mark.slow
def test_chapters_and_reference_link_to_each_other(site):
    page, notation = ((site / "book" / f"{name}.html").read_text(encoding="utf-8") for name in ("api", "notation"))
    assert 'href="landscape.html#claim-e11"' in page
    assert 'id="api-onemlp-loss"' in page and 'href="api.html#api-onemlp-loss"' in notation
    assert "% api" not in page
    landscape = (site / "book" / "landscape.html").read_text(encoding="utf-8")
    assert 'href="api.html#api-onemlp-equilibrated-energy"' in landscape
    ledger = (site / "book" / "ledger.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'href="api.html#([\w-]+)"', ledger))
    named = {claim.function for claim in claims.CLAIMS.values() if not claim.function.startswith("experiments.")}
    assert {reference.label(function) for function in named} <= linked


def test_a_default_that_is_a_place_of_this_machine_is_not_named():
    from pcbook import records

    assert reference.signature(records.commit) == "(folder=...)"


@pytest.mark.slow
def test_no_page_names_a_place_of_this_machine(site):
    pages = [*site.glob("*.html"), *site.glob("book/*.html"), site / "searchindex.js"]
    assert not [page.name for page in pages if str(ROOT) in page.read_text(encoding="utf-8")]
