"""Disks that run full, and files that were cut or tampered with."""

import contextlib
import gzip
import io
import shutil
import subprocess

from benchmarks.faults import book, mirror, small
from benchmarks.faults.drills import NotTried, expect, flipped, kill, python, start, succeeds
from pcbook import images, records
from pcbook.sweep import journal

FLIPS, CUTS = 200, 50  # of each kind of file


@contextlib.contextmanager
def disk(folder, size):
    """A disk of so many bytes mounted at `folder`; `resize(bytes)` makes it larger."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options):
        done = subprocess.run(["mount", *map(str, options)], capture_output=True, text=True)
        if done.returncode:
            raise NotTried(f"no right to mount a small disk here ({done.stderr.strip()})")

    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield lambda size: mount("-o", f"remount,size={size}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk_full_for_the_journal(folder, rng):
    """The journal on a disk of 40 kB, enlarged after the run has stopped."""
    succeeds(small.command(folder / "whole"), folder)
    with disk(folder / "runs", 40 << 10) as resize:
        done = python(small.command(folder), folder)
        expect(done.returncode == 1 and "No space left" in done.stdout, f"exit {done.returncode}: {done.stdout}")
        expect(str(folder / "runs") in done.stdout and "--resume goes on" in done.stdout, done.stdout)
        resize(4 << 20)
        safe = len(list((folder / "runs").rglob("*.json")))
        said = succeeds(small.command(folder, resume=True), folder)
        expect(f"{safe} finished cells" in said, said)
    expect(records.same(small.record(folder), small.record(folder / "whole")), "another record than without the fault")
    return f"the error named the journal; {safe} finished cells were safe, and the resumed record is equal"


def disk_full_for_a_record(folder, rng):
    """A disk with an old record and no room for the new one, then with room."""
    succeeds(small.command(folder / "whole"), folder)
    content = (folder / "whole" / "records" / "small.json").read_bytes()
    with disk(folder / "records", 4 << 20) as resize:
        old = folder / "records" / "small.json"
        succeeds(small.command(folder, "--seeds", 1), folder)
        before = old.read_bytes()
        probe = 24 << 10  # what the runner tries first
        expect(len(content) > probe + 8192, f"the record has {len(content)} bytes only: too small for this drill")
        resize(-(-len(before) // 4096) * 4096 + probe + 4096)
        done = python(small.command(folder), folder)
        expect(done.returncode == 1 and f"the record {old} could not be saved" in done.stdout, done.stdout)
        expect(old.read_bytes() == before and list(old.parent.iterdir()) == [old], "the old record did not stay alone")
        resize(4 << 20)
        said = succeeds(small.command(folder, resume=True), folder)
        expect("12 finished cells" in said and records.same(records.load(old), small.record(folder / "whole")), said)
    return "the error named the record, the old one stayed; with room again the finished cells gave the new one"


def disk_full_for_the_data(folder, rng):
    """The cache on a disk of 200 kB, too small for the images, enlarged after the error."""
    with disk(folder / "cache", 200 << 10) as resize, mirror.serving() as address:
        said = mirror.fails(folder, address)
        expect("train-images-idx3-ubyte.gz could not" in said and "No space left" in said, said)
        mirror.sound_cache(folder)
        resize(4 << 20)
        mirror.fetch(folder, address)
    return "the error named the file and the full disk; the cache held no damaged file, and the next call completed"


def harmed(content, rng):
    """The content with one byte changed, many times, then cut at many lengths."""
    yield from (flipped(content, rng)[0] for _ in range(FLIPS))
    yield from (content[: rng.randrange(len(content))] for _ in range(CUTS))


def tampered_record(folder, rng):
    """200 single bytes changed and 50 cuts of a record; and a run whose old record is damaged."""
    succeeds(small.command(folder), folder)
    path = folder / "records" / "small.json"
    whole, content, refused = small.record(folder), path.read_bytes(), 0
    for harm in harmed(content, rng):
        path.write_bytes(harm)
        try:
            found = records.load(path)
        except ValueError as error:
            expect(str(path) in str(error), f"the error does not name the file: {error}")
            refused += 1
        else:  # white space, or the E of a number: the content is the same
            expect(found == whole, "a changed record was taken for whole")
    path.write_bytes(content[: len(content) // 2])
    for command in (["verify"], ["show", "small"]):
        done = python(["-m", "benchmarks.faults.small", *command, "--output", path.parent], folder)
        expect(done.returncode and str(path) in done.stdout, f"{command} does not name the file: {done.stdout}")
    expect("damaged" in succeeds(small.command(folder), folder), "a run replaced a damaged record silently")
    return f"{refused} of {FLIPS + CUTS} refused by name, the others read the same; a run says what it replaces"


def tampered_journal(folder, rng):
    """200 single bytes changed and 50 cuts of a finished cell in the journal of a killed run."""
    succeeds(small.command(folder / "whole"), folder)
    process = start(small.command(folder), folder)
    while len(paths := sorted((folder / "runs" / "small").rglob("[!.]*.json"))) < 3 and process.poll() is None:
        pass
    kill(process)
    path, content = paths[0], paths[0].read_bytes()
    kept = journal.Journal(folder / "runs", "small", [])
    kept.folder = path.parent
    whole, refused = kept.take(True, False), 0
    for harm in harmed(content, rng):
        path.write_bytes(harm)
        with contextlib.redirect_stderr(io.StringIO()) as said:
            found = kept.take(True, False)
        named = f"{path} is damaged" in said.getvalue()
        expect(found == whole and not named or len(found) == len(whole) - 1 and named, said.getvalue())
        refused += named
    path.write_bytes(content[: len(content) // 2])
    succeeds(small.command(folder, resume=True), folder)
    expect(records.same(small.record(folder), small.record(folder / "whole")), "another record than without the fault")
    return f"{refused} of {FLIPS + CUTS} named and run again, the others read the same; the resumed record is equal"


def tampered_data(folder, rng):
    """200 single bytes changed and 50 cuts of a packed file of labels, Fashion-MNIST's where it is installed."""
    debian, refused = "/usr/share/datasets/fashion-mnist", 0
    file = "t10k-labels-idx1-ubyte"
    try:
        whole = images.read("fashion_mnist", file, debian)
    except FileNotFoundError:
        raise NotTried(f"no Fashion-MNIST in {debian}") from None
    path = folder / f"{file}.gz"
    shutil.copy(f"{debian}/{file}.gz", path)
    for harm in harmed(path.read_bytes(), rng):
        path.write_bytes(harm)
        try:
            found = images.read("fashion_mnist", file, folder)
        except ValueError as error:
            expect(str(path) in str(error), f"the error does not name the file: {error}")
            refused += 1
        else:  # the time or the name in the header: the labels are the same
            expect((found == whole).all() and gzip.decompress(harm), "changed labels were taken for the originals")
    return f"{refused} of {FLIPS + CUTS} refused by name, the others unpacked to the same labels"


def truncated_notebook(folder, rng):
    """A build of a small book whose second page was cut at 2 random lengths, and one that is whole again."""
    root = book.small(folder / "book")
    path = root / "book" / "second.ipynb"
    content = path.read_bytes()
    for _ in range(2):
        path.write_bytes(content[: rng.randrange(1, len(content) - 2)])
        result = book.build(root)
        expect(result.returncode, "the build took half a notebook for a whole one")
        expect("second.ipynb" in result.stdout, f"the build does not name the file: {result.stdout[-1000:]}")
    path.write_bytes(content)
    expect("energy" in book.built(root)["second"], "the whole notebook is not in the page")
    return "the build failed and named the notebook; with the whole one it succeeded"


DRILLS = (
    disk_full_for_the_journal,
    disk_full_for_a_record,
    disk_full_for_the_data,
    tampered_record,
    tampered_journal,
    tampered_data,
    truncated_notebook,
)
