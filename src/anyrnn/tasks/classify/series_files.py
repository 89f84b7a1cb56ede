"""Files of sequences of numbers, by their kind; .ts of the UCR/UEA archive is read here."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy

from anyrnn.errors import DataError
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series import SequenceError, Series, numbers_of, try_add
from anyrnn.tasks.classify.series_arrays import read_npz
from anyrnn.tasks.classify.series_tables import read_long_table
from anyrnn.tasks.data.columns import listing
from anyrnn.tasks.data.contents import read_text

SeriesFormat = Literal["ts", "csv", "npz"]


def read_series(
    path: Path, kind: SeriesFormat, options: DataOptions, with_labels: bool = True
) -> dict[str, Series]:
    """Read a file.

    Args:
        path: The file.
        kind: What it is.
        options: Which columns or arrays hold what.
        with_labels: Whether there have to be labels.

    Returns:
        Its sequences under "training"; those that it keeps apart, as `x_test` in an `.npz`, under
        "validation" and "test".

    Raises:
        DataError: It is missing, empty, damaged, or has a sequence that cannot be used.
    """
    readers = {"ts": _read_ts, "csv": read_long_table, "npz": read_npz}
    found = readers[kind](path, options, with_labels)
    for series in found.values():
        if not series.values:
            raise DataError(f"{path} has no sequence that can be used")
    return found


def _read_ts(path: Path, options: DataOptions, with_labels: bool) -> dict[str, Series]:
    text, digest = read_text(path, options.encoding)
    series = Series(path, digest=digest)
    header: dict[str, str] = {}
    lines = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    for _, line in lines:
        if line.startswith("@"):
            name, *value = line[1:].split(None, 1)
            header[name.lower()] = value[0].strip() if value else ""
            if name.lower() == "data":
                break
        elif line.strip() and not line.startswith("#"):
            raise DataError(f"{path} is no .ts file: {line[:40]!r} stands before @data")
    if "data" not in header:
        raise DataError(f"{path} breaks off: it has no @data")
    if header.get("timestamps", "false").lower() == "true":
        raise DataError(f"{path} has time stamps (@timeStamps true), which cannot be read")
    labelled, *classes = header.get("classlabel", "false").split()
    if with_labels and labelled.lower() != "true":
        raise DataError(f"{path} has no labels (@classLabel is {labelled})")
    for number, line in lines:
        if line.strip() and not line.startswith("#"):
            try_add(
                series,
                f"line {number}",
                options,
                lambda line=line: _ts_case(line, header, classes, labelled.lower() == "true"),
            )
    return {"training": series}


def _ts_case(
    line: str, header: Mapping[str, str], classes: Sequence[str], labelled: bool
) -> tuple[numpy.ndarray, str]:
    parts = line.strip().split(":")
    label = parts.pop().strip() if labelled else ""
    if labelled and classes and label not in classes:
        raise SequenceError(
            f"breaks off or has the wrong label: it ends in {label[-20:]!r}, but the labels of "
            f"@classLabel are {listing(classes)}"
        )
    dimensions = header.get("dimensions", "").strip()
    if header.get("univariate", "").lower() == "true":
        dimensions = "1"
    if dimensions.isdecimal() and len(parts) != int(dimensions):
        raise SequenceError(f"has {len(parts)} dimension(s) instead of {dimensions}")
    channels = [numbers_of(part.split(","), f"dimension {k}") for k, part in enumerate(parts, 1)]
    lengths = [len(channel) for channel in channels]
    if len(set(lengths)) > 1:
        raise SequenceError(f"has dimensions of different lengths: {listing(lengths)}")
    length = header.get("serieslength", "")
    equal = header.get("equallength", "").lower() == "true" and length.isdecimal()
    if equal and any(found != int(length) for found in lengths):
        raise SequenceError(f"has {lengths[0]} steps instead of {length} (@seriesLength)")
    return numpy.array(channels, numpy.float32).reshape(len(channels), -1).T, label
