"""A run over padded NumPy arrays, forwards and back, for all faces that have such arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import NOTHING, Array, Arrays, Run
from anyrnn.kernels.step_rows import AllSteps
from anyrnn.kernels.target import Target


class PaddedRun:
    """A run over a batch of sequences.

    Args:
        target: What computes it.
        run: What is run, without its steps.
        threads: The most threads to use.
        steps: Which steps count.
        x: The inputs, (time, batch, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        seed: What random numbers follow from, for a cell that draws some.
        packed: Where packed weights are kept from one run to the next, if they are.
    """

    def __init__(
        self,
        target: Target,
        run: Run,
        threads: int,
        steps: AllSteps,
        x: Array,
        states: list[Array],
        parameters: Mapping[str, Array],
        seed: Array | None,
        packed: PackedWeights | None = None,
    ) -> None:
        rows, begun = steps.enter(x, states)
        self.target, self.steps, self.states = target, steps, states
        self.run = run.over(steps.batch_sizes, x.dtype, threads)
        self.arrays = Arrays(NUMPY_ARRAYS, rows, begun, parameters, seed, packed)

    def forward(
        self, save: bool, into: Mapping[Any, Array] = NOTHING
    ) -> tuple[Array, list[Array], dict[Any, Array]]:
        """Run.

        Args:
            save: Whether to save what `backward` needs.
            into: Arrays that this may be written into, by name.

        Returns:
            The rows of the output, the last states, and the residuals by name.
        """
        run, arrays, residuals = self.run, self.arrays, {}
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            if not len(arrays.rows):
                output = np.zeros(run.output_shape(0), run.dtype)
                last = [state.copy() for state in arrays.states]
            elif save:
                output, last, residuals = self.target.record(run, arrays, into)
            else:
                output, last = self.target.forward(run, arrays)
            return output, self.steps.last(last, self.states), residuals

    def backward(
        self,
        residuals: Mapping[Any, Array],
        output: Array,
        states: list[Array],
        wanted: Sequence[bool],
        into: Array | None = None,
    ) -> tuple[Array | None, list[Array], dict[str, Array]]:
        """Compute gradients.

        Args:
            residuals: What `forward` has saved.
            output: The gradients of the rows of the output.
            states: Those of the last states.
            wanted: Whether the gradient of the input is wanted, and of each parameter.
            into: Where to write that of the input, (time, batch, input); a new array if not given.

        Returns:
            The gradients of the input, if it is wanted, of the initial states, and of the
            parameters by name; what has no influence may not be there.
        """
        steps, arrays, x, totals = self.steps, self.arrays, None, {}
        with np.errstate(all="ignore"):
            begun, given = steps.last_back(states)
            if len(arrays.rows):
                above = [output, *begun]
                x, begun, totals = self.target.backward(self.run, arrays, residuals, above, wanted)
            if wanted[0]:
                x = np.zeros_like(arrays.rows) if x is None else x
                if into is None:
                    x = steps.inputs_back(x)
                else:
                    steps.write_inputs_back(x, into)
                    x = into
            return x, steps.begun_back(begun, given), totals
