"""The ledger: every row points at things that exist, and no verdict hangs on the seed."""

import ast
import importlib
from pathlib import Path

import pytest

from pcbook import claims, verdicts

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("claim", claims.CLAIMS.values(), ids=claims.CLAIMS)
def test_row_points_at_what_exists(claim):
    module, name = claim.function.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(f"pcbook.{module}"), name))
    file, test = claim.test.split("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    chapter = (ROOT / "book" / f"{claim.chapter}.ipynb").read_text(encoding="utf-8")
    assert f"({claim.anchor})=" in chapter


@pytest.mark.parametrize("claim", claims.CLAIMS.values(), ids=claims.CLAIMS)
def test_verdict_is_the_same_for_other_seeds(claim):
    found = [claims.verdict(claim.id, seed) for seed in (0, 1, 2, 3)]
    assert {v.outcome for v in found} == {found[0].outcome} <= set(verdicts.OUTCOMES)
    assert len({tuple(v.parts.items()) for v in found}) == 1
    assert all(v.evidence for v in found)


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
