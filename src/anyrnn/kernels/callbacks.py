"""Batch runner for callback frameworks: the shapes of the residuals depend on the shapes of the
inputs, never on the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyrnn.graph.randomness import WORD
from anyrnn.kernels.host import empty
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.packing import Parts, Whole
from anyrnn.kernels.row_layout import lay_out
from anyrnn.kernels.run import Array, Run
from anyrnn.kernels.target import Target, default_target

Shape = tuple[Any, ...]


def result_shapes(run: Run, batch: Any, time: Any, sequences: bool) -> list[Shape]:
    """The shapes of the output, if `sequences`, and of the last states."""
    sizes = dict(run.sizes)
    states = [(batch, size.evaluate(sizes)) for size in run.cell.state_sizes]
    return [run.output_shape(batch, time)] * sequences + states


def kept_shapes(run: Run, batch: Any, time: Any) -> list[Shape]:
    """The shapes of the residuals: one row for each step of each sequence, whatever a mask says."""
    residuals = default_target().residuals(run).values()
    return [(part.rows(time * batch, batch), part.width) for part in residuals]


@dataclass(frozen=True)
class Batch:
    """A run over a batch of sequences.

    Attributes:
        run: What is run, forwards.
        turned: Whether it begins with the last step of the input; its outputs come in the order in
            which they are computed.
        sequences: Whether there is an output, of all steps; else there are the last states only.
        threads: The most threads to use.
        x: The inputs, (batch, time, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters.
        mask: Whether each step counts, (batch, time); all do if None. States and outputs are
            carried over those that do not.
        seed: What random numbers follow from, for a cell that draws some: one whole number, or two
            words.
    """

    run: Run
    turned: bool
    sequences: bool
    threads: int
    x: Array
    states: list[Array]
    parameters: list[Array]
    mask: Array | None
    seed: Array | None

    def forward(self, into: Sequence[Array]) -> None:
        """Compute the output, if there is one, and the last states.

        Args:
            into: The arrays to write them into.
        """
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            self._forward(into, ())

    def record(self, into: Sequence[Array]) -> None:
        """Compute what `forward` does, and what `backward` needs.

        Args:
            into: The arrays to write all of it into.
        """
        count = self.sequences + len(self.states)
        with np.errstate(all="ignore"):
            self._forward(into[:count], into[count:])

    def _forward(self, into: Sequence[Array], kept: Sequence[Array]) -> None:
        steps = self._steps()
        rows, begun = steps.enter(self._ordered(self.x), self.states)
        found, last, saved, room = None, begun, {}, {}
        if len(rows):
            run = self._over(steps)
            given = run, NUMPY_ARRAYS, rows, begun, self.parameters, self._words()
            if kept:
                room = self._parts(kept, run)
                found, last, saved = self.target.record(*given, room)
            else:
                found, last = self.target.forward(*given)
        places = iter(into)
        if self.sequences:
            output = next(places)
            if found is None:
                output.fill(0)
            else:
                np.copyto(output, steps.outputs(found).transpose(1, 0, 2))
        for array, state in zip(places, steps.last(last, self.states), strict=True):
            np.copyto(array, state)
        for array, name in zip(kept, self.target.residuals(self.run), strict=False):
            part = saved.get(name, array[:0])
            array[len(part) :] = 0
            if part is not room.get(name):
                array[: len(part)] = part

    def backward(
        self,
        kept: Sequence[Array],
        gradients: Sequence[Array],
        wanted: Sequence[bool],
        into: Sequence[Array],
    ) -> None:
        """Compute the gradients of the input, the initial states and the parameters.

        Args:
            kept: What `record` has kept.
            gradients: The gradients of the output, if there is one, and of the last states.
            wanted: Whether the gradient of the input is wanted, and of each parameter.
            into: The arrays to write them into; of those that are not wanted, there are none.
        """
        with np.errstate(all="ignore"):
            self._backward(kept, gradients, wanted, into)

    def _backward(
        self,
        kept: Sequence[Array],
        gradients: Sequence[Array],
        wanted: Sequence[bool],
        into: Sequence[Array],
    ) -> None:
        steps, names = self._steps(), self.run.parameter_names
        rows, _ = steps.enter(self._ordered(self.x), self.states)
        begun, given = steps.last_back([*gradients[self.sequences :]])
        x, totals = None, {}
        if len(rows):
            run = self._over(steps)
            x, begun, totals = self.target.backward(
                run,
                NUMPY_ARRAYS,
                rows,
                self._parts(kept, run),
                self.parameters,
                [self._of_output(steps, len(rows), gradients), *begun],
                wanted,
                self._words(),
            )
        places = iter(into)
        if wanted[0]:
            x = np.zeros_like(rows) if x is None else x
            self._ordered(next(places))[...] = steps.inputs_back(x)
        for state in steps.begun_back(begun, given):
            np.copyto(next(places), state)
        for name, asked in zip(names, wanted[1:], strict=True):
            if asked:
                np.copyto(next(places), totals.get(name, 0))

    def _of_output(self, steps: Whole, rows: int, gradients: Sequence[Array]) -> Array:
        """The gradient of the output of each row: zero where there is no output."""
        if self.sequences:
            return steps.outputs_back(np.ascontiguousarray(gradients[0].transpose(1, 0, 2)))
        zeros = empty(self.run.output_shape(rows), self.x.dtype)
        zeros.fill(0)
        return zeros

    def _ordered(self, array: Array) -> Array:
        """An array laid out as the input, in the order in which steps are computed, time first."""
        array = array.transpose(1, 0, 2)
        return array[::-1] if self.turned else array

    def _steps(self) -> Whole:
        batch, time, _ = self.x.shape
        layout = None
        if self.mask is not None:
            mask = self.mask[:, ::-1] if self.turned else self.mask
            layout = lay_out(("batch", "time"), (batch, time), mask=mask)
        return Whole(time, batch) if layout is None else Parts(layout, True, (time, batch))

    @property
    def target(self) -> Target:
        """What computes."""
        return default_target()

    def _over(self, steps: Whole) -> Run:
        return self.run.over(tuple(steps.batch_sizes), self.x.dtype, self.threads)

    def _words(self) -> Array | None:
        return None if self.seed is None else whole_number(self.seed)

    def _parts(self, kept: Sequence[Array], run: Run) -> dict[str, Array]:
        """The residuals by name, without the rows that no step has."""
        rows, batch = run.steps.rows, run.steps.batch
        residuals = self.target.residuals(run).items()
        return {
            name: array[: part.rows(rows, batch)]
            for (name, part), array in zip(residuals, kept, strict=True)
        }


def read(
    run: Run,
    turned: bool,
    sequences: bool,
    threads: int,
    masked: bool,
    seeded: bool,
    arrays: Iterable[Array],
) -> tuple[Batch, list[Array]]:
    """The batch that arrays are of: the inputs, states and parameters, a mask and a seed.

    Args:
        run: What is run.
        turned: Whether it begins with the last step.
        sequences: Whether there is an output of all steps.
        threads: The most threads to use.
        masked: Whether a mask is among the arrays.
        seeded: Whether a seed is.
        arrays: The arrays, and perhaps more.

    Returns:
        The batch, and the arrays that follow.
    """
    given = iter(arrays)
    batch = Batch(
        run,
        turned,
        sequences,
        threads,
        next(given),
        [next(given) for _ in run.cell.states],
        [next(given) for _ in run.cell.parameters],
        next(given) if masked else None,
        next(given) if seeded else None,
    )
    return batch, list(given)


def whole_number(seed: Array) -> Array:
    """A seed as kernels read it: one whole number of 64 bits, of one, or of two words."""
    words = [int(word) for word in seed.ravel()]
    number = words[0] if len(words) == 1 else words[0] << 32 | words[1] & WORD
    return np.array([number & (1 << 64) - 1], np.uint64).view(np.int64)
