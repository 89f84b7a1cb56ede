"""Running a cell on TensorFlow: as NumPy functions, called directly or by tf.numpy_function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from anyrnn.keras.backends import CellCall, no_second, tracers
from anyrnn.kernels.callbacks import Callback
from anyrnn.kernels.host import empty, usual_threads

Array = np.ndarray
Tensor = Any


def _threads() -> int:
    """The most threads of a run: those of the cores, or of TensorFlow's own limit."""
    most = usual_threads()
    return min(most, tf.config.threading.get_intra_op_parallelism_threads() or most)


def _call(
    function: Callable[..., list[Array]], tensors: Sequence[Tensor], dtypes: list[Any]
) -> Any:
    """Call a NumPy function with tensors; in a graph, as one operation of it."""
    if tf.executing_eagerly():
        found = function(*(np.asarray(memoryview(tensor)) for tensor in tensors))
        return [tf.convert_to_tensor(array) for array in found]
    return tf.numpy_function(function, tensors, dtypes, stateful=False)


def _forward(callback: Callback, save: bool, *arrays: Array) -> list[Array]:
    """The output, if it is asked for, and the last states; to `save`, the residuals too."""
    batch = callback.read(_threads(), arrays)
    shapes = callback.result_shapes(*batch.x.shape[:2])
    shapes += callback.residual_shapes(*batch.x.shape[:2]) if save else []
    into = [empty(shape, batch.x.dtype) for shape in shapes]
    batch.forward(into)
    return into


def _backward(callback: Callback, wanted: tuple[bool, ...], *arrays: Array) -> list[Array]:
    """The gradients of the input and the parameters that are wanted, and of the states."""
    batch = callback.read(_threads(), arrays)
    asked = [batch.x] * wanted[0] + [*batch.states, *compress(batch.parameters, wanted[1:])]
    into = [empty(array.shape, batch.x.dtype) for array in asked]
    batch.backward(wanted, into)
    return into


def refusal(tensors: Sequence[Tensor]) -> str | None:
    """Why kernels cannot take some tensors; as `anyrnn.keras.backends.refusal`."""
    if tf.executing_eagerly():
        for tensor in tensors:
            device = getattr(tensor, "device", "")
            if device and "CPU" not in device:
                return f"tensors on {device}"
        return None
    if tf.config.list_logical_devices("GPU"):
        return "a graph that may run on a GPU"
    return tracers.exporter() or _xla()


def _xla() -> str | None:
    """Why kernels cannot run in the graph that is being traced: it is for XLA; None if not."""
    for frame in tracers.callers():
        function = frame.f_locals.get("self")
        if isinstance(function, tf.types.experimental.PolymorphicFunction) and getattr(
            function, "_jit_compile", False
        ):
            return "a graph for XLA (jit_compile=True)"
    return None


@tf.autograph.experimental.do_not_convert
def run(call: CellCall) -> tuple[Tensor | None, list[Tensor]]:
    """Run a cell; as `anyrnn.keras.backends.run`."""
    cell, x = call.cell, call.x
    callback = Callback(call.run, *call.options)
    further = [] if call.mask is None else [tf.cast(call.mask, tf.bool)]
    further += [call.seed] if cell.draws else []
    count, whole = callback.results, tf.executing_eagerly() or record.should_record_backprop([x])

    @tf.custom_gradient
    def computed(*tensors: Tensor) -> Any:
        given = [*tensors, *further]

        def forward(save: bool) -> list[Tensor]:
            number = count + len(callback.residual_shapes(0, 0)) * save
            return _call(partial(_forward, callback, save), given, [x.dtype] * number)

        found = forward(call.recorded)

        def derivative(*gradients: Tensor) -> Any:
            saved = (found if call.recorded else forward(True))[count:]
            return _differentiate(callback, given, saved, gradients, whole)

        return found[:count], derivative

    last: list[Tensor] = computed(*map(tf.convert_to_tensor, (x, *call.states, *call.parameters)))
    output = last.pop(0) if call.sequences else None
    if output is not None:
        output.set_shape([*x.shape[:2], cell.output_size.evaluate(dict(call.sizes))])
    for array, state in zip(last, call.states, strict=True):
        array.set_shape(state.shape)
    return output, last


def _differentiate(
    callback: Callback,
    given: list[Tensor],
    residuals: Sequence[Tensor],
    gradients: Sequence[Tensor],
    whole: bool,
) -> Any:
    """The gradients of a run; a second derivative is refused.

    Args:
        callback: The run.
        given: The input, states, parameters, mask and seed of the run.
        residuals: Those of the run.
        gradients: The gradients of the output and the last states.
        whole: Whether all gradients are wanted for sure. If not, that of the input is an operation
            of its own, which TensorFlow prunes from a graph that does not use it.
    """
    cell = callback.run.cell
    number = 1 + len(cell.states) + len(cell.parameters)
    floats = given[:number]
    rest = (True,) * len(cell.parameters)

    @tf.custom_gradient
    def computed(*tensors: Tensor) -> Any:
        def part(*wanted: bool) -> list[Tensor]:
            return _call(
                partial(_backward, callback, wanted),
                [*tensors[:number], *given[number:], *residuals, *tensors[number:]],
                [given[0].dtype] * (sum(wanted) + len(cell.states)),
            )

        if whole:
            found = part(True, *rest)
        else:
            found = [part(True, *(False for _ in rest))[0], *part(False, *rest)]
        return found, no_second

    found = computed(*floats, *gradients)
    for array, tensor in zip(found, floats, strict=True):
        array.set_shape(tensor.shape)
    return found
