"""Rows taken out of an array, and put back where they were."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anyrnn.torch.arrays import DTYPES, empty
from anyrnn.torch.execute import choose


@dataclass(frozen=True, eq=False)
class Moves:
    """Where some rows are in an array that has others too.

    Attributes:
        places: The place of each row in the array, (rows,), on the device of the array.
        count: The number of rows of the array.
    """

    places: Tensor
    count: int

    @cached_property
    def back(self) -> Tensor:
        """Which of the rows each row of the array is, (count,); the first where it is none."""
        found = torch.zeros(self.count, dtype=torch.int64)
        return found.index_copy_(0, self.places, torch.arange(len(self.places)))

    @cached_property
    def others(self) -> Tensor:
        """The rows of the array that are none of them."""
        is_other = torch.ones(self.count, dtype=torch.bool)
        return is_other.index_fill_(0, self.places, False).nonzero().squeeze(1)

    def take(self, array: Tensor) -> Tensor:
        """The rows, given the array, (count, features)."""
        return _Take.apply(array, self) if _is_simple(array) else array.index_select(0, self.places)

    def spread(self, rows: Tensor) -> Tensor:
        """The array with zeros in the other rows, given the rows, (rows, features)."""
        if _is_simple(rows):
            return _Spread.apply(rows, self)
        zeros = rows.new_zeros(self.count, rows.shape[1])
        return zeros.index_add(0, self.places, rows)  # index_copy is slower


def _is_simple(tensor: Tensor) -> bool:
    """Whether nothing but plain autograd follows what is done with a tensor on a CPU."""
    return tensor.dtype in DTYPES and choose(None, [tensor]).name == "compiled"


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows in memory that has been used before, which costs no page faults."""
    found = empty((len(index), rows.shape[1]), DTYPES[rows.dtype])
    return torch.index_select(rows, 0, index, out=found)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, array: Tensor, moves: Moves) -> Tensor:
        ctx.moves = moves
        return _take(array.detach(), moves.places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.moves.spread(gradients[0]), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, moves: Moves) -> Tensor:
        ctx.moves = moves
        if not len(rows):
            return rows.new_zeros(moves.count, rows.shape[1])
        return _take(rows.detach(), moves.back).index_fill_(0, moves.others, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.moves.take(gradients[0]), None
