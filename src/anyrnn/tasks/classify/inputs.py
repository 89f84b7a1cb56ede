"""What is classified: texts, or sequences of numbers, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy

from anyrnn.errors import DataError
from anyrnn.tasks.classify.curves import mean_curves, shortened
from anyrnn.tasks.classify.model import SequenceNetwork, TextNetwork
from anyrnn.tasks.classify.options import Options
from anyrnn.tasks.classify.scores import Example
from anyrnn.tasks.data.batches import Column
from anyrnn.tasks.data.vocabulary import TextVocabulary
from anyrnn.tasks.run_files import CONFIG, scales_of, strings


class Inputs(ABC):
    """What a classifier knows of its inputs before it has learned anything.

    Attributes:
        unit, units: What an input is called.
    """

    unit: ClassVar[str]
    units: ClassVar[str]

    @classmethod
    @abstractmethod
    def prepare(
        cls,
        options: Any,
        inputs: Sequence[Any],
        labels: Sequence[str],
        channels: Sequence[str],
        noted: Callable[[str], None],
    ) -> Self:
        """Learn from the inputs of the training part and their labels."""

    @classmethod
    @abstractmethod
    def restore(cls, options: Any, state: Mapping[str, Any], run: Path) -> Self:
        """What `state` and `files` gave, of a training with these options."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON knows it."""

    def files(self) -> dict[str, str]:
        """The name and the text of each file that `restore` needs."""
        return {}

    @abstractmethod
    def column(self, inputs: Sequence[Any]) -> Column:
        """The inputs as a network reads them."""

    @abstractmethod
    def network(self, cell: str, class_count: int, options: Any) -> SequenceNetwork:
        """A network that reads them."""

    @abstractmethod
    def example(self, value: Any, row: str) -> Example:
        """What a report shows of an input.

        Args:
            value: The input.
            row: How messages name it.
        """


@dataclass(frozen=True)
class Texts(Inputs):
    """Texts: words, characters or byte-pair pieces.

    Attributes:
        vocabulary: Their tokens.
    """

    unit = "text"
    units = "texts"

    vocabulary: TextVocabulary

    @classmethod
    def prepare(
        cls,
        options: Options,
        inputs: Sequence[str],
        labels: Sequence[str],
        channels: Sequence[str],
        noted: Callable[[str], None],
    ) -> Self:
        """Choose the tokens and make the vocabulary."""
        return cls(TextVocabulary.made(inputs, options.vocabulary, noted))

    @classmethod
    def restore(cls, options: Any, state: Mapping[str, Any], run: Path) -> Self:
        """Take the tokenizer of a run."""
        return cls(TextVocabulary.restored(run))

    def state(self) -> dict[str, Any]:
        """Nothing: the tokenizer is a file."""
        return {}

    def files(self) -> dict[str, str]:
        """The tokenizer."""
        return self.vocabulary.files()

    def column(self, inputs: Sequence[str]) -> Column:
        """Token numbers."""
        return self.vocabulary.column(inputs)

    def network(self, cell: str, class_count: int, options: Options) -> TextNetwork:
        """A network with an embedding."""
        return TextNetwork(cell, self.vocabulary.size, class_count, **asdict(options.model))

    def example(self, value: str, row: str) -> Example:
        """The text."""
        return Example(value)


@dataclass(frozen=True)
class Numbers(Inputs):
    """Sequences of numbers, (time, channels).

    A missing value is that of the step before; before the first one, 0 after scaling, which is the
    mean of the channel.

    Attributes:
        channels: The names of the channels.
        means, deviations: What is subtracted from each channel, and what it is then divided by.
        curves: The mean sequences of each label for the report, (channels, points); only `prepare`
            makes them.
    """

    unit = "sequence"
    units = "sequences"

    channels: list[str]
    means: list[float]
    deviations: list[float]
    curves: dict[str, list[list[float]]] = field(default_factory=dict, compare=False)

    @classmethod
    def prepare(
        cls,
        options: Options,
        inputs: Sequence[numpy.ndarray],
        labels: Sequence[str],
        channels: Sequence[str],
        noted: Callable[[str], None],
    ) -> Self:
        """Find the scale of each channel."""
        values = numpy.concatenate(inputs).astype(numpy.float64)
        missing = numpy.isnan(values)
        for name, absent in zip(channels, numpy.all(missing, axis=0).tolist(), strict=True):
            if absent:
                raise DataError(f"the channel {name!r} has no value in any training sequence")
        means, deviations = numpy.nanmean(values, 0), numpy.nanstd(values, 0)
        # A channel that is constant but for rounding says nothing, however it is scaled.
        constant = deviations <= 1e-6 * numpy.abs(means)
        names = [name for name, one in zip(channels, constant, strict=True) if one]
        deviations[constant] = 1
        if options.numbers.scaling == "none":
            deviations[:] = 1
        if missing.any():
            noted(
                f"missing values: {missing.sum():,} of {missing.size:,} in training; each is taken "
                "to be that of the step before"
            )
        if names:
            noted(f"constant in training: {', '.join(map(repr, names[:20]))}")
        lengths = [len(each) for each in inputs]
        noted(f"numbers: {len(channels)} channel(s), {min(lengths):,} to {max(lengths):,} steps")
        shift = means if options.numbers.scaling == "standard" else numpy.zeros_like(means)
        found = cls(list(channels), shift.tolist(), deviations.tolist())
        found.curves.update(mean_curves(inputs, labels))
        return found

    @classmethod
    def restore(cls, options: Any, state: Mapping[str, Any], run: Path) -> Self:
        """Take the scales of a run."""
        path = run / CONFIG
        channels = strings(state, "channels", path)
        means, deviations = scales_of(state, len(channels), path)
        return cls(channels, means, deviations)

    def state(self) -> dict[str, Any]:
        """Channels and their scales."""
        return {"channels": self.channels, "means": self.means, "deviations": self.deviations}

    def column(self, inputs: Sequence[numpy.ndarray]) -> Column:
        """Scaled numbers."""
        for values in inputs:
            if values.ndim != 2 or values.shape[1] != len(self.channels) or not len(values):
                raise DataError(
                    f"a sequence has the shape {values.shape}, but has to be (time, "
                    f"{len(self.channels)}), with a step or more"
                )
        lengths = numpy.array([len(values) for values in inputs], numpy.int64)
        return Column(_Scaled(self, inputs), padded=True, lengths=lengths)

    def scaled(self, values: numpy.ndarray) -> numpy.ndarray:
        """The numbers as a network reads them, none of them missing."""
        scaled = (values - numpy.array(self.means)) / numpy.array(self.deviations)
        missing = numpy.isnan(scaled)
        if missing.any():
            steps = numpy.arange(len(values))[:, None]
            last = numpy.maximum.accumulate(numpy.where(missing, -1, steps))
            filled = numpy.take_along_axis(scaled, numpy.maximum(last, 0), 0)
            scaled = numpy.where(last < 0, 0, filled)
        return scaled.astype(numpy.float32)

    def network(self, cell: str, class_count: int, options: Options) -> SequenceNetwork:
        """A network without an embedding."""
        sizes = asdict(options.model)
        del sizes["embedding_size"]
        return SequenceNetwork(cell, len(self.channels), class_count, **sizes)

    def example(self, value: numpy.ndarray, row: str) -> Example:
        """The values of the first channels at some steps."""
        return Example(row, shortened(value))


class _Scaled(Sequence[numpy.ndarray]):
    """Scaled sequences, made when they are asked for."""

    def __init__(self, numbers: Numbers, inputs: Sequence[numpy.ndarray]) -> None:
        self._numbers, self._inputs = numbers, inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, row: Any) -> Any:
        return self._numbers.scaled(self._inputs[row])
