"""Mixed precision: torch.autocast, and tensors of bfloat16. A run then computes in float32 (or
float64), rounds what its matrix products multiply, and gives results in the types that PyTorch
would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.kernels.run import BFLOAT16
from anyrnn.torch.tensors import Results
from anyrnn.torch.tracing import cached_constant


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


def step_parameters(
    cell: Cell, parameters: Mapping[str, Tensor], operand: str | None
) -> dict[str, Tensor]:
    """The parameters as a single step in mixed precision reads them: in the type that it computes
    in, but for matrices that are all bfloat16 already, which it reads as they are.
    """
    matrices = [stored.name for stored in cell.parameters if stored.is_matrix]
    short = operand and all(parameters[name].dtype == torch.bfloat16 for name in matrices)
    kept = matrices if short else ()
    return {
        name: tensor if name in kept else tensor.to(compute_dtype(tensor.dtype))
        for name, tensor in parameters.items()
    }


def cast(value: Any, dtype: torch.dtype) -> Any:
    """Convert a tensor, or each in a nested tuple."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    return tuple(cast(part, dtype) for part in value)


@cached_constant
def result_dtypes(
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


def cast_results(cell: Cell, low: torch.dtype, given: Sequence[Tensor], found: Results) -> Results:
    """The results of a run in mixed precision, converted to PyTorch's types.

    Args:
        cell: The cell.
        low: The type of products.
        given: The input and the states, as the caller gave them.
        found: The outputs and the new states.
    """
    output, *states = result_dtypes(cell, low, tuple(tensor.dtype for tensor in given))
    last = zip(found[1], states, strict=True)
    return found[0].to(output), tuple(state.to(dtype) for state, dtype in last)
