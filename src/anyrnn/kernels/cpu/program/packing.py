"""The packing of matrices, as a command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from anyrnn.kernels.cpu.emit import packing
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import TABLE, WORD, CommandBuffer

PARALLEL = 1 << 16  # elements from which on several threads pay

SOURCE, DESTINATION = map(PackingJob._fields.index, ("source", "destination"))
STRIDES = slice(SOURCE + 1, SOURCE + 3)


@lru_cache(maxsize=16)
def _code(arithmetic: Arithmetic) -> Code:
    label = f"packing ({arithmetic.dtype}, {arithmetic.operand.value})"
    return compile_text(packing.kernel(arithmetic), arithmetic.processor, label)


def write(
    commands: CommandBuffer,
    jobs: Sequence[PackingJob],
    matrices: Sequence[BufferView],
    destinations: Sequence[BufferView],
    operand: Operand = Operand.PLAIN,
) -> None:
    """Append a command that packs matrices.

    Each is packed into its buffer, from the offset in bytes on that its job has as `destination`;
    `source` and the strides are filled in here.
    """
    if not jobs:
        return
    numbers = np.array(jobs, np.int64)
    for job, matrix in zip(numbers, matrices, strict=True):
        job[STRIDES] = matrix.steps
    table = commands.table(numbers)
    start = table
    for job, matrix, buffer in zip(jobs, matrices, destinations, strict=True):
        commands.point(start + SOURCE, matrix.block, matrix.offset)
        commands.point(start + DESTINATION, buffer.block, buffer.offset + job.destination)
        start += len(PackingJob._fields)
    small = sum(job.units * job.length for job in jobs) < PARALLEL
    threads = 1 if small else commands.threads
    records = np.zeros((1 + threads, 4), np.int64)
    records[:, 1] = len(jobs)
    records[:, 2] = np.arange(-1, threads)
    records[:, 3] = threads
    records[0, 2:] = 0, 1  # the fallback for one thread
    first = commands.enter(_code(commands.arithmetic._replace(operand=operand)), records, ())
    commands.point(first + 4 * np.arange(1 + threads), TABLE, table * WORD)
