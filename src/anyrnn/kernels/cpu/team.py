"""The threads that run a kernel: the OpenMP team that the process has already, or a pool of ours.

A second pool beside the OpenMP workers of a framework, which keep spinning for a while after each
of its parallel regions, would halve the speed on few cores: ours is for where there are none. In a
forked child neither has its threads any more, and a kernel runs alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache

import numpy as np

from anyrnn.kernels.cpu.engine import Code
from anyrnn.kernels.cpu.openmp import runtime
from anyrnn.kernels.cpu.pool import Pool

_pool = Pool()
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def give_way() -> int:
    """The address of the function of the system that lets other threads have the core."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def trust_threads() -> None:
    """Let kernels run on several threads in a forked child too.

    Right only where nothing has run on several threads before the fork: otherwise the child would
    wait for threads that it does not have.
    """
    global _forked
    _forked = False


def available() -> bool:
    """Whether several threads can run a kernel."""
    return not _forked


_alone = lru_cache(maxsize=4096)(ctypes.CFUNCTYPE(None, ctypes.c_void_p))


class Entry:
    """A kernel and its records, ready to be entered; not by two threads at the same time.

    Args:
        code: The compiled kernel.
        records: A record of numbers for one thread alone, then one for each thread of a team; they
            may be changed between calls through the attribute of that name.
    """

    def __init__(self, code: Code, records: np.ndarray) -> None:
        self.code, self.threads = code, len(records) - 1
        self.team = np.empty(3 + records.size, np.int64)
        self.records = self.team[3:].reshape(records.shape)
        self.records[...] = records
        self.place = self.team.__array_interface__["data"][0]
        self.alone = _alone(code.enter_alone)
        self.runtime = runtime("torch" in sys.modules) if self.threads > 1 else None
        if self.runtime is not None:
            self.team[:3] = *self.runtime.functions, self.threads

    def run(self) -> None:
        """Run the kernel."""
        if self.threads == 1 or _forked:
            self.alone(self.place)
        elif self.runtime is not None:
            self.runtime.start(self.code.enter, self.place, self.threads)
        else:
            step = self.records.strides[0]
            places = [self.place + step * (thread + 1) for thread in range(self.threads)]
            if not _pool.run(self.code.enter_alone, places):
                self.alone(self.place)


def run(code: Code, records: np.ndarray) -> None:
    """Run a kernel once.

    Args:
        code: The compiled kernel.
        records: A record of numbers for one thread alone, then one for each thread of a team.
    """
    Entry(code, records).run()
