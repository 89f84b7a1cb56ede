"""Which way a call of a layer is computed, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from anyrnn.errors import InputError, KernelError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.torch import compiled_path, operations_path, operator, precision
from anyrnn.torch.arrays import DTYPES
from anyrnn.torch.tracing import constant, key, names, untraced

PATHS = {"compiled": compiled_path.execute, "operations": operations_path.execute}
_forced: ContextVar[str | None] = ContextVar("forced", default=None)


@dataclass(frozen=True)
class Path:
    """A way to compute, and why it is taken.

    Attributes:
        name: `compiled` (our kernels and our derivative) or `operations` (PyTorch operations, with
            PyTorch's derivative).
        reason: Why.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Take one path whatever the reasons, to compare both.

    Args:
        name: `compiled` or `operations`.

    Raises:
        InputError: No such path.

    Example:
        >>> import torch
        >>> from anyrnn.torch import LSTM
        >>> from anyrnn.torch.execute import forced
        >>> layer = LSTM(3, 5)
        >>> with forced("operations"):
        ...     str(layer.path)
        'operations: asked for'
    """
    if name not in PATHS:
        raise InputError(f"no path is called '{name}'; there are: {', '.join(PATHS)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@constant
def _asked() -> str | None:
    """The path that `forced` asks for."""
    return _forced.get()


@constant
def _transformed() -> str | None:
    """What goes on that sees PyTorch operations only."""
    functorch: Any = getattr(torch._C, "_functorch")  # noqa: B009 - it has no type stub
    if functorch.peek_interpreter_stack() is not None:
        return "inside a transform of torch.func"
    return "torch.jit.trace" if torch._C._get_tracing_state() else None


def choose(tensors: Iterable[Tensor]) -> Path:
    """The path for a call.

    Args:
        tensors: What the call computes from: input, states, parameters.

    Returns:
        The path.
    """
    asked = _asked()
    if asked is not None:
        return Path(asked, "asked for")
    transformed = _transformed()
    if transformed:
        return Path("operations", transformed)
    if torch.autograd.forward_ad._current_level >= 0:
        return Path("operations", "forward-mode differentiation")
    dtype, mixed = None, torch.is_autocast_enabled("cpu")
    exporting = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    for tensor in tensors:
        if type(tensor) not in (Tensor, nn.Parameter) and not exporting:
            return Path("operations", f"a tensor of the type {type(tensor).__name__}")
        if not tensor.is_cpu:
            return Path("operations", f"tensors on {tensor.device.type}")
        kind = precision.wide(tensor.dtype) if mixed else tensor.dtype
        if kind is not dtype:
            if dtype is not None:
                return Path("operations", "tensors of several types")
            dtype = kind
    return _compiled(dtype)


@constant
def _compiled(dtype: torch.dtype | None) -> Path:
    """The compiled path if this CPU and a type can take it."""
    return _of_type(dtype)


@lru_cache(maxsize=16)
def _of_type(dtype: torch.dtype | None) -> Path:
    if dtype not in DTYPES and dtype is not torch.bfloat16:
        return Path("operations", f"tensors of {dtype}")
    try:
        target = host()
    except KernelError as error:
        return Path("operations", str(error))
    return Path("compiled", f"{dtype} on this CPU ({target.name})")


def wants_gradient(tensors: Iterable[Tensor]) -> bool:
    """Whether autograd follows what is computed from some tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def breaks_graph(given: object, lengths: object, tensors: Iterable[Tensor]) -> bool:
    """Whether torch.compile is tracing, and a layer cannot be a part of its graph: for packed
    sequences, for lengths, and on the path of operations, which goes through time in Python.

    Raises:
        InputError: torch.export is tracing, and there are lengths.
    """
    if not torch.compiler.is_dynamo_compiling():
        if lengths is not None and torch.compiler.is_compiling():
            raise InputError(
                "torch.export takes sequences of one length; leave out lengths, mask and resets"
            )
        return False
    if not isinstance(given, Tensor) or lengths is not None:
        return True
    return choose([given, *tensors]).name != "compiled"


def draw_seed() -> Tensor:
    """What the random numbers of a call follow from, drawn with PyTorch's generator."""
    return torch.randint(1 << 62, (1,), dtype=torch.int64)


def single_step(
    cell: Cell,
    rows: Tensor,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: tuple[tuple[str, int], ...],
) -> tuple[Tensor, tuple[Tensor, ...]] | None:
    """Run a cell for one step by the short way there is for it, if this call can take it.

    Args:
        cell: The cell.
        rows: The inputs, (..., batch, input).
        states: The states, each (..., batch, size).
        parameters: The stored parameters by name.
        sizes: The named sizes, and their numbers.

    Returns:
        The outputs, laid out as the inputs, and the new states, as the states; None where
        something is in the way: autograd, another device, ...
    """
    tensors = [rows, *states, *parameters.values()]
    if torch.compiler.is_compiling() or _asked() or wants_gradient(tensors):
        return None
    if rows.numel() == 0 or choose(tensors).name != "compiled":
        return None
    low = precision.low(rows)
    if low is None:
        return compiled_path.single_step(cell, rows, states, parameters, sizes)
    given, operand = [rows, *states], precision.operand(low)
    x, *before = [tensor.to(precision.wide(tensor.dtype)) for tensor in given]
    weights = precision.weights(cell, parameters, operand)
    found = compiled_path.single_step(cell, x, before, weights, sizes, operand)
    return None if found is None else precision.narrow(cell, low, given, found)


def execute(
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool = False,
    memory: str = "high",
    seed: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell over sequences of falling lengths, on the path that fits.

    Args:
        cell: The cell.
        rows: The inputs of all steps, step after step, (sum of batch_sizes, input); without
            batch_sizes (time, batch, input).
        batch_sizes: The number of rows of each step, never rising: a sequence that has ended is
            left out. None for sequences of one length while torch.compile or torch.export trace.
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        sizes: The named sizes as numbers.
        reverse: From the last step to the first, each sequence from its own end.
        memory: `high`, or `low` to keep the states only for the derivative, and compute the rest
            again. Without effect where PyTorch differentiates.
        seed: What random numbers follow from, (1,), for a cell that draws some; drawn with
            PyTorch's generator if not given.

    Returns:
        The outputs, laid out as the inputs, and the last states, each (batch, size).
    """
    tensors = [rows, *states, *parameters.values()]
    if batch_sizes is not None and len(batch_sizes) == 1:
        single = single_step(cell, rows, states, parameters, tuple(sizes.items()))
        if single is not None:
            return single
    seed = draw_seed() if seed is None and cell.draws else seed
    path, low = choose(tensors), precision.low(rows)
    how = sizes, reverse, memory, seed, precision.operand(low)
    if low is None:
        return _execute(path, cell, rows, batch_sizes, states, parameters, *how)
    given, count = [rows, *states], 1 + len(states)
    with torch.autocast("cpu", enabled=False):
        wide = [tensor.to(precision.wide(tensor.dtype)) for tensor in tensors]
        weights = dict(zip(parameters, wide[count:], strict=True))
        found = _execute(path, cell, wide[0], batch_sizes, wide[1:count], weights, *how)
    return precision.narrow(cell, low, given, found)


def _execute(
    path: Path,
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool,
    memory: str,
    seed: Tensor | None,
    operand: str | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell on a path; `operand` is what the compiled one rounds what it multiplies to."""
    if torch.compiler.is_compiling():
        return _traced(
            path, cell, rows, batch_sizes, states, parameters, sizes, reverse, memory, seed, operand
        )
    assert batch_sizes is not None
    if batch_sizes[0] == 0:  # nothing to compute, and no address to give to a kernel
        path = Path("operations", "an empty batch")
    arguments = cell, rows, batch_sizes, states, parameters, sizes, reverse, seed
    if path.name != "compiled":
        return PATHS[path.name](*arguments)
    if "torch._dynamo" in sys.modules:  # torch.compile may be looking at each function by itself
        return untraced(compiled_path.execute, *arguments, memory, operand)
    return compiled_path.execute(*arguments, memory, operand)


def _traced(
    path: Path,
    cell: Cell,
    rows: Tensor,
    batch_sizes: Sequence[int] | None,
    states: Sequence[Tensor],
    parameters: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    reverse: bool,
    memory: str,
    seed: Tensor | None,
    operand: str | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a cell in a graph that is being traced: as an operator, if that is possible."""
    one = batch_sizes is not None and len(batch_sizes) == 1
    if path.name == "compiled" and (batch_sizes is None or one):
        x = rows.unsqueeze(0) if one else rows
        operations_path.check(cell, parameters, sizes, rows)
        called = key(cell, tuple(sizes.items()), reverse, memory, operand)
        ordered = [parameters[name] for name in names(cell)]
        recorded = torch.compiler.is_dynamo_compiling() and wants_gradient([x, *states, *ordered])
        output, last = operator.execute(called, x, states, ordered, seed, recorded)
        return output.squeeze(0) if one else output, last
    if batch_sizes is not None:
        return operations_path.execute(
            cell, rows, batch_sizes, states, parameters, sizes, reverse, seed
        )
    time, batch = rows.shape[:2]
    data = rows.flatten(0, 1)
    output, last = operations_path.execute(
        cell, data, [batch] * time, states, parameters, sizes, reverse, seed
    )
    return output.unflatten(0, (time, batch)), last
