"""Padded NumPy arrays as the rows of a run, its results as arrays, and the gradients of both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from anyrnn.kernels.row_layout import Layout
from anyrnn.kernels.run import Array

Arrays = list[Array]


class AllSteps:
    """Sequences whose steps all count.

    Attributes:
        batch_sizes: The number of rows of each step.
    """

    def __init__(self, time: int, batch: int) -> None:
        self._shape = time, batch
        self.batch_sizes = [batch] * time or [0]

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of all steps, and the initial states of the sequences that they make."""
        return x.reshape(-1, x.shape[2]), states

    def outputs(self, rows: Array) -> Array:
        """The output, (time, batch, size), given its rows."""
        return rows.reshape(*self._shape, rows.shape[1])

    def last(self, last: Sequence[Array], states: Arrays) -> Arrays:
        """The last states, given those of the sequences of rows, and the initial ones."""
        return [*last]

    def outputs_back(self, output: Array) -> Array:
        """The gradients of the rows of the output, given those of the output."""
        return output.reshape(-1, output.shape[2])

    def last_back(self, states: Arrays) -> tuple[Arrays, Arrays]:
        """The gradients of the last states of the sequences of rows, and of the initial ones as far
        as `last` read them, given those of what it made.
        """
        return states, []

    def inputs_back(self, rows: Array) -> Array:
        """The gradient of the input, (time, batch, input), given those of its rows."""
        return rows.reshape(*self._shape, rows.shape[1])

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
        self._shape, self._layout, self._places = layout.shape, layout, layout.places()
        self.batch_sizes = layout.batch_sizes
        self._begin, self._end, self._carry = layout.begin(False), layout.end(False), carry

    @cached_property
    def _carried(self) -> Array:
        """Which row the output of each step is, (time, batch)."""
        return self._layout.carried()

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of the steps that count, and the initial states of the sequences they make."""
        rows = x[np.divmod(self._places, self._shape[1])]
        return rows, [np.concatenate([state, state])[self._begin] for state in states]

    def outputs(self, rows: Array) -> Array:
        """The output, given its rows."""
        if not self._carry:
            return self.inputs_back(rows)
        return np.concatenate([rows, np.zeros_like(rows, shape=(1, rows.shape[1]))])[self._carried]

    def last(self, last: Sequence[Array], states: Arrays) -> Arrays:
        """The last states."""
        both = zip(last, states, strict=True)
        return [np.concatenate([part, state, state])[self._end] for part, state in both]

    def outputs_back(self, output: Array) -> Array:
        """The gradients of the rows."""
        if self._carry and output.any():
            output = _collected(output, self._carried)
        return output.reshape(-1, output.shape[2]).take(self._places, axis=0)

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
        time, batch = self._shape
        found = np.zeros_like(rows, shape=(time * batch, rows.shape[1]))
        found[self._places] = rows
        return found.reshape(*self._shape, rows.shape[1])

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
