"""Views of the blocks of memory that recorded commands work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.prepared_commands import WEIGHTS, WORKSPACE, Step
from anyrnn.kernels.cpu.program.varying import Count, Varying
from anyrnn.kernels.run import Array

LINE = 64  # bytes of a cache line
FIRST = 4  # the first block of a caller's, a result or a constant

Located = tuple[int, int]  # a block and an offset in it


@dataclass
class Recording:
    """Commands one after another.

    Attributes:
        block: The block of the arrays that they leave for others.
        room: The bytes of it.
        commands: The commands of the executor.
        steps: Functions of Python; between them the number of commands before.
    """

    block: int
    room: int = 0
    commands: list[tuple[Any, ...]] = field(default_factory=list)
    steps: list[Step | int] = field(default_factory=list)

    def pause(self) -> None:
        """End a job of the executor."""
        self.steps.append(len(self.commands))


class BlockViews:
    """The blocks of memory of commands, and views of them.

    Attributes:
        dtype: The type of the arrays, where no other is given.
        given: The arrays that a caller gives.
        results: Those that are made for each run.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.given: list[BufferView] = []
        self.results: list[BufferView] = []
        self._first, self._rest = Recording(WEIGHTS), Recording(WORKSPACE)
        self._recording = self._rest
        self._blocks = FIRST
        self._constants: list[tuple[int, Array]] = []
        self._shifted: dict[Any, tuple[int, int, Varying]] = {}  # blocks that begin in another one

    def _block(
        self, shape: Sequence[Count], dtype: Any = None, block: int | None = None
    ) -> BufferView:
        kind = self.dtype if dtype is None else np.dtype(dtype)
        strides: list[int] = []
        size: Any = kind.itemsize
        for length in reversed(shape):
            strides.append(size)
            size = size * length
        if block is None:
            block = self._blocks
            self._blocks += 1
        return BufferView(block, 0, tuple(shape), tuple(reversed(strides)), kind)

    def give(
        self, shape: Sequence[Count], dtype: Any = None, name: tuple[str, str] = ("array", "")
    ) -> BufferView:
        """An array that the caller of a run gives, contiguous; in the order of these calls. For
        messages, its name says what it is, and what it is called.
        """
        self.given.append(self._block(shape, dtype))
        self.given[-1].name = name
        return self.given[-1]

    def result(self, shape: Sequence[Count]) -> BufferView:
        """An array that is allocated for each run, and returned."""
        self.results.append(self._block(shape))
        return self.results[-1]

    def scratch(self, shape: Sequence[Any], dtype: Any = None) -> BufferView:
        """An array in the workspace, aligned to a cache line."""
        view = self._block(shape, dtype, self._recording.block)
        view.offset = self._recording.room
        self._recording.room += -(-view.bytes // LINE) * LINE
        return view

    def _locate(self, view: BufferView) -> Located:
        """The block and the offset of a view; where the offset varies, a block that begins there
        but for a known offset.
        """
        if isinstance(view.offset, int):
            return view.block, view.offset
        key, varying = (view.block, view.offset.key), view.offset - view.offset.constant
        if key not in self._shifted:
            self._shifted[key] = self._blocks, view.block, varying
            self._blocks += 1
        return self._shifted[key][0], view.offset.constant

    def constant(self, array: Array) -> BufferView:
        """An array that is the same in every run."""
        array = np.ascontiguousarray(array)
        view = self._block(array.shape, array.dtype)
        self._constants.append((view.block, array))
        return view
