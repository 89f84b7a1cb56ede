"""What goes into a run and what comes out of it, on NumPy arrays, and both backward: for sequences
whose steps all count, and for others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anyrnn.kernels.cpu.instructions import Array
from anyrnn.kernels.sequences import Layout

Arrays = list[Array]


class Whole:
    """Sequences whose steps all count.

    Attributes:
        batch_sizes: The number of rows of each step.
    """

    def __init__(self, time: int, batch: int) -> None:
        self._shape = time, batch
        self.batch_sizes = [batch] * time

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of all steps, and the initial states of the sequences that they make."""
        return x.reshape(-1, x.shape[2]), states

    def leave(self, rows: Array, last: Sequence[Array], states: Arrays) -> tuple[Array, Arrays]:
        """The output, (time, batch, size), and the last states."""
        return rows.reshape(*self._shape, rows.shape[1]), [*last]

    def leave_back(self, output: Array, states: Arrays) -> tuple[Array, Arrays, Arrays]:
        """The gradients of what `leave` took, given those of what it made."""
        return output.reshape(-1, output.shape[2]), states, []

    def enter_back(
        self, rows: Array, begun: Sequence[Array], states: Arrays
    ) -> tuple[Array, Arrays]:
        """The gradients of what `enter` took, given those of what it made; `states` are those that
        came from `leave`.
        """
        return rows.reshape(*self._shape, rows.shape[1]), [*begun]


class Parts(Whole):
    """Sequences of which some steps do not count, or before some of whose steps states are put
    back.

    Args:
        layout: Which, and where the others are.
        carry: Whether the output is carried over steps that do not count; else it is zero there.
        shape: Time and batch.
    """

    def __init__(self, layout: Layout, carry: bool, shape: tuple[int, int]) -> None:
        self._shape, self._layout, self._places = shape, layout, layout.places()
        self.batch_sizes = layout.batch_sizes
        self._begin, self._end = layout.begin(False), layout.end(False)
        self._carried = layout.carried().ravel() if carry else None

    def enter(self, x: Array, states: Arrays) -> tuple[Array, Arrays]:
        """The rows of the steps that count, and the initial states of the sequences they make."""
        rows = x.reshape(-1, x.shape[2]).take(self._places, axis=0)
        return rows, [np.concatenate([state, state])[self._begin] for state in states]

    def leave(self, rows: Array, last: Sequence[Array], states: Arrays) -> tuple[Array, Arrays]:
        """The output, and the last states."""
        if self._carried is None:
            output = self._spread(rows)
        else:
            output = np.concatenate([rows, np.zeros_like(rows, shape=(1, rows.shape[1]))])
            output = output[self._carried]
        both = zip(last, states, strict=True)
        ended = [np.concatenate([part, state, state])[self._end] for part, state in both]
        return output.reshape(*self._shape, rows.shape[1]), ended

    def leave_back(self, output: Array, states: Arrays) -> tuple[Array, Arrays, Arrays]:
        """The gradients of the rows, of the last states and of the initial ones."""
        batch = self._shape[1]
        if self._carried is not None and output.any():
            output = _collected(output, self._carried.reshape(self._shape))
        rows = output.reshape(-1, output.shape[2]).take(self._places, axis=0)
        count = self._layout.sequences
        last, given = [], []
        for state in states:
            ended = _added(count + 2 * batch, self._end, state)
            last.append(ended[:count])
            given.append(ended[count:][:batch] + ended[count:][batch:])
        return rows, last, given

    def enter_back(
        self, rows: Array, begun: Sequence[Array], states: Arrays
    ) -> tuple[Array, Arrays]:
        """The gradients of the input and of the initial states."""
        batch, total = self._shape[1], []
        for part, state in zip(begun, states, strict=True):
            started = _added(2 * batch, self._begin, part)
            total.append(state + started[:batch] + started[batch:])
        return self._spread(rows).reshape(*self._shape, rows.shape[1]), total

    def _spread(self, rows: Array) -> Array:
        """Rows where they belong, and zeros elsewhere."""
        time, batch = self._shape
        found = np.zeros_like(rows, shape=(time * batch, rows.shape[1]))
        found[self._places] = rows
        return found


def _collected(output: Array, carried: Array) -> Array:
    """At each step that counts the sum over it and those that its output is carried over."""
    total, same = output.copy(), carried[1:] == carried[:-1]
    for step in reversed(np.flatnonzero(same.any(axis=1))):
        columns = np.flatnonzero(same[step])
        total[step, columns] += total[step + 1, columns]
    return total


def _added(count: int, index: Array, rows: Array) -> Array:
    """An array of so many rows, with each of some rows added at its place."""
    found = np.zeros_like(rows, shape=(count, rows.shape[1]))
    np.add.at(found, index, rows)
    return found
