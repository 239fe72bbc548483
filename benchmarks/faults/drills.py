"""What a drill is, and how one is tried: in a folder and a process of its own, with a recorded outcome."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class NotTried(Exception):
    """This machine cannot run the drill; the message says why."""


def named(function):
    """The name of a drill on the command line."""
    return function.__name__.replace("_", "-")


def attempt(function, seed):
    """The row of a drill `function(folder, rng)`, which returns one sentence, or raises where something was lost."""
    begin = time.perf_counter()
    settings = {"max_workers": 1, "mp_context": multiprocessing.get_context("spawn")}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ProcessPoolExecutor(**settings) as pool:
        try:
            survived, outcome = True, pool.submit(function, Path(folder), random.Random(seed)).result()
        except NotTried as reason:
            survived, outcome = None, f"not tried: {reason}"
        except Exception as error:  # whatever it is, it is the outcome
            survived, outcome = False, f"{type(error).__name__}: {_anywhere(str(error), folder).strip()[-1500:]}"
    how = function.__doc__.strip().splitlines()[0]
    seconds = round(time.perf_counter() - begin, 1)
    row = {"fault": function.__name__.replace("_", " "), "how": how, "survived": survived, "outcome": outcome}
    return row | {"seconds": seconds}


def _anywhere(text, folder):
    """The text without this machine's own places."""
    for place in (folder, ROOT, sys.prefix, tempfile.gettempdir()):
        text = text.replace(str(place), "…")
    return text


def expect(condition, message):
    """`AssertionError` with the message, also under `python -O`."""
    if not condition:
        raise AssertionError(message)


def environment(folder, **more):
    """An environment whose caches, journals and temporary files lie in a drill's folder, without named data."""
    unset = ("CI", "PCBOOK_DATA", "PCBOOK_REQUIRE_DATA", "PCBOOK_RUNS", "PCBOOK_STATIC", "PYTHONUTF8")
    kept = {key: value for key, value in os.environ.items() if key not in unset}
    own = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "PCBOOK_RUNS": str(folder / "runs")}
    return kept | own | {"OMP_NUM_THREADS": "1"} | more


def python(arguments, folder, *, wrapped=(), root=ROOT, timeout=600, **more):
    """The finished process of `python *arguments` in `root`: `.returncode`, and all it said in `.stdout`."""
    command = [*wrapped, sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=root, env=environment(folder, **more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace", timeout=timeout,
    )  # fmt: skip


def succeeds(*arguments, **more):
    """What `python(…)` said; `AssertionError` with it unless it ended well."""
    process = python(*arguments, **more)
    expect(process.returncode == 0, f"exit {process.returncode} of {process.args[-6:]}: {process.stdout[-1200:]}")
    return process.stdout


def start(arguments, folder, *, root=ROOT, **more):
    """A process that is to be killed, in a group of its own; its output goes to a file in `folder`."""
    with open(folder / "output.txt", "a", encoding="utf-8") as output:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=root, env=environment(folder, **more),
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def kill(process, *, group=False):
    """SIGKILL, to the process alone or to all that it started. Whether it was still alive."""
    alive = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
    process.wait()
    return alive


def flipped(content, rng):
    """The bytes with one of them changed, and where."""
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ rng.randrange(1, 256)]) + content[place + 1 :], place
