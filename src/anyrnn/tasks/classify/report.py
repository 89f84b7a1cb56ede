"""What the report of text classification adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from anyrnn.tasks.class_scores import LARGEST_MATRIX, frequent_confusions
from anyrnn.tasks.classify.scores import ClassificationScores

if TYPE_CHECKING:
    from anyrnn.tasks.experiment import CellResult


def pictures(results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `classify.html` uses beside those of all reports."""
    scores: dict[str, ClassificationScores] = {
        result.cell: cast(ClassificationScores, result.scores) for result in results
    }
    first = next(iter(scores.values()))
    return {
        "most_frequent": max(score.count for score in first.classes) / first.count,
        "largest_matrix": LARGEST_MATRIX,
        "confusions": {
            cell: frequent_confusions([one.label for one in each.classes], each.confusion)
            for cell, each in scores.items()
        },
    }
