"""Options that several tasks have."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from anyrnn.errors import OptionError, RunError, option_name
from anyrnn.tasks.options.declaration import OptionGroup, flat, option
from anyrnn.tasks.options.option_checks import LARGEST_SEED, DataNeed, Need
from anyrnn.tasks.options.suffixes import is_json_lines, is_parquet

if TYPE_CHECKING:
    import torch

TokenKind = Literal["word", "character", "bpe"]
WrittenKind = Literal["character", "word", "whitespace", "bpe"]
ChosenKind = Literal["auto", "character", "word", "whitespace", "bpe"]
Pooling = Literal["last", "mean", "max"]

WRITTEN_SIZES: dict[WrittenKind, int] = {
    "character": 30_000,
    "word": 30_000,
    "whitespace": 30_000,
    "bpe": 4_000,
}
"""The largest number of tokens of each kind, if nothing else is asked for."""

# What every network has.
LAYERS: Any = option(1, "The number of recurrent layers.", ge=1, le=1000)

_KIND_OF_TABLE = "kind of table"
NOT_PARQUET = DataNeed(_KIND_OF_TABLE, but="parquet")
_WITH_SEPARATORS = DataNeed(_KIND_OF_TABLE, ("CSV", "TSV"))


def files_of(options: Any) -> list[Path]:
    """The files that a group of options names, those of the training first."""
    data = options.data if isinstance(options.data, tuple) else (options.data,)
    others = (getattr(options, name, None) for name in ("validation_data", "test_data"))
    return [*filter(None, (*data, *others))]


def _kind_of_table(path: Path) -> str:
    if is_parquet(path):
        return "parquet"
    return "JSON lines" if is_json_lines(path) else "CSV"


def encoding(needs: tuple[Need, ...] = ()) -> Any:
    """The option of the encoding of tables and texts."""
    return option("utf-8", "The encoding of the files.", metavar="NAME", needs=needs)


def separator(needs: tuple[Need, ...] = ()) -> Any:
    """The option of what separates the columns of tables."""
    return option(
        None,
        "What separates the columns.",
        metavar="CHARACTER",
        shown="comma in .csv, tab in .tsv",
        needs=(*needs, _WITH_SEPARATORS),
    )


def header(needs: tuple[Need, ...] = ()) -> Any:
    """The option of tables whose first line is a row like the others."""
    return option(
        True,
        "The first line names the columns; if not, they are called 1, 2, ...",
        needs=(*needs, _WITH_SEPARATORS),
    )


def decimal(needs: tuple[Need, ...] = ()) -> Any:
    """The option of tables of numbers that may have decimal commas."""
    return option(".", "The decimal sign of numbers.", needs=needs)


_PARTS = {
    "validation": "Data that decide when to stop.",
    "test": "Held-out data that measure the result.",
}


def part_of_its_own(part: Literal["validation", "test"], help: str = "") -> Any:
    """The option of a file that is a part of the data, which is split off if there is none."""
    help = help or _PARTS[part]
    return option(None, help, metavar="FILE", shown="split off the data", evaluation="left out")


_SHARES = {
    "validation": "The share of the data that is split off for validation; with 0 the training "
    "part itself decides when to stop.",
    "test": "The share of the data that is split off to measure the result; with 0 the validation "
    "part does.",
}


def share_of(part: Literal["validation", "test"], needs: tuple[Need, ...] = ()) -> Any:
    """The option of the share that is split off for a part that has no file of its own."""
    needs = (Need(f"{part}_data", (None,)), *needs)
    return option(0.1, _SHARES[part], ge=0, lt=1, evaluation="left out", needs=needs)


_SPLIT = "what becomes of the data"
IF_SPLIT = DataNeed(_SPLIT, but="data of which nothing is split off")


class PartOptions(OptionGroup, last=True):
    """Files of the parts of the data, or what is split off for them."""

    validation_data: Path | None = part_of_its_own("validation")
    test_data: Path | None = part_of_its_own("test")
    validation_share: float = share_of("validation")
    test_share: float = share_of("test")

    def own_files(self) -> dict[str, Path]:
        """The files of the parts that have one of their own, by the names of the parts."""
        files = {name: getattr(self, f"{name}_data") for name in _PARTS}
        return {name: path for name, path in files.items() if path is not None}

    def shares(self, there: Container[str] = ()) -> dict[str, float]:
        """The shares of the data that are split off for parts, by the names of the parts.

        Args:
            there: The parts that need not be split off.

        Raises:
            OptionError: Nothing is left to train on.
        """
        shares = {name: getattr(self, f"{name}_share") for name in _PARTS if name not in there}
        shares = {name: share for name, share in shares.items() if share}
        if sum(shares.values()) >= 1:
            names = " and ".join(option_name(f"{name}_share") for name in shares)
            raise OptionError(
                f"{names} leave nothing to train on; together they have to be below 1"
            )
        return shares

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """Whether a part is split off."""
        shares = (getattr(self, f"{name}_share") for name in _PARTS if name not in self.own_files())
        found = {} if any(shares) else IF_SPLIT.lacking
        return {**super().in_effect(), **found}


class TableOptions(OptionGroup, last=True):
    """How files that may be tables are read."""

    encoding: str = encoding((NOT_PARQUET,))
    separator: str | None = separator()
    header: bool = header()

    @property
    def reading(self) -> dict[str, Any]:
        """How a table is read."""
        given = flat(self)
        return {name: given[name] for name in ("encoding", "separator", "header")}

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """The kind of each file."""
        return {_KIND_OF_TABLE: tuple(map(_kind_of_table, files_of(self)))}


def cells(default: str = "lstm") -> Any:
    """The option of a task's cells."""
    return option(
        (default,),
        "The recurrent cell; several are compared. See [bold]anyrnn cells[/bold].",
        ge=1,
        metavar="NAME",
        flags=("--cell",),
        distinct=True,
    )


def embedding_size(default: int, of: str = "token", needs: tuple[Need, ...] = ()) -> Any:
    """The option of the size of vectors that stand for tokens or words."""
    return option(default, f"The size of a {of}'s vector.", ge=1, needs=needs)


def hidden_size(default: int) -> Any:
    """The option of the size of a network's layers."""
    return option(default, "The size of a recurrent layer.", ge=1)


def bidirectional(default: bool) -> Any:
    """The option of a network that may also read backwards."""
    return option(default, "Also read backwards.")


def dropout(default: float) -> Any:
    """The option of a network's dropout."""
    return option(default, "The share of values dropped in training.", ge=0, lt=1)


def minimum_frequency(
    default: int, what: str, where: str = "texts", needs: tuple[Need, ...] = ()
) -> Any:
    """The option of the tokens that a vocabulary leaves out."""
    return option(
        default,
        f"How often a {what} has to occur in the training {where} to be known.",
        ge=1,
        flags=("--min-frequency", "--minimum-frequency"),
        needs=needs,
    )


def given_texts(what: str = "Texts", one: str = "TEXT") -> Any:
    """The option of the texts that a command line asks about."""
    return option(
        (),
        f"{what}; without any, they are read from standard input.",
        metavar=f"[{one}]...",
        argument=True,
    )


KIND_OF_INPUT = "kind of input"
ARGUMENTS, LINES, TOKENS = "texts of the command line", "lines of text", "files of tokens"
"""What a network may be asked about."""


def input_encoding(need: Need = DataNeed(KIND_OF_INPUT, but=ARGUMENTS)) -> Any:  # noqa: B008
    """The option of the encoding of what a network is asked about."""
    help = "The encoding of the file or standard input."
    return option("utf-8", help, metavar="NAME", needs=(need,))


class InputOptions(OptionGroup):
    """Options on what a network is asked about, with `texts` and a `file` of them."""

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """The kinds of input that are given."""
        given = flat(self)
        kinds = [ARGUMENTS] if given["texts"] else []
        if given["file"] is not None or not kinds:
            kinds.append(self.kind_of(given["file"]))
        return {KIND_OF_INPUT: tuple(kinds)}

    def kind_of(self, file: Path | None) -> str:
        """What a file holds, or without one standard input."""
        return LINES


def written_vocabulary_size(whose: str = "") -> Any:
    """The option of the number of tokens of texts that are written."""
    sizes = f"{WRITTEN_SIZES['bpe']} with bpe, {WRITTEN_SIZES['word']} with others"
    return option(None, f"The largest number of different tokens{whose}.", ge=1, shown=sizes)


LARGEST_BEAM = 1000
"""Larger beams cost more memory and time, and find texts that are likelier, but hardly better."""


def beam(default: int, help: str, needs: tuple[Need, ...] = ()) -> Any:
    """The option of how many texts a search keeps at each step."""
    return option(default, help, ge=1, le=LARGEST_BEAM, needs=needs)


INPUT_FEEDING: Any = option(
    False,
    "Each step of the decoder also reads what the step before has attended to; then it is "
    "computed step by step.",
)


def scheduled_sampling(needs: tuple[Need, ...] = ()) -> Any:
    """The option of how often a decoder reads its own tokens in training."""
    help = "The share of tokens that the decoder reads as it would have written them, in training."
    return option(0.0, help, ge=0, le=1, needs=needs)


def temperature(needs: tuple[Need, ...]) -> Any:
    """The option of how much likelier likely tokens are drawn."""
    help = "Below 1 likely tokens become likelier, above 1 less likely."
    return option(1.0, help, gt=0, needs=needs)


def top_k(needs: tuple[Need, ...]) -> Any:
    """The option of the number of tokens among which one is drawn."""
    help = "Choose among so many of the likeliest tokens; 0 for all."
    return option(0, help, ge=0, needs=needs)


def top_p(needs: tuple[Need, ...]) -> Any:
    """The option of the probability of the tokens among which one is drawn."""
    help = "Choose among the likeliest tokens that have this probability together."
    return option(1.0, help, gt=0, le=1, needs=needs)


def seed_of_draws(needs: tuple[Need, ...]) -> Any:
    """The option that makes draws repeat."""
    shown = "another one each time"
    return option(None, "Decides what is drawn.", ge=0, le=LARGEST_SEED, shown=shown, needs=needs)


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
    minimum_frequency: int = minimum_frequency(2, "token")
    maximum_length: int = option(
        400,
        "The number of tokens kept of a text.",
        ge=1,
        flags=("--max-length", "--maximum-length"),
    )
    keep: Literal["start", "end"] = option("end", "Which end of a longer text is kept.")


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
