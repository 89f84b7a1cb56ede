"""The networks of classification: recurrent layers, pooling, dense; for texts an embedding."""

from typing import Any

import torch
from torch import nn

from anyrnn.tasks.networks.layers import recurrent_layers, segments, small_embedding
from anyrnn.tasks.networks.pooling import pooled
from anyrnn.tasks.options.common_options import Pooling


class SequenceNetwork(nn.Module):
    """Recurrent layers, pooling over time, dropout, dense; perhaps an embedding before.

    Two classes have two outputs like more do: a softmax of two is a sigmoid of their difference.

    Args:
        cell: A name of the catalogue, such as "lstm".
        input_size: The number of values of a step.
        class_count: The number of classes.
        hidden_size: The size of a recurrent layer, for each direction.
        layers: The number of recurrent layers.
        bidirectional: Whether every layer also reads backwards.
        dropout: The share of values dropped after an embedding, between layers and before the
            dense layer.
        pool: What of the outputs over time is given to the dense layer: the last one of each
            direction, the mean, or the largest value of each unit.
        segment_length: How many steps are read as one step of the layers.
        embedding: What makes vectors of numbers of tokens.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> network = SequenceNetwork("gru", 2, 3, hidden_size=8)
        >>> network(torch.randn(5, 7, 2), torch.tensor([7, 1, 4, 4, 2])).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        class_count: int,
        *,
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.5,
        pool: Pooling = "last",
        segment_length: int = 1,
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.pool: Pooling = pool
        self.segment_length = segment_length
        self.embedding = embedding
        self.dropout = nn.Dropout(dropout)
        input_size *= segment_length
        self.recurrent = recurrent_layers(
            cell, input_size, hidden_size, layers, dropout, bidirectional=bidirectional
        )
        directions = 2 if bidirectional else 1
        self.dense = nn.Linear(self.recurrent.output_size * directions, class_count)

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor, state: Any = None
    ) -> torch.Tensor:
        """The logits of each class.

        Args:
            inputs: Padded values, (batch, time, input); or token numbers, (batch, time).
            lengths: The number of steps of each sequence, (batch).
            state: What the layers begin with, if not with 0.

        Returns:
            Logits, (batch, classes).
        """
        if self.embedding is not None:
            inputs = self.dropout(self.embedding(inputs))
        inputs, lengths = segments(inputs, lengths, self.segment_length)
        output, _ = self.recurrent(inputs, state, lengths=lengths)
        vector = pooled(output, lengths, self.pool, bidirectional=self.bidirectional)
        return self.dense(self.dropout(vector))


class TextNetwork(SequenceNetwork):
    """The same over the tokens of a text.

    Args:
        cell: A name of the catalogue, such as "lstm".
        vocabulary_size: The number of tokens.
        class_count: The number of classes.
        embedding_size: The size of a token's vector.
        sizes: Those of `SequenceNetwork`.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> network = TextNetwork("gru", 100, 3, hidden_size=8)
        >>> network(torch.tensor([[4, 9, 7], [5, 0, 0]]), torch.tensor([3, 1])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        class_count: int,
        *,
        embedding_size: int = 128,
        **sizes: Any,
    ) -> None:
        embedding = small_embedding(vocabulary_size, embedding_size)
        super().__init__(cell, embedding_size, class_count, embedding=embedding, **sizes)
