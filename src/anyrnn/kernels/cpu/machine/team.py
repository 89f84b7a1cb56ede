"""The threads that run a kernel: the OpenMP team of the process, or a pool of ours without one.

A second pool beside the OpenMP workers of a framework, which spin for a while after each parallel
region, would halve the speed on few cores. A forked child has the threads of neither: there a
kernel runs on one thread.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache

from anyrnn.kernels.cpu.machine.engine import Code
from anyrnn.kernels.cpu.machine.openmp import OpenMP, runtime
from anyrnn.kernels.cpu.machine.thread_pool import Pool
from anyrnn.kernels.python_function import function_address

_pool = Pool()
_forked = ctypes.c_int64(0)  # machine code reads it, too


def _after_fork() -> None:
    _forked.value = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=1)
def give_way() -> int:
    """The address of sched_yield, or what Windows has for it."""
    if sys.platform == "win32":
        function = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return function_address(function)


def trust_threads() -> None:
    """Let kernels run on several threads in a forked child too.

    Only right if nothing ran on several threads before the fork: otherwise the child waits forever
    for threads that it does not have.
    """
    _forked.value = 0


def available() -> bool:
    """Whether several threads can run a kernel."""
    return not _forked.value


def forked_address() -> int:
    """Where a word is that is not zero as long as several threads cannot."""
    return ctypes.addressof(_forked)


function = lru_cache(maxsize=4096)(ctypes.CFUNCTYPE(None, ctypes.c_void_p))  # at an address


def threads_of() -> OpenMP | None:
    """The runtime whose threads are used; None for our own threads."""
    return runtime("torch" in sys.modules)


class TeamEntry:
    """Enters a kernel with a team of threads.

    Attributes:
        header: The words in memory before the records, of `size` words each. Record 0 is the
            fallback for one thread, if OpenMP grants fewer than `threads`; the others are those of
            the threads.
        parallel: The address of GOMP_parallel, if that runs the kernel; else 0.
    """

    def __init__(self, code: Code, threads: int, size: int) -> None:
        self.code, self.threads, self.size = code, threads, size
        self.alone = function(code.enter_alone)
        self.runtime = threads_of() if threads > 1 else None
        functions = (0, 0) if self.runtime is None else self.runtime.functions
        self.header = (*functions, threads)
        self.parallel = 0 if self.runtime is None else self.runtime.parallel

    def run(self, place: int) -> None:
        """Run the kernel, given the address of the header."""
        if self.threads == 1 or not available():
            self.alone(place)
        elif self.runtime is not None:
            self.runtime.start(self.code.enter, place, self.threads)
        else:
            step = self.size * 8
            places = [place + step * (thread + 1) for thread in range(self.threads)]
            if not _pool.run(self.code.enter_alone, places):
                self.alone(place)
