"""The OpenMP runtime that the process has loaded, if any."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from anyrnn.kernels.cpu.machine.engine import compile_text
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.python_function import function_address

# LLVM's runtime calls a microtask in each thread, with two arguments of its own first.
TEXT = """define void @enter(ptr %thread, ptr %bound, ptr %enter, ptr %team) {
entry:
  call void %enter(ptr %team)
  ret void
}

define void @enter_alone(ptr %team) {
entry:
  ret void
}"""


class _Location(ctypes.Structure):
    """`ident_t` of LLVM's runtime: the source location of a parallel region."""

    _fields_ = (
        ("reserved_1", ctypes.c_int32),
        ("flags", ctypes.c_int32),
        ("reserved_2", ctypes.c_int32),
        ("reserved_3", ctypes.c_int32),
        ("source", ctypes.c_char_p),
    )


Start = Callable[[int, int, int], None]


class OpenMP:
    """A runtime: GNU's, or LLVM's, which is Intel's too.

    Attributes:
        functions: The addresses of omp_get_thread_num and omp_get_num_threads.
        start: Runs a parallel region: the address of a function, its argument, the number of
            threads.
        parallel: The address of GOMP_parallel, which does that in machine code; 0 for LLVM's.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.functions = [
            _address(library, name) for name in ("omp_get_thread_num", "omp_get_num_threads")
        ]
        llvm = hasattr(library, "__kmpc_fork_call")
        self.start = _llvm(library) if llvm else _gnu(library)
        self.parallel = 0 if llvm else _address(library, "GOMP_parallel")


def _address(library: ctypes.CDLL, name: str) -> int:
    return function_address(getattr(library, name))


def _gnu(library: ctypes.CDLL) -> Start:
    parallel = library.GOMP_parallel
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return lambda enter, place, threads: parallel(enter, place, threads, 0)


def _llvm(library: ctypes.CDLL) -> Start:
    code = compile_text(TEXT, host(), "threads")
    this, choose, fork = (
        getattr(library, f"__kmpc_{name}")
        for name in ("global_thread_num", "push_num_threads", "fork_call")
    )
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    this.argtypes, choose.argtypes = [pointer], [pointer, integer, integer]
    fork.argtypes = [pointer, integer, pointer]  # and what the function is called with
    where = ctypes.byref(_Location(flags=2, source=b";anyrnn;;0;0;;"))

    def start(enter: int, place: int, threads: int) -> None:
        choose(where, this(where), threads)
        fork(where, 2, code.enter, pointer(enter), pointer(place))

    return start


def _loaded() -> ctypes.CDLL | None:
    """The runtime in this process; that of PyTorch if there are several."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        found = re.findall(r"(/\S*/lib(?:gomp|omp|iomp5)[-.][^\s/]*)$", maps.read_text(), re.M)
        found.sort(key=lambda path: "/torch/" not in path)
        return ctypes.CDLL(found[0]) if found else None
    if sys.platform == "darwin":
        everything = ctypes.CDLL(None)
        return everything if hasattr(everything, "__kmpc_fork_call") else None
    return None


@lru_cache(maxsize=2)
def runtime(torch: bool) -> OpenMP | None:
    """The runtime in this process; importing PyTorch loads one, so `torch` is part of the key."""
    library = _loaded()
    return None if library is None else OpenMP(library)
