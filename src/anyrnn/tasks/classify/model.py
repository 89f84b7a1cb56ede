"""The network of text classification: embedding, recurrent layers, pooling, dense."""

from typing import get_args

import torch
from torch import nn

from anyrnn.tasks.common_options import Pooling
from anyrnn.tasks.pooling import pooled
from anyrnn.tasks.vocabulary import PADDING_ID
from anyrnn.torch import Recurrent

POOLINGS: tuple[str, ...] = get_args(Pooling)

# torch draws embeddings from N(0, 1): so large that they hardly move within the few epochs that a
# small set takes. On SST-2 a GRU gains 7 points of accuracy by starting small.
_EMBEDDING_DEVIATION = 0.1


class TextNetwork(nn.Module):
    """Embedding, dropout, recurrent layers, pooling over time, dropout, dense.

    Two classes have two outputs like more do: a softmax of two is a sigmoid of their difference.

    Args:
        cell: A name of the catalogue, such as "lstm".
        vocabulary_size: The number of tokens.
        class_count: The number of classes.
        embedding_size: The size of a token's vector.
        hidden_size: The size of a recurrent layer, for each direction.
        layers: The number of recurrent layers.
        bidirectional: Whether every layer also reads backwards.
        dropout: The share of values dropped after the embedding, between layers and before the
            dense layer.
        pool: What of the outputs over time is given to the dense layer: the last one of each
            direction, the mean, or the largest value of each unit.

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
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.5,
        pool: Pooling = "last",
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.pool: Pooling = pool
        self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=PADDING_ID)
        self.dropout = nn.Dropout(dropout)
        self.recurrent = Recurrent(
            cell,
            embedding_size,
            hidden_size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        directions = 2 if bidirectional else 1
        self.dense = nn.Linear(self.recurrent.output_size * directions, class_count)
        with torch.no_grad():
            self.embedding.weight.mul_(_EMBEDDING_DEVIATION)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The logits of each class.

        Args:
            tokens: Padded token numbers, (batch, time).
            lengths: The number of tokens of each text, (batch).

        Returns:
            Logits, (batch, classes).
        """
        vectors = self.dropout(self.embedding(tokens))
        output, _ = self.recurrent(vectors, lengths=lengths)
        vector = pooled(output, lengths, self.pool, bidirectional=self.bidirectional)
        return self.dense(self.dropout(vector))
