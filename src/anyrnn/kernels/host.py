"""What a face uses of this machine besides a target: its cores, machine code of the face's own, a
reader of addresses, and large arrays whose memory is used again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from anyrnn.kernels.cpu.machine.array_reader import array_reader, flag_of
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.memory import LEAST, empty
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program.row_placement import place_rows

__all__ = [
    "LEAST",
    "Code",
    "array_reader",
    "compile_module",
    "empty",
    "flag_of",
    "free_memory",
    "place_rows",
    "usable_cores",
    "usual_threads",
]


def compile_module(text: str, label: str) -> Code:
    """Compile a module of LLVM IR with functions `enter` and `enter_alone` for this machine.

    Raises:
        KernelError: This machine cannot compile.
    """
    return compile_text(text, host(), label)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_threads() -> int:
    """As many as there are cores; fewer if OMP_NUM_THREADS says so."""
    cores = usable_cores()
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def free_memory() -> int | None:
    """How many bytes this process can still have, by what the system and its container tell; None
    where they tell nothing.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) << 10)
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text("ascii") for name in ("max", "current"))
        found.append(max(int(limit) - int(used), 0))  # ValueError where the limit is "max"
    if not found and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)
