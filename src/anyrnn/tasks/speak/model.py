"""The network of speech: a character encoder, and a decoder that attends to it and gives frames."""

import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.decoding.attention import Attention, Memory, attended
from anyrnn.tasks.networks.layers import recurrent_layers, segments, small_embedding, step_mask

_WIDTH = 5  # of convolutions, as in Tacotron 2
SpeechAttention = Literal["location", "additive"]


class PreNet(nn.Module):
    """Two layers through which the decoder sees the frame before: so narrow, and with so much
    dropout, that it has to read the text.

    Args:
        bands: The size of a frame.
        size: The size of each layer.
        dropout: The share of values dropped after each, in training.
    """

    def __init__(self, bands: int, size: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(bands, size), nn.Linear(size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Values for frames, (..., bands) to (..., size)."""
        first = self.dropout(torch.relu(self.first(frames)))
        return self.dropout(torch.relu(self.second(first)))


class Convolutions(nn.Module):
    """Convolutions along time. Between them stand layer normalisation, ReLU and dropout: Tacotron
    2's batch normalisation would mix rows, and read padding.

    Args:
        input_size: The size of what is read.
        size: The size of each layer but the last one.
        output_size: The size of the last one.
        layers: The number of layers.
        dropout: The share of values dropped before each layer but the first one.
        bare: Whether nothing follows the last layer.
    """

    def __init__(
        self,
        input_size: int,
        size: int,
        output_size: int,
        layers: int,
        dropout: float,
        *,
        bare: bool = False,
    ) -> None:
        super().__init__()
        sizes = [input_size, *[size] * (layers - 1), output_size] if layers else [input_size]
        pairs = list(itertools.pairwise(sizes))
        self.layers = nn.ModuleList(
            nn.Conv1d(one, other, _WIDTH, padding=_WIDTH // 2) for one, other in pairs
        )
        self.norms = nn.ModuleList(nn.LayerNorm(other) for _, other in pairs[: layers - bare])
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the last layer gives.

        Args:
            values: (batch, time, input size).
            mask: Which steps there are, (batch, time); the others are read as 0.
        """
        for number, layer in enumerate(self.layers):
            values = layer((values * mask[..., None]).transpose(1, 2)).transpose(1, 2)
            if number < len(self.norms):
                values = self.dropout(torch.relu(self.norms[number](values)))
        return values


@dataclass(frozen=True)
class SpeechState:
    """What the decoder knows before its next step.

    Attributes:
        reader: The state of the layer that attends.
        writer: The states of the layers after attention.
        context: What was attended to, (batch, 1, memory size).
        had: See `Attention.begin`.
        memory: What is attended to.
    """

    reader: Any
    writer: Any
    context: torch.Tensor
    had: torch.Tensor | None
    memory: Memory


@dataclass(frozen=True)
class Spoken:
    """What the network gives for texts.

    Attributes:
        coarse: The frames before the post-net, (batch, frames, bands).
        frames: The frames, (batch, frames, bands).
        stops: The logit of the end after each step, (batch, steps).
        weights: Those of attention, (batch, steps, characters).
    """

    coarse: torch.Tensor
    frames: torch.Tensor
    stops: torch.Tensor
    weights: torch.Tensor


class SpeechNetwork(nn.Module):
    """Tacotron 2 (Shen et al. 2018, arXiv 1712.05884) of any cell, with several frames a step (Wang
    et al. 2017, arXiv 1703.10135, section 3.3).

    Embedding, convolutions and recurrent layers read the characters. A step of the decoder is a
    recurrent layer that reads the frame before, through `PreNet`, and what was attended to;
    attention; and recurrent layers that read both, to give the next frames and whether they are the
    last ones. Convolutions add what the frames lack (the post-net).

    Where the frames are known, only the attending layer and attention run step by step: all else,
    the recurrent layers after attention too, runs over the whole sequence at once.

    Args:
        cell: A name of the catalogue, such as "gru", of all recurrent layers.
        characters: The number of different characters.
        features: What frames are.
        embedding_size: The size of a character's vector.
        convolutions: The number of convolutions before the encoder's recurrent layers.
        hidden_size: The size of a recurrent layer, of the encoder for each direction.
        layers: The number of recurrent layers of the encoder, and of the decoder after attention.
        bidirectional: Whether the encoder also reads backwards.
        attention: How attention is scored; see `Attention`.
        prenet_size: The size of the pre-net.
        prenet_dropout: The share of values dropped in it, in training.
        reduction: How many frames a step gives.
        postnet_layers: The number of convolutions of the post-net; 0 for none.
        dropout: The share of values dropped after embedding and convolutions, and between layers.

    Raises:
        UnknownCellError: There is no such cell.

    Example:
        >>> from anyrnn.tasks.audio.options import SoundOptions
        >>> features = Features(SoundOptions(mels=4))
        >>> network = SpeechNetwork("gru", 9, features, hidden_size=5, reduction=2)
        >>> texts, lengths = torch.tensor([[4, 2, 7], [3, 5, 0]]), torch.tensor([3, 2])
        >>> spoken = network(texts, lengths, torch.randn(2, 6, 4), torch.tensor([6, 5]))
        >>> spoken.frames.shape, spoken.stops.shape, spoken.weights.shape
        (torch.Size([2, 6, 4]), torch.Size([2, 3]), torch.Size([2, 3, 3]))
    """

    def __init__(
        self,
        cell: str,
        characters: int,
        features: Features,
        *,
        embedding_size: int = 128,
        convolutions: int = 2,
        hidden_size: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        attention: SpeechAttention = "location",
        prenet_size: int = 64,
        prenet_dropout: float = 0.5,
        reduction: int = 4,
        postnet_layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.features, self.reduction = features, reduction
        self.bands = bands = features.size
        self.embedding = small_embedding(characters, embedding_size)
        self.convolutions = Convolutions(
            embedding_size, embedding_size, embedding_size, convolutions, dropout
        )
        self.encoder = recurrent_layers(
            cell, embedding_size, hidden_size, layers, dropout, bidirectional=bidirectional
        )
        memory_size = self.encoder.output_size * (2 if bidirectional else 1)
        self.prenet = PreNet(bands, prenet_size, prenet_dropout)
        self.reader = recurrent_layers(cell, prenet_size + memory_size, hidden_size, 1, dropout)
        self.query_size = self.reader.output_size
        self.attention = Attention(attention, self.query_size, memory_size, hidden_size)
        read_size = self.query_size + memory_size
        self.writer = recurrent_layers(cell, read_size, hidden_size, layers, dropout)
        written_size = self.writer.output_size + memory_size
        self.frames = nn.Linear(written_size, reduction * bands)
        self.stop = nn.Linear(written_size, 1)
        self.postnet = Convolutions(bands, hidden_size, bands, postnet_layers, dropout, bare=True)
        self.dropout = nn.Dropout(dropout)

    def steps(self, counts: torch.Tensor) -> torch.Tensor:
        """The number of steps that give some numbers of frames."""
        return (counts + self.reduction - 1) // self.reduction

    def begin(self, texts: torch.Tensor, lengths: torch.Tensor) -> SpeechState:
        """Read the texts.

        Args:
            texts: Padded character numbers, (batch, characters).
            lengths: The number of characters of each, at least 1, (batch).

        Returns:
            What the decoder begins with.
        """
        return self.encode(self.dropout(self.embedding(texts)), lengths)

    def encode(self, read: torch.Tensor, lengths: torch.Tensor) -> SpeechState:
        """What the decoder begins with.

        Args:
            read: The vectors of the characters, (batch, characters, size).
            lengths: The number of characters of each, at least 1, (batch).
        """
        mask = step_mask(lengths, read.shape[1])
        read, _ = self.encoder(self.convolutions(read, mask), lengths=lengths)
        memory = self.attention.memory(read, mask)
        context = read.new_zeros(len(read), 1, read.shape[2])
        return SpeechState(None, None, context, self.attention.begin(memory), memory)

    def forward(
        self,
        texts: torch.Tensor,
        lengths: torch.Tensor,
        frames: torch.Tensor,
        frame_lengths: torch.Tensor,
    ) -> Spoken:
        """Read the texts and the true frames (teacher forcing).

        Args:
            texts: Padded character numbers, (batch, characters).
            lengths: The number of characters of each, (batch).
            frames: The frames of the speech, (batch, time, bands).
            frame_lengths: The number of frames of each, (batch).
        """
        return self.spoken(self.begin(texts, lengths), frames, frame_lengths)

    def spoken(
        self, state: SpeechState, frames: torch.Tensor, frame_lengths: torch.Tensor
    ) -> Spoken:
        """Read the true frames, from what `begin` gave."""
        groups, steps = segments(frames, frame_lengths, self.reduction)
        last = groups[:, :-1, -self.bands :]
        before = self.prenet(functional.pad(last, (0, 0, 1, 0)))
        read: list[torch.Tensor] = []
        every: list[torch.Tensor] = []
        for place in before.split(1, 1):
            both, weights, state = self._read(place, state)
            read.append(both)
            every.append(weights)
        contexts = torch.cat(read, 1)
        written, _ = self.writer(contexts, lengths=steps)
        coarse, stops = self._written(written, contexts)
        coarse = coarse[:, : frames.shape[1]]
        refined = self.refined(coarse, step_mask(frame_lengths, frames.shape[1]))
        return Spoken(coarse, refined, stops, torch.cat(every, 1))

    def step(
        self, frame: torch.Tensor, state: SpeechState
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, SpeechState]:
        """The next frames.

        Args:
            frame: The frame before, (batch, bands).
            state: What `begin` or the step before gave.

        Returns:
            The frames before the post-net, (batch, reduction, bands), the probability that they are
            the last ones, (batch), the weights of attention, (batch, characters), and the state.
        """
        read, weights, state = self._read(self.prenet(frame[:, None]), state)
        written, writer = self.writer(read, state.writer)
        frames, stops = self._written(written, read)
        return frames, stops[:, 0].sigmoid(), weights[:, 0], replace(state, writer=writer)

    def refined(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Frames with what the post-net adds to them, (batch, time, bands)."""
        return frames + self.postnet(frames, mask) if len(self.postnet.layers) else frames

    def _read(
        self, before: torch.Tensor, state: SpeechState
    ) -> tuple[torch.Tensor, torch.Tensor, SpeechState]:
        """The attending layer's output with what it attends to, (batch, 1, size); weights."""
        query, reader = self.reader(torch.cat([before, state.context], 2), state.reader)
        context, weights = self.attention(query, state.memory, state.had)
        had = None if state.had is None else attended(state.had, weights)
        state = replace(state, reader=reader, context=context, had=had)
        return torch.cat([query, context], 2), weights, state

    def _written(
        self, written: torch.Tensor, read: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames, (batch, steps x reduction, bands), and logits of the end, (batch, steps)."""
        context = read[..., self.query_size :]
        both = torch.cat([written, context], 2)
        frames = self.frames(both).unflatten(2, (self.reduction, self.bands)).flatten(1, 2)
        return frames, self.stop(both)[..., 0]
