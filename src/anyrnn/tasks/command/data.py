"""Recordings of words from the user's files, split so that no speaker is in two parts."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.kernels import store
from anyrnn.tasks.audio.recordings import read_recordings, waveforms
from anyrnn.tasks.classify import data as classify_data
from anyrnn.tasks.classify.data import divided, sorted_labels, targets
from anyrnn.tasks.command.listing import Listing, listed
from anyrnn.tasks.command.options import DataOptions
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.split import key_of

_SPEAKER = "speaker "


@dataclass(frozen=True, eq=False)
class Part(classify_data.Part):
    """Recordings, what is said in them, and who says it.

    Attributes:
        together_with: For each recording the speaker or, where nothing tells, its content: equal
            ones land in the same part.
        speakers: The number of different speakers that are known.
        remarks: What is to be said of the recordings, and of how many of them.
    """

    columns = (*classify_data.Part.columns, "together_with")

    together_with: Sequence[str]
    speakers: int = field(default=0, kw_only=True)
    remarks: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @property
    def unit(self) -> str:
        """What an input is called."""
        return "recording"

    def groups(self) -> parts.Groups:
        """Recordings of one speaker stay together, else equal ones."""
        return parts.Groups(self.keys, "speaker" if self.speakers else self.unit)

    @cached_property
    def keys(self) -> NDArray[numpy.uint64]:
        """A number for each recording, the same for those that are to land in the same part."""
        return numpy.fromiter(map(key_of, self.together_with), numpy.uint64, len(self))


def read(options: DataOptions, rate: int, seed: int) -> parts.Data[classify_data.Part]:
    """Read the recordings and split off what is not given as a part of its own.

    Args:
        options: Which recordings.
        rate: The samples a second.
        seed: Decides the split, and which recordings of other words are kept.

    Raises:
        DataError: A file cannot be used, or too few recordings of a word are there.
    """
    own = {name: listed(path, options, seed) for name, path in options.own_files().items()}
    main = _without(listed(options.data, options, seed), own)
    if not main.files:
        raise DataError(f"{main.path} has no recording that is not in another part")
    training = read_part(main, options, rate)
    read_parts = {name: read_part(each, options, rate) for name, each in own.items()}
    found = divided(training, options.shares(own), seed, options.skip_bad) | read_parts
    labels = sorted_labels(found["training"])
    for part in found.values():
        targets(part, labels)
    named = {name: found.get(name, ()) for name in parts.USES}
    every = (training, *read_parts.values())
    remarks: Counter[str] = sum((Counter(part.remarks) for part in every), Counter())
    counts = {name: len(part) for name, part in named.items()}
    return parts.Data.of(
        found,
        every,
        {**counts, "speakers": training.speakers, "recordings": remarks},
        notes=[
            f"recordings: {parts.sizes(named)}; {len(labels)} words",
            *_notes(found),
            *(f"recordings {remark}: {count:,}" for remark, count in remarks.items()),
        ],
    )


def _without(main: Listing, own: Mapping[str, Listing]) -> Listing:
    """The recordings that no other part names."""
    named = {os.path.realpath(file) for each in own.values() for file in each.files}
    if not named:
        return main
    return main.take(
        [k for k, file in enumerate(main.files) if os.path.realpath(file) not in named]
    )


def _notes(found: Mapping[str, Part]) -> list[str]:
    """What is to be said of speakers."""
    notes = []
    speakers = {
        name: {group for group in part.together_with if group.startswith(_SPEAKER)}
        for name, part in found.items()
    }
    if any(speakers.values()):
        notes.append(f"speakers: {parts.sizes(speakers)}")
        others = [names for part, names in speakers.items() if part != "training"]
        both = speakers["training"].intersection(set[str]().union(*others))
        if both:
            notes.append(
                f"{len(both):,} of the training speakers also speak in what is measured, because "
                "the parts were given so"
            )
    else:
        notes.append("speakers: no name tells them; recordings of one may be in several parts")
    return notes


def read_part(found: Listing, options: DataOptions, rate: int) -> Part:
    """Read the recordings of a listing.

    Args:
        found: The listing.
        options: What recordings without speech are called, and whether bad ones are left out.
        rate: The samples a second.

    Raises:
        DataError: One cannot be used, without `skip_bad`; or none can.
    """
    recordings = read_recordings(found.files, rate)
    numbers, bad = recordings.usable(found.path, found.rows, skip_bad=options.skip_bad)
    names = found.rows or [str(file.relative_to(found.path)) for file in found.files]
    samples = recordings.samples.taken(numbers)
    part = Part(
        found.path,
        samples,
        [found.words[k] for k in numbers],
        [names[k] for k in numbers],
        [
            _SPEAKER + found.speakers[k] if found.speakers[k] else recordings.digests[k]
            for k in numbers
        ],
        digests=(store.key(*recordings.digests, *found.words, *found.speakers),),
        skipped=dict(found.skipped + Counter(bad)),
        speakers=len({found.speakers[k] for k in numbers} - {""}),
        remarks=recordings.told(numbers),
    )
    if found.noise and options.silence not in part.labels:
        return _with_silence(part, samples, found.noise, options.silence, rate)
    return part


def _with_silence(
    part: Part, samples: Sequences, noise: Sequence[Path], label: str, rate: int
) -> Part:
    """The same with pieces of noise, as long as the recordings and about as many as of a word."""
    recordings = read_recordings(noise, rate)
    files, _ = recordings.usable(part.path, (), skip_bad=False)
    length = int(numpy.median(samples.lengths))
    starts = [
        (file, start)
        for file in files
        for start in range(0, int(recordings.samples.lengths[file]) - length + 1, length)
    ]
    wanted = round(len(part) / len({*part.labels}))
    if len(starts) > wanted:
        chosen = numpy.linspace(0, len(starts) - 1, wanted).round().astype(int).tolist()
        starts = [starts[k] for k in chosen]
    pieces = [recordings.samples[file][start : start + length] for file, start in starts]
    # Pieces of the same noise are alike: they stay together, if there are noises for every part.
    alone = len(files) < len(parts.USES)
    names = [f"{noise[file].name}, from {start / rate:.1f} s" for file, start in starts]
    return replace(
        part,
        inputs=samples.followed_by(pieces),
        labels=[*part.labels, *([label] * len(pieces))],
        rows=[*part.rows, *names],
        digests=(store.key(*part.digests, *recordings.digests),),
        together_with=[
            *part.together_with,
            *(f"{recordings.digests[file]} {start if alone else ''}" for file, start in starts),
        ],
    )


def given_part(
    path: Path,
    inputs: Sequence[Any],
    rate: int,
    words: Sequence[str],
    speakers: Sequence[Any] | None,
) -> Part:
    """Recordings that Python gives, as a part.

    Args:
        path: What messages call them.
        inputs, rate: See `waveforms`.
        words: What is said in each.
        speakers: Who says it.

    Raises:
        DataError: A recording cannot be used.
    """
    samples = waveforms(inputs, rate)
    if speakers is None:
        groups = [str(key_of(each.tobytes())) for each in samples]
    else:
        groups = [f"{_SPEAKER}{speaker}" for speaker in speakers]
    rows = [f"row {number}" for number in range(len(samples))]
    count = 0 if speakers is None else len({*groups})
    return Part(path, samples, words, rows, groups, speakers=count)
