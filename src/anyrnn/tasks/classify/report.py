"""What the report of classification adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from anyrnn.tasks.classify.curves import drawn
from anyrnn.tasks.report import Line, line_chart
from anyrnn.tasks.scores.class_scores import confusions

if TYPE_CHECKING:
    from anyrnn.tasks.training.results import CellResult


def pictures(
    results: Sequence[CellResult],
    heading: str,
    channels: Sequence[str],
    curves: Mapping[str, Sequence[Sequence[float]]],
) -> dict[str, object]:
    """The values that `classify.html` uses beside those of all reports.

    Args:
        results: The cells.
        heading: What the page is called.
        channels: The names of the channels of numbers.
        curves: The mean sequence of each label: the values of its channels.
    """
    return {
        **confusions(results),
        "heading": heading,
        "mean_curves": _mean_curves(channels, curves),
        "drawn": drawn,
    }


def _mean_curves(
    channels: Sequence[str], curves: Mapping[str, Sequence[Sequence[float]]]
) -> list[Markup]:
    """A chart for each channel with a line for each label."""
    if not curves:
        return []
    count = len(next(iter(curves.values())))
    charts = []
    for place, channel in enumerate(channels[:count]):
        lines = [
            Line(label, curve[place], colour, dashed=False, marked=False)
            for colour, (label, curve) in enumerate(curves.items())
        ]
        charts.append(line_chart(lines, f"mean of channel {channel}", along="point in time"))
    return charts
