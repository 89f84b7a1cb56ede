"""Recordings with their transcripts from the user's table, split into parts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.audio.options import TranscriptOptions
from anyrnn.tasks.audio.recordings import read_recordings
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.table_files import read_complete
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.scores.figures import duration

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Recordings with their transcripts.

    Attributes:
        samples: The samples of each; those of large files lie on disk.
        texts: The transcript of each, in the form in which it is learned.
        names: What messages and reports call each.
        speakers: Who speaks in each, if that is known.
        remarks: How many of the recordings are silent, clipped, ...
    """

    columns = ("texts", "samples", "names", "speakers")

    samples: Sequence[Any]
    texts: Sequence[str]
    names: Sequence[str]
    speakers: Sequence[str] | None = None
    remarks: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """The number of samples of each recording."""
        known = getattr(self.samples, "lengths", None)  # without reading the samples
        if known is not None:
            return known
        return numpy.fromiter(map(len, self.samples), numpy.int64, len(self.samples))

    def groups(self) -> parts.Groups:
        """Recordings of one speaker, else of an equal transcript, stay together."""
        unit = "transcript" if self.speakers is None else "speaker"
        together = self.texts if self.speakers is None else self.speakers
        return parts.Groups.equal(together, unit, f"; recordings of one {unit} stay together")


@dataclass(frozen=True)
class Reading:
    """How a table of transcripts is read.

    Attributes:
        rate: The samples a second that are wanted.
        normal: Brings a transcript to the form in which it is learned, which may be empty.
        silent: Whether silent recordings can be used.
    """

    rate: int
    normal: Callable[[str], str]
    silent: bool = True

    def data(self, options: TranscriptOptions, seed: int) -> parts.Data[Part]:
        """Read the files and split off what has no file of its own.

        Args:
            options: Which files.
            seed: Decides the split; recordings of one speaker, if these are known, else those of
                an equal transcript, land in the same part.

        Raises:
            DataError: A file cannot be used, or there are too few recordings.
        """
        main = self.part(options)
        own = {
            name: self.part(replaced(options, data=path, speaker=None))
            for name, path in options.own_files().items()
        }
        found = parts.divided_at_random(main, options.shares(own), seed) | own
        notes = [f"recordings: {parts.sizes(found, self._size)}"]
        for part in (main, *own.values()):
            if part.remarks:
                listed = ", ".join(f"{count:,} {remark}" for remark, count in part.remarks.items())
                notes.append(f"recordings of {part.path}: {listed}")
        return parts.Data.of(found, [main, *own.values()], notes=notes)

    def _size(self, part: Part) -> str:
        return f"{len(part):,} ({duration(part.lengths.sum() / self.rate)})"

    def part(self, options: TranscriptOptions) -> Part:
        """The recordings that a table names, and their transcripts.

        Args:
            options: Which table, columns and folder.

        Raises:
            DataError: The table or (without `skip_bad`) a row cannot be used; the message names it.
        """
        columns = [(options.recording, "recording"), (options.transcript, "transcript")]
        if options.speaker is not None:
            columns.append((options.speaker, "speaker"))
        table = read_complete(options.data, options, columns)
        skipped, named = Counter(table.skipped), [*table.rows]
        files, texts, *others = (list(table.column(*each)) for each in columns)
        texts = [self.normal(text) for text in texts]
        kept = [number for number, text in enumerate(texts) if text]
        if len(kept) < len(texts):
            if not options.skip_bad:
                first = next(number for number, text in enumerate(texts) if not text)
                raise DataError(
                    f"{options.data}: {named[first]} has a transcript without a letter or digit; "
                    f"fill it in, or leave such rows out with {option_name('skip_bad', True)}"
                )
            skipped["without a letter or digit"] = len(texts) - len(kept)
        folder = options.folder or options.data.parent
        paths = [_file(folder, files[number].strip()) for number in kept]
        recordings = read_recordings(paths, self.rate)
        if not self.silent:
            recordings = recordings.without("silent")
        good, unusable = recordings.usable(
            options.data, [named[number] for number in kept], skip_bad=options.skip_bad
        )
        chosen = [kept[number] for number in good]
        return Part(
            options.data,
            taken(recordings.samples, good),
            [texts[number] for number in chosen],
            [files[number] for number in chosen],
            [others[0][number] for number in chosen] if others else None,
            digests=(table.digest, *recordings.digests),
            skipped=skipped + Counter(unusable),
            remarks=recordings.told(good),
        )


def _file(folder: Path, name: str) -> Path:
    """The file of a recording, which may be named without its suffix."""
    path = folder / name
    if path.suffix.lower() in _SUFFIXES or path.is_file():
        return path
    found = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((each for each in found if each.is_file()), path)
