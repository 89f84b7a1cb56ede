"""Batch runner for callback frameworks: the shapes of the residuals depend on the shapes of the
inputs, never on the mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np

from anyrnn.graph.randomness import WORD
from anyrnn.kernels.host import empty
from anyrnn.kernels.padded_run import PaddedRun
from anyrnn.kernels.row_layout import lay_out
from anyrnn.kernels.run import Array, Run
from anyrnn.kernels.step_rows import AllSteps, SomeSteps
from anyrnn.kernels.target import default_target

Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Callback:
    """What a framework calls back for: a run over a batch of sequences, without its arrays.

    Attributes:
        run: What is run, forwards.
        turned: Whether it begins with the last step of the input; its outputs come in the order in
            which they are computed.
        sequences: Whether there is an output, of all steps; else there are the last states only.
        masked: Whether a mask is among the arrays, after the parameters.
        seeded: Whether a seed is, at the end.
    """

    run: Run
    turned: bool
    sequences: bool
    masked: bool
    seeded: bool

    @property
    def results(self) -> int:
        """The number of results: the output, if there is one, and the last states."""
        return self.sequences + len(self.run.cell.states)

    def result_shapes(self, batch: Any, time: Any) -> list[Shape]:
        """The shapes of the output, if there is one, and of the last states."""
        outputs = [self.run.output_shape(batch, time)] * self.sequences
        return outputs + self.run.state_shapes(batch)

    def residual_shapes(self, batch: Any, time: Any) -> list[Shape]:
        """The shapes of the residuals: one row for each step of each sequence, whatever a mask
        says.
        """
        residuals = default_target().residuals(self.run).values()
        return [part.shape(time * batch, batch) for part in residuals]

    def read(self, threads: int, arrays: Iterable[Array]) -> Batch:
        """The batch that arrays are of: the inputs, states and parameters, a mask and a seed; for
        `backward` then the residuals, and the gradients of the results.
        """
        given = iter(arrays)
        return Batch(
            self,
            threads,
            next(given),
            [next(given) for _ in self.run.cell.states],
            [next(given) for _ in self.run.cell.parameters],
            next(given) if self.masked else None,
            next(given) if self.seeded else None,
            [*given],
        )


@dataclass(frozen=True)
class Batch:
    """A run over a batch of sequences, with its arrays.

    Attributes:
        callback: What is run.
        threads: The most threads to use.
        x: The inputs, (batch, time, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters, matrices transposed.
        mask: Whether each step counts, (batch, time); all do if None. States and outputs are
            carried over those that do not.
        seed: What random numbers follow from, for a cell that draws some: one whole number, or two
            words.
        further: For `backward` what `forward` has kept, and the gradients of the results.
    """

    callback: Callback
    threads: int
    x: Array
    states: list[Array]
    parameters: list[Array]
    mask: Array | None
    seed: Array | None
    further: list[Array]

    def forward(self, into: Sequence[Array]) -> None:
        """Compute the output, if there is one, the last states, and what `backward` needs, if there
        are arrays for it too.
        """
        count, made = self.callback.results, self._padded
        into, kept = into[:count], into[count:]
        room = self._parts(kept) if kept else {}
        output, last, saved = made.forward(bool(kept), room)
        places = iter(into)
        if self.callback.sequences:
            made.steps.write_outputs(output, next(places).transpose(1, 0, 2))
        for array, state in zip(places, last, strict=True):
            np.copyto(array, state)
        for array, (name, own) in zip(kept, room.items(), strict=True):
            part = saved.get(name, array[:0])
            array[len(part) :] = 0
            if part is not own:
                array[: len(part)] = part

    def backward(self, wanted: Sequence[bool], into: Sequence[Array]) -> None:
        """Compute the gradients of the input, the initial states and the parameters.

        Args:
            wanted: Whether the gradient of the input is wanted, and of each parameter.
            into: The arrays to write them into; of those that are not wanted, there are none.
        """
        made, count = self._padded, len(self.further) - self.callback.results
        kept, gradients = self.further[:count], self.further[count:]
        states = gradients[self.callback.sequences :]
        given, places = (self._parts(kept), self._of_output(gradients), states, wanted), iter(into)
        of_x = self._ordered(next(places)) if wanted[0] else None
        _, begun, totals = made.backward(*given, of_x)
        for state in begun:
            np.copyto(next(places), state)
        for name in compress(made.arrays.parameters, wanted[1:]):
            np.copyto(next(places), totals.get(name, 0))

    def _of_output(self, gradients: Sequence[Array]) -> Array:
        """The gradient of the output of each row: zero where there is no output."""
        made = self._padded
        if self.callback.sequences:
            return made.steps.outputs_back(gradients[0].transpose(1, 0, 2))
        zeros = empty(made.run.output_shape(len(made.arrays.rows)), self.x.dtype)
        zeros.fill(0)
        return zeros

    def _ordered(self, array: Array) -> Array:
        """An array laid out as the input, in the order in which steps are computed, time first."""
        array = array.transpose(1, 0, 2)
        return array[::-1] if self.callback.turned else array

    def _steps(self) -> AllSteps:
        batch, time, _ = self.x.shape
        layout = None
        if self.mask is not None:
            mask = self.mask[:, ::-1] if self.callback.turned else self.mask
            layout = lay_out(("batch", "time"), (batch, time), mask=mask)
        return AllSteps(time, batch) if layout is None else SomeSteps(layout, True)

    @cached_property
    def _padded(self) -> PaddedRun:
        run = self.callback.run._replace(transposed=True)
        return PaddedRun(
            default_target(),
            run,
            self.threads,
            self._steps(),
            self._ordered(self.x),
            self.states,
            dict(zip(run.cell.parameter_names, self.parameters, strict=True)),
            None if self.seed is None else whole_number(self.seed.astype(np.int64)),
        )

    def _parts(self, kept: Sequence[Array]) -> dict[str, Array]:
        """The residuals by name, without the rows that no step has."""
        run = self._padded.run
        rows, batch = run.steps.rows, run.steps.batch
        residuals = default_target().residuals(run).items()
        return {
            name: array[: part.shape(rows, batch)[0]]
            for (name, part), array in zip(residuals, kept, strict=True)
        }


def whole_number(seed: Any) -> Any:
    """A seed as runs take it: one whole number of 64 bits, (1,), of one, or of two words; given a
    framework's array of int64.
    """
    words = seed.reshape(-1)
    return words if len(words) == 1 else words[:1] << 32 | words[1:] & WORD
