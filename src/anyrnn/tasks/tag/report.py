"""What the report of tagging adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyrnn.tasks.class_scores import LARGEST_MATRIX, frequent_confusions
from anyrnn.tasks.tag.scores import TaggingScores

if TYPE_CHECKING:
    from anyrnn.tasks.results import CellResult

COMPARED = {
    "accuracy": "accuracy",
    "known_accuracy": "on known words",
    "unknown_accuracy": "on unknown words",
    "span_f1": "F1 of spans",
}
_LONGEST = 120  # tokens of a sentence that are shown


def pictures(results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `tag.html` uses beside those of all reports."""
    confusions = {}
    for result in results:
        scores = result.scores
        assert isinstance(scores, TaggingScores)
        labels = [one.label for one in scores.classes]
        confusions[result.cell] = frequent_confusions(labels, scores.confusion)
    first = results[0].scores
    compared = [name for name in COMPARED if name in first.figures]
    return {
        "largest_matrix": LARGEST_MATRIX,
        "confusions": confusions,
        "compared": {name: COMPARED[name] for name in compared},
        "longest": _LONGEST,
    }
