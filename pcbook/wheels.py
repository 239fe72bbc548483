"""Pure-Python wheels from what is installed: the same versions again, and no registry is asked."""

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Mapping
from pathlib import Path

KIND = "Wheel-Version: 1.0\nGenerator: pcbook\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
COMPILED = (".so", ".pyd")  # by mypyc, from the Python files beside them, which run as well
OWN = ("WHEEL", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json")  # of the installation, not of the package


def of_installed(name: str, folder: str | Path) -> Path:
    """The wheel of the installed distribution `name`, written into `folder`; its path.

    Scripts and JupyterLab's front ends stay out. Raises `ValueError` for a distribution that needs compiled files.
    """
    distribution = importlib.metadata.distribution(name)
    files = [path for path in distribution.files or () if not {"..", "labextension", "__pycache__"} & set(path.parts)]
    sources = {path.as_posix().removesuffix(".py") for path in files}
    compiled = {path.as_posix() for path in files if path.suffix in COMPILED and "__mypyc." not in path.name}
    if alone := [path for path in compiled if path.partition(".")[0] not in sources]:
        raise ValueError(f"name = {name!r}: must be a distribution of Python files, has {alone[0]}")
    kept = [path for path in files if path.suffix not in COMPILED and path.name not in OWN]
    return write(folder, name, distribution.version, {path.as_posix(): path.read_binary() for path in kept})


def write(folder: str | Path, name: str, version: str, contents: Mapping[str, bytes]) -> Path:
    """The wheel of `contents` (path → bytes) with what else belongs into one, written into `folder`; its path."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {f"{info}/METADATA": about.encode(), **contents, f"{info}/WHEEL": KIND.encode()}
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    target = Path(folder) / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)  # without a date: the same each time
    return target


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
