"""Runs as custom operators of PyTorch, for graphs that torch.compile or torch.export trace. A graph
cannot hold a Cell, so an operator gets the string key of a run (`anyrnn.kernels.run_keys.key`).

`anyrnn::run` computes outputs and last states, `anyrnn::record` also the residuals, which
`anyrnn::backward` reads. An exported graph cannot know whether it will be differentiated: it holds
`run`, which the backward pass then computes again as `record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anyrnn.errors import InputError
from anyrnn.kernels.run import Run
from anyrnn.kernels.run_keys import run_of
from anyrnn.torch import compiled_path, single_step
from anyrnn.torch.compiled_path import TENSORS, target_of
from anyrnn.torch.tensors import DTYPES


def _empty_results(found: Run, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """Outputs and last states, not filled in."""
    output = x.new_empty(found.output_shape(*x.shape[:2]))
    return [output, *(state.new_empty(state.shape) for state in states)]


def _empty_record(found: Run, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, last states and residuals, not filled in."""
    time, batch = x.shape[:2]
    residuals = target_of(x).residuals(found).values()
    saved = [x.new_empty(part.rows(time * batch, batch), part.width) for part in residuals]
    return [*_empty_results(found, x, states), *saved]


def _gradients(
    given: Sequence[Tensor], wanted: Sequence[bool], parts: Sequence[Tensor | None]
) -> list[Tensor]:
    """Gradients: zeros for None; no elements where a gradient is not wanted, because an operator
    always returns as many tensors.
    """
    found = []
    for tensor, needed, part in zip(given, wanted, parts, strict=True):
        if not needed:
            part = tensor.new_empty(0)
        found.append(tensor.new_zeros(tensor.shape) if part is None else part)
    return found


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two contiguous tensors have memory in common."""
    starts = one.data_ptr(), other.data_ptr()
    return starts[0] < starts[1] + other.nbytes and starts[1] < starts[0] + one.nbytes


def _rows(x: Tensor) -> Tensor:
    """The inputs of all steps, step after step."""
    if not len(x):
        raise InputError("the input has a sequence length of 0; expected at least one step")
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _over(found: Run, x: Tensor) -> Run:
    """The run over an input, (time, batch, input)."""
    time, batch = x.shape[:2]
    if x.dtype not in DTYPES:
        raise InputError(f"the input is {x.dtype}; expected float32 or float64")
    return compiled_path.over(found, (batch,) * time, x)


def _is_one_step(found: Run, x: Tensor, states: Sequence[Tensor]) -> bool:
    """Whether a call is a single step whose input and states have the right shapes."""
    sizes = dict(found.sizes)
    wanted = [(x.shape[1], size.evaluate(sizes)) for size in found.cell.state_sizes]
    shapes = [tuple(state.shape) for state in states]
    return x.shape[0] == 1 and x.shape[2] == sizes["input"] and shapes == wanted


@torch.library.custom_op("anyrnn::run", mutates_args=())
def run(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    """Outputs and last states.

    Args:
        x: The inputs, (time, batch, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters, in order.
        seed: The seed of random numbers, for a cell that draws some.
        key: The key of the run.

    Returns:
        The outputs, (time, batch, size), and the last states.
    """
    found, (time, batch) = run_of(key), x.shape[:2]
    rows = _rows(x)
    if not batch:
        return _empty_results(found, x, states)
    if _is_one_step(found, x, states):
        named = dict(zip(found.cell.parameter_names, parameters, strict=True))
        before = [state[None] for state in states]
        single = single_step.enter(found.cell, found.sizes, x, before, named, found.operand)
        if single is not None:
            return [single[0], *(state[0] for state in single[1])]
    given = _over(found, x), TENSORS, rows, states, parameters, seed
    output, last = target_of(x).forward(*given)
    return [output.reshape(time, batch, -1), *last]


@run.register_fake
def _(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    return _empty_results(run_of(key), x, states)


@torch.library.custom_op("anyrnn::record", mutates_args=())
def record(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    """Outputs, last states and residuals; arguments as those of `run`."""
    found, (time, batch) = run_of(key), x.shape[:2]
    rows = _rows(x)
    if not batch:
        return _empty_record(found, x, states)
    given = _over(found, x), TENSORS, rows, states, parameters, seed
    output, last, residuals = target_of(x).record(*given)
    if output.storage_offset():  # a view of a residual
        output = output.clone()
    results = [output.reshape(time, batch, -1), *last]
    for part in residuals.values():  # PyTorch does not allow that results share memory
        shared = any(_share_memory(part, other) for other in results)
        results.append(part.clone() if shared else part)
    return results


@record.register_fake
def _(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    return _empty_record(run_of(key), x, states)


@torch.library.custom_op("anyrnn::backward", mutates_args=())
def backward(
    x: Tensor,
    states: list[Tensor],
    parameters: list[Tensor],
    seed: Tensor | None,
    residuals: list[Tensor],
    gradients: list[Tensor],
    wanted: list[bool],
    key: str,
) -> list[Tensor]:
    """Gradients of a run.

    Args:
        x: The inputs.
        states: The initial states.
        parameters: The stored parameters.
        seed: The seed of random numbers.
        residuals: Those of `record`.
        gradients: The gradients of the outputs and of the last states.
        wanted: Whether the gradient is wanted of the inputs, of each state, of each parameter.
        key: The key of the run.

    Returns:
        The gradients of the inputs, the initial states and the parameters; a tensor of no elements
        for one that is not wanted.
    """
    found, (time, batch) = run_of(key), x.shape[:2]
    given = [x, *states, *parameters]
    if not batch:
        return _gradients(given, wanted, [None] * len(given))
    target, (output_gradient, *state_gradients) = target_of(x), gradients
    inputs, initial, totals = target.backward(
        _over(found, x),
        TENSORS,
        _rows(x),
        dict(zip(target.residuals(found), residuals, strict=True)),
        parameters,
        [output_gradient.reshape(time * batch, -1), *state_gradients],
        [wanted[0], *wanted[1 + len(states) :]],
        seed,
    )
    inputs = inputs if inputs is None else inputs.reshape(x.shape)
    return _gradients(
        given, wanted, [inputs, *initial, *map(totals.get, found.cell.parameter_names)]
    )


@backward.register_fake
def _(
    x: Tensor,
    states: list[Tensor],
    parameters: list[Tensor],
    seed: Tensor | None,
    residuals: list[Tensor],
    gradients: list[Tensor],
    wanted: list[bool],
    key: str,
) -> list[Tensor]:
    given = [x, *states, *parameters]
    return _gradients(given, wanted, [None] * len(given))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, states, parameters, seed, ctx.key = inputs
    seeds = [] if seed is None else [seed]
    ctx.counts = len(states), len(parameters), len(seeds)
    ctx.shapes = [part.shape for part in output[: 1 + len(states)]]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *states, *parameters, *seeds, *output[1 + len(states) :])


def _derivative(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    count, end = ctx.counts[0], sum(ctx.counts[:2])
    states, parameters, residuals = rest[:count], rest[count:end], rest[end + ctx.counts[2] :]
    seed = rest[end] if ctx.counts[2] else None
    if len(residuals) < len(target_of(x).residuals(run_of(ctx.key))):  # it was `run`
        residuals = record(x, states, parameters, seed, ctx.key)[1 + count :]
    given = [
        x.new_zeros(shape) if part is None else part
        for shape, part in zip(ctx.shapes, gradients, strict=False)
    ]
    needs = ctx.needs_input_grad
    wanted = [needs[0], *needs[1], *needs[2]]
    found = backward(x, states, parameters, seed, residuals, given, wanted, ctx.key)
    found = [part if needed else None for part, needed in zip(found, wanted, strict=True)]
    return found[0], found[1 : 1 + count], found[1 + count :], None, None


run.register_autograd(_derivative, setup_context=_save_for_backward)
record.register_autograd(_derivative, setup_context=_save_for_backward)


def execute(
    key: str,
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Sequence[Tensor],
    seed: Tensor | None,
    recorded: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of one length.

    Args:
        key: The key of the run.
        x: The inputs, (time, batch, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters, in order.
        seed: The seed of random numbers, for a cell that draws some.
        recorded: Whether to save residuals, because a backward pass is likely.

    Returns:
        The outputs, (time, batch, size), and the last states.
    """
    operator = record if recorded else run
    output, *rest = operator(x, list(states), list(parameters), seed, key)
    return output, tuple(rest[: len(states)])
