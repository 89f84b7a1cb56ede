"""What a comparison trains: hidden sizes, learning rates and epochs, as its budget allows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Any

from anyrnn.errors import SizeError, option_name
from anyrnn.studies.comparison.options import FACTORS, FURTHER, CompareOptions
from anyrnn.studies.comparison.sizes import (
    StepTimer,
    check_cells,
    equal_parameters,
    equal_time,
    parameters,
    with_hidden_size,
)
from anyrnn.studies.trials import TrialPlan
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.scores.figures import duration
from anyrnn.tasks.task import Task

RATE, RESULT = "learning rate", "result"
"""What a trial is for: to find a cell's learning rate, or to compare it."""

# What is planned takes such a share of the budget: the rest is for compiling, scoring, the report.
_PLANNED = 0.8
# A forward run takes about such a share of a training step.
_FORWARD = 1 / 3
# Learning rates are given up for epochs until there are so many.
_ENOUGH_EPOCHS = 5


@dataclass(frozen=True)
class Plan:
    """What a comparison trains.

    Attributes:
        hidden_sizes: The size of each cell's layers.
        parameters: The number of parameters of each cell's network.
        rates: The learning rates that are tried; one alone is taken without a trial.
        epochs: The largest number of epochs of a training.
        rate_seed: The seed of the trainings that try learning rates, from which none is compared.
        epoch_seconds: The time that an epoch of each cell was expected to take, if it was asked.
    """

    hidden_sizes: Mapping[str, int]
    parameters: Mapping[str, int]
    rates: tuple[float, ...]
    epochs: int
    rate_seed: int
    epoch_seconds: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {**asdict(self), "rates": list(self.rates)}

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> "Plan":
        """The plan that `plain` gave."""
        return cls(**{**plain, "rates": tuple(plain["rates"])})

    def rate_trials(self, options: Any) -> Iterator[TrialPlan]:
        """The trainings that find learning rates."""
        for rate in self.rates if len(self.rates) > 1 else ():
            for cell in options.cells:
                yield self.rate_trial(cell, rate)

    def rate_trial(self, cell: str, rate: float) -> TrialPlan:
        """The training of a cell that tries a learning rate."""
        return TrialPlan(cell, self.rate_seed, self._changes(cell, rate), RATE)

    def seeds(self, options: Any) -> tuple[int, ...]:
        """The seeds of the trainings that are compared; if more are asked for later, those before
        are among them. No result is one that a rate was chosen by.
        """
        every = (seed for seed in count(options.training.seed) if seed != self.rate_seed)
        return tuple(islice(every, options.training.seeds))

    def result_trials(self, options: Any, rates: Mapping[str, float]) -> Iterator[TrialPlan]:
        """The trainings that are compared: seed by seed, so that those that were done when the time
        is over can be paired.
        """
        for seed in self.seeds(options):
            for cell in options.cells:
                yield TrialPlan(cell, seed, self._changes(cell, rates[cell]), RESULT)

    def _changes(self, cell: str, rate: float) -> dict[str, Any]:
        return {
            "model.hidden_size": self.hidden_sizes[cell],
            "training.learning_rate": rate,
            "training.epochs": self.epochs,
        }


def planned(
    task: Task, data: Data, choices: CompareOptions, budget: float | None, workers: int
) -> Plan:
    """Choose sizes, and what fits into the budget.

    Args:
        task: The task, with the options as they were given.
        data: Its data.
        choices: How cells are compared.
        budget: The time for everything, in seconds.
        workers: The number of processes that train.

    Raises:
        OptionError: The task cannot take a cell.
        SizeError: The budget is too small for one epoch.
    """
    options: Any = task.options
    cells, hidden_size = options.cells, options.model.hidden_size
    check_cells(task, cells)
    timer = None
    if budget is not None or choices.sizes == "equal-time":
        batches = task.batches(data.training, options.training.batch_size, options.training.seed)
        timer = StepTimer(batches, options.training.torch_device())
    sizes: Mapping[str, int] = dict.fromkeys(cells, int(hidden_size))
    if choices.sizes == "equal-parameters":
        sizes = equal_parameters(task, cells, hidden_size)
    elif choices.sizes == "equal-time":
        assert timer is not None
        sizes = equal_time(task, cells, hidden_size, timer.seconds)
    rates, epochs, seconds = rates_tried(options, choices), options.training.epochs, {}
    if budget is not None:
        assert timer is not None
        seconds = {
            cell: _epoch_seconds(with_hidden_size(task, sizes[cell]), cell, data, timer)
            for cell in cells
        }
        rates, epochs = within(
            budget * workers, seconds, rates, epochs, options.training.seeds, bool(choices.rates)
        )
    found = {cell: parameters(task, cell, sizes[cell]) for cell in cells}
    rate_seed = options.training.seed + options.training.seeds
    return Plan(sizes, found, rates, epochs, rate_seed, seconds)


def rates_tried(options: Any, choices: CompareOptions) -> tuple[float, ...]:
    """The learning rates that are tried, if time allows, the smallest first."""
    if choices.fixed_rate:
        return (options.training.learning_rate,)
    return tuple(sorted(choices.rates or _times(options, FACTORS)))


def beyond(options: Any, rates: Sequence[float], best: float) -> float | None:
    """The learning rate to try next if the best one is at an end of those that were tried; `None`
    if it is not, or if there is no further one.

    Args:
        options: The options of the task.
        rates: Those that were tried.
        best: The best of them.
    """
    ladder = _times(options, FURTHER)
    if best not in ladder or best not in (min(rates), max(rates)):
        return None
    place = ladder.index(best) + (1 if best == max(rates) else -1)
    return ladder[place] if 0 <= place < len(ladder) else None


def _times(options: Any, factors: Sequence[float]) -> list[float]:
    """The learning rate of the options times some factors, rounded."""
    return [float(f"{options.training.learning_rate * each:.3g}") for each in factors]


def within(
    budget: float,
    seconds: Mapping[str, float],
    rates: Sequence[float],
    epochs: int,
    seeds: int,
    all_rates: bool,
) -> tuple[tuple[float, ...], int]:
    """The learning rates and the number of epochs that fit into a budget.

    Rates are given up, those at the ends first, until there are a few epochs; then epochs.

    Args:
        budget: The time of all trainings together, in seconds.
        seconds: The time of an epoch of each cell.
        rates: The rates, in ascending order.
        epochs: The most epochs.
        seeds: The number of trainings of each cell that are compared.
        all_rates: Whether no rate may be given up.

    Raises:
        SizeError: Not even one epoch fits.

    Example:
        >>> within(1000, {"rnn": 1.0, "lstm": 1.0}, (0.1, 0.3, 1.0, 3.0), 50, 5, False)
        ((0.1, 0.3, 1.0, 3.0), 44)
        >>> within(100, {"rnn": 1.0, "lstm": 1.0}, (0.1, 0.3, 1.0, 3.0), 50, 5, False)
        ((0.3, 1.0), 5)
    """
    rates, together = tuple(rates), sum(seconds.values())
    while True:
        trainings = seeds + (len(rates) if len(rates) > 1 else 0)
        fitting = int(_PLANNED * budget / (together * trainings))
        if fitting >= min(epochs, _ENOUGH_EPOCHS) or len(rates) == 1 or all_rates:
            break
        # Of four, two in the middle are left, then the smaller of these: the usual one.
        rates = rates[1:-1] if len(rates) > 2 else rates[:1]
    if fitting < 1:
        needed = together * trainings / _PLANNED
        raise SizeError(
            f"{option_name('budget')} is too small for one epoch: one of {len(seconds)} cells "
            f"from {seeds} seeds takes about {duration(math.ceil(needed))} here; "
            f"give more time, fewer {option_name('seeds')} or fewer {option_name('cells')}"
        )
    return rates, min(epochs, fitting)


def _epoch_seconds(task: Task, cell: str, data: Data, timer: StepTimer) -> float:
    """About how long an epoch with its validation takes."""
    options: Any = task.options
    size, seed = options.training.batch_size, options.training.seed
    validation = task.batches(data.deciding[1], size, None)
    steps = len(task.batches(data.training, size, seed)) + _FORWARD * len(validation)
    return steps * timer.seconds(task, cell)
