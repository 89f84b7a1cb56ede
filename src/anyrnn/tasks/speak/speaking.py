"""Texts to speech."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.data.columns import listing
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.networks.layers import step_mask
from anyrnn.tasks.speak.characters import Characters
from anyrnn.tasks.speak.model import SpeechNetwork
from anyrnn.tasks.speak.options import SpeechOptions
from anyrnn.tasks.speak.sound import waveform
from anyrnn.tasks.task import check_finite

_BATCH_SIZE = 32
_READ_AT_ONCE = 32  # texts
_LONGEST = 2_000  # characters of a text
_SLOWER, _MORE = 3, 1.0  # than in the training, and seconds


@dataclass(frozen=True)
class Utterance:
    """The speech of a text as frames.

    Attributes:
        frames: Scaled ones, (frames, bands).
        weights: Those of attention, (steps, characters).
        ended: Whether the decoder ended it; if not, it was cut at its largest length.
    """

    frames: torch.Tensor = field(repr=False)
    weights: torch.Tensor = field(repr=False)
    ended: bool


def utterances(
    network: SpeechNetwork,
    texts: torch.Tensor,
    lengths: torch.Tensor,
    limits: torch.Tensor,
    stop_at: float,
) -> list[Utterance]:
    """The speech of some texts; none of them matters to another.

    Args:
        network: The network, in evaluation mode.
        texts: Padded character numbers, (batch, characters).
        lengths: The number of characters of each, at least 1, (batch).
        limits: The largest number of steps of each, at least 1, (batch).
        stop_at: From which probability of the end on a speech ends.
    """
    every: list[torch.Tensor] = []
    attended: list[torch.Tensor] = []
    with torch.inference_mode():
        state = network.begin(texts, lengths)
        frames = state.context.new_zeros(len(texts), 1, network.bands)
        counts, ended = torch.zeros_like(limits), torch.zeros_like(limits, dtype=torch.bool)
        going = ~ended
        while going.any():
            frames, ends, weights, state = network.step(frames[:, -1], state)
            every.append(frames)
            attended.append(weights)
            counts += going
            ended |= going & (ends >= stop_at)
            going &= ~ended & (counts < limits)
        coarse = torch.cat(every, 1)
        mask = step_mask(counts * network.reduction, coarse.shape[1])
        refined, weights = network.refined(coarse, mask), torch.stack(attended, 1)
    check_finite(refined)
    return [
        Utterance(
            refined[row, : count * network.reduction].cpu().clone(),
            weights[row, :count, :length].cpu().clone(),
            bool(ended[row]),
        )
        for row, (count, length) in enumerate(zip(counts.tolist(), lengths.tolist(), strict=True))
    ]


@dataclass(frozen=True)
class Speech:
    """The speech of a text.

    Attributes:
        text: The text.
        samples: Its samples, from -1 to 1.
        rate: The samples a second.
        ended: Whether it ended by itself; if not, it was cut at its largest length.
        weights: Those of attention, (steps, characters).
    """

    text: str
    samples: NDArray[numpy.float32]
    rate: int
    ended: bool
    weights: torch.Tensor

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Speaking:
    """A network that speaks.

    Attributes:
        network: The network, in evaluation mode.
        characters: Those that it reads.
        normal: The form in which texts are read.
        features: What frames are, on the CPU.
        frames_a_character: How many frames the training has for one, on average.
        options: How texts are spoken.
    """

    network: SpeechNetwork
    characters: Characters
    normal: Normal
    features: Features
    frames_a_character: float
    options: SpeechOptions

    def run(self, texts: Iterable[str]) -> Iterator[Speech]:
        """The speech of texts, in their order; it warns of characters that are left out, and of
        speech that does not end.

        Args:
            texts: The texts.

        Raises:
            DataError: A text has no character that the training had, or is too long.
        """
        asked, first = iter(texts), 1
        while some := list(islice(asked, _READ_AT_ONCE)):
            normal = [self._read(number, text) for number, text in enumerate(some, start=first)]
            spoken = self.utterances(normal)
            for number, (text, each) in enumerate(zip(some, spoken, strict=True), start=first):
                rate = self.features.options.sample_rate
                speech = Speech(text, self.sound(each), rate, each.ended, each.weights)
                if not each.ended:
                    warnings.warn(
                        f"the speech of text {number:,} did not end by itself: it was cut after "
                        f"{speech.seconds:.1f} s, and may be unintelligible",
                        stacklevel=2,
                    )
                yield speech
            first += len(some)

    def utterances(
        self, texts: Sequence[str], check: Callable[[], None] = lambda: None
    ) -> list[Utterance]:
        """The speech of texts as frames, those of about equal length together.

        Args:
            texts: The texts, in the form in which they are read.
            check: Called after each batch.
        """
        encoded = self.characters.encode(texts)
        columns = {"text": Column(encoded, padded=True, lengths=encoded.lengths)}
        return by_rows(self.network, Batches(columns, _BATCH_SIZE), self.of_batch, check)

    def of_batch(self, batch: Batch) -> list[Utterance]:
        """The speech of the texts of a batch as frames."""
        given = (batch["text"], batch.lengths["text"])
        return utterances(self.network, *given, self._limits(given[1]), self.options.stop_at)

    def sound(self, found: Utterance) -> NDArray[numpy.float32]:
        """The samples of frames."""
        return waveform(self.features, found.frames, self.options.iterations)

    def _read(self, number: int, text: str) -> str:
        """A text as it is read; of what of it is not it warns."""
        normal = self.normal(whole_characters(text))
        unknown = self.characters.unknown(normal)
        if len(self.characters.read(normal)) == 1:
            raise DataError(
                f"text {number:,} is empty; give one that can be spoken"
                if not normal
                else f"text {number:,} has no character that the training had: {normal[:40]!r}"
            )
        if len(normal) > _LONGEST:
            raise DataError(
                f"text {number:,} has {len(normal):,} characters, but no more than {_LONGEST:,} "
                "are spoken at once; divide it into lines, which follow each other"
            )
        if unknown:
            warnings.warn(
                f"text {number:,} has characters that the training never had, which are left out: "
                f"{listing(unknown)}",
                stacklevel=3,
            )
        return normal

    def _limits(self, lengths: torch.Tensor) -> torch.Tensor:
        """The largest number of steps of texts of some numbers of characters."""
        longest, hop = self.options.longest, self.features.options.hop
        frames = _SLOWER * self.frames_a_character * lengths + _MORE / hop
        if longest is not None:
            frames = torch.full_like(frames, longest / hop)
        return (frames / self.network.reduction).long().clamp_min(1)
