"""Kernels for a CPU that this machine need not have: 64-bit Arm with NEON.

Their machine code is looked at, and runs in an emulator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
import test_bfloat16
import test_loop
import test_mathematics
import test_step
import test_subnormal

import anyrnn
from anyrnn.errors import KernelError
from anyrnn.kernels.cpu import target as cpu
from anyrnn.kernels.cpu.emit import packing
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.lower import lower
from anyrnn.kernels.cpu.machine import engine, executor, job_entry, team
from anyrnn.kernels.cpu.machine import processor as targets
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.residuals import step_schedules
from checks import TWINS, close_gradients, close_results, make_case, optimised
from invented_cells import INVENTED

NEON = Processor("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32)
TYPES = (np.float32, np.float64)
CELLS = {name: cell for name, cell in {**anyrnn.CATALOGUE, **INVENTED}.items() if name not in TWINS}
SIZES = [(3, 1, (3, 37, 5, 2)), (2, 13, (17, 19, 23, 3))]  # time, batch, the free sizes
LOOKED_AT = ("lstm", "gru_reset_before", "lstm_peephole", "normalised")


@pytest.fixture(autouse=True, scope="module")
def _back_end() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(NEON.triple)
    except RuntimeError as error:
        pytest.skip(f"this build of LLVM does not compile for 64-bit Arm: {error}")


# the machine code


def assembly(text: str) -> str:
    """The machine code of a module, in Arm's notation."""
    assert "x86" not in text
    module, machine = engine._optimize(text, NEON)
    return machine.emit_assembly(module)


def inner_loops(code: str) -> Iterator[list[str]]:
    """The instructions of the loops that have no other loop or branch inside."""
    parts = re.split(r"^(\.?\w+):.*$", code, flags=re.MULTILINE)
    for label, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line.strip() for line in body.splitlines()]
        for place, line in enumerate(lines):
            if re.fullmatch(rf"(b\.\w+|cbn?z|tbn?z)\s.*{re.escape(label)}", line):
                yield [line for line in lines[: place + 1] if not line.startswith((".", "/"))]
                break


def schedules(name: str) -> dict[str, Schedule]:
    cell = CELLS[name]
    return {
        "forward": schedule(cell.graph, cell.states, [cell.output]),
        "reverse": step_schedules(cell).reverse,
    }


@pytest.mark.optimised
@pytest.mark.parametrize(
    ("name", "direction", "dtype", "packed"),
    [  # a quarter of all: every two of a cell, a direction, a type and a packing
        (name, direction, TYPES[(place + turned) % 2], (place // 2 + turned) % 2 == 0)
        for place, name in enumerate(LOOKED_AT)
        for turned, direction in enumerate(("forward", "reverse"))
    ],
)
def test_sums_of_products_stay_in_registers(name, direction, dtype, packed) -> None:
    planned = schedules(name)[direction]
    lowered = lower(planned, arithmetic(NEON, dtype, packed=packed))
    lanes = "4s" if dtype == np.float32 else "2d"
    fused = re.compile(rf"fmla\s+v\d+\.{lanes}, v\d+\.{lanes}, v\d+\.({lanes}|[sd]\[)")
    moved = re.compile(r"(ldr|ldp|ldur|str|stp|stur)\s+[qdsv]\d+,.*\[sp")
    found = []
    for loop in inner_loops(assembly(lowered.text)):
        floats = [line for line in loop if line.startswith("f")]
        if floats and all(fused.match(line) for line in floats):
            assert not [line for line in loop if moved.match(line)]
            found.append(len(floats))
    assert found
    for cut in lowered.tiles if packed else ():
        for group in cut.groups if cut else ():
            assert group.rows * len(group.accumulators) * cut.blocks in found


@pytest.mark.optimised
@pytest.mark.parametrize("dtype", TYPES)
def test_packing_turns_squares_in_registers(dtype) -> None:
    code = assembly(packing.kernel(arithmetic(NEON, dtype)))
    turned = [loop for loop in inner_loops(code) if re.search(r"\b(zip|trn|uzp)[12]", str(loop))]
    assert turned
    assert not [line for loop in turned for line in loop if "[sp" in line]


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin24.1.0"])
def test_this_machine_is_arm(triple, monkeypatch) -> None:
    monkeypatch.setattr(llvm, "get_process_triple", lambda: triple)
    found = targets.host.__wrapped__()
    assert (found.name, found.triple, found.bits, found.registers) == ("neon", triple, 128, 32)
    assert found.lanes(double=False) == 4
    assert found.fused
    assert targets.host.__wrapped__("neon") == found
    with pytest.raises(KernelError, match=r"cannot run avx2; usable: neon"):
        targets.host.__wrapped__("avx2")


# the emulator


@cache
def emulator() -> Any:
    return pytest.importorskip("emulator", reason="the emulator Unicorn is missing").Emulator()


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine one with NEON."""
    machine = emulator()

    def link(compiled: bytes) -> engine.Code:
        functions = machine.load(compiled)
        return engine.Code(functions["enter"], functions["enter_alone"])

    monkeypatch.setenv("ANYRNN_CACHE", "off")
    monkeypatch.setattr(engine, "_link", link)
    monkeypatch.setattr(team._forked, "value", 1)  # so that everything runs on one thread
    monkeypatch.setattr(team, "function", lambda address: partial(machine.call, address))
    monkeypatch.setattr(job_entry, "interpreter", lambda: None)  # it calls no functions of Python
    monkeypatch.setattr(executor, "executor", cache(executor.Executor))
    for module in (cpu, executor, test_loop):
        monkeypatch.setattr(module, "host", lambda name=None: NEON)


def run(name: str, dtype: Any, time: int, batch: int, sizes: tuple[int, ...], memory: str) -> None:
    """Compare a run and its derivative with the interpreter."""
    cell = CELLS[name]
    drawn = make_case(cell, 0, time, batch, dict(zip(cell.free_sizes, sizes, strict=False)))
    scale = 1 / max(drawn.sizes.values()) ** 0.5
    weights = {name: scale * array for name, array in drawn.parameters.items()}
    case = replace(drawn, parameters=weights)
    given = case.as_type(dtype)
    made = anyrnn.compile(cell, case.sizes, dtype=dtype, threads=1, memory=memory)
    result = made.forward(given.x, given.states, parameters=given.parameters, save=True)
    gradients = result.backward(given.output_gradient, given.state_gradients)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for found, wanted, compare in (
        (result, case.interpret(), close_results),
        (gradients, case.gradients(), close_gradients),
    ):
        compare(found, wanted, 10 * tolerance)


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("name", optimised(CELLS, LOOKED_AT))
def test_emulated_cells_are_the_interpreters(name) -> None:
    place = list(CELLS).index(name)
    for time, batch, sizes in SIZES:
        run(name, TYPES[place % 2], time, batch, sizes, ("high", "low")[place % 4 // 2])


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", test_mathematics.FUNCTIONS)
def test_emulated_functions(name, dtype) -> None:
    test_mathematics.test_a_few_units_in_the_last_place(name, dtype, "neon")
    test_mathematics.test_infinities_and_nan(name, dtype, "neon")


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("dtype", TYPES)
def test_emulated_tanh_reaches_one(dtype) -> None:
    test_mathematics.test_tanh_reaches_one(dtype, "neon")


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("dtype", TYPES)
def test_emulated_subnormal_numbers(dtype) -> None:
    test_subnormal.test_arithmetic_takes_and_gives_zero("neon", dtype)


@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", optimised(LOOKED_AT, ["lstm"]))
def test_emulated_single_steps(name, dtype, monkeypatch) -> None:
    monkeypatch.setattr(test_step, "host", lambda name=None: NEON)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for sizes in test_step.SIZES:
        found, expected = test_step.run(CELLS[name], dtype, *sizes, target="neon")
        for ours, theirs in zip(found, [expected.output[0], *expected.states], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("arm")
def test_emulated_bfloat16(monkeypatch) -> None:
    monkeypatch.setitem(test_bfloat16.WAYS, "neon", NEON)
    test_bfloat16.test_values_and_gradients("gru_reset_before", "neon")
    test_bfloat16.test_rounding("neon")
    for short in (False, True):
        test_bfloat16.test_a_single_step("neon", short)
