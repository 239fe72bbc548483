"""Other predictive coding libraries, each in a process of its own: the near side.

The libraries ask for different versions of JAX, so each may live in its own virtual environment. What they share is
`adapters.py`, which runs there.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks import adapters

ADAPTERS = Path(adapters.__file__)


class Missing(Exception):
    """A library that is not there, and how to get it."""


class Failed(Exception):
    """A library gave up on a step."""


class Peer:
    """One library. Starts its process, sends networks and batches, receives times, gradients and activities.

    `python` is the interpreter that has the library, `checkout` a folder with its source. Raises `Missing`.
    """

    def __init__(self, name, python=sys.executable, checkout=None, threads=1):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        command = [python, str(ADAPTERS), name, str(threads), str(checkout or "")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.name, self.process = name, subprocess.Popen(command, env=environment, **pipes)
        self.versions = self._receive()
        if isinstance(self.versions, str):
            self.close()
            raise Missing(f"{name}: {self.versions}")

    def _receive(self):
        try:
            answer = adapters.receive(self.process.stdout)
        except EOFError:
            self.close()
            raise Missing(f"{self.name}: its process ended; what it said is above") from None
        return answer

    def _ask(self, *message):
        adapters.send(message, self.process.stdin)
        return self._receive()

    def build(self, activation, weights):
        """The names of the settings that the library offers for this network."""
        return self._ask("build", activation, weights)

    def step(self, setting, x, y):
        """(seconds, gradients, activities) of one step, as NumPy arrays. Raises `Failed` where the library gives up."""
        answer = self._ask("step", setting, x, y)
        if isinstance(answer, str):
            raise Failed(answer)
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
