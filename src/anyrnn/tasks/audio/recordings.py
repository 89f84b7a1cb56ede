"""Recordings: files of sound as samples of one channel at one rate."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy
import pyarrow
from numpy.typing import NDArray
from pyarrow import ipc

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data import contents
from anyrnn.tasks.data.contents import Content
from anyrnn.tasks.data.given import as_list
from anyrnn.tasks.data.prepared import advanced, prepared
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.extras import library

Samples = NDArray[numpy.float32]

_RATES = range(1_000, 1_000_001)
_SILENT = 1e-4  # of full scale: what dither and converters leave of silence
_FULL, _CLIPPED = 0.999, 1e-3  # of full scale, and the share of samples there from which on
_WRONG_LENGTHS = ("(should be ", "Exiting parser")  # what libsndfile notes of a wrong header
_AT_ONCE = 4 << 20  # samples of a batch on disk
_SCHEMA = pyarrow.schema(
    [
        ("samples", pyarrow.large_list(pyarrow.float32())),
        ("problem", pyarrow.string()),
        ("remarks", pyarrow.list_(pyarrow.string())),
    ]
)


class RecordingError(Exception):
    """A recording cannot be used; the message says why, without its name."""


@dataclass(frozen=True)
class Recordings:
    """What some files hold.

    Attributes:
        paths: The files.
        samples: The samples of each, from -1 to 1; those of large files lie on disk. There
            are none where there is a problem.
        problems: Why each cannot be used, in a sentence with its name; "" if it can.
        remarks: What is to be said of each that can be used, such as "silent".
        digests: A hash of each file's content.
    """

    paths: Sequence[Path]
    samples: Sequences
    problems: Sequence[str]
    remarks: Sequence[Sequence[str]]
    digests: Sequence[str]

    def without(self, remark: str) -> "Recordings":
        """The same, but those with a remark cannot be used."""
        problems = [
            problem or (f"{path} is {remark}" if remark in remarks else "")
            for path, problem, remarks in zip(self.paths, self.problems, self.remarks, strict=True)
        ]
        return replace(self, problems=problems)

    def usable(
        self, path: Path, rows: Sequence[str], *, skip_bad: bool
    ) -> tuple[Sequence[int], dict[str, int]]:
        """The numbers of those that can be used, and how many cannot.

        Args:
            path: The table or folder that names them.
            rows: How messages name the row of each, such as "record 17"; empty for a folder.
            skip_bad: Leave out those that cannot be used.

        Raises:
            DataError: One cannot be used, without `skip_bad`; or none can.
        """
        bad = [number for number, problem in enumerate(self.problems) if problem]
        if bad and not skip_bad:
            where = f"{path}: {rows[bad[0]]}: " if rows else ""
            raise DataError(
                f"{where}{self.problems[bad[0]]}; mend it, or leave such recordings out with "
                f"{option_name('skip_bad', True)}"
            )
        if len(bad) == len(self.paths):
            raise DataError(f"{path} has no recording that can be used")
        if not bad:
            return range(len(self.paths)), {}
        good = [number for number, problem in enumerate(self.problems) if not problem]
        return good, {"recordings that cannot be used": len(bad)}

    def told(self, numbers: Sequence[int]) -> dict[str, int]:
        """How many of some recordings have each of the remarks."""
        return dict(Counter(remark for number in numbers for remark in self.remarks[number]))


def read_recording(path: Path, rate: int) -> Samples:
    """The samples of a recording: WAV, FLAC, Ogg, MP3 and what else libsndfile reads.

    Several channels become one, their mean. A file that ends before its header says, or whose
    header says less than the file holds, is read as far as both go.

    Args:
        path: The file.
        rate: The samples a second that are wanted; others are resampled.

    Returns:
        The samples, from -1 to 1.

    Raises:
        DataError: It is missing, empty, damaged, or none.
        MissingExtraError: The extra "speech" is not installed.
    """
    recordings = read_recordings([path], rate)
    if recordings.problems[0]:
        raise DataError(recordings.problems[0])
    return recordings.samples[0]


def read_recordings(paths: Sequence[Path], rate: int) -> Recordings:
    """Read several; those of large files are decoded once and then lie on disk.

    Args:
        paths: The files.
        rate: See `read_recording`.

    Raises:
        MissingExtraError: The extra "speech" is not installed.
        WriteError: They cannot be written to disk.
    """
    versions = (library("soundfile", "speech").__libsndfile_version__, soxr().__version__)
    problems, digests, size = [], [], 0
    for number, path in enumerate(paths, start=1):
        try:
            content = Content(path)
        except DataError as error:
            problems.append(str(error))
            digests.append("")
        else:
            problems.append("")
            digests.append(content.digest)
            size += content.size
        advanced("reading recordings", number, len(paths))

    def make(file: pyarrow.NativeFile) -> None:
        with ipc.new_file(file, _SCHEMA) as writer:
            for batch in _batches(paths, problems, rate):
                writer.write_batch(batch)

    parts = ("recordings 1", str(rate), *versions, *digests)
    _, reader = prepared(parts, make, on_disk=size >= contents.LARGE // 8)
    read = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    found = [problem for batch in read for problem in batch.column(1).to_pylist()]
    for number, problem in enumerate(found):
        if problem and not problems[number]:
            problems[number] = f"{paths[number]} {problem}"
    remarks = [each for batch in read for each in batch.column(2).to_pylist()]
    samples = Sequences([batch.column(0) for batch in read])
    return Recordings(paths, samples, problems, remarks, digests)


def waveforms(recordings: Iterable[Any], rate: int) -> list[Samples]:
    """Recordings that Python gives, as samples.

    Args:
        recordings: The name of a file, or samples at the rate, for each: fractions of full scale,
            or whole numbers of 8, 16 or 32 bits.
        rate: The samples a second.

    Raises:
        DataError: One is neither, has no samples, or some that are no number; or there is one
            recording in the place of several.
    """
    found = []
    for number, each in enumerate(as_list(recordings, "recording")):
        if isinstance(each, str | Path):
            found.append(read_recording(Path(each), rate))
            continue
        try:
            samples = numpy.asarray(each)
        except ValueError as error:
            raise DataError(f"recording {number} is no array of samples: {error}") from None
        if samples.dtype == numpy.int64:
            raise DataError(
                f"recording {number} has whole numbers of 64 bits, so nothing says what full scale "
                "is; give int16, int32 or fractions of it"
            )
        if samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "fi":
            raise DataError(
                f"recording {number} has the shape {samples.shape} and the type {samples.dtype}, "
                "but has to be the name of a file or samples, (time)"
            )
        if not numpy.isfinite(samples).all():
            raise DataError(f"recording {number} has samples that are no number")
        full = numpy.iinfo(samples.dtype).max + 1 if samples.dtype.kind == "i" else 1
        found.append((samples / full).astype(numpy.float32))
    return found


def _batches(
    paths: Sequence[Path], problems: Sequence[str], rate: int
) -> Iterator[pyarrow.RecordBatch]:
    """What the files hold, some of them at a time."""
    rows: list[tuple[Samples, str, list[str]]] = []
    for number, (path, problem) in enumerate(zip(paths, problems, strict=True), start=1):
        nothing = numpy.empty(0, numpy.float32)
        if problem:
            rows.append((nothing, "cannot be read", []))
        else:
            try:
                with path.open("rb") as file:
                    samples, remarks = _decoded(file, rate)
                rows.append((samples, "", remarks))
            except RecordingError as error:
                rows.append((nothing, str(error), []))
        advanced("preparing recordings", number, len(paths))
        if number == len(paths) or sum(len(samples) for samples, *_ in rows) >= _AT_ONCE:
            yield _batch(rows)
            rows = []


def _batch(rows: Sequence[tuple[Samples, str, list[str]]]) -> pyarrow.RecordBatch:
    samples, problems, remarks = zip(*rows, strict=True)
    offsets = numpy.cumsum([0, *map(len, samples)])
    listed: Any = pyarrow.LargeListArray.from_arrays(
        pyarrow.array(offsets), pyarrow.array(numpy.concatenate(samples))
    )
    columns = [listed, pyarrow.array(problems), pyarrow.array(remarks, _SCHEMA.field(2).type)]
    return pyarrow.record_batch(columns, schema=_SCHEMA)


def _decoded(file: IO[bytes], rate: int) -> tuple[Samples, list[str]]:
    """The samples of one channel at a rate, and what is to be said of them.

    Raises:
        RecordingError: There are none that can be used.
    """
    samples, own_rate, remarks = _read(file)
    loudness = numpy.abs(samples)
    check_numbers(samples)
    if (loudness >= _FULL).mean() >= _CLIPPED:
        remarks.append("clipped")
    if loudness.max() < _SILENT:
        remarks.append("silent")
    if samples.shape[1] > 1:
        remarks.append("of several channels, mixed to one")
    one = samples.mean(1, dtype=numpy.float32)
    if own_rate != rate:
        remarks.append(f"resampled from {own_rate:,} Hz")
        one = soxr().resample(one, own_rate, rate)
    if not len(one):
        raise RecordingError("is too short: it has no sample at this rate")
    return one, remarks


def _read(file: IO[bytes]) -> tuple[Samples, int, list[str]]:
    """The samples of a file, (samples, channels), its rate, and what is to be said of it."""
    with opened(file) as sound:
        samples = sound.read(dtype="float32", always_2d=True)
        noted, claimed, rate = sound.extra_info, sound.frames, sound.samplerate
    if not len(samples):
        raise RecordingError("has no samples")
    wrong = len(samples) < claimed or any(note in noted for note in _WRONG_LENGTHS)
    return samples, rate, ["with a header that tells a wrong length"] if wrong else []


def check_numbers(samples: Samples) -> None:
    """Refuse samples that are NaN or infinite, which files of floating-point numbers can hold.

    Raises:
        RecordingError: There is one.
    """
    if not numpy.isfinite(samples).all():
        raise RecordingError("has samples that are no number")


@contextmanager
def opened(file: IO[bytes]) -> Iterator[Any]:
    """A file as soundfile opens it.

    Raises:
        RecordingError: It, or what is read of it meanwhile, is no recording.
    """
    soundfile = library("soundfile", "speech")
    if not file.read(1):
        raise RecordingError("is empty")
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:
            if sound.samplerate not in _RATES:
                claimed = f"{sound.samplerate:,} samples a second"
                raise RecordingError(f"says that it has {claimed}, which no recording has")
            yield sound
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error : ").rstrip(".")
        raise RecordingError(f"is no recording that can be read: {reason}") from None


def soxr() -> Any:
    """The library that resamples, which librosa brings."""
    return library("soxr", "speech")
