"""Tables from files: CSV, TSV, JSON lines and parquet, every value as text."""

import bz2
import csv
import gzip
import io
import json
import lzma
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas
import pyarrow
from pyarrow import parquet

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.encoding import check_encoding, whole_characters

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


@dataclass(frozen=True)
class Table:
    """What a file holds: columns of text, in which an empty value is `None`.

    Attributes:
        path: The file.
        names: The names of all columns of the file; two may be the same.
        columns: The values of the columns that were wanted, all of the same length.
        unit: How messages count a row: "record" (from 1, without the header), "line" or "row".
        numbers: The number of each row, in that unit.
        digest: A hash of the file's content.
    """

    path: Path
    names: list[str]
    columns: dict[str, list[str | None]]
    unit: str
    numbers: Sequence[int]
    digest: str

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def column(self, name: str, option: str) -> list[str | None]:
        """The values of one column.

        Args:
            name: The column's name.
            option: The name of the option that named it, for the message.

        Raises:
            DataError: There is no such column (the message names the nearest one), or two.
        """
        names = self.names
        if names.count(name) > 1:
            raise DataError(
                f"{self.path} has two columns {name!r} ({option_name(option)}); rename one of them"
            )
        if name in self.columns:
            return self.columns[name]
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        if len(names) == 1:
            guess = _other_separator(names[0]) or guess
        listing = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        raise DataError(
            f"{self.path} has no column {name!r} ({option_name(option)}){guess} (it has {listing})"
        )

    def row(self, index: int) -> str:
        """How messages name a row, such as "record 17"."""
        return f"{self.unit} {self.numbers[index]}"


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
    data = read_bytes(path)
    digest = sha256(data).hexdigest()
    if suffix in _PARQUET:
        names, rows, numbers = _parquet(path, data, wanted)
        unit = "row"
    else:
        if compression:
            data = _decompress(path, data, compression)
        text = _decode(path, data, encoding)
        if not text.strip():
            raise DataError(f"{path} is empty")
        if suffix in _JSON_LINES:
            names, rows, numbers = _json_lines(path, text, wanted)
            unit = "line"
        else:
            separator = separator or _SEPARATORS[suffix]
            names, rows, numbers = _separated(path, text, separator, header, wanted)
            unit = "record"
    return Table(path, names, rows, unit, numbers, digest)


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


def is_json_lines(path: Path) -> bool:
    """Whether the name of a file says that it holds JSON lines, perhaps compressed."""
    return _suffixes(path)[0] in _JSON_LINES


def is_table(path: Path) -> bool:
    """Whether the name of a file says that it holds rows and columns, perhaps compressed."""
    return _suffixes(path)[0] in (*_SEPARATORS, *_JSON_LINES, *_PARQUET)


def complete_rows(
    table: Table, columns: Iterable[tuple[str, str]], *, skip_bad: bool
) -> tuple[list[int], dict[str, int]]:
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
    bad: dict[str, list[int]] = {}
    complete = set(range(len(table)))
    for name, option in columns:
        values = table.column(name, option)
        empty = [i for i, value in enumerate(values) if value is None or not value.strip()]
        if empty:
            bad[name] = empty
            complete.difference_update(empty)
    if bad and not skip_bad:
        name, rows = min(bad.items(), key=lambda item: item[1][0])
        more = f" (in all, {len(table) - len(complete)} rows lack a value)"
        header = ", the header not counted" if table.unit == "record" else ""
        raise DataError(
            f"{table.path}: {table.row(rows[0])}{header}, has no {name!r}{more}; "
            f"fill it in, or leave such rows out with {option_name('skip_bad', True)}"
        )
    if not complete:
        raise DataError(f"{table.path} has no row in which every needed column has a value")
    return sorted(complete), {name: len(rows) for name, rows in bad.items()}


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
            f"{option_name('encoding', _likely_encoding(data))}"
        ) from None
    return whole_characters(text.removeprefix("\ufeff"))


def _likely_encoding(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for encoding in ("utf-8", "gb18030", "shift_jis"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Accented letters side by side, which would read as Chinese, are rare.
        chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
        if encoding == "utf-8" or chinese > 0.1 * len(text):
            return encoding
    return "cp1252"


_Columns = dict[str, list[str | None]]


def _json_lines(
    path: Path, text: str, wanted: Sequence[str] | None
) -> tuple[list[str], _Columns, list[int]]:
    """Numbers stay as they are written, so that a label 1 is "1" and 1.0 is "1.0"."""
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    names: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _LINES.decode(line.strip())
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {number} is not JSON: {error.msg}") from None
        except RecursionError:
            raise DataError(f"{path}: line {number} is nested too deeply") from None
        if not isinstance(row, _Object):
            raise DataError(f"{path}: line {number} is not a JSON object, such as {{...}}")
        twice = row.twice & set(row if wanted is None else wanted)
        if twice:
            raise DataError(f"{path}: line {number} has two values {min(twice)!r}")
        rows.append(row)
        numbers.append(number)
        names |= dict.fromkeys(row)
    chosen = [name for name in names if wanted is None or name in wanted]
    columns = {name: [_as_text(row.get(name)) for row in rows] for name in chosen}
    return list(names), columns, numbers


class _Object(dict[str, object]):
    """A JSON object, which may have several values of one name: then `twice` has the name."""

    def __init__(self, pairs: Sequence[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: set[str] = set()
        if len(self) < len(pairs):
            names = [name for name, _ in pairs]
            self.twice = {name for name in names if names.count(name) > 1}


_LINES = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_int=str,
    parse_float=str,
    # Python writes NaN where a value is missing.
    parse_constant=lambda name: None if name == "NaN" else name,
)


def _as_text(value: object) -> str | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return whole_characters(text)


def _separated(
    path: Path, text: str, separator: str, header: bool, wanted: Sequence[str] | None
) -> tuple[list[str], _Columns, Sequence[int]]:
    plain_tabs = separator == "\t" and _same_tabs_in_every_line(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                io.StringIO(text),
                sep=separator,
                engine="c",
                header=None,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                quoting=csv.QUOTE_NONE if plain_tabs else csv.QUOTE_MINIMAL,
            )
    except (pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        reason = str(error).rpartition("C error: ")[2].strip()
        raise DataError(f"{path} cannot be read as a table: {reason}") from None
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read with the separator {separator!r}: {error}"
        ) from None
    names = [str(number) for number in range(1, frame.shape[1] + 1)]
    if header:
        names = [value if isinstance(value, str) else "" for value in frame.iloc[0]]
        frame = frame.iloc[1:]
    if frame.empty:
        raise DataError(f"{path} is empty: it has column names but no row")
    read = _unquote if plain_tabs else str
    columns = {
        name: [read(value) if isinstance(value, str) else None for value in frame.iloc[:, number]]
        for number, name in enumerate(names)
        if wanted is None or name in wanted
    }
    return names, columns, range(1, len(frame) + 1)


def _same_tabs_in_every_line(text: str) -> bool:
    """Whether each line is one record, so that quotes in it are plain characters."""
    tabs = {line.count("\t") for line in text.split("\n") if line.strip()}
    return len(tabs) == 1


def _unquote(value: str) -> str:
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value


def _parquet(
    path: Path, data: bytes, wanted: Sequence[str] | None
) -> tuple[list[str], _Columns, Sequence[int]]:
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        names = list(file.schema_arrow.names)
        chosen = [name for name in dict.fromkeys(names) if names.count(name) == 1]
        chosen = [name for name in chosen if wanted is None or name in wanted]
        table = file.read(columns=chosen)
        count = file.metadata.num_rows
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is not a sound parquet file: {reason}") from None
    if not count:
        raise DataError(f"{path} is empty: it has columns but no row")
    return names, {name: _parquet_texts(path, name, table) for name in chosen}, range(1, count + 1)


def _parquet_texts(path: Path, name: str, table: pyarrow.Table) -> list[str | None]:
    column: Any = table.column(name)
    kind = column.type
    try:
        if pyarrow.types.is_nested(kind):
            raise ValueError(f"{kind} is no text")
        if pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            column = column.cast(pyarrow.large_string())
        values = column.to_pylist()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{path}: the column {name!r} cannot be read: {error}") from None
    # What is missing is None, or NaN, which alone is not equal to itself.
    return [
        None if value is None or value == "" or value != value else str(value) for value in values
    ]


def _other_separator(header: str) -> str:
    for separator in (";", "\t", "|"):
        if separator in header:
            use = option_name("separator", repr(separator))
            return f"; its columns seem separated by {separator!r}: use {use}"
    return ""
