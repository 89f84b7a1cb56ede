"""Tables as Arrow's arrays: in memory or, of large files, on disk, prepared once."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import pyarrow
from pyarrow import ipc

from anyrnn.tasks.data.columns import TextColumn
from anyrnn.tasks.data.contents import Content
from anyrnn.tasks.data.prepared import prepared
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.table_pieces import Piece

_NAMES, _SKIPPED = "names", "skipped"


def arrow_table(
    content: Content,
    unit: str,
    pieces: Iterator[Piece],
    columns: Sequence[str] | None,
    options: Sequence[object],
) -> Table:
    """The table of all pieces; that of a large file on disk, where they are asked for once.

    Args:
        content: What they come from.
        unit: How messages count a row.
        pieces: The pieces.
        columns: The columns that they may have; those of the first piece, if not given.
        options: How the file is read.

    Raises:
        DataError: The file cannot be read.
        WriteError: The table cannot be written.
    """
    parts = ("table 2", content.digest, json.dumps(list(options)))
    key, reader = prepared(parts, lambda file: _write(file, pieces, columns), on_disk=content.large)
    *batches, last = range(reader.num_record_batches)
    facts = reader.get_batch_with_custom_metadata(last)[1]
    names: list[str] = json.loads(facts[_NAMES])
    read = [reader.get_batch(number) for number in batches]
    found = {
        name: TextColumn(
            [batch.column(place) for batch in read], f"{key} {name}", on_disk=content.large
        )
        for place, name in enumerate(reader.schema.names)
        if place and name in names
    }
    numbers: Any = pyarrow.chunked_array([batch.column(0) for batch in read]).to_numpy()
    skipped = json.loads(facts[_SKIPPED])
    return Table(content.path, names, found, unit, numbers, content.digest, skipped)


def _write(
    file: pyarrow.NativeFile, pieces: Iterator[Piece], columns: Sequence[str] | None
) -> None:
    """Write the pieces, and behind them the names and what was left out, which are known when all
    are written.
    """
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
        facts = {_NAMES: json.dumps(piece.names), _SKIPPED: json.dumps(piece.skipped)}
        writer.write_batch(nothing, custom_metadata=facts)
