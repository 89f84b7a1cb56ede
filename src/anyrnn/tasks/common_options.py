"""Options that several tasks have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anyrnn.errors import RunError, option_name
from anyrnn.tasks.option_checks import LARGEST_SEED
from anyrnn.tasks.options import OptionGroup, option

if TYPE_CHECKING:
    import torch

TokenKind = Literal["word", "character", "bpe"]


class VocabularyOptions(OptionGroup, panel="Texts and tokens"):
    """How texts become tokens."""

    tokens: Literal["auto", "word", "character", "bpe"] = option(
        "auto", "What the model reads; auto looks at the texts."
    )
    lowercase: bool = option(True, "Make capitals small.")
    vocabulary_size: int = option(
        30_000,
        "The largest number of different tokens, with the two for padding and unknown.",
        ge=1,
    )
    minimum_frequency: int = option(
        2,
        "How often a token has to occur in the training texts to be known.",
        ge=1,
        flags=("--min-frequency", "--minimum-frequency"),
    )
    maximum_length: int = option(
        400,
        "The number of tokens kept of a text.",
        ge=1,
        flags=("--max-length", "--maximum-length"),
    )
    keep: Literal["start", "end"] = option("end", "Which end of a longer text is kept.")


class TrainingOptions(OptionGroup, panel="Training"):
    """How a network is trained."""

    epochs: int = option(20, "The largest number of passes over the training data.", ge=1)
    patience: int = option(
        5, "Stop after so many epochs without improvement on the validation data.", ge=1
    )
    batch_size: int = option(64, "The number of sequences in a batch.", ge=1)
    learning_rate: float = option(1e-3, "The step size of Adam.", gt=0)
    weight_decay: float = option(
        0.0, "The decoupled weight decay of Adam (AdamW); 0 for none.", ge=0
    )
    clip: float = option(1.0, "The largest norm of the gradient; 0 for no limit.", ge=0)
    seed: int = option(
        0, "Decides split, initial weights, order and dropout.", ge=0, le=LARGEST_SEED
    )
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "Where to compute; auto takes a GPU if there is one."
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
