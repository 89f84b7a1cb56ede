"""How a kernel computes: on which CPU, in which type, with which matrices."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from anyrnn.kernels.cpu.emit import quantised
from anyrnn.kernels.cpu.emit.assembly import Function, Vectors
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.kernels.run import INT8


class Arithmetic(NamedTuple):
    """What the code of a kernel depends on besides its schedule.

    Attributes:
        processor: The CPU.
        double: float64 instead of float32.
        operand: What products multiply.
        packed: Whether matrices are packed; if not, they are read as they are.
        short: Whether matrices that are not packed are bfloat16 in memory.
    """

    processor: Processor
    double: bool
    operand: Operand = Operand.PLAIN
    packed: bool = True
    short: bool = False

    @property
    def lanes(self) -> int:
        """The number of elements of a vector register."""
        return self.processor.lanes(self.double)

    @property
    def registers(self) -> int:
        """The number of vector registers, but for those that one multiplication needs: where there
        is no instruction that multiplies and adds, its products.
        """
        return self.processor.registers - (self.operand is Operand.WORDS)

    @property
    def dtype(self) -> str:
        """The name of the type of arrays."""
        return "float64" if self.double else "float32"

    @property
    def matrix_element(self) -> str:
        """LLVM's type of an element of a matrix that is not packed."""
        return "i16" if self.short else "double" if self.double else "float"

    @property
    def attributes(self) -> str:
        """The attributes of every function: LLVM keeps to the vector width of the text."""
        width = self.processor.bits
        return f'nounwind "prefer-vector-width"="{width}" "min-legal-vector-width"="{width}"'

    @property
    def declarations(self) -> str:
        """The declarations of intrinsics that LLVM has had with other types."""
        dots = self.operand is Operand.BYTES
        return quantised.declaration(self.lanes) if dots else ""

    def kernel(self) -> Function:
        """The function `kernel`, whose argument is the address of a record, to be written."""
        arguments = [("ptr noalias", "record")]
        # in line, its arithmetic could move to where subnormal numbers are not yet flushed
        return Function("kernel", arguments, f"noinline {self.attributes}", internal=False)

    def vectors(self, function: Function) -> Vectors:
        """Arithmetic on vector registers in a function."""
        return Vectors(function, self.lanes, self.double, self.processor.fused)


def arithmetic(
    processor: Processor,
    dtype: Any,
    precision: str | None = None,
    packed: bool = True,
    short: bool = False,
) -> Arithmetic:
    """How to compute in a type, with products in a precision: `bfloat16`, or `int8` of packed
    matrices; None for the same.
    """
    operand = Operand.PLAIN
    if precision == INT8:
        operand = Operand.BYTES if processor.multiplies_bytes else Operand.WORDS
    elif precision is not None:
        operand = Operand.PAIRS if processor.bfloat16 and packed else Operand.ROUNDED
    return Arithmetic(processor, np.dtype(dtype) == np.float64, operand, packed, short)
