"""Speech synthesis as a task."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import DataError, RunError
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.audio.transcripts import Part, Reading
from anyrnn.tasks.batches import Batch, Batches, Column
from anyrnn.tasks.columns import listing
from anyrnn.tasks.encoding import given_texts, whole_characters
from anyrnn.tasks.figures import LOSS, Figure
from anyrnn.tasks.run_files import CONFIG, entry
from anyrnn.tasks.speak.baselines import baselines
from anyrnn.tasks.speak.characters import Characters
from anyrnn.tasks.speak.losses import (
    diagonality,
    focus,
    frame_error,
    guided_attention,
    stop_loss,
)
from anyrnn.tasks.speak.model import SpeechNetwork
from anyrnn.tasks.speak.options import Options, PredictOptions, SpeechOptions
from anyrnn.tasks.speak.report import pictures
from anyrnn.tasks.speak.scores import Example, SpeechScores, decibels, mel_distance
from anyrnn.tasks.speak.speaking import (
    Utterance,
    check_output,
    utterances,
    waveform,
    write_sound,
)
from anyrnn.tasks.speak.trimming import trimmed
from anyrnn.tasks.task import Data, ScoreTable, Step, Task, check_finite, steps

if TYPE_CHECKING:  # its import takes seconds, and only training needs it
    from torchmetrics import Metric

_BATCH_SIZE = 32
_READ_AT_ONCE = 32  # texts
_EXAMPLES, _TOLD = 3, 5
_SLOWER, _MORE = 3, 1.0  # than in the training, and seconds
_FREE = ("distance", "ended")  # figures of speech without the true frames
FIGURES = (
    Figure("distance", "mel distance (dB)", larger_is_better=False, once=True, digits=2),
    Figure("ended", "ended", percent=True, once=True),
    Figure("diagonality", "diagonality", percent=True),
    Figure("focus", "focus", percent=True),
    LOSS,
)


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
class Speak(Task[Options, Part]):
    """Texts and recordings of one speaker.

    Attributes:
        options: What the user chose.
        characters: The characters that are read.
        scales: The mean and the deviation of each band in the training.
        frames_a_character: How many frames the training has for one, on average.
    """

    name = "speak"
    options_type = Options
    title = "speech synthesis"
    unit = "text"
    units = "texts"
    figures = FIGURES
    template = "speak.html"

    options: Options
    characters: Characters
    scales: tuple[list[float], list[float]]
    frames_a_character: float

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the table."""
        found = _reading(options).data(options.data, options.training.seed)
        return cls.trimmed_data(found, options)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Learn the characters and the scale of each band."""
        features = Features(options.sound.heard)
        characters = Characters.of(training.texts)
        lengths = characters.encode(training.texts).lengths
        frames = features.frames(torch.from_numpy(training.lengths))
        scales = features.measured(training.samples)
        noted(f"characters: {len(characters.known)} different ones")
        return cls(options, characters, scales, float(frames.sum()) / float(lengths.sum()))

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the characters and scales of a run."""
        path = run / CONFIG
        scales = [entry(state, name, list, path) for name in ("means", "deviations")]
        if any(len(each) != options.sound.mels for each in scales):
            raise RunError(f"the run is damaged: {path} has not a scale for each band")
        characters = Characters(entry(state, "characters", str, path))
        rate = entry(state, "frames_a_character", float, path)
        return cls(options, characters, (scales[0], scales[1]), rate)

    def read_part(self, options: Any) -> tuple[Part, dict[str, object]]:
        """Read a table."""
        part = _reading(self.options).part(options)
        return self.trimmed(part, self.options), {"skipped": dict(part.skipped)}

    def state(self) -> dict[str, Any]:
        """The characters and the scales."""
        return {
            "characters": self.characters.known,
            "means": self.scales[0],
            "deviations": self.scales[1],
            "frames_a_character": self.frames_a_character,
        }

    @staticmethod
    def normal_of(options: Options) -> Normal:
        """The form in which texts are read."""
        return Normal(lowercase=options.lowercase, punctuation=True)

    @staticmethod
    def trimmed(part: Part, options: Options) -> Part:
        """A part without the silence at both ends of its recordings."""
        return trimmed(part, Features(options.sound.heard), options.sound.trim)

    @classmethod
    def trimmed_data(cls, data: Data[Part], options: Options) -> Data[Part]:
        """Data without the silence at both ends of recordings, with a note on it."""
        before = {"training": data.training, "validation": data.validation, "test": data.test}
        parts = {name: each for name, each in before.items() if each is not None}
        after = {name: cls.trimmed(each, options) for name, each in parts.items()}
        left, whole = (sum(int(p.lengths.sum()) for p in each.values()) for each in (after, parts))
        notes = [*data.notes, f"silence cut off at the ends of recordings: {1 - left / whole:.1%}"]
        return replace(data, **after, notes=notes if options.sound.trim else data.notes)

    @cached_property
    def features(self) -> Features:
        """What frames are, on the CPU."""
        return Features(self.options.sound.heard, self.scales)

    def network(self, cell: str) -> SpeechNetwork:
        """A network of the chosen sizes."""
        features = Features(self.options.sound.heard, self.scales)
        return SpeechNetwork(cell, self.characters.size, features, **asdict(self.options.model))

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Texts and the samples of their recordings; those of about equal length stand together."""
        texts = self.characters.encode(part.texts)
        columns = {
            "text": Column(texts, padded=True, lengths=texts.lengths),
            "samples": Column(part.samples, padded=True, lengths=part.lengths),
        }
        return Batches(columns, batch_size, seed, by="samples")

    def step(self, network: torch.nn.Module, batch: Batch, carried: Any = None) -> Step:
        """The errors of the frames before and after the post-net, that of the end, and how far
        attention is from the diagonal.
        """
        assert isinstance(network, SpeechNetwork)
        characters = batch.lengths["text"]
        truth, counts = network.features(batch["samples"], batch.lengths["samples"])
        found = network(batch["text"], characters, truth, counts)
        done = network.steps(counts)
        loss = frame_error(found.coarse, truth, counts) + stop_loss(found.stops, done)
        loss = loss + frame_error(found.frames, truth, counts)
        guide = self.options.guided_attention
        if guide:
            loss = loss + guide * guided_attention(found.weights, done, characters)
        attended = (diagonality(found.weights, done, characters), focus(found.weights, done))
        return Step(loss, int(counts.sum()), attended)

    def metrics(self) -> dict[str, "Metric"]:
        """Diagonality and focus."""
        from anyrnn.tasks.metrics import Mean

        return {"diagonality": Mean(), "focus": Mean()}

    def measure(self, metrics: Mapping[str, "Metric"], step: Step, batch: Batch) -> None:
        """Update them, weighted by frames."""
        for metric, value in zip(metrics.values(), step.output, strict=True):
            metric.update(value, step.count)

    def score(
        self, network: torch.nn.Module, part: Part, check: Callable[[], None] = lambda: None
    ) -> SpeechScores:
        """Speak all texts, and compare with the recordings."""
        totals, count = numpy.zeros(3), 0
        for _, step in steps(self, network, self.batches(part, _BATCH_SIZE, None), check):
            check_finite(step.loss)
            totals += step.count * numpy.array([float(v) for v in (step.loss, *step.output)])
            count += step.count
        loss, *attended = (totals / count).tolist()
        found = list(self._spoken(network, part.texts, SpeechOptions(), check))
        shown = {*range(0, len(part), max(1, len(part) // _EXAMPLES))[:_EXAMPLES]}
        distances, examples = [], []
        for row, each in enumerate(found):
            truth = self.logarithms(part.samples[row])
            spectrum = self.features.unscaled(each.frames).numpy()
            distances.append(mel_distance(spectrum, truth))
            check()
            if row in shown:
                examples.append(
                    Example(
                        part.texts[row],
                        self.characters.read(part.texts[row]),
                        part.names[row],
                        distances[-1],
                        each.ended,
                        each.weights.numpy(),
                        (decibels(spectrum), decibels(truth)),
                        (self._sound(each, SpeechOptions()), part.samples[row]),
                    )
                )
        figures = {
            "distance": float(numpy.mean(distances)),
            "ended": sum(each.ended for each in found) / len(part),
            "diagonality": attended[0],
            "focus": attended[1],
            "loss": loss,
        }
        return SpeechScores(
            count=len(part),
            figures=figures,
            cut=sum(not each.ended for each in found),
            seconds=sum(len(each.frames) for each in found) * self.options.sound.hop,
            recorded_seconds=int(part.lengths.sum()) / self.options.sound.sample_rate,
            examples=examples,
        )

    def logarithms(self, samples: NDArray[Any]) -> NDArray[Any]:
        """The logarithms of the energies of a recording's bands, (frames, bands)."""
        return self.features.described(self.features.energies(torch.as_tensor(samples)[None]))[
            0
        ].numpy()

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """The mean frame of the training, and the recording of the most similar text there."""
        return baselines(data.training, data.measured[1], self.scales[0], self.logarithms)

    def tables(self, scores: SpeechScores) -> list[ScoreTable]:
        """How long the speech is, and how much of it did not end."""
        row = (f"{scores.seconds:.1f}", f"{scores.recorded_seconds:.1f}", f"{scores.cut:,}")
        columns = ("seconds of speech", "of the recordings", "texts whose speech did not end")
        return [ScoreTable(columns, [row])]

    def predict(
        self, network: torch.nn.Module, inputs: Sequence[str], **speech: Any
    ) -> list[Speech]:
        """The speech of texts.

        Args:
            network: The network.
            inputs: The texts.
            speech: See `SpeechOptions`: longest, stop_at, iterations.

        Raises:
            DataError: A text has no character that the training had.
        """
        return list(self.speeches(network, inputs, SpeechOptions(**speech)))

    def speeches(
        self, network: torch.nn.Module, texts: Iterable[str], options: SpeechOptions
    ) -> Iterator[Speech]:
        """The speech of texts, in their order; it warns of characters that are left out, and of
        speech that does not end.

        Args:
            network: The network.
            texts: The texts.
            options: How they are spoken.

        Raises:
            DataError: A text has no character that the training had.
        """
        asked, first = iter(texts), 1
        while some := list(islice(asked, _READ_AT_ONCE)):
            normal = [self._read(number, text) for number, text in enumerate(some, start=first)]
            spoken = self._spoken(network, normal, options)
            for number, (text, each) in enumerate(zip(some, spoken, strict=True), start=first):
                samples = self._sound(each, options)
                speech = Speech(
                    text, samples, self.options.sound.sample_rate, each.ended, each.weights
                )
                if not each.ended:
                    warnings.warn(
                        f"the speech of text {number:,} did not end by itself: it was cut after "
                        f"{speech.seconds:.1f} s, and may be unintelligible",
                        stacklevel=2,
                    )
                yield speech
            first += len(some)

    def _read(self, number: int, text: str) -> str:
        """A text as it is read; of what of it is not it warns."""
        normal = self.normal_of(self.options)(whole_characters(text))
        unknown = self.characters.unknown(normal)
        if len(self.characters.read(normal)) == 1:
            raise DataError(
                f"text {number:,} is empty; give one that can be spoken"
                if not normal
                else f"text {number:,} has no character that the training had: {normal[:40]!r}"
            )
        if unknown:
            warnings.warn(
                f"text {number:,} has characters that the training never had, which are left out: "
                f"{listing(unknown)}",
                stacklevel=3,
            )
        return normal

    def _spoken(
        self,
        network: torch.nn.Module,
        texts: Sequence[str],
        options: SpeechOptions,
        check: Callable[[], None] = lambda: None,
    ) -> list[Utterance]:
        """The speech of texts as frames, those of about equal length together."""
        assert isinstance(network, SpeechNetwork)
        encoded = self.characters.encode(texts)
        found: list[Any] = [None] * len(texts)
        device = next(network.parameters()).device
        columns = {"text": Column(encoded, padded=True, lengths=encoded.lengths)}
        for batch in Batches(columns, _BATCH_SIZE):
            batch = batch.to(device)
            lengths = batch.lengths["text"]
            limits = self._limits(lengths, options.longest)
            some = utterances(network, batch["text"], lengths, limits, options.stop_at)
            for row, each in zip(batch.rows.tolist(), some, strict=True):
                found[row] = each
            check()
        return found

    def _limits(self, lengths: torch.Tensor, longest: float | None) -> torch.Tensor:
        """The largest number of steps of texts of some numbers of characters."""
        sound, reduction = self.options.sound, self.options.model.reduction
        frames = _SLOWER * self.frames_a_character * lengths + _MORE / sound.hop
        if longest is not None:
            frames = torch.full_like(frames, longest / sound.hop)
        return (frames / reduction).long().clamp_min(1)

    def _sound(self, found: Utterance, options: SpeechOptions) -> NDArray[numpy.float32]:
        return waveform(self.features, found.frames, options.iterations)

    def answers(
        self, network: torch.nn.Module, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """Speak the texts of the command line, a file or standard input into a file of sound; an
        answer tells where in it a text is.
        """
        check_output(options.output, options.overwrite)
        rate = self.options.sound.sample_rate
        pause = numpy.zeros(round(options.pause * rate), numpy.float32)
        texts = filter(str.strip, given_texts(options.texts, options.file, options.encoding))
        told: list[dict[str, object]] = []

        def pieces() -> Iterator[NDArray[numpy.float32]]:
            samples = 0
            for each in self.speeches(network, texts, options.speech):
                if samples:
                    yield pause
                    samples += len(pause)
                start, samples = samples / rate, samples + len(each.samples)
                told.append(
                    {
                        "text": each.text,
                        "file": str(options.output),
                        "start": round(start, 3),
                        "end": round(samples / rate, 3),
                        "ended": each.ended,
                    }
                )
                yield each.samples
            if not told:
                raise DataError("there is no text to be spoken: all of it is blank")

        write_sound(options.output, pieces(), rate)
        yield from told

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """How some texts are spoken."""
        return pictures(results, self.options)


def _reading(options: Options) -> Reading:
    """How tables are read: a text with a silent recording teaches nothing."""
    return Reading(options.sound.sample_rate, Speak.normal_of(options), silent=False)
