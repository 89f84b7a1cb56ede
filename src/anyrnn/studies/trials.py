"""One trial of a study: a training of one cell from one seed with some options changed."""

import functools
import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from anyrnn.cells.catalogue import get
from anyrnn.errors import (
    AnyrnnError,
    DivergedError,
    ProcessError,
    RunError,
    StoppedError,
    WriteError,
)
from anyrnn.files import writing
from anyrnn.studies.changes import changed
from anyrnn.studies.peak_memory import PeakMemory
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.prepared import watched
from anyrnn.tasks.experiment import check_cells, train
from anyrnn.tasks.options.declaration import check_needs, replaced
from anyrnn.tasks.registry import entry_of
from anyrnn.tasks.run_files import write_json
from anyrnn.tasks.run_folder import resumable
from anyrnn.tasks.task import Task
from anyrnn.tasks.training.listener import Epoch, Listener
from anyrnn.tasks.training.results import Result

State = Literal["finished", "pruned", "diverged", "failed"]

# The options that say nothing about how the data are read.
_NOT_READ = ("cells", "model", "training")


class PrunedError(AnyrnnError):
    """A training was given up because others were better after as many epochs."""


_STATES: dict[type[AnyrnnError], State] = {PrunedError: "pruned", DivergedError: "diverged"}


@dataclass(frozen=True)
class TrialPlan:
    """What is to be trained.

    Attributes:
        cell: The cell.
        seed: Decides weights, order and dropout; the split of the data is that of the study.
        changes: The options that differ from those of the study, by their paths, such as
            "training.learning_rate".
        purpose: What the study wants it for, in the study's own words.
    """

    cell: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    purpose: str = ""

    @property
    def key(self) -> str:
        """The same for equal plans."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class TrialRecord:
    """What became of a trial.

    Attributes:
        number: Its number in the study, from 0.
        cell, seed, changes, purpose: What was trained; see `TrialPlan`.
        state: Whether it was trained to the end, given up because others were better, diverged, or
            could not be trained.
        reason: Why it was not finished, in a sentence.
        parameters: The number of the network's parameters, if it was finished.
        epochs: For each epoch its `number`, `seconds` and `figures` by name.
        best_epoch: The number of the best epoch on the validation data.
        deciding: The figure that decides, at that epoch.
        figures: The figures on the test part, if it was finished.
        updates: How often the weights are changed in an epoch.
        training_seconds: The time of all epochs.
        seconds_per_row: The time to predict a row, in batches.
        peak_memory_bytes: The most memory that the process had meanwhile; on a GPU that of the GPU.
        run: The run folder, relative to that of the study.
        host: The machine on which it was trained.
    """

    number: int
    cell: str
    seed: int
    changes: dict[str, Any]
    purpose: str
    state: State
    reason: str = ""
    parameters: int | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    deciding: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    updates: int | None = None
    training_seconds: float = 0.0
    seconds_per_row: float | None = None
    peak_memory_bytes: int | None = None
    run: str | None = None
    host: str = ""

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return asdict(self)

    @property
    def plan(self) -> TrialPlan:
        """What was to be trained."""
        return TrialPlan(self.cell, self.seed, self.changes, self.purpose)


def run_name(number: int) -> str:
    """The run folder of a trial, relative to that of the study."""
    return f"trials/{number:04d}"


def record_path(study: Path, number: int) -> Path:
    """The record of a trial, in the folder of a study."""
    return study / f"{run_name(number)}.json"


class Trainer:
    """Trains the trials of a study on data that are read once.

    Args:
        options: The options of the task, of which each trial changes some.
        listener: Told while the data are read, and about choices that were made for the user.
        data: The data, if they do not come from files.

    Attributes:
        options: The options of the task.
        data: The data, as the options of the study have them read.
        task: The task, as these options have it.
        content: A hash of the content of each file.

    Raises:
        DataError: The data cannot be used.
        OptionError: An option has no effect beside the others, or does not fit them.
        UnknownCellError: There is no such cell.
        SizeError: A network cannot be made.
    """

    def __init__(
        self, options: Any, listener: Listener | None = None, data: Data | None = None
    ) -> None:
        check_needs(options)
        for cell in options.cells:
            get(cell)
        self.options = options
        self._kind = entry_of(options).task
        self._read: dict[str, Data] = {}
        self._given = data
        listener = listener or Listener()
        with watched(listener.preparing):
            self.data: Data = self._as_read(options)
            data = self.data
            check_needs(options, data=data.in_effect)
            for note in data.told():
                listener.noted(note)
            self.task: Task = self._kind.prepare(options, data.training, listener.noted)
        check_cells(self.task, options.cells)
        self.content: list[str] = list(data.digests)

    def train(
        self, number: int, plan: TrialPlan, study: Path, listener: Listener | None = None
    ) -> TrialRecord:
        """Train a trial, or go on with one that was interrupted, and write its record.

        Args:
            number: Its number in the study.
            plan: What is to be trained.
            study: The folder of the study.
            listener: Told what happens; its `epoch_done` may raise `PrunedError`.

        Returns:
            What became of it.

        Raises:
            StoppedError: Ctrl-C or SIGTERM; the trial can be gone on with.
            WriteError: The disk is full, or the folder cannot be written.
        """
        noting = _Noting(listener or Listener())
        run = study / run_name(number)
        with writing(run.parent):
            run.parent.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {"host": socket.gethostname()}
        with PeakMemory() as memory:
            try:
                found |= self._finished(self._result(plan, run, noting), noting)
                found |= {"state": "finished", "run": run_name(number)}
            except (StoppedError, WriteError, ProcessError):
                raise
            except AnyrnnError as error:
                found |= {"state": _STATES.get(type(error), "failed"), "reason": str(error)}
                found |= self._seen(noting)
        found["peak_memory_bytes"] = memory.bytes
        record = TrialRecord(number, **{**asdict(plan), **found})
        write_json(record_path(study, number), record.plain())
        return record

    def deciding(self, figures: Mapping[str, float]) -> float:
        """The figure of an epoch that decides which one is best."""
        return figures[f"validation_{self.task.deciding}"]

    @property
    def larger_is_better(self) -> bool:
        """Whether a better network has a larger figure."""
        return self.task.decides().larger_is_better

    def _as_read(self, options: Any) -> Data:
        """The data as options have them read; the split is that of the study."""
        if self._given is not None:
            return self._given
        groups = {name: value for name, value in options.plain().items() if name not in _NOT_READ}
        key = json.dumps(groups)
        if key not in self._read:
            if len(self._read) > 1:  # the first one is that of the study itself
                self._read.popitem()
            training = replaced(options.training, seed=self.options.training.seed)
            self._read[key] = self._kind.read(replaced(options, training=training))
        return self._read[key]

    def _result(self, plan: TrialPlan, run: Path, listener: Listener) -> Result:
        options = changed(replaced(self.options, cells=(plan.cell,)), plan.changes)
        training = replaced(options.training, seed=plan.seed, seeds=1)
        options = replaced(options, training=training)
        begin = functools.partial(
            train, options, run, data=self._as_read(options), listener=listener
        )
        if resumable(run) is not None:
            with suppress(_UnusableError):
                try:
                    return begin(resume=True)
                except RunError as error:
                    if isinstance(error, DivergedError | WriteError | ProcessError):
                        raise
                    raise _UnusableError from error
        # A run that is whole already was killed before its record was written.
        return begin(overwrite=True)

    def _seen(self, noting: "_Noting") -> dict[str, Any]:
        """What is known of a trial by its epochs."""
        epochs = noting.epochs
        seen: dict[str, Any] = {
            "epochs": [asdict(epoch) for epoch in epochs],
            "training_seconds": sum(epoch.seconds for epoch in epochs),
        }
        if noting.batches:
            seen["updates"] = -(-noting.batches // self.options.training.accumulate)
        if epochs:
            best = max(epochs, key=lambda epoch: self.task.goodness(epoch.figures))
            seen |= {"best_epoch": best.number, "deciding": self.deciding(best.figures)}
        return seen

    def _finished(self, result: Result, noting: "_Noting") -> dict[str, Any]:
        """What is known of a trial that was trained to the end."""
        noting.epochs = list(result.best.best_trial.epochs)
        return {
            **self._seen(noting),
            "parameters": result.best.parameters,
            "figures": dict(result.best.scores.figures),
            "seconds_per_row": result.best.seconds_per_row,
        }


class _UnusableError(Exception):
    """What is left of a trial is nothing to go on with."""


class _Noting(Listener):
    """Notes the epochs of a trial, and passes on what it is told."""

    def __init__(self, listener: Listener) -> None:
        self.epochs: list[Epoch] = []
        self.batches = 0
        self._listener = listener

    def preparing(self, what: str, done: int, total: int) -> None:
        self._listener.preparing(what, done, total)

    def epochs_taken_up(self, epochs: Sequence[Epoch]) -> None:
        self.epochs = list(epochs)
        self._listener.epochs_taken_up(epochs)

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        self.batches = total
        self._listener.batch_done(epoch, done, total)

    def epoch_done(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        self._listener.epoch_done(epoch)
