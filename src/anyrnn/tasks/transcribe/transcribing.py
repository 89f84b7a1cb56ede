"""Recordings to texts with the times of their words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.decoding.search import Beam, beam_search
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, UNKNOWN_ID
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.networks.layers import step_mask
from anyrnn.tasks.transcribe import ctc
from anyrnn.tasks.transcribe.beam import LanguageModel, PrefixSearch
from anyrnn.tasks.transcribe.ctc import PathReader, Span
from anyrnn.tasks.transcribe.model import TranscriptionNetwork
from anyrnn.tasks.transcribe.options import SearchOptions
from anyrnn.tasks.transcribe.scores import Word
from anyrnn.tasks.transcribe.words import WordReader

_BATCH_SIZE = 32


@dataclass(frozen=True)
class Transcription:
    """What was said in a recording.

    Attributes:
        text: The text.
        words: Its words with their times.
        score: By what it was chosen: the logarithm of its probability, with what language model,
            bonus and penalty add.
        ended: Whether a decoder ended it; if not, it was cut at its largest length.
        spans: Where its tokens stand.
        weights: Of an attention, those of each token, (tokens, steps).
    """

    text: str
    words: list[Word]
    score: float
    ended: bool = True
    spans: list[Span] = field(repr=False, default_factory=list)
    weights: torch.Tensor | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Found:
    """The tokens that a search found; see `Transcription`."""

    tokens: list[int]
    score: float
    ended: bool = True
    spans: list[Span] | None = None


@dataclass(frozen=True)
class Transcribing:
    """A network that transcribes.

    Attributes:
        network: The network, in evaluation mode.
        tokens: What it writes.
        search: How texts are searched for.
        language: The language model, if there is one.
    """

    network: TranscriptionNetwork
    tokens: WrittenVocabulary
    search: SearchOptions
    language: LanguageModel | None = None

    @property
    def seconds(self) -> float:
        """How long a step is."""
        return self.network.features.seconds(self.network.segment_length)

    def run(
        self, recordings: Sequence[Any], check: Callable[[], None] = lambda: None
    ) -> list[Transcription]:
        """The transcriptions of recordings, in their order.

        Args:
            recordings: The samples of each, at the rate of the network.
            check: Called after each batch.
        """
        hop = self.network.features.hop
        columns = {"samples": Column(recordings, padded=True, per_step=hop)}

        def transcriptions(batch: Batch) -> Iterator[Transcription]:
            return self.written(*self.network(batch["samples"], batch.lengths["samples"]))

        return by_rows(self.network, Batches(columns, _BATCH_SIZE), transcriptions, check)

    def written(self, outputs: torch.Tensor, steps: torch.Tensor) -> Iterator[Transcription]:
        """The transcription of each row of a batch.

        Args:
            outputs, steps: What the network gave.
        """
        for row, found in enumerate(self.searched(outputs, steps)):
            yield self._transcription(outputs[row : row + 1, : int(steps[row])], found)

    def searched(self, outputs: torch.Tensor, steps: torch.Tensor) -> list[Found]:
        """The tokens of each row of a batch.

        Args:
            outputs, steps: What the network gave.
        """
        network, search = self.network, self.search
        if network.decoder is not None:
            limits = (
                steps.cpu() if search.longest is None else steps.cpu().clamp_max(search.longest)
            )
            beam = Beam(search.beam, search.length_penalty)
            state = network.begin(outputs, steps)
            every = beam_search(network.decoder, state, limits, beam, (UNKNOWN_ID,))
            return [Found(best.tokens, best.score, best.ended) for best, *_ in every]
        scores = self._log_probabilities(outputs)
        if search.beam == 1 and self.language is None:
            best = scores.amax(-1)
            totals = (best * step_mask(steps, best.shape[1])).sum(1).tolist()
            paths = zip(ctc.best_paths(scores, steps), totals, strict=True)
            return [
                Found([span.token for span in spans], total, spans=spans) for spans, total in paths
            ]
        prefixes = PrefixSearch(
            search.beam, self.language, search.language_weight, search.token_bonus, [UNKNOWN_ID]
        )
        rows = zip(scores.cpu().numpy(), steps.tolist(), strict=True)
        return [Found(*prefixes.run(row[:length])[0]) for row, length in rows]

    def _log_probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """Those of what may be written."""
        found = self.network.log_probabilities(outputs)
        found[..., UNKNOWN_ID] = -torch.inf
        return found

    def _transcription(self, outputs: torch.Tensor, found: Found) -> Transcription:
        """A text with its times, from the outputs of its recording, (1, steps, size)."""
        spans, weights = found.spans, None
        if self.network.decoder is not None:
            spans, weights = self._attended(outputs, found.tokens)
        elif spans is None:
            scores = self._log_probabilities(outputs)[0].cpu().numpy()
            spans = ctc.alignment(scores, found.tokens)
        reader = WordReader(self.tokens, self.seconds)
        words = [*reader.words(spans), *reader.finish()]
        text = self.tokens.text(found.tokens)
        return Transcription(text, words, found.score, found.ended, spans, weights)

    def _attended(
        self, outputs: torch.Tensor, tokens: Sequence[int]
    ) -> tuple[list[Span], torch.Tensor]:
        """The step that each token attended to most, and the weights, (tokens, steps)."""
        decoder = self.network.decoder
        assert decoder is not None
        device = outputs.device
        state = self.network.begin(outputs, torch.tensor([outputs.shape[1]], device=device))
        before = torch.tensor([[BOUNDARY_ID, *tokens]], device=device)
        vectors, weights = decoder(before, state)
        assert weights is not None
        scores = decoder.softmax(vectors)[0].float().log_softmax(-1)
        places = weights[0].argmax(1).tolist()
        spans = [
            Span(token, place, place + 1, float(scores[number, token]))
            for number, (token, place) in enumerate(zip(tokens, places, strict=False))
        ]
        return spans, weights[0, : len(tokens)].cpu()

    def stream(self) -> "TranscriptionStream":
        """What transcribes a recording that comes in pieces.

        Raises:
            OptionError: The network, or the search, needs the whole recording.
        """
        network, search = self.network, self.search
        reason = ""
        if network.decoder is not None:
            reason = f"a run with {option_name('decoder', 'attention')}"
        elif network.bidirectional:
            reason = f"a run with {option_name('bidirectional', True)}"
        elif search.beam > 1 or self.language is not None:
            reason = f"a search with {option_name('beam')} or {option_name('language_model')}"
        if reason:
            raise OptionError(
                f"{reason} needs the whole recording, which a stream has not; give a file, or use "
                f"greedy search with a run of {option_name('decoder', 'ctc')} and "
                f"{option_name('bidirectional', False)}"
            )
        return TranscriptionStream(self)


class TranscriptionStream:
    """Transcribes a recording that comes in pieces: the words are those of the whole recording by
    greedy search.

    Args:
        transcribing: What transcribes it.

    Raises:
        OptionError: See `FeatureStream`.
    """

    def __init__(self, transcribing: Transcribing) -> None:
        self._transcribing, network = transcribing, transcribing.network
        self._frames = network.features.stream(network.segment_length)
        self._reader = WordReader(transcribing.tokens, transcribing.seconds)
        self._state: Any = None
        self._path = PathReader()

    def push(self, samples: torch.Tensor) -> list[Word]:
        """The words that some more samples complete, (samples)."""
        return self._read(self._frames.push(samples[None]))

    def finish(self) -> list[Word]:
        """The last words."""
        words = self._read(self._frames.finish())
        words += self._reader.words(self._path.finish())
        return [*words, *self._reader.finish()]

    def _read(self, frames: torch.Tensor) -> list[Word]:
        network, count = self._transcribing.network, frames.shape[1]
        if not count:
            return []
        with torch.inference_mode():
            found = network.read(frames, torch.tensor([count]), self._state)
            outputs, self._state, _ = found
            scores = self._transcribing._log_probabilities(outputs)[0].numpy()
        return [*self._reader.words(self._path.spans(scores))]
