"""Classification as a task: texts or sequences of numbers, with one label or several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy
import torch
from torch.nn import functional

from anyrnn.errors import DataError, RunError, option_name
from anyrnn.tasks.answers import AT_ONCE, answers_to_texts
from anyrnn.tasks.batches import Batch, Batches, Column
from anyrnn.tasks.class_scores import table_of
from anyrnn.tasks.classify.data import Part, read, read_part, sorted_labels, targets
from anyrnn.tasks.classify.inputs import Inputs, Numbers, Texts
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.classify.options import DataOptions, Options, PredictOptions
from anyrnn.tasks.classify.report import pictures
from anyrnn.tasks.classify.scores import ClassificationScores, Example, chosen, score
from anyrnn.tasks.common_options import KIND_OF_INPUT
from anyrnn.tasks.figures import LOSS, Figure
from anyrnn.tasks.options import check_needs
from anyrnn.tasks.run_files import CONFIG, entry, strings
from anyrnn.tasks.task import Data, ScoreTable, Step, Task, check_finite, steps

if TYPE_CHECKING:  # its import takes seconds, and only training needs it
    from torchmetrics import Metric

_BATCH_SIZE = 256
_MACRO_F1 = Figure("macro_f1", "macro F1", percent=True)
_OF_SEVERAL = (
    Figure("micro_f1", "micro F1", percent=True),
    _MACRO_F1,
    Figure("accuracy", "all labels right", percent=True),
    LOSS,
)


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about a text or a sequence of numbers.

    Attributes:
        text: The text; or where the sequence comes from.
        label: The most probable label; of several, those of a probability above one half.
        probability: Its probability, or theirs together.
        probabilities: The probability of every label.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Classify(Task[Options, Part]):
    """Texts or sequences of numbers with a label each, or with several.

    Attributes:
        options: What the user chose.
        labels: The labels, in the order of the classes.
        inputs: What is known of the inputs.
        weights: The weight of each label in the loss, if they differ.
    """

    name = "classify"
    options_type = Options
    title = "classification"
    unit = "text"
    units = "texts"
    figures = (Figure("accuracy", "accuracy", percent=True), _MACRO_F1, LOSS)
    template = "classify.html"

    options: Options
    labels: list[str]
    inputs: Inputs
    weights: list[float] | None = None

    def __post_init__(self) -> None:
        """Take the words of the inputs, and the figures of several labels."""
        object.__setattr__(self, "unit", self.inputs.unit)
        object.__setattr__(self, "units", self.inputs.units)
        if self.separator is not None:
            object.__setattr__(self, "figures", _OF_SEVERAL)

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
        return cls(options, labels, inputs, weights)

    @classmethod
    def restore(cls, options: Options, state: Mapping[str, Any], run: Path) -> Self:
        """Take the labels, their weights, and the vocabulary or the scales of a run."""
        labels = strings(state, "labels", run / CONFIG)
        kind = Numbers if "channels" in state else Texts
        weights = entry(state, "weights", list, run / CONFIG) if state.get("weights") else None
        if weights and (len(weights) != len(labels) or not all(type(w) is float for w in weights)):
            raise RunError(f"the run is damaged: {run / CONFIG} needs a weight for each label")
        return cls(options, labels, kind.restore(state, run), weights)

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

    def state(self) -> dict[str, Any]:
        """The labels, their weights, and what is known of the inputs."""
        weights = {} if self.weights is None else {"weights": self.weights}
        return {"labels": self.labels, **weights, **self.inputs.state()}

    def files(self) -> dict[str, str]:
        """The tokenizer of texts."""
        return self.inputs.files()

    def network(self, cell: str) -> SequenceNetwork:
        """A network of the chosen sizes."""
        return self.inputs.network(cell, len(self.labels), self.options)

    def batches(self, part: Part, batch_size: int, seed: int | None) -> Batches:
        """Inputs and classes."""
        return self._batches(part.inputs, self._targets(part), batch_size, seed)

    def _targets(self, part: Part) -> numpy.ndarray:
        return targets(part, self.labels, self.separator)

    def _batches(
        self,
        inputs: Sequence[Any],
        classes: numpy.ndarray,
        batch_size: int,
        seed: int | None = None,
    ) -> Batches:
        columns = {"inputs": self.inputs.column(inputs), "class": Column(classes)}
        return Batches(columns, batch_size, seed)

    def step(self, network: torch.nn.Module, batch: Batch, carried: Any = None) -> Step:
        """Cross-entropy; where an input may have several labels, the mean over the labels."""
        logits = network(batch["inputs"], batch.lengths["inputs"])
        weights = None if self.weights is None else logits.new_tensor(self.weights)
        if self.separator is not None:
            loss = functional.binary_cross_entropy_with_logits(
                logits, batch["class"], pos_weight=weights
            )
        elif weights is None:
            loss = functional.cross_entropy(logits, batch["class"])
        else:
            every = functional.cross_entropy(logits, batch["class"], reduction="none")
            loss = (every * weights[batch["class"]]).mean()
        return Step(loss, len(batch), logits)

    def metrics(self) -> dict[str, "Metric"]:
        """Accuracy and F1."""
        from torchmetrics import classification

        count = len(self.labels)
        if self.separator is not None:
            return {
                "micro_f1": classification.MultilabelF1Score(count, average="micro"),
                "macro_f1": classification.MultilabelF1Score(count, average="macro"),
                "accuracy": classification.MultilabelExactMatch(count),
            }
        return {
            "accuracy": classification.MulticlassAccuracy(count, average="micro"),
            "macro_f1": classification.MulticlassF1Score(count, average="macro"),
        }

    def measure(self, metrics: Mapping[str, "Metric"], step: Step, batch: Batch) -> None:
        """Update them."""
        several = self.separator is not None
        output = step.output.sigmoid() if several else step.output
        for metric in metrics.values():
            metric.update(output, batch["class"].long())

    def score(
        self, network: torch.nn.Module, part: Part, check: Callable[[], None] = lambda: None
    ) -> ClassificationScores:
        """Compare the most probable labels with the true ones."""
        classes = self._targets(part)
        probabilities = self._probabilities(network, part.inputs, classes, check)

        def example(row: int) -> Example:
            value = part.inputs[row]
            text = value if isinstance(value, str) else part.rows[row]
            return Example(text, self.inputs.curve(value))

        weights = None if self.weights is None else torch.tensor(self.weights)
        return score(
            probabilities,
            torch.from_numpy(classes),
            self.labels,
            self.metrics(),
            example,
            weights,
            self.separator or ", ",
        )

    def predict(self, network: torch.nn.Module, inputs: Sequence[Any]) -> list[Prediction]:
        """The most probable label of each text or sequence of numbers, (time, channels)."""
        names = [x if isinstance(x, str) else f"sequence {n}" for n, x in enumerate(inputs)]
        return self._predict(network, inputs, names)

    def _predict(
        self, network: torch.nn.Module, inputs: Sequence[Any], names: Sequence[str]
    ) -> list[Prediction]:
        several = self.separator is not None
        predictions = []
        for name, row in zip(names, self.probabilities(network, inputs), strict=True):
            label, probability = chosen(row, self.labels, several, self.separator or "")
            probabilities = dict(zip(self.labels, row.tolist(), strict=True))
            predictions.append(Prediction(name, label, probability, probabilities))
        return predictions

    def answers(
        self, network: torch.nn.Module, options: PredictOptions
    ) -> Iterator[dict[str, object]]:
        """The label of each text of the command line, a file or standard input; or of each
        sequence of a file.
        """
        if isinstance(self.inputs, Numbers):
            yield from self._answers_on_numbers(network, options)
            return

        def ask(texts: list[str]) -> Iterator[dict[str, object]]:
            return (_answer(each, options.probabilities) for each in self.predict(network, texts))

        yield from answers_to_texts(options, ask, {"label": None, "probability": None})

    def _answers_on_numbers(
        self, network: torch.nn.Module, options: PredictOptions
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
                yield {"row": found.text, **_answer(found, options.probabilities)}

    def tables(self, scores: ClassificationScores) -> list[ScoreTable]:
        """The scores of each label."""
        return [table_of(scores.classes, "label", self.units)]

    def probabilities(self, network: torch.nn.Module, inputs: Sequence[Any]) -> torch.Tensor:
        """The probability of each label for each input, (inputs, labels)."""
        shape = (len(inputs),) if self.separator is None else (len(inputs), len(self.labels))
        kind = numpy.int64 if self.separator is None else numpy.float32
        return self._probabilities(network, inputs, numpy.zeros(shape, kind))

    def _probabilities(
        self,
        network: torch.nn.Module,
        inputs: Sequence[Any],
        classes: numpy.ndarray,
        check: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        if not inputs:
            return torch.empty(0, len(self.labels))
        batches = self._batches(inputs, classes, _BATCH_SIZE)
        results = torch.empty(len(inputs), len(self.labels))
        for batch, step in steps(self, network, batches, check):
            logits = step.output
            found = logits.softmax(1) if self.separator is None else logits.sigmoid()
            results[batch.rows.cpu()] = found.cpu()
        check_finite(results)
        return results

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """Confusions; of numbers the mean sequence of each label."""
        data = self.options.data
        heading = f"“{data.label}” from “{data.text}”" if data.text else data.data.name
        if isinstance(self.inputs, Numbers):
            return pictures(results, heading, self.inputs.channels, self.inputs.curves)
        return pictures(results, heading, (), {})


def _answer(found: Prediction, probabilities: bool) -> dict[str, object]:
    answer: dict[str, object] = {"label": found.label, "probability": found.probability}
    return answer | ({"probabilities": found.probabilities} if probabilities else {})


def _balanced(classes: numpy.ndarray, count: int) -> list[float]:
    """Weights with which each label counts as much as any other."""
    if classes.ndim == 1:
        frequencies = numpy.bincount(classes, minlength=count)
        return (len(classes) / (count * frequencies)).tolist()
    frequencies = classes.sum(0)
    return ((len(classes) - frequencies).clip(1) / frequencies).tolist()
