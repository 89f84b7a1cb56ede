"""Enters a job of the executor with other addresses in each call.

That is a function of Python which writes the addresses into the job's table, releases the
interpreter's lock and carries the job out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct

from anyrnn.kernels.cpu.machine import executor, team
from anyrnn.kernels.cpu.machine.engine import Code, compile_text
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.python_function import (
    interpreter,
    module_text,
    python_function,
)

Enter = Callable[[list[int]], None]
FUNCTIONS = ("place", "job", "forked", "with.teams", "by.one")
BODY = """\
  %length = call i64 %call.PyList_Size(ptr %given)
  %fits = icmp eq i64 %length, %count
  br i1 %fits, label %next, label %other
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %store ]
  %complete = icmp eq i64 %n, %count
  br i1 %complete, label %run, label %store
store:
  %n.next = add i64 %n, 1
  %item = call ptr %call.PyList_GetItem(ptr %given, i64 %n)
  %address = call ptr %call.PyLong_AsVoidPtr(ptr %item)
  %into = getelementptr ptr, ptr %call.place, i64 %n
  store ptr %address, ptr %into
  br label %next
run:
  %thread = call ptr %call.PyEval_SaveThread()
  %alone = load i64, ptr %call.forked
  %whole = icmp eq i64 %alone, 0
  %function = select i1 %whole, ptr %call.with.teams, ptr %call.by.one
  call void %function(ptr %call.job)
  call void %call.PyEval_RestoreThread(ptr %thread)
  call void %call.Py_IncRef(ptr %call.none)
  ret ptr %call.none
other:  ; Python raises SystemError
  ret ptr null"""


@lru_cache(maxsize=1)
def _code() -> Code:
    return compile_text(module_text(FUNCTIONS, ("count",), BODY), host(), "entry of jobs")


def job_entry(
    job: int, words: memoryview, offset: int, address: int, count: int, kept: object = None
) -> Enter:
    """What enters a job, never twice at a time.

    Args:
        job: Its address.
        words: The memory of its table, which lives as long as what is returned.
        offset: Where in that the words begin that each call gives.
        address: Where these are.
        count: Their number.
        kept: What else lives as long.
    """
    run = executor.executor()
    if interpreter() is None:
        write = Struct(f"={count}q").pack_into

        def enter(given: Sequence[int], kept: object = kept) -> None:
            write(words, offset, *given)
            run.run(job)

        return enter
    code = _code()
    own = address, job, team.forked_address(), *run.functions, count
    return python_function(code.enter, own, (code, run, words, kept))
