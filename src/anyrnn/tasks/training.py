"""The training loop of all tasks: Lightning, early stopping, best weights, resuming."""

import io
import logging
import math
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torchmetrics import MeanMetric

from anyrnn.errors import RunError, SizeError, option_name
from anyrnn.tasks.batches import Batch, Batches
from anyrnn.tasks.common_options import TrainingOptions
from anyrnn.tasks.interruption import Interruption
from anyrnn.tasks.run_files import (
    load_weights,
    read_json,
    write_bytes,
    write_json,
    write_weights,
)
from anyrnn.tasks.run_folder import CHECKPOINT, EPOCHS, WEIGHTS


@dataclass(frozen=True)
class Epoch:
    """What is told about an epoch: its number from 1, its seconds, and its figures by name."""

    number: int
    seconds: float
    figures: dict[str, float]


class Learner(lightning.LightningModule):
    """A network, its loss and its figures on the validation data; each task derives its own.

    A subclass gives `loss` and logs its figures in `on_validation_epoch_end`, the one that decides
    about the best epoch under the name `monitor`.

    Args:
        network: The network; its weights are what is kept.
        options: How it is trained.
    """

    monitor = "validation_loss"
    larger_is_better = False

    def __init__(self, network: torch.nn.Module, options: TrainingOptions) -> None:
        super().__init__()
        self.network = network
        self.options = options
        self.training_loss = MeanMetric(nan_strategy="disable")
        # Part of the state, so that a training taken up within an epoch tells the same loss.
        self.training_loss.persistent(True)

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a batch."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """The loss of a batch, noted for the mean of the epoch."""
        loss = self.loss(batch)
        self.training_loss.update(loss.detach(), len(batch.rows))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, or AdamW where weights decay; fused, which is the fastest for large embeddings."""
        return torch.optim.AdamW(
            self.network.parameters(),
            lr=self.options.learning_rate,
            weight_decay=self.options.weight_decay,
            fused=True,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the random numbers."""
        checkpoint["random_state"] = torch.get_rng_state()
        if torch.cuda.is_available():
            checkpoint["random_state_cuda"] = torch.cuda.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the same random numbers."""
        torch.set_rng_state(checkpoint["random_state"].cpu())
        if torch.cuda.is_available() and "random_state_cuda" in checkpoint:
            torch.cuda.set_rng_state(checkpoint["random_state_cuda"].cpu())


class Listener:
    """What a caller may want to be told while a network trains; does nothing by itself."""

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        """A batch of an epoch (numbered from 1) was trained on."""

    def epoch_done(self, epoch: Epoch) -> None:
        """An epoch was trained and validated."""


def fit(
    learner: Learner,
    training: Batches,
    validation: Batches,
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
        RunError: The checkpoint in the folder cannot be used, or the training diverged.
    """
    options = learner.options
    if (folder / EPOCHS).exists():
        load_weights(folder / WEIGHTS, learner.network)
        return _read_epochs(folder / EPOCHS)
    progress = _Progress(learner, training, folder, interruption, listener)
    checkpoint = folder / CHECKPOINT
    resumed = checkpoint.exists()
    if resumed:
        progress.restore(checkpoint)
    if not progress.done:
        with _quiet(), enough_memory():
            trainer = lightning.Trainer(
                accelerator=options.torch_device().type,
                devices=1,
                max_epochs=options.epochs,
                gradient_clip_val=options.clip or None,
                callbacks=[progress],
                plugins=[_Checkpoints()],
                logger=False,
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
    write_weights(folder / WEIGHTS, learner.network)
    write_json(folder / EPOCHS, {"epochs": [asdict(epoch) for epoch in progress.epochs]})
    return progress.epochs


class _Progress(Callback):
    """Notes the epochs and the best weights, saves checkpoints, stops early or when requested.

    Whatever follows from the epochs, such as whether to stop early, is worked out from them, so
    that a checkpoint holds it wherever it is saved.
    """

    def __init__(
        self,
        learner: Learner,
        training: Batches,
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
            state = _Checkpoints().load_checkpoint(checkpoint)
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
        best = self._best()
        waited = len(self.epochs) - (best.number if best else 0)
        return len(self.epochs) >= options.epochs or waited >= options.patience

    def _best(self) -> Epoch | None:
        """The first of the best epochs."""
        sign = 1 if self._learner.larger_is_better else -1
        return max(
            self.epochs, key=lambda epoch: sign * epoch.figures[self._learner.monitor], default=None
        )

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
        if self._interruption.requested and batch_idx + 1 < total:
            self._save(trainer)
            self._interruption.check()

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        figures = {"training_loss": float(self._learner.training_loss.compute()), **figures}
        self._learner.training_loss.reset()
        for name, figure in figures.items():
            if not math.isfinite(figure):
                raise RunError(
                    f"the training diverged: {name} is {figure} after "
                    f"epoch {len(self.epochs) + 1}; try a smaller {option_name('learning_rate')}"
                )
        epoch = Epoch(len(self.epochs) + 1, self._elapsed(), figures)
        self._seconds, self._since = 0.0, time.perf_counter()
        self.epochs.append(epoch)
        if epoch is self._best():
            weights = self._learner.network.state_dict()
            self.best_weights = {name: weight.detach().clone() for name, weight in weights.items()}
        self._listener.epoch_done(epoch)
        self._save(trainer)
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

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._since

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self._folder / CHECKPOINT)


class _Checkpoints(TorchCheckpointIO):
    """Files of checkpoints: whole or not at all, with a checksum; no pickled code is run."""

    _START = b"anyrnn checkpoint 1\n"

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        write_bytes(Path(path), self._START + sha256(content).digest() + content)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        content = Path(path).read_bytes()
        start = len(self._START) + sha256().digest_size
        if content[:start] != self._START + sha256(content[start:]).digest():
            raise ValueError(f"{path} is not as it was written")
        return torch.load(io.BytesIO(content[start:]), map_location or "cpu", weights_only=True)


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
def enough_memory() -> Iterator[None]:
    """Tell in one line when there is not enough memory.

    Raises:
        SizeError: There was not.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lacking = re.search("(not enough|allocate|out of) memory|size calculation", str(error))
        if not (lacking or isinstance(error, MemoryError)):
            raise
        raise SizeError(
            "there is not enough memory for such batches: use a smaller "
            f"{option_name('batch_size')}, or a smaller network"
        ) from None


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
