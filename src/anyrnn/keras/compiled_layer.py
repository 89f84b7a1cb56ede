"""The loop over time of Keras' recurrent layers, on our kernels where these compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import keras
from keras import ops, tree

from anyrnn.errors import AnyrnnError, InputError
from anyrnn.keras import backends
from anyrnn.keras.cells import CellParts, read
from anyrnn.kernels.path import Path
from anyrnn.kernels.target import default_target

DTYPES = ("float32", "float64")


class CompiledLayer:
    """A mixin, before Keras' class, that replaces the computation of a recurrent layer."""

    cell: Any
    go_backwards: bool
    return_sequences: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool
    _compute_path: Path | None = None
    _kept: tuple[Any, ...] | None = None  # of each cell, in inference
    _supports_jit = True

    @property
    def compute_path(self) -> Path:
        """The path of the last call, with the reason; before any call, that of the next one."""
        if self._compute_path is not None:
            return self._compute_path
        if self.cell.compute_dtype != self.cell.variable_dtype:
            return Path("keras", f"tensors of {self.cell.compute_dtype}")
        weights = [variable.value for variable in self.cell.trainable_variables]
        before_build = [ops.zeros((), self.cell.compute_dtype)]
        return _choose(_read(self.cell, training=False), weights or before_build)

    @property
    def supports_jit(self) -> bool:
        """Whether a model may compile the layer: no kernel of ours can be a part of XLA's code on
        TensorFlow.
        """
        return self._supports_jit and keras.backend.backend() != "tensorflow"

    @supports_jit.setter
    def supports_jit(self, value: bool) -> None:
        self._supports_jit = value

    def keep_weights(self, keep: bool) -> None:
        """Keep packed weights from one call to the next from now on, or no longer."""
        if not keep:
            self._kept = None
        elif self._kept is None:
            self._kept = tuple(backends.kept_weights() for _ in _cells(self.cell))

    def _maybe_config_dropout_masks(self, cell: Any, input_sequence: Any, input_state: Any) -> None:
        """Draw no masks before the path is known: kernels draw recurrent dropout themselves."""

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """As the layer of Keras.

        Raises:
            InputError: The input has no step, or what `inner_loop` raises.
        """
        own: Any = super()
        try:
            backends.check_steps(sequences)
            return own.call(sequences, initial_state=initial_state, mask=mask, training=training)
        except AnyrnnError as error:
            error._keras_call_info_injected = True  # type: ignore[attr-defined] - says all by itself
            raise

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, Any]:
        """Run the cell over time.

        Args:
            sequences: The inputs, (batch, time, input).
            initial_state: The states, each (batch, size).
            mask: Whether each step counts, (batch, time), or None.
            training: Whether dropout is on.

        Returns:
            The last output, all outputs and the last states, as Keras' own loop returns them.

        Raises:
            InputError: The mask or a state does not fit the inputs, or Keras' own loop cannot take
                the mask.
        """
        mask, states = _mask(mask, sequences), tree.flatten(initial_state)
        parts = _read(self.cell, training)
        weights = [] if isinstance(parts, str) else [part.weights() for part in parts]
        self._compute_path = _choose(parts, [sequences, *states, *chain(*weights)])
        if isinstance(parts, str) or self._compute_path.name != "compiled":
            self._check_own_loop(mask)
            own: Any = super()
            own._maybe_config_dropout_masks(self.cell, sequences[:, 0, :], initial_state)
            return own.inner_loop(sequences, initial_state, mask, training)
        _check_states(parts, states)
        shape: Any = ops.shape(sequences)
        states = [  # as in Keras' own loop, one row is that of every sequence
            ops.broadcast_to(state, (shape[0], state.shape[1])) if state.shape[0] == 1 else state
            for state in states
        ]
        if self.stateful:  # they are variables, which change in place
            states = [ops.copy(state) for state in states]
        final = parts[-1].cell
        is_state = final.output == final.states[0]
        outputs, last, ended = sequences, [], []
        for place, part in enumerate(parts):
            layer, cell = part.layer, part.cell
            if part.masks_input:
                outputs = outputs * ops.expand_dims(layer.get_dropout_mask(outputs[:, 0, :]), 1)
            backwards = self.go_backwards and not place
            call = backends.CellCall(
                cell,
                part.sizes,
                outputs,
                states[len(last) : len(last) + len(cell.states)],
                weights[place],
                recorded=bool(training),
                mask=mask,
                reverse=backwards,
                sequences=place < len(parts) - 1 or self.return_sequences or not is_state,
                seed=layer.seed_generator.next() if cell.draws else None,
                kept=None if self._kept is None else self._kept[place],
            )
            outputs, ended = backends.run(call)
            last += ended
            if backwards and mask is not None:
                mask = ops.flip(mask, axis=1)
        if outputs is None:
            last_output = self._last_output(ended[0], mask)
            outputs = ops.expand_dims(last_output, 1)
        else:
            outputs = self._masked(outputs, mask, states[-len(ended)] if is_state else None)
            last_output = outputs[:, -1]
        return last_output, outputs, tree.pack_sequence_as(initial_state, last)

    @property
    def _begins_with_state(self) -> bool:
        """Whether Keras' loop takes the first state, if it is the output, for the output before."""
        return keras.backend.backend() == "jax" and not self.unroll

    def _last_output(self, last: Any, mask: Any) -> Any:
        """The last output with what Keras has at a step that does not count.

        Args:
            last: The last state that is the output.
            mask: Whether each step counts, in the order of the outputs.
        """
        if mask is None or (self._begins_with_state and not self.zero_output_for_mask):
            return last
        there = mask[:, -1:] if self.zero_output_for_mask else ops.any(mask, axis=1, keepdims=True)
        return ops.where(there, last, ops.zeros_like(last))

    def _masked(self, outputs: Any, mask: Any, before: Any) -> Any:
        """The outputs with what Keras has at steps that do not count.

        Args:
            outputs: The outputs, carried over such steps.
            mask: Whether each step counts, in the order of the outputs.
            before: The state before all steps that is the output; None where no state is.
        """
        if mask is None:
            return outputs
        if self.zero_output_for_mask:
            counts, other = ops.expand_dims(mask, -1), ops.zeros_like(outputs)
        elif before is not None and self._begins_with_state:
            begun = ops.greater(ops.cumsum(ops.cast(mask, "int32"), axis=1), 0)
            counts, other = ops.expand_dims(begun, -1), ops.expand_dims(before, 1)
        else:
            return outputs
        return ops.where(counts, outputs, other)

    def _check_own_loop(self, mask: Any) -> None:
        """Check that Keras' own loop takes a mask for the cell.

        Raises:
            InputError: It does not.
        """
        if mask is None or keras.backend.backend() != "jax":
            return
        parts = read(_cells(self.cell)[-1], training=False)
        if isinstance(parts, CellParts) and parts.cell.output != parts.cell.states[0]:
            raise InputError(
                f"Keras' loop on the JAX backend takes no mask for the cell '{parts.cell.name}', "
                "whose output is no state, and the compiled path is not open: "
                f"{self.compute_path.reason}; leave out the mask, or use another backend"
            )


def _choose(parts: list[CellParts] | str, tensors: Sequence[Any]) -> Path:
    """The path of a call.

    Args:
        parts: What `_read` gives for the cell of the layer.
        tensors: What the call computes from: input, states, parameters.
    """
    if isinstance(parts, str):
        return Path("keras", parts)
    types = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors}
    for dtype in types:
        if dtype not in DTYPES:
            return Path("keras", f"tensors of {dtype}")
    if len(types) > 1:
        return Path("keras", f"tensors of {' and '.join(sorted(types))}")
    dtype, target = types.pop(), default_target()
    refused = backends.refusal(tensors) or target.refusal(None, dtype)
    if refused is not None:
        return Path("keras", refused)
    return Path("compiled", f"{dtype} on this CPU ({target.name})")


def _cells(cell: Any) -> list[Any]:
    """The cells of a layer: one, or those that Keras stacks."""
    return cell.cells if type(cell) is keras.layers.StackedRNNCells else [cell]


def _read(cell: Any, training: bool) -> list[CellParts] | str:
    """The parts of each cell of a layer; or the reason why one has none."""
    found = []
    for own in _cells(cell):
        parts = read(own, training)
        if isinstance(parts, str):
            return parts
        found.append(parts)
    return found


def _check_states(parts: Sequence[CellParts], states: Sequence[Any]) -> None:
    """Check the number of initial states.

    Raises:
        InputError: It is not that of the cells' states.
    """
    names = [name for part in parts for name in part.cell.states]
    if len(states) != len(names):
        raise InputError(
            f"{len(states)} initial states are given; expected {len(names)}: {', '.join(names)}"
        )


def _mask(mask: Any, sequences: Any) -> Any:
    """The mask as booleans, (batch, time).

    Raises:
        InputError: It does not fit the inputs.
    """
    mask = mask[0] if isinstance(mask, list | tuple) else mask
    if mask is None:
        return None
    mask, wanted = ops.cast(mask, "bool"), tuple(sequences.shape[:2])
    if len(mask.shape) == 3 and mask.shape[-1] == 1:
        mask = ops.squeeze(mask, -1)
    given = tuple(mask.shape)
    known = zip(given, wanted, strict=False)
    if len(given) != 2 or any(a != b for a, b in known if a is not None and b is not None):
        raise InputError(f"the mask has shape {given}; expected (batch, time) = {wanted}")
    return mask
