"""The page that shows a search: the best trial, what matters, and how it went."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from anyrnn.studies.space import Choice, Dimension, Range
from anyrnn.studies.trials import TrialRecord
from anyrnn.studies.tuning.result import TuneResult
from anyrnn.tasks.report import SERIES_COLOURS, TEXT_COLOUR, chart, count_along, render_page
from anyrnn.tasks.run_files import versions
from anyrnn.tasks.scores.figures import duration

_BEST, _OTHER, _LINE = SERIES_COLOURS[1], SERIES_COLOURS[0], SERIES_COLOURS[2]
_MOST_LINES = 60  # of the picture of all options; the best ones
_NAMED = 6  # trials with a colour of their own


def render_tuning(result: TuneResult) -> str:
    """The page that shows a search.

    Args:
        result: What it resulted in.
    """
    return render_page(
        "tune.html",
        {
            "result": result,
            "task": result.task,
            "decides": result.task.decides(),
            "options": shown_options(result, result.best),
            "rows": _rows(result),
            "counts": _counts(result.records),
            "charts": [_history(result), *_importance(result), _curves(result), _parallel(result)],
            "slices": [_slice(result, each) for each in result.space.dimensions],
            "config": {"versions": versions()},
        },
        "anyrnn.studies",
    )


def shown_value(value: object) -> str:
    """A value of an option as people read it.

    Example:
        >>> shown_value(0.00123456), shown_value(64), shown_value(True)
        ('0.00123', '64', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def own_name(path: str) -> str:
    """The name of an option without its group; of the cells, that of one."""
    return "cell" if path == "cells" else path.rpartition(".")[2]


def shown_options(result: TuneResult, record: TrialRecord) -> dict[str, str]:
    """What a trial had of the options that were searched, as people read it."""
    return {own_name(path): shown_value(value) for path, value in result.values(record).items()}


def _counts(records: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    words = {
        "finished": "trained to the end",
        "pruned": "given up",
        "diverged": "diverged",
        "failed": "failed",
    }
    counted = [
        (said, sum(each.state == state for each in records)) for state, said in words.items()
    ]
    return [(said, count) for said, count in counted if count]


def _rows(result: TuneResult) -> list[dict[str, Any]]:
    """The trials as the table has them: the best ones first, then those that were not finished."""
    decides = result.task.decides()
    others = [each for each in result.records if each.state != "finished"]
    return [
        {
            "number": record.number,
            "best": record is result.best,
            "state": record.state,
            "reason": record.reason,
            "deciding": "" if record.deciding is None else decides.shown(record.deciding),
            "options": list(shown_options(result, record).values()),
            "epochs": len(record.epochs),
            "time": duration(record.training_seconds),
        }
        for record in (*result.ranked, *others)
    ]


def _factor(result: TuneResult) -> int:
    return 100 if result.task.decides().percent else 1


def _label(result: TuneResult) -> str:
    return f"{result.task.decides().heading} on the validation data"


def _limit(axes: Any, values: Sequence[float], larger: bool) -> None:
    """Leave far worse values out of the picture, in which the good ones could not be told apart."""
    ordered = sorted(values, reverse=larger)
    if len(ordered) < 4:
        return
    best, middle, worst = ordered[0], median(ordered), ordered[-1]
    far = best + 4 * (middle - best)
    if abs(worst - best) > abs(far - best) > 0:
        margin = 0.06 * (far - best)
        bottom, top = sorted((best - margin, far))
        axes.set_ylim(bottom, top)


def _alpha(marker: str) -> float:
    """How strongly a trial is drawn that was trained to the end, or given up."""
    return 0.55 if marker == "x" else 1.0


def _history(result: TuneResult) -> Markup:
    larger, factor = result.task.decides().larger_is_better, _factor(result)
    better = max if larger else min

    def draw(axes: Any) -> None:
        known = [each for each in result.records if each.deciding is not None]
        styles = {"finished": ("o", _OTHER), "pruned": ("x", TEXT_COLOUR), "diverged": ("v", _BEST)}
        for state, (marker, colour) in styles.items():
            found = [each for each in known if each.state == state]
            if found:
                axes.plot(
                    [each.number for each in found],
                    [(each.deciding or 0.0) * factor for each in found],
                    marker,
                    color=colour,
                    markersize=4.5,
                    alpha=_alpha(marker),
                    label={"pruned": "given up"}.get(state, state),
                )
        so_far: list[float] = []
        finished = [each for each in known if each.state == "finished"]
        for each in finished:
            value = (each.deciding or 0.0) * factor
            so_far.append(better([*so_far[-1:], value]))
        numbers = [each.number for each in finished]
        axes.step(numbers, so_far, where="post", color=_LINE, label="best so far")
        _limit(axes, [(each.deciding or 0.0) * factor for each in known], larger)
        axes.set_xlabel("trial")
        axes.set_ylabel(_label(result))
        count_along(axes.xaxis)

    return chart(draw, "history of the trials")


def _importance(result: TuneResult) -> list[Markup]:
    if not result.importance:
        return []

    def draw(axes: Any) -> None:
        shares = list(result.importance.items())[::-1]
        names = [own_name(path).replace("_", " ") for path, _ in shares]
        axes.set_axisbelow(True)
        axes.barh(names, [100 * share for _, share in shares], color=_OTHER, height=0.6)
        axes.set_xlabel("share of the differences between the trials (%)")

    return [chart(draw, "importance of the options")]


def _curves(result: TuneResult) -> Markup:
    factor, figure = _factor(result), f"validation_{result.task.deciding}"

    def draw(axes: Any) -> None:
        ends: list[float] = []
        named = result.ranked[:_NAMED]
        for record in [*named, *[each for each in result.records if each not in named]]:
            values = [epoch["figures"][figure] * factor for epoch in record.epochs]
            ends += values
            if not values:
                continue
            rank = named.index(record) if record in named else None
            axes.plot(
                range(1, len(values) + 1),
                values,
                color=TEXT_COLOUR if rank is None else SERIES_COLOURS[rank],
                alpha=0.25 if rank is None else 1,
                linewidth=1 if rank else 2,
                zorder=2 if rank is None else 9 - rank,
                label=None if rank is None else f"trial {record.number}",
                marker="." if len(values) == 1 else None,
            )
        _limit(axes, ends, result.task.decides().larger_is_better)
        axes.set_xlabel("epoch")
        axes.set_ylabel(_label(result))
        count_along(axes.xaxis)

    return chart(draw, "learning curves of the trials")


def _places(dimension: Dimension, values: Sequence[Any]) -> list[float]:
    """Where values lie on an axis from 0 to 1."""
    if isinstance(dimension, Choice):
        return [dimension.values.index(value) / (len(dimension.values) - 1) for value in values]
    scale: Callable[[float], float] = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    return [(scale(value) - low) / (high - low) for value in values]


def _parallel(result: TuneResult) -> Markup:
    """A line for each trial, through its value on the axis of each option."""
    dimensions = result.space.dimensions

    def draw(axes: Any) -> None:
        shown = result.ranked[:_MOST_LINES]
        at = {
            each.path: _places(each, [result.values(record)[each.path] for record in shown])
            for each in dimensions
        }
        for number, record in enumerate(shown):
            best = number < 3
            axes.plot(
                range(len(dimensions)),
                [at[each.path][number] for each in dimensions],
                color=SERIES_COLOURS[number] if best else TEXT_COLOUR,
                linewidth=2 if best else 1,
                alpha=1 if best else 0.18,
                marker="o",
                markersize=3,
                zorder=9 - number if best else 2,
                label=f"trial {record.number}" if best else None,
            )
        for place, each in enumerate(dimensions):
            axes.annotate(_end(each, -1), (place, 1.04), ha="center", fontsize=8)
            axes.annotate(_end(each, 0), (place, -0.1), ha="center", fontsize=8)
        names = [own_name(each.path).replace("_", "\n") for each in dimensions]
        axes.set_xticks(range(len(dimensions)), names, fontsize=9)
        axes.tick_params(axis="x", pad=14, length=0)
        axes.set_yticks([])
        axes.set_ylim(-0.15, 1.4)  # the legend lies above
        axes.margins(x=0.08)
        axes.spines["left"].set_visible(False)

    return chart(draw, "the options of the best trials")


def _end(dimension: Dimension, end: int) -> str:
    if isinstance(dimension, Choice):
        return shown_value(dimension.values[end])
    return shown_value(dimension.high if end else dimension.low)


def _slice(result: TuneResult, dimension: Dimension) -> Markup:
    """The figure of each trial over one option."""
    factor = _factor(result)

    def place(record: TrialRecord) -> Any:
        value = result.values(record)[dimension.path]
        return dimension.values.index(value) if isinstance(dimension, Choice) else value

    def draw(axes: Any) -> None:
        pruned = [each for each in result.records if each.state == "pruned"]
        kinds = [
            (pruned, "x", TEXT_COLOUR, "given up"),
            (result.ranked[1:], "o", _OTHER, "finished"),
            ([result.best], "o", _BEST, "best trial"),
        ]
        for found, marker, colour, name in kinds:
            values = [(each.deciding or 0.0) * factor for each in found]
            axes.plot(list(map(place, found)), values, marker, color=colour, label=name)
            axes.lines[-1].set(markersize=4 if marker == "x" else 5, alpha=_alpha(marker))
        if isinstance(dimension, Choice):
            axes.set_xticks(range(len(dimension.values)), list(map(shown_value, dimension.values)))
            axes.margins(x=0.2)
        else:
            _scale(axes, dimension)
        known = [(each.deciding or 0.0) * factor for each in (*result.ranked, *pruned)]
        _limit(axes, known, result.task.decides().larger_is_better)
        axes.set_xlabel(own_name(dimension.path).replace("_", " "))
        axes.set_ylabel(_label(result))

    return chart(draw, f"{own_name(dimension.path)} of the trials")


def _scale(axes: Any, dimension: Range) -> None:
    if dimension.log:
        axes.set_xscale("log", base=2 if isinstance(dimension.low, int) else 10)
        if isinstance(dimension.low, int):
            from matplotlib.ticker import ScalarFormatter

            axes.xaxis.set_major_formatter(ScalarFormatter())
    elif isinstance(dimension.low, int):
        count_along(axes.xaxis)
