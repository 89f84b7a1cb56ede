"""Which path computes a call of a layer, and why: the first one that does not refuse it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.path import Path
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch import precision, vendor_path
from anyrnn.torch.tensors import DTYPE, IS_CPU, PLAIN, is_mixed
from anyrnn.torch.tracing import FUNCTORCH, constant

ORDER = ("compiled", "vendor", "operations")
ELSEWHERE = ("vendor", "compiled", "operations")  # on devices for which torch.nn has fast kernels
_TRACE = "torch.jit.trace"
_forced: ContextVar[str | None] = ContextVar("forced", default=None)


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Take one path whatever the reasons, to compare them.

    Args:
        name: `compiled`, `vendor` or `operations`.

    Raises:
        InputError: No such path. A call raises it for `vendor` where torch.nn has no such cell.

    Example:
        >>> import torch
        >>> from anyrnn.torch import LSTM
        >>> from anyrnn.torch.execute import forced
        >>> layer = LSTM(3, 5)
        >>> with forced("operations"):
        ...     str(layer.path)
        'operations: asked for'
    """
    if name not in ORDER:
        raise InputError(f"no path is called '{name}'; there are: {', '.join(ORDER)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@constant
def asked() -> str | None:
    """The path that `forced` asks for."""
    return _forced.get()


@constant
def transformed() -> str | None:
    """The active transform or tracer that sees only PyTorch operations, if any."""
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if FUNCTORCH.peek_interpreter_stack() is not None:
        return "inside a transform of torch.func"
    return _TRACE if torch._C._get_tracing_state() else None


def is_ordinary() -> bool:
    """Whether no path is forced, and no transform nor tracer is active."""
    return (
        _forced.get() is None
        and torch.autograd.forward_ad._current_level < 0
        and FUNCTORCH.peek_interpreter_stack() is None
        and torch._C._get_tracing_state() is None
    )


def choose(cell: Cell | None, tensors: Iterable[Tensor]) -> Path:
    """The path of a call.

    Args:
        cell: The cell; None to ask about the tensors only.
        tensors: What the call computes from: input, states, parameters.

    Returns:
        The path.

    Raises:
        InputError: The vendor's path is forced, and torch.nn has no such cell.
    """
    name = asked()
    if name is not None:
        refused = vendor_path.refusal(cell, "cpu") if name == "vendor" and cell else None
        if refused is not None:
            raise InputError(f"the path 'vendor' is forced, but {refused}")
        return Path(name, "asked for")
    transform = transformed()
    if transform is not None and transform != _TRACE:
        return Path("operations", transform)
    mixed = torch.is_autocast_enabled("cpu")
    if not (mixed or torch.compiler.is_compiling()):  # as most calls are
        tensors = [*tensors]
        dtypes = {*map(DTYPE, tensors)}
        if len(dtypes) == 1 and PLAIN.issuperset(map(type, tensors)) and all(map(IS_CPU, tensors)):
            return _first("cpu", cell, dtypes.pop(), None, transform)
    device, dtype, subclass, several = "cpu", None, None, False
    for tensor in tensors:
        if type(tensor) not in PLAIN:
            exporting = torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
            subclass = subclass if exporting else type(tensor).__name__
        if not tensor.is_cpu:
            device = tensor.device.type
        kind = precision.run_dtype(tensor)
        if kind is not dtype:
            several |= dtype is not None
            dtype = kind
    if several and (device == "cpu" or not is_mixed(device)):
        return Path("operations", "tensors of several types")
    return _first(device, cell, dtype, subclass, transform, several)


@constant
def _first(device: str, *given: Any) -> Path:
    """The path that is chosen for the target that a type of device has now."""
    return _decide(target_for(device), device, *given)


@lru_cache(maxsize=256)
def _decide(
    target: Target | None,
    device: str,
    cell: Cell | None,
    dtype: torch.dtype | None,
    subclass: str | None,
    tracer: str | None,
    several: bool = False,
) -> Path:
    """The first path that takes a cell, on a type of device, in a type; for a subclass of tensors
    and a tracer of which kernels know nothing, if there are any, and for tensors of that type or of
    several, under torch.autocast. The order of the paths is here only.
    """
    refusals = {
        "compiled": _refusal(target, device, cell, dtype, subclass, tracer, several),
        "vendor": "",  # without a reason where it was not worthwhile
        "operations": None,
    }
    elsewhere = device not in ("cpu", "meta")
    floats = dtype is not None and dtype.is_floating_point
    if cell is not None and floats and (elsewhere or tracer is not None):
        refusals["vendor"] = vendor_path.refusal(cell, device)
    name = next(each for each in (ELSEWHERE if elsewhere else ORDER) if refusals[each] is None)
    if name == "compiled":
        assert target is not None
        machine = "CPU" if device == "cpu" else "GPU"
        return Path(name, f"{dtype} on this {machine} ({target.name})")
    if name == "vendor":
        assert cell is not None
        where = f"on {device}" if tracer is None else f"in {tracer}"
        return Path(name, f"torch.nn's {vendor_path.class_name(cell)} {where}")
    return Path(name, ", and ".join(filter(None, refusals.values())))


def _refusal(
    target: Target | None,
    device: str,
    cell: Cell | None,
    dtype: torch.dtype | None,
    subclass: str | None,
    tracer: str | None,
    several: bool,
) -> str | None:
    """Why kernels do not take a call; None if they do. Arguments as those of `_decide`."""
    if tracer is not None:
        return tracer
    if target is None:
        return f"tensors on {device}"
    if subclass is not None:
        return f"a tensor of the type {subclass}"
    if several:
        return "tensors of several types"
    return target.refusal(cell, None if dtype is None else str(dtype).removeprefix("torch."))


def on_device(cells: Iterable[Cell], tensors: Iterable[Tensor], resets: bool) -> bool:
    """Whether a call is computed on a device with memory of its own, by kernels there or by cuDNN,
    so that lengths, masks and resets that are there can stay there.

    Args:
        cells: What is run.
        tensors: What the call computes from, the input first.
        resets: Whether there are resets: then there may be as many sequences as steps, of which
            padded ones, as cuDNN takes them, would be too many.
    """
    first, *others = tensors
    if first.is_cpu:
        return False
    padded = first.device.type == "cuda" and not resets
    able = {"compiled", "vendor"} if padded else {"compiled"}
    return able.issuperset(choose(cell, [first, *others]).name for cell in cells)


def check_int8(cell: Cell, tensors: Iterable[Tensor]) -> None:
    """Check that kernels on the CPU compute a call whose products are to be those of int8.

    Raises:
        InputError: They do not.
    """
    tensors = [*tensors]
    path = choose(cell, tensors)
    refused = None if path.name == "compiled" else f"the call is computed by {path}"
    if not all(map(IS_CPU, tensors)):
        refused = "kernels for that are on the CPU only"
    elif {*map(DTYPE, tensors)} != {torch.float32}:
        refused = "tensors are not float32"
    elif torch.is_autocast_enabled("cpu"):
        refused = "products are in another type under torch.autocast"
    if refused is not None:
        raise InputError(
            f"the layer is prepared with weights='int8', but {refused}; "
            "prepare it without, or layer.unprepare()"
        )


def may_be_vendor(tensor: Tensor) -> bool:
    """Whether `choose` may find the vendor's path for a call with a tensor; cheap."""
    elsewhere = not tensor.is_cpu or torch._C._get_tracing_state() is not None
    return elsewhere or asked() == "vendor"
