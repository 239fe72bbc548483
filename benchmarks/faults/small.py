"""The deep chains' experiment made small, a few seconds long: `python -m benchmarks.faults.small run small …`."""

import dataclasses
import sys

from pcbook import cli, experiments, records
from pcbook.experiments import deep_chains


def cells(configuration, done):
    """Those of the linear chains that the configuration has caps for."""
    methods = {method for _, method, *_ in configuration.caps}
    found = deep_chains.cells(configuration, done)
    return [cell for cell in found if cell["activation"] == "linear" and cell["method"] in methods]


EXPERIMENT = dataclasses.replace(
    deep_chains.EXPERIMENT,
    name="small",
    about="a small part of the deep chains",
    configuration=deep_chains.Configuration(
        seeds=(0, 1),
        paper_seeds=1,
        depths=(1, 2, 3),
        rates=(0.1, 1.0),
        between=(0.3,),
        caps=(("linear", "PC", 0.0, 1e4, 3000, 3000), ("linear", "BP", 0.0, 1e4, 3000, 3000)),
    ),
    cells=cells,
    record=None,
    check=None,
)


def command(folder, *more, resume=False):
    """Python's arguments for a run of it with its record and journal in `folder`."""
    options = ["--output", folder / "records", "--journal", folder / "runs", *["--resume"] * resume, *more]
    return ["-m", "benchmarks.faults.small", "run", "small", *(() if "--jobs" in more else ("--jobs", 1)), *options]


def record(folder):
    """The record in `folder`, checked."""
    return records.load(folder / "records" / "small.json")


def main():
    experiments.EXPERIMENTS["small"] = "benchmarks.faults.small"
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
