"""Sound that comes in pieces: from a file that need not fit into memory, or from standard input."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy

from anyrnn.errors import DataError
from anyrnn.files import reading
from anyrnn.tasks.audio.recordings import RecordingError, Samples, check_numbers, opened, soxr

_FULL_SCALE = 2.0**15  # of samples of 16 bits


def blocks_of(path: Path, rate: int, seconds: float = 0.1) -> Iterator[Samples]:
    """The samples of a recording, as `read_recording` gives them, some at a time.

    Args:
        path: The file.
        rate: The samples a second that are wanted.
        seconds: How much is read at a time; an MP3 is read at once.

    Raises:
        DataError: It is missing, empty, damaged, or none.
    """
    try:
        with reading(path), path.open("rb") as file, opened(file) as sound:
            # Between two reads soundfile seeks, after which MP3 goes on with other samples.
            size = -1 if sound.format == "MP3" else max(1, round(seconds * sound.samplerate))
            yield from _resampled(_read(sound, size), sound.samplerate, rate)
            if not sound.tell():
                raise RecordingError("has no samples")
    except RecordingError as error:
        raise DataError(f"{path} {error}") from None


def _read(sound: Any, size: int) -> Iterator[Samples]:
    """The means of the channels, some at a time; soundfile's own `blocks` repeats old samples where
    a file ends before its header says.
    """
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        check_numbers(block)
        yield block.mean(1, dtype=numpy.float32)


def blocks_of_pcm(stream: IO[bytes], own_rate: int, rate: int) -> Iterator[Samples]:
    """Samples of 16 bits, mono and little-endian, as soon as they come.

    Args:
        stream: Where they come from; half a sample at its end is left out.
        own_rate: Its samples a second.
        rate: The samples a second that are wanted.
    """

    def blocks() -> Iterator[Samples]:
        read1 = getattr(stream, "read1", stream.read)
        left = b""
        while block := read1(2 * own_rate // 10):
            left += block
            whole = len(left) // 2 * 2
            yield numpy.frombuffer(left[:whole], "<i2").astype(numpy.float32) / _FULL_SCALE
            left = left[whole:]

    return _resampled(blocks(), own_rate, rate)


def piped(own_rate: int | None, rate: int) -> Iterator[Samples]:
    """The samples of standard input; see `blocks_of_pcm`.

    Args:
        own_rate: Its samples a second, if they are not those that are wanted.
        rate: The samples a second that are wanted.

    Raises:
        DataError: Nothing is piped in.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("standard input is no stream of samples: pipe them in")
    return blocks_of_pcm(sys.stdin.buffer, own_rate or rate, rate)


def _resampled(blocks: Iterable[Samples], own_rate: int, rate: int) -> Iterator[Samples]:
    if own_rate == rate:
        yield from blocks
        return
    resampling = soxr().ResampleStream(own_rate, rate, 1, dtype="float32")
    for block in blocks:
        yield resampling.resample_chunk(block)
    yield resampling.resample_chunk(numpy.empty(0, numpy.float32), last=True)
