"""Options on how a network is trained, and where the run is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anyrnn.errors import RunError, option_name
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import LARGEST_SEED, Need

if TYPE_CHECKING:
    import torch

_DECAYING = (Need("schedule", ("plateau", "step")),)
_MACHINES = (Need("nodes", but=1),)


class TrainingOptions(OptionGroup, panel="Training"):
    """How a network is trained."""

    epochs: int = option(20, "The largest number of passes over the training data.", ge=1)
    patience: int = option(
        5, "Stop after so many epochs without improvement on the validation data.", ge=1
    )
    batch_size: int = option(64, "The number of sequences in a batch.", ge=1)
    optimiser: Literal["adam", "sgd"] = option("adam", "What changes the weights.")
    learning_rate: float = option(1e-3, "The step size at the beginning.", gt=0)
    momentum: float = option(
        0.0, "The momentum of SGD.", ge=0, lt=1, needs=(Need("optimiser", ("sgd",)),)
    )
    weight_decay: float = option(
        0.0, "The weight decay; decoupled from the gradient with Adam (AdamW); 0 for none.", ge=0
    )
    schedule: Literal["constant", "cosine", "plateau", "step"] = option(
        "constant",
        "How the learning rate changes: not at all; down to 0 along a cosine; by the factor of "
        "decay when some epochs brought no improvement; by that factor in every epoch after some.",
    )
    decay: float = option(
        0.5, "The factor of the schedules plateau and step.", gt=0, le=1, needs=_DECAYING
    )
    decay_after: int = option(
        1,
        "Epochs without improvement before a plateau decays; epochs before a step schedule decays.",
        ge=1,
        needs=_DECAYING,
    )
    clip: float = option(1.0, "The largest norm of the gradient; 0 for no limit.", ge=0)
    accumulate: int = option(
        1, "The number of batches whose gradients are added up for one update.", ge=1
    )
    precision: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "What products are computed in; weights and their updates stay float32."
    )
    seed: int = option(
        0, "Decides split, initial weights, order and dropout.", ge=0, le=LARGEST_SEED
    )
    seeds: int = option(
        1, "The number of trainings of each cell, each from the next seed; the best is kept.", ge=1
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Where to compute; auto takes a GPU if there is one."
    )
    devices: int = option(
        1, "The number of processes on each machine, each with a GPU if there is any.", ge=1
    )
    nodes: int = option(1, "The number of machines.", ge=1)
    node_rank: int = option(
        0,
        "The number of this machine, from 0; the first one writes the run.",
        ge=0,
        needs=_MACHINES,
    )
    rendezvous: str | None = option(
        None,
        "Where the first of several machines is: its address, and a free port of it.",
        metavar="HOST:PORT",
        needs=_MACHINES,
    )
    tensorboard: Path | None = option(
        None,
        "A folder for event files, which TensorBoard shows while the training runs.",
        metavar="FOLDER",
    )

    def torch_device(self) -> torch.device:
        """The device itself: with "auto", the first GPU if there is one.

        Raises:
            RunError: There is no such device.
        """
        import torch

        available = torch.cuda.is_available()
        if self.device == "cuda" and not available:
            raise RunError(
                f"{option_name('device', 'cuda')}, but torch finds no CUDA device here; "
                f"use {option_name('device', 'cpu')}"
            )
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")


class RunOptions(OptionGroup, panel="Run folder"):
    """Where a training writes, and whether it goes on with what is there."""

    output: Path | None = option(
        None,
        "The run folder to write.",
        metavar="RUN",
        shown="runs/ and the name of the data",
        flags=("--output", "-o"),
    )
    overwrite: bool = option(False, "Replace a run there.", flags=("--overwrite",))
    resume: bool = option(False, "Go on with an interrupted training.", flags=("--resume",))
