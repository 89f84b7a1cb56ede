"""Bindings a cell on TensorFlow: as functions on NumPy arrays, in graphs and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import record

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.keras.backends import NO_SECOND, tracers
from anyrnn.kernels import callbacks
from anyrnn.kernels.callbacks import Batch
from anyrnn.kernels.compiled_cell import usual_threads
from anyrnn.kernels.host import empty
from anyrnn.kernels.run import Run
from anyrnn.kernels.target import default_target

Array = np.ndarray
Tensor = Any


def _threads() -> int:
    """As many as there are cores, or as TensorFlow may use inside of an operation."""
    most = usual_threads()
    return min(most, tf.config.threading.get_intra_op_parallelism_threads() or most)


def _call(
    function: Callable[..., list[Array]], tensors: Sequence[Tensor], dtypes: list[Any]
) -> Any:
    """Call a function of arrays with tensors."""
    if tf.executing_eagerly():
        found = function(*(np.asarray(memoryview(tensor)) for tensor in tensors))
        return [tf.convert_to_tensor(array) for array in found]
    return tf.numpy_function(function, tensors, dtypes, stateful=False)


class _Job:
    """What is run, besides tensors, and how: each way is a function of the tensors' arrays.

    Args:
        run: The run.
        turned: Whether it begins with the last step.
        sequences: Whether the output of all steps is a result.
        masked: Whether a mask is among the tensors, after the parameters.
        seeded: Whether a seed is, at the end.
        dtype: The type of all others.
    """

    def __init__(
        self, run: Run, turned: bool, sequences: bool, masked: bool, seeded: bool, dtype: Any
    ) -> None:
        self.run, self.turned, self.sequences = run, turned, sequences
        self.masked, self.seeded, self.dtype = masked, seeded, dtype
        self.results = sequences + len(run.cell.states)
        self.residuals = len(default_target().residuals(run))

    def _read(self, arrays: Sequence[Array]) -> tuple[Batch, list[Array]]:
        options = self.turned, self.sequences, _threads(), self.masked, self.seeded
        return callbacks.read(self.run, *options, arrays)

    def forward(self, *arrays: Array) -> list[Array]:
        """The output, if it is a result, and the last states."""
        batch, _ = self._read(arrays)
        shapes = callbacks.result_shapes(self.run, *batch.x.shape[:2], sequences=self.sequences)
        into = _made(shapes, batch.x.dtype)
        batch.forward(into)
        return into

    def record(self, *arrays: Array) -> list[Array]:
        """What `forward` gives, and what is kept."""
        batch, _ = self._read(arrays)
        shapes = callbacks.result_shapes(self.run, *batch.x.shape[:2], sequences=self.sequences)
        shapes += callbacks.kept_shapes(self.run, *batch.x.shape[:2])
        into = _made(shapes, batch.x.dtype)
        batch.record(into)
        return into

    def backward(self, wanted: tuple[bool, ...], *arrays: Array) -> list[Array]:
        """The gradients of the input and the parameters that are wanted, and of the states."""
        batch, more = self._read(arrays)
        count = self.residuals
        given = [batch.x, *batch.states, *batch.parameters]
        into = _made(
            [array.shape for array, asked in zip(given, self.asked(wanted), strict=True) if asked],
            batch.x.dtype,
        )
        batch.backward(more[:count], more[count:], wanted, into)
        return into

    def asked(self, wanted: tuple[bool, ...]) -> list[bool]:
        """Whether `backward` gives a gradient: of the input, the states and the parameters."""
        return [wanted[0], *(True for _ in self.run.cell.states), *wanted[1:]]


def _made(shapes: Sequence[tuple[int, ...]], dtype: Any) -> list[Array]:
    return [empty(shape, dtype) for shape in shapes]


def _no_second(*_: Tensor) -> Any:
    raise InputError(NO_SECOND)


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
    """Whether the graph that is being traced is for XLA."""
    for frame in tracers.callers():
        function = frame.f_locals.get("self")
        if isinstance(function, tf.types.experimental.PolymorphicFunction) and getattr(
            function, "_jit_compile", False
        ):
            return "a graph for XLA (jit_compile=True)"
    return None


@tf.autograph.experimental.do_not_convert
def run(
    cell: Cell,
    sizes: Mapping[str, int],
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Sequence[Tensor],
    mask: Tensor | None,
    reverse: bool,
    sequences: bool,
    seed: Tensor | None,
    recorded: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Run a cell; as `anyrnn.keras.backends.run`."""
    job = _Job(
        Run(cell, tuple(sizes.items())), reverse, sequences, mask is not None, cell.draws, x.dtype
    )
    further = [] if mask is None else [tf.cast(mask, tf.bool)]
    further += [seed] if cell.draws else []
    count, whole = job.results, tf.executing_eagerly() or record.should_record_backprop([x])

    @tf.custom_gradient
    def computed(*given: Tensor) -> Any:
        kept: list[Tensor] = []
        if recorded:
            found = _call(job.record, [*given, *further], [x.dtype] * (count + job.residuals))
            found, kept = found[:count], found[count:]
        else:
            found = _call(job.forward, [*given, *further], [x.dtype] * count)

        def derivative(*gradients: Tensor) -> Any:
            remembered = kept
            if not recorded:
                number = count + job.residuals
                remembered = _call(job.record, [*given, *further], [x.dtype] * number)[count:]
            return _differentiate(job, [*given, *further], remembered, gradients, whole)

        return found, derivative

    last: list[Tensor] = computed(*map(tf.convert_to_tensor, (x, *states, *parameters)))
    output = last.pop(0) if sequences else None
    if output is not None:
        output.set_shape([*x.shape[:2], cell.output_size.evaluate(dict(sizes))])
    for array, state in zip(last, states, strict=True):
        array.set_shape(state.shape)
    return output, last


def _differentiate(
    job: _Job, given: list[Tensor], kept: Sequence[Tensor], gradients: Sequence[Tensor], whole: bool
) -> Any:
    """The gradients of a run; a further derivative of these is refused.

    Args:
        job: What was run.
        given: What it was run with.
        kept: What was kept.
        gradients: The gradients of the output and the last states.
        whole: Whether all of them are wanted for sure. If not, that of the input is an operation
            of its own: a graph leaves out what nothing comes of.
    """
    cell = job.run.cell
    number = 1 + len(cell.states) + len(cell.parameters)
    floats = given[:number]
    rest = (True,) * len(cell.parameters)

    @tf.custom_gradient
    def computed(*tensors: Tensor) -> Any:
        def part(*wanted: bool) -> list[Tensor]:
            return _call(
                partial(job.backward, wanted),
                [*tensors[:number], *given[number:], *kept, *tensors[number:]],
                [job.dtype] * sum(job.asked(wanted)),
            )

        if whole:
            found = part(True, *rest)
        else:
            found = [part(True, *(False for _ in rest))[0], *part(False, *rest)]
        return found, _no_second

    found = computed(*floats, *gradients)
    for array, tensor in zip(found, floats, strict=True):
        array.set_shape(tensor.shape)
    return found
