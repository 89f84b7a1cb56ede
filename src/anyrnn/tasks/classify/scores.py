"""How well probabilities agree with the true classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from anyrnn.tasks.class_scores import ClassScore, class_scores
from anyrnn.tasks.task import Scores

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
class ClassificationScores(Scores):
    """The figures of one classifier on one set of texts: accuracy, macro F1, loss (in nats).

    Attributes:
        classes: The figures of each class.
        confusion: How many texts of each true class (row) were given each class (column).
        mistakes: The texts that it got most wrong, the worst first.
    """

    classes: list[ClassScore]
    confusion: list[list[int]]
    mistakes: list[Mistake]


def score(
    probabilities: torch.Tensor,
    targets: torch.Tensor,
    labels: Sequence[str],
    texts: Sequence[str],
) -> ClassificationScores:
    """Compare probabilities with the truth.

    Args:
        probabilities: A row for each text, a column for each class.
        targets: The class number of each text.
        labels: The labels, in the order of the classes.
        texts: The texts.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
        >>> scores = score(probabilities, torch.tensor([0, 0, 1]), ["no", "yes"], ["a", "b", "c"])
        >>> round(scores.figures["accuracy"], 3)
        0.667
    """
    count = len(labels)
    predicted = probabilities.argmax(1)
    classes, confusion = class_scores(predicted, targets, labels)
    return ClassificationScores(
        count=len(targets),
        figures={
            "accuracy": float(multiclass_accuracy(predicted, targets, count, average="micro")),
            "macro_f1": float(multiclass_f1_score(predicted, targets, count, average="macro")),
            "loss": float(losses(probabilities, targets).mean()),
        },
        classes=classes,
        confusion=confusion,
        mistakes=worst_mistakes(texts, probabilities, targets, labels),
    )


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


def losses(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each text, in nats."""
    smallest = torch.finfo(probabilities.dtype).tiny
    return -probabilities[torch.arange(len(targets)), targets].clamp_min(smallest).log()
