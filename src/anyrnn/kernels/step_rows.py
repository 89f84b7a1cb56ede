"""Padded NumPy arrays as the rows of a run, its results as arrays, and the gradients of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from anyrnn.kernels.host import empty
from anyrnn.kernels.row_layout import Layout
from anyrnn.kernels.run import Array

Arrays = list[Array]


def _lined_up(array: Array) -> tuple[Array, bool]:
    """An array (time, batch, size), perhaps a view of one with the batch first, as rows in the
    order of its memory, and whether the batch comes first there; a copy if it has another order.
    """
    batch_first = array.transpose(1, 0, 2)
    turned = batch_first.flags.c_contiguous and not array.flags.c_contiguous
    return (batch_first if turned else array).reshape(-1, array.shape[2]), turned


def _put_back(rows: Array, array: Array) -> None:
    """Copy rows that `_lined_up` gave to where they come from, if they are a copy."""
    if not np.may_share_memory(rows, array):
        array[...] = rows.reshape(array.shape)


def _in_order(array: Array) -> Array:
    """An array (time, batch, size) as rows, one step after another."""
    if not array.flags.c_contiguous:
        ordered = empty(array.shape, array.dtype)
        np.copyto(ordered, array)
        array = ordered
    return array.reshape(-1, array.shape[2])


def _taken(rows: Array, places: Array) -> Array:
    """Some rows, in memory that is used again."""
    found = empty((len(places), rows.shape[1]), rows.dtype)
    return np.take(rows, places, axis=0, out=found, mode="clip")  # others copy the result once more


class AllSteps:
    """Sequences whose steps all count. Arrays (time, batch, size) may be views of others with the
    batch first.

    Attributes:
        batch_sizes: The number of rows of each step.
    """

    def __init__(self, time: int, batch: int) -> None:
        self._shape = time, batch
        self.batch_sizes = [batch] * time or [0]

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of all steps, and the initial states of the sequences that they make."""
        return _in_order(x), states

    def outputs(self, rows: Array) -> Array:
        """The output, (time, batch, size), given its rows."""
        return rows.reshape(*self._shape, rows.shape[1])

    def write_outputs(self, rows: Array, into: Array) -> None:
        """Write what `outputs` gives into an array."""
        np.copyto(into, self.outputs(rows))

    def last(self, last: Sequence[Array], states: Arrays) -> Arrays:
        """The last states, given those of the sequences of rows, and the initial ones."""
        return [*last]

    def outputs_back(self, output: Array) -> Array:
        """The gradients of the rows of the output, given those of the output."""
        return _in_order(output)

    def last_back(self, states: Arrays) -> tuple[Arrays, Arrays]:
        """The gradients of the last states of the sequences of rows, and of the initial ones as far
        as `last` read them, given those of what it made.
        """
        return states, []

    def inputs_back(self, rows: Array) -> Array:
        """The gradient of the input, (time, batch, input), given those of its rows."""
        return rows.reshape(*self._shape, rows.shape[1])

    def write_inputs_back(self, rows: Array, into: Array) -> None:
        """Write what `inputs_back` gives into an array."""
        np.copyto(into, self.inputs_back(rows))

    def begun_back(self, begun: Sequence[Array], states: Arrays) -> Arrays:
        """The gradients of the initial states, given those of what `enter` made, and those that
        come from `last_back`.
        """
        return [*begun]


class SomeSteps(AllSteps):
    """Sequences of which some steps do not count, or before some of whose steps states are put
    back.

    Args:
        layout: Which, and where the others are.
        carry: Whether the output is carried over steps that do not count; else it is zero there.
    """

    def __init__(self, layout: Layout, carry: bool) -> None:
        self._shape, self._layout = layout.shape, layout
        self.batch_sizes = layout.batch_sizes
        self._begin, self._end, self._carry = layout.begin(False), layout.end(False), carry

    @cached_property
    def _carried(self) -> Array:
        """Which row the output of each step is, (time, batch)."""
        return self._layout.carried()

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of the steps that count, and the initial states of the sequences they make."""
        lined_up, batch_first = _lined_up(x)
        rows = _taken(lined_up, self._layout.places(batch_first))
        return rows, [np.concatenate([state, state])[self._begin] for state in states]

    def outputs(self, rows: Array) -> Array:
        """The output, given its rows."""
        found = empty((*self._shape, rows.shape[1]), rows.dtype)
        self.write_outputs(rows, found)
        return found

    def write_outputs(self, rows: Array, into: Array) -> None:
        """Write the output into an array."""
        if not self._carry:
            self.write_inputs_back(rows, into)
            return
        lined_up, batch_first = _lined_up(into)
        carried = (self._carried.T if batch_first else self._carried).ravel()
        if len(rows):
            np.take(rows, carried, axis=0, out=lined_up, mode="clip")
        lined_up[carried == len(rows)] = 0
        _put_back(lined_up, into)

    def last(self, last: Sequence[Array], states: Arrays) -> Arrays:
        """The last states."""
        both = zip(last, states, strict=True)
        return [np.concatenate([part, state, state])[self._end] for part, state in both]

    def outputs_back(self, output: Array) -> Array:
        """The gradients of the rows."""
        lined_up, batch_first = _lined_up(output)
        if self._carry and lined_up[self._layout.rest(batch_first)].any():
            output = _collected(output, self._carried)
            lined_up, batch_first = _lined_up(output)
        return _taken(lined_up, self._layout.places(batch_first))

    def last_back(self, states: Arrays) -> tuple[Arrays, Arrays]:
        """The gradients of the last states of the sequences of rows, and of the initial ones."""
        batch, count = self._shape[1], self._layout.sequences
        last, given = [], []
        for state in states:
            ended = np.zeros_like(state, shape=(count + 2 * batch, state.shape[1]))
            ended[self._end] = state
            last.append(ended[:count])
            given.append(ended[count:][:batch] + ended[count:][batch:])
        return last, given

    def inputs_back(self, rows: Array) -> Array:
        """The gradient of the input: the rows where they belong, and zeros elsewhere."""
        found = empty((*self._shape, rows.shape[1]), rows.dtype)
        self.write_inputs_back(rows, found)
        return found

    def write_inputs_back(self, rows: Array, into: Array) -> None:
        """Write the gradient of the input into an array."""
        lined_up, batch_first = _lined_up(into)
        lined_up[self._layout.rest(batch_first)] = 0
        lined_up[self._layout.places(batch_first)] = rows
        _put_back(lined_up, into)

    def begun_back(self, begun: Sequence[Array], states: Arrays) -> Arrays:
        """The gradients of the initial states."""
        batch, total = self._shape[1], []
        for part, state in zip(begun, states, strict=True):
            started = np.zeros_like(part, shape=(2 * batch, part.shape[1]))
            np.add.at(started, self._begin, part)
            total.append(state + started[:batch] + started[batch:])
        return total


def _collected(output: Array, carried: Array) -> Array:
    """At each step that counts the sum over it and those that its output is carried over."""
    total, same = output.copy(), carried[1:] == carried[:-1]
    for step in reversed(np.flatnonzero(same.any(axis=1))):
        columns = np.flatnonzero(same[step])
        total[step, columns] += total[step + 1, columns]
    return total
