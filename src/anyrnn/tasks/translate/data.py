"""Pairs of sentences from the user's files, split into training, validation and test."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.files import reading
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.table_files import lines_of, read_complete, read_texts, texts_in_rows
from anyrnn.tasks.data.table_pieces import Piece
from anyrnn.tasks.options.suffixes import is_table
from anyrnn.tasks.translate.options import DataOptions


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Pairs of sentences.

    Attributes:
        sources: What is translated; of a large file it lies on disk.
        targets: The translation of each, likewise.
    """

    columns = ("sources", "targets")

    sources: Sequence[str]
    targets: Sequence[str]

    def groups(self) -> parts.Groups:
        """Pairs with an equal side stay together."""
        return parts.Groups(_groups(self), "pair", "; pairs with an equal side count once")


def read(options: DataOptions, seed: int) -> parts.Data[Part]:
    """Read the files and split off what has no file of its own.

    Args:
        options: Which files and columns.
        seed: Decides the split; pairs with an equal side land in the same part.

    Raises:
        DataError: A file cannot be used, or there are too few pairs.
        OptionError: A part is half a pair of files, or a table beside files.
    """
    main = read_part(options)
    own = {name: found for name in ("validation", "test") if (found := _own(name, options))}
    found = parts.divided_at_random(main, options.shares(own), seed) | own
    notes = [f"pairs of sentences: {parts.sizes(found)}"]
    return parts.Data.of(found, [main, *own.values()], notes=notes)


def _own(name: str, options: DataOptions) -> Part | None:
    """A part that has files of its own."""
    names = [f"{name}_data", f"{name}_source", f"{name}_target"]
    table, source, target = (getattr(options, each) for each in names)
    if table is not None:
        if options.data is None:
            raise OptionError(
                f"{option_name(names[0])} is a table, but {option_name('source')} and "
                f"{option_name('target')} are files; use {option_name(names[1])} and "
                f"{option_name(names[2])}"
            )
        return _of_table(table, options)
    if source is None and target is None:
        return None
    if source is None or target is None:
        here, other = (names[1], names[2]) if target is None else (names[2], names[1])
        raise OptionError(
            f"{option_name(here)} is a file of one side only; give {option_name(other)}, too"
        )
    return _of_files(Path(source), Path(target), options)


def read_part(options: DataOptions) -> Part:
    """The pairs of a table, or of two parallel files.

    Raises:
        DataError: A file or (without `skip_bad`) a row cannot be used.
    """
    if options.data is not None:
        return _of_table(options.data, options)
    return _of_files(Path(options.source), Path(options.target), options)


def _groups(part: Part) -> numpy.ndarray:
    """For each pair a number that it shares with pairs of an equal source or target, and with
    theirs, and so on: so nothing that is measured was seen in training on either side.
    """
    group = list(range(len(part)))

    def first(row: int) -> int:
        while group[row] != row:
            group[row] = group[group[row]]
            row = group[row]
        return row

    for texts in (part.sources, part.targets):
        known: dict[str, int] = {}
        for row, text in enumerate(texts):
            group[first(row)] = first(known.setdefault(text.strip(), row))
    return numpy.array([first(row) for row in range(len(part))], numpy.uint64)


def _of_table(path: Path, options: DataOptions) -> Part:
    columns = [(options.source, "source"), (options.target, "target")]
    table = read_complete(path, options, columns)
    sides = (table.column(*each) for each in columns)
    return Part(path, *sides, digests=(table.digest,), skipped=dict(table.skipped))


def _of_files(source: Path, target: Path, options: DataOptions) -> Part:
    with reading(source), reading(target):
        same = os.path.realpath(source) == os.path.realpath(target)
    if same:
        raise OptionError(
            f"{source} and {target} are the same file; give the two sides of the pairs"
        )
    for path in (source, target):
        if is_table(path):
            raise DataError(
                f"{path} is a table; name it with {option_name('data')}, and its columns with "
                f"{option_name('source')} and {option_name('target')}"
            )
    (sources, *one), (targets, *other) = (
        read_texts(path, options.encoding, _lines) for path in (source, target)
    )
    if len(sources) != len(targets):
        raise DataError(
            f"{source} has {len(sources):,} lines, but {target} has {len(targets):,}: each line of "
            "one has to be the translation of the same line of the other"
        )
    kept, empty = [], 0
    for row, sides in enumerate(zip(sources, targets, strict=True)):
        blank = [not side.strip() for side in sides]
        if not any(blank):
            kept.append(row)
            continue
        empty += 1
        if not all(blank) and not options.skip_bad:
            here, there = (source, target) if blank[0] else (target, source)
            raise DataError(
                f"{here}: line {row + 1} is empty, but not that of {there}; fill it in, or leave "
                f"such pairs out with {option_name('skip_bad', True)}"
            )
    if not kept:
        raise DataError(f"{source} and {target} have no line with a sentence in both")
    skipped = {"empty lines": empty} if empty else {}
    rows = kept if empty else range(len(sources))
    found = (taken(each, rows) for each in (sources, targets))
    return Part(source, *found, digests=(*one, *other), skipped=skipped)


def _lines(pieces: Iterable[str]) -> Iterator[Piece]:
    """Rows that are the lines of a text, empty ones too."""
    return texts_in_rows(line.rstrip("\r") for line in lines_of(pieces))
