"""Processes that are killed, and processes that get into each other's way."""

import subprocess
import sys
import time

from benchmarks.faults import book, mirror, small
from benchmarks.faults.drills import environment, expect, kill, python, start, succeeds
from pcbook import records

RUNS, WRITES, DOWNLOADS, BUILDS = 20, 50, 20, 3  # how often each is killed


def killed_during_a_run(folder, rng):
    """SIGKILL at 20 random points of a small sweep, with one job or two, then `--resume`."""
    begin = time.perf_counter()
    succeeds(small.command(folder / "whole"), folder)
    length, hit, kept = time.perf_counter() - begin, 0, 0
    for k in range(RUNS):
        place = folder / str(k)
        place.mkdir()
        process = start(small.command(place, "--jobs", 1 + k % 2), place)
        time.sleep(rng.uniform(0.2, 1) * length)
        hit += kill(process)
        cells = len(list((place / "runs" / "small").rglob("[!.]*.json")))
        said = succeeds(small.command(place, resume=True), place)
        expect(records.same(small.record(place), small.record(folder / "whole")), f"kill {k}: another record")
        expect("damaged" not in said, f"kill {k}: {said}")
        expect(not cells or f"{cells} finished cells" in said, f"kill {k}: {cells} cells were safe, but: {said}")
        kept += cells
    return f"{hit} of {RUNS} runs were still going when killed; all {kept} finished cells were kept, every record equal"


WRITER = """
import itertools, sys
from pcbook import records
a, b = (records.new("times", {"which": k}, {"curve": [k + i / 7 for i in range(20_000)]}) for k in range(2))
records.save(sys.argv[1], a)
print("ready", flush=True)
for record in itertools.cycle([b, a]):
    records.save(sys.argv[1], record)
"""


def killed_during_a_write(folder, rng):
    """SIGKILL at 50 random points of a process that writes one of two records over the other."""
    path, found = folder / "records" / "times.json", set()
    for _ in range(WRITES):
        command = [sys.executable, "-c", WRITER, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(folder)) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
        found.add(records.load(path)["configuration"]["which"])
    stray = len(list(path.parent.glob(".*.part")))
    succeeds(["-m", "pcbook", "verify", "times", "--output", path.parent], folder)
    return f"after {WRITES} kills a whole record was there, {len(found)} versions seen; {stray} stray parts ignored"


def killed_during_a_download(folder, rng):
    """SIGKILL at 20 random points of a slow download; mirrors that stall, cut short, or lie; then a sound one."""
    with mirror.serving(delay=0.02) as slow, mirror.serving() as sound:
        begin = time.perf_counter()
        mirror.fetch(folder / "first", slow)
        length, hit = time.perf_counter() - begin, 0
        for k in range(DOWNLOADS):
            process = mirror.fetching(folder / str(k), slow)
            time.sleep(rng.uniform(0.3, 1) * length)
            hit += kill(process)
            mirror.sound_cache(folder / str(k))
            mirror.fetch(folder / str(k), sound)
    for fault in ("stalls", "cut", "closes", "other"):
        with mirror.serving(fault=fault) as bad, mirror.serving() as sound:
            said = mirror.fails(folder / fault, bad)
            expect(".gz could not be downloaded" in said and "PCBOOK_DATA" in said, f"{fault}: {said}")
            mirror.sound_cache(folder / fault)
            mirror.fetch(folder / fault, bad, sound)
    return f"{hit} of {DOWNLOADS} downloads were killed; the cache never held a damaged file, the next call completed"


def killed_during_a_build(folder, rng):
    """SIGKILL of all its processes at 3 random points of a small book's build, then the build again."""
    begin = time.perf_counter()
    clean = book.built(book.small(folder / "clean"))
    length, hit = time.perf_counter() - begin, 0
    for k in range(BUILDS):
        root = book.small(folder / str(k))
        process = start(book.BUILD, folder, root=root, PYTHONPATH="", PYTHONUTF8="1")
        time.sleep(rng.uniform(0.2, 0.95) * length)
        hit += kill(process, group=True)
        expect(book.built(root) == clean, f"kill {k}: the next build gave other pages than a clean one")
    return f"{hit} of {BUILDS} builds were killed; the next one gave the pages of a clean build"


def two_builds_at_once(folder, rng):
    """Two builds of a small book started at once in one checkout."""
    root = book.small(folder / "book")
    builds = [start(book.BUILD, folder, root=root, PYTHONPATH="", PYTHONUTF8="1") for _ in range(2)]
    codes = [process.wait() for process in builds]
    said = (folder / "output.txt").read_text(encoding="utf-8")
    expect(codes == [0, 0] and "another build is under way" in said, f"exit {codes}: {said[-1500:]}")
    expect(book.html(root) == book.built(book.small(folder / "clean")), "other pages than those of one build")
    return "the second waited for the first and said so; the pages are those of one build"


def two_runs_at_once(folder, rng):
    """A second run of an experiment while the first is under way."""
    first = start(small.command(folder), folder)
    while first.poll() is None and not list((folder / "runs").rglob("*.holder")):
        time.sleep(0.01)
    second = python(small.command(folder), folder)
    expect(first.wait() == 0 and small.record(folder), "the first run failed")
    message = f"'small' is being run already, by process {first.pid}"
    expect(second.returncode == 1 and message in second.stdout, f"the second: {second.stdout}")
    return "the second refused, naming the first's process; the first's record is whole"


def two_downloads_at_once(folder, rng):
    """Two processes that download the same files into one cache."""
    with mirror.serving(delay=0.01) as address:
        codes = [process.wait() for process in [mirror.fetching(folder, address) for _ in range(2)]]
    expect(codes == [0, 0], f"exit {codes}: {(folder / 'output.txt').read_text()[-1500:]}")
    mirror.sound_cache(folder)
    return "both got the right files, and the cache holds whole ones"


DRILLS = (
    killed_during_a_run,
    killed_during_a_write,
    killed_during_a_download,
    killed_during_a_build,
    two_builds_at_once,
    two_runs_at_once,
    two_downloads_at_once,
)
