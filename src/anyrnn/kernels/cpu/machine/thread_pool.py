"""A thread pool, for processes without an OpenMP runtime.

The threads are Python's: idle they block on a queue, and they end with the process. The threads of
a kernel meet at its barriers, so either all of them run it or none does. They wait in machine code
until the caller has entered machine code too, where no signal can raise an exception any more; if
one was raised before, they are told to leave.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from anyrnn.kernels.cpu.machine.engine import compile_text
from anyrnn.kernels.cpu.machine.processor import host

BEGIN, LEAVE = 1, 2

# A meeting is four words: what to do, how many threads are done, the function, how many threads
# there are besides the caller. They run `enter`, the caller runs `enter_alone`.
TEXT = f"""define void @enter(ptr %meeting, ptr %place) {{
entry:
  br label %wait
wait:
  %told = load atomic i64, ptr %meeting acquire, align 8
  %waiting = icmp eq i64 %told, 0
  br i1 %waiting, label %wait, label %decided
decided:
  %begin = icmp eq i64 %told, {BEGIN}
  br i1 %begin, label %run, label %done
run:
  %function.at = getelementptr i64, ptr %meeting, i64 2
  %function = load ptr, ptr %function.at
  call void %function(ptr %place)
  br label %done
done:
  %done.at = getelementptr i64, ptr %meeting, i64 1
  %before = atomicrmw add ptr %done.at, i64 1 seq_cst
  ret void
}}

define void @enter_alone(ptr %meeting, ptr %place) {{
entry:
  %done.at = getelementptr i64, ptr %meeting, i64 1
  %function.at = getelementptr i64, ptr %meeting, i64 2
  %function = load ptr, ptr %function.at
  %others.at = getelementptr i64, ptr %meeting, i64 3
  %others = load i64, ptr %others.at
  store atomic i64 {BEGIN}, ptr %meeting release, align 8
  call void %function(ptr %place)
  br label %wait
wait:
  %done = load atomic i64, ptr %done.at acquire, align 8
  %complete = icmp sge i64 %done, %others
  br i1 %complete, label %end, label %wait
end:
  ret void
}}"""

_Run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class _Functions:
    """The entry points of the threads (`join`) and of the caller (`lead`)."""

    def __init__(self) -> None:
        self.code = compile_text(TEXT, host(), "threads")
        self.join, self.lead = _Run(self.code.enter), _Run(self.code.enter_alone)


_functions = lru_cache(maxsize=1)(_Functions)


class Pool:
    """A pool whose threads start when they are first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queues: list[SimpleQueue[tuple[NDArray[np.int64], int]]] = []

    def run(self, function: int, places: Sequence[int]) -> bool:
        """Run the function at an address in several threads at the same time, one of them the
        caller's, with an argument for each. False if the threads are busy, or the system grants no
        more.
        """
        if sys.is_finalizing() or not self.lock.acquire(blocking=False):
            return False
        try:
            others = places[1:]
            functions = _functions()
            if not self._start(len(others), functions):
                return False
            meeting = np.array([0, 0, function, len(others)], np.int64)
            try:
                for queue, place in zip(self.queues, others):  # noqa: B905 - there may be more threads
                    queue.put((meeting, place))
                functions.lead(meeting.__array_interface__["data"][0], places[0])
            except BaseException:
                meeting[0] = LEAVE
                raise
        finally:
            self.lock.release()
        return True

    def _start(self, count: int, functions: _Functions) -> bool:
        """Whether there are that many threads, some of them new."""
        while len(self.queues) < count:
            queue: SimpleQueue[tuple[NDArray[np.int64], int]] = SimpleQueue()
            work = threading.Thread(target=_work, args=(queue, functions), daemon=True)
            try:
                work.start()
            except RuntimeError:  # the system grants no more
                return False
            self.queues.append(queue)
        return True


def _work(queue: SimpleQueue[tuple[NDArray[np.int64], int]], functions: _Functions) -> None:
    while True:
        meeting, place = queue.get()
        functions.join(meeting.__array_interface__["data"][0], place)
