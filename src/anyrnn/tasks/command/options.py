"""What a user can choose when spoken words are learned, told and listened for."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.audio import options as audio
from anyrnn.tasks.audio.options import PCM, SoundOptions
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.suffixes import is_table
from anyrnn.tasks.options.training_options import TrainingOptions

KIND = "kind of data"
FOLDER, LIST, TABLE = "folders of recordings", "lists of recordings", "tables"
_OF_TABLES = (DataNeed(KIND, (TABLE,)),)


def kind_of(path: Path, separator: str | None = None) -> str:
    """What names recordings: a folder, a table, or a list of files."""
    if path.is_dir():
        return FOLDER
    return TABLE if is_table(path) or separator is not None else LIST


class DataOptions(PartOptions, TableOptions, panel="Data"):
    """Where the recordings are, and what is said in them by whom."""

    data: Path = option(
        ...,
        "A folder with a folder of recordings (WAV, FLAC, Ogg, MP3) for each word; or a table with "
        "a column of files; or a text file with a file in each line, in the folder of its word.",
        metavar="PATH",
        evaluation="required",
    )
    recording: str = option(
        "recording",
        "The column of the recordings, as seen from the folder of the table.",
        metavar="COLUMN",
        needs=_OF_TABLES,
    )
    label: str = option("label", "The column of what is said.", metavar="COLUMN", needs=_OF_TABLES)
    name_pattern: str = option(
        r"(?P<speaker>[0-9a-f]{8})_nohash_",
        "A regular expression that finds the speaker in the name of a file, as a group of that "
        "name, as Speech Commands has it; and in a flat folder the word.",
        metavar="REGEX",
        needs=(Need("speaker", (None,)),),
    )
    speaker: str | None = option(
        None, "The column of who speaks, of a table.", metavar="COLUMN", shown="none"
    )
    words: tuple[str, ...] = option(
        (),
        "The words to be told apart; may be repeated. Of the others so many are kept as unknown "
        "as there are of a word on average.",
        metavar="WORD",
        flags=("--word",),
        shown="all",
        distinct=True,
    )
    silence: str = option(
        "_silence_",
        "What recordings without speech are called. Without any, they are cut out of the "
        "recordings of a folder _background_noise_.",
        metavar="NAME",
    )
    unknown: str = option("_unknown_", "What recordings of other words are called.", metavar="NAME")
    validation_data: Path | None = file_options.part_of_its_own(
        "validation",
        "A folder, a table or a list that decides when to stop; what it names is no training data.",
    )
    encoding: str = file_options.encoding((DataNeed(KIND, but=FOLDER), file_options.NOT_PARQUET))
    separator: str | None = file_options.separator(_OF_TABLES)
    header: bool = file_options.header(_OF_TABLES)
    skip_bad: bool = option(
        False, "Leave out recordings that cannot be used, and words too rare to split."
    )

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """What each of the paths is."""
        kinds = (kind_of(path, self.separator) for path in file_options.files_of(self))
        return {**super().in_effect(), KIND: tuple(kinds)}


class AugmentationOptions(audio.AugmentationOptions):
    """How recordings are changed in training, each time in another way."""

    continued: float = option(
        0.0,
        "The share of recordings that begin with the state after another one, as in a stream.",
        ge=0,
        le=1,
        needs=(Need("bidirectional", (False,)),),
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `CommandNetwork`."""

    hidden_size: int = common_options.hidden_size(96)
    layers: int = common_options.LAYERS
    bidirectional: bool = common_options.bidirectional(False)
    dropout: float = common_options.dropout(0.3)
    pool: Literal["mean", "max"] = option(
        "mean", "What of the outputs over time is classified: their mean, or the largest values."
    )
    segment_length: int = audio.segment_length(2)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: DataOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    sound: SoundOptions = SoundOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()


class PredictOptions(OptionGroup, panel="Recordings"):
    """Which recordings are told apart, and what is told of them."""

    recordings: tuple[str, ...] = option(
        (),
        "Recordings; without any, their names are read from standard input, one a line.",
        metavar="[FILE]...",
        argument=True,
    )
    probabilities: bool = option(
        False, "Also tell the probability of every word.", flags=("--probabilities",)
    )


class ListenOptions(OptionGroup, panel="Listening"):
    """What is listened to, and what counts as a word that was heard."""

    recording: str = option(
        ...,
        "A recording; or - for samples on standard input: mono, 16 bits, little-endian.",
        metavar="FILE",
        argument=True,
    )
    rate: int | None = audio.rate_of_pcm((Need("recording", (PCM,)),))
    window: float | None = option(
        None,
        "The seconds over which the outputs of the network are pooled.",
        gt=0,
        shown="half of a training recording",
    )
    threshold: float = option(
        0.8, "The probability from which on a word counts as heard.", gt=0, le=1
    )
    refractory: float = option(0.5, "The seconds after a word in which no other one is told.", ge=0)
