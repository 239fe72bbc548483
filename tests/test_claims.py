"""The ledger: complete, without orphans in either direction, and no verdict hangs on the seed."""

import importlib
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from pcbook import claims, reference, verdicts

ROOT = Path(__file__).parent.parent
BOOK = {path.stem: nbformat.read(path, as_version=4).cells for path in (ROOT / "book").glob("*.ipynb")}
SOURCES = {page: "\n".join(cell.source for cell in cells) for page, cells in BOOK.items()}
ROWS = claims.CLAIMS.values()

# What the paper has, and what this book asks and adds: the ids that must have a row.
THEOREMS, FIGURES, EQUATIONS = ("A.3", "A.4"), range(1, 10), range(1, 26)
STATEMENTS, QUESTIONS, ADDITIONS = range(1, 9), range(1, 6), range(1, 5)
NUMBERED = {"E": EQUATIONS, "F": FIGURES, "T": STATEMENTS, "C": QUESTIONS, "B": ADDITIONS}
IDS = {*THEOREMS, "E7′", *(f"{part}{n}" for part, numbers in NUMBERED.items() for n in numbers)}
INTERVAL = re.compile(r"\d(?: %)? \[[-\d.e+]+, [-\d.e+]+\]")
COUNTED = {"T6"}  # verdicts that enumerate: nothing to be unsure of


def verdict_cells():
    """(page, place in it, the id that the cell asks for) of each verdict in a chapter."""
    for page, cells in BOOK.items():
        for i, cell in enumerate(cells):
            for found in re.findall(r'^claims\.verdict\("([^"]+)"\)$', cell.source, re.MULTILINE):
                yield page, i, found


def test_every_part_of_the_paper_has_a_row():
    ids = Counter(one for row in ROWS for one in row.ids)
    assert set(ids.values()) == {1}
    assert {one.partition(" ")[0] for one in ids} == IDS
    assert all(one.partition(" ")[0] in ids for one in ids), "a deep or wide row without a plain one"


def test_sources_name_every_equation_figure_and_theorem_of_the_paper():
    sources = " ".join(row.source for row in ROWS)
    assert set().union(*(reference.equations(row.source) for row in ROWS)) == set(EQUATIONS)
    assert {int(n) for n in re.findall(r"Fig\. (\d)", sources)} == set(FIGURES)
    assert set(re.findall(r"Theorem (A\.\d)", sources)) == set(THEOREMS)
    for row in ROWS:
        own = {int(one[1:].split(" ")[0].rstrip("′")) for one in row.ids if one[0] == "E"}
        assert own <= reference.equations(row.source)


@pytest.mark.parametrize("claim", ROWS, ids=claims.CLAIMS)
def test_row_points_at_what_exists(claim, request):
    module, name = claim.function.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(f"pcbook.{module}"), name))
    file, test = claim.test.split("::")
    collected = pytest.Module.from_parent(request.session, path=ROOT / "tests" / file).collect()
    assert test in {getattr(node, "originalname", node.name) for node in collected}
    assert SOURCES[claim.chapter].count(f"({claim.anchor})=\n") == 1
    assert claim.says.endswith((".", ")")) and claim.part


def test_every_anchor_has_a_row():
    anchors = {(page, found) for page, text in SOURCES.items() for found in re.findall(r"\((claim-[\w-]+)\)=", text)}
    assert anchors == {(row.chapter, row.anchor) for row in ROWS}
    assert len({row.anchor for row in ROWS}) == len(ROWS)


def test_every_verdict_in_a_chapter_has_a_row_and_stands_below_its_anchor():
    asked = Counter()
    for page, i, found in verdict_cells():
        row = claims.row(found)
        asked[row.id] += 1
        above = "\n".join(cell.source for cell in BOOK[page][:i])
        assert page == row.chapter and f"({row.anchor})=" in above
    assert asked == Counter(claims.CLAIMS.keys()), "each once"
    assert not [page for page, text in SOURCES.items() if re.search(r"\bjudge_\w+\(", text)]


def test_every_judge_has_a_row():
    written = {
        (path.stem, name)
        for path in (ROOT / "pcbook").glob("verdicts*.py")
        for name in re.findall(r"^def (judge_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    rows = (ROOT / "pcbook" / "claims.py").read_text(encoding="utf-8")
    named = re.findall(r'later\("(\w+)", "(judge_\w+)"\)', rows) + re.findall(r"\b(verdicts)\.(judge_\w+)", rows)
    assert Counter(named) == Counter(written)


def test_a_row_is_found_by_any_of_its_ids():
    assert claims.row("E9") is claims.row("E8–E10") is claims.CLAIMS["E8–E10"]
    assert claims.row("E22").ids == ("E5", "E6", "E21", "E22", "E23")
    assert claims.row("C2") is not claims.row("C2 deep")


@pytest.mark.slow
@pytest.mark.parametrize("claim", claims.CLAIMS.values(), ids=claims.CLAIMS)
def test_verdict_is_the_same_for_other_seeds(claim):
    found = [claims.verdict(claim.id, seed) for seed in (0, 1, 2, 3)]
    assert {v.outcome for v in found} == {found[0].outcome} <= set(verdicts.OUTCOMES)
    assert len({tuple(v.parts.items()) for v in found}) == 1
    assert all(v.evidence for v in found)
    if found[0].outcome == verdicts.CORRECTED:
        assert f"<{claim.anchor}>`" in SOURCES["errata"], "a correction without an erratum"
    if found[0].outcome not in (verdicts.PROVED, verdicts.CORRECTED) and claim.id not in COUNTED:
        assert all(INTERVAL.search(v.evidence) for v in found), "a measurement without its uncertainty"


def test_no_two_rows_have_the_same_id():
    assert [row.id for row in claims._ROWS] == list(claims.CLAIMS)


def test_measured_verdict_follows_its_parts():
    assert verdicts.measured("", a=True, b=True).outcome == verdicts.REPRODUCED
    assert verdicts.measured("", a=True, b=False).outcome == verdicts.IN_PART
    assert verdicts.measured("", a=False, b=False).outcome == verdicts.NOT_REPRODUCED


def test_measurements_change_with_the_seed():
    assert claims.verdict("F6", 0).evidence != claims.verdict("F6", 1).evidence


def test_a_false_theorem_is_no_verdict(monkeypatch):
    theorem = verdicts.proofs.THEOREMS["flat-minima"]
    monkeypatch.setitem(verdicts.proofs.THEOREMS, "flat-minima", theorem.flipped(0))
    with pytest.raises(verdicts.proofs.ProofError, match="flat-minima"):
        claims.verdict("A.4")


def test_a_verdict_names_its_kernel_and_the_book_links_to_it(monkeypatch):
    monkeypatch.delenv("PCBOOK_STATIC", raising=False)
    box = claims.verdict("E11–E13")._repr_html_()
    assert "Computed by <code>onemlp.equilibrated_energy</code>." in box
    monkeypatch.setenv("PCBOOK_STATIC", "1")
    linked = claims.verdict("E11–E13")._repr_html_()
    assert '<a href="api.html#api-onemlp-equilibrated-energy"><code>onemlp.equilibrated_energy</code></a>' in linked
    assert "href" not in verdicts.Verdict(verdicts.PROVED, "", {}, "experiments.toy.training")._repr_html_()


def test_labels_tell_a_class_from_a_function():
    assert verdicts.label("onemlp.loss") == "api-onemlp-loss"
    assert verdicts.label("trust_region.step") != verdicts.label("trust_region.Step") == "api-trust-region-class-step"
    assert verdicts.label("check") == "api-check"


def test_unknown_claim_is_named():
    with pytest.raises(ValueError, match="F99"):
        claims.verdict("F99")
