"""Train the cells of a task and write the run folder."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from anyrnn.cells.catalogue import get
from anyrnn.errors import (
    AnyrnnError,
    ProcessError,
    SizeError,
    StoppedError,
    WriteError,
    option_name,
)
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.prepared import watched
from anyrnn.tasks.options.declaration import check_needs, replaced, void
from anyrnn.tasks.registry import entry_of
from anyrnn.tasks.report import render_run
from anyrnn.tasks.run_files import (
    versions,
    write_text,
    write_weights,
)
from anyrnn.tasks.run_folder import (
    FORMAT,
    FORMAT_VERSION,
    UnfinishedRun,
    resumable,
)
from anyrnn.tasks.task import Task
from anyrnn.tasks.training import processes
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.launch import launch
from anyrnn.tasks.training.learner import Learner
from anyrnn.tasks.training.listener import Listener
from anyrnn.tasks.training.memory import enough_memory
from anyrnn.tasks.training.results import CellResult, Result, Trial, write_results
from anyrnn.tasks.training.training_loop import best_epoch, fit

_FILES = ("history.csv", "results.json", "report.html")


def train(
    options: Any,
    output: Path | str,
    *,
    data: Data | None = None,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener | None = None,
) -> Result:
    """Train a network with each cell, from each seed, and write the run folder.

    Args:
        options: Those of a task: files, sizes, cells.
        output: The run folder. Until it is whole, it is called `output` + ".partial".
        data: The data, if it does not come from files.
        overwrite: Replace a run that exists there.
        resume: Go on with an unfinished run there.
        listener: Told what happens.

    Returns:
        The figures of each cell.

    Raises:
        DataError: The data cannot be used.
        RunError: The folder exists, cannot be written, or cannot be gone on with.
        OptionError: An option has no effect beside the others, or does not fit them.
        SizeError: A size does not fit.
        UnknownCellError: There is no such cell.
        StoppedError: Ctrl-C or SIGTERM; the unfinished run can be gone on with by `resume`.
    """
    kind = entry_of(options).task
    check_needs(options)
    for cell in options.cells:
        get(cell)
    listener, output = listener or Listener(), Path(output)
    folder = {"overwrite": overwrite, "resume": resume}
    arguments = (kind, options, output, folder, data)
    try:
        if options.training.devices * options.training.nodes > 1:
            return _launched(arguments, listener)
        return _train(*arguments, listener)
    except (StoppedError, WriteError, ProcessError) as error:
        left = resumable(output)
        if left is None:
            raise
        raise type(error)(
            f"{error.message}; what is done lies in {left}: "
            f"go on with the same command and {option_name('resume', True)}"
        ) from None


def _launched(arguments: tuple[Any, ...], listener: Listener) -> Result:
    """Train in several processes; a mistake shows before they are started."""
    kind, options, output, folder, data = arguments
    if options.training.node_rank == 0:
        with UnfinishedRun(output, **folder):
            pass
    if data is None:
        with watched(listener.preparing):
            kind.read(options)
    agreed = {**_without_place(options.plain()), "output": str(output), **folder}
    return launch(_train, arguments, options.training, agreed, listener)


def _train(
    kind: type[Task],
    options: Any,
    output: Path,
    folder: Mapping[str, bool],
    data: Data | None,
    listener: Listener,
) -> Result:
    """Train in this process, which may be one of several: then the first one writes the run."""
    with watched(listener.preparing):
        if processes.rank() > 0:
            return _Experiment.begun(kind, options, data, listener).run(None)
        with UnfinishedRun(output, **folder) as unfinished:
            return _Experiment.begun(kind, options, data, listener).run(unfinished)


def _without_place(options: Mapping[str, Any]) -> dict[str, Any]:
    """The plain options but for which machine of several this is."""
    training = {name: value for name, value in options["training"].items() if name != "node_rank"}
    return {**options, "training": training}


@dataclass
class _Experiment:
    """A task with its data, and the trials on it."""

    task: Task
    options: Any
    data: Data
    listener: Listener

    @classmethod
    def begun(
        cls, kind: type[Task], options: Any, data: Data | None, listener: Listener
    ) -> "_Experiment":
        """Read the data, and make each network once: a mistake shows before anything is written."""
        data = data or kind.read(options)
        check_needs(options, data=data.in_effect)
        for note in data.told():
            listener.noted(note)
        task = processes.first(kind.prepare, options, data.training, listener.noted)
        listener.prepared(task)
        check_cells(task, options.cells)
        return cls(task, options, data, listener)

    def run(self, unfinished: UnfinishedRun | None) -> Result:
        """Train every cell and write the folder, which only the first process has."""
        cells, files = self.options.cells, self.task.files()
        weights = [f"{cell}.safetensors" for cell in cells]
        listed = [*_FILES, *files, *weights]
        processes.first(lambda: _own(unfinished).open(self._settings(), listed))
        results = []
        baselines = self.task.baselines(self.data)
        patient = processes.size() > 1  # whoever started this process is not
        with Interruption(patient) as interruption, torch.random.fork_rng():

            def watch(what: str, done: int, total: int) -> None:
                self.listener.preparing(what, done, total)
                interruption.check()

            with watched(watch):
                for cell in cells:
                    results.append(self._cell(cell, unfinished, interruption))
        best = max(results, key=lambda result: self._goodness(result.best_trial))
        baselines = {**best.scores.baselines, **baselines}
        target = processes.first(lambda: _own(unfinished).target)
        result = Result(target, self.task, results, best, self.data.measured[0], baselines)
        processes.first(lambda: self._finish(_own(unfinished), result))
        return result

    def _finish(self, unfinished: UnfinishedRun, result: Result) -> None:
        """Write what the run holds beside weights, and give it its name."""
        config = self._config(result.best)
        for name, text in self.task.files().items():
            write_text(unfinished.path / name, text)
        write_results(unfinished.path, result)
        without = {each.path for each, *_ in void(self.options, self.data.in_effect)}
        write_text(unfinished.path / "report.html", render_run(result, config, without))
        unfinished.finish(config)

    def _cell(
        self, cell: str, unfinished: UnfinishedRun | None, interruption: Interruption
    ) -> CellResult:
        first, count = self.options.training.seed, self.options.training.seeds
        trials: list[Trial] = []
        for seed in range(first, first + count):
            number = self.options.cells.index(cell) * count + len(trials) + 1
            total = len(self.options.cells) * count
            self.listener.trial_started(cell, seed if count > 1 else None, number, total)
            torch.manual_seed(seed)
            network = _network(self.task, cell)
            if processes.rank() > 0:  # the same weights, but other masks of dropout
                torch.manual_seed(seed + processes.rank())
            name = cell if count == 1 else f"{cell}-{seed}"
            folder = processes.first(lambda name=name: _own(unfinished).subfolder(name))
            trials.append(self._trial(network, seed, folder, interruption))
            self.listener.trial_done()
            best = max(trials, key=self._goodness)  # the first of equal ones
            if best is trials[-1]:
                place = processes.first(lambda: _own(unfinished).path)
                processes.first(write_weights, place / f"{cell}.safetensors", network)
        with torch.device("meta"):
            parameters = sum(each.numel() for each in _network(self.task, cell).parameters())
        return CellResult(cell, parameters, trials, max(trials, key=self._goodness))

    def _trial(
        self, network: torch.nn.Module, seed: int, folder: Path, interruption: Interruption
    ) -> Trial:
        options = replaced(self.options.training, seed=seed)
        learner = Learner(self.task, network, options)
        _, deciding = self.data.deciding
        epochs = fit(
            learner,
            self.task.batches(self.data.training, options.batch_size, seed),
            self.task.batches(deciding, options.batch_size, None),
            folder,
            interruption,
            self.listener,
        )
        start = perf_counter()
        with on_device(network, options.torch_device()):
            self.task.calibrate(network, deciding, interruption.check)
            scores = self.task.score(network, self.data.measured[1], interruption.check)
        best = best_epoch(self.task, epochs)
        assert best is not None
        seconds = sum(epoch.seconds for epoch in epochs)
        return Trial(seed, epochs, best, scores, seconds, perf_counter() - start)

    def _goodness(self, trial: Trial) -> float:
        return self.task.goodness(trial.best_epoch.figures)

    def _settings(self) -> dict[str, object]:
        """What an unfinished run has to agree with: every option, the content of the files, and
        what the task learned from them.
        """
        return {
            "task": self.task.name,
            **self.options.plain(),
            "content": list(self.data.digests),
            "state": self.task.state(),
        }

    def _config(self, best: CellResult) -> dict[str, object]:
        """What `load` needs, and what a reader wants to know about the run."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "task": self.task.name,
            "cells": list(self.options.cells),
            "best_cell": best.cell,
            "options": self.options.plain(),
            "state": self.task.state(),
            "figures": [figure.plain() for figure in self.task.shown_figures()],
            "deciding": self.task.decides().plain(),
            "decided_on": self.data.deciding[0],
            "measured_on": self.data.measured[0],
            "facts": {**self.data.facts, "skipped": self.data.skipped},
            "versions": versions(),
        }


def _own(unfinished: UnfinishedRun | None) -> UnfinishedRun:
    """The folder, which the first process has."""
    assert unfinished is not None
    return unfinished


@contextmanager
def on_device(network: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """The network on a device meanwhile, in evaluation mode; afterwards on the CPU."""
    network.eval().to(device)
    try:
        with enough_memory():
            yield
    finally:
        network.cpu()


def check_cells(task: Task, cells: Iterable[str]) -> None:
    """Make a network with each cell: a mistake shows before anything is written.

    Raises:
        SizeError: One cannot be made.
    """
    with torch.random.fork_rng():
        for cell in cells:
            _network(task, cell)


def _network(task: Task, cell: str) -> torch.nn.Module:
    try:
        return task.network(cell)
    except AnyrnnError:
        raise
    # What torch raises when memory cannot be had, or when a size overflows.
    except (RuntimeError, MemoryError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise SizeError(f"a network of these sizes cannot be made: {reason}") from None
