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


def run(code: Code, records: np.ndarray) -> None:
    """Run a kernel.

    Args:
        code: The compiled kernel.
        records: A record of numbers for one thread alone, then one for each thread of a team.
    """
    threads = len(records) - 1
    team = np.zeros(3 + records.size, np.int64)
    team[2] = threads
    team[3:] = records.ravel()
    found = _gomp() if threads > 1 else None
    if found is None:
        enter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.enter_alone)
        enter(team.ctypes.data)
        return
    library, team[0], team[1] = found
    library.GOMP_parallel(
        ctypes.c_void_p(code.enter), ctypes.c_void_p(team.ctypes.data), threads, 0
    )
