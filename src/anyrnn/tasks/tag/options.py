"""What a user can choose when a tagger is trained and used."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.common_options import TrainingOptions
from anyrnn.tasks.options import OptionGroup, option

Characters = Literal["last", "max", "none"]


class DataOptions(OptionGroup, panel="Data"):
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
    validation_data: Path | None = option(
        None,
        "Sentences that decide when to stop.",
        metavar="FILE",
        shown="a tenth of the data",
        evaluation="left out",
    )
    test_data: Path | None = option(
        None,
        "Held-out sentences that measure the result.",
        metavar="FILE",
        shown="a tenth of the data",
        evaluation="left out",
    )
    encoding: str = option("utf-8", "The encoding of the files.", metavar="NAME")
    skip_bad: bool = option(False, "Leave out sentences with a row that cannot be used.")


class WordOptions(OptionGroup, panel="Words and tags"):
    """How words become numbers, and what tags are."""

    lowercase: bool = option(
        True, "Take words that differ in capitals for one; their characters keep them."
    )
    minimum_frequency: int = option(
        1,
        "How often a word has to occur in the training sentences to be known.",
        ge=1,
        flags=("--min-frequency", "--minimum-frequency"),
    )
    spans: Literal["auto", "yes", "no"] = option(
        "auto", "Whether tags describe spans (B-PER I-PER O); auto looks at them."
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `TagNetwork`."""

    embedding_size: int = option(100, "The size of a word's vector.", ge=1)
    characters: Characters = option(
        "last",
        "What of a recurrent layer over each word's characters is read beside the word: its last "
        "outputs, its largest ones, or nothing.",
    )
    character_size: int = option(
        50, "The size of a character's vector, and of the layer over characters.", ge=1
    )
    hidden_size: int = option(150, "The size of a recurrent layer.", ge=1)
    layers: int = option(1, "The number of recurrent layers.", ge=1, le=1000)
    bidirectional: bool = option(True, "Also read backwards.")
    word_dropout: float = option(
        0.25,
        "How readily a word is read as an unknown one in training: one of frequency n with the "
        "probability a / (a + n).",
        ge=0,
    )
    dropout: float = option(0.5, "The share of values dropped in training.", ge=0, lt=1)
    crf: bool = option(False, "Score pairs of neighbouring tags, too: a conditional random field.")


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
    words: WordOptions = WordOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(OptionGroup, panel="Sentences"):
    """Which sentences are tagged."""

    texts: tuple[str, ...] = option(
        (),
        "Sentences; without any, they are read from standard input.",
        metavar="[TEXT]...",
        argument=True,
    )
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
    )
    encoding: str = option("utf-8", "The encoding of the file or standard input.", metavar="NAME")
