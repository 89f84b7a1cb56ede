"""A network that learns a task, as Lightning trains it."""

from dataclasses import replace
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torchmetrics import MetricCollection

from anyrnn.tasks.data.batches import Batch
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.scores.metrics import Mean
from anyrnn.tasks.task import Step, Task
from anyrnn.tasks.training import processes


class Learner(lightning.LightningModule):
    """A network that learns a task.

    Args:
        task: Gives loss and figures.
        network: The network; its weights are what is kept.
        options: How it is trained.
    """

    def __init__(self, task: Task, network: torch.nn.Module, options: TrainingOptions) -> None:
        super().__init__()
        self.task = task
        self.network = network
        self.options = options
        # It is told the mean over all processes, so that it is the same in each.
        self.training_loss = Mean(sync_on_compute=False)
        # Part of the state, so that a training taken up within an epoch tells the same loss.
        self.training_loss.persistent(True)
        self.validation_loss = Mean()
        self.validation_metrics = MetricCollection(dict(task.metrics()))
        self.figures: dict[str, float] = {}
        self._carried: dict[str, Any] = {}

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of a batch, noted for the mean of the epoch."""
        step = self._step("training", batch)
        mean, count = processes.mean_of_all(step.loss.detach(), step.count)
        self.training_loss.update(mean, count)
        # The gradients' mean over the processes is to be that over all rows.
        share = processes.size() * step.count / count
        return step.loss if processes.size() == 1 else step.loss * share

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Note the figures of a batch."""
        step = self._step("validation", batch)
        self.validation_loss.update(step.loss, step.count)
        if not batch.borrowed:
            self.task.measure(dict(self.validation_metrics.items()), step, batch)

    def on_validation_epoch_end(self) -> None:
        """Note the figures of the epoch, over all processes."""
        loss = self.validation_loss.compute()
        figures = {name: metric.compute() for name, metric in self.validation_metrics.items()}
        for figure in self.task.shown_figures():
            if figure.of_loss:
                figures[figure.name] = figure.of_loss(float(loss))
        self.figures = {f"validation_{name}": float(value) for name, value in figures.items()}
        self.validation_loss.reset()
        self.validation_metrics.reset()

    def _step(self, part: str, batch: Batch) -> Step:
        step = self.task.step(
            self.network, batch, self._carried.get(part) if batch.continues else None
        )
        self._carried[part] = _detached(step.carried)
        return replace(step, count=0) if batch.borrowed else step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam or SGD; fused, which is the fastest for large embeddings."""
        options = self.options
        # With mixed precision Lightning clips no gradients that a fused step could still unscale.
        shared: Any = {
            "lr": options.learning_rate,
            "weight_decay": options.weight_decay,
            "fused": options.precision == "float32",
        }
        if options.optimiser == "sgd":
            return torch.optim.SGD(self.network.parameters(), momentum=options.momentum, **shared)
        return torch.optim.AdamW(self.network.parameters(), **shared)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the random numbers, and what the streams carry on, of each process."""
        state = {"carried": self._carried.get("training"), "random": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["random_cuda"] = torch.cuda.get_rng_state()
        checkpoint["processes"] = processes.every(_moved(state, "cpu"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the same random numbers and streams."""
        state = checkpoint["processes"][processes.rank()]
        self._carried = {"training": _moved(state["carried"], self.options.torch_device())}
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])


def _detached(carried: Any) -> Any:
    """The same state without the graph that made it."""
    return apply_to_collection(carried, torch.Tensor, torch.Tensor.detach)


def _moved(state: Any, device: torch.device | str) -> Any:
    """The same state on a device."""
    return apply_to_collection(state, torch.Tensor, lambda tensor: tensor.to(device))
