"""Data flows one way: who may import whom, and what stays out of the light modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pcbook"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up. A module may import the ones named here, from the package and from outside it.
ALLOWED = {
    "checks": {"numpy"},
    "onemlp": {"checks", "numpy"},
    "theorem": {"sympy"},
    "proofs_deep": {"theorem", "sympy"},
    "proofs_linear": {"theorem", "sympy"},
    "proofs": {"theorem", "sympy"},
    "network": {"checks", "torch"},
    "inference": {"checks", "network", "torch"},
    "linear_theory": {"checks", "network", "torch"},
    "symmetries": {"checks", "network", "torch"},
    "taylor": {"network", "torch"},
    "trust_region": {"checks", "taylor", "numpy"},
    "images": {"checks", "numpy", "pooch"},
    "data": {"checks", "images", "numpy", "sklearn"},
    "chains": {"checks", "numpy"},
    "training": {"checks", "inference", "network", "numpy", "torch"},
    "second_order": {"checks", "network", "torch"},
    "records": set(),
    "sweep": {"checks", "records", "joblib", "tqdm", "filelock", "distributed", "pooch", "threadpoolctl"},
    "intervals": {"checks", "numpy", "scipy"},
    "experiments": {
        "chains",
        "checks",
        "data",
        "images",
        "inference",
        "intervals",
        "network",
        "onemlp",
        "records",
        "second_order",
        "sweep",
        "taylor",
        "training",
        "trust_region",
        "numpy",
        "scipy",
        "torch",
    },
    "pdf": {"playwright", "pypdf", "yaml"},
    "verdicts": {"data", "intervals", "onemlp", "proofs", "experiments", "numpy"},
    "verdicts_linear": {
        "intervals",
        "linear_theory",
        "network",
        "onemlp",
        "proofs_linear",
        "symmetries",
        "verdicts",
        "numpy",
        "torch",
    },
    "verdicts_taylor": {
        "experiments",
        "inference",
        "intervals",
        "network",
        "proofs_deep",
        "taylor",
        "verdicts",
        "numpy",
        "torch",
    },
    "verdicts_inference": {"experiments", "inference", "linear_theory", "network", "verdicts", "torch"},
    "verdicts_chains": {"chains", "experiments", "intervals", "verdicts", "numpy"},
    "verdicts_wide": {"experiments", "intervals", "verdicts", "numpy"},
    "verdicts_optimisers": {"experiments", "intervals", "verdicts", "numpy"},
    "claims": {"verdicts"},
    "page": {"numpy", "plotly", "IPython", "ipywidgets", "anywidget", "markdown_it", "tqdm"},
    "quiz": {"page", "IPython"},
    "chapters": set(),
    "wheels": set(),
    "lite": {"chapters", "wheels", "jupyter_core", "jupyterlite_pyodide_kernel"},
    "cli": {"checks", "experiments", "lite", "pdf", "records", "sweep"},
    "__main__": {"cli"},
    "chapter_map": {"chapters", "page", "IPython"},
    "reference": {"chapters", "claims", "verdicts"},
    "ledger": {"chapters", "claims", "page", "verdicts", "IPython"},
    "figures": {"checks", "numpy", "plotly"},
    "diagram": {"figures", "numpy", "plotly"},
    "controls": {"numpy", "ipywidgets"},
    "sliders": {"page", "controls", "ipywidgets"},
    "explore": {
        "checks",
        "sliders",
        "figures",
        "diagram",
        "chains",
        "onemlp",
        "trust_region",
        "training",
        "experiments",
        "intervals",
        "data",
        "linear_theory",
        "network",
        "inference",
        "taylor",
        "numpy",
        "plotly",
        "torch",
    },
    "exercises": {
        "chains",
        "training",
        "checks",
        "onemlp",
        "trust_region",
        "taylor",
        "network",
        "inference",
        "linear_theory",
        "second_order",
        "symmetries",
        "data",
        "intervals",
        "experiments",
        "numpy",
        "scipy",
        "torch",
    },
    "__init__": {"exercises"},
    "lab": set(),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module != "pcbook" else [f"pcbook.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("pcbook.").split(".")[0] for name in names)


def top(path):
    """The part of the package that a file belongs to: "explore" for pcbook/explore/landscape.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_lies_below_it(path):
    assert top(path) in ALLOWED, f"{path.name}: say in ALLOWED what it may import"
    found = set(imports(path)) - set(sys.stdlib_module_names) - {top(path)}
    assert found <= ALLOWED[top(path)], f"{path.name} imports {found - ALLOWED[top(path)]}"


def test_each_part_imports_only_parts_above_it_in_the_table():
    seen = set()
    for part, names in ALLOWED.items():
        assert names & ALLOWED.keys() <= seen, f"{part} may import {names & ALLOWED.keys() - seen}, which lie below it"
        seen.add(part)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("onemlp", ["torch", "sympy", "plotly", "scipy", "IPython"]),
        ("proofs", ["torch", "numpy", "plotly"]),
        ("data", ["torch", "scipy", "sklearn", "pooch"]),
        ("trust_region", ["torch", "sympy", "plotly"]),
        ("claims", ["torch", "plotly"]),
        ("explore", ["torch"]),
        ("exercises", ["torch", "sympy", "plotly"]),
        ("chapters", ["numpy", "IPython"]),
    ],
)
def test_light_modules_stay_light(module, absent):
    code = f"import sys, pcbook.{module}; print([m for m in {absent!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
