"""Tables from files: CSV, TSV, JSON lines and parquet, every value as text."""

import bz2
import functools
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.columns import Table, TextColumn
from anyrnn.tasks.encoding import check_encoding, likely_encoding, whole_characters
from anyrnn.tasks.large_tables import Characters, is_large, large_table
from anyrnn.tasks.table_pieces import Piece, Text, json_lines, parquet_rows, separated

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
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
    on_disk: bool = False,
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
        on_disk: Whether the columns of a large file may be on disk, prepared once; otherwise they
            are lists.

    Returns:
        The table, without interpreting any value: "NA", "007" and "1e3" stay as they are.

    Raises:
        DataError: The file is missing, empty, damaged, of another kind or in another encoding.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "reviews.csv"
        >>> _ = path.write_text("review,stars\ngood,5\nNA,\n")
        >>> read_table(path).columns
        {'review': ['good', 'NA'], 'stars': ['5', None]}
    """
    separator = _one_character(separator)
    suffix, compression = _kind(path, separator)
    unit = "row" if suffix in _PARQUET else "line" if suffix in _JSON_LINES else "record"

    def pieces(data: Any, text: Text) -> Iterator[Piece]:
        if suffix in _PARQUET:
            return parquet_rows(path, data, wanted)
        if suffix in _JSON_LINES:
            return json_lines(path, text, wanted)
        return separated(path, text, separator or _SEPARATORS[suffix], header, wanted)

    if on_disk and is_large(path, compressed=bool(compression) or suffix in _PARQUET):
        check_encoding(encoding)
        options = (suffix, compression, encoding, separator, header, wanted)
        text = functools.partial(Characters, path, compression, encoding)
        columns = wanted
        if suffix not in _JSON_LINES:
            columns = None
        elif wanted is None:  # a later line may have names that no other has
            *_, last = json_lines(path, text, [])
            columns = last.names
        return large_table(path, unit, pieces(path, text), columns, options)
    data = read_bytes(path)
    content = ""
    if suffix not in _PARQUET:
        content = _decode(path, _decompress(path, data, compression), encoding)
        if not content.strip():
            raise DataError(f"{path} is empty")
    found = pieces(io.BytesIO(data), functools.partial(io.StringIO, content))
    return _collected(path, unit, found, sha256(data).hexdigest())


def _collected(path: Path, unit: str, pieces: Iterable[Piece], digest: str) -> Table:
    """The table of all pieces, in memory."""
    columns: dict[str, list[str | None]] = {}
    numbers: list[int] = []
    names: list[str] = []
    for piece in pieces:
        for name in piece.columns:
            columns.setdefault(name, [None] * len(numbers))
        for name, values in columns.items():
            values += piece.columns[name]
        numbers += piece.numbers
        names = piece.names
    return Table(path, names, columns, unit, numbers, digest)


def read_text(path: Path, encoding: str) -> tuple[str, str]:
    """The text of a file, which may be compressed, and a hash of its content.

    Raises:
        DataError: The file is missing, empty, damaged or in another encoding.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file")
    data = read_bytes(path)
    digest = sha256(data).hexdigest()
    suffix = path.suffix.lower()
    if suffix in _DECOMPRESS:
        data = _decompress(path, data, suffix)
    text = _decode(path, data, encoding)
    if not text.strip():
        raise DataError(f"{path} is empty")
    return text, digest


def large_text(
    path: Path, encoding: str, pieces: Callable[[Iterable[str]], Iterator[Piece]]
) -> tuple[TextColumn, str] | None:
    """What a large file of text holds, on disk, and a hash of its content; `None` if it is small.

    Args:
        path: The file, which may be compressed.
        encoding: How its text is encoded.
        pieces: Rows with one column, called "text", from the text in pieces.

    Raises:
        DataError: The file is damaged, blank or in another encoding.
    """
    suffix = path.suffix.lower()
    compression = suffix if suffix in _DECOMPRESS else ""
    if path.is_dir() or not is_large(path, compressed=bool(compression)):
        return None
    check_encoding(encoding)
    text = Characters(path, compression, encoding)
    options = (compression, encoding, f"{pieces.__module__}.{pieces.__qualname__}")
    table = large_table(path, "line", pieces(text.pieces()), ["text"], options)
    column = table.columns["text"]
    assert isinstance(column, TextColumn)
    if not any(piece.strip() for piece in column):
        raise DataError(f"{path} is empty")
    return column, table.digest


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that it holds JSON lines, perhaps compressed."""
    return _suffixes(path)[0] in _JSON_LINES


def is_table(path: Path) -> bool:
    """Whether the name of a file says that it holds rows and columns, perhaps compressed."""
    return _suffixes(path)[0] in (*_SEPARATORS, *_JSON_LINES, *_PARQUET)


def complete_rows(
    table: Table, columns: Iterable[tuple[str, str]], *, skip_bad: bool
) -> tuple[Sequence[int], dict[str, int]]:
    """The rows in which no column of interest is empty or blank.

    Args:
        table: The table.
        columns: Pairs of a column's name and the name of the option that named it.
        skip_bad: Leave incomplete rows out instead of refusing the table.

    Returns:
        The indices of the complete rows, and how many rows lack each column (columns that no row
        lacks are left out).

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
    complete = numpy.flatnonzero(~lacking).tolist() if bad else range(len(table))
    return complete, {name: len(rows) for name, rows in bad.items()}


def _one_character(separator: str | None) -> str | None:
    if separator == "\\t":  # as it is typed where the shell makes no tab of it
        return "\t"
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise DataError(
            f"{option_name('separator')} is {separator!r}, but has to be one character, and no "
            "quote or line end"
        )
    return separator


def _kind(path: Path, separator: str | None) -> tuple[str, str]:
    """The suffix that tells the kind of file, and that of its compression (or "")."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file")
    suffix, compression = _suffixes(path)
    known = suffix in _SEPARATORS or suffix in _JSON_LINES or suffix in _PARQUET
    if (suffix in _PARQUET and compression) or not (known or separator):
        raise DataError(f"cannot tell what {path} is by its name; supported: {SUPPORTED}")
    return suffix, compression


def _suffixes(path: Path) -> tuple[str, str]:
    """The suffix that tells the kind of file, or "", and that of its compression, or ""."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _DECOMPRESS else ""
    return (suffixes[-1] if suffixes else ""), compression


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: It is missing, empty, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if not data:
        raise DataError(f"{path} is empty")
    return data


def _decompress(path: Path, data: bytes, compression: str) -> bytes:
    if not compression:
        return data
    try:
        return _DECOMPRESS[compression](data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} is not a sound {compression} file: {error}") from None


def _decode(path: Path, data: bytes, encoding: str) -> str:
    check_encoding(encoding)
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        reason = str(error)
        if isinstance(error, UnicodeDecodeError):
            line = data.count(b"\n", 0, error.start) + 1
            byte = data[error.start]
            reason = f"byte 0x{byte:02x} at position {error.start}, line {line}"
        raise DataError(
            f"{path} is not {encoding}: {reason}; name its encoding, for example "
            f"{option_name('encoding', likely_encoding(data))}"
        ) from None
    return whole_characters(text.removeprefix("\ufeff"))
