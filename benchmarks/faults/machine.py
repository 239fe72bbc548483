"""Machines that are unlike the author's: their clock, network, locale, paths, interpreter, compiler and rights."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.faults import book, small
from benchmarks.faults.drills import ROOT, NotTried, environment, expect, kill, python, start, succeeds
from pcbook import records

QUICK = ("free-energy", "trust-regions")  # chapters that need no PyTorch
LOADER = ["-c", "from pcbook import data; data.mnist()"]
IMPORT_ALL = """
import importlib, pkgutil, pcbook
for module in pkgutil.walk_packages(pcbook.__path__, "pcbook."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""

# The small experiment by a clock that is ten years ahead.
AHEAD = """
import datetime, sys, time
class Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(days=3650)
now = time.time
datetime.datetime, time.time = Ahead, lambda: now() + 3650 * 86400
from benchmarks.faults import small
sys.exit(small.main())
"""


def clock_set_back_in_a_run(folder, rng):
    """A run by a clock ten years ahead, killed, its files dated ahead too; resumed by the right clock."""
    succeeds(small.command(folder / "whole"), folder)
    process = start(["-c", AHEAD, *small.command(folder)[2:]], folder)
    cells = (folder / "runs" / "small").rglob
    while process.poll() is None and len(list(cells("[!.]*.json"))) < 3:
        time.sleep(0.005)
    kill(process)
    later = time.time() + 3650 * 86400
    kept = list(cells("[!.]*.json"))
    for path in kept:
        os.utime(path, (later, later))
    said = succeeds(small.command(folder, resume=True), folder)
    record = small.record(folder)
    expect(f"{len(kept)} finished cells" in said, said)
    expect(records.same(record, small.record(folder / "whole")), "another record than without the fault")
    expect(0 < record["wall_clock"] < 600, f"wall clock {record['wall_clock']} s")
    return f"{len(kept)} cells dated ten years ahead were kept; the record is equal and its duration is right"


def clock_set_back_between_builds(folder, rng):
    """A page edited after the clock was set back by decades, and a file dated ahead, then a warm build."""
    root = book.small(folder / "book")
    book.built(root)
    book.write_page(root, text="Said later, dated earlier.")
    os.utime(root / "book" / "index.ipynb", (0, 0))
    later = time.time() + 3650 * 86400
    os.utime(root / "book" / "second.ipynb", (later, later))
    warm = book.built(root)
    expect("Said later, dated earlier." in warm["index"], "the page is stale: its edit was not noticed")
    expect(warm == book.built(sources_of(root, folder / "clean")), "other pages than those of a clean build")
    return "the warm build noticed the edit by its content; its pages are those of a clean build"


def sources_of(root, target):
    """The sources of a small book, elsewhere and never built."""
    return shutil.copytree(root, target, ignore=shutil.ignore_patterns("_build"))


def no_network(folder, rng):
    """A network namespace with nothing but the loopback: imports, command line, tests, chapters, loader."""
    offline = ("unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if subprocess.run([*offline, "true"], capture_output=True).returncode:
        raise NotTried("no right to make a network namespace here")
    run = {"folder": folder, "wrapped": offline}
    succeeds(["-c", IMPORT_ALL], **run)
    succeeds(["-m", "pcbook", "verify", "--sample", 0], **run)
    succeeds(["-m", "pytest", "-q", "-n", 0, "-p", "no:cacheprovider", "tests/test_checks.py"], **run)
    for chapter in QUICK:
        command = ["-m", "jupyter", "execute", ROOT / "book" / f"{chapter}.ipynb"]
        succeeds(command, **run, IPYTHONDIR=str(folder / "ipython"), PCBOOK_STATIC="1")
    refused(python(LOADER, **run), "FileNotFoundError", "could not be downloaded", "PCBOOK_DATA", "npm package")
    return f"imports, verify, tests and the chapters {', '.join(QUICK)} ran; the loader said how to get the files"


def refused(process, *parts):
    """`AssertionError` unless the process failed and its last line says all of this."""
    last = process.stdout.strip().splitlines()[-1]
    expect(process.returncode and all(part in last for part in parts), f"exit {process.returncode}: {last}")


def locale_that_is_not_utf8(folder, rng):
    """LC_ALL=C without UTF-8 mode: imports, every command, a run, a build of a small book."""
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    speak_everywhere(folder, ROOT, **ascii)
    root = book.small(folder / "book")
    book.write_page(root, text="Größe γ₁ … ½‖·‖²")
    expect("Größe γ₁ … ½‖·‖²" in book.built(root, **ascii)["index"], "the page lost its letters")
    return "imports, list, show, verify and a run worked, the record is equal; the page shows every letter"


def speak_everywhere(folder, root, **more):
    """Imports, list, show, verify, and a run whose record is that of a run from here."""
    for arguments in (["-c", IMPORT_ALL], *(["-m", "pcbook", *words] for words in COMMANDS)):
        succeeds(arguments, folder, root=root, **more)
    place = folder / "resultats"
    succeeds(small.command(place), folder, root=root, **more)
    succeeds(small.command(folder / "whole"), folder)
    expect(records.same(small.record(place), small.record(folder / "whole")), "another record than elsewhere")


COMMANDS = (["list"], ["show", "deep-wide"], ["verify", "--sample", "0"], ["run", "--help"])


def path_with_spaces_and_letters(folder, rng):
    """Checkout, data, journal, record and small book in "ein Büch – 本 1": commands, a run, tests, a build."""
    odd = folder / "ein Büch – 本 1"
    root = shutil.copytree(ROOT, odd / "check out", ignore=shutil.ignore_patterns("_build", ".git", "__pycache__"))
    own = {"PYTHONPATH": str(root), "TMPDIR": str(odd)}
    speak_everywhere(odd, root, **own)
    if named := os.environ.get("PCBOOK_DATA"):
        (odd / "données").symlink_to(named)
        own["PCBOOK_DATA"] = str(odd / "données")
    tests = [f"tests/test_{name}.py" for name in ("cli", "records", "data")]
    succeeds(["-m", "pytest", "-q", "-n", 0, "-p", "no:cacheprovider", *tests], odd, root=root, **own)
    expect("energy" in book.built(book.small(odd / "book"))["second"], "the page lacks its output")
    return "commands, a run, the tests of command line, records and data, and a build all worked there"


# What needs no PyTorch: these tests, the examples in these modules, and the proofs.
LIGHT = ("tests/test_trust_region.py", "tests/test_records.py", "tests/test_data.py", "tests/test_toy.py")
EXAMPLES = ("onemlp", "proofs", "theorem", "checks", "intervals", "images", "data", "records")
PROVE = """
import sys
import pcbook.claims, pcbook.chapters, pcbook.exercises, pcbook.proofs_deep, pcbook.proofs_linear
from pcbook import proofs
for theorem in proofs.THEOREMS.values():
    theorem.prove()
assert "torch" not in sys.modules
"""
NEEDED = ("numpy", "scipy", "sympy", "scikit-learn", "pooch", "filelock", "hypothesis", "pytest", "pyyaml")


def python_3_12(folder, rng):
    """The part without PyTorch in an environment of Python 3.12: imports, proofs, examples, tests."""
    return _other_python("3.12", folder)


def python_3_13(folder, rng):
    """The part without PyTorch in an environment of Python 3.13: imports, proofs, examples, tests."""
    return _other_python("3.13", folder)


def _other_python(version, folder):
    pins = [line.split(" #")[0] for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    needed = [pin for pin in pins if pin.split("==")[0] in NEEDED]
    clean = environment(folder)
    del clean["PYTHONPATH"]
    places = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for place in filter(None, places):
        own = folder / "environment"
        command = [place, "-m", "venv", "--clear", own]
        if subprocess.run(command, env=clean, capture_output=True).returncode == 0:
            break
    else:
        raise NotTried(f"no Python {version} here: neither python{version} on the path nor one of pyenv's")
    install = [own / "bin" / "pip", "install", "--quiet", "--only-binary", ":all:", *needed]
    if (done := subprocess.run(install, env=clean, capture_output=True, text=True)).returncode:
        raise NotTried(f"the libraries could not be installed for Python {version}: {done.stderr.strip()[-300:]}")
    examples = [f"pcbook/{name}.py" for name in EXAMPLES]
    tests = ["-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--doctest-modules", *LIGHT, *examples]
    said = []
    for arguments in (["-c", PROVE], tests):
        command = [own / "bin" / "python", *arguments]
        done = subprocess.run(command, env=environment(folder), cwd=ROOT, capture_output=True, text=True)
        expect(done.returncode == 0, f"{done.stdout[-1200:]} {done.stderr[-600:]}")
        said.append(done.stdout.strip())
    return f"imports and all proofs of one hidden unit worked; {said[-1].splitlines()[-1].strip('= ')}"


def no_compiler(folder, rng):
    """A path with Python alone and CC=/bin/false: the lock resolved from wheels only, imports, a test."""
    tools = folder / "bin"
    tools.mkdir()
    for tool in ("git", "sh", "env"):
        if place := shutil.which(tool):
            (tools / tool).symlink_to(place)
    bare = {"PATH": str(tools), "CC": "/bin/false", "CXX": "/bin/false"}
    succeeds(["-c", IMPORT_ALL], folder, **bare)
    succeeds(["-m", "pytest", "-q", "-n", 0, "-p", "no:cacheprovider", "tests/test_kinked.py"], folder, **bare)
    lock = ["--ignore-installed", "--no-deps", "--requirement", "requirements.lock"]
    pip = ["-m", "pip", "install", "--quiet", "--dry-run", "--only-binary", ":all:", *lock]
    try:
        done = python(pip, folder, timeout=400, **bare, PYTHONPATH="")
    except subprocess.TimeoutExpired:
        raise NotTried("imports and a test worked, but the package index was too slow to resolve the lock") from None
    unreachable = ("Could not fetch URL", "Connection", "Temporary failure", "ProxyError")
    if done.returncode and any(sign in done.stdout for sign in unreachable):
        raise NotTried("imports and a test worked, but no package index can be reached to resolve the lock")
    expect(done.returncode == 0, f"the lock needs more than wheels: {done.stdout[-1200:]}")
    return "every locked package has a wheel; imports and the tests of a solver worked"


def read_only_checkout(folder, rng):
    """Checkout and HOME on read-only mounts: imports, list, verify, and what run and loader say."""
    root = shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns("_build", ".git", "__pycache__"))
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    sealed = ("unshare", "-m", "sh", "-c", script, str(root))
    if subprocess.run([*sealed, "true"], capture_output=True).returncode:
        raise NotTried("no right to mount anything here")
    expect(subprocess.run([*sealed, "touch", root / "new"], capture_output=True).returncode, "not read-only after all")
    home = {"HOME": str(root), "XDG_CACHE_HOME": str(root / "cache"), "PYTHONPATH": str(root), "PCBOOK_RUNS": ""}
    run = {"folder": folder, "wrapped": sealed, "root": root, **home}
    for arguments in (["-c", IMPORT_ALL], ["-m", "pcbook", "list"], ["-m", "pcbook", "verify", "--sample", 0]):
        succeeds(arguments, **run)
    refused(python(LOADER, **run), "FileNotFoundError", "could not be downloaded", "PCBOOK_DATA", "Read-only")
    refused(python(["-m", "pcbook", "run", "deep-chains"], **run), "error: output = ", "Read-only", "nothing was run")
    succeeds(small.command(folder), **run)
    return "imports, list, verify and a run elsewhere worked; run and loader named the folder and said what to do"


DRILLS = (
    clock_set_back_in_a_run,
    clock_set_back_between_builds,
    no_network,
    locale_that_is_not_utf8,
    path_with_spaces_and_letters,
    python_3_12,
    python_3_13,
    no_compiler,
    read_only_checkout,
)
