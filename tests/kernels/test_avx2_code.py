"""The machine code for a CPU that this machine need not have: x86 with AVX2."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import numpy as np
import pytest

import anyrnn
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.lower import lower
from anyrnn.kernels.cpu.machine import engine
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy

AVX2 = Processor("avx2", "x86_64-unknown-linux-gnu", "x86-64", "+avx2,+fma", 256, 16)


def inner_loops(code: str) -> list[list[str]]:
    """The instructions of the loops that have no other loop or branch inside."""
    parts = re.split(r"^(\.L\w+):.*$", code, flags=re.MULTILINE)
    found = []
    for label, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line.strip() for line in body.splitlines() if line.startswith("\t")]
        ends = [n for n, line in enumerate(lines) if re.fullmatch(rf"j\w+\s+{label}", line)]
        if ends:
            found.append(lines[: ends[0]])
    return found


@pytest.mark.optimised
@pytest.mark.parametrize("policy", [FUSED, Policy()], ids=["fused", "hoisted"])
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "lstm_peephole"])
def test_sums_of_products_stay_in_registers(name: str, policy: Policy) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        llvm.Target.from_triple(AVX2.triple)
    except RuntimeError as error:
        pytest.skip(f"this build of LLVM does not compile for x86: {error}")
    cell = anyrnn.get(name)
    planned = schedule(cell.graph, cell.states, [cell.output], policy)
    lowered = lower(planned, arithmetic(AVX2, np.float32))
    module, machine = engine._optimize(lowered.text, AVX2)
    sums = set()
    for loop in inner_loops(machine.emit_assembly(module)):
        multiplied = [line for line in loop if line.startswith("vfmadd")]
        if any("broadcast" in line for line in loop):  # of a number, for vectors of weights
            assert not [line for line in loop if "(%rsp)" in line or "(%rbp)" in line]
            sums.add(len(multiplied))
    groups = [(group, cut) for cut in lowered.tiles if cut for group in cut.groups]
    assert groups
    for group, cut in groups:
        assert len(group.accumulators) * cut.blocks * group.rows in sums
