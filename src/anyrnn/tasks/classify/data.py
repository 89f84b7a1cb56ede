"""Texts and labels from the user's files, checked and split into training, validation and test."""

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.classify.options import DataOptions
from anyrnn.tasks.split import split_rows
from anyrnn.tasks.tables import complete_rows, read_table

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
    texts: list[str]
    labels: list[str]
    rows: list[str]
    digest: str
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> "Part":
        """The part that consists of some rows."""
        return Part(
            self.path,
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.rows[row] for row in rows],
            self.digest,
            self.skipped,
        )


@dataclass(frozen=True)
class Data:
    """The three parts, and the labels in the order of the classes.

    Attributes:
        training, validation, test: The parts.
        labels: The labels, sorted; numbers by their value.
        digests: A hash of the content of each file.
        skipped: How many rows were left out, by file and reason.
        overlap: How many test texts also occur in the training part.
    """

    training: Part
    validation: Part
    test: Part
    labels: list[str]
    digests: list[str]
    skipped: dict[str, dict[str, int]]
    overlap: int

    def targets(self, part: Part) -> list[int]:
        """The class number of each text of a part."""
        return class_numbers(part, self.labels)


def prepare(options: DataOptions, seed: int) -> Data:
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
    main = _with_enough_rows(main, names, options.skip_bad)
    shares = [1 - _SHARE * (len(names) - 1), *[_SHARE] * (len(names) - 1)]
    rows = split_rows([_key(text) for text in main.texts], main.labels, shares, seed)
    parts = {name: main.take(part) for name, part in zip(names, rows, strict=True)} | given
    training = parts["training"]
    labels = sorted(set(training.labels), key=_label_order)
    for part in parts.values():
        class_numbers(part, labels)
    known = set(map(_key, training.texts))
    skipped = {str(part.path): part.skipped for part in (main, *given.values()) if part.skipped}
    overlap = sum(_key(text) in known for text in parts["test"].texts)
    digests = [part.digest for part in (main, *given.values())]
    return Data(training, parts["validation"], parts["test"], labels, digests, skipped, overlap)


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
    )
    rows, skipped = complete_rows(table, columns, skip_bad=options.skip_bad)
    texts = table.column(options.text, "text")
    labels = table.column(options.label, "label")
    return Part(
        path,
        [str(texts[row]) for row in rows],
        [str(labels[row]).strip() for row in rows],
        [table.row(row) for row in rows],
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
    distinct = Counter(
        label
        for label, _ in {(label, _key(t)) for label, t in zip(part.labels, part.texts, strict=True)}
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


def _key(text: str) -> str:
    """What makes two texts count as equal when parts are kept apart."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _label_order(label: str) -> tuple[int, float, str]:
    """Numbers first; "nan" and "inf" are words, because no order has a place for the former."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
