"""Train the cells of a task and write the run folder; load the networks of a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any, Generic, TypeVar

import torch

from anyrnn.cells.catalogue import get
from anyrnn.errors import (
    AnyrnnError,
    OptionError,
    ProcessError,
    RunError,
    SizeError,
    StoppedError,
    UnknownCellError,
    WriteError,
    option_name,
)
from anyrnn.tasks import processes
from anyrnn.tasks.interruption import Interruption
from anyrnn.tasks.launch import launch
from anyrnn.tasks.options import from_mapping, replaced
from anyrnn.tasks.prepared import watched
from anyrnn.tasks.registry import entry_of, entry_of_run
from anyrnn.tasks.report import render_run
from anyrnn.tasks.run_files import (
    CONFIG,
    entry,
    load_network,
    strings,
    versions,
    write_json,
    write_rows,
    write_text,
    write_weights,
)
from anyrnn.tasks.run_folder import (
    FORMAT,
    FORMAT_VERSION,
    UnfinishedRun,
    read_config,
    resumable,
)
from anyrnn.tasks.task import Data, Figure, Scores, Task
from anyrnn.tasks.training import Epoch, Learner, Listener, best_epoch, enough_memory, fit

_FILES = ("history.csv", "results.json", "report.html")
SomeTask = TypeVar("SomeTask", bound=Task)


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

    def deviation(self, figure: str) -> float | None:
        """The standard deviation between the trials; `None` if there is one only."""
        values = [trial.scores.figures[figure] for trial in self.trials]
        return stdev(values) if len(values) > 1 else None

    def shown(self, figure: Figure) -> str:
        """A figure of the result as people read it, with the deviation if there is one."""
        mean, deviation = self.mean(figure.name), self.deviation(figure.name)
        return figure.shown(mean) + ("" if deviation is None else f" ± {figure.shown(deviation)}")

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
        SizeError: A size does not fit.
        UnknownCellError: There is no such cell.
        StoppedError: Ctrl-C or SIGTERM; the unfinished run can be gone on with by `resume`.
    """
    kind = entry_of(options).task
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
        for note in data.notes:
            listener.noted(note)
        task = processes.first(kind.prepare, options, data.training, listener.noted)
        listener.prepared(task)
        with torch.random.fork_rng():
            for cell in options.cells:
                _network(task, cell)
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
        best = _best(self.task, results, lambda result: result.best_trial)
        run = processes.first(lambda: self._finish(_own(unfinished), results, best, baselines))
        return Result(run, self.task, results, best, self.data.measured[0], baselines)

    def _finish(
        self,
        unfinished: UnfinishedRun,
        results: Sequence[CellResult],
        best: CellResult,
        baselines: Mapping[str, Mapping[str, float]],
    ) -> Path:
        """Write what the run holds beside weights, and give it its name."""
        config = self._config(best)
        for name, text in self.task.files().items():
            write_text(unfinished.path / name, text)
        _write_results(unfinished.path, config, results, baselines)
        report = render_run(self.task, config, results, baselines)
        write_text(unfinished.path / "report.html", report)
        unfinished.finish(config)
        return unfinished.target

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
            folder = processes.first(_subfolder, unfinished, name)
            trials.append(self._trial(network, seed, folder, interruption))
            self.listener.trial_done()
            if trials[-1] is _best(self.task, trials, lambda trial: trial):
                processes.first(_write_weights, unfinished, cell, network)
        with torch.device("meta"):
            parameters = sum(each.numel() for each in _network(self.task, cell).parameters())
        return CellResult(cell, parameters, trials, _best(self.task, trials, lambda trial: trial))

    def _trial(
        self, network: torch.nn.Module, seed: int, folder: Path, interruption: Interruption
    ) -> Trial:
        options = replaced(self.options.training, seed=seed)
        learner = Learner(self.task, network, options)
        epochs = fit(
            learner,
            self.task.batches(self.data.training, options.batch_size, seed),
            self.task.batches(self.data.validation, options.batch_size, None),
            folder,
            interruption,
            self.listener,
        )
        start = perf_counter()
        with on_device(network, options.torch_device()):
            scores = self.task.score(network, self.data.measured[1], interruption.check)
        best = best_epoch(self.task, epochs)
        assert best is not None
        seconds = sum(epoch.seconds for epoch in epochs)
        return Trial(seed, epochs, best, scores, seconds, perf_counter() - start)

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
            "measured_on": self.data.measured[0],
            "facts": dict(self.data.facts),
            "versions": versions(),
        }


@dataclass(frozen=True)
class Model(Generic[SomeTask]):
    """A network of a run, with all that it needs to predict.

    Attributes:
        run: The run folder.
        task: The task.
        cell: The name of the cell.
        network: The network, on the CPU, in evaluation mode.
    """

    run: Path
    task: SomeTask
    cell: str
    network: torch.nn.Module

    def predict(self, inputs: Any = None, **options: Any) -> Any:
        """What the network says about new inputs; see the task's `predict`."""
        return self.task.predict(self.network, inputs, **options)

    def score(self, part: Any) -> Scores:
        """Measure the network on a part that the task has read."""
        with enough_memory():
            return self.task.score(self.network, part)


def load(run: Path | str, cell: str | None = None, kind: type[Task] | None = None) -> Model:
    """Load a network of a run; only JSON and safetensors are read, no code runs.

    Args:
        run: The folder that `train` wrote.
        cell: Which of the run's networks; by default the best one on the validation data.
        kind: The task that it has to be of, if that matters.

    Raises:
        RunError: The folder is missing, damaged, of another task, or has no such cell.
    """
    run = Path(run)
    path = run / CONFIG
    config = read_config(run, kind and kind.name)
    kind = kind or entry_of_run(run).task
    cells = strings(config, "cells", path)
    chosen = entry(config, "best_cell", str, path) if cell is None else cell
    if chosen not in cells:
        raise RunError(f"the run {run} has no cell {chosen!r}; it has {', '.join(cells)}")
    try:
        get(chosen)
    except UnknownCellError as error:
        raise RunError(f"the run is damaged: {path} describes no network: {error}") from None
    try:
        options = from_mapping(kind.options_type, entry(config, "options", dict, path))
    except AnyrnnError as error:
        raise RunError(f"the run is damaged: {path} has options that cannot be: {error}") from None
    task = kind.restore(options, entry(config, "state", dict, path), run)

    def make() -> torch.nn.Module:
        try:
            return task.network(chosen)
        except (AnyrnnError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"the run is damaged: {path} describes no network: {reason}") from None

    network = load_network(run / f"{chosen}.safetensors", make, options.model.layers)
    return Model(run, task, chosen, network.eval())


@dataclass(frozen=True)
class Evaluation:
    """How good a network of a run is on a file.

    Attributes:
        model: The network.
        scores: Its figures.
        facts: What was found in the file: counts, what was skipped and why.
    """

    model: Model
    scores: Scores
    facts: Mapping[str, object]


def evaluate(
    run: Path | str, changes: Mapping[str, object], *, cell: str | None = None
) -> Evaluation:
    """Measure a network of a run on a file with the truth in it.

    Args:
        run: The folder that `train` wrote.
        changes: The file, as `data`, and other options on data that differ from the training's.
        cell: Which of the run's networks; by default the best one on the validation data.

    Raises:
        RunError: The run cannot be used.
        OptionError: No file is named, or an option cannot be.
        DataError: The file cannot be used, or has a label that the run does not know.
    """
    if "data" not in changes:
        raise OptionError(f"{option_name('data')} is missing: name a file")
    model = load(run, cell)
    part, facts = model.task.read_part(replaced(model.task.options.data, **changes))
    return Evaluation(model, model.score(part), facts)


def _own(unfinished: UnfinishedRun | None) -> UnfinishedRun:
    """The folder, which the first process has."""
    assert unfinished is not None
    return unfinished


def _subfolder(unfinished: UnfinishedRun | None, name: str) -> Path:
    return _own(unfinished).subfolder(name)


def _write_weights(unfinished: UnfinishedRun | None, cell: str, network: torch.nn.Module) -> None:
    write_weights(_own(unfinished).path / f"{cell}.safetensors", network)


@contextmanager
def on_device(network: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """The network on a device meanwhile, in evaluation mode; afterwards on the CPU."""
    network.eval().to(device)
    try:
        with enough_memory():
            yield
    finally:
        network.cpu()


def _network(task: Task, cell: str) -> torch.nn.Module:
    try:
        return task.network(cell)
    except AnyrnnError:
        raise
    # What torch raises when memory cannot be had, or when a size overflows.
    except (RuntimeError, MemoryError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise SizeError(f"a network of these sizes cannot be made: {reason}") from None


Candidate = TypeVar("Candidate")


def _best(
    task: Task, candidates: Sequence[Candidate], trial: Callable[[Candidate], Trial]
) -> Candidate:
    """The first of the best, by the validation figure that decides."""
    sign = 1 if task.decides().larger_is_better else -1
    name = f"validation_{task.deciding}"
    return max(candidates, key=lambda each: sign * trial(each).best_epoch.figures[name])


def _write_results(
    folder: Path,
    config: Mapping[str, object],
    results: Sequence[CellResult],
    baselines: Mapping[str, Mapping[str, float]],
) -> None:
    history = [
        {
            "cell": result.cell,
            "seed": trial.seed,
            "epoch": epoch.number,
            **epoch.figures,
            "seconds": epoch.seconds,
        }
        for result in results
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
            "test": asdict(result.scores),
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
        for result in results
    }
    found = {"best_cell": config["best_cell"], "cells": cells, "baselines": baselines}
    write_json(folder / "results.json", found)
