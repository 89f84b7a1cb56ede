"""What a training step and a prediction of each cell cost: time and memory, as measured here."""

import os
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch

from anyrnn.studies.cells.results import Cost, CostResult
from anyrnn.studies.comparison.sizes import StepTimer, parameters, with_hidden_size
from anyrnn.studies.peak_memory import PeakMemory
from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.options.declaration import from_mapping
from anyrnn.tasks.registry import entry_named
from anyrnn.tasks.task import Task

_ROUNDS = 7
_HIDDEN = 128  # the size at which all cells are compared, beside that of equal parameters


def measured_costs(setting: str, task: Task, data: Data, sizes: Mapping[str, int]) -> CostResult:
    """Measure a training step and a prediction of each cell, all in turns, several times.

    Args:
        setting: The name of the setting.
        task: Its task.
        data: Its data.
        sizes: The hidden size of each cell in the study.
    """
    options: Any = task.options
    size = options.training.batch_size
    batch = next(iter(task.batches(data.training, size, 0)))
    steps = int(next(iter(batch.lengths.values())).max())
    hidden = dict.fromkeys(sizes, _HIDDEN)
    equal_parameters = _costs(task, data, batch, sizes, memory=True)
    equal_hidden = _costs(task, data, batch, hidden, memory=False)
    return CostResult(setting, size, steps, equal_parameters, equal_hidden)


def _costs(
    task: Task, data: Data, batch: Batch, sizes: Mapping[str, int], memory: bool
) -> dict[str, Cost]:
    options: Any = task.options
    batches = task.batches(data.training, options.training.batch_size, 0)
    timer = StepTimer(batches, torch.device("cpu"))
    tasks = {cell: with_hidden_size(task, size) for cell, size in sizes.items()}
    networks = {cell: tasks[cell].network(cell).eval() for cell in sizes}
    training: dict[str, list[float]] = {cell: [] for cell in sizes}
    inference: dict[str, list[float]] = {cell: [] for cell in sizes}
    for _ in range(_ROUNDS):
        for cell in sizes:
            training[cell].append(timer.seconds(tasks[cell], cell))
            inference[cell].append(_prediction(tasks[cell], networks[cell], batch))
    return {
        cell: Cost(
            size,
            parameters(task, cell, size),
            median(training[cell]),
            median(inference[cell]),
            _memory(tasks[cell], cell) if memory else None,
        )
        for cell, size in sizes.items()
    }


def _prediction(task: Task, network: torch.nn.Module, batch: Batch) -> float:
    with torch.inference_mode():
        start = time.perf_counter()
        task.step(network, batch)
        return time.perf_counter() - start


def _memory(task: Task, cell: str) -> int | None:
    """The memory of a training step, in a process of its own: memory that was free before would
    not be counted.
    """
    options: Any = task.options
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_here, (task.name, options.plain(), cell))


def _memory_here(name: str, options: Mapping[str, Any], cell: str) -> int | None:
    torch.set_num_threads(1)
    entry = entry_named(name)
    made: Any = from_mapping(entry.options, options)
    data = entry.task.read(made)
    task = entry.task.prepare(made, data.training, lambda note: None)
    network = task.network(cell).train()
    first, batch = (
        next(iter(task.batches(data.training, n, 0))) for n in (2, made.training.batch_size)
    )
    task.step(network, first).loss.backward()  # compiles the cell, and makes the gradients
    with PeakMemory() as memory:
        before = _resident()
        task.step(network, batch).loss.backward()
    return None if memory.bytes is None or before is None else max(0, memory.bytes - before)


def _resident() -> int | None:
    """The memory that this process has now."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return None
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
