"""What a user can choose when a text classifier is trained and used."""

from pathlib import Path

from anyrnn.tasks.common_options import Pooling, TrainingOptions, VocabularyOptions
from anyrnn.tasks.options import OptionGroup, option


class DataOptions(OptionGroup, panel="Data"):
    """Which files and columns hold the texts and labels."""

    data: Path = option(
        ...,
        "Texts with labels: CSV, TSV, JSON lines (also .gz, .xz, .bz2) or parquet.",
        metavar="FILE",
        evaluation="required",
    )
    text: str = option(..., "The column of the texts.", metavar="COLUMN")
    label: str = option(..., "The column of the labels.", metavar="COLUMN")
    validation_data: Path | None = option(
        None,
        "Texts that decide when to stop.",
        metavar="FILE",
        shown="a tenth of the data",
        evaluation="left out",
    )
    test_data: Path | None = option(
        None,
        "Held-out texts that measure the result.",
        metavar="FILE",
        shown="a tenth of the data",
        evaluation="left out",
    )
    encoding: str = option("utf-8", "The encoding of the files.", metavar="NAME")
    separator: str | None = option(
        None, "What separates the columns.", metavar="CHARACTER", shown="comma in .csv, tab in .tsv"
    )
    header: bool = option(
        True, "The first line names the columns; if not, they are called 1, 2, ..."
    )
    skip_bad: bool = option(
        False, "Leave out rows without text or label, and labels too rare to split."
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `TextClassifier`."""

    embedding_size: int = option(128, "The size of a token's vector.", ge=1)
    hidden_size: int = option(128, "The size of a recurrent layer.", ge=1)
    layers: int = option(1, "The number of recurrent layers.", ge=1, le=1000)
    bidirectional: bool = option(False, "Also read backwards.")
    dropout: float = option(0.5, "The share of values dropped in training.", ge=0, lt=1)
    pool: Pooling = option("last", "What of the outputs over time is classified.")


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = option(
        ("lstm",),
        "The recurrent cell; several are compared. See [bold]anyrnn cells[/bold].",
        ge=1,
        metavar="NAME",
        flags=("--cell",),
        distinct=True,
    )
    vocabulary: VocabularyOptions = VocabularyOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(OptionGroup, panel="Texts"):
    """Which texts are labelled, and what is told of them."""

    texts: tuple[str, ...] = option(
        (),
        "Texts; without any, they are read from standard input.",
        metavar="[TEXT]...",
        argument=True,
    )
    file: Path | None = option(
        None, "A file of texts, one a line; - for standard input.", metavar="FILE"
    )
    probabilities: bool = option(
        False, "Also tell the probability of every label.", flags=("--probabilities",)
    )
    encoding: str = option("utf-8", "The encoding of the file or standard input.", metavar="NAME")
