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
from anyrnn.kernels.run import Arrays, Run
from anyrnn.kernels.run_keys import key as key_of
from anyrnn.kernels.run_keys import run_of
from anyrnn.kernels.target import target_for
from anyrnn.torch import compiled_path, single_step
from anyrnn.torch.compiled_path import arrays_of, target_of
from anyrnn.torch.tensors import DTYPES, Results, wants_gradient
from anyrnn.torch.tracing import constant


def _empty_results(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    """The results of `run`, not filled in."""
    output = x.new_empty(run_of(key).output_shape(*x.shape[:2]))
    return [output, *(state.new_empty(state.shape) for state in states)]


def _empty_record(x: Tensor, *given: Any) -> list[Tensor]:
    """The results of `record`, not filled in."""
    time, batch = x.shape[:2]
    residuals = target_of(x).residuals(run_of(given[-1])).values()
    saved = [x.new_empty(part.shape(time * batch, batch)) for part in residuals]
    return [*_empty_results(x, *given), *saved]


def _gradients(
    given: Sequence[Tensor], wanted: Sequence[bool], parts: Sequence[Tensor | None]
) -> list[Tensor]:
    """Gradients: zeros for None, and if there are no parts; no elements where a gradient is not
    wanted, because an operator always returns as many tensors.
    """
    found = []
    for tensor, needed, part in zip(given, wanted, parts or [None] * len(given), strict=True):
        if not needed:
            part = tensor.new_empty(0)
        found.append(tensor.new_zeros(tensor.shape) if part is None else part)
    return found


def _share_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two contiguous tensors have memory in common."""
    starts = one.data_ptr(), other.data_ptr()
    return starts[0] < starts[1] + other.nbytes and starts[1] < starts[0] + one.nbytes


def _given(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> tuple[Run, Arrays]:
    """What to run, and its arrays, with the inputs of all steps step after step."""
    found, (time, batch, features) = run_of(key), x.shape
    if not time:
        raise InputError("the input has a sequence length of 0; expected at least one step")
    if x.is_cpu and x.dtype not in DTYPES:
        raise InputError(f"the input is {x.dtype}; expected float32 or float64")
    rows = x.reshape(time * batch, features)
    arrays = arrays_of(found, seed, rows, [*states, *parameters])
    return compiled_path.over(found, (batch,) * time, x), arrays


def _is_one_step(found: Run, x: Tensor, states: Sequence[Tensor]) -> bool:
    """Whether a call is a single step whose input and states have the right shapes."""
    shapes = [tuple(state.shape) for state in states]
    features = dict(found.sizes)["input"]
    return x.shape[0] == 1 and x.shape[2] == features and shapes == found.state_shapes(x.shape[1])


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
    found, arrays = _given(x, states, parameters, seed, key)
    if not x.shape[1]:
        return _empty_results(x, states, parameters, seed, key)
    if _is_one_step(found, x, states):
        before = [state[None] for state in states]
        single = single_step.enter(found, len(before), [x, *before, *parameters])
        if single is not None:
            return [single[0], *(state[0] for state in single[1])]
    output, last = target_of(x).forward(found, arrays)
    return [output.reshape(*x.shape[:2], -1), *last]


@torch.library.custom_op("anyrnn::record", mutates_args=())
def record(
    x: Tensor, states: list[Tensor], parameters: list[Tensor], seed: Tensor | None, key: str
) -> list[Tensor]:
    """Outputs, last states and residuals; arguments as those of `run`."""
    found, arrays = _given(x, states, parameters, seed, key)
    if not x.shape[1]:
        return _empty_record(x, states, parameters, seed, key)
    output, last, residuals = target_of(x).record(found, arrays)
    if output.storage_offset():  # a view of a residual
        output = output.clone()
    results = [output.reshape(*x.shape[:2], -1), *last]
    for part in residuals.values():  # PyTorch does not allow that results share memory
        shared = any(_share_memory(part, other) for other in results)
        results.append(part.clone() if shared else part)
    return results


@torch.library.custom_op("anyrnn::backward", mutates_args=())
def backward(
    x: Tensor,
    states: list[Tensor],
    parameters: list[Tensor],
    seed: Tensor | None,
    key: str,
    residuals: list[Tensor],
    gradients: list[Tensor],
    wanted: list[bool],
) -> list[Tensor]:
    """Gradients of a run.

    Args:
        x, states, parameters, seed, key: As those of `run`.
        residuals: Those of `record`.
        gradients: The gradients of the outputs and of the last states.
        wanted: Whether the gradient is wanted of the inputs, of each state, of each parameter.

    Returns:
        The gradients of the inputs, the initial states and the parameters; a tensor of no elements
        for one that is not wanted.
    """
    (found, arrays), target = _given(x, states, parameters, seed, key), target_of(x)
    given, parts = [x, *states, *parameters], []
    if x.shape[1]:
        output, *last = gradients
        saved = dict(zip(target.residuals(found), residuals, strict=True))
        above = [output.reshape(-1, output.shape[2]), *last]
        needs = [wanted[0], *wanted[1 + len(states) :]]
        inputs, initial, totals = target.backward(found, arrays, saved, above, needs)
        inputs = inputs if inputs is None else inputs.reshape(x.shape)
        parts = [inputs, *initial, *map(totals.get, found.cell.parameter_names)]
    return _gradients(given, wanted, parts)


run.register_fake(_empty_results)
record.register_fake(_empty_record)


@backward.register_fake
def _(x: Tensor, states: list[Tensor], parameters: list[Tensor], *given: Any) -> list[Tensor]:
    return _gradients([x, *states, *parameters], given[-1], [])


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, states, parameters, seed, ctx.key = inputs
    ctx.counts = len(states), len(states) + len(parameters)
    ctx.shapes = [part.shape for part in output[: 1 + len(states)]]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, seed, *states, *parameters, *output[1 + len(states) :])


def _derivative(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    (x, seed, *rest), (count, end) = ctx.saved_tensors, ctx.counts
    given, residuals = (x, rest[:count], rest[count:end], seed, ctx.key), rest[end:]
    if len(residuals) < len(target_of(x).residuals(run_of(ctx.key))):  # it was `run`
        residuals = record(*given)[1 + count :]
    above = [
        x.new_zeros(shape) if part is None else part
        for shape, part in zip(ctx.shapes, gradients, strict=False)
    ]
    needs = ctx.needs_input_grad
    wanted = [needs[0], *needs[1], *needs[2]]
    found = backward(*given, residuals, above, wanted)
    found = [part if needed else None for part, needed in zip(found, wanted, strict=True)]
    return found[0], found[1 : 1 + count], found[1 + count :], None, None


run.register_autograd(_derivative, setup_context=_save_for_backward)
record.register_autograd(_derivative, setup_context=_save_for_backward)


@constant
def _key(device: str | None, *fields: Any) -> str:
    """The key of a run, whose fields are given one by one, because a graph holds no record; with
    what is saved on a type of device, if there is one.
    """
    run, target = Run(*fields), target_for(device) if device else None
    return key_of(run, [*target.residuals(run).values()] if target else ())


def execute(found: Run, arrays: Arrays) -> Results:
    """Run a cell over sequences of one length.

    Args:
        found: What to run.
        arrays: What it is given; the rows are (time, batch, input).

    Returns:
        The outputs, (time, batch, size), and the last states.
    """
    x, *_ = tensors = arrays.differentiable
    ordered = [arrays.parameters[name] for name in found.cell.parameter_names]
    # a backward pass is likely: save its residuals at once
    recorded = torch.compiler.is_dynamo_compiling() and wants_gradient(tensors)
    key = _key(x.device.type if recorded else None, *found[:5])
    operator = record if recorded else run
    output, *rest = operator(x, list(arrays.states), ordered, arrays.seed, key)
    return output, tuple(rest[: len(arrays.states)])
