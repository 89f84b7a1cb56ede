"""Mixed precision: torch.autocast, and tensors of bfloat16. A run then computes in float32 (or
float64), rounds what its matrix products multiply, and gives results in the types that PyTorch
would give.
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
from anyrnn.torch.tensors import Results
from anyrnn.torch.tracing import constant


def low_dtype(tensor: Tensor) -> torch.dtype | None:
    """The lower precision in which PyTorch would multiply a tensor on a CPU: that of autocast, or
    bfloat16 for a tensor of bfloat16. None without mixed precision; float64 never takes part.
    """
    if not tensor.is_cpu or tensor.dtype == torch.float64:
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return torch.bfloat16 if tensor.dtype == torch.bfloat16 else None


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
