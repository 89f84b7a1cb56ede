"""The rows of tables in pieces, whatever kind of file they are in."""

import csv
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pandas
import pyarrow
from pyarrow import parquet

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.table import other_separator

_ROWS = 50_000  # of a piece

Text = Callable[[], Any]
"""Opens the text of a file from its beginning: what it gives is read and iterated by lines."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, one after the other.

    Attributes:
        columns: The values of the columns that were wanted, all of the same length.
        names: The names of all columns that were seen so far; two may be the same.
        numbers: The number of each row, as messages count them.
        skipped: How many rows were left out so far, by reason.
    """

    columns: Mapping[str, Sequence[str | None]]
    names: list[str]
    numbers: Sequence[int]
    skipped: Mapping[str, int] = field(default_factory=dict)


def json_lines(
    path: Path, text: Text, wanted: Sequence[str] | None, *, nested: bool = False
) -> Iterator[Piece]:
    """The rows of JSON lines; they are counted by lines.

    Numbers stay as they are written, so that a label 1 is "1" and 1.0 is "1.0".

    Args:
        path, text: The file, and what opens it.
        wanted: The columns to read, by default all.
        nested: Whether a value may be a list or an object; then it stays JSON.

    Raises:
        DataError: A line is no JSON object, or a value is nested.
    """
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    names: dict[str, None] = {}

    def piece() -> Piece:
        chosen = [name for name in names if wanted is None or name in wanted]
        columns = {name: [_as_text(row.get(name)) for row in rows] for name in chosen}
        return Piece(columns, list(names), list(numbers))

    for number, line in enumerate(text(), start=1):
        if not line.strip():
            continue
        row = _json_object(path, number, line.strip(), wanted)
        if wanted is not None and not nested:
            _refuse_nested(path, number, row, wanted)
        rows.append(row)
        numbers.append(number)
        names |= dict.fromkeys(row)
        if len(rows) == _ROWS:
            yield piece()
            rows, numbers = [], []
    yield piece()


def _json_object(
    path: Path, number: int, line: str, wanted: Sequence[str] | None
) -> dict[str, object]:
    try:
        row = _LINES.decode(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is not JSON: {error.msg}") from None
    except RecursionError:
        raise DataError(f"{path}: line {number} is nested too deeply") from None
    if not isinstance(row, _Object):
        raise DataError(f"{path}: line {number} is not a JSON object, such as {{...}}")
    twice = row.twice & set(row if wanted is None else wanted)
    if twice:
        raise DataError(f"{path}: line {number} has two values {min(twice)!r}")
    return row


def _refuse_nested(
    path: Path, number: int, row: Mapping[str, object], wanted: Sequence[str]
) -> None:
    for name in wanted:
        if isinstance(row.get(name), list | dict):
            kind = "a list" if isinstance(row[name], list) else "an object"
            raise DataError(f"{path}: line {number} has {kind} as {name!r}, which has to be text")


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


def separated(
    path: Path, text: Text, separator: str, header: bool, wanted: Sequence[str] | None
) -> Iterator[Piece]:
    """The records of CSV or TSV; they are counted from 1, without the header.

    Raises:
        DataError: It cannot be read as a table, or has no record.
    """
    first = next(iter(text()), "").strip()
    if re.fullmatch('"?sep=.?"?', first, re.IGNORECASE):
        raise DataError(
            f"{path} begins with {first!r}, a line for spreadsheets only; remove it, and name what "
            f"separates the columns with {option_name('separator')}"
        )
    plain_tabs = separator == "\t" and _same_tabs_in_every_line(text())
    read = _unquote if plain_tabs else str
    names: list[str] = []
    count = 0
    for frame in _frames(path, text, separator, plain_tabs):
        if not names:
            names = [str(number) for number in range(1, frame.shape[1] + 1)]
            if header:
                names = [value if isinstance(value, str) else "" for value in frame.iloc[0]]
                frame = frame.iloc[1:]
        columns = {
            name: [
                read(value) if isinstance(value, str) else None for value in frame.iloc[:, number]
            ]
            for number, name in enumerate(names)
            if wanted is None or name in wanted
        }
        yield Piece(columns, names, range(count + 1, count + len(frame) + 1))
        count += len(frame)
    if not count:
        raise DataError(f"{path} is empty: it has column names but no row")


def _frames(path: Path, text: Text, separator: str, plain_tabs: bool) -> Iterator[pandas.DataFrame]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            yield from pandas.read_csv(
                text(),
                sep=separator,
                engine="c",
                header=None,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                na_values=[""],
                quoting=csv.QUOTE_NONE if plain_tabs else csv.QUOTE_MINIMAL,
                chunksize=_ROWS,
            )
    except (pandas.errors.ParserError, pandas.errors.ParserWarning) as error:
        reason = str(error).rpartition("C error: ")[2].strip()
        first = next(iter(text()), "")
        hint = "" if separator in first else other_separator(first)
        raise DataError(f"{path} cannot be read as a table: {reason}{hint}") from None
    except DataError:
        raise
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read with the separator {separator!r}: {error}"
        ) from None


def _same_tabs_in_every_line(lines: Iterable[str]) -> bool:
    """Whether each line is one record, so that quotes in it are plain characters."""
    tabs = {line.count("\t") for line in lines if line.strip()}
    return len(tabs) == 1


def _unquote(value: str) -> str:
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value


def parquet_rows(
    path: Path, file: IO[bytes] | Path, wanted: Sequence[str] | None
) -> Iterator[Piece]:
    """The rows of a parquet file; they are counted from 1.

    Raises:
        DataError: It is damaged or empty, or a column holds what is no text.
    """
    count = 0
    try:
        opened = parquet.ParquetFile(file)
        names = list(opened.schema_arrow.names)
        chosen = [name for name in dict.fromkeys(names) if names.count(name) == 1]
        chosen = [name for name in chosen if wanted is None or name in wanted]
        for batch in opened.iter_batches(_ROWS, columns=chosen):
            columns = {name: _parquet_texts(path, name, batch) for name in chosen}
            yield Piece(columns, names, range(count + 1, count + batch.num_rows + 1))
            count += batch.num_rows
    except DataError:
        raise
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path} is not a sound parquet file: {reason}") from None
    if not count:
        raise DataError(f"{path} is empty: it has columns but no row")


def _parquet_texts(path: Path, name: str, batch: pyarrow.RecordBatch) -> list[str | None]:
    column: Any = batch.column(name)
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
