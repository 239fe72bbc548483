"""The command line: `python -m pcbook run | list | show | verify | pdf | lite`."""

import argparse
import io
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from pcbook import experiments, lite, pdf, records, sweep

Record = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0, 1 if something is wrong, 2 for a bad argument, 130 after Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr does with signs that the locale lacks, such as "…"
        sys.stdout.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt as interrupt:
        return _complain("interrupted", interrupt, 130)
    except sweep.Stopped as stopped:
        return _complain(f"error: {stopped}", stopped, 1)
    except (ValueError, OSError) as error:
        return _complain(f"error: {error}", error, 2)


def parser() -> argparse.ArgumentParser:
    """The argument parser of all commands."""
    top = argparse.ArgumentParser(
        "python -m pcbook", description="The recorded experiments, the book as one PDF, and as a site that runs."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        function: Callable[[argparse.Namespace], int],
        about: str,
        output: str = "the folder of the records (default: book/records)",
    ) -> argparse.ArgumentParser:
        new = commands.add_parser(name, help=about, description=about)
        new.set_defaults(command=function)
        new.add_argument("--output", metavar="FOLDER", help=output)
        return new

    run = command("run", _run, "Run an experiment and save its records.")
    run.add_argument("name", metavar="NAME", help="see `list`")
    start = run.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from the finished cells of an interrupted run")
    start.add_argument("--fresh", action="store_true", help="delete the finished cells of an interrupted run")
    run.add_argument("--extend", action="store_true", help="take the cells that are recorded, run the missing ones")
    run.add_argument("--seeds", type=int, metavar="N", help="the seeds 0 … N − 1 instead of the experiment's own")
    run.add_argument(
        "--backend", choices=sweep.BACKENDS, default="loky", help="this machine's cores, or a Dask cluster"
    )
    run.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster, such as tcp://127.0.0.1:8786")
    run.add_argument(
        "--journal", metavar="FOLDER", help="where finished cells wait (default: PCBOOK_RUNS, or the cache)"
    )
    run.add_argument("--accept-other-code", action="store_true", help="take finished cells that other code computed")
    run.add_argument("--dry-run", action="store_true", help="say what would run, how long, and where it would write")

    command("list", _list, "The experiments, whether they are recorded, and what they cost.")
    command("show", _show, "An experiment and its records.").add_argument("name", metavar="NAME", help="see `list`")

    verify = command("verify", _verify, "Check every record's digest, and run drawn cells of it again.")
    verify.add_argument("names", nargs="*", metavar="NAME", help="experiments, or records (default: all)")
    verify.add_argument("--sample", type=int, default=1, metavar="K", help="cells of each record to run again (1)")
    verify.add_argument("--seed", type=int, default=0, metavar="S", help="of the draw (0)")

    about = "Print the built book to _build/pdf/book.pdf; needs Chromium."
    commands.add_parser("pdf", help=about, description=about).set_defaults(command=_pdf)

    about = "Build the site on which the chapters that need no PyTorch run in a browser."
    new = command("lite", _lite, about, "where the site goes (default: lite, in the built book)")
    new.add_argument("--pyodide", metavar="FOLDER", help="an unpacked Pyodide distribution for the site to carry")

    for new in (run, verify):
        new.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
        new.add_argument("--threads-per-job", type=int, default=1, metavar="N", help="threads of each process (1)")
        new.add_argument("--device", choices=sweep.DEVICES, default="cpu")
    return top


def _run(options: argparse.Namespace) -> int:
    experiment = experiments.named(options.name)
    if options.dry_run:
        return _dry_run(experiment, options)
    paths = sweep.run(
        experiment,
        seeds=options.seeds,
        resume=options.resume,
        fresh=options.fresh,
        extend=options.extend,
        jobs=options.jobs,
        threads=options.threads_per_job,
        device=options.device,
        backend=options.backend,
        scheduler=options.scheduler,
        journal=options.journal,
        output=options.output,
        accept_other_code=options.accept_other_code,
    )
    print(*paths, sep="\n")
    return 0


def _dry_run(experiment: sweep.Experiment, options: argparse.Namespace) -> int:
    configuration = sweep.configured(experiment, options.seeds)
    jobs = sweep.cores(options.threads_per_job, options.device) if options.jobs is None else options.jobs
    count, core, wall = sweep.estimate(experiment, configuration, jobs)
    print(f"{experiment.name}: {count} cells; a later stage may add more, depending on their results")
    print(f"cost: {core / 3600:.2g} core-hours, about {sweep.duration(wall)} with --jobs {jobs}")
    print(f"journal: {sweep.journal_root(options.journal) / experiment.name}")
    print(f"records: {sweep.folder_of_records(options.output)}")
    return 0


def _list(options: argparse.Namespace) -> int:
    for name in experiments.EXPERIMENTS:
        experiment = experiments.named(name)
        found = sweep.recorded(experiment, options.output).values()
        state = f"recorded {max(r['created'] for r in found)[:10]}" if found else "not recorded"
        print(f"{name}: {experiment.about}\n    {state}; {_cost(experiment, found)}")
    return 0


def _cost(experiment: sweep.Experiment, found: Collection[Record]) -> str:
    """What the recorded cells cost; without a record, the estimate for the first stage."""
    if not found:
        count, core, _ = sweep.estimate(experiment, experiment.configuration)
        return f"{count} cells or more, about {sweep.duration(core)} on one core"
    seconds = [timing["seconds"] for record in found for timing in record["results"]["timing"]]
    return f"{len(seconds)} cells, {sweep.duration(sum(seconds))} on one core"


def _show(options: argparse.Namespace) -> int:
    experiment = experiments.named(options.name)
    found = sweep.recorded(experiment, options.output)
    print(f"{experiment.name}: {experiment.about}")
    if not found:
        print(f"not recorded; {_cost(experiment, [])}")
    for path, record in found.items():
        print(f"\n{path}")
        print(f"  digest {record['digest']}")
        print(f"  {_cost(experiment, [record])}, created {record['created']}")
        print(f"  wall clock of the whole run: {sweep.duration(record['wall_clock'])}")
        for name in ("configuration", "seeds", "environment", "data"):
            print(f"  {name} {records.text(record[name], '  ')}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    groups, problems = _checked(sweep.folder_of_records(options.output), options.names)
    for name in groups.keys() & experiments.EXPERIMENTS.keys():
        try:
            found = sweep.verify(
                experiments.named(name),
                groups[name],
                sample=options.sample,
                seed=options.seed,
                jobs=options.jobs,
                threads=options.threads_per_job,
                device=options.device,
            )
        except (sweep.Stopped, ValueError, OSError) as error:  # its data are not here, say: on to the next
            found = [f"{name}: the cells could not be run again: {error}"]
        if not found:
            print(f"{name}: complete; {options.sample} drawn cells of each record gave the same again")
        problems += found
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


def _pdf(options: argparse.Namespace) -> int:
    print(pdf.make())
    return 0


def _checked(folder: Path, names: Sequence[str]) -> tuple[dict[str, dict[Path, Record]], list[str]]:
    """({kind: {path: record}}, problems) of the records of these kinds, or of all."""
    groups: dict[str, dict[Path, Record]] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        if names and not any(path.stem == name or path.stem.startswith(f"{name}-") for name in names):
            continue
        try:
            record = records.load(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        if not names or record["kind"] in names:
            groups.setdefault(record["kind"], {})[path] = record
            print(f"{path.name}: schema {record['schema']}, digest {record['digest']}")
    if not problems and (unknown := [name for name in names if name not in groups]):
        there = ", ".join(sorted({repr(path.stem) for path in folder.glob("*.json")}))
        raise ValueError(f"name = {unknown[0]!r}: {folder} has no record of it; the records there: {there}")
    return groups, problems


def _lite(options: argparse.Namespace) -> int:
    output = lite.build(options.output, options.pyodide)
    print(f"{output}\nneeds a web server: python -m http.server --directory {output.parent}")
    print(f"then open http://localhost:8000/{output.name}/")
    return 0


def _complain(message: str, error: BaseException, code: int) -> int:
    print("\n".join([message, *getattr(error, "__notes__", [])]), file=sys.stderr)
    return code
