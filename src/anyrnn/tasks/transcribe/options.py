"""What a user can choose when a network that transcribes is trained and used."""

from pathlib import Path
from typing import Literal

from anyrnn.tasks.audio import options as audio
from anyrnn.tasks.audio.options import PCM, AugmentationOptions, SoundOptions, TranscriptOptions
from anyrnn.tasks.options import common_options
from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.training_options import TrainingOptions

_CTC = Need("decoder", ("ctc",))
_ATTENTION = Need("decoder", ("attention",))
_LANGUAGE = (Need("language_model", but=None),)
_OF_TEXT = DataNeed("source of a language model", but="a run of the task generate")
_SOURCE, _PIPED = "source of recordings", "standard input"
NO_DECODER = DataNeed("decoder of a run", but="a network that writes with ctc")


class TokenOptions(OptionGroup, panel="Transcripts and tokens"):
    """How transcripts become tokens."""

    tokens: Literal["character", "bpe"] = option(
        "character", "What is written: characters, or pieces of words (byte-pair encoding)."
    )
    lowercase: bool = common_options.written_lowercase(True)
    punctuation: bool = option(
        False, "Write marks, too; if not, only apostrophes within words are left."
    )
    vocabulary_size: int | None = common_options.written_vocabulary_size()
    minimum_frequency: int = common_options.minimum_frequency(
        2, "character", "transcripts", needs=(Need("tokens", ("character",)),)
    )


class ModelOptions(OptionGroup, panel="Model"):
    """The sizes of the network; see `TranscriptionNetwork`."""

    decoder: Literal["ctc", "attention"] = option(
        "ctc",
        "What writes: connectionist temporal classification, with a token or a blank at each step, "
        "or a recurrent decoder that attends to the steps.",
    )
    segment_length: int = audio.segment_length(3)
    hidden_size: int = common_options.hidden_size(256)
    layers: int = common_options.LAYERS
    bidirectional: bool = option(
        True, "Also read backwards; then a stream cannot be transcribed before its end."
    )
    attention: Literal["additive", "location", "general", "dot"] = option(
        "additive",
        "How the decoder's output and each step are compared; location also reads where attention "
        "was before.",
        needs=(_ATTENTION,),
    )
    embedding_size: int = common_options.embedding_size(64, needs=(_ATTENTION,))
    scheduled_sampling: float = common_options.scheduled_sampling((_ATTENTION,))
    dropout: float = common_options.dropout(0.2)


class SearchOptions(OptionGroup, panel="Search"):
    """How a text is searched for."""

    beam: int = common_options.beam(
        1, "How many beginnings of texts are kept at each step; 1 for greedy search."
    )
    language_model: Path | None = option(
        None,
        "What tells which texts are likely: a run of the task generate with tokens that are "
        "characters, or a file of text, whose n-grams are counted.",
        metavar="RUN|FILE",
        needs=(_CTC,),
    )
    language_weight: float = option(0.5, "The weight of the language model.", ge=0, needs=_LANGUAGE)
    token_bonus: float = option(
        0.0,
        "What each token adds to the logarithm of the probability of a text: language models "
        "prefer short ones.",
        needs=_LANGUAGE,
    )
    ngram_order: int = option(
        6,
        "The number of tokens of the n-grams of a file of text.",
        ge=1,
        le=20,
        needs=(*_LANGUAGE, _OF_TEXT),
    )
    length_penalty: float = option(
        0.0,
        "How much longer texts are preferred (alpha of Wu et al. 2016); 0 for not at all.",
        ge=0,
        needs=(Need("beam", but=1), NO_DECODER),
    )
    longest: int | None = option(
        None,
        "The largest number of tokens of a text, with its end.",
        ge=1,
        shown="the number of steps of the recording",
        needs=(_ATTENTION,),
    )

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """Whether the language model is a run."""
        is_run = self.language_model is not None and self.language_model.is_dir()
        return {**super().in_effect(), **(_OF_TEXT.lacking if is_run else {})}


class Options(OptionGroup, panel="Model"):
    """Everything that decides the result of a training."""

    data: TranscriptOptions
    cells: tuple[str, ...] = common_options.cells("gru")
    vocabulary: TokenOptions = TokenOptions()
    sound: SoundOptions = SoundOptions()
    augmentation: AugmentationOptions = AugmentationOptions()
    model: ModelOptions = ModelOptions()
    decoding: SearchOptions = SearchOptions()
    deciding: Literal["loss", "cer", "wer"] = option(
        "loss",
        "What decides on the best epoch: the loss on the validation data, or the error rate of the "
        "characters or words of their greedy transcriptions.",
    )
    training: TrainingOptions = TrainingOptions()


class PredictOptions(OptionGroup, panel="Recordings"):
    """Which recordings are transcribed, and how."""

    recordings: tuple[Path, ...] = option(
        (),
        "Recordings; - for samples on standard input: mono, 16 bits, little-endian.",
        metavar="FILE...",
        argument=True,
    )
    rate: int | None = audio.rate_of_pcm((DataNeed(_SOURCE, (_PIPED,)),))
    search: SearchOptions = SearchOptions()

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """Whether recordings are files or standard input."""
        kinds = (_PIPED if str(path) == PCM else "files" for path in self.recordings)
        return {**super().in_effect(), _SOURCE: tuple(kinds)}


class TranscribeOptions(PredictOptions, panel="Recordings"):
    """Which recordings are written down, how, and whether with times."""

    times: bool = option(
        True,
        "After each text its words, each in a line with the seconds from which to which it lasts.",
    )
