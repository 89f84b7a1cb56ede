"""What a decoder reads of pictures: an array for each, (regions, channels), made once and kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, Self

import numpy
import pyarrow
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.files import reading
from anyrnn.tasks.caption.backbone import Backbone, read_picture
from anyrnn.tasks.data.prepared import advanced, prepared, read_columns, write_columns

ENDINGS = (".npy", ".npz")
_AT_ONCE = 32  # pictures
_DIGEST_SIZE = 16

Array = NDArray[numpy.float32]


@dataclass(frozen=True)
class PictureFeatures:
    """What is known of a picture.

    Attributes:
        regions: (regions, channels).
        grid: The height and width of the regions, if they lie in rows; else 0 and 0.
    """

    regions: Array
    grid: tuple[int, int]

    @classmethod
    def of(cls, array: NDArray[Any], name: str) -> "PictureFeatures":
        """That of an array, (regions, channels) or (channels, height, width).

        Args:
            array: The array.
            name: What messages call it.

        Raises:
            DataError: It has another shape, no region, or what is no number.
        """
        if array.ndim not in (2, 3) or not array.size:
            raise DataError(
                f"{name} has the shape {array.shape}, but has to be (regions, channels) or "
                "(channels, height, width), none of them 0"
            )
        if array.dtype.kind not in "fiub":
            raise DataError(f"{name} has values of the type {array.dtype}, which are no numbers")
        with numpy.errstate(over="ignore"):
            found = array.astype(numpy.float32)
        if not numpy.isfinite(found).all():
            raise DataError(f"{name} has a value that is no finite number")
        if found.ndim == 2:
            return cls(found, (0, 0))
        channels, height, width = found.shape
        return cls(found.reshape(channels, -1).T, (height, width))


class FeatureSource(Protocol):
    """What makes arrays of files."""

    @property
    def key(self) -> str:
        """A name that follows from all that they follow from, but for the files."""
        ...

    def read(self, files: Sequence[Path]) -> list[PictureFeatures | DataError]:
        """The features of each file, or why it cannot be used."""
        ...


@dataclass(frozen=True)
class PictureSource:
    """Pictures, of which a backbone makes features."""

    backbone: Backbone

    @property
    def key(self) -> str:
        """The backbone's."""
        return self.backbone.key

    def read(self, files: Sequence[Path]) -> list[PictureFeatures | DataError]:
        """The features of each picture, or why it cannot be read."""
        pictures = [_tried(read_picture, file) for file in files]
        sound = [each for each in pictures if not isinstance(each, DataError)]
        arrays = iter(self.backbone.arrays(sound) if sound else [])
        return [
            each
            if isinstance(each, DataError)
            else PictureFeatures.of(next(arrays), f"what {self.backbone.name} makes of {file}")
            for each, file in zip(pictures, files, strict=True)
        ]


@dataclass(frozen=True)
class ArraySource:
    """Files of arrays."""

    key = "arrays"

    def read(self, files: Sequence[Path]) -> list[PictureFeatures | DataError]:
        """The features in each file, or why it cannot be used."""
        return [_tried(_read_array, file) for file in files]


def _tried(read: Any, file: Path) -> Any:
    try:
        return read(file)
    except DataError as error:
        return error


def _read_array(path: Path) -> PictureFeatures:
    try:
        with reading(path), path.open("rb") as opened:
            found = numpy.load(opened, allow_pickle=False)
            if isinstance(found, numpy.lib.npyio.NpzFile):
                if len(found.files) != 1:
                    raise DataError(f"{path} has {len(found.files)} arrays, but has to have one")
                found = found[found.files[0]]
    except DataError:
        raise
    # numpy, zipfile and zlib raise whatever the bytes lead to.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(f"{path} holds no array of numbers (.npy, .npz)") from None
        raise DataError(f"{path} is not a sound {path.suffix} file: {error}") from None
    return PictureFeatures.of(found, str(path))


class Features(Sequence[Array]):
    """The regions of pictures, (regions, channels + 2) each, which may lie on disk. Last come the
    height and the width at which a region lies, from -1 to 1, or 0 if they lie in no rows.

    Args:
        shapes: Of each picture the number of regions, the height and the width of their grid, and
            the number of channels.
        values: The arrays of some pictures after those of others, each with all its pictures one
            after the other.
        places: Of each picture the number of its array, and where it begins there.
    """

    def __init__(self, shapes: NDArray[Any], values: Sequence[Array], places: NDArray[Any]) -> None:
        self._shapes, self._values, self._places = shapes, values, places

    @classmethod
    def joined(cls, parts: Sequence[tuple[NDArray[Any], Array]]) -> Self:
        """Those of some pictures after those of others, each with shapes and values."""
        places = [
            numpy.stack([numpy.full(len(shapes), number), sizes.cumsum() - sizes], 1)
            for number, (shapes, _) in enumerate(parts)
            for sizes in [shapes[:, 0] * shapes[:, 3]]
        ]
        shapes = numpy.concatenate([shapes for shapes, _ in parts])
        return cls(shapes, [values for _, values in parts], numpy.concatenate(places))

    @classmethod
    def of(cls, found: Sequence[PictureFeatures]) -> Self:
        """Those of pictures in memory."""
        return cls.joined([_flat(found)])

    def taken(self, rows: Sequence[int] | NDArray[Any]) -> "Features":
        """Those of some pictures."""
        chosen = numpy.asarray(rows, numpy.int64)
        return Features(self._shapes[chosen], self._values, self._places[chosen])

    @property
    def lengths(self) -> NDArray[numpy.int64]:
        """The number of regions of each picture."""
        return self._shapes[:, 0]

    @property
    def channels(self) -> NDArray[numpy.int64]:
        """The number of channels of each picture."""
        return self._shapes[:, 3]

    def grid(self, row: int) -> tuple[int, int]:
        """The height and width of the regions of a picture; 0 and 0 if they lie in no rows."""
        _, height, width, _ = self._shapes[row].tolist()
        return height, width

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[row] for row in range(len(self))[index]]
        regions, height, width, channels = self._shapes[index].tolist()
        place, start = self._places[index].tolist()
        values = self._values[place][start : start + regions * channels]
        return numpy.hstack([values.reshape(regions, channels), _where(regions, height, width)])


@cache
def _where(regions: int, height: int, width: int) -> Array:
    """Where regions lie, (regions, 2)."""
    if not height:
        return numpy.zeros((regions, 2), numpy.float32)
    axes = [numpy.linspace(-1, 1, size) if size > 1 else numpy.zeros(1) for size in (height, width)]
    return numpy.stack(numpy.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2).astype("float32")


def features_of(source: FeatureSource, files: Sequence[Path], digests: Sequence[str]) -> Features:
    """The features of files, made once for each content and kept on disk.

    Args:
        source: Makes them.
        files: The files.
        digests: A hash of the content of each.

    Returns:
        The features; a file that cannot be used has no region.

    Raises:
        WriteError: They cannot be written.
    """
    parts = []
    for start in range(0, len(files), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)

        def make(file: pyarrow.NativeFile, some: slice = some) -> None:
            found = source.read(files[some])
            nothing = PictureFeatures(numpy.zeros((0, 1), numpy.float32), (0, 0))
            used = [nothing if isinstance(each, DataError) else each for each in found]
            shapes, values = _flat(used)
            write_columns(file, [shapes.ravel(), values])

        _, reader = prepared(("features 2", source.key, *digests[some]), make)
        shapes, values = read_columns(reader)
        parts.append((shapes.reshape(-1, 4), values))
        advanced("reading pictures", min(start + _AT_ONCE, len(files)), len(files))
    return Features.joined(parts)


def _flat(found: Sequence[PictureFeatures]) -> tuple[NDArray[Any], Array]:
    """The shapes of features, and their values one after the other."""
    shapes = [(len(each.regions), *each.grid, each.regions.shape[1]) for each in found]
    values = numpy.concatenate([each.regions.ravel() for each in found])
    return numpy.array(shapes, numpy.int64), values


def given_features(source: FeatureSource, pictures: Sequence[Any], first: int = 0) -> Features:
    """The features of pictures that are given in Python, which are not kept.

    Args:
        source: Makes those of files.
        pictures: Files, or arrays.
        first: The number of the first one, for messages.

    Raises:
        DataError: One of them cannot be used.
    """
    files = [Path(each) for each in pictures if not isinstance(each, numpy.ndarray)]
    if len(files) < len(pictures) and isinstance(source, PictureSource):
        raise DataError("arrays were given, but the network has learned from files of pictures")
    read, found = iter(source.read(files)), []
    for number, given in enumerate(pictures, start=first):
        if isinstance(given, numpy.ndarray):
            one = PictureFeatures.of(given, f"row {number}")
        else:
            one = next(read)
        if isinstance(one, DataError):
            raise one
        found.append(one)
    return Features.of(found)


def check_channels(features: Features, names: Sequence[object], channels: int, of: str) -> None:
    """Refuse features of another kind than a network reads.

    Args:
        features: The features.
        names: What messages call the pictures.
        channels: How many channels it reads.
        of: What has so many, for the message.

    Raises:
        DataError: A picture has another number of channels.
    """
    for row in numpy.flatnonzero(features.channels != channels)[:1].tolist():
        raise DataError(f"{names[row]} has {features.channels[row]} channels, but {of} {channels}")


def digest_of(path: Path) -> str:
    """A hash of a file's content.

    Raises:
        DataError: It is missing or cannot be read.
    """
    with reading(path):
        return blake2b(path.read_bytes(), digest_size=_DIGEST_SIZE).hexdigest()
