"""The training loop of all tasks: Lightning, early stopping, best weights, resuming."""

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from anyrnn.errors import DivergedError, MissingExtraError, RunError, option_name
from anyrnn.tasks.data.batches import BatchSource, Shared
from anyrnn.tasks.options.training_options import TrainingOptions
from anyrnn.tasks.run_files import (
    load_weights,
    read_json,
    write_json,
    write_weights,
)
from anyrnn.tasks.run_folder import CHECKPOINT, EPOCHS, WEIGHTS
from anyrnn.tasks.task import Task
from anyrnn.tasks.training import processes
from anyrnn.tasks.training.checkpoints import Checkpoints
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.learner import Learner
from anyrnn.tasks.training.listener import Epoch, Listener
from anyrnn.tasks.training.memory import enough_memory

# scikit-learn hands the filters of warnings to the processes of a search. One that names a class of
# Lightning has it imported there before anyrnn.tasks, which lets it be (see `torchvision_import`).
_filters: Any = warnings.filters
_filters[:] = [each for each in _filters if not each[2].__module__.startswith("lightning.")]


def fit(
    learner: Learner,
    training: BatchSource,
    validation: BatchSource,
    folder: Path,
    interruption: Interruption,
    listener: Listener,
) -> list[Epoch]:
    """Train a network; afterwards it holds the weights of its best epoch.

    Args:
        learner: The network and its loss.
        training: The batches to train on.
        validation: The batches that decide about the best epoch and about stopping early.
        folder: Where checkpoints are kept; training goes on from the one that lies there.
        interruption: Where a request to stop is asked for.
        listener: Told about batches and epochs.

    Returns:
        The epochs, in order.

    Raises:
        StoppedError: It was requested; a checkpoint lies in the folder.
        RunError: The checkpoint in the folder cannot be used.
        DivergedError: The training diverged.
    """
    options = learner.options
    if processes.first((folder / EPOCHS).exists):
        epochs, weights = processes.first(_finished, learner.network, folder)
        learner.network.load_state_dict(weights)
        listener.epochs_taken_up(epochs)
        return epochs
    if processes.size() > 1:
        training = Shared(training, processes.rank(), processes.size())
        validation = Shared(validation, processes.rank(), processes.size())
    progress = _Progress(learner, training, folder, interruption, listener)
    checkpoint = folder / CHECKPOINT
    resumed = processes.first(checkpoint.exists)
    if resumed:
        progress.restore(checkpoint)
        listener.epochs_taken_up(progress.epochs)
    if not progress.done:
        with _quiet(), enough_memory():
            trainer = lightning.Trainer(
                accelerator=options.torch_device().type,
                devices=options.devices,
                num_nodes=options.nodes,
                strategy=_strategy(),
                max_epochs=options.epochs,
                gradient_clip_val=options.clip or None,
                accumulate_grad_batches=options.accumulate,
                precision=_PRECISIONS[options.precision],
                callbacks=[progress],
                plugins=[Checkpoints(), LightningEnvironment()],
                logger=_logger(options, folder),
                log_every_n_steps=1,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                default_root_dir=folder,
            )
            trainer.fit(
                learner,
                train_dataloaders=training,
                val_dataloaders=validation,
                ckpt_path=checkpoint if resumed else None,
                weights_only=True,
            )
    learner.network.load_state_dict(progress.best_weights)

    def keep() -> None:
        write_weights(folder / WEIGHTS, learner.network)
        write_json(folder / EPOCHS, {"epochs": [asdict(epoch) for epoch in progress.epochs]})

    processes.first(keep)
    return progress.epochs


def _strategy() -> Any:
    """How Lightning is to train: alone, or with the processes of the group."""
    if processes.size() == 1:
        return "auto"
    # A batch may use no parameter of a part, such as the rare words of an adaptive softmax.
    return DDPStrategy(find_unused_parameters=True)


def _finished(network: torch.nn.Module, folder: Path) -> tuple[list[Epoch], dict[str, Any]]:
    """The epochs and the best weights of a training that was finished.

    Raises:
        RunError: They are damaged.
    """
    load_weights(folder / WEIGHTS, network)
    return _read_epochs(folder / EPOCHS), network.state_dict()


class _Progress(Callback):
    """Notes the epochs and the best weights, saves checkpoints, stops early or when requested.

    Whatever follows from the epochs, such as whether to stop early, is worked out from them, so
    that a checkpoint holds it wherever it is saved.
    """

    def __init__(
        self,
        learner: Learner,
        training: BatchSource,
        folder: Path,
        interruption: Interruption,
        listener: Listener,
    ) -> None:
        self._learner = learner
        self._training = training
        self.epochs: list[Epoch] = []
        self.best_weights: dict[str, torch.Tensor] = {}
        self._folder = folder
        self._interruption = interruption
        self._listener = listener
        self._seconds = 0.0
        self._since = 0.0

    def restore(self, checkpoint: Path) -> None:
        """Take what a checkpoint says; Lightning does so again, for the rest of it, when it fits.

        Raises:
            RunError: It is damaged or foreign.
        """
        try:
            state = Checkpoints().load_checkpoint(checkpoint)
            self._learner.load_state_dict(state["state_dict"])
            self.load_state_dict(state["callbacks"][self.state_key])
        except OSError as error:
            raise RunError(f"cannot read {checkpoint}: {error.strerror or error}") from None
        # torch raises whatever the bytes lead to: UnpicklingError, RuntimeError, EOFError, ...
        except Exception:
            raise RunError(
                f"cannot go on from {checkpoint}: it is damaged or foreign; "
                f"start again with {option_name('overwrite', True)}"
            ) from None

    @property
    def done(self) -> bool:
        """Whether there were enough epochs, or enough without improvement."""
        options = self._learner.options
        best = best_epoch(self._learner.task, self.epochs)
        waited = len(self.epochs) - (best.number if best else 0)
        return len(self.epochs) >= options.epochs or waited >= options.patience

    def _rate_factor(self) -> float:
        """By what the schedule multiplies the learning rate in the epoch that begins."""
        options, done = self._learner.options, len(self.epochs)
        if options.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done / options.epochs))
        if options.schedule == "step":
            return options.decay ** max(0, done + 1 - options.decay_after)
        if options.schedule == "plateau":
            return options.decay ** self._plateaus()
        return 1.0

    def _plateaus(self) -> int:
        """How often `decay_after` epochs went by without improvement."""
        count = since = 0
        best = None
        for number, epoch in enumerate(self.epochs, start=1):
            if best is not best_epoch(self._learner.task, self.epochs[:number]):
                best, since = epoch, number
            elif number - since == self._learner.options.decay_after:
                count, since = count + 1, number
        return count

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        # On SIGTERM Lightning would leave the validation at once, without a checkpoint.
        self._interruption.listen()
        self._since = time.perf_counter()

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        # Not called when a training is taken up within an epoch: then Lightning loads the position.
        self._training.set_epoch(trainer.current_epoch)
        rate = self._learner.options.learning_rate * self._rate_factor()
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        total = int(trainer.num_training_batches)
        self._listener.batch_done(len(self.epochs) + 1, batch_idx + 1, total)
        # After the last batch the validation is due: the epoch ends first, then the training.
        # What has been accumulated for an update is in no checkpoint.
        updated = (batch_idx + 1) % self._learner.options.accumulate == 0
        if batch_idx + 1 < total and updated and self._stop_requested():
            self._save(trainer)
            self._interruption.check()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        loss = float(self._learner.training_loss.compute())
        figures = {"training_loss": loss, **self._learner.figures}
        self._learner.training_loss.reset()
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise DivergedError(
                    f"the training diverged: {name} is {figure} after "
                    f"epoch {len(self.epochs) + 1}; try a smaller {option_name('learning_rate')}"
                )
        epoch = Epoch(len(self.epochs) + 1, self._elapsed(), figures)
        self._seconds, self._since = 0.0, time.perf_counter()
        self.epochs.append(epoch)
        if epoch is best_epoch(self._learner.task, self.epochs):
            weights = self._learner.network.state_dict()
            self.best_weights = {name: weight.detach().clone() for name, weight in weights.items()}
        for logger in trainer.loggers:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            logger.log_metrics({**figures, "learning_rate": rate}, step=epoch.number)
        self._listener.epoch_done(epoch)
        self._save(trainer)
        if self._stop_requested():
            self._interruption.check()
        trainer.should_stop = self.done

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": [(epoch.number, epoch.seconds, epoch.figures) for epoch in self.epochs],
            "best_weights": self.best_weights,
            "seconds": self._elapsed(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = [Epoch(*values) for values in state_dict["epochs"]]
        self.best_weights = state_dict["best_weights"]
        self._seconds = state_dict["seconds"]

    def _stop_requested(self) -> bool:
        """Whether any process is to stop: then all do, after the same batch."""
        requested = processes.any_of(self._interruption.requested)
        self._interruption.requested = requested
        return requested

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._since

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self._folder / CHECKPOINT)


_PRECISIONS: dict[str, Any] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float16": "16-mixed",
}


def _logger(options: TrainingOptions, folder: Path) -> Any:
    """What writes event files for TensorBoard, or `False`.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    if options.tensorboard is None or processes.rank() > 0:
        return False
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(options.tensorboard, name=folder.name, version="")
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"{option_name('tensorboard')} needs the package tensorboard; pip install tensorboard"
        ) from None


def best_epoch(task: Task, epochs: Sequence[Epoch]) -> Epoch | None:
    """The first of the epochs with the best validation figure; its weights are kept."""
    return max(epochs, key=lambda epoch: task.goodness(epoch.figures), default=None)


def _read_epochs(path: Path) -> list[Epoch]:
    """The epochs of a training that was finished.

    Raises:
        RunError: The file is damaged.
    """
    try:
        return [Epoch(**epoch) for epoch in read_json(path)["epochs"]]
    except (KeyError, TypeError):
        raise RunError(f"the run is damaged: {path} does not list epochs") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's remarks on devices and advice that does not fit data in memory."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*`isinstance\\(treespec, LeafSpec\\)`.*")
            yield
    finally:
        logger.setLevel(level)
