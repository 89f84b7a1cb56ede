"""Inference with weights quantised to int8: what can have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.kernels.run import INT8

LONGEST = (1 << 31) // 127**2  # the most products that int32 can hold the sum of


def check_weights(weights: object) -> str | None:
    """How prepared weights are kept: `int8`; None for as they are.

    Raises:
        InputError: It is neither.
    """
    if weights not in (None, INT8):
        raise InputError(f"weights={weights!r}; expected '{INT8}', or None for as they are")
    return INT8 if weights else None


def refusal(cell: Cell, sizes: Mapping[str, int], dtype: Any) -> str | None:
    """Why the products of a cell cannot be those of int8; None if they can.

    Args:
        cell: The cell.
        sizes: The named sizes.
        dtype: The type of its parameters, as its framework calls it.
    """
    if not str(dtype).endswith("float32"):
        return f"the parameters are {dtype}, and what is quantised is float32"
    matrices = [stored.shape_for(dict(sizes)) for stored in cell.parameters if stored.is_matrix]
    if not matrices:
        return f"the cell '{cell.name}' has no matrix"
    longest = max(columns for _, columns in matrices)
    if longest > LONGEST:
        return f"a matrix has {longest} columns, and int32 holds sums of {LONGEST} products"
    return None
