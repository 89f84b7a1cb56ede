"""What is known of recordings before any network has learned."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy

from anyrnn.errors import RunError
from anyrnn.tasks.audio.augmentation import Augmentation
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.options import SoundOptions
from anyrnn.tasks.audio.spectrogram import spectrogram
from anyrnn.tasks.classify.inputs import Inputs
from anyrnn.tasks.classify.scores import Example
from anyrnn.tasks.command.model import CommandNetwork
from anyrnn.tasks.command.options import Options
from anyrnn.tasks.data.batches import Column
from anyrnn.tasks.run_files import CONFIG, entry, scales_of


@dataclass(frozen=True)
class Sounds(Inputs):
    """Recordings of one channel at one rate.

    Attributes:
        sound: What a network hears of them.
        means, deviations: Those of each feature in training.
        seconds: How long a training recording is; half of them are shorter.
    """

    unit = "recording"
    units = "recordings"

    sound: SoundOptions
    means: list[float]
    deviations: list[float]
    seconds: float

    @classmethod
    def prepare(
        cls,
        options: Options,
        inputs: Sequence[numpy.ndarray],
        labels: Sequence[str],
        channels: Sequence[str],
        noted: Callable[[str], None],
    ) -> Self:
        """Find the scale of each feature."""
        sound, features = options.sound, Features(options.sound)
        lengths = numpy.array([len(each) for each in inputs]) / sound.sample_rate
        median = float(numpy.median(lengths))
        noted(
            f"sound: {lengths.min():.2f} to {lengths.max():.2f} s, {median:.2f} s in the middle; "
            f"{features.size} features, {1 / sound.hop:.0f} times a second"
        )
        return cls(sound, *features.measured(inputs), median)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the scales of a run."""
        path = run / CONFIG
        means, deviations = scales_of(state, Features(options.sound).size, path)
        seconds = entry(state, "seconds", float, path)
        if not 0 < seconds < math.inf:
            raise RunError(f"the run is damaged: {path} has recordings of {seconds} s")
        return cls(options.sound, means, deviations, seconds)

    def state(self) -> dict[str, Any]:
        """Scales and length."""
        return {"means": self.means, "deviations": self.deviations, "seconds": self.seconds}

    @property
    def features(self) -> Features:
        """What makes features of recordings."""
        return Features(self.sound, (self.means, self.deviations))

    def column(self, inputs: Sequence[numpy.ndarray]) -> Column:
        """The samples."""
        lengths = numpy.fromiter(map(len, inputs), numpy.int64, len(inputs))
        return Column(inputs, padded=True, lengths=lengths, per_step=self.features.hop)

    def network(self, cell: str, class_count: int, options: Options) -> CommandNetwork:
        """A network that makes the features itself."""
        changes = options.augmentation
        augmentation = Augmentation(changes, self.sound.sample_rate)
        sizes = {**asdict(options.model), "continued": changes.continued}
        return CommandNetwork(cell, self.features, augmentation, class_count, **sizes)

    def example(self, value: numpy.ndarray, row: str) -> Example:
        """A spectrogram."""
        return Example(row, picture=spectrogram(self.features, value))
