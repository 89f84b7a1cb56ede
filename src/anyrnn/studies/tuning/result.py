"""What a search for the best options resulted in, and the files that say so."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from anyrnn.studies.space import Space
from anyrnn.studies.trials import TrialRecord, run_name
from anyrnn.tasks.run_files import CONFIG, read_json, versions, write_bytes, write_json
from anyrnn.tasks.run_folder import UnfinishedRun
from anyrnn.tasks.task import Task

BEST = "best"
"""The run folder of the best trial, in the folder of the study."""

_FEWEST = 4  # trials from which it can be told which options matter


@dataclass(frozen=True)
class TuneResult:
    """What a search for the best options resulted in.

    Attributes:
        folder: The folder of the study.
        task: The task.
        space: What was searched.
        records: What became of each trial.
        wanted: The number of trials that there were to be.
        importance: By the path of each option, which share of the differences between trials it
            explains (fANOVA); empty with too few trials.
        seconds: How long the study took.
        options: The options of the task, of which the trials changed some.
    """

    folder: Path
    task: Task
    space: Space
    records: list[TrialRecord]
    wanted: int
    importance: Mapping[str, float]
    seconds: float
    options: Any

    @cached_property
    def best(self) -> TrialRecord:
        """The best trial on the validation data."""
        return self.ranked[0]

    @cached_property
    def ranked(self) -> list[TrialRecord]:
        """The trials that were trained to the end, the best one first."""
        found = [each for each in self.records if each.state == "finished"]
        return sorted(found, key=lambda each: self.cost(each))

    def cost(self, record: TrialRecord) -> float:
        """The figure of a trial that decides, so that the smaller is the better."""
        assert record.deciding is not None
        return -record.deciding if self.task.decides().larger_is_better else record.deciding

    @property
    def run(self) -> Path | None:
        """The run folder of the best trial, which `load`, `anyrnn predict` and the others read;
        nothing if it was trained on another machine and is not in the folder of the study.
        """
        return self.folder / BEST if (self._best_trial / CONFIG).exists() else None

    @property
    def _best_trial(self) -> Path:
        return self.folder / run_name(self.best.number)

    def values(self, record: TrialRecord) -> dict[str, Any]:
        """What a trial had of the options that were searched, by their paths."""
        return {
            each.path: record.cell if each.path == "cells" else record.changes.get(each.path)
            for each in self.space.dimensions
        }

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        decides = self.task.decides()
        return {
            "task": self.task.name,
            "deciding": {**decides.plain(), "larger_is_better": decides.larger_is_better},
            "best": {"trial": self.best.number, "options": self.values(self.best)}
            | {"validation": self.best.deciding, "test": self.best.figures},
            "importance": dict(self.importance),
            "space": self.space.plain(),
            "wanted": self.wanted,
            "seconds": self.seconds,
            "trials": [each.plain() for each in self.records],
            "options": self.options.plain(),
            "versions": versions(),
        }


def importance_in(study: optuna.Study, seed: int) -> dict[str, float]:
    """By parameter, which share of the differences between the finished trials it explains."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < _FEWEST or len({each.value for each in finished}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed % 2**32)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def write_result(result: TuneResult) -> None:
    """Write `results.json`, and the best run as a folder of its own if it is here.

    Raises:
        RunError: The best run cannot be copied.
    """
    write_json(result.folder / "results.json", json.loads(json.dumps(result.plain())))
    if result.run is not None:
        _copy(result.folder / run_name(result.best.number), result.run)


def _copy(source: Path, target: Path) -> None:
    """Copy a run, whole or not at all; a run that is there is replaced."""
    config = read_json(source / CONFIG)
    files = [name for name in config["files"] if name != CONFIG]
    with UnfinishedRun(target, overwrite=True, resume=False) as unfinished:
        unfinished.open({}, files)
        for name in files:
            write_bytes(unfinished.path / name, (source / name).read_bytes())
        unfinished.finish(config)
