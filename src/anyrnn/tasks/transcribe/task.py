"""Transcription as a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.audio.augmentation import Augmentation
from anyrnn.tasks.audio.blocks import piped
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.options import PCM, TranscriptOptions
from anyrnn.tasks.audio.recordings import read_recording, waveforms
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.audio.transcripts import Part, Reading
from anyrnn.tasks.data.batches import Batch, Batches, Column
from anyrnn.tasks.data.kept import Kept
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.streams import IGNORED
from anyrnn.tasks.decoding.decoder import preceding
from anyrnn.tasks.decoding.written_tokens import UNKNOWN_ID
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.options.declaration import OptionGroup, check_needs
from anyrnn.tasks.run_files import CONFIG, scales_of
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, check_finite, steps
from anyrnn.tasks.transcribe import ctc
from anyrnn.tasks.transcribe.beam import LanguageModel
from anyrnn.tasks.transcribe.language import language_model
from anyrnn.tasks.transcribe.model import TranscriptionNetwork
from anyrnn.tasks.transcribe.options import (
    NO_DECODER,
    Options,
    PredictOptions,
    SearchOptions,
)
from anyrnn.tasks.transcribe.report import pictures
from anyrnn.tasks.transcribe.scores import RATES, TranscriptionScores, Word, error_rate
from anyrnn.tasks.transcribe.scoring import Losses, compared, picture
from anyrnn.tasks.transcribe.transcribing import (
    Transcribing,
    Transcription,
    TranscriptionStream,
)

_LONGEST = 1 << 20  # tokens of a transcript
_BATCH_SIZE = 32
_TOLD = 5


def reading(options: Options) -> Reading:
    """How recordings and transcripts are read."""
    normal = Normal(options.vocabulary.lowercase, options.vocabulary.punctuation)
    return Reading(options.sound.sample_rate, normal)


@dataclass(frozen=True)
class Transcribe(Task[Options, Part, TranscriptionNetwork]):
    """Recordings and what was said in them.

    Attributes:
        options: What the user chose.
        tokens: Transcripts to tokens and back.
        scales: The means and deviations that features are scaled by.
    """

    name = "transcribe"
    options_type = Options
    title = "transcription"
    unit = "recording"
    units = "recordings"
    figures = (
        Figure("cer", "CER", percent=True, larger_is_better=False),
        Figure("wer", "WER", percent=True, larger_is_better=False),
        LOSS,
    )
    template = "transcribe.html"

    options: Options
    tokens: WrittenVocabulary
    scales: tuple[list[float], list[float]]
    _learned: Kept[Part, tuple[Part, Sequences]] = field(
        default_factory=Kept, repr=False, compare=False
    )

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return reading(options).data(options.data, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary, and measure the features."""
        vocabulary = options.vocabulary
        tokens = WrittenVocabulary.made(training.texts, vocabulary.tokens, vocabulary)
        scales = Features(options.sound).measured(training.samples)
        found = cls(options, tokens, scales)
        noted(f"tokens: {tokens.kind}, {tokens.size:,} in the vocabulary")
        left_out = len(training) - len(found._learned_from(training)[0])
        if left_out:
            noted(
                f"left out of the training: {left_out:,} recording(s) too short for their "
                f"transcript, which needs a step of {found.seconds:.3g} s for each token; make "
                f"steps shorter with {option_name('segment_length')}"
            )
        found._check(options)
        found._language(options.decoding)
        return found

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tokenizer and the scales of a run."""
        tokens = WrittenVocabulary.restored(state, run)
        scales = scales_of(state, Features(options.sound).size, run / CONFIG)
        return cls(options, tokens, scales)

    def read_part(self, options: TranscriptOptions) -> tuple[Part, dict[str, object]]:
        """Read a table and its recordings."""
        part = reading(self.options).part(options)
        return part, {"skipped": dict(part.skipped), "remarks": dict(part.remarks)}

    def state(self) -> dict[str, Any]:
        """The kind of tokens, and the scales of the features."""
        means, deviations = self.scales
        return {"tokens": self.tokens.kind, "means": means, "deviations": deviations}

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return self.tokens.files()

    @cached_property
    def _features(self) -> Features:
        return Features(self.options.sound, self.scales)

    @property
    def seconds(self) -> float:
        """How long a step is."""
        return self._features.seconds(self.options.model.segment_length)

    def network(self, cell: str) -> TranscriptionNetwork:
        """A network of the chosen sizes."""
        options = self.options
        features = Features(options.sound, self.scales)
        augmentation = Augmentation(options.augmentation, options.sound.sample_rate)
        return TranscriptionNetwork(
            cell, self.tokens.size, features, augmentation, **asdict(options.model)
        )

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Samples and tokens."""
        part, tokens = (part, self._encoded(part)) if seed is None else self._learned_from(part)
        columns = {
            "samples": Column(
                part.samples, padded=True, lengths=part.lengths, per_step=self._features.hop
            ),
            "tokens": Column(tokens, padded=True, lengths=tokens.lengths, padding=IGNORED),
            "needed": Column(_needed(tokens)),
        }
        return Batches(columns, batch_size, seed)

    def _encoded(self, part: Part) -> Sequences:
        return self.tokens.encode(part.texts, _LONGEST)

    def _learned_from(self, part: Part) -> tuple[Part, Sequences]:
        """The recordings that can be learned from, and their tokens; they are kept. With CTC these
        are not those that are too short for their transcript.
        """
        return self._learned.of(part, lambda: self._long_enough(part))

    def _long_enough(self, part: Part) -> tuple[Part, Sequences]:
        tokens = self._encoded(part)
        if self.options.model.decoder != "ctc":
            return part, tokens
        frames = self._features.frames(torch.from_numpy(part.lengths)).numpy()
        fits = -(-frames // self.options.model.segment_length) >= _needed(tokens)
        if not fits.any():
            raise DataError(
                f"all {len(part):,} recordings of {part.path} are too short for their "
                f"transcripts; make steps shorter with {option_name('segment_length')}"
            )
        if fits.all():
            return part, tokens
        kept = part.take(numpy.flatnonzero(fits).tolist())
        return kept, self._encoded(kept)

    def step(self, network: TranscriptionNetwork, batch: Batch, carried: Any = None) -> Step:
        """The loss of each token; recordings too short for their transcript have none."""
        outputs, steps = network(batch["samples"], batch.lengths["samples"])
        targets, lengths = batch["tokens"], batch.lengths["tokens"]
        if network.decoder is None:
            scores = network.log_probabilities(outputs)
            losses = ctc.losses(scores, steps, targets, lengths - 1)
            fits = batch["needed"] <= steps
            losses, counts = losses.masked_fill(~fits, 0.0), ((lengths - 1) * fits)
        else:
            state = network.begin(outputs, steps)
            vectors, _ = network.decoder(preceding(targets), state, lengths)
            losses, counts = network.decoder.losses(vectors, targets).sum(1), lengths
        count = int(counts.sum())
        greedy = None
        if not network.training:
            found = self._transcribing(network, SearchOptions()).searched(outputs, steps)
            greedy = [self.tokens.text(each.tokens) for each in found]
        output = _Output(losses, counts, outputs, steps, greedy)
        return Step.mean_of(losses, count, output)

    def greedily(
        self, network: TranscriptionNetwork, outputs: torch.Tensor, steps: torch.Tensor
    ) -> list[list[int]]:
        """The tokens that greedy search finds, given what the network made of recordings."""
        found = self._transcribing(network, SearchOptions()).searched(outputs, steps)
        return [each.tokens for each in found]

    def metrics(self) -> dict[str, Metric]:
        """The error rates of greedy transcriptions."""
        return {rate: error_rate(rate) for rate in RATES}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them."""
        references = self.tokens.references(batch["tokens"], batch.lengths["tokens"])
        for metric in metrics.values():
            metric.update(step.output.greedy, references)

    def score(
        self, network: TranscriptionNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> TranscriptionScores:
        """Transcribe all recordings, and compare."""
        transcribing = self._transcribing(network, self.options.decoding)
        found: list[Transcription] = [Transcription("", [], 0.0)] * len(part)
        total, count, short, unknown = 0.0, 0, 0, 0
        for batch, step in steps(self, network, self.batches(part, _BATCH_SIZE, None), check):
            output: _Output = step.output
            check_finite(output.losses)
            total, count = total + float(output.losses.double().sum()), count + step.count
            short += int((output.counts == 0).sum())
            unknown += int((batch["tokens"] == UNKNOWN_ID).sum())
            written = transcribing.written(output.outputs, output.steps)
            for row, own in zip(batch.rows.tolist(), written, strict=True):
                found[row] = own
        losses = Losses(total, count, short, unknown)
        network_hears = (self._features, self.options.model.segment_length, self.tokens)
        return compared(
            part,
            found,
            losses,
            lambda row: picture(part.names[row], part.samples[row], found[row], *network_hears),
        )

    def tables(self, scores: TranscriptionScores) -> list[ScoreTable]:
        """The most frequent errors, and some transcriptions."""
        wrong = [(said or "–", written or "–", f"{n:,}") for said, written, n in scores.confusions]
        rows = [(each.name, each.text, each.reference) for each in scores.examples]
        return [
            ScoreTable(("said", "written", "times"), wrong[:_TOLD], numbers=False),
            ScoreTable(("recording", "transcription", "reference"), rows[:_TOLD], numbers=False),
        ]

    def predict(
        self, network: TranscriptionNetwork, inputs: Sequence[Any], **search: Any
    ) -> list[Transcription]:
        """The transcriptions of recordings.

        Args:
            network: The network.
            inputs: The file of each, or its samples at the rate of the run; see `waveforms`.
            search: See `SearchOptions`: beam, language_model, ...

        Raises:
            DataError: A recording cannot be used.
        """
        samples = waveforms(inputs, self.options.sound.sample_rate)
        return self._transcribing(network, SearchOptions(**search)).run(samples)

    def answers(
        self, network: TranscriptionNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The transcriptions of the recordings of the command line."""
        for path, found in self.asked(network, options):
            yield {
                "recording": str(path),
                "text": found.text,
                "score": found.score,
                "ended": found.ended,
                "words": [asdict(word) for word in found.words],
            }

    def asked(
        self, network: TranscriptionNetwork, options: PredictOptions
    ) -> Iterator[tuple[Path, Transcription]]:
        """The recordings of the command line, each with its transcription."""
        transcribing = self._transcribing(network, options.search)
        rate = self.options.sound.sample_rate
        if not options.recordings:
            raise DataError(f"no recording: name one or several, or {PCM} for standard input")
        for path in options.recordings:
            if str(path) == PCM:
                nothing = numpy.empty(0, numpy.float32)
                samples = numpy.concatenate([nothing, *piped(options.rate, rate)])
                if not len(samples):
                    raise DataError("standard input has no samples")
            else:
                samples = read_recording(path, rate)
            yield path, transcribing.run([samples])[0]

    def heard(self, network: TranscriptionNetwork, options: PredictOptions) -> Iterator[Word]:
        """The words of samples on standard input, as soon as each is over."""
        stream = self.stream(network, options.search)
        for samples in piped(options.rate, self.options.sound.sample_rate):
            yield from stream.push(torch.from_numpy(samples))
        yield from stream.finish()

    def stream(self, network: TranscriptionNetwork, search: SearchOptions) -> TranscriptionStream:
        """What transcribes a recording that comes in pieces."""
        return self._transcribing(network, search).stream()

    def _transcribing(self, network: TranscriptionNetwork, search: SearchOptions) -> Transcribing:
        self._check(search)
        return Transcribing(network, self.tokens, search, self._language(search))

    def _check(self, options: OptionGroup) -> None:
        """Refuse options of a search that have no effect with this decoder."""
        decoder = self.options.model.decoder
        without = NO_DECODER.lacking if decoder == "ctc" else {}
        check_needs(options, data={"decoder": (decoder,), **without})

    def _language(self, search: SearchOptions) -> LanguageModel | None:
        if search.language_model is None:
            return None
        order, normal = search.ngram_order, reading(self.options).normal
        return language_model(search.language_model, order, self.tokens, normal)

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """The alignments."""
        return pictures(results, self.options)


@dataclass(frozen=True)
class _Output:
    """What the figures of a batch are computed from: the loss of each recording and of how many
    tokens it is the sum; what the network gave, and, unless it learns, what it writes.
    """

    losses: torch.Tensor
    counts: torch.Tensor
    outputs: torch.Tensor
    steps: torch.Tensor
    greedy: list[str] | None


def _needed(tokens: Sequences) -> NDArray[numpy.int64]:
    """How many steps each transcript needs."""
    return numpy.array([ctc.steps_needed(each[:-1]) for each in tokens], numpy.int64)
