"""What the project has been put through, in one table: `python -m benchmarks.audit`.

Reads what `benchmarks.faults`, `tests.mutation --record` and `benchmarks.budgets` recorded, and runs the tests of bad
input. Below the table stands every line of it that is not perfect, with why. Exits with 1 if something was lost: a
fault not survived, bad input badly answered, a mutant that lives without a reason, or a record that is damaged.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pcbook import records
from tests import mutation

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
BAD_INPUT = ("tests/test_checks.py", "tests/test_extremes.py", "tests/test_sliders.py", "tests/test_exercises.py")


class Line(NamedTuple):
    """A line of the table. `flaws` says what is not perfect, `lost` whether any of it is a fault of the project's."""

    name: str
    tried: int
    good: int
    flaws: tuple[str, ...] = ()
    lost: bool = False


def recorded(name, folder, command, read):
    """The line that `read` makes of a record's results; a line that says why, if the record is not there or damaged."""
    try:
        return read(name, records.load(folder)["results"])
    except FileNotFoundError:
        return Line(name, 0, 0, (f"not recorded: run `{command}`",))
    except ValueError as error:
        return Line(name, 0, 0, (str(error),), lost=True)


def faults(name, results):
    rows = results["rows"]
    tried = [row for row in rows if row["survived"] is not None]
    good = sum(row["survived"] for row in tried)
    flaws = tuple(f"{row['fault']}: {row['outcome']}" for row in rows if row["survived"] is not True)
    return Line(name, len(tried), good, flaws, lost=good < len(tried))


def mutants(name, results):
    rows, patterns = {row["module"]: row for row in results["rows"]}, mutation.listed()
    good, flaws, lost = sum(row["caught"] for row in rows.values()), [], []
    for module in mutation.MODULES:
        row = rows.get(module)
        if row is None or row["code"] != mutation.code_of(module):
            flaws.append(f"{module}: not recorded" if row is None else f"{module}: has changed since")
            continue
        alive = [mutant for mutant in row["survived"] if not mutation.excused(mutant, patterns)]
        if listed := len(row["survived"]) - len(alive):
            flaws.append(f"{module}: {listed} of {row['run']} listed with a reason")
        if row["run"] < row["of"]:
            flaws.append(f"{module}: {row['run']} of {row['of']} run")
        lost += alive
    flaws += [f"survived: {mutant}" for mutant in lost]
    return Line(name, sum(row["run"] for row in rows.values()), good, tuple(flaws), lost=bool(lost))


def budgets(name, results):
    rows = results["rows"]
    missed = [row for row in rows if not row["met"]]
    flaws = tuple(f"{r['budget']}, {r['name']}: {r['value']:g} of {r['limit']:g} {r['unit']}" for r in missed)
    return Line(name, len(rows), len(rows) - len(missed), flaws)


def bad_inputs(name, files=BAD_INPUT, folder=ROOT):
    """Runs the tests that refuse, and those of numbers at their limits."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *files]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|errors?)", result.stdout)}
    tried, good = sum(counts.values()), counts.get("passed", 0)
    flaws = tuple(re.findall(r"(?m)^(?:FAILED|ERROR) (.*)$", result.stdout))
    return Line(name, tried, good, flaws or (() if tried else ("the tests did not run",)), lost=good < max(tried, 1))


def table(folder=FOLDER, bad=bad_inputs):
    return [
        recorded("faults survived", folder / "faults.json", "python -m benchmarks.faults", faults),
        bad("bad inputs answered with a clear error"),
        recorded("mutants killed", folder / "mutants.json", "python -m tests.mutation --record", mutants),
        recorded("budgets met", folder / "budgets.json", "python -m benchmarks.budgets", budgets),
    ]


def main(line=None, lines=None):
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(line)
    lines = table() if lines is None else lines
    for entry in lines:
        print(f"{entry.good:5} of {entry.tried:5}  {entry.name}")
    for entry in lines:
        for flaw in entry.flaws:
            print(f"  {entry.name}: {flaw}")
    lost = [entry.name for entry in lines if entry.lost]
    print(f"lost: {', '.join(lost)}" if lost else "nothing lost")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
