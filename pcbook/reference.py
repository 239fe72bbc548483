"""The API page's text, as MyST: the functions of a module with their signatures, docstrings and places in the book."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from pcbook import chapters, claims
from pcbook.verdicts import label


def entries(module: str) -> dict[str, Any]:
    """{name: object} of the documented public functions and classes that `pcbook.<module>` defines, in their order."""
    source = importlib.import_module(f"pcbook.{module}" if module else "pcbook")
    found = {}
    for name, item in vars(source).items():
        own = getattr(item, "__module__", "").startswith(source.__name__)
        doc = inspect.getdoc(item) or ""
        written = doc and not doc.startswith(f"{name}(")  # dataclasses write one for themselves
        if own and written and not name.startswith("_") and (inspect.isfunction(item) or inspect.isclass(item)):
            found[name] = item
    return found


def text(module: str, folder: str | Path) -> str:
    """The MyST text of one module: heading, docstring, an entry with a label for each name. `folder` is the book."""
    source = importlib.import_module(f"pcbook.{module}" if module else "pcbook")
    title = f"pcbook.{module}" if module else "pcbook"
    parts = [f"## {escaped(title)}", prose(inspect.getdoc(source))]
    for name, item in entries(module).items():
        full = f"{module}.{name}" if module else name
        parts += [
            f"({label(full)})=\n### {escaped(full)}",
            f"```python\n{name}{signature(item)}\n```",
            prose(inspect.getdoc(item)),
        ]
        parts += [f"- `{n}`: {prose(inspect.getdoc(m))}" for n, m in methods(item)]
        parts.append(places(full, inspect.getdoc(item), folder))
    return "\n\n".join(part for part in parts if part)


def signature(item: Any) -> str:
    """The arguments with their defaults; a class's types by their last name, a function's in its docstring alone."""
    try:
        found = inspect.signature(item)
    except ValueError:  # nothing but what Python itself gives every class
        return "(...)"
    if not inspect.isclass(item):
        plain = [parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()]
        found = found.replace(parameters=plain, return_annotation=found.empty)
    shown = re.sub(r"<[^>]*>|\w*Path\('[^']*'\)", "...", str(found)).removesuffix(" -> None")
    return re.sub(r"\b(?:[a-zA-Z_]\w*\.)+(?=[a-zA-Z_])", "", shown)


def methods(item: Any) -> list[tuple[str, object]]:
    """The documented public methods and properties of a class, as (name, object)."""
    if not inspect.isclass(item):
        return []
    fields = {field.name for field in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else set()
    own = [(name, member) for name, member in vars(item).items() if not name.startswith("_") and name not in fields]
    return [(name, member) for name, member in own if inspect.getdoc(member) and not isinstance(member, str | tuple)]


def places(full: str, doc: str | None, folder: str | Path) -> str:
    """Where the book treats `full`: claims about it or its equations, else the first chapter whose code calls it."""
    treated = [claim for claim in claims.CLAIMS.values() if claim.function == full] + by_equation(full, doc)
    if treated:
        links = {f"[{claim.source}](#{claim.anchor}) in {{doc}}`{claim.chapter}`": None for claim in treated}
        return f"*In the book:* {'; '.join(links)}."
    for slug in chapters.read_all(folder):
        if f"{full}(" in (Path(folder) / f"{slug}.ipynb").read_text(encoding="utf-8"):
            return f"*In the book:* {{doc}}`{slug}`."
    return ""


def by_equation(full: str, doc: str | None) -> list[claims.Claim]:
    """The claims about the equations that a docstring names; where there are several, of the function's own module."""
    wanted, found = equations(doc), []
    for number in sorted(wanted):
        about = [claim for claim in claims.CLAIMS.values() if number in equations(claim.source)]
        close = [claim for claim in about if claim.function.partition(".")[0] == full.partition(".")[0]]
        found += (close or about)[:1]
    return found


def equations(words: str | None) -> set[int]:
    """The numbers in "Eq. 12 with Eq. 1" or "Eqs. 5, 6, 21–23"."""
    numbers = set()
    for listed in re.findall(r"Eqs?\. (\d+(?:(?:, | and |–| to )\d+)*)", words or ""):
        for first, last in re.findall(r"(\d+)(?:(?:–| to )(\d+))?", listed):
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def prose(doc: str | None) -> str:
    """A docstring as MyST: its examples as code, its characters as they stand, its `code` as code."""
    blocks = []
    for block in re.split(r"\n\s*\n", doc or ""):
        code = block.lstrip().startswith(">>>")
        blocks.append(f"```python\n{block}\n```" if code else escaped(block))
    return "\n\n".join(blocks)


def escaped(block: str) -> str:
    parts = re.split(r"(`[^`]+`)", block)
    return "".join(part if i % 2 else re.sub(r"([\\*_\[\]<>$|~#])", r"\\\1", part) for i, part in enumerate(parts))
