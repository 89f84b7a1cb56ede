"""Tables that are prepared once, as Arrow's files, and read from disk where they are used."""

import bz2
import codecs
import gzip
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO, Any

import pyarrow
from pyarrow import ipc

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.columns import Table, TextColumn
from anyrnn.tasks.encoding import likely_encoding, whole_characters
from anyrnn.tasks.prepared import advanced, prepared
from anyrnn.tasks.table_pieces import Piece

LARGE = 64 << 20
"""From how many bytes on a file is prepared on disk; an eighth of that if it is compressed."""

_NAMES = "names"
_BLOCK = 1 << 20  # bytes read at once
_SAMPLE = 16 << 20  # bytes that tell an encoding
_OPEN: dict[str, Any] = {"": open, ".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def is_large(path: Path, *, compressed: bool) -> bool:
    """Whether the table in a file is prepared on disk; a file that is not there is not large."""
    try:
        return path.stat().st_size >= (LARGE // 8 if compressed else LARGE)
    except OSError:
        return False


def large_table(
    path: Path,
    unit: str,
    pieces: Iterator[Piece],
    columns: Sequence[str] | None,
    options: Sequence[object],
) -> Table:
    """The table of all pieces, on disk: they are asked for only if it is not there already.

    Args:
        path: The file that they come from.
        unit: How messages count a row.
        pieces: The pieces.
        columns: The columns that they may have; those of the first piece, if not given.
        options: How the file is read.

    Raises:
        DataError: The file cannot be read.
        WriteError: The table cannot be written.
    """
    digest = _digest(path)

    def make(unfinished: Path) -> None:
        with pyarrow.OSFile(str(unfinished), "wb") as file:
            _write(file, pieces, columns)

    key, reader = prepared(("table", digest, json.dumps(list(options))), make)
    *batches, last = range(reader.num_record_batches)
    names: list[str] = json.loads(reader.get_batch_with_custom_metadata(last)[1][_NAMES])
    read = [reader.get_batch(number) for number in batches]
    found = {
        name: TextColumn([batch.column(name) for batch in read], f"{key} {name}")
        for name in reader.schema.names[1:]
        if name in names
    }
    numbers: Any = pyarrow.chunked_array([batch.column(0) for batch in read]).to_numpy()
    return Table(path, names, found, unit, numbers, digest)


def _write(
    file: pyarrow.NativeFile, pieces: Iterator[Piece], columns: Sequence[str] | None
) -> None:
    """Write the pieces, and behind them the names, which are known when all are written."""
    first = next(pieces)
    columns = list(first.columns) if columns is None else columns
    fields = [("", pyarrow.int64()), *((name, pyarrow.large_string()) for name in columns)]
    schema = pyarrow.schema(fields)
    piece = first
    with ipc.new_file(file, schema) as writer:
        for piece in chain([first], pieces):
            count = len(piece.numbers)
            values: list[Any] = [piece.numbers]
            values += [piece.columns.get(name, [None] * count) for name in columns]
            arrays = [
                pyarrow.array(each, field.type) for each, field in zip(values, schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
        nothing = pyarrow.RecordBatch.from_pylist([], schema=schema)
        writer.write_batch(nothing, custom_metadata={_NAMES: json.dumps(piece.names)})


class Characters:
    """The text of a file, decoded in pieces; it is read, or iterated by lines.

    Args:
        path: The file.
        compression: The ending that tells how it is compressed; "" if it is not.
        encoding: How its text is encoded.

    Raises:
        DataError: It cannot be read, or has another encoding.
    """

    def __init__(self, path: Path, compression: str, encoding: str) -> None:
        self._path = path
        self._compression = compression
        self._encoding = encoding
        self._pieces = self._decoded()
        self._rest = ""

    def read(self, size: int = -1) -> str:
        """At most so many characters; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return ""
            self._rest = piece
        if size < 0:
            found, self._rest = self._rest + "".join(self._pieces), ""
        else:
            found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def __iter__(self) -> Iterator[str]:
        """The lines, without their ends."""
        rest = self._rest
        for piece in self._pieces:
            *lines, rest = (rest + piece).split("\n")
            yield from lines
        if rest:
            yield rest

    def pieces(self) -> Iterator[str]:
        """The whole text in pieces as they come."""
        return self._pieces

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self._encoding)()
        before = lines = 0  # bytes and line ends that were decoded
        pending = b""
        first = True
        for block in self._blocks():
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                raise self._foreign(error, before - len(pending), lines) from None
            before += len(block)
            lines += block.count(b"\n")
            pending = decoder.getstate()[0]
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            yield whole_characters(text)

    def _foreign(self, error: UnicodeError, before: int, lines: int) -> DataError:
        reason = str(error)
        if isinstance(error, UnicodeDecodeError):
            line = lines + error.object.count(b"\n", 0, error.start) + 1
            byte = error.object[error.start]
            reason = f"byte 0x{byte:02x} at position {before + error.start}, line {line}"
        with _OPEN[self._compression](self._path, "rb") as file:
            sample = file.read(_SAMPLE)
        likely = likely_encoding(sample, whole=len(sample) < _SAMPLE)
        return DataError(
            f"{self._path} is not {self._encoding}: {reason}; name its encoding, for example "
            f"{option_name('encoding', likely)}"
        )

    def _blocks(self) -> Iterator[bytes]:
        """The bytes, and at the end none."""
        path = self._path
        try:
            total = path.stat().st_size
            with path.open("rb") as raw:
                opened: IO[bytes] = _OPEN[self._compression](raw) if self._compression else raw
                while block := opened.read(_BLOCK):
                    yield block
                    advanced(f"preparing {path.name}", raw.tell(), total)
                yield b""
        except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
            if isinstance(error, OSError) and error.strerror:
                raise DataError(f"cannot read {path}: {error.strerror}") from None
            raise DataError(f"{path} is not a sound {self._compression} file: {error}") from None


def _digest(path: Path) -> str:
    """A hash of the file's content."""
    found = sha256()
    try:
        total, done = path.stat().st_size, 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
                done += len(block)
                advanced(f"reading {path.name}", done, total)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return found.hexdigest()
