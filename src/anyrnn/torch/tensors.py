"""Tensors: the types that kernels take, memory, and checks with messages for users."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.masked import MaskedTensor
from torch.nn.parameter import is_lazy

from anyrnn.errors import ArrayError, InputError
from anyrnn.kernels import host
from anyrnn.kernels.run import Run
from anyrnn.torch.new_tensors import tensor_maker

DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
NO_MEMORY = torch.empty(0)
EXAMPLES = [torch.empty((1,) * axes, device="cpu") for axes in range(4)]
NEGATIVES = [*map(torch.ops.aten._neg_view.default, EXAMPLES)]
STAGED = 1 << 16  # bytes that CUDA copies from any memory at once
PLAIN = frozenset((Tensor, nn.Parameter))  # tensors of PyTorch's own classes
TYPES = {number: kind for kind, number in DTYPES.items()} | {np.dtype(np.int64): torch.int64}
# Attributes as functions, for loops in C; not where a graph is traced.
SHAPE, DTYPE, IS_CPU, REQUIRES_GRAD, VERSION = (
    getattr(Tensor, name).__get__
    for name in ("shape", "dtype", "is_cpu", "requires_grad", "_version")
)

Results = tuple[Tensor, tuple[Tensor, ...]]  # of a run: the outputs and the last states


def addresses(
    tensors: Sequence[Tensor], shapes: list[Any], dtypes: list[torch.dtype]
) -> list[int] | None:
    """Where the memory of tensors begins that are contiguous, on the CPU, and of some shapes and
    types; None if one is not, or is to be negated. By loops in C, because there are dozens.
    """
    try:
        if (
            [*map(SHAPE, tensors)] == shapes
            and [*map(DTYPE, tensors)] == dtypes
            and all(map(IS_CPU, tensors))
            and all(map(Tensor.is_contiguous, tensors))
            and not any(map(Tensor.is_neg, tensors))
        ):
            starts = [*map(Tensor.data_ptr, tensors)]
            return None if 0 in starts else starts
    except RuntimeError:  # one is nested or sparse, and has no shape or no memory
        pass
    return None


@lru_cache(maxsize=1)
def _sign() -> tuple[int, int] | None:
    """Where PyTorch notes that a tensor's elements are the negatives of what its memory says."""
    return host.flag_of(zip(EXAMPLES, NEGATIVES, strict=True))


def address_reader(
    shapes: list[Any], dtypes: list[torch.dtype]
) -> Callable[[list[Any]], list[int] | None]:
    """What is `addresses` for tensors of PyTorch's own classes, and None for others: a function in
    machine code where PyTorch has DLPack's table of functions, as from 2.10 on.
    """
    kinds, known = (Tensor, nn.Parameter), [*map(DTYPES.get, dtypes)]
    found, flag = None, _sign()
    if flag is not None and None not in known:
        found = host.array_reader(kinds, shapes, [*filter(None, known)], flag)
    if found is not None:
        return found

    def read(given: list[Any]) -> list[int] | None:
        return addresses(given, shapes, dtypes) if PLAIN.issuperset(map(type, given)) else None

    return read


def dense(tensor: Tensor) -> Tensor:
    """A tensor whose memory is its elements, one after another: not every other one, nor their
    negatives (`torch.imag` of a conjugate), nor none (the zeros of forward-mode differentiation).
    """
    if tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
    return tensor.resolve_neg().contiguous()


def is_freed(tensor: Tensor) -> bool:
    """Whether a tensor has elements, and no memory for them: its storage was freed."""
    there = torch._C._has_storage(tensor) and not tensor._is_zerotensor()
    return there and tensor.numel() > 0 and not tensor.untyped_storage().nbytes()


def is_mixed(device: str) -> bool:
    """Whether torch.autocast is on for a type of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def maker(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[], Tensor]:
    """What makes tensors with undefined contents, large ones in memory that was used before."""
    if prod(shape) * dtype.itemsize < host.LEAST:  # like another one is faster than by shape
        return partial(torch.empty_like, torch.empty(shape, dtype=TYPES[dtype], device="cpu"))
    return lambda: torch.from_numpy(host.empty(shape, dtype))


def list_maker(
    shapes: Sequence[tuple[int, ...]], kinds: Sequence[np.dtype[Any]]
) -> Callable[[], list[Tensor]]:
    """As `maker`, for several tensors."""
    makers = [*map(maker, shapes, kinds)]
    large = any(prod(s) * k.itemsize >= host.LEAST for s, k in zip(shapes, kinds, strict=True))
    quick = None
    if not large and len({*kinds}) == 1:
        quick = tensor_maker(shapes, TYPES[kinds[0]])
    if quick is None:
        return lambda: [make() for make in makers]
    return lambda: quick(None) or [make() for make in makers]


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Tensor]:
    """What gives zeros to read: small ones are the same each time."""
    made = partial(torch.zeros, shape, dtype=dtype, device="cpu")
    if prod(shape) * dtype.itemsize >= host.LEAST:
        return made
    with torch.inference_mode(False):
        kept = made()
    return lambda: kept


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """A tensor with undefined contents."""
    return maker(shape, dtype)()


def number(value: float, like: Tensor) -> Tensor:
    """A number as a tensor without axes, beside a tensor and of its type; beyond that it is an
    infinity. Nothing is copied from the CPU, which would wait for a GPU.
    """
    beyond = abs(value) > torch.finfo(like.dtype).max
    return like.new_full((), math.copysign(math.inf, value) if beyond else value)


def beside(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device. A large one on the CPU goes to a GPU from pinned memory: from other
    memory the driver copies piece by piece, and waits for the GPU in between.
    """
    large = tensor.is_cpu and tensor.nbytes > STAGED
    if large and device.type == "cuda" and torch.cuda.is_initialized():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def wants_gradient(tensors: Iterable[Tensor]) -> bool:
    """Whether autograd follows what is computed from some tensors."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor.requires_grad:
                return True
    return False


def problem(
    tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> str | None:
    """What is wrong with a tensor that is to have a shape and a type, and to be on a device; None
    if nothing is.
    """
    try:
        found = tuple(tensor.shape)
    except RuntimeError:  # it is nested, or not initialised
        return f"has {'nested sizes' if tensor.is_nested else 'no shape yet'}; expected {shape}"
    if found != shape:
        return f"has shape {found}; expected {shape}"
    if tensor.dtype != dtype:
        return f"has dtype {tensor.dtype}; expected {dtype}"
    if tensor.device != device:
        return f"is on {tensor.device}; expected {device}"
    if tensor.layout != torch.strided:
        return f"is {tensor.layout}; convert it with .to_dense()"
    return None


def check_parameters(run: Run, parameters: Mapping[str, Tensor], rows: Tensor) -> None:
    """Check that parameters have the shapes of a run's cell, and the type and device of its input.

    Raises:
        ArrayError: One has not.
    """
    mixed = is_mixed(rows.device.type)
    for name, shape in run.cell.stored_shapes(dict(run.sizes)).items():
        tensor = parameters[name]
        wrong = problem(tensor, shape, tensor.dtype if mixed else rows.dtype, rows.device)
        if wrong:
            raise ArrayError("parameter", run.name_of(name), wrong)


def changed_since(run: Run, error: ArrayError) -> ArrayError:
    """What is said where the backward pass finds that an array is not as it was."""
    found = f"{error.problem}, as in the forward pass; it was changed since then"
    return ArrayError(error.kind, run.name_of(error.name), found)


def check_tensor(what: str, tensor: object, like: Tensor) -> Tensor:
    """Check that something is a tensor of floats of the type and on the device of the parameters.

    Raises:
        InputError: It is not.
    """
    kind = type(tensor)
    if not isinstance(tensor, Tensor):
        raise InputError(f"{what} is a {kind.__name__}; expected a tensor")
    if not torch.compiler.is_compiling() and kind not in PLAIN:
        if is_lazy(tensor):
            raise InputError(f"{what} is an {kind.__name__}, which has no shape yet; initialise it")
        if isinstance(tensor, MaskedTensor):
            raise InputError(
                f"{what} is a MaskedTensor; give its numbers, tensor.get_data(), and which steps "
                "count as mask=... (time, batch)"
            )
    if tensor.layout != torch.strided:
        raise InputError(f"{what} is {tensor.layout}; convert it with .to_dense()")
    if tensor.is_nested:
        raise InputError(
            f"{what} is a nested tensor; convert it with torch.nested.to_padded_tensor, and give "
            "the lengths"
        )
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise InputError(
            f"{what} is {tensor.dtype}; expected {like.dtype}: embed token numbers with "
            "torch.nn.Embedding, or convert with .float()"
        )
    mixed = tensor.dtype != like.dtype and is_mixed(tensor.device.type)
    if mixed and torch.float64 in (tensor.dtype, like.dtype):
        raise InputError(
            f"{what} is {tensor.dtype}, the layer's parameters are {like.dtype}, and "
            f"torch.autocast leaves torch.float64 as it is; convert one: tensor.to({like.dtype}) "
            f"or layer.to({tensor.dtype})"
        )
    if tensor.dtype != like.dtype and not mixed:
        raise InputError(
            f"{what} is {tensor.dtype}, but the layer's parameters are {like.dtype}; convert one: "
            f"tensor.to({like.dtype}) or layer.to({tensor.dtype})"
        )
    if tensor.device != like.device:
        raise InputError(
            f"{what} is on {tensor.device}, but the layer's parameters are on {like.device}; move "
            f"one: tensor.to('{like.device}') or layer.to('{tensor.device}')"
        )
    return tensor


def parameter(module: nn.Module, name: str) -> Tensor:
    """A parameter of a module, found fast, or what a parametrization makes of it."""
    found = module._parameters.get(name)
    if found is None:
        found = getattr(module, name, None)
        if not isinstance(found, Tensor):
            raise InputError(f"the parameter {name} is {found!r:.60}; expected a tensor")
    return found
