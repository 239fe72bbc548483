"""The processes that run cells, and how far they are."""

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable
from typing import IO, Any

from pcbook import checks, records
from pcbook.sweep.sources import changes, fingerprint
from pcbook.sweep.values import Stopped, duration, plain, say

BACKENDS = ("loky", "dask")
DEVICES = ("cpu", "cuda")
PATIENCE = 10  # seconds until a scheduler must have answered


class Workers:
    """The processes that run cells: joblib's own on this machine, or those of a Dask cluster."""

    def __init__(
        self,
        module: str,
        backend: str = "loky",
        jobs: int | None = None,
        threads: int = 1,
        device: str = "cpu",
        scheduler: str | None = None,
    ) -> None:
        self.backend = checks.choice("backend", backend, BACKENDS)
        self.device = checks.choice("device", device, DEVICES)
        self.threads = checks.count("threads", threads)
        self.jobs = cores(threads, device) if jobs is None else checks.count("jobs", jobs)
        if 0 in (self.jobs, self.threads):
            raise ValueError(f"jobs = {jobs}, threads = {threads}: both must be at least 1")
        if (backend == "dask") != bool(scheduler):
            raise ValueError(f"scheduler = {scheduler!r}: the backend 'dask' needs an address, and no other takes one")
        torch = sys.modules.get("torch")
        if device == "cuda" and torch is not None and not torch.cuda.is_available():
            raise ValueError("device = 'cuda': PyTorch finds no CUDA device here")
        self.scheduler, self.module, self.code = scheduler, module, fingerprint(module)

    def describe(self) -> dict[str, Any]:
        """The environment of a record."""
        torch = sys.modules.get("torch")
        here = records.describe(("numpy", "scipy", "torch"), self.device, self.threads)
        name = torch.cuda.get_device_name() if torch is not None and self.device == "cuda" else None
        return here | {"accelerator": name, "backend": self.backend, "jobs": self.jobs, "code": self.code}

    def __enter__(self) -> "Workers":
        import joblib

        self.stack = contextlib.ExitStack()
        if self.backend == "loky":
            settings = {"backend": "loky", "inner_max_num_threads": self.threads}
            settings |= {"initializer": _follow, "initargs": (os.getpid(),)}
        else:
            settings = {"backend": _cluster(self.stack.enter_context(_client(self.scheduler)))}
        self.stack.enter_context(joblib.parallel_config(**settings))
        self.stack.enter_context(warnings.catch_warnings())
        # loky replaces a worker that has grown, and loses nothing; a worker that dies is an error, not a warning.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stack.close()
        if self.backend == "loky" and self.jobs > 1:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=kind is not None)

    def each(
        self, function: Callable[..., Any], tasks: Iterable[tuple[str, tuple[Any, ...]]]
    ) -> Generator[tuple[str, Any, str | None]]:
        """(key, value, failure) of `function(*arguments)` for each (key, arguments), in the order of their ends."""
        import joblib

        parent = os.getpid() if self.backend == "loky" else None  # the workers of a cluster are not ours
        settings = self.threads, self.module, self.code, parent
        calls = (joblib.delayed(_work)(function, *task, *settings) for task in tasks)
        ahead = "2 * n_jobs" if self.backend == "loky" else "all"  # a cluster may grow
        results = joblib.Parallel(self.jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=ahead)(calls)
        try:
            for result in results:  # noqa: UP028 (`yield from` would hand an early end to joblib, which warns)
                yield result
        except Exception as error:  # what a call raises it returns: this is a worker that was killed, or lost
            raise Stopped(f"the workers stopped ({type(error).__name__}: {str(error).strip()})") from error
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that calls were left: we know
                results.close()


def cores(threads: int = 1, device: str = "cpu") -> int:
    """How many jobs this machine takes: as many as its cores have room for, or one on a GPU."""
    import joblib

    return 1 if device == "cuda" else max(1, joblib.cpu_count() // max(1, threads))


def _client(scheduler: str | None) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise Stopped(f"scheduler = {scheduler!r}: no Dask scheduler answers there ({error})") from error


def _cluster(client: Any) -> Any:
    """joblib's backend for Dask, but for one thing: with a single worker joblib would run the cells here instead."""
    from joblib._dask import DaskDistributedBackend

    class Cluster(DaskDistributedBackend):  # type: ignore[misc]  # joblib has no types
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

    return Cluster(client=client)


def _work(
    function: Callable[..., Any],
    key: str,
    arguments: tuple[Any, ...],
    threads: int,
    module: str,
    code: dict[str, str | None],
    parent: int | None,
) -> tuple[str, Any, str | None]:
    """In a worker: one call, with so many threads; its value as JSON has it, or what went wrong."""
    from threadpoolctl import threadpool_limits

    if changed := changes(fingerprint(module), code):
        return key, None, f"the worker has other code than the runner: {changed}"
    begin, torch = time.perf_counter(), sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    limits = threadpool_limits(threads)
    try:
        if torch:
            torch.set_num_threads(threads)
        value = function(*arguments)
        if isinstance(value, dict):
            value = {**value, "timing": {**value.get("timing", {}), "seconds": time.perf_counter() - begin}}
        return key, plain("results", value), None
    except Exception:
        return key, None, traceback.format_exc()
    finally:
        if os.getpid() == parent:  # workers stay as they are: another of their threads may be at work
            limits.restore_original_limits()
            if torch:
                torch.set_num_threads(before)


def _follow(parent: int) -> None:
    """In a process of our own: leave Ctrl-C to the parent, and end when it ends, even by kill -9."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


class Progress:
    """How far a run is, on stderr: a bar with the time left on a terminal, else a line a minute. Counts the cost."""

    def __init__(self, name: str, stream: IO[str] | None = None) -> None:
        self.name, self.stream = name, stream or sys.stderr
        self.cells = self.finished = 0
        self.total = self.spent = 0.0
        self.begin = self.told = time.monotonic()
        self.bar: Any = None  # of tqdm, which has no types

    def __enter__(self) -> "Progress":
        if self.stream.isatty():
            from tqdm import tqdm

            layout = "{desc} {percentage:3.0f} % |{bar}| {elapsed} spent, {remaining} left"
            self.bar = tqdm(total=0, file=self.stream, smoothing=0, bar_format=layout)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def expect(self, cells: int, finished: int, seconds: float) -> None:
        """More cells, so many of them finished before, and the cost of the others."""
        self.cells, self.finished, self.total = self.cells + cells, self.finished + finished, self.total + seconds
        if self.bar is None:
            count = f"{self.finished} of {self.cells} cells finished"
            say(f"{self.name}: {count}, the others cost about {duration(seconds)} on one core")
        else:
            self._tell(0.0)

    def advance(self, seconds: float) -> None:
        """A cell of such a cost has ended."""
        self.finished, self.spent = self.finished + 1, self.spent + seconds
        self._tell(seconds)

    def _tell(self, seconds: float) -> None:
        count = f"{self.name}: {self.finished} of {self.cells} cells"
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.set_description_str(count, refresh=False)
            self.bar.update(seconds)
            self.bar.refresh()
        elif time.monotonic() - self.told > 60 and self.spent > 0:
            self.told = time.monotonic()
            left = (self.told - self.begin) * (self.total - self.spent) / self.spent
            say(f"{count}, about {duration(left)} left")
