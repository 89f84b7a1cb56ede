"""The network of spoken words, and what it says step by step."""

from typing import Any

import torch

from anyrnn.errors import OptionError, option_name
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


class Stream:
    """What a network says at each step of a recording that comes in pieces.

    At each step the outputs of the last so many steps are pooled and classified, as those of a
    whole recording are; the state of the layers goes on all the time.

    Args:
        network: The network, in evaluation mode.
        window: Over how many steps outputs are pooled; fewer at the beginning.

    Raises:
        OptionError: The network reads backwards, or its features need the whole recording.
    """

    def __init__(self, network: CommandNetwork, window: int) -> None:
        if network.bidirectional:
            raise OptionError(
                "this network also reads backwards, from the end of a recording, which a stream "
                f"has not; train with {option_name('bidirectional', False)}"
            )
        self._network = network
        self._window = window
        self._frames = network.features.stream(network.segment_length)
        self._state: Any = None
        self._outputs = torch.empty(0, network.dense.in_features)

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """The probability of each word at each further step, (steps, words).

        Args:
            samples: (samples), at the rate of the network's features.
        """
        return self._read(self._frames.push(samples[None]))

    def finish(self) -> torch.Tensor:
        """Those at the steps that the end completes."""
        return self._read(self._frames.finish())

    def _read(self, frames: torch.Tensor) -> torch.Tensor:
        network, count = self._network, frames.shape[1]
        if not count:
            return torch.empty(0, network.dense.out_features)
        with torch.inference_mode():
            inputs, _ = segments(frames, torch.tensor([count]), network.segment_length)
            output, self._state = network.recurrent(inputs, self._state)
            return network.dense(self._pooled(output[0])).softmax(1)

    def _pooled(self, outputs: torch.Tensor) -> torch.Tensor:
        """The outputs of the window that ends at each step, pooled, (steps, hidden)."""
        before = len(self._outputs)
        every = torch.cat([self._outputs, outputs])
        self._outputs = every[max(0, len(every) - self._window + 1) :]
        pooled = []
        for end in range(before + 1, len(every) + 1):
            some = every[max(0, end - self._window) : end]
            pooled.append(some.mean(0) if self._network.pool == "mean" else some.amax(0))
        return torch.stack(pooled)
