"""What a user can choose when a text classifier is trained, and the checks of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anyrnn.errors import DataError, SizeError
from anyrnn.tasks.classify.model import POOLINGS, Pooling
from anyrnn.tasks.training import TrainingOptions
from anyrnn.tasks.vocabulary import TOKEN_KINDS, TokenKind, VocabularyOptions


@dataclass(frozen=True)
class DataOptions:
    """Which files and columns hold the texts and labels.

    Attributes:
        data: The file to train on; parts that have no file of their own are split off from it.
        text: The column of the texts.
        label: The column of the labels.
        validation_data: A file of its own that decides when to stop.
        test_data: A file of its own that measures the result.
        encoding: The encoding of the files.
        separator: The separator of columns, if not a comma or a tab.
        header: Whether CSV and TSV files begin with the columns' names.
        skip_bad: Leave out rows without text or label and labels with too few rows.
    """

    data: Path
    text: str
    label: str
    validation_data: Path | None = None
    test_data: Path | None = None
    encoding: str = "utf-8"
    separator: str | None = None
    header: bool = True
    skip_bad: bool = False


@dataclass(frozen=True)
class ModelOptions:
    """The sizes of the network; see `TextClassifier`."""

    embedding_size: int = 128
    hidden_size: int = 128
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.5
    pool: Pooling = "last"


@dataclass(frozen=True)
class Options:
    """Everything that decides the result of a training.

    Attributes:
        data: Files and columns.
        cells: The cells to compare, each trained with the same data and seed.
        tokens: The kind of tokens, or "auto" to choose by the look of the texts.
        lowercase, vocabulary_size, minimum_frequency, maximum_length, keep: See
            `VocabularyOptions`.
        model: The sizes of the network.
        training: How it is trained.
    """

    data: DataOptions
    cells: tuple[str, ...] = ("lstm",)
    tokens: TokenKind | Literal["auto"] = "auto"
    lowercase: bool = True
    vocabulary_size: int = 30_000
    minimum_frequency: int = 2
    maximum_length: int = 400
    keep: Literal["start", "end"] = "end"
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        """Check all sizes and choices.

        Raises:
            SizeError: A size is zero or negative, or a share is not one.
            DataError: A choice is none of those that exist.
        """
        for option, value in (
            ("--vocabulary-size", self.vocabulary_size),
            ("--min-frequency", self.minimum_frequency),
            ("--max-length", self.maximum_length),
            ("--embedding-size", self.model.embedding_size),
            ("--hidden-size", self.model.hidden_size),
            ("--layers", self.model.layers),
            ("--epochs", self.training.epochs),
            ("--patience", self.training.patience),
            ("--batch-size", self.training.batch_size),
        ):
            if value < 1:
                raise SizeError(f"{option} is {value}, but has to be 1 or more")
        if not self.training.learning_rate > 0:
            raise SizeError(
                f"--learning-rate is {self.training.learning_rate}, but has to be above 0"
            )
        for option, value in (
            ("--weight-decay", self.training.weight_decay),
            ("--clip", self.training.clip),
            ("--seed", self.training.seed),
        ):
            if not value >= 0:
                raise SizeError(f"{option} is {value}, but has to be 0 or more")
        if not 0 <= self.model.dropout < 1:
            raise SizeError(f"--dropout is {self.model.dropout}, but has to be from 0 to below 1")
        _check_choice("--tokens", self.tokens, ("auto", *TOKEN_KINDS))
        _check_choice("--keep", self.keep, ("start", "end"))
        _check_choice("--pool", self.model.pool, POOLINGS)
        if not self.cells:
            raise DataError("no cell is named; name one with --cell")

    def vocabulary(self, tokens: TokenKind) -> VocabularyOptions:
        """The options of the vocabulary for the chosen kind of tokens."""
        return VocabularyOptions(
            tokens=tokens,
            lowercase=self.lowercase,
            size=self.vocabulary_size,
            minimum_frequency=self.minimum_frequency,
            maximum_length=self.maximum_length,
            keep=self.keep,
        )


def _check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"{option} is {value!r}, but has to be one of {', '.join(choices)}")
