"""Run a cell over sequences with the kernels of a target, with our own derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.kernels.run import (
    Array,
    ArrayInterface,
    Arrays,
    DeviceArrays,
    DeviceSteps,
    Reader,
    Run,
    Slot,
)
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch import operations_path
from anyrnn.torch.changes import changes
from anyrnn.torch.known_run import CallLayout, KnownRun, known_run
from anyrnn.torch.tensors import (
    DTYPES,
    NO_MEMORY,
    REQUIRES_GRAD,
    TYPES,
    Results,
    addresses,
    beside,
    changed_since,
    check_parameters,
    dense,
    is_mixed,
    maker,
    number,
    problem,
)
from anyrnn.torch.torch_ops import TORCH
from anyrnn.torch.tracing import FUNCTORCH


def array(tensor: Tensor) -> Array:
    """The memory of a tensor as an array."""
    return tensor.detach().resolve_neg().numpy()


def _on_arrays(function: Callable[..., Tensor]) -> Callable[..., Array]:
    """PyTorch's function on NumPy arrays: its threads are awake already."""

    def computed(*arrays: Array, **bounds: Any) -> Array:
        return function(*(torch.from_numpy(np.asarray(part)) for part in arrays), **bounds).numpy()

    return computed


def _reader(slots: Sequence[Slot]) -> Reader:
    """What reads tensors: all are looked at in each call, because a parameter may have other memory
    without a sign.
    """
    shapes, dtypes = [slot.shape for slot in slots], [TYPES[slot.dtype] for slot in slots]

    def read(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[int]]:
        starts = addresses(tensors, shapes, dtypes)
        if starts is not None:
            return tensors, starts
        found = [*map(_ready, tensors, slots, dtypes)]
        return found, [*map(Tensor.data_ptr, found)]

    return read


def _ready(tensor: Tensor, slot: Slot, dtype: torch.dtype) -> Tensor:
    """A tensor that is contiguous and has memory.

    Raises:
        ArrayError: It is not as the slot says.
    """
    try:
        if tensor.shape == slot.shape and tensor.dtype is dtype and tensor.is_cpu:
            tensor = dense(tensor)
            if tensor.data_ptr():
                return tensor
    except RuntimeError:
        pass
    wrong = problem(tensor, slot.shape, dtype, torch.device("cpu"))
    raise ArrayError(*slot.name, wrong or "has no memory: its storage was freed")


def _moved(array: Any, like: Tensor) -> Tensor:
    """An array on the device of a tensor, without waiting for it."""
    return beside(array if isinstance(array, Tensor) else torch.from_numpy(array), like.device)


@contextmanager
def _entered(like: Tensor) -> Iterator[None]:
    kind = like.device.type
    mixed = torch.autocast(kind, enabled=False) if is_mixed(kind) else nullcontext()
    with mixed, torch.cuda.device(like.device) if like.is_cuda else nullcontext():
        yield


def _queue(like: Tensor) -> int | None:
    if not like.is_cuda:
        return 0
    if torch.cuda.is_current_stream_capturing():
        return None
    return torch.cuda.current_stream(like.device).cuda_stream


def _recorded(launches: Callable[[], None], like: Tensor) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(torch.cuda.Stream(like.device)):
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            launches()
        finally:
            graph.capture_end()
    return graph.replay


def _tf32() -> bool:
    """Whether PyTorch may multiply float32 in TF32, by its new switch where it has that."""
    switches: Any = torch.backends.cuda.matmul
    chosen = getattr(switches, "fp32_precision", None)
    return switches.allow_tf32 if chosen is None else chosen == "tf32"


TENSORS = ArrayInterface(
    operations={name: _on_arrays(function) for name, function in TORCH.items()},
    maker=maker,
    reader=_reader,
    address=Tensor.data_ptr,
    view=array,
    changes=changes,
    alias=Tensor.detach,
    on_device=DeviceArrays(
        operations=TORCH,
        float32=torch.float32,
        join=lambda arrays, axis: torch.cat([*arrays], axis),
        moved=_moved,
        entered=_entered,
        queue=_queue,
        recorded=_recorded,
        count=lambda number, like: torch.arange(number, device=like.device),
        number=number,
        tf32=_tf32,
    ),
)


def target_of(tensor: Tensor) -> Target:
    """The target of the device of a tensor."""
    target = target_for(tensor.device.type)
    assert target is not None, "a path is chosen before it is taken"
    return target


def arrays_of(run: Run, seed: Tensor | None, rows: Tensor, tensors: Sequence[Tensor]) -> Arrays:
    """What a run is given: after the rows the states and the stored parameters, in order."""
    count = len(run.cell.states)
    parameters = dict(zip(run.cell.parameter_names, tensors[count:], strict=True))
    return Arrays(TENSORS, rows, tensors[:count], parameters, seed)


class Recording(NamedTuple):
    """What a run is, as one operation of autograd, besides its tensors.

    Attributes:
        run: What is run.
        seed: What random numbers follow from, if there are any.
        layout: How its arrays are laid out.
        known: The same run, if it may have been run before.
        starts: Where its tensors begin, if that is all to know.
    """

    run: Run
    seed: Tensor | None
    layout: CallLayout
    known: KnownRun | None = None
    starts: Sequence[int] | None = None


class _Recorded(torch.autograd.Function):
    """A run as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, call: Recording, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        saved: Sequence[Tensor]
        if call.known is not None and call.starts is not None:
            results, saved, ctx.counters = call.known.enter("record", call.starts)
        else:
            rows = _rows(call.layout, x)
            arrays = arrays_of(call.run, call.seed, rows, tensors)
            output, last, residuals = target_of(rows).record(call.run, arrays)
            saved = (*residuals.values(),)
            results, ctx.counters = _separate(_laid_out(call.layout, x, output, last), saved)
            if call.known is not None:
                call.known.learn("record")
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *tensors, *saved)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        run, seed, layout, known, _ = ctx.call
        saved, needs = ctx.saved_tensors, ctx.needs_input_grad[1:]
        wanted = needs[0], *needs[1 + len(run.cell.states) :]
        changed = any(counter._version for counter in ctx.counters)
        if not (known is None or changed or torch.is_grad_enabled()):
            quick = known.derivative(saved, gradients, wanted)
            if quick is not None:
                return None, *quick
        if layout.batch_first and gradients[0] is not None:
            gradients = gradients[0].transpose(0, 1), *gradients[1:]
        x, *rest = saved
        number = len(run.cell.states) + len(run.cell.parameters)
        given = rest[:number]
        rows = _rows(layout, x)
        shapes = run.output_shape(run.steps.rows), *run.state_shapes(run.steps.batch)
        above = gradients_of(gradients, shapes, rows)
        several = not all(map(torch._C._has_storage, above))  # gradients, under vmap
        if several or torch.is_grad_enabled():
            with torch.enable_grad():
                rows = _rows(layout, x)
            arrays = arrays_of(run, seed, rows, given)
            found = again(partial(_results, run, arrays), arrays.differentiable, above)
        else:
            arrays = arrays_of(run, seed, rows, given)
            residuals = dict(zip(target_of(x).residuals(run), rest[number:], strict=True))
            found = derivative(run, arrays, residuals, changed, above, wanted)
            if known is not None:
                known.learn("backward", wanted)
        x_gradient = found[0]
        if layout.time and x_gradient is not None:
            x_gradient = x_gradient.view(x.shape)
        return None, x_gradient, *found[1:]


# Function.apply where no transform is active, without looking at each argument in Python
apply: Any = super(torch.autograd.Function, _Recorded).apply  # type: ignore[misc]


def _rows(layout: CallLayout, x: Tensor) -> Tensor:
    """The inputs of all steps, step after step."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2]) if layout.time else x


def _laid_out(
    layout: CallLayout, x: Tensor, output: Tensor, last: Sequence[Tensor]
) -> list[Tensor]:
    """Results as a caller wants them."""
    if layout.time:
        output = output.view(*x.shape[:2], -1)
    return [output, *(state.unsqueeze(0) for state in last)] if layout.stacked else [output, *last]


def gradients_of(
    gradients: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...]], like: Tensor
) -> list[Tensor]:
    """The gradients of results as runs take them: zeros for one that nothing depends on."""
    pairs = zip(gradients, shapes, strict=True)
    found = [like.new_zeros(shape) if part is None else part for part, shape in pairs]
    made = zip(found, shapes, strict=True)
    return [part if part.shape == shape else part.reshape(shape) for part, shape in made]


def derivative(
    run: Run,
    arrays: Arrays,
    residuals: Mapping[Any, Tensor],
    changed: bool,
    gradients: Sequence[Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of what a run was given, in order; residuals that were `changed` are made
    again.
    """
    target = target_of(arrays.rows)
    try:
        _check(run, arrays)
        if changed:
            _, _, residuals = target.record(run, arrays)
        x, states, parameters = target.backward(run, arrays, residuals, gradients, wanted)
    except ArrayError as error:
        raise changed_since(run, error) from None
    return x, *states, *map(parameters.get, run.cell.parameter_names)


def _check(run: Run, arrays: Arrays) -> None:
    """Check the parameters of a run whose target does not read addresses.

    Raises:
        ArrayError: One is not as the cell has it.
    """
    if not arrays.rows.is_cpu:
        check_parameters(run, arrays.parameters, arrays.rows)


def _separate(
    arrays: Sequence[Tensor], saved: Iterable[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The results of a run, which are no views, and count changes apart from what is saved; and for
    those that are rows of what is saved, tensors that count with them, without memory.
    """
    read = {id(tensor if tensor._base is None else tensor._base) for tensor in saved}
    results, counters = [], []
    for array in arrays:
        base = array._base
        shared = id(array if base is None else base) in read
        if shared or base is not None:
            array = array.data
        if shared:
            counters.append(array.detach())
            counters[-1].data = NO_MEMORY if array.is_cpu else array.new_empty(0)
        results.append(array)
    return results, counters


def _results(run: Run, arrays: Arrays) -> list[Tensor]:
    """The output and the last states, in PyTorch operations."""
    output, last = operations_path.execute(run, arrays)
    return [output, *last]


def again(
    compute: Callable[[], Sequence[Tensor]],
    inputs: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """The derivative as an expression, to be differentiated or for several gradients at a time: the
    results of a run are computed again in PyTorch operations from the same inputs.
    """
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    twice = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        found = torch.autograd.grad(
            compute(), wanted, list(gradients), create_graph=twice, allow_unused=True
        )
    given = iter(found)
    return tuple(next(given) if tensor.requires_grad else None for tensor in inputs)


def over(run: Run, batch_sizes: Sequence[int] | DeviceSteps, rows: Tensor) -> Run:
    """The run over so many rows at each step, with the threads of PyTorch."""
    return run.over(batch_sizes, DTYPES.get(rows.dtype), torch.get_num_threads())


def execute(run: Run, arrays: Arrays, stacked: bool = False) -> Results:
    """Run a cell over sequences of falling lengths.

    Args:
        run: What to run, with its steps.
        arrays: What it is given; its rows may be (time, batch, input) too.
        stacked: Whether the last states are to be (1, batch, size).

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).

    Raises:
        ArrayError: A tensor is not as the cell has it.
    """
    x, states, parameters = arrays.rows, arrays.states, arrays.parameters
    layout = CallLayout(x.dim() == 3, stacked)
    tensors = [x, *states, *map(parameters.__getitem__, run.cell.parameter_names)]
    recorded = torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors))
    known = starts = None
    try:
        _check(run, arrays)
        if layout.time:
            tensors[0] = x.contiguous()
        enters = layout.time and x.is_cpu and x.dtype in DTYPES
        if enters and arrays.seed is None and arrays.packed is None:
            known = known_run(target_of(x), run, TENSORS, layout)
            starts = known.starts("record" if recorded else "forward", tensors)
        if recorded:
            call = Recording(run, arrays.seed, layout, known, starts)
            if FUNCTORCH.peek_interpreter_stack() is None:
                output, *last = apply(call, *map(FUNCTORCH.unwrap_if_dead, tensors))
            else:
                output, *last = _Recorded.apply(call, *tensors)  # type: ignore[misc]
        elif known is not None and starts is not None:
            output, *last = known.enter("forward", starts)[0]
        else:
            found = target_of(x).forward(run, arrays._replace(rows=_rows(layout, tensors[0])))
            output, *last = _laid_out(layout, x, *found)
            if known is not None:
                known.learn("forward")
    except ArrayError as error:
        raise ArrayError(error.kind, run.name_of(error.name), error.problem) from None
    return output, tuple(last)
