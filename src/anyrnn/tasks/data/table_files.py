"""Tables from files: CSV, TSV, JSON lines and parquet, every value as text."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.data.arrow_tables import arrow_table
from anyrnn.tasks.data.columns import TextColumn
from anyrnn.tasks.data.contents import Characters, Content
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.table_pieces import Piece, json_lines, parquet_rows, separated
from anyrnn.tasks.options.suffixes import JSON_LINES, PARQUET, SEPARATORS, suffixes_of

_AT_ONCE = 50_000  # rows of a piece
_TEXT = "text"

SUPPORTED = (
    ".csv, .tsv, .jsonl, .ndjson, .json (one object a line), each also .gz, .xz or .bz2; .parquet; "
    f"with {option_name('separator')} any file of text"
)


def read_table(
    path: Path,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    header: bool = True,
    wanted: Sequence[str] | None = None,
) -> Table:
    r"""Read a file of rows; its kind is told by its suffix.

    Args:
        path: The file: CSV, TSV, JSON lines (these also compressed) or parquet.
        encoding: How its text is encoded.
        separator: What separates the columns of a CSV or TSV file, if not a comma or a tab; a file
            with another suffix is read as such a one if this is given.
        header: Whether the first line of a CSV or TSV file names the columns; if not, their
            names are "1", "2", ...
        wanted: The columns to read, by default all of them.

    Returns:
        The table, without interpreting any value: "NA", "007" and "1e3" stay as they are. That of a
        large file is on disk, prepared once.

    Raises:
        DataError: The file is missing, empty, damaged, of another kind or in another encoding.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
        >>> _ = path.write_text("review,stars\ngood,5\nNA,\n")
        >>> {name: list(values) for name, values in read_table(path).columns.items()}
        {'review': ['good', 'NA'], 'stars': ['5', None]}
    """
    separator = _one_character(separator)
    suffix, compression = _kind(path, separator)
    unit = "row" if suffix in PARQUET else "line" if suffix in JSON_LINES else "record"
    content = Content(path, compressed=suffix in PARQUET)
    text = functools.partial(Characters, content, encoding)
    columns = wanted if suffix in JSON_LINES else None
    if suffix in PARQUET:
        pieces = parquet_rows(path, path if content.large else content.open(), wanted)
    elif suffix in JSON_LINES:
        pieces = json_lines(path, text, wanted)
        if wanted is None:  # a later line may have names that no other has
            *_, last = json_lines(path, text, [])
            columns = last.names
    else:
        pieces = separated(path, text, separator or SEPARATORS[suffix], header, wanted)
    options = (suffix, compression, encoding, separator, header, wanted)
    return arrow_table(content, unit, pieces, columns, options)


def read_texts(
    path: Path, encoding: str, pieces: Callable[[Iterable[str]], Iterator[Piece]]
) -> tuple[TextColumn, str]:
    """What a file of text holds, and a hash of its content; that of a large file is on disk.

    Args:
        path: The file, which may be compressed.
        encoding: How its text is encoded.
        pieces: Rows with one column, called "text", from the text in pieces.

    Raises:
        DataError: The file is missing, blank, damaged or in another encoding.
    """
    content = Content(path)
    found = pieces(Characters(content, encoding).pieces())
    options = (suffixes_of(path)[1], encoding, f"{pieces.__module__}.{pieces.__qualname__}")
    return arrow_table(content, "line", found, [_TEXT], options).columns[_TEXT], content.digest


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    r"""The lines of a text in pieces, without their ends.

    Example:
        >>> list(lines_of(["a\nb", "c\n\nd"]))
        ['a', 'bc', '', 'd']
    """
    rest = ""
    for text in pieces:
        *whole, rest = (rest + text).split("\n")
        yield from whole
    if rest:
        yield rest


def texts_in_rows(texts: Iterable[str], at_once: int = _AT_ONCE) -> Iterator[Piece]:
    """Rows with a text each, for `read_texts`; of no text, a piece without rows.

    Args:
        texts: The texts.
        at_once: How many are in a piece.
    """
    number, source = 0, iter(texts)
    while some := list(islice(source, at_once)):
        yield Piece({_TEXT: some}, [_TEXT], range(number + 1, number + len(some) + 1))
        number += len(some)
    if not number:
        yield Piece({_TEXT: []}, [_TEXT], [])


def read_complete(
    path: Path,
    options: Any,
    columns: Sequence[tuple[str, str]],
    needed: Sequence[tuple[str, str]] = (),
) -> Table:
    """Read the rows of a file in which no column of interest is empty or blank.

    Args:
        path: The file.
        options: How it is read: a group of `TableOptions` with `skip_bad`.
        columns: Pairs of a column's name and the name of the option that named it.
        needed: Those of them that must not be empty, if not all.

    Raises:
        DataError: See `read_table` and `complete`.
        OptionError: Two options name one column.
    """
    for (one, first), (other, second) in combinations(columns, 2):
        if one == other:
            raise OptionError(
                f"{option_name(first)} and {option_name(second)} are both {one!r}; name two columns"
            )
    table = read_table(path, **options.reading, wanted=[name for name, _ in columns])
    return complete(table, needed or columns, skip_bad=options.skip_bad)


def complete(table: Table, columns: Sequence[tuple[str, str]], *, skip_bad: bool) -> Table:
    """The rows of a table in which no column of interest is empty or blank.

    Args:
        table: The table.
        columns: Pairs of a column's name and the name of the option that named it.
        skip_bad: Leave incomplete rows out instead of refusing the table.

    Raises:
        DataError: A row is incomplete and `skip_bad` is not set, or no row is complete.
    """
    bad: dict[str, NDArray[numpy.int64]] = {}
    lacking = numpy.zeros(len(table), dtype=bool)
    for name, option in columns:
        values = table.column(name, option)
        empty = (value is None or not value.strip() for value in values)
        rows = numpy.flatnonzero(numpy.fromiter(empty, dtype=bool, count=len(table)))
        if len(rows):
            bad[name] = rows
            lacking[rows] = True
    if bad and not skip_bad:
        name, rows = min(bad.items(), key=lambda item: item[1][0])
        more = f" (in all, {lacking.sum()} rows lack a value)"
        header = ", the header not counted" if table.unit == "record" else ""
        raise DataError(
            f"{table.path}: {table.row(rows[0])}{header}, has no {name!r}{more}; "
            f"fill it in, or leave such rows out with {option_name('skip_bad', True)}"
        )
    if lacking.all():
        raise DataError(f"{table.path} has no row in which every needed column has a value")
    if not bad:
        return table
    skipped = {f"without {name}": len(rows) for name, rows in bad.items()}
    return table.taken(numpy.flatnonzero(~lacking).tolist(), skipped)


def _one_character(separator: str | None) -> str | None:
    if separator == "\\t":  # as it is typed where the shell makes no tab of it
        return "\t"
    if separator is not None and (len(separator.encode()) != 1 or separator in '"\r\n'):
        raise DataError(
            f"{option_name('separator')} is {separator!r}, but has to be one ASCII character, "
            "and no quote or line end"
        )
    return separator


def _kind(path: Path, separator: str | None) -> tuple[str, str]:
    """The suffix that tells the kind of file, and that of its compression (or "")."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file")
    suffix, compression = suffixes_of(path)
    known = suffix in SEPARATORS or suffix in JSON_LINES or suffix in PARQUET
    if (suffix in PARQUET and compression) or not (known or separator):
        raise DataError(f"cannot tell what {path} is by its name; supported: {SUPPORTED}")
    return suffix, compression
