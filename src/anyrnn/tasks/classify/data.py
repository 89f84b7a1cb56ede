"""Texts and labels from the user's files, checked and split into training, validation and test."""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy
import pandas
from numpy.typing import NDArray

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.columns import taken
from anyrnn.tasks.split import split_rows
from anyrnn.tasks.tables import complete_rows, read_table
from anyrnn.tasks.task import Data

# The share of the rows that is split off for each part that has no file of its own.
_SHARE = 0.1


@dataclass(frozen=True)
class Part:
    """Texts and their labels.

    Attributes:
        path: The file that they come from.
        texts: The texts.
        labels: The label of each text.
        rows: How messages name each row, such as "record 17".
        digest: A hash of the file's content.
        skipped: How many rows of the file were left out, by reason.
    """

    path: Path
    texts: Sequence[str]
    labels: Sequence[str]
    rows: Sequence[str]
    digest: str
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> "Part":
        """The part that consists of some rows."""
        part = Part(
            self.path,
            taken(self.texts, rows),
            taken(self.labels, rows),
            taken(self.rows, rows),
            self.digest,
            self.skipped,
        )
        if "keys" in vars(self):
            vars(part)["keys"] = self.keys[rows]
        return part

    @cached_property
    def keys(self) -> NDArray[numpy.uint64]:
        """A number for each text, the same for texts that count as equal."""
        return numpy.fromiter(map(_key, self.texts), dtype=numpy.uint64, count=len(self))


def read(options: DataOptions, seed: int) -> Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        seed: Decides the split; equal texts (but for capitals and spaces) land in the same part.

    Raises:
        DataError: A file cannot be used, or too few rows of a label are there.
    """
    main = read_part(options.data, options)
    own = {"validation": options.validation_data, "test": options.test_data}
    given = {name: read_part(path, options) for name, path in own.items() if path is not None}
    names = ["training", *(name for name in own if name not in given)]
    parts = divided(main, names, seed, options.skip_bad) | given
    labels = sorted_labels(parts["training"])
    for part in parts.values():
        class_numbers(part, labels)
    overlap = int(numpy.isin(parts["test"].keys, parts["training"].keys).sum())
    skipped = {str(part.path): part.skipped for part in (main, *given.values()) if part.skipped}
    counts = {name: len(part) for name, part in parts.items()}
    return Data(
        **parts,
        digests=[part.digest for part in (main, *given.values())],
        facts={**counts, "test_also_in_training": overlap, "skipped": skipped},
        notes=_notes(counts, len(labels), skipped, overlap),
    )


def divided(part: Part, names: Sequence[str], seed: int, skip_bad: bool = False) -> dict[str, Part]:
    """Split a part: a tenth for each name but the first, each label in each of them.

    Args:
        part: What is split; equal texts (but for capitals and spaces) land in the same part.
        names: The names of the parts.
        seed: Decides who goes where.
        skip_bad: Leave out the rows of labels with too few rows.

    Raises:
        DataError: Too few rows of a label are there.
    """
    part = _with_enough_rows(part, names, skip_bad)
    shares = [1 - _SHARE * (len(names) - 1), *[_SHARE] * (len(names) - 1)]
    rows = split_rows(part.keys, part.labels, shares, seed)
    return {name: part.take(chosen) for name, chosen in zip(names, rows, strict=True)}


def _notes(
    counts: Mapping[str, int],
    labels: int,
    skipped: Mapping[str, Mapping[str, int]],
    overlap: int,
) -> list[str]:
    notes = [
        f"texts: {counts['training']:,} to train, {counts['validation']:,} to validate, "
        f"{counts['test']:,} to test; {labels} labels"
    ]
    for path, reasons in skipped.items():
        listing = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        notes.append(f"skipped rows of {path}: {listing}")
    if overlap:
        notes.append(f"{overlap:,} of the test texts also occur in the training texts")
    return notes


def sorted_labels(training: Part) -> list[str]:
    """The labels in the order of the classes: numbers by their value, then words."""
    return sorted(set(training.labels), key=_label_order)


def read_part(path: Path, options: DataOptions) -> Part:
    """The texts and labels of a file.

    Raises:
        DataError: The file, a column or (without `skip_bad`) a row cannot be used.
    """
    columns = [(options.text, "text"), (options.label, "label")]
    table = read_table(
        path,
        encoding=options.encoding,
        separator=options.separator,
        header=options.header,
        wanted=[name for name, _ in columns],
        on_disk=True,
    )
    rows, skipped = complete_rows(table, columns, skip_bad=options.skip_bad)
    texts: Sequence[Any] = taken(table.column(options.text, "text"), rows)
    labels: Sequence[Any] = taken(table.column(options.label, "label"), rows)
    known: dict[str, str] = {}  # one string for each label, not one for each row
    return Part(
        path,
        texts,
        [known.setdefault(label, label) for label in map(str.strip, labels)],
        taken(table.rows, rows),
        table.digest,
        {f"without {name}": count for name, count in skipped.items()},
    )


def class_numbers(part: Part, labels: Sequence[str]) -> list[int]:
    """The number of the class of each text.

    Raises:
        DataError: A label is none of those.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    for label, row in zip(part.labels, part.rows, strict=True):
        if label not in numbers:
            listing = ", ".join(map(repr, labels[:20])) + (", ..." if len(labels) > 20 else "")
            raise DataError(
                f"{part.path}: {row} has the label {label!r}, which no training text has; "
                f"the labels are {listing}"
            )
    return [numbers[label] for label in part.labels]


def _with_enough_rows(part: Part, names: Sequence[str], skip_bad: bool) -> Part:
    """The rows whose label has a text for each of the named parts, and at least two labels."""
    counts = Counter(part.labels)
    numbers, different = pandas.factorize(numpy.array(part.labels, dtype=object))
    pairs = pandas.DataFrame({"label": numbers, "key": part.keys}).drop_duplicates()
    distinct = dict(
        zip(different, pairs["label"].value_counts(sort=False).sort_index(), strict=True)
    )
    rare = [label for label in counts if distinct[label] < len(names)]
    if rare and not skip_bad:
        label = rare[0]
        others = f" ({len(rare) - 1} more labels are as rare)" if len(rare) > 1 else ""
        raise DataError(
            f"{part.path}: the label {label!r} has {distinct[label]} different text(s), the first "
            f"in {part.rows[part.labels.index(label)]}, but {len(names)} are needed to split into "
            f"{', '.join(names)}{others}; add rows, or leave such labels out with "
            f"{option_name('skip_bad', True)}"
        )
    if len(counts) - len(rare) < 2:
        left = sorted(set(counts) - set(rare))
        found = f"only the label {left[0]!r}" if left else "no label with enough rows"
        raise DataError(f"{part.path} has {found}; a classifier needs two labels or more")
    if not rare:
        return part
    kept = part.take([row for row, label in enumerate(part.labels) if label not in set(rare)])
    kept.skipped["with a label that is too rare"] = len(part) - len(kept)
    return kept


def _key(text: str) -> int:
    """A number that is the same for texts that count as equal when parts are kept apart."""
    plain = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    digest = blake2b(plain.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers first; "nan" and "inf" are words, because no order has a place for the former."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
