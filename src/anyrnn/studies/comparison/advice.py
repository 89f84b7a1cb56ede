"""A recommendation in plain sentences, with its reasons and its doubts."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from anyrnn.studies.comparison.evidence import Choice, Evidence, Outcome
from anyrnn.studies.comparison.statistics import Contrast, seeds_needed, smallest_p
from anyrnn.studies.comparison.words import named, said
from anyrnn.tasks.scores.figures import Figure
from anyrnn.tasks.words import Language, listed


@dataclass(frozen=True)
class Advice:
    """What is said about a comparison.

    Attributes:
        recommendation: Which cell to use, in a sentence or two.
        reasons: What speaks for it and against the others.
        doubts: What the comparison cannot tell.
    """

    recommendation: str
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]


def advise(evidence: Evidence, choice: Choice, language: Language = "en") -> Advice:
    """Say which cell to use, why, and what is not certain.

    Args:
        evidence: The trainings.
        choice: What `choose` made of them.
        language: "en" or "zh".
    """
    writer = _Writer(evidence, choice, language)
    return Advice(writer.recommendation(), tuple(writer.reasons()), tuple(writer.doubts()))


def of_seeds(figure: Figure, values: list[float]) -> str:
    """A figure of several seeds with its unit.

    Example:
        >>> of_seeds(Figure("accuracy", "accuracy", percent=True), [0.9, 0.92])
        '91.0 ± 1.4 %'
    """
    return f"{figure.of_trials(values)}{' %' if figure.percent else ''}"


@dataclass(frozen=True)
class _Writer:
    evidence: Evidence
    choice: Choice
    language: Language

    def recommendation(self) -> str:
        evidence, choice = self.evidence, self.choice
        if choice.recommended is None or choice.best is None:
            return self._say("none")
        own = evidence.outcome(choice.recommended)
        best = evidence.outcome(choice.best).on_validation(evidence.figure.name, evidence.seeds)
        extreme = "highest" if evidence.figure.larger_is_better else "lowest"
        saving = choice.saving
        equal = len(choice.validation) > 1 and all(
            each.verdict(evidence.level) == "open" for each in choice.validation
        )
        return self._say(
            "all open" if equal and choice.why == "open" else choice.why,
            cell=own.cell,
            other=choice.best,
            figure=self._title(evidence.figure),
            best=self._say(extreme),
            value=of_seeds(
                evidence.figure, own.on_validation(evidence.figure.name, evidence.seeds)
            ),
            others=self._list(
                each.cell for each in choice.validation if each.verdict(evidence.level) == "open"
            ),
            range=self._range(min(best), max(best)),
            saving=saving and self._say(saving.what, share=f"{100 * saving.share:.0f}"),
        )

    def reasons(self) -> Iterator[str]:
        evidence, choice = self.evidence, self.choice
        if choice.recommended is not None:
            yield self._reached(evidence.outcome(choice.recommended))
        for each in choice.test:
            if each.count > 1 and not each.verdict(evidence.level).endswith("better"):
                yield self._contrast(each)
        for outcome in evidence.outcomes:
            if outcome.failures:
                yield self._failed(outcome)
        yield from self._signals()

    def doubts(self) -> Iterator[str]:
        evidence, choice = self.evidence, self.choice
        if choice.recommended is not None:
            yield from self._simple(evidence.outcome(choice.recommended))
        for each in choice.test:
            if each.verdict(evidence.level).endswith("better"):
                yield self._contrast(each)
        done, planned = len(evidence.seeds), len(evidence.planned)
        if 0 < done < planned:
            yield self._say("budget", done=done, planned=planned)
        yield from self._few_seeds(done)
        for outcome in evidence.sound:
            yield from self._training(outcome)
        if choice.recommended is not None:
            yield self._say("one split")

    def _reached(self, outcome: Outcome) -> str:
        figures = [
            f"{self._title(figure)} {of_seeds(figure, outcome.measured(figure.name, self._seeds))}"
            for figure in self.evidence.shown
        ]
        return self._say("reached", cell=outcome.cell, part=self._part, figures=self._list(figures))

    def _contrast(self, found: Contrast) -> str:
        verdict = found.verdict(self.evidence.level)
        if verdict == "open" and not any(found.differences):
            key = "same"
        else:
            key = "not worse" if verdict == "open" else verdict
        low, high = found.low or 0.0, found.high or 0.0
        sign = 1 if found.mean > 0 else -1  # a difference is told as a positive number
        ends = sorted((sign * low, sign * high))
        return self._say(
            key,
            cell=found.cell,
            other=found.other,
            part=self._part,
            figure=self._title(self.evidence.figure),
            seeds=found.count,
            difference=self._difference(abs(found.mean)),
            interval=self._range(*ends),
            p=_p(found.adjusted_p),
            count=self._comparisons(len(self.choice.test)),
            holds=self._say("holds 0" if low <= 0 <= high else "excludes 0"),
        )

    def _failed(self, outcome: Outcome) -> str:
        total = len(self.evidence.planned)
        diverged = [each for each in outcome.failures if each.diverged]
        count = len(diverged or outcome.failures)
        return self._say(
            "diverged" if diverged else "failed",
            cell=outcome.cell,
            count=count,
            total=total,
            rate=f"{outcome.learning_rate:g}",
            reason=outcome.failures[0].reason,
        )

    def _signals(self) -> Iterator[str]:
        for outcome in self.evidence.sound:
            signal = outcome.signal
            if signal:
                key = "signal kept" if signal.steps is None else "signal lost"
                steps, length = signal.steps, signal.length
                yield self._say(key, cell=outcome.cell, steps=steps, length=length)

    def _simple(self, outcome: Outcome) -> Iterator[str]:
        """The simple method that is the best, if no network is needed to be as good."""
        known = [
            figure
            for figure in (self.evidence.figure, *self.evidence.shown)
            if any(figure.name in reached for reached in self.evidence.baselines.values())
        ]
        if not known:
            return
        figure = known[0]
        better = max if figure.larger_is_better else min
        reached = {
            name: figures[figure.name]
            for name, figures in self.evidence.baselines.items()
            if figure.name in figures
        }
        name = better(reached, key=lambda name: reached[name])
        own = fmean(outcome.measured(figure.name, self._seeds))
        if better(own, reached[name]) == reached[name]:
            yield self._say(
                "simple is better",
                name=named(name, self.language),
                figure=self._title(figure),
                value=of_seeds(figure, [reached[name]]),
                part=self._part,
                cell=outcome.cell,
                own=of_seeds(figure, outcome.measured(figure.name, self._seeds)),
            )

    def _few_seeds(self, done: int) -> Iterator[str]:
        count = len(self.choice.test)
        smallest = smallest_p(done)
        if done > 1 and count and smallest * count > self.evidence.level:
            yield self._say(
                "few seeds",
                seeds=done,
                count=self._comparisons(count),
                p=f"{smallest:.2g}",
                adjusted=f"{min(1.0, smallest * count):.2g}",
                level=f"{self.evidence.level:g}",
                needed=seeds_needed(self.evidence.level, count),
            )

    def _training(self, outcome: Outcome) -> Iterator[str]:
        rate, rates = outcome.learning_rate, outcome.rates
        if len(rates) > 1 and rate in (min(rates), max(rates)):
            edge = self._say("largest" if rate == max(rates) else "smallest")
            yield self._say("rate at the edge", cell=outcome.cell, edge=edge, rate=f"{rate:g}")
        if outcome.unfinished * 2 > len(outcome.validation):
            total = len(outcome.validation)
            yield self._say("unfinished", cell=outcome.cell, count=outcome.unfinished, total=total)

    @property
    def _seeds(self) -> list[int]:
        return self.evidence.seeds

    @property
    def _part(self) -> str:
        return self._say(self.evidence.measured_on)

    def _say(self, key: str, **places: Any) -> str:
        return said(key, self.language, **places)

    def _list(self, names: Any) -> str:
        return listed(names, self.language)

    def _title(self, figure: Figure) -> str:
        return named(figure.title, self.language)

    def _comparisons(self, count: int) -> str:
        return self._say("comparison" if count == 1 else "comparisons", count=count)

    def _range(self, low: float, high: float) -> str:
        return self._say("range", low=self._value(low), high=self._value(high))

    def _value(self, value: float) -> str:
        return self.evidence.figure.shown(value)

    def _difference(self, value: float) -> str:
        figure = self.evidence.figure
        return (
            self._say("points", value=figure.shown(value))
            if figure.percent
            else (figure.shown(value))
        )


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.2g}"
