"""What a training results in, and the files that say so."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from anyrnn.tasks.run_files import write_json, write_rows
from anyrnn.tasks.scores.figures import Figure
from anyrnn.tasks.task import Scores, Task
from anyrnn.tasks.training.listener import Epoch


@dataclass(frozen=True)
class Trial:
    """One training of a cell.

    Attributes:
        seed: It decided weights, order and dropout.
        epochs: What happened in each epoch.
        best_epoch: The one whose weights were kept.
        scores: The figures on the test part (on the validation part, if there is none).
        training_seconds: The time of all epochs.
        scoring_seconds: The time to measure them.
    """

    seed: int
    epochs: list[Epoch]
    best_epoch: Epoch
    scores: Scores
    training_seconds: float
    scoring_seconds: float


@dataclass(frozen=True)
class CellResult:
    """A cell with its trials.

    Attributes:
        cell: Its name.
        parameters: The number of its network's parameters.
        trials: One for each seed.
        best_trial: The best one on the validation data, whose weights the run has.
    """

    cell: str
    parameters: int
    trials: list[Trial]
    best_trial: Trial

    @property
    def scores(self) -> Scores:
        """The figures of the best trial."""
        return self.best_trial.scores

    def mean(self, figure: str) -> float:
        """A figure of the result: the mean of the trials."""
        return fmean(trial.scores.figures[figure] for trial in self.trials)

    def shown(self, figure: Figure) -> str:
        """A figure of the result as people read it, with the deviation if there is one."""
        return figure.of_trials([trial.scores.figures[figure.name] for trial in self.trials])

    @property
    def training_seconds(self) -> float:
        """The time of all epochs of a trial, on average."""
        return fmean(trial.training_seconds for trial in self.trials)

    @property
    def seconds_per_row(self) -> float:
        """The time to predict a row, in batches, on average."""
        seconds = fmean(trial.scoring_seconds for trial in self.trials)
        return seconds / max(1, self.best_trial.scores.count)


@dataclass(frozen=True)
class Result:
    """What a training made.

    Attributes:
        run: The run folder.
        task: The task, with the figures that it has.
        cells: Every cell, in the order in which they were asked for.
        best: The best one on the validation data.
        measured_on: The part that the figures are of: "test", or "validation" without one.
        baselines: The figures of methods without a network, by their names.
    """

    run: Path
    task: Task
    cells: list[CellResult]
    best: CellResult
    measured_on: str
    baselines: Mapping[str, Mapping[str, float]]


def write_results(folder: Path, found: Result) -> None:
    """Write `history.csv`, with a row for each epoch, and `results.json`."""
    history = [
        {
            "cell": result.cell,
            "seed": trial.seed,
            "epoch": epoch.number,
            **epoch.figures,
            "seconds": epoch.seconds,
        }
        for result in found.cells
        for trial in result.trials
        for epoch in trial.epochs
    ]
    write_rows(folder / "history.csv", history)
    cells = {
        result.cell: {
            "parameters": result.parameters,
            "seed": result.best_trial.seed,
            "best_epoch": result.best_trial.best_epoch.number,
            "validation": result.best_trial.best_epoch.figures,
            "test": result.scores.plain(),
            "trials": {
                trial.seed: {
                    "best_epoch": trial.best_epoch.number,
                    "validation": trial.best_epoch.figures,
                    "test": trial.scores.figures,
                }
                for trial in result.trials
            },
            "training_seconds": result.training_seconds,
            "seconds_per_row": result.seconds_per_row,
        }
        for result in found.cells
    }
    told = {"best_cell": found.best.cell, "cells": cells, "baselines": found.baselines}
    write_json(folder / "results.json", told)
