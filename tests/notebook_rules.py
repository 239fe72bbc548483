"""What a committed chapter looks like. `python tests/notebook_rules.py book/*.ipynb` prints what breaks a rule.

With `--fix` it first folds, for JupyterLab, the code that the book does not show.
"""

import re
import sys
from pathlib import Path

import nbformat

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAGS = {"remove-cell", "remove-input", "hide-input", "hide-cell", "remove-output"}
LONGEST = 12  # lines of code in a cell that the reader sees: beyond that it belongs in the package
LONGEST_HIDDEN = 20  # in one that shows its output only

READABLE_ID = re.compile(r"(?=.*[a-z]{3})[a-z0-9]+(-[a-z0-9]+)*")
SENTENCE_END = re.compile(r"(?<!Eq)(?<!Eqs)(?<!Fig)(?<!Figs)(?<!vs)(?<!et al)(?<!e\.g)(?<!i\.e)[.?!][)*]* +[A-Z]")


def problems(path):
    """The rules that the notebook at `path` breaks, as sentences that name the cell."""
    text = Path(path).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        yield f"format {notebook.nbformat}.{notebook.nbformat_minor}, must be 4.5"
        return
    if notebook.metadata != METADATA:
        yield f"notebook metadata {dict(notebook.metadata)}, must be {METADATA}"
    if text != nbformat.writes(notebook) + "\n":
        yield "not written the way nbformat writes it, or a cell id is used twice"
    for cell in notebook.cells:
        yield from (f"cell {cell.id!r}: {problem}" for problem in cell_problems(cell))


def cell_problems(cell):
    if not READABLE_ID.fullmatch(cell.id) or re.fullmatch(r"[0-9a-f]{6,}", cell.id):
        yield "the id must be readable words joined by hyphens"
    if set(cell.metadata) - {"tags", "jupyter"} or set(cell.metadata.get("tags", [])) - TAGS:
        yield f"metadata {dict(cell.metadata)}, must be tags among {sorted(TAGS)}"
    if cell.metadata.get("jupyter", {}) != folded(cell):
        yield f"metadata.jupyter must be {folded(cell)}: the rules' --fix sets it"
    if cell.cell_type == "code":
        if cell.outputs or cell.execution_count is not None:
            yield "has outputs or an execution count"
        lines = [line for line in cell.source.splitlines() if line.strip()]
        longest = LONGEST_HIDDEN if cell.metadata.get("tags") else LONGEST
        if len(lines) > longest:
            yield f"{len(lines)} lines of code, must be at most {longest}"
    else:
        yield from (f"more than one sentence on the line {line!r}" for line in prose(cell.source) if crowded(line))


def folded(cell):
    """The cell's metadata for JupyterLab: code that the book does not show is folded there."""
    hidden = cell.cell_type == "code" and (TAGS - {"remove-output"}) & set(cell.metadata.get("tags", []))
    return {"source_hidden": True} if hidden else {}


def fix(path):
    """Fold in JupyterLab what the book does not show."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    for cell in notebook.cells:
        cell.metadata.pop("jupyter", None)
        cell.metadata.update({"jupyter": folded(cell)} if folded(cell) else {})
    Path(path).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def prose(source):
    """The lines of running text: no fenced code, display math, tables, quotes or headings."""
    for block in re.split(r"```(?!\{).*?```|\$\$.*?\$\$", source, flags=re.DOTALL):
        yield from (line for line in block.splitlines() if not line.startswith(("|", "#", ">", ":", "`")))


def crowded(line):
    return SENTENCE_END.search(re.sub(r"\$[^$]*\$|`[^`]*`", "x", line))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    paths = [argument for argument in sys.argv[1:] if argument != "--fix"]
    if "--fix" in sys.argv:
        for path in paths:
            fix(path)
    found = [f"{path}: {problem}" for path in paths for problem in problems(path)]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
