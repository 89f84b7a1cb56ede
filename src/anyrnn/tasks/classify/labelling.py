"""What classification of any inputs has in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch.nn import functional

from anyrnn.tasks.classify.data import Part, targets
from anyrnn.tasks.classify.inputs import Inputs
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.classify.scores import ClassificationScores, chosen, score
from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.scores.class_scores import table_of
from anyrnn.tasks.scores.figures import LOSS, Figure
from anyrnn.tasks.task import Metric, ScoreTable, Step, Task, TaskOptions, check_finite

MACRO_F1 = Figure("macro_f1", "macro F1", percent=True)
_BATCH_SIZE = 256


@dataclass(frozen=True)
class Prediction:
    """What a classifier says about an input.

    Attributes:
        text: The text; or where another input comes from.
        label: The most probable label; of several, those of a probability above one half.
        probability: Its probability, or theirs together.
        probabilities: The probability of every label.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]

    def answer(self, probabilities: bool) -> dict[str, object]:
        """The answer for the command line, perhaps with every probability."""
        answer: dict[str, object] = {"label": self.label, "probability": self.probability}
        return answer | ({"probabilities": self.probabilities} if probabilities else {})


@dataclass(frozen=True)
class Labelling(Task[TaskOptions, Part, SequenceNetwork]):
    """Inputs with a label each, or with several; a subclass says how they are read.

    Attributes:
        options: What the user chose.
        labels: The labels, in the order of the classes.
        inputs: What is known of the inputs.
        weights: The weight of each label in the loss, if they differ.
    """

    figures = (Figure("accuracy", "accuracy", percent=True), MACRO_F1, LOSS)

    options: TaskOptions
    labels: list[str]
    inputs: Inputs
    weights: list[float] | None = None

    @property
    def separator(self) -> str | None:
        """What separates the labels of a row, if it may have several."""
        return None

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
        classes = Column(self._targets(part))
        columns = {"inputs": self.inputs.column(part.inputs), "class": classes}
        return Batches(columns, batch_size, seed)

    def _targets(self, part: Part) -> numpy.ndarray:
        return targets(part, self.labels, self.separator)

    def step(self, network: SequenceNetwork, batch: Batch, carried: Any = None) -> Step:
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

    def metrics(self) -> dict[str, Metric]:
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

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update them."""
        several = self.separator is not None
        output = step.output.sigmoid() if several else step.output
        for metric in metrics.values():
            metric.update(output, batch["class"].long())

    def score(
        self, network: SequenceNetwork, part: Part, check: Callable[[], None] = lambda: None
    ) -> ClassificationScores:
        """Compare the most probable labels with the true ones."""
        probabilities = self.probabilities(network, part.inputs, check)
        return self._scores(probabilities, part)

    def _scores(self, probabilities: torch.Tensor, part: Part) -> ClassificationScores:
        weights = None if self.weights is None else torch.tensor(self.weights)
        return score(
            probabilities,
            torch.from_numpy(self._targets(part)),
            self.labels,
            self.metrics(),
            lambda row: self.inputs.example(part.inputs[row], part.rows[row]),
            weights,
            self.separator or ", ",
        )

    def predict(self, network: SequenceNetwork, inputs: Sequence[Any]) -> list[Prediction]:
        """The most probable label of each input."""
        names = [x if isinstance(x, str) else f"{self.unit} {n}" for n, x in enumerate(inputs)]
        return self._predict(network, inputs, names)

    def _predict(
        self, network: SequenceNetwork, inputs: Sequence[Any], names: Sequence[str]
    ) -> list[Prediction]:
        several = self.separator is not None
        predictions = []
        for name, row in zip(names, self.probabilities(network, inputs), strict=True):
            label, probability = chosen(row, self.labels, several, self.separator or "")
            probabilities = dict(zip(self.labels, row.tolist(), strict=True))
            predictions.append(Prediction(name, label, probability, probabilities))
        return predictions

    def tables(self, scores: ClassificationScores) -> list[ScoreTable]:
        """The scores of each label."""
        return [table_of(scores.classes, "label", self.units)]

    def probabilities(
        self,
        network: SequenceNetwork,
        inputs: Sequence[Any],
        check: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        """The probability of each label for each input, (inputs, labels).

        Raises:
            RunError: The network gives what is no number.
        """
        if not inputs:
            return torch.empty(0, len(self.labels))

        def of_batch(batch: Batch) -> torch.Tensor:
            logits = network(batch["inputs"], batch.lengths["inputs"])
            return (logits.softmax(1) if self.separator is None else logits.sigmoid()).cpu()

        batches = Batches({"inputs": self.inputs.column(inputs)}, _BATCH_SIZE)
        found = torch.stack(by_rows(network, batches, of_batch, check))
        check_finite(found)
        return found
