"""Pictures and their captions from the user's files, split into training, validation and test."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyrnn.errors import DataError
from anyrnn.tasks.caption.backbone import Backbone
from anyrnn.tasks.caption.features import (
    ENDINGS,
    ArraySource,
    Features,
    FeatureSource,
    PictureSource,
    check_channels,
    digest_of,
    features_of,
)
from anyrnn.tasks.caption.options import BackboneOptions, DataOptions
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.split import key_of
from anyrnn.tasks.data.table import leave_out
from anyrnn.tasks.data.table_files import read_complete

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Pictures with captions.

    Attributes:
        source: What makes their features.
        names: What the file calls each picture.
        files: The file of each picture, which may not be there if arrays were read instead.
        captions: The captions of each.
        features: The features of each.
        picture_digests: A hash of the content of each.
    """

    columns = ("names", "files", "captions", "features", "picture_digests")

    source: FeatureSource
    names: Sequence[str]
    files: Sequence[Path]
    captions: Sequence[Sequence[str]]
    features: Features
    picture_digests: Sequence[str]

    def groups(self) -> parts.Groups:
        """Equal pictures stay together."""
        return parts.Groups.equal(self.picture_digests, "picture", "; equal ones count once")


def read(options: DataOptions, pictures: BackboneOptions, seed: int) -> parts.Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        pictures: How pictures become arrays.
        seed: Decides the split; equal pictures land in the same part.

    Raises:
        DataError: A file cannot be used, or there are too few pictures.
        OptionError, SizeError: The backbone cannot be had, or does not fit.
    """
    source = ArraySource() if options.arrays else PictureSource(Backbone.chosen(pictures))
    main = read_part(options.data, options, source)
    own = {name: read_part(path, options, source) for name, path in options.own_files().items()}
    for part in own.values():
        channels = int(main.features.channels[0])
        check_channels(part.features, part.files, channels, f"those of {main.path} have")
    found = parts.divided_at_random(main, options.shares(own), seed) | own
    read_parts = (main, *own.values())
    captions = sum(map(len, found["training"].captions))
    return parts.Data.of(
        found,
        read_parts,
        {**{name: len(part) for name, part in found.items()}, "training_captions": captions},
        notes=[
            f"pictures: {parts.sizes(found)}; {captions:,} captions to train",
            *_without_caption(options, read_parts),
            *parts.told_overlap(parts.overlap(found), "pictures"),
        ],
    )


def read_part(path: Path, options: DataOptions, source: FeatureSource) -> Part:
    """The pictures of a table with their captions.

    Raises:
        DataError: The table or (without `skip_bad`) a row or a picture cannot be used.
        OptionError: Both columns are the same.
    """
    columns = [(options.picture, "picture"), (options.caption, "caption")]
    table = read_complete(path, options, columns)
    pictures, sentences = (table.column(*each) for each in columns)
    captions: dict[str, list[str]] = {}
    named: dict[str, str] = {}
    for row, (picture, sentence) in enumerate(zip(pictures, sentences, strict=True)):
        name = picture.strip()
        captions.setdefault(name, []).append(sentence.strip())
        named.setdefault(name, table.row(row))
    found = _Reading(path, named, options.skip_bad, Counter(table.skipped))
    features, digests = _features(found, options, source)
    names = list(digests)
    folder = options.folder or path.parent
    return Part(
        path,
        source,
        names,
        [folder / name for name in names],
        [captions[name] for name in names],
        features,
        [*digests.values()],
        digests=(table.digest, str(key_of(" ".join(digests.values())))),
        skipped=found.skipped,
    )


@dataclass(frozen=True)
class _Reading:
    """A table that names pictures.

    Attributes:
        path: The table.
        rows: How messages name the first row of each picture.
        skip_bad: Whether pictures that cannot be used are left out.
        skipped: How many were.
    """

    path: Path
    rows: Mapping[str, str]
    skip_bad: bool
    skipped: Counter[str] = field(default_factory=Counter)

    def leave_out(self, name: str, error: object) -> None:
        """Leave out a picture, or refuse the table."""
        problem = f"names a picture that cannot be used: {error}"
        leave_out(self, self.rows[name], problem, "pictures", self.skip_bad)


def _features(
    found: _Reading, options: DataOptions, source: FeatureSource
) -> tuple[Features, dict[str, str]]:
    """The features of the pictures that can be used, and a hash of each by its name."""
    files: dict[str, Path] = {}
    digests: dict[str, str] = {}
    for name in found.rows:
        try:
            file = _file(name, found.path, options)
            digests[name] = digest_of(file)
            files[name] = file
        except DataError as error:
            found.leave_out(name, error)
    names = list(files)
    features = features_of(source, [*files.values()], [*digests.values()])
    used = []
    for row, name in enumerate(names):
        problem: object = None
        if not features.lengths[row]:
            (problem,) = source.read([files[name]])
        elif used and features.channels[row] != features.channels[used[0]]:
            problem = (
                f"{files[name]} has {features.channels[row]} channels, but "
                f"{files[names[used[0]]]} has {features.channels[used[0]]}"
            )
        if problem is None:
            used.append(row)
        else:
            found.leave_out(name, problem)
    if not used:
        raise DataError(f"{found.path} names no picture that can be used")
    return features.taken(used), {names[row]: digests[names[row]] for row in used}


def _file(name: str, table: Path, options: DataOptions) -> Path:
    """The file of a picture, or of its array, which is called like the picture.

    Raises:
        DataError: There is no such array.
    """
    if options.arrays is None:
        return (options.folder or table.parent) / name
    whole = options.arrays / name
    if whole.suffix in ENDINGS:
        return whole
    near = [
        Path(f"{start}{ending}") for start in (whole, whole.with_suffix("")) for ending in ENDINGS
    ]
    there = next((file for file in near if file.exists()), None)
    if there is None:
        raise DataError(f"there is no file {near[2]} or {near[3].name}")
    return there


def _without_caption(options: DataOptions, read_parts: Sequence[Part]) -> Iterator[str]:
    """What is said of pictures of the folder that no table names."""
    folder = options.folder or options.data.parent
    if options.arrays is None:
        named = {os.path.realpath(file) for part in read_parts for file in part.files}
        there = (file for file in folder.iterdir() if file.suffix.lower() in _PICTURES)
        count = sum(os.path.realpath(file) not in named for file in there)
        if count:
            yield f"pictures in {folder} without a caption, which are not used: {count:,}"
