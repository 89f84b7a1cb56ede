"""What a user can choose when a classifier is trained and used."""

from pathlib import Path
from typing import Any, Literal, get_args

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.common_options import Pooling
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.training_options import TrainingOptions

Format = Literal["text", "ts", "csv", "npz"]


def _only(*formats: Format) -> tuple[Need, ...]:
    return (Need("format", formats),)


_NUMBERS = _only("ts", "csv", "npz")
SPLIT_OFF = {
    part: DataNeed(f"{part} part", but=f"a file with a {part} part of its own")
    for part in ("validation", "test")
}


def _split_off(part: Literal["validation", "test"]) -> Any:
    return file_options.share_of(part, (SPLIT_OFF[part],))


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Which files, columns and arrays hold the texts or numbers, and the labels."""

    data: Path = option(
        ...,
        "Texts with labels: CSV, TSV, JSON lines (also .gz, .xz, .bz2) or parquet. Or sequences of "
        "numbers: .ts of the UCR/UEA archive, a table with a row for each step, or .npz.",
        metavar="FILE",
        evaluation="required",
    )
    text: str | None = option(
        None, "The column of the texts.", metavar="COLUMN", shown="none", needs=_only("text")
    )
    label: str | None = option(
        None,
        "The column of the labels, or the array of an .npz.",
        metavar="COLUMN",
        shown="the label of each line in .ts, else y, label or labels",
        needs=_only("text", "csv", "npz"),
    )
    label_separator: str | None = option(
        None,
        "What separates the labels of a row that may have several, or none.",
        metavar="CHARACTER",
        shown="each has one",
    )
    format: Literal["auto", "text", "ts", "csv", "npz"] = option(
        "auto",
        "What the file holds: texts, or sequences of numbers as .ts, as a table with a row for "
        "each step, or as arrays; auto looks at its name, and whether sequence is given.",
    )
    sequence: str | None = option(
        None,
        "The column of a table that says to which sequence a row belongs.",
        metavar="COLUMN",
        shown="none",
        needs=_only("csv"),
    )
    time: str | None = option(
        None,
        "The column by which the rows of a sequence are ordered, numbers or dates.",
        metavar="COLUMN",
        shown="the order in the file",
        needs=_only("csv"),
    )
    time_format: str | None = option(
        None,
        "How times are written, such as %d.%m.%Y %H:%M.",
        metavar="FORMAT",
        shown="found",
        needs=(*_only("csv"), Need("time")),
    )
    decimal: Literal[".", ","] = file_options.decimal(_only("csv"))
    features: tuple[str, ...] = option(
        (),
        "The columns of a table with the numbers, or the arrays of an .npz; may be repeated.",
        metavar="COLUMN",
        flags=("--feature",),
        shown="all other columns; x, X, values or frames",
        distinct=True,
        needs=_only("csv", "npz"),
    )
    lengths: str | None = option(
        None,
        "The array of an .npz with the number of steps of each sequence, which are padded or stand "
        "one after another.",
        metavar="ARRAY",
        shown="lengths or length, if there is one",
        needs=_only("npz"),
    )
    validation_share: float = _split_off("validation")
    test_share: float = _split_off("test")
    encoding: str = file_options.encoding((*_only("text", "csv", "ts"), file_options.NOT_PARQUET))
    separator: str | None = file_options.separator(_only("text", "csv"))
    header: bool = file_options.header(_only("text", "csv"))
    skip_bad: bool = option(
        False,
        "Leave out rows without text or label, sequences that cannot be used, and labels too rare "
        "to split.",
    )


class VocabularyOptions(
    common_options.VocabularyOptions, panel="Texts and tokens", needs=_only("text")
):
    """How texts become tokens."""


class NumberOptions(OptionGroup, panel="Numbers and labels"):
    """How numbers are scaled, and how labels count."""

    scaling: Literal["standard", "none"] = option(
        "standard",
        "Whether each channel gets the mean 0 and the deviation 1 that it has in training.",
        needs=_NUMBERS,
    )
    class_weights: Literal["none", "balanced"] = option(
        "none", "Whether rare labels weigh as much as frequent ones in the loss."
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `SequenceNetwork`."""

    embedding_size: int = common_options.embedding_size(128, needs=_only("text"))
    hidden_size: int = common_options.hidden_size(128)
    layers: int = common_options.LAYERS
    bidirectional: bool = common_options.bidirectional(False)
    dropout: float = common_options.dropout(0.5)
    pool: Pooling = option("last", "What of the outputs over time is classified.")
    segment_length: int = option(
        1,
        "How many steps are read as one step of the layers; for long, smooth sequences.",
        ge=1,
        needs=_NUMBERS,
    )


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells()
    vocabulary: VocabularyOptions = VocabularyOptions()
    numbers: NumberOptions = NumberOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """What each of the files holds."""
        first, *others = file_options.files_of(self.data)
        try:
            kind = kind_of(first, self.data)
        except OptionError:  # nothing tells texts from numbers, which matters for files only
            return {**super().in_effect(), "format": get_args(Format)}
        kinds = (kind_of(path, self.data, numbers=kind != "text") for path in others)
        return {**super().in_effect(), "format": (kind, *kinds)}


def kind_of(path: Path, options: DataOptions, *, numbers: bool | None = None) -> Format:
    """What a file holds: "text", "ts", "csv" or "npz".

    Args:
        path: The file.
        options: What the user said.
        numbers: Whether it has to hold numbers, if that is known.

    Raises:
        OptionError: It is not said which column or array has the texts or labels.
    """
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if options.format != "auto":
        kind = options.format
    elif ".ts" in suffixes:
        kind = "ts"
    elif ".npz" in suffixes:
        kind = "npz"
    else:
        kind = "csv" if options.sequence is not None or numbers else "text"
    if kind == "text" and options.text is None:
        raise OptionError(
            f"{option_name('text')} is missing: name the column of the texts, or for numbers the "
            f"column of the sequences with {option_name('sequence')}"
        )
    if kind in ("text", "csv") and options.label is None:
        raise OptionError(f"{option_name('label')} is missing: name the column of the labels")
    return kind


class PredictOptions(file_options.InputOptions, panel="Texts"):
    """What is labelled, and what is told of it."""

    file: Path | None = option(
        None,
        "A file of texts, one a line; - for standard input. For a run on numbers, a file like that "
        "of the training, without labels or with.",
        metavar="FILE",
    )
    probabilities: bool = option(
        False, "Also tell the probability of every label.", flags=("--probabilities",)
    )
    encoding: str = file_options.input_encoding(
        DataNeed(file_options.KIND_OF_INPUT, (file_options.LINES,))
    )
