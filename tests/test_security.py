"""Nothing that the book reads can run code: no pickles, no evaluation of text, no shells, no download in the clear."""

import ast
import json
import re

import pytest
from conftest import ROOT

MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
CALLS = set(
    [
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "joblib.load",
        "joblib.dump",
        "yaml.load",
        "yaml.unsafe_load",
        "subprocess.getoutput",
        "parse_expr",
        "tempfile.mktemp",
    ]
)
# sympy evaluates strings unless it is strict.
UNLESS = {("torch.load", "weights_only", True), *((f"{m}sympify", "strict", True) for m in ("", "sp.", "sympy."))}
NEVER = {("allow_pickle", True), ("shell", True), ("verify", False), ("trust_repo", True)}
LOOPBACK = ("http://127.0.0.1", "http://localhost")

SOURCES = sorted(path for folder in ("pcbook", "benchmarks", "book/_ext") for path in (ROOT / folder).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def dotted(node):
    """The name of what is called, "torch.load"; of a method of something unnamed, its own."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def offences(source):
    """What in a program could run what it reads, or reads it in the clear."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                yield from (a.name for a in names if a.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module for _ in [0] if module.split(".")[0] in MODULES)
                yield from (f"{module}.{a.name}" for a in names if f"{module}.{a.name}" in CALLS)
            case ast.Call(function, _, keywords):
                name = dotted(function)
                given = {k.arg: k.value.value for k in keywords if isinstance(k.value, ast.Constant)}
                yield from (name for _ in [0] if name in CALLS)
                yield from (name for call, key, value in UNLESS if name == call and given.get(key) is not value)
                yield from (f"{key}={value}" for key, value in NEVER if key in given and given[key] is value)
            case ast.Constant(value=str(text)) if re.match(r"http://\w", text) and not text.startswith(LOOPBACK):
                yield text


def cells(path):
    """The code of a notebook, without IPython's magics."""
    found = [c["source"] for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    return "\n".join(re.sub(r"(?m)^\s*[%!].*$", "", "".join(source)) for source in found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_runs_nothing_that_it_reads(path):
    assert list(offences(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_runs_nothing_that_it_reads(path):
    assert list(offences(cells(path))) == []


@pytest.mark.parametrize("source", [
    "import pickle", "from pickle import loads", "import dill as d", "eval(text)", "yaml.load(text)", "torch.load(f)",
    "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)", "subprocess.run(line, shell=True)",
    "url = 'http://example.org/data'", "from joblib import load", "sympy.sympify(text)",
    "requests.get(u, verify=False)",
])  # fmt: skip
def test_an_offence_is_found(source):
    assert list(offences(source))


@pytest.mark.parametrize("source", [
    "torch.load(f, weights_only=True)", "np.load(f)", "model.eval()", "re.compile(p)", "yaml.safe_load(t)",
    "url = 'https://example.org'", "at = 'http://localhost:8000/'", "subprocess.run(['ls'])",
])  # fmt: skip
def test_what_is_harmless_is_not(source):
    assert not list(offences(source))


def test_every_address_of_data_is_https_and_every_file_has_a_digest():
    from pcbook import images

    for source in images.SOURCES.values():
        assert all(address.startswith("https://") for address in source.mirrors)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for pair in source.digests.values() for digest in pair)
