"""Classification as a task: texts or sequences of numbers, with one label or several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy

from anyrnn.errors import DataError, RunError, option_name
from anyrnn.tasks.answers import AT_ONCE, answers_to_texts
from anyrnn.tasks.classify.data import Part, read, read_part, sorted_labels, targets
from anyrnn.tasks.classify.inputs import Inputs, Numbers, Texts
from anyrnn.tasks.classify.labelling import MACRO_F1, Labelling
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.classify.options import DataOptions, Options, PredictOptions
from anyrnn.tasks.classify.report import pictures
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.options.declaration import check_needs
from anyrnn.tasks.options.file_options import KIND_OF_INPUT
from anyrnn.tasks.run_files import CONFIG, entry, strings
from anyrnn.tasks.scores.figures import LOSS, Figure

_OF_SEVERAL = (
    Figure("micro_f1", "micro F1", percent=True),
    MACRO_F1,
    Figure("accuracy", "all labels right", percent=True),
    LOSS,
)


@dataclass(frozen=True)
class Classify(Labelling[Options]):
    """Texts or sequences of numbers with a label each, or with several.

    Attributes:
        figures: The figures; where an input may have several labels, those of several.
        unit, units: What an input is called, which follows from the inputs.
    """

    name = "classify"
    options_type = Options
    title = "classification"
    template = "classify.html"

    figures: tuple[Figure, ...] = Labelling.figures
    unit: str = Texts.unit
    units: str = Texts.units

    @classmethod
    def of(
        cls, options: Options, labels: list[str], inputs: Inputs, weights: list[float] | None
    ) -> Self:
        """The task with the figures and the words that follow from options and inputs."""
        several = options.data.label_separator is not None
        figures = _OF_SEVERAL if several else Labelling.figures
        return cls(options, labels, inputs, weights, figures, inputs.unit, inputs.units)

    @property
    def separator(self) -> str | None:
        """What separates the labels of a row, if it may have several."""
        return self.options.data.label_separator

    @classmethod
    def read(cls, options: Options) -> Data[Part]:
        """Read and split the files."""
        return read(options.data, options.training.seed)

    @classmethod
    def prepare(cls, options: Options, training: Part, noted: Callable[[str], None]) -> Self:
        """Make the vocabulary or the scales, and the weights of the labels."""
        kind = Numbers if training.channels else Texts
        inputs = kind.prepare(options, training.inputs, training.labels, training.channels, noted)
        separator = options.data.label_separator
        labels = sorted_labels(training, separator)
        weights = None
        if options.numbers.class_weights == "balanced":
            weights = _balanced(targets(training, labels, separator), len(labels))
        return cls.of(options, labels, inputs, weights)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the labels, their weights, and the vocabulary or the scales of a run."""
        labels = strings(state, "labels", run / CONFIG)
        kind = Numbers if "channels" in state else Texts
        weights = entry(state, "weights", list, run / CONFIG) if state.get("weights") else None
        if weights and (len(weights) != len(labels) or not all(type(w) is float for w in weights)):
            raise RunError(f"the run is damaged: {run / CONFIG} needs a weight for each label")
        return cls.of(options, labels, kind.restore(options, state, run), weights)

    def read_part(self, options: DataOptions) -> tuple[Part, dict[str, object]]:
        """Read a file with inputs and labels that the training had, too."""
        part = read_part(options.data, options, **self._known())
        targets(part, self.labels, self.separator)
        return part, {"skipped": part.skipped}

    def _known(self) -> dict[str, Any]:
        """What a file has to agree with."""
        if isinstance(self.inputs, Numbers):
            return {"numbers": True, "channels": self.inputs.channels}
        return {}

    def answers(
        self, network: SequenceNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The label of each text of the command line, a file or standard input; or of each
        sequence of a file.
        """
        if isinstance(self.inputs, Numbers):
            yield from self._answers_on_numbers(network, options)
            return

        def ask(texts: list[str]) -> Iterator[dict[str, object]]:
            return (each.answer(options.probabilities) for each in self.predict(network, texts))

        yield from answers_to_texts(options, ask, {"label": None, "probability": None})

    def _answers_on_numbers(
        self, network: SequenceNetwork, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        if options.texts or options.file is None:
            raise DataError(
                "this run reads sequences of numbers: give a file like that of the training, "
                f"with {option_name('file', 'FILE')}"
            )
        check_needs(options, data={KIND_OF_INPUT: (self.units,)})
        part = read_part(options.file, self.options.data, with_labels=False, **self._known())
        for start in range(0, len(part), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            for found in self._predict(network, part.inputs[rows], part.rows[rows]):
                yield {"row": found.text, **found.answer(options.probabilities)}

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Confusions; of numbers the mean sequence of each label."""
        data = self.options.data
        heading = f"“{data.label}” from “{data.text}”" if data.text else data.data.name
        if isinstance(self.inputs, Numbers):
            return pictures(results, heading, self.inputs.channels, self.inputs.curves)
        return pictures(results, heading, (), {})


def _balanced(classes: numpy.ndarray, count: int) -> list[float]:
    """Weights with which each label counts as much as any other."""
    if classes.ndim == 1:
        frequencies = numpy.bincount(classes, minlength=count)
        return (len(classes) / (count * frequencies)).tolist()
    frequencies = classes.sum(0)
    return ((len(classes) - frequencies).clip(1) / frequencies).tolist()
