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
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.placed_rows import PlacedRows
from anyrnn.kernels.cpu.program.prepared_commands import TABLE, WORD

PARALLEL = 1 << 16  # elements from which on several threads pay

SOURCE, DESTINATION, PLACES = map(PackingJob._fields.index, ("source", "destination", "places"))
STRIDES = slice(SOURCE + 1, SOURCE + 3)


@lru_cache(maxsize=16)
def _code(arithmetic: Arithmetic, placed: bool) -> Code:
    label = f"packing ({arithmetic.dtype}, {arithmetic.operand.value})"
    return compile_text(packing.kernel(arithmetic, placed), arithmetic.processor, label)


def write(
    commands: CommandBuffer,
    jobs: Sequence[tuple[PackingJob, BufferView | PlacedRows, BufferView]],
    elements: int,
    operand: Operand = Operand.PLAIN,
) -> None:
    """Append a command that packs matrices, each into a buffer; of so many elements at most. The
    rows of all or of none are placed.

    The job says at which offset in bytes, as `destination`; `source` and the strides are filled in
    here.
    """
    if not jobs:
        return
    counts = [[*job] for job, *_ in jobs]
    given = [matrix for _, matrix, _ in jobs]
    placed = [matrix for matrix in given if isinstance(matrix, PlacedRows)]
    matrices = [matrix.array if isinstance(matrix, PlacedRows) else matrix for matrix in given]
    for words, matrix in zip(counts, matrices, strict=True):
        words[STRIDES] = matrix.steps
    numbers = np.array([[n if isinstance(n, int) else 0 for n in words] for words in counts])
    table = commands.counts([word for words in counts for word in words])
    starts = table + len(PackingJob._fields) * np.arange(len(jobs))
    commands.point_at(starts + SOURCE, matrices)
    for start, matrix in zip(starts.tolist(), placed, strict=False):
        commands.follow(start + PLACES, matrix.start)
    buffers = [buffer for *_, buffer in jobs]
    commands.point_at(starts + DESTINATION, buffers, numbers[:, DESTINATION])
    small = elements < PARALLEL
    threads = 1 if small else commands.threads
    records = np.zeros((1 + threads, 4), np.int64)
    records[:, 1] = len(jobs)
    records[:, 2] = np.arange(-1, threads)
    records[:, 3] = threads
    records[0, 2:] = 0, 1  # the fallback for one thread
    pairs = zip(matrices, buffers, strict=True)
    places = [(m.block, m.offset, into.block, into.offset) for m, into in pairs]
    commands.note(numbers.tobytes(), places)
    code = _code(commands.arithmetic._replace(operand=operand), bool(placed))
    first = commands.enter(code, records, ())
    commands.point(first + 4 * np.arange(1 + threads), TABLE, table * WORD)
