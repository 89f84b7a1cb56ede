"""The recurrent layers of the networks of all tasks."""

from typing import Any

from anyrnn.torch import Recurrent


def recurrent_layers(
    cell: str, input_size: int, hidden_size: int, layers: int, dropout: float, **options: Any
) -> Recurrent:
    """Layers on top of each other, batch first, with dropout between them.

    Args:
        cell: The name of the cell.
        input_size: The number of features of the input.
        hidden_size: The size of each layer.
        layers: The number of layers.
        dropout: The share of outputs dropped between two layers; of no meaning for a single one.
        **options: Further ones of `Recurrent`.
    """
    between = dropout if layers > 1 else 0.0
    return Recurrent(
        cell, input_size, hidden_size, layers, batch_first=True, dropout=between, **options
    )
