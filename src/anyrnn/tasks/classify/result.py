"""What the training of text classifiers results in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from anyrnn.tasks.classify.scores import Scores, losses
from anyrnn.tasks.training import Epoch

_WORST_TEXTS = 25


@dataclass(frozen=True)
class Mistake:
    """A text that was given a wrong label.

    Attributes:
        text: The text.
        label: Its true label.
        label_probability: What the model gave the true label.
        predicted: The label that it was given.
        predicted_probability: With which probability.
    """

    text: str
    label: str
    label_probability: float
    predicted: str
    predicted_probability: float


@dataclass(frozen=True)
class CellResult:
    """A trained cell.

    Attributes:
        cell: Its name.
        parameters: The number of its network's parameters.
        epochs: What happened in each epoch.
        scores: Its figures on the test data.
        mistakes: The texts that it got most wrong, the worst first.
        training_seconds: The time of all epochs.
        seconds_per_text: The time to classify a test text, in batches.
    """

    cell: str
    parameters: int
    epochs: list[Epoch]
    scores: Scores
    mistakes: list[Mistake]
    training_seconds: float
    seconds_per_text: float

    @property
    def best_epoch(self) -> Epoch:
        """The epoch whose weights were kept."""
        return min(self.epochs, key=lambda epoch: epoch.figures["validation_loss"])


@dataclass(frozen=True)
class Result:
    """What a training made.

    Attributes:
        run: The run folder.
        cells: Every cell, in the order in which they were asked for.
        best: The best one on the validation data.
    """

    run: Path
    cells: list[CellResult]
    best: CellResult


def worst_mistakes(
    texts: Sequence[str],
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    labels: Sequence[str],
    count: int = _WORST_TEXTS,
) -> list[Mistake]:
    """The wrongly labelled texts of the largest loss, each text once.

    Args:
        texts: The texts.
        probabilities: A row for each text, a column for each class.
        targets: The true class number of each text.
        labels: The labels, in the order of the classes.
        count: How many to give.
    """
    mistakes: list[Mistake] = []
    seen: set[str] = set()
    order = losses(probabilities, targets).argsort(descending=True, stable=True)
    for row in map(int, order):
        predicted, target = int(probabilities[row].argmax()), int(targets[row])
        if predicted == target or texts[row] in seen:
            continue
        seen.add(texts[row])
        mistakes.append(
            Mistake(
                text=texts[row],
                label=labels[target],
                label_probability=float(probabilities[row, target]),
                predicted=labels[predicted],
                predicted_probability=float(probabilities[row, predicted]),
            )
        )
        if len(mistakes) == count:
            break
    return mistakes
