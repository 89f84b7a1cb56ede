"""How well probabilities agree with the true classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, and its number of texts."""

    label: str
    precision: float
    recall: float
    f1: float
    texts: int


@dataclass(frozen=True)
class Scores:
    """The figures of one model on one set of texts.

    Attributes:
        texts: The number of texts.
        loss: The mean cross-entropy, in nats.
        accuracy: The share of texts whose most probable class is the true one.
        macro_f1: The mean of the classes' F1.
        classes: The figures of each class.
        confusion: How many texts of each true class (row) were given each class (column).
    """

    texts: int
    loss: float
    accuracy: float
    macro_f1: float
    classes: list[ClassScore]
    confusion: list[list[int]]


def score(probabilities: torch.Tensor, targets: torch.Tensor, labels: Sequence[str]) -> Scores:
    """Compare probabilities with the truth.

    Args:
        probabilities: A row for each text, a column for each class.
        targets: The class number of each text.
        labels: The labels, in the order of the classes.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> round(score(probabilities, torch.tensor([0, 0, 1]), ["no", "yes"]).accuracy, 3)
        0.667
    """
    count = len(labels)
    predicted = probabilities.argmax(1)
    precision = multiclass_precision(predicted, targets, count, average="none")
    recall = multiclass_recall(predicted, targets, count, average="none")
    f1 = multiclass_f1_score(predicted, targets, count, average="none")
    confusion = multiclass_confusion_matrix(predicted, targets, count)
    return Scores(
        texts=len(targets),
        loss=float(losses(probabilities, targets).mean()),
        accuracy=float(multiclass_accuracy(predicted, targets, count, average="micro")),
        macro_f1=float(multiclass_f1_score(predicted, targets, count, average="macro")),
        classes=[
            ClassScore(
                label, float(precision[i]), float(recall[i]), float(f1[i]), int(confusion[i].sum())
            )
            for i, label in enumerate(labels)
        ],
        confusion=confusion.tolist(),
    )


def losses(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each text, in nats."""
    smallest = torch.finfo(probabilities.dtype).tiny
    return -probabilities[torch.arange(len(targets)), targets].clamp_min(smallest).log()
