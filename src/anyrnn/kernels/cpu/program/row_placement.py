"""Rows that are written where they belong in a padded array, with zeros elsewhere: each row of the
array is written once, by several threads where that pays.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.processor import Processor, host

PARALLEL = 1 << 17  # bytes from which on several threads pay
WORDS = 6  # of a record: the arrays, the rows and the index; the rows of a thread; bytes of a row


def _move(name: str, kind: str, count: str, before: str, after: str, source: str, into: str) -> str:
    """Copy elements, or zeros where there is no source, in a loop between two blocks."""
    copied = f"""
  %{name}.source = getelementptr {kind}, ptr %{source}, i64 %{name}.n
  %{name}.value = load {kind}, ptr %{name}.source, align 1"""
    value = f"%{name}.value" if source else "zeroinitializer"
    return f"""{name}:
  %{name}.n = phi i64 [ 0, %{before} ], [ %{name}.next, %{name}.body ]
  %{name}.complete = icmp eq i64 %{name}.n, %{count}
  br i1 %{name}.complete, label %{after}, label %{name}.body
{name}.body:
  %{name}.next = add i64 %{name}.n, 1{copied if source else ""}
  %{name}.into = getelementptr {kind}, ptr %{into}, i64 %{name}.n
  store {kind} {value}, ptr %{name}.into, align 1
  br label %{name}
"""


def _text(processor: Processor) -> str:
    names = "into", "rows", "index", "first", "last", "size"
    words = "".join(
        f"\n  %{name}.at = getelementptr i64, ptr %record, i64 {place}"
        f"\n  %{name}.word = load i64, ptr %{name}.at"
        for place, name in enumerate(names)
    )
    arrays = "".join(f"\n  %{name} = inttoptr i64 %{name}.word to ptr" for name in names[:3])
    line = "<16 x i32>"
    return f"""define internal void @kernel(ptr %record) "no-builtins" {{
entry:{words}{arrays}
  %lines = lshr i64 %size.word, 6
  %rest = and i64 %size.word, 63
  %lines.bytes = and i64 %size.word, -64
  br label %row
row:
  %n = phi i64 [ %first.word, %entry ], [ %next, %done ]
  %complete = icmp eq i64 %n, %last.word
  br i1 %complete, label %end, label %place
place:
  %next = add i64 %n, 1
  %which.at = getelementptr i64, ptr %index, i64 %n
  %which = load i64, ptr %which.at
  %offset = mul i64 %n, %size.word
  %to = getelementptr i8, ptr %into, i64 %offset
  %to.rest = getelementptr i8, ptr %to, i64 %lines.bytes
  %from.offset = mul i64 %which, %size.word
  %from = getelementptr i8, ptr %rows, i64 %from.offset
  %from.rest = getelementptr i8, ptr %from, i64 %lines.bytes
  %none = icmp slt i64 %which, 0
  br i1 %none, label %clear, label %copy
copy:
  br label %long
{_move("long", line, "lines", "copy", "short.start", "from", "to")}short.start:
  br label %short
{_move("short", "i8", "rest", "short.start", "done", "from.rest", "to.rest")}clear:
  br label %zeros
{_move("zeros", line, "lines", "clear", "ends.start", "", "to")}ends.start:
  br label %ends
{_move("ends", "i8", "rest", "ends.start", "done", "", "to.rest")}done:
  br label %row
end:
  ret void
}}

{entry(WORDS, processor)}"""


@lru_cache(maxsize=1)
def _code() -> Code:
    return compile_text(_text(host()), host(), "rows")


def place_rows(into: int, rows: int, index: int, count: int, size: int, threads: int) -> None:
    """Write rows of an array into another one.

    Args:
        into: Where the other array begins.
        rows: Where the array begins.
        index: Where the index begins: of each row of the other array the row that is written there,
            a whole number of 64 bits; zeros for one below 0.
        count: The number of rows of the other array.
        size: The bytes of a row.
        threads: The most threads to use.
    """
    threads = threads if count * size >= PARALLEL and team.available() else 1
    entered = team.TeamEntry(_code(), threads, WORDS)
    records = np.array([into, rows, index, 0, count, size], np.int64)[None].repeat(1 + threads, 0)
    bounds = count * np.arange(threads + 1) // threads
    records[1:, 3], records[1:, 4] = bounds[:-1], bounds[1:]
    table = np.concatenate([entered.header, records.ravel()]).astype(np.int64)
    entered.run(table.ctypes.data)
