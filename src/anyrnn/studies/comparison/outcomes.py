"""What the records of trials say about each cell."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from anyrnn.errors import OptionError, option_name
from anyrnn.studies.comparison.evidence import Failure, Outcome, Signal
from anyrnn.studies.comparison.plan import RATE, RESULT, Plan, beyond
from anyrnn.studies.trials import TrialPlan, TrialRecord
from anyrnn.tasks.scores.figures import Figure
from anyrnn.tasks.task import Task

_RATE_OPTION = "training.learning_rate"


def figure_compared(task: Task, name: str | None) -> Figure:
    """The figure that cells are compared by.

    Args:
        task: The task.
        name: Its name; without one, the figure that decides on the best epoch.

    Raises:
        OptionError: The task has none of that name after each epoch.
    """
    known = {figure.name: figure for figure in task.epoch_figures()}
    if name is None:
        return task.decides()
    if name not in known:
        raise OptionError(
            f"{option_name('figure')} is {name!r}, but has to be one of {', '.join(known)}"
        )
    return known[name]


def best_rates(
    records: Sequence[TrialRecord], plan: Plan, cells: Sequence[str], figure: Figure
) -> dict[str, float]:
    """The learning rate of each cell with the best validation figure; the smaller of equal ones,
    and the smallest where no trial was finished.

    Args:
        records: What became of the trials.
        plan: What was planned.
        cells: The cells.
        figure: The figure.
    """
    tried = rate_curves(records, figure)
    better = max if figure.larger_is_better else min
    return {
        cell: better(curve, key=lambda rate, curve=curve: curve[rate])
        if (curve := tried.get(cell))
        else min(tried_rates(records, plan, cell))
        for cell in cells
    }


def further_trials(
    records: Sequence[TrialRecord], plan: Plan, options: Any, figure: Figure
) -> list[TrialPlan]:
    """The trainings with learning rates beyond the best one, where that is at an end."""
    rates = best_rates(records, plan, options.cells, figure)
    found = (
        (cell, beyond(options, tried_rates(records, plan, cell), rate))
        for cell, rate in rates.items()
    )
    return [plan.rate_trial(cell, rate) for cell, rate in found if rate is not None]


def tried_rates(records: Iterable[TrialRecord], plan: Plan, cell: str) -> tuple[float, ...]:
    """The learning rates that were tried with a cell, in ascending order."""
    found = {
        each.changes[_RATE_OPTION] for each in records if each.purpose == RATE and each.cell == cell
    }
    return tuple(sorted(found)) or plan.rates


def rate_curves(records: Iterable[TrialRecord], figure: Figure) -> dict[str, dict[float, float]]:
    """The validation figure of each cell by the learning rate that was tried, in ascending order,
    but for those that gave no result.
    """
    found: dict[str, dict[float, float]] = {}
    for record in sorted(records, key=lambda record: record.changes.get(_RATE_OPTION, 0)):
        if record.purpose == RATE and record.state == "finished":
            value = validation_figures(record)[figure.name]
            found.setdefault(record.cell, {})[record.changes[_RATE_OPTION]] = value
    return found


def validation_figures(record: TrialRecord) -> dict[str, float]:
    """The validation figures of the best epoch, by their own names."""
    assert record.best_epoch is not None
    figures = record.epochs[record.best_epoch - 1]["figures"]
    start = "validation_"
    return {
        name.removeprefix(start): value for name, value in figures.items() if name.startswith(start)
    }


def results_of(records: Iterable[TrialRecord], cell: str) -> list[TrialRecord]:
    """The trainings of a cell that are compared, by seed."""
    found = (each for each in records if each.purpose == RESULT and each.cell == cell)
    return sorted(found, key=lambda record: record.seed)


def outcome_of(
    cell: str, records: Sequence[TrialRecord], plan: Plan, signal: Signal | None = None
) -> Outcome:
    """What the trainings of a cell gave.

    Args:
        cell: The cell.
        records: What became of all trials of the comparison.
        plan: What was planned.
        signal: How far back the loss reaches, if it was measured.
    """
    results = results_of(records, cell)
    finished = [each for each in results if each.state == "finished"]
    seconds = [epoch["seconds"] for each in finished for epoch in each.epochs]
    memory = [each.peak_memory_bytes for each in finished if each.peak_memory_bytes]
    return Outcome(
        cell,
        plan.hidden_sizes[cell],
        plan.parameters[cell],
        results[0].changes[_RATE_OPTION] if results else plan.rates[0],
        tried_rates(records, plan, cell),
        {each.seed: validation_figures(each) for each in finished},
        {each.seed: each.figures for each in finished},
        tuple(
            Failure(each.seed, each.state == "diverged", each.reason)
            for each in results
            if each.state != "finished"
        ),
        median(seconds) if seconds else 0.0,
        fmean(each.training_seconds for each in finished) if finished else 0.0,
        fmean(each.seconds_per_row or 0.0 for each in finished) if finished else 0.0,
        max(memory, default=None),
        sum(each.best_epoch == plan.epochs for each in finished),
        signal,
    )


def baselines_of(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The figures of simple methods in the results of a run."""
    return {name: dict(figures) for name, figures in results.get("baselines", {}).items()}
