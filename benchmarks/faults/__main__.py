"""Drills of faults, and what became of the project in each: `python -m benchmarks.faults`.

Prints a table and writes `benchmarks/faults.json`; `--only` runs some, and writes nothing. A drill that this machine
cannot run is "not tried", which is neither survived nor lost.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.faults import files, machine, processes
from benchmarks.faults.drills import attempt, named
from pcbook import records

RECORD = Path(__file__).parent.parent / "faults.json"
DRILLS = {named(drill): drill for part in (processes, files, machine) for drill in part.DRILLS}
MARKS = {True: "survived ", False: "LOST     ", None: "not tried"}


def main(line=None, drills=DRILLS):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=drills, metavar="NAME", help="drills to run; nothing is recorded")
    parser.add_argument("--list", action="store_true", help="the drills' names, and how each goes")
    parser.add_argument("--seed", type=int, default=0, help="of every random point (0)")
    parser.add_argument("--output", type=Path, default=RECORD, help="where the record goes")
    options = parser.parse_args(line)
    if options.list:
        print(*(f"{name}: {drill.__doc__.strip().splitlines()[0]}" for name, drill in drills.items()), sep="\n")
        return []
    begin, rows = time.perf_counter(), []
    for name in options.only or drills:
        rows.append(attempt(drills[name], options.seed))
        row = rows[-1]
        print(f"{MARKS[row['survived']]} {row['seconds']:6.1f} s  {row['fault']}: {row['outcome']}", flush=True)
    print(f"{sum(r['survived'] is True for r in rows)} survived, {sum(r['survived'] is False for r in rows)} lost")
    if not options.only:
        environment = records.describe(("numpy", "torch", "pooch", "filelock", "jupyter-book", "sphinx"))
        spent = round(time.perf_counter() - begin, 1)
        settings = {"environment": environment, "seeds": [options.seed], "wall_clock": spent}
        print(records.save(options.output, records.new("faults", {}, {"rows": rows}, **settings)))
    return rows


if __name__ == "__main__":
    sys.exit(any(row["survived"] is False for row in main()))
