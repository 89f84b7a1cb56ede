"""The recordings of a speaker with their texts, without the silence at both ends."""

from dataclasses import replace

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.options import TranscriptOptions
from anyrnn.tasks.audio.texts import Normal
from anyrnn.tasks.audio.transcripts import Part, Reading
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.speak.options import Options
from anyrnn.tasks.speak.trimming import trimmed


def normal_of(options: Options) -> Normal:
    """The form in which texts are read."""
    return Normal(lowercase=options.lowercase, punctuation=True)


def read(options: Options) -> Data[Part]:
    """Read and split the table that the options name.

    Raises:
        DataError: It cannot be used, or there are too few recordings.
    """
    return without_silence(_reading(options).data(options.data, options.training.seed), options)


def read_part(data: TranscriptOptions, options: Options) -> Part:
    """The recordings of a table.

    Args:
        data: Which table.
        options: How it is read.

    Raises:
        DataError: It cannot be used.
    """
    return part_without_silence(_reading(options).part(data), options)


def without_silence(data: Data[Part], options: Options) -> Data[Part]:
    """Data whose recordings have no silence at both ends, and are not too long to be learned from,
    with notes on it.

    Raises:
        DataError: All recordings of the training are too long.
    """
    parts = {"training": data.training, "validation": data.validation, "test": data.test}
    before = {name: part for name, part in parts.items() if part is not None}
    after = {name: part_without_silence(part, options) for name, part in before.items()}
    left, whole = (sum(int(p.lengths.sum()) for p in some.values()) for some in (after, before))
    notes = [*data.notes]
    if options.sound.trim:
        notes.append(f"silence cut off at the ends of recordings: {1 - left / whole:.1%}")
    training, longest = after["training"], options.sound.longest_recording
    kept = training.lengths <= longest * options.sound.sample_rate
    if not kept.any():
        raise DataError(
            f"all recordings of {training.path} are longer than {longest:g} s; divide them, or "
            f"raise {option_name('longest_recording')}"
        )
    if not kept.all():
        after["training"] = training.take(kept.nonzero()[0].tolist())
        notes.append(
            f"left out of the training: {(~kept).sum():,} recording(s) longer than {longest:g} s"
        )
    return replace(data, **after, notes=notes)


def part_without_silence(part: Part, options: Options) -> Part:
    """A part whose recordings have no silence at both ends."""
    return trimmed(part, Features(options.sound.heard), options.sound.trim)


def _reading(options: Options) -> Reading:
    """How tables are read: a text with a silent recording teaches nothing."""
    return Reading(options.sound.sample_rate, normal_of(options), silent=False)
