"""What the report of text classification adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from anyrnn.tasks.classify.scores import ClassificationScores

if TYPE_CHECKING:
    from anyrnn.tasks.experiment import CellResult

# A confusion matrix of more classes is unreadable: its most frequent confusions are listed instead.
_LARGEST_MATRIX = 60
_LISTED_CONFUSIONS = 40


def pictures(results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `classify.html` uses beside those of all reports."""
    scores: dict[str, ClassificationScores] = {
        result.cell: cast(ClassificationScores, result.scores) for result in results
    }
    first = next(iter(scores.values()))
    return {
        "most_frequent": max(score.texts for score in first.classes) / first.count,
        "longest_label": max(len(score.label) for score in first.classes),
        "largest_matrix": _LARGEST_MATRIX,
        "confusions": {cell: _confusions(each) for cell, each in scores.items()},
    }


def _confusions(scores: ClassificationScores) -> list[tuple[str, str, int]]:
    """The most frequent confusions: true label, predicted label, number of texts."""
    labels = [score.label for score in scores.classes]
    pairs = [
        (labels[row], labels[column], count)
        for row, counts in enumerate(scores.confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_LISTED_CONFUSIONS]
