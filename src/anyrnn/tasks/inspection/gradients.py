"""How far back the gradient of a task's loss reaches, on a part of its data."""

from collections.abc import Callable
from typing import Any

import torch

from anyrnn.errors import DataError
from anyrnn.inspect import GradientFlow, gradient_flow
from anyrnn.inspect.calls import layers_of
from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.task import Step, Task

_MAIN = ("recurrent", "core.recurrent", "encoder", "decoder.recurrent")


def main_layer(network: torch.nn.Module) -> str:
    """The name of the recurrent layer of a task's network that reads its input."""
    known = layers_of(network)
    return next((name for name in _MAIN if name in known), next(iter(known)))


def calls_of(layer: str) -> int | None:
    """How many calls of a layer read the input: the first one, but for a decoder, which is called
    for each token.
    """
    return None if "decoder" in layer else 1


class _Loss(torch.nn.Module):
    """A network whose result is the loss of its task on a batch."""

    def __init__(self, task: Task, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self._step: Callable[[torch.nn.Module, Batch], Step] = task.step

    def forward(self, batch: Batch) -> torch.Tensor:
        """The mean loss."""
        return self._step(self.network, batch).loss


def gradient_norms(
    task: Task, network: torch.nn.Module, part: Any, *, sequences: int = 64, seed: int = 0
) -> GradientFlow:
    """The norms of the gradient of the loss at the end of sequences with respect to the states of
    a network's main recurrent layer, by step; and after how many steps how much of it is left.

    Only that part of the gradient counts which enters at the last step of a sequence, so that all
    of it has to go back through time. Of language models the sequences are as long as the steps
    that training goes back through.

    Args:
        task: The task.
        network: One of its networks, trained or not.
        part: A part of its data, of which some sequences are drawn.
        sequences: The most sequences.
        seed: Decides which ones.

    Returns:
        The norms; `steps_left()` says after how many steps 1 % is left, and `whole.share` how much
        is after each number of steps.

    Raises:
        DataError: The part has no sequence.
        InputError: The memory that is free does not suffice.
    """
    for batch in task.batches(part, sequences, seed):
        batch = batch.to(next(network.parameters()).device)
        layer = f"network.{main_layer(network)}"
        return gradient_flow(_Loss(task, network), batch, layers=[layer], calls=calls_of(layer))
    raise DataError("there is no sequence to compute a gradient for")
