"""Trained networks: loaded from a run, asked and measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from anyrnn.cells.catalogue import get
from anyrnn.errors import AnyrnnError, RunError, UnknownCellError
from anyrnn.tasks.options.declaration import check_needs, declared, from_mapping, replaced
from anyrnn.tasks.registry import entry_of_run
from anyrnn.tasks.run_files import CONFIG, entry, load_network, strings
from anyrnn.tasks.run_folder import read_config
from anyrnn.tasks.task import Scores, Task
from anyrnn.tasks.training.memory import enough_memory
from anyrnn.torch import prepare

SomeTask = TypeVar("SomeTask", bound=Task)


@dataclass(frozen=True)
class Model(Generic[SomeTask]):
    """A network of a run, with all that it needs to predict.

    Attributes:
        run: The run folder.
        task: The task.
        cell: The name of the cell.
        network: The network, on the CPU, in evaluation mode, prepared for inference.
    """

    run: Path
    task: SomeTask
    cell: str
    network: Any

    def predict(self, inputs: Any = None, **options: Any) -> Any:
        """What the network says about new inputs; see the task's `predict`."""
        return self.task.predict(self.network, inputs, **options)

    def score(self, part: Any) -> Scores:
        """Measure the network on a part that the task has read."""
        with enough_memory():
            return self.task.score(self.network, part)


def load(
    run: Path | str,
    cell: str | None = None,
    kind: type[Task] | None = None,
    weights: str | None = None,
) -> Model:
    """Load a network of a run; only JSON and safetensors are read, no code runs.

    Args:
        run: The folder that `train` wrote.
        cell: Which of the run's networks; by default the best one on the validation data.
        kind: The task that it has to be of, if that matters.
        weights: `int8` to have the layers multiply in int8, as `anyrnn.torch.prepare`.

    Raises:
        RunError: The folder is missing, damaged, of another task, or has no such cell.
        InputError: Its layers cannot have such weights.
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
    return Model(run, task, chosen, prepare(network.eval(), weights))


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
    run: Path | str,
    changes: Mapping[str, object],
    *,
    cell: str | None = None,
    weights: str | None = None,
) -> Evaluation:
    """Measure a network of a run on a file with the truth in it.

    Args:
        run: The folder that `train` wrote.
        changes: The file, as `data`, and other options on data, or on how results are searched
            for, that differ from the training's.
        cell: Which of the run's networks; by default the best one on the validation data.
        weights: `int8` to have the layers multiply in int8, as `anyrnn.torch.prepare`.

    Raises:
        RunError: The run cannot be used.
        InputError: Its layers cannot have such weights.
        OptionError: No file is named, or an option cannot be or has no effect on such a file.
        DataError: The file cannot be used, or has a label that the run does not know.
    """
    model = load(run, cell, weights=weights)
    model.task.check_named(changes)
    options = model.task.options
    data, changes = options.data, dict(changes)
    if decoding := getattr(options, "decoding", None):
        own = {name: changes.pop(name) for name in decoding.__declared__ if name in changes}
        options = replaced(options, decoding=replaced(decoding, **own))
        check_needs(options, own)
        model = replace(model, task=replace(model.task, options=options))
    found = (option for option in declared(type(data)) if option.name not in changes)
    defaults = {
        option.name: option.declaration.default
        for option in found
        if option.declaration.evaluation in ("left out", "if given")
    }
    data = replaced(data, **changes, **defaults)
    check_needs(replaced(options, data=data), changes)
    part, facts = model.task.read_part(data)
    return Evaluation(model, model.score(part), facts)
