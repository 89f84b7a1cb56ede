"""What the trainings of a comparison gave, and which cell follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from anyrnn.studies.comparison.statistics import Contrast, contrast, corrected
from anyrnn.tasks.scores.figures import Figure

# From which share of the other's cost on a cell counts as cheaper: times of a busy machine vary.
_CHEAPER = 0.8


@dataclass(frozen=True)
class Signal:
    """How far back a trained network's loss reaches.

    Attributes:
        steps: After how many steps back 1 % of the gradient is left; `None` if more is left at the
            beginning of the longest sequence.
        length: The number of steps of that sequence.
    """

    steps: int | None
    length: int


@dataclass(frozen=True)
class Failure:
    """A training that gave no result: its seed, whether it diverged, and why in a sentence."""

    seed: int
    diverged: bool
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What the trainings of one cell gave, from all seeds at the chosen learning rate.

    Attributes:
        cell: Its name.
        hidden_size: The size of its layers.
        parameters: The number of its network's parameters.
        learning_rate: The one that it was trained with.
        rates: Those that were tried; one alone if it was fixed.
        validation: By seed, the figures of the best epoch on the part that decides.
        figures: By seed, the figures on the part that measures the result.
        failures: The trainings without a result.
        epoch_seconds: The time of an epoch: the median of all.
        training_seconds: The time of a training, on average.
        seconds_per_row: The time to predict a row, in batches, on average.
        memory_bytes: The most memory that one of its trainings took; `None` if it is not known.
        unfinished: In how many trainings the last epoch allowed was the best one.
        signal: How far back the loss reaches; `None` if it was not measured.
    """

    cell: str
    hidden_size: int
    parameters: int
    learning_rate: float
    rates: tuple[float, ...]
    validation: Mapping[int, Mapping[str, float]]
    figures: Mapping[int, Mapping[str, float]]
    failures: tuple[Failure, ...] = ()
    epoch_seconds: float = 0.0
    training_seconds: float = 0.0
    seconds_per_row: float = 0.0
    memory_bytes: int | None = None
    unfinished: int = 0
    signal: Signal | None = None

    def on_validation(self, figure: str, seeds: Sequence[int]) -> list[float]:
        """A validation figure of these seeds."""
        return [self.validation[seed][figure] for seed in seeds]

    def measured(self, figure: str, seeds: Sequence[int]) -> list[float]:
        """A figure of the result of these seeds."""
        return [self.figures[seed][figure] for seed in seeds]


@dataclass(frozen=True)
class Evidence:
    """All that a recommendation follows from.

    Attributes:
        figure: The figure that cells are compared by.
        shown: Every figure that is told, this one among them.
        outcomes: The cells, in the order in which they were asked for.
        baselines: The figures of methods without a network, by their names.
        level: The level of significance.
        planned: The seeds that were asked for.
        measured_on: The part that the result is measured on: "test", or "validation" without one.
    """

    figure: Figure
    shown: tuple[Figure, ...]
    outcomes: tuple[Outcome, ...]
    planned: tuple[int, ...]
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    level: float = 0.05
    measured_on: str = "test"

    def outcome(self, cell: str) -> Outcome:
        """That of a cell."""
        return next(each for each in self.outcomes if each.cell == cell)

    @property
    def sound(self) -> list[Outcome]:
        """The cells of which no training failed."""
        return [each for each in self.outcomes if not each.failures and each.validation]

    @property
    def seeds(self) -> list[int]:
        """The seeds from which every sound cell was trained: what is compared is paired by them."""
        return [
            seed for seed in self.planned if all(seed in each.validation for each in self.sound)
        ]

    def mean(self, outcome: Outcome) -> float:
        """The mean validation figure of a cell."""
        return fmean(outcome.on_validation(self.figure.name, self.seeds))


@dataclass(frozen=True)
class Saving:
    """What a cell costs less than another one: an epoch's time or parameters, as a share."""

    what: Literal["time", "parameters"]
    share: float


@dataclass(frozen=True)
class Choice:
    """Which cell is recommended, and why.

    Attributes:
        recommended: The cell; `None` if no cell's trainings all ended well.
        best: The cell with the best mean validation figure.
        why: "clear": every other cell is worse on the validation data beyond the variation of
            seeds; "open": of some this is not certain; "cheaper": its mean lies within what the
            seeds of the best cell differ by, and it costs less; "one seed": nothing is known of the
            variation; "only": no other cell's trainings all ended well; "none": no recommendation.
        validation: The others compared with the best cell, on the part that decides.
        test: The others compared with the recommended cell, on the part that measures.
        saving: What the recommended cell costs less than the best one.
    """

    recommended: str | None
    best: str | None
    why: Literal["clear", "open", "cheaper", "one seed", "only", "none"]
    validation: tuple[Contrast, ...] = ()
    test: tuple[Contrast, ...] = ()
    saving: Saving | None = None


def choose(evidence: Evidence) -> Choice:
    """Choose a cell: the best on the validation data, or a cheaper one that is as good.

    As good is a cell that is not worse by what `Contrast.verdict` says, and whose mean is no worse
    than the worst seed of the best cell.
    """
    sound, seeds = evidence.sound, evidence.seeds
    if not sound or not seeds:
        return Choice(None, None, "none")
    better = max if evidence.figure.larger_is_better else min
    best = better(sound, key=evidence.mean)
    if len(sound) == 1:
        return Choice(best.cell, best.cell, "only")
    validation = contrasts(evidence, best.cell, validation=True)
    if len(seeds) == 1:
        test = contrasts(evidence, best.cell)
        return Choice(best.cell, best.cell, "one seed", validation, test)
    open_ = [each.cell for each in validation if each.verdict(evidence.level) == "open"]
    cheaper = _cheapest(evidence, best, [evidence.outcome(cell) for cell in open_])
    if cheaper:
        chosen, saving = cheaper
        test = contrasts(evidence, chosen.cell)
        return Choice(chosen.cell, best.cell, "cheaper", validation, test, saving)
    test = contrasts(evidence, best.cell)
    return Choice(best.cell, best.cell, "open" if open_ else "clear", validation, test)


def contrasts(evidence: Evidence, cell: str, *, validation: bool = False) -> tuple[Contrast, ...]:
    """Every other sound cell compared with one, by the figure that is asked about.

    Args:
        evidence: The trainings.
        cell: The one.
        validation: Whether by the validation figures.
    """
    figure, seeds = evidence.figure, evidence.seeds

    def values(outcome: Outcome) -> list[float]:
        found = outcome.on_validation if validation else outcome.measured
        return found(figure.name, seeds)

    reference = values(evidence.outcome(cell))
    return tuple(
        corrected(
            [
                contrast(each.cell, cell, values(each), reference, figure.larger_is_better)
                for each in evidence.sound
                if each.cell != cell
            ]
        )
    )


def _cheapest(
    evidence: Evidence, best: Outcome, others: Sequence[Outcome]
) -> tuple[Outcome, Saving] | None:
    """The cheapest of the cells that are as good as the best one, if any costs much less."""
    larger = evidence.figure.larger_is_better
    own = best.on_validation(evidence.figure.name, evidence.seeds)
    worst = min(own) if larger else max(own)
    found: list[tuple[Outcome, Saving]] = []
    for other in others:
        mean = evidence.mean(other)
        if mean < worst if larger else mean > worst:
            continue
        if best.epoch_seconds and other.epoch_seconds <= _CHEAPER * best.epoch_seconds:
            found.append((other, Saving("time", other.epoch_seconds / best.epoch_seconds)))
        elif (
            other.parameters <= _CHEAPER * best.parameters
            and _CHEAPER * other.epoch_seconds <= best.epoch_seconds
        ):
            found.append((other, Saving("parameters", other.parameters / best.parameters)))
    return min(found, key=lambda each: (each[1].what != "time", each[1].share), default=None)
