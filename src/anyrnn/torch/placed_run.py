"""Runs that read padded arrays and write padded ones themselves, forward and backward: no row is
copied before or after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.row_layout import Layout
from anyrnn.kernels.run import Arrays, Run
from anyrnn.kernels.target import places, target_for
from anyrnn.torch import operations_path
from anyrnn.torch.compiled_path import (
    TENSORS,
    again,
    arrays_of,
    derivative,
    gradients_of,
    over,
    target_of,
)
from anyrnn.torch.kept_call import alike
from anyrnn.torch.packed_rows import GatheredRows, Start, flattened
from anyrnn.torch.path import choose, is_ordinary
from anyrnn.torch.tensors import DTYPES, Results, wants_gradient


class _Call(NamedTuple):
    """What a run is, as one operation of autograd, besides its tensors.

    Attributes:
        run: What is run, over the steps of padded arrays.
        back: The same with the steps of its derivative.
        rows: How the input is laid out, without it.
        batch_first: Whether the input has the batch before the time in memory.
    """

    run: Run
    back: Run
    rows: GatheredRows
    batch_first: bool


class _PlacedRun(torch.autograd.Function):
    """A run over padded arrays as one operation of autograd: given the input, (time, batch, input),
    the states that rows begin with, and the parameters.
    """

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = arrays_of(call.run, None, flattened(x)[0], tensors)
        output, last, residuals = target_of(x).record(call.run, arrays)
        ctx.call = call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *tensors, *residuals.values())
        return output.unflatten(0, call.rows.shape).data, *last  # no view

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        call, (x, *rest), needs = ctx.call, ctx.saved_tensors, ctx.needs_input_grad[1:]
        cell, back, rows = call.run.cell, call.back, call.rows
        count, number = len(cell.states), len(cell.states) + len(cell.parameters)
        given, saved = rest[:number], rest[number:]
        shapes = back.output_shape(*rows.shape), *back.state_shapes(rows.batch)
        above = gradients_of(gradients, shapes, x)
        several = not all(map(torch._C._has_storage, above))  # gradients, under vmap
        if several or torch.is_grad_enabled():
            return None, *again(lambda: _results(call, x, given), [x, *given], above)
        arrays = arrays_of(back, None, flattened(x)[0], given)
        residuals = dict(zip(target_of(x).residuals(back), saved, strict=True))
        output, *ends = above
        ends, passed = _ended(call, ends)
        wanted = needs[0], *needs[1 + count :]
        above = [output.flatten(0, -2), *ends]
        into, *found = derivative(back, arrays, residuals, False, above, wanted)
        if into is not None:
            time, batch, _ = x.shape
            shape = (batch, time) if call.batch_first else (time, batch)
            into = into.unflatten(0, shape)
            into = into.transpose(0, 1) if call.batch_first else into
        return None, into, *_begun(call, found[:count], passed), *found[count:]


# as in `compiled_path`
_apply: Any = super(torch.autograd.Function, _PlacedRun).apply  # type: ignore[misc]


def _ended(call: _Call, gradients: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients of the last states as the derivative takes them, given those of the batch: of
    each sequence of rows, where states are put back; and there the gradients of the given states,
    as far as these are last states.
    """
    layout = call.rows.layout
    if not layout.resets:
        return [*gradients], []
    index, count = torch.from_numpy(layout.end(call.run.reverse)), layout.sequences
    ended = []
    for gradient in gradients:
        batch, size = gradient.shape
        ended.append(gradient.new_zeros(count + 2 * batch, size).index_copy_(0, index, gradient))
    return [part[:count] for part in ended], [part[count:] for part in ended]


def _begun(
    call: _Call, gradients: Sequence[Tensor | None], passed: Sequence[Tensor]
) -> list[Tensor | None]:
    """The gradients of the given states, given what the derivative found, and what `_ended` did."""
    if not passed:
        return [*gradients]
    index = torch.from_numpy(call.rows.layout.begin(call.run.reverse))
    pairs = zip(gradients, passed, strict=True)
    return [part if found is None else part.index_add_(0, index, found) for found, part in pairs]


def _results(call: _Call, x: Tensor, given: Sequence[Tensor]) -> list[Tensor]:
    """The output and the last states, in PyTorch operations."""
    rows, run = replace(call.rows, data=x), call.run
    batch, count = rows.batch, len(run.cell.states)
    starts = [Start(state[:batch], state[batch:], run.reverse) for state in given[:count]]
    begun = [rows.begin(start) for start in starts]
    packed = over(run, rows.batch_sizes, x)
    arrays = arrays_of(packed, None, rows.rows, [*begun, *given[count:]])
    output, last = operations_path.execute(packed, arrays)
    return [rows.restore(output), *map(rows.end, last, starts)]


def run_placed(
    run: Run,
    rows: GatheredRows,
    starts: Sequence[Start],
    parameters: Mapping[str, Tensor],
    packed: PackedWeights | None,
) -> Results | None:
    """Run a cell.

    Args:
        run: What to run, without its steps.
        rows: The input.
        starts: What each state begins with.
        parameters: The stored parameters by name.
        packed: Where packed weights are kept from one run to the next, if they are.

    Returns:
        The output in the layout of the input, and the last states, (batch, size); None if it has to
        be run over gathered rows.

    Raises:
        ArrayError: A tensor is not as the cell has it.
    """
    target, tensors = target_for("cpu"), [rows.data, *parameters.values()]
    if not isinstance(rows.layout, Layout) or rows.carry or target is None or run.cell.draws:
        return None
    if not rows.layout.rows or len(rows.layout.batch_sizes) == 1:  # one step has its own kernel
        return None
    if torch.compiler.is_compiling() or not is_ordinary() or not alike(tensors):
        return None
    states = [*map(rows.starts, starts)]
    tensors += states
    if choose(run.cell, tensors).name != "compiled" or not rows.data.is_cpu:
        return None
    recorded = wants_gradient(tensors)
    batch_first = flattened(rows.data)[1]
    order = batch_first, rows.batch_first, run.reverse
    dtype, threads = DTYPES[rows.data.dtype], torch.get_num_threads()
    run = run._replace(steps=rows.layout.placed(*order), dtype=dtype, threads=threads)
    if not places(target, run, recorded):
        return None
    try:
        if recorded:
            back = run._replace(steps=rows.layout.placed(*order, backward=True))
            call = _Call(run, back, replace(rows, data=rows.data.new_empty(0)), batch_first)
            named = map(parameters.__getitem__, run.cell.parameter_names)
            output, *last = _apply(call, rows.data, *states, *named)
            return output, tuple(last)
        flat = flattened(rows.data)[0]
        output, last = target.forward(run, Arrays(TENSORS, flat, states, parameters, None, packed))
    except ArrayError as error:
        raise ArrayError(error.kind, run.name_of(error.name), error.problem) from None
    return output.unflatten(0, rows.shape), tuple(last)
