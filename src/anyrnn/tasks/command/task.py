"""Spoken words as a task."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch

from anyrnn.errors import DataError
from anyrnn.tasks.audio.blocks import blocks_of, piped
from anyrnn.tasks.audio.options import PCM
from anyrnn.tasks.audio.recordings import read_recordings, waveforms
from anyrnn.tasks.classify.data import Part, sorted_labels, targets
from anyrnn.tasks.classify.labelling import Labelling, Prediction
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.classify.scores import Answer, ClassificationScores
from anyrnn.tasks.command.data import read, read_part
from anyrnn.tasks.command.listening import Heard, Listening
from anyrnn.tasks.command.listing import listed
from anyrnn.tasks.command.model import CommandNetwork
from anyrnn.tasks.command.options import DataOptions, ListenOptions, Options, PredictOptions
from anyrnn.tasks.command.sounds import Sounds
from anyrnn.tasks.data.encoding import given_texts
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.run_files import CONFIG, strings
from anyrnn.tasks.scores.class_scores import confusions

_AT_ONCE = 64  # recordings


@dataclass(frozen=True)
class CommandScores(ClassificationScores):
    """The figures of one network on one set of recordings.

    Attributes:
        right: Of each word the recording that was told most surely.
    """

    right: list[Answer]


@dataclass(frozen=True)
class Command(Labelling[Options]):
    """Recordings of a word each."""

    name = "command"
    options_type = Options
    title = "spoken words"
    unit = "recording"
    units = "recordings"
    template = "command.html"

    inputs: Sounds

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the recordings."""
        return read(options.data, options.sound.sample_rate, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Find the scales of the features."""
        inputs = Sounds.prepare(options, training.inputs, training.labels, (), noted)
        return cls(options, sorted_labels(training), inputs)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take words and scales of a run."""
        labels = strings(state, "labels", run / CONFIG)
        return cls(options, labels, Sounds.restore(options, state, run))

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read recordings of words that the training had, too."""
        found = listed(options.data, options, self.options.training.seed)
        part = read_part(found, options, self.options.sound.sample_rate)
        targets(part, self.labels)
        return part, {"skipped": part.skipped, "remarks": part.remarks}

    def _scores(self, probabilities: torch.Tensor, part: Part) -> CommandScores:
        found = super()._scores(probabilities, part)
        return CommandScores(**vars(found), right=list(self._surest(probabilities, part)))

    def _surest(self, probabilities: torch.Tensor, part: Part) -> Iterator[Answer]:
        classes = torch.from_numpy(self._targets(part))
        right = torch.where(probabilities.argmax(1) == classes, probabilities.amax(1), 0.0)
        for number, label in enumerate(self.labels):
            sureness = right * (classes == number)
            row = int(sureness.argmax())
            if sure := float(sureness[row]):
                shown = self.inputs.example(part.inputs[row], part.rows[row])
                yield Answer(
                    **vars(shown),
                    label=label,
                    label_probability=sure,
                    predicted=label,
                    predicted_probability=sure,
                )

    def predict(self, network: SequenceNetwork, inputs: Sequence[Any]) -> list[Prediction]:
        """The most probable word of each recording: the name of a file, or samples at the rate of
        the run, (time).
        """
        return super().predict(network, waveforms(inputs, self.inputs.sound.sample_rate))

    def answers(
        self, network: SequenceNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The word in each recording of the command line or of standard input."""
        names = iter(options.recordings) if options.recordings else _read_names()
        while some := list(islice(names, _AT_ONCE)):
            found = read_recordings([Path(name) for name in some], self.inputs.sound.sample_rate)
            for problem in filter(None, found.problems):
                raise DataError(problem)
            for each in self._predict(network, found.samples, some):
                yield {"file": each.text, **each.answer(options.probabilities)}

    def listen(self, network: CommandNetwork, options: ListenOptions) -> Iterator[Heard]:
        """The words in a recording or in what comes from standard input, as they are heard.

        Raises:
            OptionError: The network, or what it hears, needs the end of a recording.
            DataError: The recording cannot be read.
        """
        rate = self.inputs.sound.sample_rate
        data = self.options.data
        silent = (data.silence, data.unknown)
        # A recording of a word has some silence around it, in which nothing more is said.
        listening = Listening(network, self.labels, silent, options, self.inputs.seconds / 2)
        if options.recording == PCM:
            blocks = piped(options.rate, rate)
        else:
            blocks = blocks_of(Path(options.recording), rate)
        for block in blocks:
            yield from listening.push(torch.from_numpy(block))
        yield from listening.finish()

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Confusions."""
        return {**confusions(results), "named": self.options.data.data.name}


def _read_names() -> Iterator[str]:
    return (line for line in given_texts((), None, "utf-8") if line.strip())
