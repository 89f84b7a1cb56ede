"""What a user can choose when a language model is trained and used."""

from pathlib import Path

from anyrnn.tasks.options import common_options, file_options, training_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need

_TABLE = (Need("text", but=None),)
_DRAWN = (Need("greedy", (False,)),)
SMALLEST_ADAPTIVE = 1000
"""Of a smaller vocabulary an adaptive softmax makes nothing faster."""

LARGE_VOCABULARY = DataNeed(
    "vocabulary size", but=f"a vocabulary of less than {SMALLEST_ADAPTIVE:,} tokens"
)


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Which files hold the texts."""

    data: tuple[Path, ...] = option(
        ...,
        "A book, or a file of many texts; also .gz, .xz, .bz2. Repeat it for several.",
        metavar="FILE",
        ge=1,
        evaluation="required",
    )
    text: str | None = option(
        None,
        "The column of the texts, if the file is a table (CSV, TSV, JSON lines, parquet).",
        metavar="COLUMN",
    )
    lines: bool = option(
        False,
        "Each line is a text of its own, such as a name.",
        flags=("--lines",),
        needs=(Need("text", (None,)),),
    )
    separator: str | None = file_options.separator(_TABLE)
    header: bool = file_options.header(_TABLE)
    skip_bad: bool = option(
        False, "Leave out rows without text.", flags=("--skip-bad",), needs=_TABLE
    )


class TokenOptions(OptionGroup, panel="Texts and tokens"):
    """How texts become tokens."""

    tokens: common_options.WrittenKind = option(
        "character",
        "What is predicted: characters, words and marks, what stands between spaces (for texts "
        "that are divided into words already), or pieces of words (byte-pair encoding).",
    )
    lowercase: bool = option(False, "Make capitals small.")
    vocabulary_size: int | None = common_options.written_vocabulary_size()
    minimum_frequency: int = common_options.minimum_frequency(
        2, "character or word", needs=(Need("tokens", ("character", "word", "whitespace")),)
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `LanguageNetwork`."""

    embedding_size: int = common_options.embedding_size(128)
    hidden_size: int = common_options.hidden_size(256)
    layers: int = common_options.LAYERS
    dropout: float = common_options.dropout(0.2)
    locked_dropout: bool = option(
        False,
        "Drop the same values at all steps of a batch (variational dropout).",
        needs=(Need("dropout", but=0),),
    )
    weight_dropout: float = option(
        0.0, "The share of elements of the recurrent matrices dropped in training.", ge=0, lt=1
    )
    tied: bool = option(
        False,
        "The softmax has the embedding's weights.",
        needs=(Need("adaptive_softmax", (False,), why="which has vectors of several sizes"),),
    )
    adaptive_softmax: bool = option(
        False,
        "Rare tokens are predicted in two stages, for large vocabularies.",
        needs=(LARGE_VOCABULARY,),
    )


class TrainingOptions(training_options.TrainingOptions, panel="Training"):
    """How a network is trained."""

    batch_size: int = option(32, "The number of streams, which are read side by side.", ge=1)
    steps: int = option(
        100, "How many tokens back gradients go (truncated backpropagation through time).", ge=1
    )
    learning_rate: float = option(2e-3, "The step size at the beginning.", gt=0)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells()
    vocabulary: TokenOptions = TokenOptions()
    model: ModelOptions = ModelOptions()
    ngram_order: int = option(
        6, "The largest order of the n-grams that the network is compared with.", ge=1, le=20
    )
    training: TrainingOptions = TrainingOptions()


class SamplingOptions(OptionGroup, panel="Text"):
    """How a text is written."""

    prompt: str = option("", "What the text begins with.", metavar="TEXT")
    length: int = option(500, "The largest number of tokens that are added.", ge=0)
    temperature: float = common_options.temperature(_DRAWN)
    top_k: int = common_options.top_k(_DRAWN)
    top_p: float = common_options.top_p(_DRAWN)
    greedy: bool = option(False, "Always take the likeliest token.", flags=("--greedy",))
    seed: int | None = common_options.seed_of_draws(_DRAWN)


class WritingOptions(SamplingOptions, panel="Text"):
    """How texts are written, and how many."""

    count: int = option(1, "The number of texts.", ge=1, needs=(Need("interactive", (False,)),))
    interactive: bool = option(
        False,
        "Choose each next token yourself, among the likeliest ones.",
        flags=("--interactive", "-i"),
    )


class PredictOptions(file_options.InputOptions, panel="Texts"):
    """Which texts are measured."""
