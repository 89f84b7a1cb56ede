"""What the writers of a kernel's parts share: its function, the words of its record, and where
values are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anyrnn.graph.keys import Name
from anyrnn.graph.nodes import Node
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit.arithmetic import Arithmetic
from anyrnn.kernels.cpu.emit.assembly import Function
from anyrnn.kernels.cpu.emit.record import ArrayFields, Field, Record
from anyrnn.schedule.forms import Schedule


@dataclass(frozen=True)
class Step:
    """The registers of a step."""

    clock: str  # the step, counted from the beginning of the sequence
    offset: str  # its first row in the arrays of all steps
    last_row: str  # the end of the rows that this thread computes
    current: dict[Name, str]  # the states before it
    next: dict[Name, str]  # the states after it


class Context:
    """What the writers of a kernel's stages share."""

    step: Step  # the step that is being written

    def __init__(
        self, function: Function, arithmetic: Arithmetic, schedule: Schedule, record: Record
    ) -> None:
        self.function, self.arithmetic, self.v = function, arithmetic, arithmetic.vectors(function)
        self.schedule, self.record = schedule, record
        self._words: dict[Field, str] = {}
        self._states = {leaf: leaf.name for leaf in schedule.graph.leaves("state")}
        self._new_states: dict[Node, list[Name]] = {}
        for name, node in schedule.new_states.items():
            self._new_states.setdefault(node, []).append(name)

    def load_words(self) -> None:
        """Load the whole record."""
        for field in self.record.fields:
            at = self.function.element("%record", str(field.index), "i64")
            type_ = "ptr" if field.is_address else "i64"
            self._words[field] = self.function.value(f"load {type_}, ptr {at}", "word")

    def word(self, field: Field) -> str:
        """The register of a word of the record."""
        return self._words[field]

    def size(self, size: Size) -> str:
        """A size, as a register or a literal."""
        return self.word(self.record.sizes[size]) if size.terms else str(size.constant)

    @contextmanager
    def rows(self) -> Iterator[str]:
        """A loop over the rows of this thread: the row."""
        first, _ = self.record.rows
        with self.function.loop("row", self.word(first), self.step.last_row) as row:
            yield row

    def element(self, address: str, stride: str, row: str, unit: str) -> str:
        """The address of an element of a row-major array."""
        start = self.function.integer("mul", row, stride)
        offset = self.function.integer("add", start, unit)
        return self.function.element(address, offset, self.v.scalar)

    def array_element(self, array: ArrayFields, row: str, unit: str) -> str:
        """The same for an array of the record."""
        return self.element(self.word(array.address), self.word(array.stride), row, unit)

    def _sequence_element(self, array: ArrayFields, row: str, unit: str) -> str:
        """The same for an array of the rows of all steps."""
        number = self.function.integer("add", self.step.offset, row)
        if array.places is not None:
            return self.placed_element(array, number, unit)
        return self.array_element(array, number, unit)

    def placed_element(self, array: ArrayFields, number: str, unit: str) -> str:
        """The same for the row of all steps that has a number, where rows have places."""
        at = self._place(array, number)
        return self.array_element(array, self.function.value(f"load i64, ptr {at}", "place"), unit)

    def _place(self, array: ArrayFields, number: str) -> str:
        """The address of the place of such a row."""
        assert array.places is not None
        return self.function.element(self.word(array.places), number, "i64")

    def places_of(self, vector: Node, row: str) -> tuple[ArrayFields, str] | None:
        """Of a vector whose rows are at places in an array: the array, and the address of the place
        of a row.
        """
        array = self.record.loop_inputs.get(vector)
        if array is None or array.places is None or vector in self.record.copies:
            return None
        return array, self._place(array, self.function.integer("add", self.step.offset, row))

    def _state_element(self, states: dict[Name, str], name: Name, row: str, unit: str) -> str:
        stride = self.word(self.record.states[name].stride)
        return self.element(states[name], stride, row, unit)

    def scratch(self, offset: str | int) -> str:
        """The address of an element of the thread's own memory."""
        return self.function.element(self.word(self.record.scratch), str(offset), self.v.scalar)

    def address(self, node: Node, row: str, unit: str) -> str:
        """Where a value that is in memory is read."""
        record = self.record
        if node in self._states:
            return self._state_element(self.step.current, self._states[node], row, unit)
        if node in record.loop_inputs:
            return self._sequence_element(record.loop_inputs[node], row, unit)
        if node in record.between:
            return self.array_element(record.between[node], row, unit)
        if node in self._new_states:
            return self._state_element(self.step.next, self._new_states[node][0], row, unit)
        return self._sequence_element(record.emitted[node], row, unit)

    def destinations(self, node: Node, row: str, unit: str) -> list[str]:
        """Everywhere that a computed value is written."""
        record, found = self.record, []
        if node in record.between:
            found.append(self.array_element(record.between[node], row, unit))
        for name in self._new_states.get(node, ()):
            found.append(self._state_element(self.step.next, name, row, unit))
        if node in record.emitted:
            found.append(self._sequence_element(record.emitted[node], row, unit))
        if node in record.twice:
            found.append(self._sequence_element(record.twice[node], row, unit))
        for joined, start in self.schedule.joins.get(node, ()):
            offset = self.function.integer("add", unit, self.size(start))
            found += self.destinations(joined, row, offset)
        return found
