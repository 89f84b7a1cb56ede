"""How far back the gradient of each cell reaches, in networks with and without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import torch

from anyrnn.studies.cells.results import FlowResult, FlowResults
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.inspection.gradients import gradient_norms
from anyrnn.tasks.task import Task
from anyrnn.tasks.trained import load

FLOWS = ("adding", "copying", "digits-pixels", "mnist-pixels")
"""The problems whose gradients are followed, in their longest sequences."""

_POINTS = 200  # of a curve that is stored, at most


def measured_flows(task: Task, data: Data, runs: Mapping[str, Sequence[Path]]) -> FlowResults:
    """The flows of the trained networks of a setting, and of as many new ones of the same sizes.

    Args:
        task: The task of the setting.
        data: Its data, of whose deciding part some sequences are read.
        runs: The run folders of each cell.
    """
    fresh, trained = {}, {}
    for cell, folders in runs.items():
        models = [load(folder, cell) for folder in folders]
        if not models:
            continue
        new = [_new(model.task, cell, seed) for seed, model in enumerate(models)]
        fresh[cell] = _flow(task, data, new)
        trained[cell] = _flow(task, data, [model.network for model in models])
    return FlowResults(fresh, trained)


def _new(task: Task, cell: str, seed: int) -> torch.nn.Module:
    """A network that has learned nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return task.network(cell).eval()


def _flow(task: Task, data: Data, networks: Sequence[torch.nn.Module]) -> FlowResult:
    _, part = data.deciding
    flows = [gradient_norms(task, network, part) for network in networks]
    shares = numpy.median([flow.whole.share for flow in flows], axis=0)
    return FlowResult(shares[:_POINTS].tolist(), [flow.steps_left() for flow in flows])
