"""What a user can choose when a translator is trained and used."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.decoding import search_options
from anyrnn.tasks.decoding.search_options import ATTENTION
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.common_options import NOT_PIECES, ChosenKind
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import Need
from anyrnn.tasks.options.training_options import TrainingOptions

_TABLE = (Need("data", but=None),)


def _parallel(part: str, help: str) -> str | None:
    """The option of one of two parallel files of a part."""
    needs = (Need(f"{part}_data", (None,)),)
    return option(None, help, metavar="FILE", evaluation="left out", needs=needs)


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Which files or columns hold the sentences."""

    source: str = option(
        ...,
        "What is translated: a file with a sentence in each line, also .gz, .xz, .bz2; or, of a "
        "table, a column.",
        metavar="FILE|COLUMN",
    )
    target: str = option(
        ...,
        "The translations: a file whose lines belong to those of the other; or a column.",
        metavar="FILE|COLUMN",
    )
    data: Path | None = option(
        None,
        "A table with a pair of sentences in each row: CSV, TSV, JSON lines or parquet; also .gz, "
        ".xz, .bz2.",
        metavar="FILE",
        evaluation="if given",
    )
    validation_source: str | None = _parallel(
        "validation", "Or a file of sentences that decide when to stop."
    )
    validation_target: str | None = _parallel("validation", "Their translations.")
    test_source: str | None = _parallel(
        "test", "Or a file of held-out sentences that measure the result."
    )
    test_target: str | None = _parallel("test", "Their translations.")
    validation_share: float = file_options.share_of(
        "validation", (Need("validation_source", (None,)),)
    )
    test_share: float = file_options.share_of("test", (Need("test_source", (None,)),))
    separator: str | None = file_options.separator(_TABLE)
    header: bool = file_options.header(_TABLE)
    skip_bad: bool = option(False, "Leave out pairs of which a side is empty.")


class TokenOptions(OptionGroup, panel="Texts and tokens"):
    """How sentences become tokens."""

    source_tokens: ChosenKind = option(
        "auto",
        "What is read: characters, words and marks, what stands between spaces, or pieces of words "
        "(byte-pair encoding); auto takes characters of scripts without spaces, else pieces.",
    )
    target_tokens: ChosenKind = option("auto", "What is written, likewise.")
    shared_vocabulary: bool = option(False, "Both sides have one vocabulary, made of both.")
    lowercase: bool = common_options.written_lowercase(False)
    vocabulary_size: int | None = common_options.written_vocabulary_size(" of a side")
    minimum_frequency: int = common_options.minimum_frequency(
        2, "character or word", "sentences", needs=(NOT_PIECES,)
    )
    maximum_length: int = common_options.most_tokens(
        200,
        "The largest number of tokens of a sentence: longer pairs are left out of the training, "
        "and of a longer sentence only the beginning is translated.",
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `TranslationNetwork`."""

    embedding_size: int = common_options.embedding_size(128)
    hidden_size: int = common_options.hidden_size(256)
    layers: int = common_options.LAYERS
    bidirectional: bool = option(True, "The encoder also reads backwards.")
    attention: Literal["additive", "location", "general", "dot", "none"] = option(
        "additive",
        "How the decoder's output and each token of the source are compared; location also reads "
        "where attention was before; with none the decoder has the encoder's last outputs only.",
    )
    input_feeding: bool = common_options.INPUT_FEEDING
    coverage: bool = option(
        False,
        "Attention also reads how much attention each token of the source has had; then it is "
        "computed step by step.",
        needs=(Need("attention", ("additive",)),),
    )
    scheduled_sampling: float = common_options.scheduled_sampling()
    dropout: float = common_options.dropout(0.2)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    vocabulary: TokenOptions = TokenOptions()
    model: ModelOptions = ModelOptions()
    coverage_loss: float = option(
        0.0,
        "The weight, in the training loss, of attention to tokens that have had it before; 0 for "
        "none.",
        ge=0,
        needs=(Need("attention", but="none"),),
    )
    beam: int = common_options.beam(
        5, "How many translations the search keeps at each step, to measure the result."
    )
    deciding: Literal["loss", "bleu"] = option(
        "loss",
        "What decides on the best epoch: the loss on the validation data, or the BLEU of their "
        "greedy translations, which takes longer.",
    )
    training: TrainingOptions = TrainingOptions()


class SearchOptions(search_options.SearchOptions, panel="Search"):
    """How a translation is searched for."""

    longest: int | None = option(
        None,
        "The largest number of tokens of a translation, with its end.",
        ge=1,
        shown="twice those of the source, and 20",
    )
    copy_unknown: bool = option(
        True,
        "Where an unknown word would be written, write the source's word with the most attention; "
        "if not, no unknown word is written.",
        needs=(ATTENTION, NOT_PIECES),
    )


class PredictOptions(file_options.InputOptions, panel="Sentences"):
    """Which sentences are translated, and how."""

    texts: tuple[str, ...] = file_options.given_texts("Sentences")
    file: Path | None = file_options.given_file("sentences")
    search: SearchOptions = SearchOptions()
