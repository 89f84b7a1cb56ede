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
from pathlib import Path

import pandas

from anyrnn.errors import DataError

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
SUPPORTED = (
    ".csv, .tsv, .jsonl, .ndjson, .json (one object a line), each also .gz, .xz or .bz2; .parquet"
)


@dataclass(frozen=True)
class Table:
    """What a file holds: columns of text, in which an empty value is `None`.

    Attributes:
        path: The file.
        columns: The values of each column, all of the same length.
        unit: How messages count a row: "record" (from 1, without the header), "line" or "row".
        numbers: The number of each row, in that unit.
    """

    path: Path
    columns: dict[str, list[str | None]]
    unit: str
    numbers: Sequence[int]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def column(self, name: str, option: str) -> list[str | None]:
        """The values of one column.

        Args:
            name: The column's name.
            option: The option that named it, for the message.

        Raises:
            DataError: There is no such column; the message names the nearest one.
        """
        if name in self.columns:
            return self.columns[name]
        names = list(self.columns)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        if len(names) == 1:
            guess = _other_separator(names[0]) or guess
        listing = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        raise DataError(f"{self.path} has no column {name!r} ({option}){guess} (it has {listing})")

    def row(self, index: int) -> str:
        """How messages name a row, such as "record 17"."""
        return f"{self.unit} {self.numbers[index]}"


def read_table(
    path: Path, *, encoding: str = "utf-8", separator: str | None = None, header: bool = True
) -> Table:
    r"""Read a file of rows; its kind is told by its suffix.

    Args:
        path: The file: CSV, TSV, JSON lines (these also compressed) or parquet.
        encoding: How its text is encoded.
        separator: What separates the columns of a CSV or TSV file, if not a comma or a tab.
        header: Whether the first line of a CSV or TSV file names the columns; if not, their
            names are "1", "2", ...

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
    suffix, compression = _kind(path)
    data = _read_bytes(path)
    if suffix in _PARQUET:
        return _parquet(path, data)
    if compression:
        data = _decompress(path, data, compression)
    text = _decode(path, data, encoding)
    if not text.strip():
        raise DataError(f"{path} is empty")
    if suffix in _JSON_LINES:
        return _json_lines(path, text)
    return _separated(path, text, separator or _SEPARATORS[suffix], header)


def complete_rows(
    table: Table, columns: Iterable[tuple[str, str]], *, skip_bad: bool
) -> tuple[list[int], dict[str, int]]:
    """The rows in which no column of interest is empty or blank.

    Args:
        table: The table.
        columns: Pairs of a column's name and the option that named it.
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
            "fill it in, or leave such rows out with --skip-bad"
        )
    if not complete:
        raise DataError(f"{table.path} has no row in which every needed column has a value")
    return sorted(complete), {name: len(rows) for name, rows in bad.items()}


def _kind(path: Path) -> tuple[str, str]:
    """The suffix that tells the kind of file, and that of its compression (or "")."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = suffixes.pop() if suffixes and suffixes[-1] in _DECOMPRESS else ""
    suffix = suffixes[-1] if suffixes else ""
    known = (
        suffix in _SEPARATORS or suffix in _JSON_LINES or (suffix in _PARQUET and not compression)
    )
    if not known:
        raise DataError(f"cannot tell what {path} is by its name; supported: {SUPPORTED}")
    return suffix, compression


def _read_bytes(path: Path) -> bytes:
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
    try:
        text = data.decode(encoding)
    except LookupError:
        raise DataError(f"--encoding {encoding}: Python knows no such encoding") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not {encoding}: byte 0x{data[error.start]:02x} at position {error.start}, "
            f"line {line}; name its encoding, for example --encoding {_likely_encoding(data)}"
        ) from None
    return text.removeprefix("\ufeff")


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


def _json_lines(path: Path, text: str) -> Table:
    """Numbers stay as they are written, so that a label 1 is "1" and 1.0 is "1.0"."""
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=str, parse_float=str)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {number} is not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is not a JSON object, such as {{...}}")
        rows.append(row)
        numbers.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [_as_text(row.get(name)) for row in rows] for name in names}
    return Table(path, columns, "line", numbers)


def _as_text(value: object) -> str | None:
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # JSON can spell half of a character ("\\ud83d"), as texts that were cut carelessly do.
    return text.encode("utf-8", "replace").decode()


def _separated(path: Path, text: str, separator: str, header: bool) -> Table:
    plain_tabs = separator == "\t" and _same_tabs_in_every_line(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            frame = pandas.read_csv(
                io.StringIO(text),
                sep=separator,
                engine="c",
                header=0 if header else None,
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
    if frame.empty:
        raise DataError(f"{path} is empty: it has column names but no row")
    names = list(map(str, frame.columns)) if header else [str(i + 1) for i in range(frame.shape[1])]
    frame.columns = names
    table = _from_frame(path, frame, "record")
    if plain_tabs:
        for name, values in table.columns.items():
            table.columns[name] = [value and _unquote(value) for value in values]
    return table


def _same_tabs_in_every_line(text: str) -> bool:
    """Whether each line is one record, so that quotes in it are plain characters."""
    tabs = {line.count("\t") for line in text.split("\n") if line.strip()}
    return len(tabs) == 1


def _unquote(value: str) -> str:
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value


def _parquet(path: Path, data: bytes) -> Table:
    try:
        frame = pandas.read_parquet(io.BytesIO(data))
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a sound parquet file: {reason}") from None
    if frame.empty:
        raise DataError(f"{path} is empty: it has columns but no row")
    frame.columns = list(map(str, frame.columns))
    return _from_frame(path, frame, "row")


def _from_frame(path: Path, frame: pandas.DataFrame, unit: str) -> Table:
    columns: dict[str, list[str | None]] = {}
    for name in frame.columns:
        missing = frame[name].isna()
        columns[str(name)] = [
            None if absent or value == "" else str(value)
            for value, absent in zip(frame[name].tolist(), missing, strict=True)
        ]
    return Table(path, columns, unit, range(1, len(frame) + 1))


def _other_separator(header: str) -> str:
    for separator in (";", "\t", "|"):
        if separator in header:
            return f"; its columns seem separated by {separator!r}: use --separator {separator!r}"
    return ""
