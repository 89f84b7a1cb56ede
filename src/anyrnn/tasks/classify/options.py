"""What a user can choose when a text classifier is trained, and the checks of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anyrnn.errors import DataError, SizeError
from anyrnn.tasks.bounds import LARGEST_COUNT, LARGEST_SEED, check_count, check_number
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
            SizeError: A number is outside its bounds, or a share is not one.
            DataError: A choice is none of those that exist.
        """
        training, model = self.training, self.model
        for option, value, smallest, largest in (
            ("--vocabulary-size", self.vocabulary_size, 1, LARGEST_COUNT),
            ("--min-frequency", self.minimum_frequency, 1, LARGEST_COUNT),
            ("--max-length", self.maximum_length, 1, LARGEST_COUNT),
            ("--embedding-size", model.embedding_size, 1, LARGEST_COUNT),
            ("--hidden-size", model.hidden_size, 1, LARGEST_COUNT),
            ("--layers", model.layers, 1, 1000),
            ("--epochs", training.epochs, 1, LARGEST_COUNT),
            ("--patience", training.patience, 1, LARGEST_COUNT),
            ("--batch-size", training.batch_size, 1, LARGEST_COUNT),
            ("--seed", training.seed, 0, LARGEST_SEED),
        ):
            check_count(option, value, smallest, largest)
        check_number("--learning-rate", training.learning_rate, above=True)
        check_number("--weight-decay", training.weight_decay)
        check_number("--clip", training.clip)
        if not 0 <= model.dropout < 1:
            raise SizeError(f"--dropout is {model.dropout}, but has to be from 0 to below 1")
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
