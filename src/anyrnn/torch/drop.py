"""What is dropped in training, with one mask for a whole sequence."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Node, topological
from anyrnn.torch.sequences import Rows
from anyrnn.torch.structure import Part


@lru_cache(maxsize=256)
def recurrent_matrices(cell: Cell) -> frozenset[str]:
    """The names of the matrices between the old states and the new ones."""
    ordered = topological(cell.graph.outputs[name] for name in cell.states)
    moving: set[Node] = set()
    found: set[str] = set()
    for node in ordered:
        if node.operation == "state" or any(argument in moving for argument in node.arguments):
            moving.add(node)
        if node.operation == "product" and node.arguments[1] in moving:
            leaves = topological([node.arguments[0]])
            found.update(leaf.name for leaf in leaves if leaf.operation == "parameter")
    return frozenset(found)


def drop_features(data: Tensor, rows: Rows, probability: float) -> Tensor:
    """Drop features of each sequence's input, the same ones at every step.

    Args:
        data: The input, laid out as the rows.
        rows: The layer's input.
        probability: Of dropping one.
    """
    kept = functional.dropout(data.new_ones(rows.batch, data.shape[-1]), probability)
    return rows.times(data, kept)


def check_recurrent_matrices(part: Part, probability: float) -> None:
    """Check that there is something to drop from.

    Raises:
        InputError: The cell has no matrix between its old states and the new ones.
    """
    if probability and not recurrent_matrices(part.cell):
        raise InputError(
            f"weight_dropout={probability}, but the cell '{part.cell.name}' has no recurrent matrix"
        )


def drop_weights(part: Part, weights: dict[str, Tensor], probability: float) -> dict[str, Tensor]:
    """Drop elements of the recurrent matrices.

    Args:
        part: The layer and direction.
        weights: Its stored parameters.
        probability: Of dropping one.
    """
    matrices = recurrent_matrices(part.cell)
    found = dict(weights)
    for stored in part.cell.parameters:
        dropped = [member in matrices for member in stored.members]
        if all(dropped):
            found[stored.name] = functional.dropout(weights[stored.name], probability)
        elif any(dropped):
            edges = pairwise(bound.evaluate(part.sizes) for bound in stored.bounds)
            pieces = [
                functional.dropout(weights[stored.name][start:stop], probability, drop)
                for drop, (start, stop) in zip(dropped, edges, strict=True)
            ]
            found[stored.name] = torch.cat(pieces)
    return found
