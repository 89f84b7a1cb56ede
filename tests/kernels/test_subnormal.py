"""Subnormal numbers count as zero inside a kernel, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from test_loop import run_loop
from test_team import RUNTIMES, python

import anyrnn
from anyrnn import log
from checks import TARGETS

TYPES = (np.float32, np.float64)


@anyrnn.cell
def halved(x, h):
    return h / 2 + x


@anyrnn.cell
def logarithm(x, h):
    return log(h) + 0 * x


def after_a_step(cell, target, dtype, *states) -> list[np.ndarray]:
    """The states after a step, with zeros as the input."""
    rows = [np.array([state], dtype) for state in states]
    width = rows[0].shape[1]
    x = np.zeros((1, 1, width), dtype)
    sizes = {"input": width, "hidden": width}
    return [found[0] for found in run_loop(cell, target, dtype, sizes, {}, x, rows)[1]]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", TYPES)
def test_arithmetic_takes_and_gives_zero(target, dtype) -> None:
    smallest = np.finfo(dtype).tiny
    below = np.nextafter(smallest, dtype(0))
    given = [2 * smallest, smallest, below, -below, 4 * below, 1]
    (found,) = after_a_step(halved, target, dtype, given)
    assert found.tolist() == [smallest, 0, 0, 0, 2 * below, 0.5]
    (found,) = after_a_step(logarithm, target, dtype, [below, -below, 0, 1])
    assert found.tolist() == [-np.inf, -np.inf, -np.inf, 0]


# in a process of its own: MXCSR of each thread of a team, without its sticky flags
REGISTERS = """
import ctypes
from anyrnn.kernels.cpu.emit.entry import entry
from anyrnn.kernels.cpu.machine import engine, team
from anyrnn.kernels.cpu.machine.processor import host

kernel = '''define void @kernel(ptr %record) noinline {
entry:
  %at = load ptr, ptr %record
  call void @llvm.x86.sse.stmxcsr(ptr %at)
  ret void
}
'''
entered = kernel + entry(1, host())
inside, outside = (
    engine.compile_text(text, host())
    for text in (entered, entered.replace("call void @flushing", "call void @kernel"))
)

def registers(code):
    numbers, enters = np.zeros(4, np.uint32), team.TeamEntry(code, 3, 1)
    places = numbers.ctypes.data + 4 * np.arange(4)
    words = np.array([*enters.header, *places], np.int64)
    enters.run(words.ctypes.data)
    assert (numbers[1:] != 0).all() and numbers[0] == 0  # a team of three has run
    return (numbers[1:] & 0xFFC0).tolist()

registers(outside)  # now there are threads, so that they do not inherit what follows
ctypes.CDLL(None).fesetround(0xC00)  # towards zero
before = registers(outside)
within = registers(inside)
run(3, rows)
after = registers(outside)
try:
    made[3].forward(rows[..., 1:], parameters=weights)
except anyrnn.errors.AnyrnnError:
    after += registers(outside)
assert len({*before}) == 2  # the caller's is one of its own
print(after == 2 * before, [n ^ m for n, m in zip(before, within)] == [0x8040] * 3)
"""


@pytest.mark.skipif(TARGETS[0] == "neon", reason="another register")
@pytest.mark.parametrize("before", RUNTIMES.values(), ids=RUNTIMES)
def test_every_thread_has_its_register_back(before: str) -> None:
    """Also after an error."""
    assert python(before, REGISTERS) == "True True\n"
