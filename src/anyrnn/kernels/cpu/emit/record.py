"""The record of a kernel: the words in memory that its caller writes and its machine code reads.

It is the whole interface between the two: `context` loads the words, `loop_layout` and
`loop_kernel` write them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import partialmethod

from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit.tiles import Group, Tile
from anyrnn.kernels.evaluation import between_stages
from anyrnn.schedule.forms import RowStage, Schedule, Stage


@dataclass(frozen=True)
class Field:
    """A word of a record."""

    index: int  # among the words
    is_address: bool  # whether it is an address; if not, it is an integer


@dataclass(frozen=True)
class ArrayFields:
    """A row-major array; the stride of its rows counts elements."""

    address: Field
    stride: Field
    places: Field | None = None  # the address of where each row is in it, if rows are anywhere


@dataclass(frozen=True)
class StateFields:
    """The two buffers of a state, which swap roles after each step."""

    current: Field
    next: Field
    stride: Field


@dataclass(frozen=True)
class CopyFields:
    """The rounded or quantised copy of a vector that products read, and the number of elements of a
    row.
    """

    rows: ArrayFields
    size: Field


@dataclass(frozen=True)
class GroupFields:
    """The products of a group."""

    lengths: tuple[Field, ...]  # of each vector, in slots of its `Operand`
    weights: Field | None  # the packed matrices; None if they are read as they are
    steps: tuple[Field, Field] | None  # there, in elements: from block to block, from slot to slot
    matrices: tuple[tuple[ArrayFields, ...], ...]  # those: of each accumulator, of each term


@dataclass(frozen=True)
class StageFields:
    """The sizes of a stage; one over rows has no blocks of units."""

    size: Field  # the number of units
    blocks: tuple[Field, Field] | None  # the half-open range that a thread computes
    groups: tuple[GroupFields, ...]


class Record:
    """The fields of the record of a schedule's kernel.

    Attributes:
        fields: All fields, in order.
        threads: The threads that meet at a barrier.
        barrier: The address of the counter that they meet at; null if they never wait.
        give_way: The function of the system that lets another thread have the core.
        steps: The number of steps.
        first_step: The index of the first one that is computed.
        direction: 1, or -1 to go back in time.
        clock: How many steps of the sequence come before index 0, for random numbers.
        seed: The address of what random numbers follow from.
        offsets: The address of the first row of each step, and of the number of all rows.
        rows: The half-open range of rows that a thread computes.
        scratch: The address of a thread's own memory.
        loop_inputs: The arrays that it reads, (rows of all steps, size).
        emitted: The arrays that it writes, (rows of all steps, size).
        twice: Further arrays of what it writes, where rows are anywhere.
        between: The values that one stage leaves in memory for another, (batch, size).
        states: The states, (batch, size).
        copies: The rounded copies, (batch, size).
        stages: The stages.
        matrices: The matrices that are read as they are.
        parameters: What depends on parameters only.
        sizes: The sizes.
    """

    def __init__(
        self,
        schedule: Schedule,
        tiles: Iterable[Tile],
        packed: bool,
        rounded: Iterable[Node],
        constants: Iterable[Node | Size],
        placed: Container[Node] = (),
        twice: Container[Node] = (),
    ) -> None:
        self.fields: list[Field] = []
        integer, address, array = self._integer, self._address, self._array
        self.threads, self.barrier, self.give_way = integer(), address(), address()
        self.steps, self.first_step, self.direction = integer(), integer(), integer()
        self.clock, self.seed, self.offsets = integer(), address(), address()
        self.rows, self.scratch = (integer(), integer()), address()
        self.loop_inputs = {node: array(node in placed) for node in schedule.loop_inputs}
        self.emitted = {node: array(node in placed) for node in schedule.emitted}
        self.twice = {node: array(True) for node in schedule.emitted if node in twice}
        self.between = {node: array() for node in between_stages(schedule)}
        self.states = {
            name: StateFields(address(), address(), integer()) for name in schedule.states
        }
        self.copies = {node: CopyFields(array(), integer()) for node in dict.fromkeys(rounded)}
        self.matrices: list[tuple[Node, ArrayFields]] = []
        stages = zip(schedule.stages, tiles, strict=True)
        self.stages = tuple(self._stage(stage, tile, packed) for stage, tile in stages)
        constants = dict.fromkeys(constants)
        self.parameters = {node: address() for node in constants if isinstance(node, Node)}
        self.sizes = {size: integer() for size in constants if isinstance(size, Size)}

    def __len__(self) -> int:
        """The number of words."""
        return len(self.fields)

    def _field(self, is_address: bool) -> Field:
        self.fields.append(Field(len(self.fields), is_address))
        return self.fields[-1]

    _integer = partialmethod(_field, is_address=False)
    _address = partialmethod(_field, is_address=True)

    def _array(self, placed: bool = False) -> ArrayFields:
        return ArrayFields(self._address(), self._integer(), self._address() if placed else None)

    def _stage(self, stage: Stage | RowStage, tile: Tile, packed: bool) -> StageFields:
        size = self._integer()
        if isinstance(stage, RowStage):
            return StageFields(size, None, ())
        blocks = self._integer(), self._integer()
        return StageFields(size, blocks, tuple(self._group(g, packed) for g in tile.groups))

    def _group(self, group: Group, packed: bool) -> GroupFields:
        lengths = tuple(self._integer() for _ in group.vectors)
        weights = self._address() if packed else None
        steps = (self._integer(), self._integer()) if packed else None
        matrices = []
        for accumulator in () if packed else group.accumulators:
            arrays = [(matrix, self._array()) for matrix, _ in accumulator.terms]
            self.matrices += arrays
            matrices.append(tuple(array for _, array in arrays))
        return GroupFields(lengths, weights, steps, tuple(matrices))
