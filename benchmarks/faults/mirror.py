"""Mirrors of a small stand-in for MNIST on this machine, sound or not, and processes that download from them."""

import contextlib
import gzip
import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from benchmarks.faults.drills import expect, python, start
from pcbook import data, images

FILES = tuple(images.SOURCES["mnist"].digests)


def contents():
    """{file: bytes} of the stand-in: noise, so that packing does not make it smaller."""
    generator, found = np.random.default_rng(0), {}
    for file in FILES:
        lengths = (300, 28, 28) if "images" in file else (300,)
        head = bytes([0, 0, 8, len(lengths)]) + b"".join(n.to_bytes(4, "big") for n in lengths)
        found[file] = head + generator.integers(0, 10 if len(lengths) == 1 else 256, lengths, np.uint8).tobytes()
    return found


PLAIN = contents()
PACKED = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in PLAIN.items()}
PIECE = 1 << 14


class Handler(BaseHTTPRequestHandler):
    """Sends a file in pieces. Its faults: "stalls" and "cut" stop halfway, "closes" never told the length."""

    delay, fault = 0.0, ""

    def do_GET(self):
        content = PACKED[self.path.rsplit("/", 1)[-1]]
        content = content[::-1] if self.fault == "other" else content
        self.send_response(200)
        if self.fault != "closes":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        content = content[: len(content) // 2] if self.fault in ("cut", "closes", "stalls") else content
        with contextlib.suppress(OSError):  # the client was killed
            for k in range(0, len(content), PIECE):
                self.wfile.write(content[k : k + PIECE])
                time.sleep(self.delay)
            time.sleep(3 if self.fault == "stalls" else 0)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(delay=0.0, fault=""):
    """The address of a mirror on a loopback port."""
    handler = type("Mirror", (Handler,), {"delay": delay, "fault": fault})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def command(addresses):
    return ["-m", "benchmarks.faults.mirror", json.dumps(addresses)]


def fetching(folder, *addresses, **more):
    """A process that downloads all files from the mirrors into the cache in `folder`."""
    folder.mkdir(exist_ok=True)
    return start(command(addresses), folder, **more)


def fetch(folder, *addresses, **more):
    """The same, to its end, which must be a good one."""
    done = python(command(addresses), folder, **more)
    expect(done.returncode == 0, f"the download failed: {done.stdout[-1500:]}")
    sound_cache(folder, whole=True)


def fails(folder, *addresses, **more):
    """What the error says of a download that must fail."""
    done = python(command(addresses), folder, **more)
    last = done.stdout.strip().splitlines()[-1]
    expect(done.returncode == 1 and last.startswith("FileNotFoundError"), f"exit {done.returncode}: {last}")
    return last


def sound_cache(folder, whole=False):
    """`AssertionError` unless every file in the cache is right; with `whole` all must be there."""
    found = {path.name: path.read_bytes() for path in (folder / "cache").rglob("*.gz")}
    damaged = [name for name, content in found.items() if content != PACKED[name]]
    expect(not damaged, f"the cache holds damaged files: {damaged}")
    expect(not whole or found.keys() == PACKED.keys(), f"the cache holds {sorted(found)} only")


def main(addresses):
    """Download with the project's own loader, which takes the stand-in for the original."""
    import pooch.downloaders

    pooch.downloaders.DEFAULT_TIMEOUT = 1  # seconds; 30 in earnest
    digests = {
        file: tuple(hashlib.sha256(content).hexdigest() for content in (PLAIN[file], PACKED[f"{file}.gz"]))
        for file in FILES
    }
    images.SOURCES["mnist"] = images.SOURCES["mnist"]._replace(mirrors=tuple(addresses), digests=digests)
    train, _ = data.mnist()
    expect(train.images.tobytes() == PLAIN[FILES[0]][16:], "other images than the mirror's")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
