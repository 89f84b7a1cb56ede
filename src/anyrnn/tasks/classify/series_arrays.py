"""Sequences of numbers from the arrays of an .npz."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pandas

from anyrnn.errors import DataError
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series import SequenceError, Series, as_float32, try_add
from anyrnn.tasks.data.columns import listing
from anyrnn.tasks.data.contents import Content


def read_npz(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
    """See `read_series`."""
    content = Content(path)
    arrays = _arrays(path, content)
    suffixed = {"training": "_train", "validation": "_val", "test": "_test"}
    parts = {name: end for name, end in suffixed.items() if f"x{end}" in arrays}
    if options.features or "training" not in parts:
        parts = {"training": ""}
    found = {}
    for name, end in parts.items():
        names = [(name,) for name in options.features] or [(f"x{end}", "X", "values", "frames")]
        values = [_array(path, arrays, each) for each in names]
        lengths = _lengths(path, arrays, options.lengths, end)
        labels = None
        if with_labels:
            known = (f"y{end}", "label", "labels") if options.label is None else (options.label,)
            labels = _array(path, arrays, known)
        found[name] = _npz_part(path, content.digest, options, values, lengths, labels)
    return found


def _arrays(path: Path, content: Content) -> dict[str, numpy.ndarray]:
    with content.open() as opened:
        if not opened.read(6).startswith((b"PK", numpy.lib.format.MAGIC_PREFIX)):
            raise DataError(f"{path} is not a sound .npz file: it does not begin like one")
    try:
        with content.open() as opened, numpy.load(opened, allow_pickle=False) as file:
            if not isinstance(file, numpy.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array; an .npz has them by name")
            return {name: file[name] for name in file.files}
    except DataError:
        raise
    # numpy, zipfile and zlib raise whatever the bytes lead to.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} has an array of Python objects, which could run code; save sequences of "
                "different lengths one after another, with their numbers of steps as `lengths`"
            ) from None
        raise DataError(f"{path} is not a sound .npz file: {error}") from None


def _array(path: Path, arrays: Mapping[str, numpy.ndarray], names: Sequence[str]) -> numpy.ndarray:
    """The first array of these names."""
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path} has no array {names[0]!r} (it has {listing(list(arrays))})")


def _lengths(
    path: Path, arrays: Mapping[str, numpy.ndarray], chosen: str | None, end: str
) -> numpy.ndarray | None:
    names = (chosen,) if chosen else (f"lengths{end}", "lengths", "length")
    if chosen is None and not arrays.keys() & set(names):
        return None
    lengths = _array(path, arrays, names)
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu"
    if not whole or (lengths < 0).any() or (lengths > numpy.iinfo(numpy.int64).max).any():
        raise DataError(f"{path}: the lengths have to be whole numbers, one for each sequence")
    return lengths.astype(numpy.int64)


def _npz_part(
    path: Path,
    digest: str,
    options: DataOptions,
    arrays: Sequence[numpy.ndarray],
    lengths: numpy.ndarray | None,
    labels: numpy.ndarray | None,
) -> Series:
    """The sequences of arrays, whose channels stand beside each other."""
    found = [_sequences(path, values, lengths) for values in arrays]
    if len({*map(len, found)}) > 1:
        counts = ", ".join(
            f"{len(each)} in {name!r}" for name, each in zip(options.features, found, strict=True)
        )
        raise DataError(f"{path} has arrays of different numbers of sequences: {counts}")
    sequences = [*zip(*found, strict=True)]
    if labels is not None and (labels.ndim != 1 or len(labels) != len(sequences)):
        raise DataError(
            f"{path} has {len(sequences)} sequences but labels of the shape {labels.shape}"
        )
    series = Series(path, digest=digest)
    texts = [] if labels is None else _label_texts(labels)
    for number, each in enumerate(sequences):
        label = texts[number] if texts else ""

        def make(each: Any = each, label: str = label) -> tuple[numpy.ndarray, str]:
            if not (label or labels is None or options.label_separator is not None):
                raise SequenceError("has no label")
            steps = [len(values) for values in each]
            if len({*steps}) > 1:
                raise SequenceError(f"has arrays of different lengths: {listing(steps)}")
            flat = [values.reshape(len(values), math.prod(values.shape[1:])) for values in each]
            return as_float32(numpy.concatenate(flat, 1)), label

        try_add(series, f"sequence {number}", options, make)
    return series


def _label_texts(labels: numpy.ndarray) -> list[str]:
    """Labels of an array as text, empty where one is missing."""
    if labels.dtype.kind == "S":
        labels = numpy.char.decode(labels, "utf-8", "backslashreplace")
    missing = pandas.isna(labels)
    return ["" if no else str(one).strip() for one, no in zip(labels, missing, strict=True)]


def _sequences(
    path: Path, values: numpy.ndarray, lengths: numpy.ndarray | None
) -> Sequence[numpy.ndarray]:
    """The sequences of an array that has them padded, or one after another."""
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: the numbers have the type {values.dtype}")
    if lengths is not None and values.ndim < 2 + (len(values) == len(lengths)):
        values = values[..., None]
    if lengths is None:
        if values.ndim < 2:
            raise DataError(f"{path}: the numbers have the shape {values.shape}, without a time")
        return list(values if values.ndim > 2 else values[..., None])
    if len(values) == len(lengths):
        if lengths.max(initial=0) > values.shape[1]:
            raise DataError(
                f"{path} has lengths up to {lengths.max()}, but {values.shape[1]} steps"
            )
        return [each[:length] for each, length in zip(values, lengths, strict=True)]
    if len(values) != lengths.sum():
        raise DataError(
            f"{path} has {len(values):,} steps, but its lengths sum up to {lengths.sum():,}"
        )
    return numpy.split(values, numpy.cumsum(lengths)[:-1])
