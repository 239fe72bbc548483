"""Which code a result comes from: digests of all the sources that a function may reach."""

import ast
import functools
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from pcbook import records

PACKAGE = Path(__file__).parent.parent
# The runner and the records do not change what a cell gives, and experiments/__init__.py only names the experiments.
UNCOUNTED = ("pcbook", "pcbook.experiments", "pcbook.records", "pcbook.sweep")


@functools.cache
def fingerprint(module: str) -> dict[str, str | None]:
    """{module: digest of its source} for a module and all of the package that it imports, and the libraries' versions.

    Comments, docstrings, layout and what annotates functions do not count.
    """
    found, todo = {name: records.version(name) for name in ("numpy", "scipy", "torch")}, [module]
    while todo:
        name = todo.pop()
        path = _source(name)
        if path is None and name == module:
            path = Path(str(sys.modules[name].__file__))  # an experiment from outside the package
        if path is None or name in found or name in UNCOUNTED:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        todo += _imports(tree, name if path.name == "__init__.py" else name.rpartition(".")[0])
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            if isinstance(node, ast.FunctionDef):
                node.returns = None
            elif isinstance(node, ast.arg):
                node.annotation = None
        found[name] = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
    return dict(sorted(found.items()))


def changes(code: dict[str, str | None], other: dict[str, str | None]) -> str:
    """The names whose digests differ, in a sentence; empty if none do."""
    return ", ".join(sorted(name for name in code.keys() | other.keys() if code.get(name) != other.get(name)))


def _source(name: str) -> Path | None:
    if name.split(".")[0] != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*name.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
