"""Makes several small tensors with undefined contents in one call.

PyTorch's functions for that take longer than a short kernel, for each tensor. Here its stable C
interface makes them (torch/csrc/inductor/aoti_torch/c/shim.h), and the function by which extensions
of PyTorch return tensors gives them to Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from anyrnn.kernels.host import Code, compile_module
from anyrnn.kernels.python_function import (
    LIST_ENDS,
    function_address,
    interpreter,
    module_text,
    python_function,
)

LIBRARIES = ("libtorch_python.so", "libtorch_python.dylib")
WRAP = "_Z16THPVariable_WrapRKN2at10TensorBaseE"  # THPVariable_Wrap(const at::TensorBase&)
FUNCTIONS = "aoti_torch_empty_strided", WRAP, "aoti_torch_delete_tensor_object"
BODY = f"""\
  %handle.at = alloca ptr, align 8
  %device.short = trunc i64 %device to i32
  %type.short = trunc i64 %type to i32
  %found = call ptr %call.PyList_New(i64 %count)
  %none.made = icmp eq ptr %found, null
  br i1 %none.made, label %failed, label %next
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %set ]
  %here = phi ptr [ %more, %entry ], [ %behind, %set ]
  %complete = icmp eq i64 %n, %count
  br i1 %complete, label %end, label %make
make:
  %n.next = add i64 %n, 1
  %axes = load i64, ptr %here
  %sizes = getelementptr i64, ptr %here, i64 1
  %strides = getelementptr i64, ptr %sizes, i64 %axes
  %behind = getelementptr i64, ptr %strides, i64 %axes
  %error = call i32 %call.empty(
    i64 %axes, ptr %sizes, ptr %strides, i32 %type.short, i32 %device.short, i32 0, ptr %handle.at)
  %right = icmp eq i32 %error, 0
  br i1 %right, label %wrap.it, label %refused
wrap.it:
  %handle = load ptr, ptr %handle.at
  %tensor = call ptr %call.wrap(ptr %handle)
  %deleted = call i32 %call.delete(ptr %handle)
  %none.left = icmp eq ptr %tensor, null
  br i1 %none.left, label %broken, label %set
set:
  %done = call i32 %call.PyList_SetItem(ptr %found, i64 %n, ptr %tensor)
  br label %next
refused:
  call void %call.Py_DecRef(ptr %found)
  br label %other{LIST_ENDS}"""


class _Interface(NamedTuple):
    """What makes tensors.

    Attributes:
        functions: The addresses of its functions.
        device: What it calls the CPU.
        types: What it calls types.
    """

    functions: list[int]
    device: int
    types: dict[torch.dtype, int]


@lru_cache(maxsize=1)
def _interface() -> _Interface | None:
    """That of this PyTorch; None if it has another one."""
    folder = Path(torch.__file__).parent / "lib"
    path = next((each for name in LIBRARIES if (each := folder / name).exists()), None)
    if path is None or interpreter() is None:
        return None
    try:
        library = ctypes.CDLL(str(path))
        found = [function_address(getattr(library, name)) for name in FUNCTIONS]
        device = library.aoti_torch_device_type_cpu()
        numbers = library.aoti_torch_dtype_float32(), library.aoti_torch_dtype_float64()
    except (AttributeError, OSError):
        return None
    types = dict(zip((torch.float32, torch.float64), numbers, strict=True))
    return _Interface(found, device, types)


@lru_cache(maxsize=1)
def _code() -> Code:
    text = module_text(("empty", "wrap", "delete"), ("count", "device", "type"), BODY)
    return compile_module(text, "new tensors")


def tensor_maker(
    shapes: Sequence[tuple[int, ...]], dtype: torch.dtype
) -> Callable[[None], list[Tensor] | None] | None:
    """What makes tensors of some shapes, contiguous, on the CPU, in one call.

    Args:
        shapes: The shapes.
        dtype: The type of all.

    Returns:
        A function of None that returns them, or None where there is no memory for them; None if
        this PyTorch has not what it takes.
    """
    found = _interface()
    if found is None or dtype not in found.types:
        return None
    code = _code()
    words = [*found.functions, len(shapes), found.device, found.types[dtype]]
    for shape in shapes:
        sizes = [max(size, 1) for size in shape]
        words += len(shape), *shape, *(prod(sizes[axis + 1 :]) for axis in range(len(shape)))
    return python_function(code.enter, words, code)
