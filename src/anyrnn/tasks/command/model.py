"""The network of spoken words."""

from typing import Any

import torch

from anyrnn.tasks.audio.augmentation import Augmentation
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.networks.layers import segments


class CommandNetwork(SequenceNetwork):
    """Features of a recording, recurrent layers, pooling over time, dropout, dense.

    Args:
        cell: A name of the catalogue, such as "gru".
        features: Makes the features; they have no weights.
        augmentation: Changes recordings in training.
        continued: The share of recordings that begin with the state after another one in training.
        class_count: The number of words.
        sizes: Those of `SequenceNetwork`.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> from anyrnn.tasks.command import AugmentationOptions, SoundOptions
        >>> sound = SoundOptions(sample_rate=8000)
        >>> augmentation = Augmentation(AugmentationOptions(), 8000)
        >>> network = CommandNetwork("gru", Features(sound), augmentation, 12, pool="mean")
        >>> network(torch.randn(2, 8000), torch.tensor([8000, 500])).shape
        torch.Size([2, 12])
    """

    def __init__(
        self,
        cell: str,
        features: Features,
        augmentation: Augmentation,
        class_count: int,
        *,
        continued: float = 0.0,
        **sizes: Any,
    ) -> None:
        super().__init__(cell, features.size, class_count, **sizes)
        self.features = features
        self.augmentation = augmentation
        self.continued = continued

    def forward(
        self, inputs: torch.Tensor, lengths: torch.Tensor, state: None = None
    ) -> torch.Tensor:
        """The logits of each word.

        Args:
            inputs: Samples, padded with 0, (batch, samples).
            lengths: The number of samples of each recording, (batch).
            state: None: recordings begin with 0, or in training with the state after another one.

        Returns:
            Logits, (batch, words).
        """
        if self.training:
            inputs, lengths = self.augmentation.waveforms(inputs, lengths)
        features, counts = self.features(inputs, lengths)
        if not self.training:
            return super().forward(features, counts)
        features = self.augmentation.features(features, counts)
        return super().forward(features, counts, self._state_before(features, counts))

    def _state_before(self, features: torch.Tensor, counts: torch.Tensor) -> Any:
        """The state after another recording of the batch for some, for the others 0."""
        if not self.continued:
            return None
        order = torch.randperm(len(counts), device=counts.device)
        continued = torch.rand(len(counts), 1, device=counts.device) < self.continued
        with torch.no_grad():
            inputs, lengths = segments(features[order], counts[order], self.segment_length)
            _, state = self.recurrent(inputs, lengths=lengths)
        if isinstance(state, tuple):
            return tuple(each * continued for each in state)
        return state * continued
