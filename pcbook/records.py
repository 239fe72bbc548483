"""Recorded runs: what was run, where and from what, and what came out, in one JSON file with a digest.

A record is a dictionary with the keys of `FIELDS`. The SHA-256 digest covers everything but itself, in one canonical
form (keys sorted, no spaces, numbers as Python prints them), so an edited number shows, and reformatting does not.
A file is written for people and for `git diff`: whatever holds plain values only stands on one line.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "book" / "records"
LIMIT = 1_000_000  # bytes of one file: the repository and the book stay small
SCHEMA = 1
FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema": int,  # of this layout
    "kind": str,  # what was run: "inference-cost"
    "configuration": dict,  # every setting that the run depends on
    "seeds": list,  # every seed
    "environment": dict,  # versions, processor, threads, device, commit
    "data": dict,  # name of each data set → its SHA-256 digest
    "created": str,  # when the run ended, UTC, ISO 8601
    "wall_clock": (int, float),  # seconds
    "results": dict,  # tables (lists of rows) and curves (lists of numbers)
    "digest": str,  # SHA-256 of all the rest
}


def new(
    kind: str,
    configuration: dict[str, Any],
    results: dict[str, Any],
    *,
    seeds: Iterable[Any] = (),
    environment: dict[str, Any] | None = None,
    data: Mapping[str, str] | None = None,
    wall_clock: float = 0.0,
) -> dict[str, Any]:
    """A record of a run that has just ended, complete with its digest. `data` maps names to `digest_of` their bytes.

    Raises `ValueError` for content that JSON cannot hold: NaN, infinities, arrays.
    """
    record = {
        "schema": SCHEMA,
        "kind": kind,
        "configuration": configuration,
        "seeds": list(seeds),
        "environment": describe() if environment is None else environment,
        "data": dict(data or {}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_clock": wall_clock,
        "results": results,
    }
    return record | {"digest": digest(record)}


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of the record's canonical content, all of it but its digest."""
    content = {key: value for key, value in record.items() if key != "digest"}
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"record {record.get('kind')!r} holds what JSON cannot: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(*parts: Any) -> str:
    """SHA-256 of bytes, or of contiguous arrays, one after the other."""
    total = hashlib.sha256()
    for part in parts:
        total.update(memoryview(part).cast("B"))
    return total.hexdigest()


def save(path: str | os.PathLike[str], record: dict[str, Any]) -> Path:
    """Write a record whole or not at all: to a temporary file beside `path`, which then takes its place.

    The digest is computed afresh. Returns the path. Raises `ValueError`, naming the file, for a record `load` refuses,
    and for one of more than `LIMIT` bytes, naming its largest parts.
    """
    path = Path(path)
    record = json.loads(json.dumps({**record, "digest": digest(record)}))
    _check(path, record)
    content = text(record) + "\n"
    if (size := len(content.encode())) > LIMIT:
        raise ValueError(f"{path}: would have {size:,} bytes, at most {LIMIT:,} are allowed; {_largest(record)}")
    return write(path, content)


def write(path: str | os.PathLike[str], content: str) -> Path:
    """Write a text file whole or not at all, and wait until it is on the disk. Makes the folder. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def text(value: object, indent: str = "") -> str:
    """JSON that is compact and still has lines to compare: plain lists, and whatever is short, take one line."""
    flat = json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    if not isinstance(value, (dict, list)) or len(indent + flat) <= 120:
        return flat
    if isinstance(value, dict):
        rows, ends = [f"{json.dumps(k, ensure_ascii=False)}: {text(v, inner)}" for k, v in value.items()], "{}"
    elif any(isinstance(item, (dict, list)) for item in value):
        rows, ends = [text(item, inner) for item in value], "[]"
    else:
        return flat
    return ends[0] + "\n" + ",\n".join(inner + row for row in rows) + "\n" + indent + ends[1]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two records hold the same run: equal in all but when, where and how fast it ran.

    That is in all but `created`, `wall_clock`, `environment`, the results' `timing`, and so the digest.
    """

    def content(record: dict[str, Any]) -> str:
        kept = {k: v for k, v in record.items() if k not in ("created", "wall_clock", "environment", "digest")}
        return digest(kept | {"results": {k: v for k, v in kept["results"].items() if k != "timing"}})

    return content(a) == content(b)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record in a file, checked.

    Raises `FileNotFoundError` where there is none, and `ValueError`, naming the file, for anything but a whole,
    unedited record of this schema.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a whole JSON file ({error})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    _check(path, record)
    return record


def verify(path: str | os.PathLike[str]) -> str:
    """The digest of the record in a file, after the checks of `load`, which raise."""
    return load(path)["digest"]


def describe(
    packages: Sequence[str] = ("numpy", "torch"), device: str = "cpu", threads: int | None = None
) -> dict[str, Any]:
    """Where a run happens: versions, processor, threads, device, commit. What is not known is None."""
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "commit": commit(),
    }


def version(package: str) -> str | None:
    """A distribution's installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str | None:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def commit(folder: str | os.PathLike[str] = Path(__file__).parent) -> str | None:
    """The commit that a folder's files are at, with "+" where tracked files differ, or None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _check(path: Path, record: object) -> None:
    if not isinstance(record, dict):
        raise ValueError(f"{path}: holds a {type(record).__name__}, not a record")
    if record.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema = {record.get('schema')!r}: must be {SCHEMA}")
    if missing := [name for name in FIELDS if name not in record]:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    if unknown := sorted(record.keys() - FIELDS.keys()):
        raise ValueError(f"{path}: holds {', '.join(unknown)}, which no record has")
    for name, kind in FIELDS.items():
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            raise ValueError(f"{path}: {name} is a {type(record[name]).__name__}")
    if record["digest"] != digest(record):
        raise ValueError(f"{path}: its content does not match its digest: it was edited after the run")


def _largest(record: dict[str, Any]) -> str:
    """Where the bytes of too large a record are, for the error: the largest cells of a sweep, or entries of results."""
    parts = record["results"]
    if "cells" in parts:
        parts = {f"the cell {json.dumps(row['cell'])}": row for row in parts["cells"]}
    sizes = sorted(((len(text(part).encode()), name) for name, part in parts.items()), reverse=True)
    return "; ".join(f"{name} has {size:,}" for size, name in sizes[:5]) + f" ({len(sizes)} in all)"


def _refuse(constant: str) -> float:
    raise ValueError(f"holds {constant}: every number must be finite")
