"""The parent's side of a library in a process of its own; `benchmarks.serve` is the other side.

A process runs only while an answer of its is waited for: idle threads of some libraries go on
spinning for a while, which slows down who comes next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from benchmarks.cases import Arrays, Case, Data
from benchmarks.conditions import Conditions
from benchmarks.peers import PEERS

ROOT = Path(__file__).parents[1]
LOADING = 120  # seconds


class PeerError(Exception):
    """A library failed at a case, took too long, or gave wrong numbers."""


class Worker:
    """A library in a process of its own, which starts when it is first needed.

    Args:
        name: A name in `PEERS`.
        conditions: How it is run.

    Attributes:
        runs: The name of what a case is run with; others than `name` have to need no more.
    """

    def __init__(self, name: str, conditions: Conditions) -> None:
        self.name = self.runs = name
        self.conditions = conditions
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        threads, isa = self.conditions.threads, self.conditions.isa or ""
        told = [self.name, str(theirs.fileno()), str(threads), isa]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serve", *told],
            cwd=ROOT,
            env=self.conditions.environment(PEERS[self.name].environment),
            pass_fds=[theirs.fileno()],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the parent
        )
        theirs.close()
        self._receive(LOADING)

    def prepare(self, case: Case, data: Data, limit: float) -> tuple[Arrays, int | None]:
        """Make a case ready.

        Args:
            case: The case.
            data: Its numbers.
            limit: The seconds that it may take; then the process is ended.

        Returns:
            The results of its second call; and the bytes at the peak of the first call that were
            not there before it, None where the system does not tell.

        Raises:
            PeerError: It failed, as the other methods may.
        """
        if self._process is None:
            self._start()
        self._send((self.runs, case, data))
        return self._receive(limit)

    def time(self, seconds: float) -> list[float]:
        """The seconds of each call within a time, of one at least."""
        self._send(seconds)
        return self._receive(60 + 10 * seconds)

    def finish(self) -> None:
        """The case is done; not to be called after it has failed."""
        self._send(None)

    def stop(self) -> None:
        """End the process and what it has started."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._connection.close()
        self._log.close()

    def _signal(self, number: int) -> None:
        """Tell the process and what it has started."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _send(self, message: object) -> None:
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError):  # what went wrong is told by the answer
            self._connection.send(message)

    def _receive(self, limit: float) -> Any:
        problem = f"stopped after {limit:.0f} s"
        try:
            if self._connection.poll(limit):
                reply = self._connection.recv()
                self._signal(signal.SIGSTOP)
                if isinstance(reply, PeerError):
                    raise reply
                return reply
        except (EOFError, OSError):
            self._log.seek(0)
            problem = (self._log.read().decode(errors="replace").splitlines() or ["ended"])[-1]
        self.stop()
        raise PeerError(problem)
