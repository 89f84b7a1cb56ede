"""The network of transcription: features of sound, recurrent layers, and what writes."""

from typing import Any

import torch
from torch import nn

from anyrnn.tasks.audio.augmentation import Augmentation
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.decoding.attention import AttentionKind
from anyrnn.tasks.decoding.decoder import Decoder, DecoderState
from anyrnn.tasks.networks.layers import recurrent_layers, segments
from anyrnn.tasks.networks.pooling import pooled


class TranscriptionNetwork(nn.Module):
    """Features, of which several frames are read as one step; recurrent layers; a softmax over
    tokens and the blank, or a `Decoder`.

    Args:
        cell: A name of the catalogue, such as "gru".
        vocabulary_size: The number of tokens; number 0 is the blank, or the end.
        features: What makes features of samples.
        augmentation: What changes recordings in training.
        segment_length: How many frames are a step.
        hidden_size: The size of a recurrent layer, of one that reads the recording for each
            direction.
        layers: The number of recurrent layers.
        bidirectional: Whether the recording is also read backwards.
        dropout: The share of values dropped between layers and after them.
        decoder: What writes: "ctc" or "attention".
        attention, embedding_size, scheduled_sampling: See `Decoder`.

    Attributes:
        recurrent: The layers that read the recording.
        softmax: What writes with "ctc"; otherwise None.
        decoder: What writes with "attention"; otherwise None.

    Raises:
        UnknownCellError: There is no such cell.
        OptionError: Options exclude each other.

    Example:
        >>> from anyrnn.tasks.audio.options import AugmentationOptions, SoundOptions
        >>> features = Features(SoundOptions(sample_rate=8000))
        >>> changes = Augmentation(AugmentationOptions(), 8000)
        >>> network = TranscriptionNetwork("gru", 9, features, changes, hidden_size=4)
        >>> outputs, steps = network(torch.randn(2, 8000), torch.tensor([8000, 4000]))
        >>> network.log_probabilities(outputs).shape, steps.tolist()
        (torch.Size([2, 34, 9]), [34, 17])
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        features: Features,
        augmentation: Augmentation,
        *,
        segment_length: int = 3,
        hidden_size: int = 256,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.2,
        decoder: str = "ctc",
        attention: AttentionKind = "additive",
        embedding_size: int = 64,
        scheduled_sampling: float = 0.0,
    ) -> None:
        super().__init__()
        self.features, self.augmentation = features, augmentation
        self.segment_length = segment_length
        self.dropout, self.bidirectional = nn.Dropout(dropout), bidirectional
        self.recurrent = recurrent_layers(
            cell,
            features.size * segment_length,
            hidden_size,
            layers,
            dropout,
            bidirectional=bidirectional,
        )
        size = self.recurrent.output_size * (2 if bidirectional else 1)
        self.softmax, self.decoder = None, None
        if decoder == "ctc":
            self.softmax = nn.Linear(size, vocabulary_size)
        else:
            self.decoder = Decoder(
                cell,
                vocabulary_size,
                memory_size=size,
                summary_size=size,
                embedding_size=embedding_size,
                hidden_size=hidden_size,
                attention=attention,
                dropout=dropout,
                scheduled_sampling=scheduled_sampling,
            )

    def forward(
        self, samples: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read recordings.

        Args:
            samples: Padded with 0, (batch, samples).
            lengths: The number of samples of each, at least 1, (batch).

        Returns:
            What softmax or decoder read, (batch, steps, size), and the number of steps of each
            recording, (batch).
        """
        if self.training:
            samples, lengths = self.augmentation.waveforms(samples, lengths)
        frames, counts = self.features(samples, lengths)
        if self.training:
            frames = self.augmentation.features(frames, counts)
        outputs, _, steps = self.read(frames, counts)
        return outputs, steps

    def read(
        self, frames: torch.Tensor, counts: torch.Tensor, state: Any = None
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """Read features, which may continue others.

        Args:
            frames: (batch, frames, size).
            counts: The number of frames of each row, at least 1, (batch).
            state: That after those before.

        Returns:
            What softmax or decoder read, the state after it, and the number of steps of each row.
        """
        inputs, steps = segments(frames, counts, self.segment_length)
        outputs, state = self.recurrent(inputs, state, lengths=steps)
        return self.dropout(outputs), state, steps

    def log_probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """Those of each token and the blank, by the softmax, (batch, steps, vocabulary)."""
        assert self.softmax is not None
        return self.softmax(outputs).float().log_softmax(-1)

    def begin(self, outputs: torch.Tensor, steps: torch.Tensor) -> DecoderState:
        """What the decoder begins with.

        Args:
            outputs, steps: What `forward` gave.
        """
        assert self.decoder is not None
        summary = pooled(outputs, steps, "last", bidirectional=self.bidirectional)
        return self.decoder.begin(outputs, steps, summary)
