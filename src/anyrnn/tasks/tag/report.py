"""What the report of tagging adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyrnn.tasks.scores.class_scores import confusions

if TYPE_CHECKING:
    from anyrnn.tasks.training.results import CellResult

COMPARED = {
    "accuracy": "accuracy",
    "known_accuracy": "on known words",
    "unknown_accuracy": "on unknown words",
    "span_f1": "F1 of spans",
}
_LONGEST = 120  # tokens of a sentence that are shown


def pictures(results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `tag.html` uses beside those of all reports."""
    figures = results[0].scores.figures
    compared = {name: title for name, title in COMPARED.items() if name in figures}
    return {**confusions(results), "compared": compared, "longest": _LONGEST}
