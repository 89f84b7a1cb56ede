"""The process of a library: python -m benchmarks.serve NAME DESCRIPTOR THREADS ISA; `Worker` starts
it.

It imports the library and then only forks: each case runs in a child, which starts with nothing
compiled, allocated or broken by the cases before it. While others are measured it waits.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.cases import Case, Data
from benchmarks.conditions import Conditions
from benchmarks.peers import PEERS
from benchmarks.worker import PeerError

PROCESS = Path("/proc/self")


def serve(name: str, connection: Connection) -> None:
    """Load a library, then fork a child for each case that arrives."""
    PEERS[name].load()
    connection.send(None)
    while True:
        try:
            message = connection.recv()
        except EOFError:  # the parent has ended
            return
        if not isinstance(message, tuple):  # meant for a child that has ended
            continue
        child = os.fork()
        if child == 0:
            try:
                _case(connection, *message)
            except Exception as error:
                line = " ".join(str(error).split())[:200]
                connection.send(PeerError(f"{type(error).__name__}: {line}"))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            connection.send(PeerError(f"crashed: {signal.Signals(os.WTERMSIG(status)).name}"))


def _case(connection: Connection, name: str, case: Case, data: Data) -> None:
    """Tell the results of the second call and the memory of the first, then time on demand."""
    build = PEERS[name].load()
    if PEERS[name].beginning_first:
        steps = min(2, case.shape[1])
        shorter = replace(case, shape=(case.shape[0], steps, *case.shape[2:]))
        run = build(shorter, data.beginning(steps))
        run.call(run.states)
    run = build(case, data)
    states = run.states

    def call() -> object:
        nonlocal states
        results, new = run.call(states)
        states = new if case.is_stream else states
        return results

    memory = peak(call)
    start = time.perf_counter()
    results = run.read(call())
    seconds = time.perf_counter() - start
    connection.send(({name: np.asarray(result) for name, result in results.items()}, memory))
    while (budget := connection.recv()) is not None:
        if seconds < budget:  # once before, so that its data are in the caches again
            call()
        connection.send(durations(call, budget))


def durations(call: Callable[[], object], budget: float) -> list[float]:
    """The seconds of each call, as many as fit into a time, one at least."""
    found: list[float] = []
    begin = now = time.perf_counter()
    while now - begin < budget:
        start = now
        call()
        now = time.perf_counter()
        found.append(now - start)
    return found


def peak(call: Callable[[], object]) -> int | None:
    """The bytes at the peak of a call that were not resident before it."""
    if not (PROCESS / "clear_refs").exists():
        call()
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    (PROCESS / "clear_refs").write_text("5")  # the peak starts anew
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _resident(name: str) -> int:
    return 1024 * int((PROCESS / "status").read_text().partition(name + ":")[2].split()[0])


if __name__ == "__main__":
    Conditions(int(sys.argv[3]), sys.argv[4] or None).enter()
    serve(sys.argv[1], Connection(int(sys.argv[2])))
