"""Speech synthesis as a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.data.batches import Batch, Batches, Column
from anyrnn.tasks.data.encoding import given_texts
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.prepared import advanced
from anyrnn.tasks.run_files import CONFIG, entry, scales_of
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.speak.baselines import baselines
from anyrnn.tasks.speak.characters import Characters
from anyrnn.tasks.speak.data import normal_of, read, read_part
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
from anyrnn.tasks.speak.sound import check_output, write_sound
from anyrnn.tasks.speak.speaking import Speaking, Speech
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, check_finite, steps

_BATCH_SIZE = 32
_EXAMPLES = 3


@dataclass(frozen=True)
class Speak(Task[Options, Part, SpeechNetwork]):
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
    figures = (
        Figure("distance", "mel distance (dB)", larger_is_better=False, once=True, digits=2),
        Figure("ended", "ended", percent=True, once=True),
        Figure("diagonality", "diagonality", percent=True),
        Figure("focus", "focus", percent=True),
        LOSS,
    )
    template = "speak.html"

    options: Options
    characters: Characters
    scales: tuple[list[float], list[float]]
    frames_a_character: float

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the table."""
        return read(options)

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
        scales = scales_of(state, options.sound.mels, path)
        characters = Characters(entry(state, "characters", str, path))
        rate = entry(state, "frames_a_character", float, path)
        return cls(options, characters, scales, rate)

    def read_part(self, options: Any) -> tuple[Part, dict[str, object]]:
        """Read a table."""
        part = read_part(options, self.options)
        return part, {"skipped": dict(part.skipped)}

    def state(self) -> dict[str, Any]:
        """The characters and the scales."""
        return {
            "characters": self.characters.known,
            "means": self.scales[0],
            "deviations": self.scales[1],
            "frames_a_character": self.frames_a_character,
        }

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

    def step(self, network: SpeechNetwork, batch: Batch, carried: Any = None) -> Step:
        """The errors of the frames before and after the post-net, that of the end, and how far
        attention is from the diagonal.
        """
        characters = batch.lengths["text"]
        truth, counts = network.features(batch["samples"], batch.lengths["samples"])
        found = network(batch["text"], characters, truth, counts)
        done = network.steps(counts)
        loss = frame_error(found.coarse, truth, counts) + stop_loss(found.stops, done)
        loss = loss + frame_error(found.frames, truth, counts)
        guide = self.options.guided_attention
        if guide:
            loss = loss + guide * guided_attention(found.weights, done, characters)
        figures = {
            "diagonality": diagonality(found.weights, done, characters),
            "focus": focus(found.weights, done),
        }
        if self.deciding == "distance" and not network.training:
            spoken = self.speaking(network, SpeechOptions()).of_batch(batch)
            figures["distance"] = torch.tensor(
                [
                    self._distance(each.frames, frames[:count].cpu())
                    for each, frames, count in zip(spoken, truth, counts.tolist(), strict=True)
                ]
            ).mean()
        return Step(loss, int(counts.sum()), figures)

    def _distance(self, frames: torch.Tensor, truth: torch.Tensor) -> float:
        """The mel distance of scaled frames."""
        return mel_distance(*(self.features.unscaled(each).numpy() for each in (frames, truth)))

    def metrics(self) -> dict[str, Metric]:
        """Diagonality and focus, and the mel distance if it decides."""
        from anyrnn.tasks.scores.metrics import Mean

        names = ("diagonality", "focus", *(("distance",) if self.deciding == "distance" else ()))
        return {name: Mean() for name in names}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them, weighted by frames or by texts."""
        for name, metric in metrics.items():
            metric.update(step.output[name], len(batch) if name == "distance" else step.count)

    def score(
        self, network: SpeechNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> SpeechScores:
        """Speak all texts, and compare with the recordings."""
        totals, count = numpy.zeros(3), 0
        for _, step in steps(self, network, self.batches(part, _BATCH_SIZE, None), check):
            check_finite(step.loss)
            values = (step.loss, step.output["diagonality"], step.output["focus"])
            totals += step.count * numpy.array([float(value) for value in values])
            count += step.count
        loss, *attended = (totals / count).tolist()
        speaking = self.speaking(network, SpeechOptions())
        found = speaking.utterances(part.texts, check)
        shown = part.spread(_EXAMPLES)
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
                        (speaking.sound(each), part.samples[row]),
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
        energies = self.features.energies(torch.as_tensor(samples)[None])
        return self.features.described(energies)[0].numpy()

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """The mean frame of the training, and the recording of the most similar text there."""
        return baselines(data.training, data.measured[1], self.scales[0], self.logarithms)

    def tables(self, scores: SpeechScores) -> list[ScoreTable]:
        """How long the speech is, and how much of it did not end."""
        row = (f"{scores.seconds:.1f}", f"{scores.recorded_seconds:.1f}", f"{scores.cut:,}")
        columns = ("seconds of speech", "of the recordings", "texts whose speech did not end")
        return [ScoreTable(columns, [row])]

    def predict(self, network: SpeechNetwork, inputs: Sequence[str], **speech: Any) -> list[Speech]:
        """The speech of texts.

        Args:
            network: The network.
            inputs: The texts.
            speech: See `SpeechOptions`: longest, stop_at, iterations.

        Raises:
            DataError: A text has no character that the training had.
        """
        return list(self.speaking(network, SpeechOptions(**speech)).run(inputs))

    def speaking(self, network: SpeechNetwork, options: SpeechOptions) -> Speaking:
        """What speaks with a network."""
        known = (self.characters, normal_of(self.options), self.features, self.frames_a_character)
        return Speaking(network, *known, options)

    def answers(
        self, network: SpeechNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """Speak the texts of the command line, a file or standard input into a file of sound; an
        answer tells where in it a text is.
        """
        check_output(options.output, options.overwrite)
        rate = self.options.sound.sample_rate
        pause = numpy.zeros(round(options.pause * rate), numpy.float32)
        given = given_texts(options.texts, options.file, options.encoding)
        texts = [*filter(str.strip, given)]
        told: list[dict[str, object]] = []

        def pieces() -> Iterator[NDArray[numpy.float32]]:
            samples = 0
            advanced("speaking", 0, len(texts))
            for each in self.speaking(network, options.speech).run(texts):
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
                advanced("speaking", len(told), len(texts))
                yield each.samples
            if not told:
                raise DataError("there is no text to be spoken: all of it is blank")

        write_sound(options.output, pieces(), rate)
        yield from told

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """How some texts are spoken."""
        return pictures(results, self.options)
