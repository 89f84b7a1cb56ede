"""What a compiled cell makes of a sequence of NumPy arrays, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyrnn.derivative.through_time import Gradients
from anyrnn.errors import InputError
from anyrnn.kernels.padded_run import PaddedRun
from anyrnn.kernels.run import Array

if TYPE_CHECKING:
    from anyrnn.kernels.compiled_cell import Compiled


@dataclass(frozen=True)
class Result:
    """What a compiled cell makes of a sequence.

    Attributes:
        output: (time, batch, output size).
        states: The last states, each (batch, size).
    """

    output: Array
    states: tuple[Array, ...]
    _saved: tuple[Compiled, PaddedRun, dict[str, Array]] | None = field(repr=False)

    def backward(
        self,
        output_gradient: Array | None = None,
        state_gradients: Sequence[Array] | None = None,
    ) -> Gradients:
        """The gradients of a number with respect to what the sequence was computed from.

        Input, parameters and outputs must not have been changed since.

        Args:
            output_gradient: The number's gradient with respect to the output, (time, batch, output
                size); zeros if not given.
            state_gradients: Its gradients with respect to the last states; zeros if not given.

        Returns:
            The gradients of the input, the initial states and the parameters.

        Raises:
            InputError: The forward run was not asked to save what this needs, or a shape or a type
                does not fit.
        """
        if self._saved is None:
            raise InputError(
                "nothing was saved to go backward with; run forward(..., save=True) first"
            )
        (compiled, made, residuals), shape = self._saved, self.output.shape
        if output_gradient is None:
            output_gradient = np.zeros(shape, compiled.dtype)
        output_gradient = compiled._check("the gradient of the output", output_gradient, shape)
        if state_gradients is None:
            state_gradients = [np.zeros_like(state) for state in self.states]
        states = compiled._states("the gradient of the state", state_gradients, shape[1])
        wanted, parameters = [True] * (1 + len(compiled._shapes)), made.arrays.parameters
        rows = made.steps.outputs_back(output_gradient)
        x, states, totals = made.backward(residuals, rows, states, wanted)
        assert x is not None
        gradients = {
            name: totals[name] if name in totals else np.zeros_like(array)
            for name, array in parameters.items()
        }
        return Gradients(x, tuple(states), gradients)
