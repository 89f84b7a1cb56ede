"""What a user can choose when a tagger is trained and used."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.suffixes import has_tokens
from anyrnn.tasks.options.training_options import TrainingOptions

Characters = Literal["last", "max", "none"]


class DataOptions(PartOptions, panel="Data"):
    """Which files and columns hold the tokens and tags."""

    data: Path = option(
        ...,
        "Tagged sentences: CoNLL-U, CoNLL (a token a line) or JSON lines; also .gz, .xz, .bz2.",
        metavar="FILE",
        evaluation="required",
    )
    token_column: str | None = option(
        None,
        "The column of the tokens, by name or by number from 1.",
        metavar="COLUMN",
        shown="form in CoNLL-U, tokens in JSON lines, else the first",
    )
    tag_column: str | None = option(
        None,
        "The column of the tags, by name or by number from 1.",
        metavar="COLUMN",
        shown="upos in CoNLL-U, tags in JSON lines, else the last",
    )
    encoding: str = file_options.encoding()
    skip_bad: bool = option(False, "Leave out sentences with a row that cannot be used.")


class WordOptions(OptionGroup, panel="Words and tags"):
    """How words become numbers, and what tags are."""

    lowercase: bool = option(
        True, "Take words that differ in capitals for one; their characters keep them."
    )
    minimum_frequency: int = common_options.minimum_frequency(1, "word", "sentences")
    spans: Literal["auto", "yes", "no"] = option(
        "auto", "Whether tags describe spans (B-PER I-PER O); auto looks at them."
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `TagNetwork`."""

    embedding_size: int = common_options.embedding_size(100, "word")
    characters: Characters = option(
        "last",
        "What of a recurrent layer over each word's characters is read beside the word: its last "
        "outputs, its largest ones, or nothing.",
    )
    character_size: int = option(
        50,
        "The size of a character's vector, and of the layer over characters.",
        ge=1,
        needs=(Need("characters", ("last", "max")),),
    )
    hidden_size: int = common_options.hidden_size(150)
    layers: int = common_options.LAYERS
    bidirectional: bool = common_options.bidirectional(True)
    word_dropout: float = option(
        0.25,
        "How readily a word is read as an unknown one in training: one of frequency n with the "
        "probability a / (a + n).",
        ge=0,
    )
    dropout: float = common_options.dropout(0.5)
    crf: bool = option(False, "Score pairs of neighbouring tags, too: a conditional random field.")


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells()
    words: WordOptions = WordOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(file_options.InputOptions, panel="Sentences"):
    """Which sentences are tagged."""

    texts: tuple[str, ...] = file_options.given_texts("Sentences")
    file: Path | None = option(
        None,
        "A file of sentences, one a line, or one with tokens as for the training (.conllu, .conll, "
        ".jsonl); - for lines of standard input.",
        metavar="FILE",
    )
    token_column: str | None = option(
        None,
        "The column of the tokens in a file that has them.",
        metavar="COLUMN",
        shown="as trained",
        needs=(DataNeed(file_options.KIND_OF_INPUT, (file_options.TOKENS,)),),
    )

    def kind_of(self, file: Path | None) -> str:
        """What a file holds, or without one standard input."""
        return file_options.TOKENS if file and has_tokens(file) else file_options.LINES
