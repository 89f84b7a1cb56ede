"""What the report of forecasts adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from anyrnn.tasks.forecast.scores import (
    CRPS,
    MAE,
    MASE,
    MSE,
    RMSE,
    SMAPE,
    Example,
    ForecastScores,
)
from anyrnn.tasks.report import SERIES_COLOURS, TEXT_COLOUR, chart, count_along, curves
from anyrnn.tasks.scores.figures import LOSS
from anyrnn.tasks.task import ScoreTable

if TYPE_CHECKING:
    from anyrnn.tasks.training.results import CellResult

_TICKS = 6
_STYLES = ("-", "--", ":", "-.")


def pictures(results: Sequence[CellResult]) -> dict[str, object]:
    """The values that `forecast.html` uses beside those of all reports."""
    scores = {result.cell: result.scores for result in results}
    found = {}
    for cell, each in scores.items():
        assert isinstance(each, ForecastScores)
        found[cell] = {
            "verdict": each.verdict(),
            "examples": [example_chart(example) for example in each.examples],
            "steps": steps_chart(each),
        }
    # Fewer curves than figures: most of them tell the same.
    return {
        "forecasts": found,
        "curves": [curves(results, [figure]) for figure in (LOSS, MASE, MAE)],
    }


_FIGURES = (MASE, SMAPE, MAE, RMSE, MSE, CRPS)


def tables(scores: ForecastScores) -> list[ScoreTable]:
    """The scores as tables for a terminal."""
    headings = [figure.heading for figure in _FIGURES]
    found = []
    for title, methods in (
        ("all windows", scores.methods),
        (f"{scores.backtest_origins} windows", scores.backtest),
    ):
        if methods:
            rows = [
                [method.name, *(figure.shown(method.figures[figure.name]) for figure in _FIGURES)]
                for method in methods
            ]
            found.append(ScoreTable((title, *headings), rows))
    if scores.intervals:
        rows = [
            [f"{percent} %", f"{100 * each['coverage']:.1f}", f"{each['width']:.4g}"]
            for percent, each in scores.intervals.items()
        ]
        found.append(ScoreTable(("interval", "outcomes inside %", "mean width"), rows))
    return found


def example_chart(example: Example) -> Markup:
    """A forecast with its intervals beside the truth and the simple methods."""
    count = len(example.history)
    before = range(-count, 0)
    after = range(len(example.truth))

    def draw(axes: Any) -> None:
        for number, (percent, (lower, upper)) in enumerate(example.intervals.items()):
            axes.fill_between(
                after,
                lower,
                upper,
                color=SERIES_COLOURS[0],
                alpha=0.15 + 0.15 * number,
                linewidth=0,
                label=f"{percent} % interval",
            )
        known = [*example.history, *example.truth]
        values = [float("nan") if value is None else value for value in known]
        axes.plot([*before, *after], values, color=TEXT_COLOUR, linewidth=1.2, label="truth")
        for number, (name, forecast) in enumerate(example.forecasts.items()):
            axes.plot(
                after,
                forecast,
                color=SERIES_COLOURS[number],
                linestyle=_STYLES[number],
                linewidth=1.8 if number == 0 else 1.2,
                label=name,
            )
        places = range(-count, len(example.truth), max(1, (count + len(after)) // _TICKS))
        texts = [example.times[place + count] for place in places]
        axes.set_xticks(list(places), texts, rotation=25, ha="right", fontsize=7)
        axes.set_title(example.title, fontsize=9)

    return chart(draw, f"forecast of {example.title}")


def steps_chart(scores: ForecastScores) -> Markup:
    """The error of each step of the horizon, by method."""

    def draw(axes: Any) -> None:
        for number, (name, values) in enumerate(scores.steps.items()):
            axes.plot(
                range(1, len(values) + 1),
                [float("nan") if value is None else value for value in values],
                color=SERIES_COLOURS[number],
                linestyle=_STYLES[number],
                label=name,
            )
        axes.set_xlabel("steps ahead")
        count_along(axes.xaxis)
        axes.set_ylabel("MASE")

    return chart(draw, "MASE by step of the horizon")
