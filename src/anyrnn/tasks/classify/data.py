"""Inputs and labels from the user's files, checked and split into parts."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy
import pandas
from numpy.typing import NDArray

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.labels import label_order, split_labels
from anyrnn.tasks.classify.options import SPLIT_OFF, DataOptions, kind_of
from anyrnn.tasks.classify.series import Series
from anyrnn.tasks.classify.series_files import read_series
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.columns import listing
from anyrnn.tasks.data.split import key_of
from anyrnn.tasks.data.table_files import read_complete
from anyrnn.tasks.options.declaration import replaced


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Texts or sequences of numbers, and their labels.

    Attributes:
        inputs: The texts, or the numbers of each sequence, (time, channels).
        labels: The label of each; several are separated by a character.
        rows: How messages name each row, such as "record 17".
        channels: The names of the channels of numbers.
    """

    columns = ("inputs", "labels", "rows")

    inputs: Sequence[Any]
    labels: Sequence[str]
    rows: Sequence[str]
    channels: Sequence[str] = field(default=(), kw_only=True)

    @property
    def unit(self) -> str:
        """What an input is called."""
        return "sequence" if self.channels else "text"

    def groups(self) -> parts.Groups:
        """Equal inputs stay together: texts that differ in capitals or spaces only, too."""
        return parts.Groups(self.keys, self.unit)

    def take(self, rows: Sequence[int]) -> Self:
        """The part that consists of some rows."""
        part = super().take(rows)
        if "keys" in vars(self):
            vars(part)["keys"] = self.keys[rows]
        return part

    @cached_property
    def keys(self) -> NDArray[numpy.uint64]:
        """A number for each input, the same for those that count as equal."""
        return numpy.fromiter(map(_key, self.inputs), dtype=numpy.uint64, count=len(self))


SomePart = TypeVar("SomePart", bound=Part)


def read(options: DataOptions, seed: int) -> parts.Data[Part]:
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
    own = [SPLIT_OFF[name].lacking for name in SPLIT_OFF if name in found]
    numbers = kind_of(options.data, options) != "text"
    channels = found["training"].channels
    for name, path in options.own_files().items():
        found[name] = read_part(path, options, numbers=numbers, channels=channels)
    separator = options.label_separator
    shares = options.shares(found)
    every = found | divided(found["training"], shares, seed, options.skip_bad, separator)
    labels = sorted_labels(every["training"], separator)
    for part in every.values():
        targets(part, labels, separator)
    overlap = parts.overlap(every)
    named = {name: every.get(name, ()) for name in parts.USES}
    units = "sequences" if numbers else "texts"
    notes = [f"{units}: {parts.sizes(named)}; {len(labels)} labels"]
    notes += parts.told_overlap(overlap, units)
    counts = {name: len(part) for name, part in named.items()}
    return parts.Data.of(
        every,
        found.values(),
        {**counts, "test_also_in_training": overlap},
        notes=notes,
        in_effect={name: values for each in own for name, values in each.items()},
    )


def divided(
    part: SomePart,
    shares: Mapping[str, float],
    seed: int,
    skip_bad: bool = False,
    separator: str | None = None,
) -> dict[str, SomePart]:
    """Split a part, each label into each of its parts; the rest is for training.

    Args:
        part: What is split; equal texts (but for capitals and spaces) land in the same part.
        shares: The shares that are split off, by the names of the parts.
        seed: Decides who goes where.
        skip_bad: Leave out the rows of labels with too few rows.
        separator: What separates several labels of a row.

    Raises:
        DataError: Too few rows of a label are there.
    """
    names = ["training", *shares]
    part = _with_enough_rows(part, names, skip_bad, separator)
    return parts.divided(part, shares, part.groups().keys, _strata(part, separator), seed)


def _strata(part: Part, separator: str | None) -> Sequence[str]:
    """The label that decides to which part a row goes: of several the rarest."""
    if separator is None:
        return part.labels
    frequency = Counter(one for label in part.labels for one in split_labels(label, separator))
    return [
        min(split_labels(label, separator), key=lambda one: (frequency[one], one), default="")
        for label in part.labels
    ]


def sorted_labels(training: Part, separator: str | None = None) -> list[str]:
    """The labels in the order of the classes: numbers by their value, then words."""
    found = {one for label in training.labels for one in split_labels(label, separator)}
    return sorted(found, key=label_order)


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
    chosen = replaced(options, features=tuple(channels)) if channels else options
    found = read_series(path, kind, chosen, known.get("with_labels", True))
    return {name: part_of(series) for name, series in found.items()}


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
    found = read_parts(path, options, **known)
    part = found.get("test", found["training"])
    channels = known.get("channels")
    if channels and len(part.channels) != len(channels):
        raise DataError(
            f"{path} has {len(part.channels)} channel(s), but the training had {len(channels)}: "
            f"{listing(channels)}"
        )
    return part


def part_of(series: Series) -> Part:
    """What a file, or an array, holds as a part."""
    return Part(
        series.path,
        series.values,
        series.labels,
        series.rows,
        digests=(series.digest,),
        skipped=dict(series.skipped),
        channels=series.channels,
    )


def _read_texts(path: Path, options: DataOptions) -> Part:
    assert options.text is not None
    assert options.label is not None
    columns = [(options.text, "text"), (options.label, "label")]
    needed = columns if options.label_separator is None else columns[:1]
    table = read_complete(path, options, columns, needed)
    texts, labels = (table.column(*each) for each in columns)
    known: dict[str, str] = {}  # one string for each label, not one for each row
    plain = ((label or "").strip() for label in labels)
    return Part(
        path,
        texts,
        [known.setdefault(label, label) for label in plain],
        table.rows,
        digests=(table.digest,),
        skipped=dict(table.skipped),
    )


def targets(part: Part, labels: Sequence[str], separator: str | None = None) -> numpy.ndarray:
    """The number of the class of each input; or, of several labels, 1 for each that it has.

    Returns:
        (inputs), or (inputs, labels) with a separator.

    Raises:
        DataError: A label is none of those.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    if separator is None:
        found = (_number(part, row, label, numbers) for row, label in enumerate(part.labels))
        return numpy.fromiter(found, dtype=numpy.int64, count=len(part))
    several = numpy.zeros((len(part), len(labels)), numpy.float32)
    for row, label in enumerate(part.labels):
        for one in split_labels(label, separator):
            several[row, _number(part, row, one, numbers)] = 1
    return several


def _number(part: Part, row: int, label: str, numbers: Mapping[str, int]) -> int:
    if label not in numbers:
        raise DataError(
            f"{part.path}: {part.rows[row]} has the label {label!r}, which no training "
            f"{part.unit} has; the labels are {listing(list(numbers))}"
        )
    return numbers[label]


def _with_enough_rows(
    part: SomePart, names: Sequence[str], skip_bad: bool, separator: str | None
) -> SomePart:
    """The rows whose label has an input for each of the named parts, and at least two labels."""
    groups = part.groups()
    rows, labels = _each_label(part, separator)
    numbers, different = pandas.factorize(numpy.array(labels, dtype=object))
    pairs = pandas.DataFrame({"label": numbers, "key": groups.keys[rows]}).drop_duplicates()
    counts = pairs["label"].value_counts(sort=False).sort_index()
    distinct: dict[str, int] = dict(zip(different, counts, strict=True))
    rare = [label for label in distinct if distinct[label] < len(names)]
    if rare and not skip_bad:
        label = rare[0]
        others = f" ({len(rare) - 1} more labels are as rare)" if len(rare) > 1 else ""
        first = part.rows[int(rows[labels.index(label)])]
        raise DataError(
            f"{part.path}: the label {label!r} has {distinct[label]} different {groups.unit}(s), "
            f"the first in {first}, but {len(names)} are needed to split into "
            f"{', '.join(names)}{others}; add rows, or leave such labels out with "
            f"{option_name('skip_bad', True)}"
        )
    if len(distinct) - len(rare) < 2:
        left = sorted(set(distinct) - set(rare))
        found = f"only the label {left[0]!r}" if left else "no label with enough rows"
        raise DataError(f"{part.path} has {found}; a classifier needs two labels or more")
    if not rare:
        return part
    left_out = {int(row) for row, label in zip(rows, labels, strict=True) if label in set(rare)}
    part.skipped["with a label that is too rare"] = len(left_out)
    return part.take([row for row in range(len(part)) if row not in left_out])


def _each_label(part: Part, separator: str | None) -> tuple[NDArray[numpy.int64], Sequence[str]]:
    """Every label with the row that it stands in."""
    if separator is None:
        return numpy.arange(len(part)), part.labels
    found = [
        (row, one)
        for row, label in enumerate(part.labels)
        for one in split_labels(label, separator)
    ]
    return numpy.array([row for row, _ in found], numpy.int64), [one for _, one in found]


def _key(value: Any) -> int:
    """A number that is the same for inputs that count as equal when parts are kept apart."""
    if isinstance(value, numpy.ndarray):
        return key_of(value.tobytes())
    return key_of(" ".join(unicodedata.normalize("NFC", value).casefold().split()))
