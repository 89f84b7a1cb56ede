"""The network of captions: regions of a picture, and a recurrent decoder that attends to them."""

import torch
from torch import nn

from anyrnn.tasks.decoding.attention import AttentionKind
from anyrnn.tasks.decoding.decoder import Decoder, DecoderState
from anyrnn.tasks.networks.pooling import pooled


class CaptionNetwork(nn.Module):
    """A layer over the channels of each region and where it lies; `Decoder`, whose first states
    come from the mean of the regions (Xu et al. 2015, arXiv 1502.03044, section 3.1).

    Args:
        cell: A name of the catalogue, such as "gru".
        vocabulary_size: The number of tokens.
        channels: The number of channels of a region.
        embedding_size: The size of a token's vector.
        hidden_size: The size of a recurrent layer, and of a region.
        layers: The number of recurrent layers.
        attention, input_feeding, scheduled_sampling: See `Decoder`.
        dropout: The share of values dropped of regions, after embeddings, between layers, and
            before the softmax.

    Raises:
        UnknownCellError: There is no such cell.
        OptionError: Options exclude each other.

    Example:
        >>> network = CaptionNetwork("gru", 9, 6, embedding_size=4, hidden_size=4)
        >>> regions, lengths = torch.randn(2, 5, 6 + 2), torch.tensor([5, 3])
        >>> vectors, weights = network(regions, lengths, torch.tensor([[0, 5], [0, 6]]))
        >>> vectors.shape, weights.shape
        (torch.Size([2, 2, 4]), torch.Size([2, 2, 5]))
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        channels: int,
        *,
        embedding_size: int = 128,
        hidden_size: int = 256,
        layers: int = 1,
        attention: AttentionKind = "additive",
        input_feeding: bool = False,
        scheduled_sampling: float = 0.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        # Backbones, and arrays of other origin, have channels of very different size.
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.region = nn.Linear(channels, hidden_size)
        self.place = nn.Linear(2, hidden_size, bias=False)
        self.decoder = Decoder(
            cell,
            vocabulary_size,
            memory_size=hidden_size,
            summary_size=hidden_size,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            layers=layers,
            attention=attention,
            input_feeding=input_feeding,
            dropout=dropout,
            scheduled_sampling=scheduled_sampling,
        )

    def begin(self, regions: torch.Tensor, lengths: torch.Tensor) -> DecoderState:
        """Look at pictures.

        Args:
            regions: Padded, (batch, regions, channels + 2); see `Features`.
            lengths: The number of regions of each picture, at least 1, (batch).

        Returns:
            What the decoder begins with.
        """
        return self.attend(self.seen(regions), lengths)

    def seen(self, regions: torch.Tensor) -> torch.Tensor:
        """What the decoder sees of each region, (batch, regions, hidden size)."""
        values, places = regions[..., :-2], regions[..., -2:]
        seen = self.region(self.dropout(self.norm(values))) + self.place(places)
        return self.dropout(torch.relu(seen))

    def attend(self, seen: torch.Tensor, lengths: torch.Tensor) -> DecoderState:
        """What the decoder begins with, from what `seen` gave."""
        return self.decoder.begin(seen, lengths, pooled(seen, lengths, "mean", bidirectional=False))

    def forward(
        self,
        regions: torch.Tensor,
        lengths: torch.Tensor,
        tokens: torch.Tensor,
        target_lengths: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Look at pictures, and read what stands before each token of the captions; see
        `Decoder`.
        """
        return self.decoder(tokens, self.begin(regions, lengths), target_lengths)
