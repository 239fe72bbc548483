"""The finished cells of a run, on the disk as soon as they are finished."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pcbook import records
from pcbook.sweep.values import Stopped, key_of, say


class Journal:
    """The finished cells of one run, a file each, in a folder named by a digest of all settings; and its lock.

    While it is open nobody else can run the same experiment with the same `root`.
    """

    def __init__(self, root: str | Path | None, name: str, settings: object) -> None:
        self.root = writable("journal", journal_root(root))
        self.name, self.count = name, 0  # finished cells, taken or put
        self.folder = self.root / name / hashlib.sha256(key_of(settings).encode()).hexdigest()[:16]

    def __enter__(self) -> "Journal":
        from filelock import FileLock, Timeout  # here, like the other libraries of the runner: a chapter needs none

        self.lock = FileLock(self.root / f"{self.name}.lock")
        holder = self.root / f"{self.name}.holder"
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "unknown"
            raise Stopped(f"{self.name!r} is being run already, by {who}, with the journal {self.root}") from None
        who = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        holder.write_text(who + "\n", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.lock.release()
        if error is not None and self.count:
            safe = f"{self.count} finished cells are safe in {self.folder}"
            error.add_note(f"{safe}: the same command with --resume goes on from them.")

    def take(self, resume: bool, fresh: bool) -> dict[str, dict[str, Any]]:
        """{key: entry} of the finished cells. Those whose file is damaged are named and left out, to be run again."""
        files = sorted(self.folder.glob("*.json"))
        if files and fresh:
            shutil.rmtree(self.folder)
            return {}
        if files and not resume:
            raise Stopped(
                f"an interrupted run of {self.name!r} left {len(files)} cells in {self.folder}:"
                " --resume goes on from them, --fresh deletes them and starts again"
            )
        for part in self.folder.glob(".*.part"):  # of a file that was being written when the run was killed
            part.unlink()
        entries = {}
        for path in files:
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
                if entry["digest"] != records.digest(entry) or self._path(key_of(entry["cell"])) != path:
                    raise ValueError("its content does not match its digest")
                entries[key_of(entry["cell"])] = entry
            except (ValueError, KeyError, TypeError) as damage:
                say(f"{path} is damaged ({damage}): its cell is run again")
        self.count = len(entries)
        if resume:
            say(f"{self.name}: {len(entries)} finished cells in {self.folder}" if files else "nothing to resume")
        return entries

    def put(self, key: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Write a finished cell; what was written."""
        entry = entry | {"digest": records.digest(entry)}
        try:
            records.write(self._path(key), json.dumps(entry) + "\n")
        except OSError as error:
            raise Stopped(f"the journal {self.folder} cannot be written ({error})") from error
        self.count += 1
        return entry

    def remove(self) -> None:
        """Delete the cells, once they are recorded."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def journal_root(folder: str | Path | None = None) -> Path:
    """The folder of all journals: the one given, or PCBOOK_RUNS, or one in the user's cache."""
    if folder or os.environ.get("PCBOOK_RUNS"):
        return Path(folder or os.environ["PCBOOK_RUNS"]).expanduser()
    import pooch

    return Path(pooch.os_cache("pcbook")) / "runs"


def writable(name: str, folder: Path) -> Path:
    """The folder, made if need be. `Stopped`, naming it, unless a file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"room for a few records?" * 1000)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Stopped(f"{name} = {str(folder)!r}: nothing can be written there ({error}); nothing was run") from error
    return folder
