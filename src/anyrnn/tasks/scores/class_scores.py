"""Precision, recall, F1 and confusions of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from anyrnn.tasks.task import ScoreTable

# A confusion matrix of more classes is unreadable: its most frequent confusions are listed instead.
LARGEST_MATRIX = 60
_LISTED_CONFUSIONS = 40


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, and how often it is the true one."""

    label: str
    precision: float
    recall: float
    f1: float
    count: int


def label_scores(
    probabilities: torch.Tensor, targets: torch.Tensor, labels: Sequence[str]
) -> list[ClassScore]:
    """The figures of each label where a row may have several.

    Args:
        probabilities: Of each label (column) for each row.
        targets: 1 where a row has a label, 0 where it has not.
        labels: The names of the labels.
    """
    from torchmetrics import functional

    shares = [
        measure(
            probabilities, targets, average="none", task="multilabel", num_labels=len(labels)
        ).tolist()
        for measure in (functional.precision, functional.recall, functional.f1_score)
    ]
    rows = zip(labels, *shares, targets.sum(0).tolist(), strict=True)
    return [ClassScore(*row) for row in rows]


def scores_of(confusion: NDArray[numpy.int64], labels: Sequence[str]) -> list[ClassScore]:
    """The figures of each class; a share of nothing is 0.

    Args:
        confusion: How often each true class (row) was given each class (column).
        labels: The names of the classes.

    Example:
        >>> scores_of(numpy.array([[3, 1], [0, 0]]), ["a", "b"])[0]
        ClassScore(label='a', precision=1.0, recall=0.75, f1=0.8571428571428571, count=4)
    """
    right, given, true = confusion.diagonal(), confusion.sum(0), confusion.sum(1)
    columns = (right / given.clip(1), right / true.clip(1), 2 * right / (given + true).clip(1))
    rows = zip(labels, *(column.tolist() for column in columns), true.tolist(), strict=True)
    return [ClassScore(*row) for row in rows]


def confusion_of(
    predicted: torch.Tensor, targets: torch.Tensor, count: int
) -> NDArray[numpy.int64]:
    """How often each true class (row) was given each class (column)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(predicted, targets, count).numpy()


def table_of(scores: Sequence[ClassScore], title: str, units: str) -> ScoreTable:
    """The figures of each class as a table.

    Args:
        scores: The figures.
        title: What a class is.
        units: What is counted.
    """
    rows = [
        (
            one.label,
            *(f"{100 * share:.1f}" for share in (one.precision, one.recall, one.f1)),
            f"{one.count:,}",
        )
        for one in scores
    ]
    return ScoreTable((title, "precision %", "recall %", "F1 %", units), rows)


def frequent_confusions(
    labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> list[tuple[str, str, int]] | None:
    """The most frequent confusions: true class, given class, how often.

    None, if the classes are few enough for a matrix.
    """
    if len(labels) <= LARGEST_MATRIX:
        return None
    pairs = [
        (labels[row], labels[column], count)
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_LISTED_CONFUSIONS]


def confusions(results: Sequence[Any]) -> dict[str, object]:
    """What a report shows of the confusions of each cell: beside the values of its template.

    Args:
        results: The cells; their scores have `classes` and `confusion`.
    """
    found = {
        result.cell: frequent_confusions(
            [one.label for one in result.scores.classes], result.scores.confusion
        )
        for result in results
    }
    return {"confusions": found}
