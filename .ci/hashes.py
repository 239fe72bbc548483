"""Write requirements.hashes: every package of requirements.lock with the digests of the files that may be installed.

    pip install --dry-run --ignore-installed --no-deps --report report.json -r requirements.lock
    python .ci/hashes.py report.json > requirements.hashes

With more than one report (PyTorch has a build with CUDA and one for the CPU) a package gets the digests of all.
"""

import collections
import json
import re
import sys
from pathlib import Path

HEAD = """\
# requirements.lock with the SHA-256 of each file, for Linux on x86-64 and Python 3.11; made by .ci/hashes.py.
# pip install --require-hashes -r requirements.hashes && pip install --no-deps -e .
"""


def plain(name):
    """A package's name as indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digests(reports):
    """{(name, version): digests} of what pip would install; a version's local part, "+cpu", is left out."""
    found = collections.defaultdict(set)
    for report in reports:
        for item in json.loads(Path(report).read_text(encoding="utf-8"))["install"]:
            about = item["metadata"]
            key = plain(about["name"]), about["version"].partition("+")[0]
            found[key].add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


if __name__ == "__main__":
    print(HEAD, end="")
    for (name, version), hashes in sorted(digests(sys.argv[1:]).items()):
        print(f"{name}=={version}", *(f"--hash=sha256:{digest}" for digest in sorted(hashes)))
