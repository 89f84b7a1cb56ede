"""Options that the tasks on sound share: how it is read, what a network hears of it, how it is
changed in training.
"""

from pathlib import Path
from typing import Any, Literal

from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.file_options import IF_SPLIT, PartOptions, TableOptions
from anyrnn.tasks.options.option_checks import DataNeed, Need

PCM = "-"
"""The name of samples on standard input."""

FeatureKind = Literal["log-mel", "mfcc"]
Normalisation = Literal["training", "recording", "none"]

_OF_TIME = (Need("time_masks", but=0),)
_OF_FREQUENCY = (Need("frequency_masks", but=0),)
_LOG_MEL = Need("features", ("log-mel",))
_NORMALISED = Need("normalisation", but="none", why="which leaves no value that says nothing")


def sample_rate() -> Any:
    """The option of the rate of everything that is heard or spoken."""
    help = "The samples a second; recordings of another rate are resampled."
    return option(16_000, help, ge=1_000, le=192_000)


def window(default: float) -> Any:
    """The option of the length of a frame."""
    return option(default, "The seconds of sound that a frame describes.", gt=0, le=1)


def hop(default: float) -> Any:
    """The option of the distance of frames."""
    return option(default, "The seconds from one frame to the next.", gt=0, le=1)


def mels(default: int) -> Any:
    """The option of the number of bands."""
    return option(default, "The number of bands of the mel scale.", ge=1, le=1024)


def segment_length(default: int) -> Any:
    """The option of the number of frames of a step."""
    help = "How many frames are read as one step of the layers."
    return option(default, help, ge=1, le=1000)


def rate_of_pcm(needs: tuple[Need | DataNeed, ...]) -> Any:
    """The option of the rate of samples on standard input."""
    help = "The samples a second of standard input."
    return option(None, help, ge=1_000, le=192_000, shown="that of the run", needs=needs)


class SoundOptions(OptionGroup, panel="Sound"):
    """What a network hears of a recording; a run keeps it, so that predictions hear the same."""

    sample_rate: int = sample_rate()
    features: FeatureKind = option(
        "log-mel",
        "What a frame is described by: the logarithms of the energies in bands of the mel scale, "
        "or cepstral coefficients made of these.",
    )
    window: float = window(0.025)
    hop: float = hop(0.01)
    mels: int = mels(40)
    coefficients: int = option(
        13, "The number of cepstral coefficients.", ge=1, needs=(Need("features", ("mfcc",)),)
    )
    normalisation: Normalisation = option(
        "training",
        "Whose mean and deviation each band is scaled by: those of all training recordings, or the "
        "recording's own, which a stream cannot know before its end.",
    )


class AugmentationOptions(OptionGroup, panel="Changes of recordings in training"):
    """How recordings are changed in training, each time in another way."""

    time_shift: float = option(
        0.0,
        "Each recording is moved by up to so many seconds, earlier or later; what leaves it is "
        "lost, what is new is silent.",
        ge=0,
    )
    speed: float = option(
        0.0,
        "Each recording is played faster or slower by up to this share, and so higher or lower.",
        ge=0,
        le=0.5,
    )
    noise: float | None = option(
        None,
        "Add white noise whose power is so many decibels or more below that of the recording.",
        ge=0,
        metavar="DECIBELS",
        shown="none",
    )
    time_masks: int = option(
        0,
        "The number of stretches of time that are blanked out (SpecAugment).",
        ge=0,
        needs=(_NORMALISED,),
    )
    time_mask_share: float = option(
        0.1, "The largest share of a recording that one of them covers.", gt=0, le=1, needs=_OF_TIME
    )
    frequency_masks: int = option(
        0,
        "The number of ranges of frequencies that are blanked out (SpecAugment).",
        ge=0,
        needs=(_LOG_MEL, _NORMALISED),
    )
    frequency_mask_bands: int = option(
        8, "The largest number of bands that one of them covers.", ge=1, needs=_OF_FREQUENCY
    )


class TranscriptOptions(PartOptions, TableOptions, panel="Data"):
    """Which recordings there are, and what is said in them."""

    data: Path = option(
        ...,
        "A table with a recording and its text in each row: CSV, TSV, JSON lines or parquet; also "
        ".gz, .xz, .bz2.",
        metavar="FILE",
        evaluation="required",
    )
    transcript: str = option(..., "The column of what is said.", metavar="COLUMN")
    recording: str = option(
        ...,
        "The column of the recordings: the names of their files, of which .wav, .flac, .ogg or "
        ".mp3 may be left out.",
        metavar="COLUMN",
    )
    folder: Path | None = option(
        None,
        "The folder of the recordings.",
        metavar="FOLDER",
        shown="that of the table",
        evaluation="if given",
    )
    speaker: str | None = option(
        None,
        "A column of who speaks: then no speaker is in two parts that are split off.",
        metavar="COLUMN",
        evaluation="left out",
        needs=(IF_SPLIT,),
    )
    skip_bad: bool = option(
        False, "Leave out rows without a text, and recordings that cannot be used."
    )
