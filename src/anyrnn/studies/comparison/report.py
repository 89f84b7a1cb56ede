"""The report of a comparison: recommendation, tables, tests, curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from anyrnn.studies.comparison.outcomes import rate_curves, results_of
from anyrnn.studies.comparison.statistics import Contrast, smallest_p
from anyrnn.studies.comparison.words import headings, named, said
from anyrnn.tasks.options.nested import flattened
from anyrnn.tasks.report import SERIES_COLOURS, TEXT_COLOUR, chart, count_along, render_page
from anyrnn.tasks.run_files import versions
from anyrnn.tasks.scores.figures import LOSS, Figure, duration, short_duration
from anyrnn.tasks.words import Language

if TYPE_CHECKING:
    from anyrnn.studies.comparison.compare import Comparison
    from anyrnn.studies.comparison.evidence import Outcome
    from anyrnn.studies.comparison.options import CompareOptions
    from anyrnn.studies.trials import TrialRecord

_LEFT = 0.01  # of the gradient: what counts as lost
_LINES = ("-", "--", ":", "-.")


def render(comparison: Comparison, choices: CompareOptions) -> str:
    """The page that shows a comparison.

    Args:
        comparison: The comparison.
        choices: How cells were compared; they name the language.
    """
    writer = _Writer(comparison, choices.language)
    advice = comparison.advice(choices.language)
    evidence, choice = comparison.evidence, comparison.choice
    config = {"versions": versions()}
    options: Any = comparison.task.options
    settings = [*flattened(choices.plain()), *flattened(options.plain())]
    values = {
        "lang": "zh-CN" if choices.language == "zh" else "en",
        "config": config,
        "words": writer.words,
        "cells": [each.cell for each in evidence.outcomes],
        "summary": writer.summary(choices),
        "advice": advice,
        "recommended": choice.recommended,
        "figures": writer.figures(),
        "costs": writer.costs(),
        "explained": writer.explained(),
        "result_charts": writer.result_charts(),
        "test": writer.test(),
        "on_test": [writer.contrast(each) for each in choice.test],
        "on_validation": [writer.contrast(each) for each in choice.validation],
        "curve_charts": writer.curves(),
        "rate_chart": writer.rates(),
        "gradient_chart": writer.gradients(),
        "settings": [
            (".".join(path), ", ".join(map(str, value)) if isinstance(value, list) else value)
            for path, value in settings
            if value not in (None, [])
        ],
    }
    return render_page("compare.html", values, "anyrnn.studies")


def tables(
    comparison: Comparison, language: Language = "en"
) -> list[tuple[list[str], list[list[str]]]]:
    """The tables of the results, each its headings and its rows: figures, and what cells take.

    Args:
        comparison: The comparison.
        language: "en" or "zh".
    """
    writer = _Writer(comparison, language)
    return [writer.figures(), writer.costs()]


def explanation(comparison: Comparison, language: Language = "en") -> str:
    """What the tables show, in a sentence."""
    return _Writer(comparison, language).explained()


@dataclass(frozen=True)
class _Writer:
    """What the page holds, in a language."""

    comparison: Comparison
    language: Language

    @property
    def words(self) -> dict[str, str]:
        return headings(self.language)

    @property
    def figure(self) -> Figure:
        return self.comparison.evidence.figure

    @property
    def cells(self) -> list[str]:
        return [each.cell for each in self.comparison.evidence.outcomes]

    def summary(self, choices: CompareOptions) -> str:
        evidence, records = self.comparison.evidence, self.comparison.records
        return said(
            "summary",
            self.language,
            task=self.comparison.task.name,
            cells=len(evidence.outcomes),
            seeds=len(evidence.seeds),
            sizes=said(choices.sizes, self.language),
            trainings=len(records),
            time=duration(sum(each.training_seconds for each in records)),
        )

    def figures(self) -> tuple[list[str], list[list[str]]]:
        """The headings and rows of the figures; simple methods stand below the cells."""
        evidence, words = self.comparison.evidence, self.words
        validation = words["validation"].format(figure=self._heading(self.figure))
        rows = [self._figures_of(each) for each in evidence.outcomes]
        rows += [
            [named(name, self.language), "", *self.comparison.task.shown(reached)]
            for name, reached in evidence.baselines.items()
        ]
        return [words["cell"], validation, *map(self._heading, evidence.shown)], rows

    def costs(self) -> tuple[list[str], list[list[str]]]:
        """The headings and rows of what each cell takes."""
        names = ("cell", "hidden", "parameters", "rate", "training", "epoch", "row", "memory")
        outcomes = self.comparison.evidence.outcomes
        return [self.words[name] for name in names], [self._costs_of(each) for each in outcomes]

    def _figures_of(self, outcome: Outcome) -> list[str]:
        shown = self.comparison.evidence.shown
        if not outcome.validation:
            state = "diverged" if any(each.diverged for each in outcome.failures) else "failed"
            return [outcome.cell, self.words[state], *[""] * len(shown)]
        validation = [each[self.figure.name] for each in outcome.validation.values()]
        figures = (
            figure.of_trials([each[figure.name] for each in outcome.figures.values()])
            for figure in shown
        )
        return [outcome.cell, self.figure.of_trials(validation), *figures]

    def _costs_of(self, outcome: Outcome) -> list[str]:
        memory = outcome.memory_bytes
        measured = (
            duration(outcome.training_seconds),
            duration(outcome.epoch_seconds),
            short_duration(outcome.seconds_per_row),
        )
        return [
            outcome.cell,
            str(outcome.hidden_size),
            f"{outcome.parameters:,}",
            f"{outcome.learning_rate:g}",
            *(measured if outcome.validation else ("", "", "")),
            "" if memory is None else f"{memory / 2**20:,.0f} MiB",
        ]

    def explained(self) -> str:
        evidence = self.comparison.evidence
        part = said(evidence.measured_on, self.language)
        return said("explained", self.language, seeds=len(evidence.seeds), part=part)

    def test(self) -> str:
        seeds = len(self.comparison.evidence.seeds)
        if seeds < 2:
            return said("one training", self.language)
        return said("the test", self.language, seeds=seeds, p=f"{smallest_p(seeds):.2g}")

    def contrast(self, found: Contrast) -> list[str]:
        level = self.comparison.evidence.level
        low, high = found.low, found.high
        interval = "–"
        if low is not None and high is not None:
            ends = self._value(low), self._value(high)
            interval = said("range", self.language, low=ends[0], high=ends[1])
        return [
            found.cell,
            found.other,
            self._value(found.mean),
            interval,
            f"{found.better} / {found.count}",
            _p(found.p),
            _p(found.adjusted_p),
            self.words[found.verdict(level)],
        ]

    def result_charts(self) -> list[Markup]:
        """The figure that decides, and the most important one, by cell: a point for each seed."""
        shown = self.comparison.evidence.shown
        found = dict.fromkeys((next(iter(shown)), self.figure))
        return [self._points(figure) for figure in found]

    def curves(self) -> list[Markup]:
        """The validation figure of each training, by step and by time; and the loss in training."""
        name = f"validation_{self.figure.name}"
        title = self.words["validation"].format(figure=self._heading(self.figure))
        charts = [
            self._lines(title, self.words["steps"], name, self.figure, _steps),
            self._lines(title, self.words["seconds"], name, self.figure, _seconds),
        ]
        loss = named(LOSS.title, self.language)
        title = self.words["training of"].format(figure=loss)
        return [*charts, self._lines(title, self.words["steps"], "training_loss", LOSS, _steps)]

    def rates(self) -> Markup | None:
        """The validation figure by learning rate, if several were tried."""
        curves = rate_curves(self.comparison.records, self.figure)
        if not curves:
            return None
        title = self.words["validation"].format(figure=self._heading(self.figure))
        factor = 100 if self.figure.percent else 1

        def draw(axes: Any) -> None:
            for cell, curve in curves.items():
                values = [factor * value for value in curve.values()]
                axes.plot(list(curve), values, marker="o", **self._style(cell), label=cell)
            axes.set_xscale("log")
            rates = list(self.comparison.plan.rates)
            axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
            axes.minorticks_off()
            axes.set_xlabel(self.words["rate"])
            axes.set_ylabel(title)

        return chart(draw, f"{self.words['rate']}: {title}")

    def gradients(self) -> Markup | None:
        """How much of the gradient is left, by steps before the end."""
        found = {
            cell: [share or float("nan") for share in shares]
            for cell, shares in self.comparison.shares.items()
            if len(shares) > 1
        }
        if not found:
            return None

        def draw(axes: Any) -> None:
            for cell, shares in found.items():
                axes.plot(range(len(shares)), shares, **self._style(cell), label=cell)
            axes.axhline(_LEFT, color=TEXT_COLOUR, linewidth=0.8, linestyle=":")
            axes.set_yscale("log")
            axes.set_xlabel(self.words["back"])
            count_along(axes.xaxis)
            axes.set_ylabel(self.words["gradient"])

        return chart(draw, self.words["gradient"])

    def _points(self, figure: Figure) -> Markup:
        evidence = self.comparison.evidence
        factor = 100 if figure.percent else 1
        part = said(evidence.measured_on, self.language)
        title = f"{self._heading(figure)} ({part})"

        def draw(axes: Any) -> None:
            for number, outcome in enumerate(evidence.outcomes):
                values = [factor * each[figure.name] for each in outcome.figures.values()]
                style = self._style(outcome.cell)
                offsets = _beside(len(values))
                axes.plot(
                    [number + offset for offset in offsets],
                    values,
                    linestyle="",
                    marker="o",
                    markersize=5,
                    color=style["color"],
                )
                if values:
                    mean = fmean(values)
                    axes.hlines(mean, number - 0.3, number + 0.3, color=style["color"], lw=2)
            for name, reached in evidence.baselines.items():
                if figure.name in reached and self._near(figure, reached[figure.name]):
                    axes.axhline(
                        factor * reached[figure.name],
                        color=TEXT_COLOUR,
                        linewidth=1,
                        linestyle="--",
                        label=named(name, self.language),
                    )
            axes.set_xticks(range(len(evidence.outcomes)), self.cells)
            axes.set_ylabel(title)

        return chart(draw, title)

    def _near(self, figure: Figure, value: float) -> bool:
        """Whether a simple method can be drawn beside the cells without pressing them together."""
        values = [
            each[figure.name]
            for outcome in self.comparison.evidence.outcomes
            for each in outcome.figures.values()
        ]
        if not values:
            return False
        width = max(values) - min(values)
        return min(values) - 3 * width <= value <= max(values) + 3 * width

    def _lines(self, title: str, along: str, name: str, figure: Figure, axis: Any) -> Markup:
        """A line for each training that is compared."""
        factor = 100 if figure.percent else 1

        def draw(axes: Any) -> None:
            for cell in self.cells:
                records = [
                    each for each in results_of(self.comparison.records, cell) if each.epochs
                ]
                for number, record in enumerate(records):
                    values = [factor * epoch["figures"][name] for epoch in record.epochs]
                    axes.plot(
                        list(axis(record)),
                        values,
                        label=cell if number == 0 else None,
                        alpha=0.75,
                        **{**self._style(cell), "linewidth": 1.2},
                    )
            axes.set_xlim(left=0)
            axes.set_xlabel(along)
            axes.set_ylabel(title)

        return chart(draw, f"{title}, {along}")

    def _style(self, cell: str) -> dict[str, Any]:
        """The colour and the kind of line of a cell, everywhere the same."""
        number = self.cells.index(cell)
        return {
            "color": SERIES_COLOURS[number % len(SERIES_COLOURS)],
            "linestyle": _LINES[number // len(SERIES_COLOURS) % len(_LINES)],
            "linewidth": 2,
        }

    def _heading(self, figure: Figure) -> str:
        title = named(figure.title, self.language)
        return f"{title} %" if figure.percent else title

    def _value(self, value: float) -> str:
        return self.figure.shown(value)


def _steps(record: TrialRecord) -> Iterable[float]:
    """How often the weights had been changed after each epoch."""
    return (epoch["number"] * (record.updates or 1) for epoch in record.epochs)


def _seconds(record: TrialRecord) -> Iterator[float]:
    """How long the training had taken after each epoch."""
    return accumulate(epoch["seconds"] for epoch in record.epochs)


def _beside(count: int) -> Sequence[float]:
    """Places beside each other for so many points."""
    return [
        0.36 * (number / max(1, count - 1) - 0.5) if count > 1 else 0 for number in range(count)
    ]


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"
