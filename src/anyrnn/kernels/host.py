"""What a face uses of this machine besides a target: its cores, machine code of the face's own, and
large arrays whose memory is used again.
"""

from __future__ import annotations

import os

from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.memory import LEAST, empty
from anyrnn.kernels.cpu.machine.processor import host

__all__ = ["LEAST", "Code", "compile_module", "empty", "usable_cores", "usual_threads"]


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
