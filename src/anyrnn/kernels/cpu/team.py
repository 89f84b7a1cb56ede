"""The threads that run a kernel: the OpenMP team that the process has already.

A second pool beside the OpenMP workers of a framework, which keep spinning for a while after each
of its parallel regions, would halve the speed on few cores.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from anyrnn.kernels.cpu.engine import Code

Run = Callable[[int, int, int], None]


@lru_cache(maxsize=1)
def _gomp() -> tuple[ctypes.CDLL, int] | None:
    """The GNU OpenMP runtime in this process, if there is one."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return None
    found = re.search(r"(/\S*libgomp[^\s/]*)", maps.read_text())
    if found is None:
        return None
    library = ctypes.CDLL(found.group(1))
    number = ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p).value
    return (library, number) if number else None


def run(code: Code, records: np.ndarray) -> None:
    """Run a kernel with one record of numbers for each thread.

    Args:
        code: The compiled kernel.
        records: (threads, numbers), whole numbers.
    """
    threads = len(records)
    team = np.empty(1 + records.size, np.int64)
    team[1:] = records.ravel()
    found = _gomp() if threads > 1 else None
    if found is None:
        enter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.enter_alone)
        enter(team.ctypes.data)
        return
    library, team[0] = found
    library.GOMP_parallel(
        ctypes.c_void_p(code.enter), ctypes.c_void_p(team.ctypes.data), threads, 0
    )


def available() -> bool:
    """Whether several threads can run a kernel."""
    return _gomp() is not None
