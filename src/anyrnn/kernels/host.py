"""What a face uses of this machine besides a target: machine code of its own, and large arrays
whose memory is used again.
"""

from __future__ import annotations

from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.memory import LEAST, empty
from anyrnn.kernels.cpu.machine.processor import host

__all__ = ["LEAST", "Code", "compile_module", "empty"]


def compile_module(text: str, label: str) -> Code:
    """Compile a module of LLVM IR with functions `enter` and `enter_alone` for this machine.

    Raises:
        KernelError: This machine cannot compile.
    """
    return compile_text(text, host(), label)
