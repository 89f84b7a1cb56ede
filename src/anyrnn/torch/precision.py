"""Mixed precision, and tensors of bfloat16: what a run is computed in, and the types of its
results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.kernels.run import BFLOAT16
from anyrnn.torch.tracing import constant


def low(tensor: Tensor) -> torch.dtype | None:
    """The type that results are rounded to, for a tensor on a CPU: that of torch.autocast if it is
    on; numbers of 64 bits keep theirs; or bfloat16.
    """
    if not tensor.is_cpu or tensor.dtype == torch.float64:
        return None
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return torch.bfloat16 if tensor.dtype == torch.bfloat16 else None


def operand(low: torch.dtype | None) -> str | None:
    """What products round what they multiply to, for the type that results are rounded to."""
    return BFLOAT16 if low == torch.bfloat16 else None


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that a run is computed in whose results are rounded, for the type of a tensor."""
    return dtype if dtype == torch.float64 else torch.float32


def weights(cell: Cell, parameters: Mapping[str, Tensor], operand: str | None) -> dict[str, Tensor]:
    """Parameters as a single step reads them, which rounds what it multiplies: matrices that are
    bfloat16 as they are, if all are, and the rest in the type that it is computed in.
    """
    matrices = [stored.name for stored in cell.parameters if stored.is_matrix]
    short = operand and all(parameters[name].dtype == torch.bfloat16 for name in matrices)
    kept = matrices if short else ()
    return {
        name: tensor if name in kept else tensor.to(wide(tensor.dtype))
        for name, tensor in parameters.items()
    }


def cast(value: Any, dtype: torch.dtype) -> Any:
    """A tensor, or a tuple of these, in another type."""
    if isinstance(value, Tensor):
        return value.to(dtype)
    return tuple(cast(part, dtype) for part in value)


@constant
def results(cell: Cell, low: torch.dtype, given: tuple[torch.dtype, ...]) -> list[torch.dtype]:
    """The types of the outputs and the new states that the equations would give in PyTorch
    operations, under torch.autocast or for tensors of bfloat16.

    Args:
        cell: The cell.
        low: The type of products.
        given: The types of the input and the states.
    """
    return [*_results(cell, low, given)]


@lru_cache(maxsize=256)
def _results(
    cell: Cell, low: torch.dtype, given: tuple[torch.dtype, ...]
) -> tuple[torch.dtype, ...]:
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


def narrow(
    cell: Cell,
    low: torch.dtype,
    given: Sequence[Tensor],
    found: tuple[Tensor, tuple[Tensor, ...]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Results of a run in the types that they have in PyTorch.

    Args:
        cell: The cell.
        low: The type of products.
        given: The input and the states.
        found: The outputs and the new states, in a wider type.
    """
    output, *states = results(cell, low, tuple(tensor.dtype for tensor in given))
    last = zip(found[1], states, strict=True)
    return found[0].to(output), tuple(state.to(dtype) for state, dtype in last)
