"""Mixed precision: torch.autocast, and tensors of bfloat16. A run on a CPU then computes in float32
(or float64), and rounds what its matrix products multiply; one on a GPU has arrays of the lower
type. Results have the types that PyTorch would give.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache, reduce
from typing import Any

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.kernels.run import BFLOAT16, Arrays, Run
from anyrnn.kernels.target import target_for
from anyrnn.torch.tensors import Results, is_mixed
from anyrnn.torch.tracing import constant


@constant
def rounds(device: str) -> bool:
    """Whether kernels for a type of device round what they multiply, with arrays of float32, or are
    given arrays of the lower type.
    """
    target = target_for(device)
    return device == "cpu" if target is None else target.rounds


def low_dtype(tensor: Tensor) -> torch.dtype | None:
    """The lower precision in which PyTorch would multiply a tensor: that of autocast, or bfloat16
    for a tensor of bfloat16 where kernels round what they multiply. None without mixed precision;
    float64 never takes part.
    """
    if tensor.dtype == torch.float64:
        return None
    device = "cpu" if tensor.is_cpu else tensor.device.type
    if torch.is_autocast_enabled("cpu") if device == "cpu" else is_mixed(device):
        return torch.get_autocast_dtype(device)
    return torch.bfloat16 if tensor.dtype == torch.bfloat16 and rounds(device) else None


def run_dtype(tensor: Tensor) -> torch.dtype:
    """The type that a tensor has in a run of kernels."""
    device = tensor.device.type
    if not is_mixed(device):
        return tensor.dtype
    if tensor.dtype == torch.float64 or rounds(device):
        return compute_dtype(tensor.dtype)
    return torch.get_autocast_dtype(device)


def operand(low: torch.dtype | None) -> str | None:
    """What kernels round the operands of products to; there are none for float16."""
    return BFLOAT16 if low == torch.bfloat16 else None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that a tensor is converted to before a run in mixed precision."""
    return dtype if dtype == torch.float64 else torch.float32


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(compute_dtype(tensor.dtype))


def widened(
    run: Run, low: torch.dtype, arrays: Arrays, kept: Collection[str] = ()
) -> tuple[Run, Arrays]:
    """A run in mixed precision, and its arrays in the type that it computes in.

    Args:
        run: What to run.
        low: The type of products.
        arrays: What it is given.
        kept: The parameters that are left as they are.
    """
    parameters = {
        name: tensor if name in kept else _wide(tensor)
        for name, tensor in arrays.parameters.items()
    }
    states = [*map(_wide, arrays.states)]
    wide = arrays._replace(rows=_wide(arrays.rows), states=states, parameters=parameters)
    return run._replace(operand=operand(low)), wide


def typed(run: Run, low: torch.dtype, arrays: Arrays) -> tuple[Run, Arrays]:
    """A run in mixed precision, and its arrays in the type that kernels of their device take:
    `widened`, or in the lower type, as torch.nn's layers on a GPU have them; sums, and states
    between two steps, are float32 all the same.
    """
    if rounds(arrays.rows.device.type):
        return widened(run, low, arrays)
    parameters = {name: tensor.to(low) for name, tensor in arrays.parameters.items()}
    states = [state.to(low) for state in arrays.states]
    rows = arrays.rows.to(low)
    return run, arrays._replace(rows=rows, states=states, parameters=parameters)


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Convert a tensor, or each in a nested tuple."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    return tuple(cast(part, dtype) for part in value)


@lru_cache(maxsize=256)
def _result_dtypes(
    cell: Cell, low: torch.dtype, given: tuple[torch.dtype, ...]
) -> tuple[torch.dtype, ...]:
    """The types of the outputs and the new states that PyTorch's own operations would give.

    Args:
        cell: The cell.
        low: The type of products.
        given: The types of the input and the states.
    """
    outputs, states = cell.graph.outputs, dict(zip(cell.states, given[1:], strict=True))
    types: dict[Node, torch.dtype] = {}
    for node in topological(outputs.values()):
        if node.is_leaf and node.type.per_row:
            types[node] = states.get(node.name, given[0])
        elif node.operation == "product":
            types[node] = low
        else:
            types[node] = reduce(torch.promote_types, map(types.__getitem__, node.arguments), low)
    return tuple(types[outputs[name]] for name in (cell.output, *cell.states))


@constant
def result_dtypes(*given: Any) -> tuple[torch.dtype, ...]:
    """As `_result_dtypes`, for a graph that is being traced too."""
    return _result_dtypes(*given)


def cast_results(run: Run, low: torch.dtype, given: Arrays, found: Results) -> Results:
    """The results of a run in mixed precision, converted to PyTorch's types.

    Args:
        run: What was run.
        low: The type of products.
        given: What the caller gave.
        found: The outputs and the new states.
    """
    types = tuple(tensor.dtype for tensor in (given.rows, *given.states))
    output, *states = result_dtypes(run.cell, low, types)
    last = zip(found[1], states, strict=True)
    return found[0].to(output), tuple(state.to(dtype) for state, dtype in last)
