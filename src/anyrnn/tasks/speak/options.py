"""What a user can choose when a voice is trained and used."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.audio import options as audio
from anyrnn.tasks.audio.options import TranscriptOptions
from anyrnn.tasks.options import common_options, file_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.training_options import TrainingOptions


class SoundOptions(OptionGroup, panel="Sound"):
    """The frames that are spoken; a run keeps them, to make sound of them."""

    sample_rate: int = audio.sample_rate()
    window: float = audio.window(0.05)
    hop: float = audio.hop(0.0125)
    mels: int = audio.mels(80)
    trim: float = option(
        30.0,
        "Silence at both ends of a recording is cut off: what is so many decibels below its "
        "loudest; 0 leaves it.",
        ge=0,
    )
    longest_recording: float = option(
        20.0, "The seconds from which on a recording is too long for the training.", gt=0
    )

    @property
    def heard(self) -> audio.SoundOptions:
        """What a frame is."""
        names = ("sample_rate", "window", "hop", "mels")
        sizes = {name: getattr(self, name) for name in names}
        return audio.SoundOptions(features="log-mel", normalisation="training", **sizes)


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `SpeechNetwork`."""

    embedding_size: int = common_options.embedding_size(128, "character")
    convolutions: int = option(
        2, "The number of convolutions over the characters, before the recurrent layers.", ge=0
    )
    hidden_size: int = common_options.hidden_size(128)
    layers: int = common_options.LAYERS
    bidirectional: bool = option(True, "The encoder also reads backwards.")
    attention: Literal["location", "additive"] = option(
        "location",
        "How the decoder's output and each character are compared; location also reads where "
        "attention was before.",
    )
    prenet_size: int = option(
        64, "The size of the layers through which the decoder sees the frame before.", ge=1
    )
    prenet_dropout: float = option(
        0.5, "The share of values dropped there in training: much, so that it reads.", ge=0, lt=1
    )
    reduction: int = option(
        4, "How many frames a step of the decoder gives: more are faster, and coarser.", ge=1
    )
    postnet_layers: int = option(
        3, "The number of convolutions that add to the frames what they lack; 0 for none.", ge=0
    )
    dropout: float = common_options.dropout(0.1)


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: TranscriptOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    lowercase: bool = option(True, "Make the capitals of texts small.")
    sound: SoundOptions = SoundOptions()
    model: ModelOptions = ModelOptions()
    guided_attention: float = option(
        1.0,
        "The weight of the loss that keeps attention near the diagonal of text and time; 0 for "
        "none.",
        ge=0,
    )
    deciding: Literal["distance", "loss"] = option(
        "distance",
        "What decides on the best epoch: the mel distance of the validation texts, spoken, or the "
        "loss, given the true frames, which takes less time.",
    )
    training: TrainingOptions = TrainingOptions()


class SpeechOptions(OptionGroup, panel="Speech"):
    """How a text is spoken."""

    longest: float | None = option(
        None,
        "The largest number of seconds of a text's speech, where it is cut.",
        gt=0,
        le=3600,
        shown="a second, and three times what such a text takes in the training",
    )
    stop_at: float = option(
        0.5, "From which probability of the end on a text's speech ends.", gt=0, le=1
    )
    iterations: int = option(
        60, "How often Griffin and Lim's algorithm improves the phases of the sound.", ge=1
    )


class PredictOptions(file_options.InputOptions, panel="Texts"):
    """Which texts are spoken, and how."""

    output: Path = option(
        Path("speech.wav"),
        "The file of sound to write, all texts one after the other; .wav, .flac, .ogg or .mp3.",
        metavar="FILE",
        flags=("--output", "-o"),
    )
    overwrite: bool = option(False, "Replace a file there.", flags=("--overwrite",))
    pause: float = option(0.3, "The seconds of silence between two texts.", ge=0, le=60)
    speech: SpeechOptions = SpeechOptions()
