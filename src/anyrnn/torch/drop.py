"""What is dropped in training, with one mask for a whole sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.errors import InputError
from anyrnn.graph.roles import Role, matrices
from anyrnn.torch.packed_rows import Rows

if TYPE_CHECKING:
    from anyrnn.torch.layer_stack import LayerPart


def drop_features(data: Tensor, rows: Rows, probability: float) -> Tensor:
    """Drop features of each sequence's input, the same ones at every step; others after a reset.

    Args:
        data: The input, laid out as the rows.
        rows: The layer's input.
        probability: Of dropping one.
    """
    kept = functional.dropout(data.new_ones(rows.sequences, data.shape[-1]), probability)
    return rows.times(data, kept)


def recurrent_rows(part: LayerPart, probability: float) -> dict[str, list[tuple[int, int, bool]]]:
    """Of each stored parameter with recurrent matrices, the rows of each member, and whether it is
    one.

    Args:
        part: A layer and direction.
        probability: For the message: of dropping an element.

    Raises:
        InputError: The cell has no matrix between its old states and the new ones.
    """
    between, found = matrices(part.cell, Role.RECURRENT, Role.PROJECTION), {}
    for stored in part.cell.parameters:
        if between.intersection(stored.members):
            named = stored.rows(part.sizes).items()
            found[stored.name] = [(rows.start, rows.stop, name in between) for name, rows in named]
    if not found:
        raise InputError(
            f"weight_dropout={probability}, but the cell '{part.cell.name}' has no recurrent matrix"
        )
    return found


def drop_weights(
    part: LayerPart, weights: dict[str, Tensor], probability: float
) -> dict[str, Tensor]:
    """Drop elements of the recurrent matrices.

    Args:
        part: The layer and direction.
        weights: Its stored parameters.
        probability: Of dropping one.
    """
    found = dict(weights)
    for name, members in part.recurrent_rows.items():
        whole = weights[name]
        if all(recurrent for _, _, recurrent in members):
            found[name] = functional.dropout(whole, probability)
        else:
            pieces = [
                functional.dropout(whole[start:stop], probability, recurrent)
                for start, stop, recurrent in members
            ]
            found[name] = torch.cat(pieces)
    return found
