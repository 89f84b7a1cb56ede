"""The network of translation: a recurrent encoder, and a recurrent decoder that attends to it."""

import torch
from torch import nn

from anyrnn.tasks.decoding.attention import AttentionKind
from anyrnn.tasks.decoding.decoder import Decoder, DecoderState
from anyrnn.tasks.networks.layers import draw_uniform, recurrent_layers
from anyrnn.tasks.networks.pooling import pooled


class TranslationNetwork(nn.Module):
    """Embedding, recurrent encoder; `Decoder`, whose first states come from the encoder's last
    outputs.

    Args:
        cell: A name of the catalogue, such as "gru"; encoder and decoder have it.
        source_size: The number of tokens of the source.
        target_size: The number of tokens of the target.
        shared: Whether both sides have one vocabulary: then they have one embedding, too.
        embedding_size: The size of a token's vector.
        hidden_size: The size of a recurrent layer, of the encoder for each direction.
        layers: The number of recurrent layers of encoder and decoder.
        bidirectional: Whether the encoder also reads backwards.
        attention, input_feeding, coverage, scheduled_sampling: See `Decoder`.
        dropout: The share of values dropped after embeddings, between layers, after the encoder and
            before the softmax.

    Raises:
        UnknownCellError: There is no such cell.
        OptionError: Options exclude each other.

    Example:
        >>> network = TranslationNetwork("gru", 9, 7, embedding_size=4, hidden_size=4)
        >>> sources, lengths = torch.tensor([[4, 2, 0], [3, 0, 0]]), torch.tensor([3, 2])
        >>> vectors, weights = network(sources, lengths, torch.tensor([[0, 5], [0, 6]]))
        >>> vectors.shape, weights.shape
        (torch.Size([2, 2, 4]), torch.Size([2, 2, 3]))
    """

    def __init__(
        self,
        cell: str,
        source_size: int,
        target_size: int,
        *,
        shared: bool = False,
        embedding_size: int = 128,
        hidden_size: int = 256,
        layers: int = 1,
        bidirectional: bool = True,
        attention: AttentionKind = "additive",
        input_feeding: bool = False,
        coverage: bool = False,
        scheduled_sampling: float = 0.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)
        self.encoder = recurrent_layers(
            cell, embedding_size, hidden_size, layers, dropout, bidirectional=bidirectional
        )
        size = self.encoder.output_size * (2 if bidirectional else 1)
        self.decoder = Decoder(
            cell,
            target_size,
            memory_size=size,
            summary_size=size,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            layers=layers,
            attention=attention,
            input_feeding=input_feeding,
            coverage=coverage,
            dropout=dropout,
            scheduled_sampling=scheduled_sampling,
        )
        self.embedding = None if shared else nn.Embedding(source_size, embedding_size)
        if self.embedding is not None:
            draw_uniform(self.embedding.weight)

    def begin(self, sources: torch.Tensor, lengths: torch.Tensor) -> DecoderState:
        """Read the sources.

        Args:
            sources: Padded token numbers, (batch, source).
            lengths: The number of tokens of each, at least 1, (batch).

        Returns:
            What the decoder begins with.
        """
        embedding = self.embedding or self.decoder.embedding
        outputs, _ = self.encoder(self.dropout(embedding(sources)), lengths=lengths)
        outputs = self.dropout(outputs)
        summary = pooled(outputs, lengths, "last", bidirectional=self.bidirectional)
        return self.decoder.begin(outputs, lengths, summary)

    def forward(
        self,
        sources: torch.Tensor,
        lengths: torch.Tensor,
        tokens: torch.Tensor,
        target_lengths: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Read the sources and what stands before each token of the targets; see `Decoder`."""
        return self.decoder(tokens, self.begin(sources, lengths), target_lengths)
