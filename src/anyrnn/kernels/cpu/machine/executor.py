"""Carries out recorded commands in machine code: a run of ten kernels is one call from Python.

All numbers are words of 64 bits in one table. A job is six of them: the address of the table; the
entries where relocations begin and where commands begin, with how many there are; the address of
GOMP_parallel. A relocation sets an entry to the base in another entry plus an offset in bytes. A
command is eight words, the first of which is its kind.
"""

from __future__ import annotations

from functools import lru_cache

from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.engine import compile_text
from anyrnn.kernels.cpu.machine.processor import host

ENTER, COPY, CLEAR, ROWS = range(4)  # the kinds of commands
JOB, RELOCATION, COMMAND = 6, 3, 8  # words of each


def _words(base: str, *names: str) -> str:
    """Load consecutive words."""
    return "".join(
        f"\n  %{name}.at = getelementptr i64, ptr %{base}, i64 {index}"
        f"\n  %{name} = load i64, ptr %{name}.at"
        for index, name in enumerate(names)
    )


def _address(name: str, entry: str, offset: str) -> str:
    """The base in an entry of the table plus an offset."""
    return f"""
  %{name}.entry = getelementptr i64, ptr %table, i64 %{entry}
  %{name}.base = load i64, ptr %{name}.entry
  %{name}.number = add i64 %{name}.base, %{offset}
  %{name} = inttoptr i64 %{name}.number to ptr"""


def _loop(name: str, after: str, count: str, before: str, body: str) -> str:
    """A loop with a body for each number `%NAME.n` below a count, between two blocks."""
    return f"""{name}:
  %{name}.n = phi i64 [ 0, %{before} ], [ %{name}.next, %{name}.body ]
  %{name}.complete = icmp eq i64 %{name}.n, %{count}
  br i1 %{name}.complete, label %{after}, label %{name}.body
{name}.body:
  %{name}.next = add i64 %{name}.n, 1{body}
  br label %{name}
"""


def _element(name: str, base: str, kind: str) -> str:
    return f"\n  %{name}.at = getelementptr {kind}, ptr %{base}, i64 %{name.partition('.')[0]}.n"


def _copied(loop: str, source: str, into: str, kind: str) -> str:
    """Copy one element in a loop."""
    return f"""{_element(f"{loop}.source", source, kind)}{_element(f"{loop}.into", into, kind)}
  %{loop}.value = load {kind}, ptr %{loop}.source.at, align 1
  store {kind} %{loop}.value, ptr %{loop}.into.at, align 1"""


def _cleared(loop: str, into: str, kind: str) -> str:
    """Clear one element in a loop."""
    return f"""{_element(f"{loop}.into", into, kind)}
  store {kind} zeroinitializer, ptr %{loop}.into.at, align 1"""


LINE = "<16 x i32>"
RELOCATE = f"""
  %place = mul i64 %relocate.n, {RELOCATION}
  %relocation = getelementptr i64, ptr %first.relocation, i64 %place{
    _words("relocation", "patched", "base", "behind")
}{_address("found", "base", "behind")}
  %patched.entry = getelementptr i64, ptr %table, i64 %patched
  store i64 %found.number, ptr %patched.entry"""
TEXT = f"""
define private void @execute(ptr %job, i1 %alone) "no-builtins" {{
entry:{_words("job", "address", "relocations", "relocation.count", "commands", "count", "parallel")}
  %table = inttoptr i64 %address to ptr
  %first.relocation = getelementptr i64, ptr %table, i64 %relocations
  %first.command = getelementptr i64, ptr %table, i64 %commands
  br label %relocate
{_loop("relocate", "next", "relocation.count", "entry", RELOCATE)}next:
  %k = phi i64 [ 0, %relocate ], [ %k.next, %done ]
  %complete = icmp eq i64 %k, %count
  br i1 %complete, label %end, label %carry.out
carry.out:
  %k.next = add i64 %k, 1
  %k.words = mul i64 %k, {COMMAND}
  %command = getelementptr i64, ptr %first.command, i64 %k.words{
    _words("command", "kind", "one", "two", "three", "four", "five", "six", "seven")
}
  %line.count = lshr i64 %five, 6
  %line.bytes = and i64 %five, -64
  %byte.count = and i64 %five, 63
  switch i64 %kind, label %enter [
    i64 {COPY}, label %copy
    i64 {CLEAR}, label %clear
    i64 {ROWS}, label %rows
  ]
enter:  ; one: the entry of the argument, two: a thread's function, three: a team's, four: threads
  %argument = getelementptr i64, ptr %table, i64 %one
  %one.thread = icmp eq i64 %four, 1
  %by.one = or i1 %one.thread, %alone
  br i1 %by.one, label %thread, label %team
thread:
  %thread.function = inttoptr i64 %two to ptr
  call void %thread.function(ptr %argument)
  br label %done
team:
  %team.function = inttoptr i64 %three to ptr
  %threads = trunc i64 %four to i32
  %parallel.function = inttoptr i64 %parallel to ptr
  call void %parallel.function(ptr %team.function, ptr %argument, i32 %threads, i32 0)
  br label %done
copy:  ; one: the entry of the base of the destination, two: its offset, three and four: the source
  {_address("into", "one", "two")}{_address("source", "three", "four")}
  br label %lines
{_loop("lines", "rest", "line.count", "copy", _copied("lines", "source", "into", LINE))}
rest:
  %source.rest = getelementptr i8, ptr %source, i64 %line.bytes
  %into.rest = getelementptr i8, ptr %into, i64 %line.bytes
  br label %bytes
{_loop("bytes", "done", "byte.count", "rest", _copied("bytes", "source.rest", "into.rest", "i8"))}
clear:  ; one: the entry of the base, two: the offset, five: bytes
  {_address("cleared", "one", "two")}
  br label %zeros
{_loop("zeros", "last", "line.count", "clear", _cleared("zeros", "cleared", LINE))}
last:
  %cleared.rest = getelementptr i8, ptr %cleared, i64 %line.bytes
  br label %ends
{_loop("ends", "done", "byte.count", "last", _cleared("ends", "cleared.rest", "i8"))}
rows:  ; as copy; five: bytes of a row, six: the entry of the first row's offset in the source
  {_address("first.into", "one", "two")}{_address("all.source", "three", "four")}
  br label %row
row:  ; seven: the number of rows
  %row.n = phi i64 [ 0, %rows ], [ %row.next, %row.done ]
  %row.complete = icmp eq i64 %row.n, %seven
  br i1 %row.complete, label %done, label %row.body
row.body:
  %row.next = add i64 %row.n, 1
  %row.entry = add i64 %six, %row.n
  %row.entry.at = getelementptr i64, ptr %table, i64 %row.entry
  %row.offset = load i64, ptr %row.entry.at
  %row.source = getelementptr i8, ptr %all.source, i64 %row.offset
  %row.before = mul i64 %row.n, %five
  %row.into = getelementptr i8, ptr %first.into, i64 %row.before
  br label %many
{_loop("many", "few", "line.count", "row.body", _copied("many", "row.source", "row.into", LINE))}
few:
  %few.source = getelementptr i8, ptr %row.source, i64 %line.bytes
  %few.into = getelementptr i8, ptr %row.into, i64 %line.bytes
  br label %single
{
    _loop(
        "single", "row.done", "byte.count", "few", _copied("single", "few.source", "few.into", "i8")
    )
}
row.done:
  br label %row
done:
  br label %next
end:
  ret void
}}

define void @enter(ptr %job) {{
entry:
  call void @execute(ptr %job, i1 false)
  ret void
}}

define void @enter_alone(ptr %job) {{
entry:
  call void @execute(ptr %job, i1 true)
  ret void
}}"""


class Executor:
    """The compiled executor; one for the process.

    Attributes:
        functions: The addresses of what carries a job out, with teams and by one thread.
    """

    def __init__(self) -> None:
        self._code = compile_text(TEXT, host(), "commands")
        self.functions = self._code.enter, self._code.enter_alone
        self._with_teams, self._alone = map(team.function, self.functions)

    def run(self, job: int) -> None:
        """Carry out the job at an address; in a forked child each kernel on one thread."""
        (self._with_teams if team.available() else self._alone)(job)


executor = lru_cache(maxsize=1)(Executor)
