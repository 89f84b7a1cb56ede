"""Inputs and labels from the user's files, checked and split into parts."""

import math
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.classify.series import Series, SeriesFormat, SeriesOptions, read_series
from anyrnn.tasks.split import split_rows
from anyrnn.tasks.tables import complete_rows, read_table
from anyrnn.tasks.task import Data

# The share of the rows that is split off for each part that has no file of its own.
_SHARE = 0.1
_LISTED = 20


@dataclass(frozen=True)
class Part:
    """Texts or sequences of numbers, and their labels.

    Attributes:
        path: The file that they come from.
        inputs: The texts, or the numbers of each sequence, (time, channels).
        labels: The label of each; several are separated by a character.
        rows: How messages name each row, such as "record 17".
        digest: A hash of the file's content.
        skipped: How many rows of the file were left out, by reason.
        channels: The names of the channels of numbers.
    """

    path: Path
    inputs: list[Any]
    labels: list[str]
    rows: list[str]
    digest: str
    skipped: dict[str, int] = field(default_factory=dict)
    channels: Sequence[str] = ()

    def __len__(self) -> int:
        """The number of inputs."""
        return len(self.inputs)

    def take(self, rows: Sequence[int]) -> "Part":
        """The part that consists of some rows."""
        return Part(
            self.path,
            [self.inputs[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.rows[row] for row in rows],
            self.digest,
            self.skipped,
            self.channels,
        )


def kind_of(
    path: Path, options: DataOptions, *, numbers: bool | None = None
) -> Literal["text"] | SeriesFormat:
    """What a file holds: "text", "ts", "csv" or "npz".

    Args:
        path: The file.
        options: What the user said.
        numbers: Whether it has to hold numbers, if that is known.

    Raises:
        OptionError: It is not said which column or array has the texts or labels.
    """
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if options.format != "auto":
        kind = options.format
    elif ".ts" in suffixes:
        kind = "ts"
    elif ".npz" in suffixes:
        kind = "npz"
    else:
        kind = "csv" if options.sequence is not None or numbers else "text"
    if kind == "text" and options.text is None:
        raise OptionError(
            f"{option_name('text')} is missing: name the column of the texts, or for numbers the "
            f"column of the sequences with {option_name('sequence')}"
        )
    if kind in ("text", "csv") and options.label is None:
        raise OptionError(f"{option_name('label')} is missing: name the column of the labels")
    return kind


def read(options: DataOptions, seed: int) -> Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        seed: Decides the split; equal texts (but for capitals and spaces) and equal sequences
            land in the same part.

    Raises:
        DataError: A file cannot be used, or too few rows of a label are there.
        OptionError: It is not said which column has the texts or labels.
    """
    found = read_parts(options.data, options)
    numbers = kind_of(options.data, options) != "text"
    channels = found["training"].channels
    given = {"validation": options.validation_data, "test": options.test_data}
    for name, path in given.items():
        if path is not None:
            found[name] = read_part(path, options, numbers=numbers, channels=channels)
    names = ["training", *(name for name in given if name not in found)]
    separator = options.label_separator
    parts = found | divided(found["training"], names, seed, options.skip_bad, separator)
    labels = sorted_labels(parts["training"], separator)
    for part in parts.values():
        targets(part, labels, separator)
    known = set(map(_key, parts["training"].inputs))
    overlap = sum(_key(value) in known for value in parts["test"].inputs)
    skipped = {str(part.path): part.skipped for part in found.values() if part.skipped}
    counts = {name: len(parts[name]) for name in ("training", "validation", "test")}
    return Data(
        parts["training"],
        parts["validation"],
        parts["test"],
        digests=[part.digest for part in found.values()],
        facts={**counts, "test_also_in_training": overlap, "skipped": skipped},
        notes=_notes("sequences" if numbers else "texts", counts, len(labels), skipped, overlap),
    )


def divided(
    part: Part,
    names: Sequence[str],
    seed: int,
    skip_bad: bool = False,
    separator: str | None = None,
) -> dict[str, Part]:
    """Split a part: a tenth for each name but the first, each label in each of them.

    Args:
        part: What is split; equal texts (but for capitals and spaces) land in the same part.
        names: The names of the parts.
        seed: Decides who goes where.
        skip_bad: Leave out the rows of labels with too few rows.
        separator: What separates several labels of a row.

    Raises:
        DataError: Too few rows of a label are there.
    """
    part = _with_enough_rows(part, names, skip_bad, separator)
    shares = [1 - _SHARE * (len(names) - 1), *[_SHARE] * (len(names) - 1)]
    strata = _strata(part, separator)
    rows = split_rows([_key(value) for value in part.inputs], strata, shares, seed)
    return {name: part.take(taken) for name, taken in zip(names, rows, strict=True)}


def _strata(part: Part, separator: str | None) -> list[str]:
    """The label that decides to which part a row goes: of several the rarest."""
    if separator is None:
        return part.labels
    frequency = Counter(one for label in part.labels for one in split_labels(label, separator))
    return [
        min(split_labels(label, separator), key=lambda one: (frequency[one], one), default="")
        for label in part.labels
    ]


def _notes(
    units: str,
    counts: Mapping[str, int],
    labels: int,
    skipped: Mapping[str, Mapping[str, int]],
    overlap: int,
) -> list[str]:
    notes = [
        f"{units}: {counts['training']:,} to train, {counts['validation']:,} to validate, "
        f"{counts['test']:,} to test; {labels} labels"
    ]
    for path, reasons in skipped.items():
        listing = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        notes.append(f"skipped rows of {path}: {listing}")
    if overlap:
        notes.append(f"{overlap:,} of the test {units} also occur in the training {units}")
    return notes


def sorted_labels(training: Part, separator: str | None = None) -> list[str]:
    """The labels in the order of the classes: numbers by their value, then words."""
    found = {one for label in training.labels for one in split_labels(label, separator)}
    return sorted(found, key=_label_order)


def split_labels(label: str, separator: str | None) -> list[str]:
    """The labels of a row, each once.

    Example:
        >>> split_labels("sport; news;", ";"), split_labels("a;b", None), split_labels("", ";")
        (['sport', 'news'], ['a;b'], [])
    """
    if separator is None:
        return [label]
    return list(dict.fromkeys(filter(None, map(str.strip, label.split(separator)))))


def read_parts(path: Path, options: DataOptions, **known: Any) -> dict[str, Part]:
    """The inputs and labels of a file: under "training", and what it keeps apart itself.

    Args:
        path: The file.
        options: Which columns and arrays.
        known: See `read_part`.

    Raises:
        DataError: The file, a column or (without `skip_bad`) a row cannot be used.
        OptionError: It is not said which column has the texts or labels.
    """
    kind = kind_of(path, options, numbers=known.get("numbers"))
    if kind == "text":
        return {"training": _read_texts(path, options)}
    # Channels by name are those of the training; of other files only their number is known.
    channels = known.get("channels", ()) if kind == "csv" else ()
    chosen = SeriesOptions(
        label=options.label,
        sequence=options.sequence,
        time=options.time,
        features=channels or options.features,
        lengths=options.lengths,
        with_labels=known.get("with_labels", True),
        without_label=options.label_separator is not None,
        encoding=options.encoding,
        separator=options.separator,
        header=options.header,
        skip_bad=options.skip_bad,
    )
    found = read_series(path, kind, chosen)
    return {name: _part_of(series) for name, series in found.items()}


def read_part(path: Path, options: DataOptions, **known: Any) -> Part:
    """The inputs and labels of a file, to measure or to predict; of an `.npz` the test part.

    Args:
        path: The file.
        options: Which columns and arrays.
        known: `numbers`, whether it has to hold numbers; `channels`, the names that the training
            had; `with_labels`, whether there have to be labels.

    Raises:
        DataError: The file, a column or (without `skip_bad`) a row cannot be used.
        OptionError: It is not said which column has the texts or labels.
    """
    parts = read_parts(path, options, **known)
    part = parts.get("test", parts["training"])
    channels = known.get("channels")
    if channels and len(part.channels) != len(channels):
        raise DataError(
            f"{path} has {len(part.channels)} channel(s), but the training had {len(channels)}: "
            f"{', '.join(channels[:_LISTED])}"
        )
    return part


def _part_of(series: Series) -> Part:
    return Part(
        series.path,
        series.values,
        series.labels,
        series.rows,
        series.digest,
        dict(series.skipped),
        series.channels,
    )


def _read_texts(path: Path, options: DataOptions) -> Part:
    assert options.text is not None
    assert options.label is not None
    columns = [(options.text, "text"), (options.label, "label")]
    table = read_table(
        path,
        encoding=options.encoding,
        separator=options.separator,
        header=options.header,
        wanted=[name for name, _ in columns],
    )
    needed = columns if options.label_separator is None else columns[:1]
    rows, skipped = complete_rows(table, needed, skip_bad=options.skip_bad)
    texts = table.column(options.text, "text")
    labels = table.column(options.label, "label")
    return Part(
        path,
        [str(texts[row]) for row in rows],
        [(labels[row] or "").strip() for row in rows],
        [table.row(row) for row in rows],
        table.digest,
        {f"without {name}": count for name, count in skipped.items()},
    )


def targets(part: Part, labels: Sequence[str], separator: str | None = None) -> numpy.ndarray:
    """The number of the class of each input; or, of several labels, 1 for each that it has.

    Returns:
        (inputs), or (inputs, labels) with a separator.

    Raises:
        DataError: A label is none of those.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    found = numpy.zeros((len(part), len(labels)), numpy.float32)
    for place, (label, row) in enumerate(zip(part.labels, part.rows, strict=True)):
        for one in split_labels(label, separator):
            if one not in numbers:
                listing = ", ".join(map(repr, labels[:_LISTED]))
                listing += ", ..." if len(labels) > _LISTED else ""
                kind = "sequence" if part.channels else "text"
                raise DataError(
                    f"{part.path}: {row} has the label {one!r}, which no training {kind} has; "
                    f"the labels are {listing}"
                )
            found[place, numbers[one]] = 1
    return found if separator is not None else found.argmax(1)


def _with_enough_rows(
    part: Part, names: Sequence[str], skip_bad: bool, separator: str | None
) -> Part:
    """The rows whose label has an input for each of the named parts, and at least two labels."""
    labels = [split_labels(label, separator) for label in part.labels]
    counts = Counter(one for each in labels for one in each)
    pairs = zip(labels, part.inputs, strict=True)
    distinct = Counter(label for label, _ in {(one, _key(v)) for each, v in pairs for one in each})
    rare = [label for label in counts if distinct[label] < len(names)]
    if rare and not skip_bad:
        label = rare[0]
        others = f" ({len(rare) - 1} more labels are as rare)" if len(rare) > 1 else ""
        first = next(row for row, each in zip(part.rows, labels, strict=True) if label in each)
        kind = "sequence" if part.channels else "text"
        raise DataError(
            f"{part.path}: the label {label!r} has {distinct[label]} different {kind}(s), the "
            f"first in {first}, but {len(names)} are needed to split into "
            f"{', '.join(names)}{others}; add rows, or leave such labels out with "
            f"{option_name('skip_bad', True)}"
        )
    if len(counts) - len(rare) < 2:
        left = sorted(set(counts) - set(rare))
        found = f"only the label {left[0]!r}" if left else "no label with enough rows"
        raise DataError(f"{part.path} has {found}; a classifier needs two labels or more")
    if not rare:
        return part
    kept = part.take([row for row, each in enumerate(labels) if not set(each) & set(rare)])
    kept.skipped["with a label that is too rare"] = len(part) - len(kept)
    return kept


def _key(value: Any) -> Hashable:
    """What makes two inputs count as equal when parts are kept apart."""
    if isinstance(value, numpy.ndarray):
        return sha256(value.tobytes()).digest(), value.shape
    return " ".join(unicodedata.normalize("NFC", value).casefold().split())


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers first; "nan" and "inf" are words, because no order has a place for the former."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
