"""The threads that run a kernel: the OpenMP team that the process has already.

A second pool beside the OpenMP workers of a framework, which keep spinning for a while after each
of its parallel regions, would halve the speed on few cores.
"""

from __future__ import annotations

import ctypes
import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from anyrnn.kernels.cpu.engine import Code


@lru_cache(maxsize=1)
def _gomp() -> tuple[ctypes.CDLL, int, int] | None:
    """The GNU OpenMP runtime in this process, and the addresses of what a kernel calls of it."""
    maps = Path("/proc/self/maps")
    found = re.search(r"(/\S*libgomp[^\s/]*)", maps.read_text()) if maps.exists() else None
    if found is None:
        return None
    library = ctypes.CDLL(found.group(1))
    addresses = [
        ctypes.cast(function, ctypes.c_void_p).value or 0
        for function in (library.omp_get_thread_num, library.omp_get_num_threads)
    ]
    return library, *addresses  # type: ignore[return-value]


def available() -> bool:
    """Whether several threads can run a kernel."""
    return _gomp() is not None


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
        self.library = None
        self.team[2] = self.threads
        found = _gomp() if self.threads > 1 else None
        if found is None:
            self.alone = _alone(code.enter_alone)
        else:
            self.library, self.team[0], self.team[1] = found

    def run(self) -> None:
        """Run the kernel."""
        if self.library is None:
            self.alone(self.place)
            return
        enter, place = ctypes.c_void_p(self.code.enter), ctypes.c_void_p(self.place)
        self.library.GOMP_parallel(enter, place, self.threads, 0)


def run(code: Code, records: np.ndarray) -> None:
    """Run a kernel once.

    Args:
        code: The compiled kernel.
        records: A record of numbers for one thread alone, then one for each thread of a team.
    """
    Entry(code, records).run()
