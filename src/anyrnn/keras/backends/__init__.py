"""Running a cell with Keras' tensors: one module for each backend of Keras, with one function,
`run`, that Keras' loop over time is replaced with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras import config

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import Run

BACKENDS = ("torch", "jax", "tensorflow")


def no_second(*_: Any) -> Any:
    """In the place of a second derivative.

    Raises:
        InputError: Always.
    """
    raise InputError(
        "a second derivative was asked for, which compiled cells do not have on this backend; use "
        "Keras' own layer, or the torch backend"
    )


def refusal(tensors: Sequence[Any]) -> str | None:
    """Why kernels cannot run with some tensors, in a few words.

    Args:
        tensors: What a call computes from: input, states, parameters.

    Returns:
        The reason (a device, an export, ...); None if they can.
    """
    name = config.backend()
    return _backend(name).refusal(tensors) if name in BACKENDS else f"Keras' backend '{name}'"


def kept_weights() -> Any:
    """Where a cell of a layer keeps packed weights from one call to the next; None on backends on
    which it gains nothing.

    A callback of JAX or TensorFlow is given memory, which does not tell whether it was written. To
    compare it with a copy takes as long as to pack it, which from Keras' layout is a copy too.
    """
    name = config.backend()
    made = getattr(_backend(name), "KeptWeights", None) if name in BACKENDS else None
    return None if made is None else made()


class CellCall(NamedTuple):
    """A cell, and the tensors of Keras' backend that it is run over.

    Attributes:
        cell: The cell.
        sizes: The named sizes as numbers.
        x: The inputs, (batch, time, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters, in the order of `cell.parameters`; matrices transposed,
            as Keras has them.
        recorded: Whether a derivative is likely to be asked for.
        mask: Whether each step counts, (batch, time). Over a step that does not count, states and
            output are carried; before the first that counts the output is zero.
        reverse: Whether to go from the last step to the first, as `go_backwards` does: the outputs
            come in the order in which they are computed.
        sequences: Whether the outputs are asked for, not the last states only.
        seed: What random numbers follow from, for a cell that draws some: one whole number, or the
            two that Keras' SeedGenerator gives.
        kept: What `kept_weights` gave the layer, if it keeps packed weights.
    """

    cell: Cell
    sizes: Mapping[str, int]
    x: Any
    states: Sequence[Any]
    parameters: Sequence[Any]
    recorded: bool
    mask: Any = None
    reverse: bool = False
    sequences: bool = True
    seed: Any = None
    kept: Any = None

    @property
    def run(self) -> Run:
        """What is run, forwards."""
        return Run(self.cell, tuple(self.sizes.items()))

    @property
    def options(self) -> tuple[bool, bool, bool, bool]:
        """The fields of a `Callback` besides its run."""
        return self.reverse, self.sequences, self.mask is not None, self.cell.draws


def run(call: CellCall) -> tuple[Any, list[Any]]:
    """Run a cell over sequences with the backend of Keras, which can differentiate it.

    Args:
        call: The cell, and what it is run over.

    Returns:
        The outputs, (batch, time, size), or None if nobody asks for them, and the last states.

    Raises:
        InputError: Keras has another backend, or a shape does not fit.
    """
    _check_shapes(call)
    return _backend(config.backend()).run(call)


def check_steps(x: Any) -> None:
    """Check that an input, (batch, time, input), has a step.

    Raises:
        InputError: It has none.
    """
    if len(x.shape) == 3 and x.shape[1] == 0:
        raise InputError(
            f"the input has shape {tuple(x.shape)}: a sequence length of 0; expected at least one "
            "step"
        )


def _check_shapes(call: CellCall) -> None:
    """Whether shapes fit, as far as they are known: kernels go by addresses.

    Raises:
        InputError: They do not.
    """
    cell, sizes, x = call.cell, call.sizes, call.x
    batch, time = tuple(x.shape[:2]) if len(x.shape) == 3 else (None, None)
    check_steps(x)
    wanted: list[tuple[str, Any, tuple[int | None, ...]]] = [
        ("the input", x, (batch, time, sizes["input"]))
    ]
    for name, state, size in zip(cell.states, call.states, cell.state_sizes, strict=True):
        wanted.append((f"the state {name}", state, (batch, size.evaluate(sizes))))
    for stored, given in zip(cell.parameters, call.parameters, strict=True):
        wanted.append((f"the parameter {stored.name}", given, stored.shape_for(sizes)[::-1]))
    if call.mask is not None:
        wanted.append(("the mask", call.mask, (batch, time)))
    for what, tensor, shape in wanted:
        found = tuple(tensor.shape)
        if len(found) != len(shape) or not all(
            None in pair or pair[0] == pair[1] for pair in zip(found, shape, strict=True)
        ):
            raise InputError(f"{what} has shape {found}; expected {shape}")


def _backend(name: str) -> Any:
    if name not in BACKENDS:
        raise InputError(
            f"Keras' backend is '{name}'; anyrnn runs on {', '.join(BACKENDS)}: set KERAS_BACKEND"
        )
    return importlib.import_module(f"anyrnn.keras.backends.{name}")
