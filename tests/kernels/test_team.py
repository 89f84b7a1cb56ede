"""The threads that run a kernel: OpenMP's, ours, or none; beside others, and after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.machine import engine, thread_pool
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.machine.thread_pool import Pool


def runtimes() -> dict[str, str]:
    """What is loaded first in a process, by a name: nothing, PyTorch, or an OpenMP runtime."""
    found = {"none": "", "torch": "import torch"}
    for name in ("gomp", "omp", "iomp5"):
        installed = Path(sys.prefix) / "lib" / f"lib{name}.so"
        path = str(installed) if installed.exists() else find_library(name)
        if path:
            found[name] = f"import ctypes; ctypes.CDLL({path!r})"
    return found


RUNTIMES = runtimes()
BEGINNING = """
import os, signal, sys, threading, time
import numpy as np
import numpy.testing
import anyrnn
from anyrnn.kernels import arguments

arguments.usable_cores = lambda: 8  # teams of more threads than this machine has cores
random = np.random.default_rng(0)
made = {
    threads: anyrnn.compile("lstm", {"input": 33, "hidden": 67}, threads=threads)
    for threads in (1, 2, 3, 5)
}
weights = {
    stored.name: random.normal(size=stored.shape_for(made[1].sizes)).astype(np.float32) / 8
    for stored in made[1].cell.parameters
}
rows, units = (random.normal(size=(5, batch, 33)).astype(np.float32) for batch in (40, 3))

def run(threads, x, lengths=None):
    result = made[threads].forward(x, parameters=weights, save=True, lengths=lengths)
    gradients = result.backward(result.output)
    return [result.output, gradients.x, gradients.parameters["U"]]

def right(threads=3):
    for given, wanted in zip(cases, results, strict=True):
        for ours, theirs in zip(run(threads, *given), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    return True

few = rows[:, :13], np.array([5, 1, 0, 2, 1, 4, 1, 1, 3, 1, 1, 1, 1])  # fewer than 5 in a step
cases = [(rows,), (rows, random.integers(0, 6, 40)), (units,), few]
results = [run(1, *given) for given in cases]
"""


def python(before: str, code: str, **variables: str) -> str:
    """What a process of its own prints, which must end well within a minute."""
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{BEGINNING}\n{code}"],
        env={**os.environ, **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


each_runtime = pytest.mark.parametrize("before", RUNTIMES.values(), ids=RUNTIMES)


SAME_BITS = """
def threads_beside_others():
    assert all(right(threads) for threads in made)
    found = []
    def work():
        found.extend([right() for _ in range(5)])
    others = [threading.Thread(target=work) for _ in range(8)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    print("beside other threads:", len(found))

def after_a_fork():
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        found = [right(threads) for threads in made] * 5
        os._exit(0 if len(found) == 20 else 1)
    print("after a fork:", os.waitpid(child, 0)[1], right())

right()
if hasattr(os, "fork"):
    after_a_fork()
threads_beside_others()
import atexit
atexit.register(lambda: print("at the end:", right()))
"""


@each_runtime
def test_any_number_of_threads_gives_the_same_bits(before: str) -> None:
    """Also beside other threads, in a forked child, and at the end of the process."""
    found = python(before, SAME_BITS, PYTHONWARNINGS="ignore::DeprecationWarning").splitlines()
    fork = ["after a fork: 0 True"] if hasattr(os, "fork") else []
    assert found == [*fork, "beside other threads: 40", "at the end: True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_while_other_threads_run() -> None:
    code = """
ended = False
def work():
    while not ended:
        right()
others = [threading.Thread(target=work) for _ in range(3)]
for other in others:
    other.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if right() else 1)
    assert os.waitpid(child, 0)[1] == 0
ended = True
print("done")
"""
    assert python("", code, PYTHONWARNINGS="ignore::DeprecationWarning") == "done\n"


@each_runtime
def test_fewer_threads_than_asked_for(before: str) -> None:
    assert python(before, "print(right())", OMP_THREAD_LIMIT="1") == "True\n"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of threads")
@pytest.mark.parametrize(
    ("before", "variables", "more"),
    [
        ("", {"OMP_NUM_THREADS": "1"}, "0"),
        ("import torch", {}, "0 2"),
    ],
)
def test_the_number_of_threads_is_respected(before: str, variables: dict, more: str) -> None:
    code = """
def more():
    return len(os.listdir("/proc/self/task")) - started

started = len(os.listdir("/proc/self/task"))
if "torch" in sys.modules:
    from anyrnn.torch import LSTM
    import torch
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        with torch.no_grad():
            LSTM(33, 67)(torch.from_numpy(rows))
        found.append(more())
    print(*found)
else:
    anyrnn.compile("lstm", made[1].sizes).forward(rows, parameters=weights)
    print(more())
"""
    assert python(before, code, **variables) == f"{more}\n"


def test_threads_of_ours_cost_nothing_while_they_wait() -> None:
    code = """
right()
names = [thread.daemon for thread in threading.enumerate()]
before = time.process_time()
time.sleep(0.5)
print(names, time.process_time() - before < 0.1)
"""
    assert python("", code) == "[False, True, True] True\n"


# the pool by itself: a kernel that counts how often each of its threads has run

COUNTING = """define void @kernel(ptr %record) {
entry:
  %counts = load ptr, ptr %record
  %place.at = getelementptr i64, ptr %record, i64 1
  %place = load i64, ptr %place.at
  %at = getelementptr i64, ptr %counts, i64 %place
  %count = load i64, ptr %at
  %more = add i64 %count, 1
  store i64 %more, ptr %at
  ret void
}
"""


class Counting:
    """A kernel and its records for some threads."""

    def __init__(self, threads: int) -> None:
        self.code = engine.compile_text(COUNTING + entry(2, host()), host())
        self.counts = np.zeros(threads, np.int64)
        self.records = np.zeros((3 + threads, 2), np.int64)
        self.records[3:, 0] = self.counts.ctypes.data
        self.records[3:, 1] = range(threads)
        start = self.records.ctypes.data + 3 * 16 - 24
        self.places = [start + 16 * thread for thread in range(threads)]

    def run(self, team: Pool) -> bool:
        return team.run(self.code.enter_alone, self.places)


def test_every_thread_runs_once() -> None:
    team, kernel = Pool(), Counting(3)
    assert all(kernel.run(team) for _ in range(100))
    assert kernel.counts.tolist() == [100, 100, 100]
    few = Counting(2)
    assert few.run(team)
    assert few.counts.tolist() == [1, 1]
    assert len(team.queues) == 2


def test_busy_threads_are_not_waited_for() -> None:
    team, kernel = Pool(), Counting(3)
    with team.lock:
        assert not kernel.run(team)
    assert kernel.counts.tolist() == [0, 0, 0]


def test_a_system_that_gives_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    team, kernel = Pool(), Counting(3)
    assert not kernel.run(team)
    monkeypatch.undo()
    assert kernel.run(team)
    assert kernel.counts.tolist() == [1, 1, 1]


@pytest.mark.parametrize("place", [0, 1])
def test_an_interruption_before_all_are_there(place: int) -> None:
    class Interrupted:
        def put(self, work: object) -> None:
            raise KeyboardInterrupt

    team, kernel = Pool(), Counting(3)
    assert kernel.run(team)
    whole = team.queues
    team.queues = [*whole]
    team.queues[place] = Interrupted()  # type: ignore[call-overload]
    with pytest.raises(KeyboardInterrupt):
        kernel.run(team)
    assert kernel.counts.tolist() == [1, 1, 1]
    team.queues = whole
    assert kernel.run(team)
    assert kernel.counts.tolist() == [2, 2, 2]


def test_at_the_end_of_the_process_kernels_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool.sys, "is_finalizing", lambda: True)
    assert not Counting(2).run(Pool())
