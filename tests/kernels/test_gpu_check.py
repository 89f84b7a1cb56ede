"""`make gpu-check`: kernels compiled for GPUs that are not there, and what their code takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import gpu_check
from anyrnn.kernels.gpu.compile import MACHINES
from gpu_check import amd_code, in_innermost_loop, nvidia_code, problem, summary

pytest.importorskip("triton")
TOOL = Path(__file__).parents[1] / "gpu_check.py"


def check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, str(TOOL), "--results", str(folder / "results"), "--processes", "1"]
    given = [*command, "--type", "bfloat16", "--hidden", "16", *options]
    return subprocess.run(given, env=environment, capture_output=True, text=True)


def test_kernels_are_compiled_once(tmp_path: Path) -> None:
    machines = "--machine", "sm_80", "--machine", "gfx942"
    found = check(tmp_path, *machines, "mingru", "rnn")
    assert found.returncode == 0, found.stderr
    assert "8 kernels, 0 of them wrong" in found.stdout
    assert "gfx942 bfloat16 scan: 2 kernels, at most" in found.stdout
    assert "sm_80 bfloat16 resident: 2 kernels, at most" in found.stdout
    lines = (tmp_path / "results").read_text().splitlines()
    assert len(lines) == 8
    assert all(json.loads(line)["registers"] > 8 for line in lines)
    # one is lost where a kill cut its line off
    (tmp_path / "results").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:30])
    again = check(tmp_path, *machines, "mingru", "rnn")
    assert "8 kernels, 0 of them wrong" in again.stdout
    known = {**{json.loads(line)["key"]: line for line in lines}}
    kept = (tmp_path / "results").read_text().splitlines()
    assert kept[:7] == lines[:7]
    assert json.loads(kept[-1])["key"] in known


def test_a_result_is_of_one_type_and_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan has the same text in each type; in TF32, which has no products there, it is known."""
    made = SimpleNamespace(metadata=SimpleNamespace(shared=0))
    monkeypatch.setattr(gpu_check, "compiled", lambda *given: made)
    monkeypatch.setattr(gpu_check, "resources", lambda *given: {"registers": 1, "spills": 0})
    tasks = [
        gpu_check.Task("mingru", kind, 64, machine)
        for kind in gpu_check.TYPES
        for machine in MACHINES
    ]
    found = [r["key"] for task in tasks for r in gpu_check.check(task, tmp_path / "none")]
    assert len(found) == 2 * len(tasks)
    assert len(set(found)) == 2 * len(MACHINES) * (len(gpu_check.TYPES) - 1)


def test_cells_that_are_none(tmp_path: Path) -> None:
    found = check(tmp_path, "lstmm")
    assert found.returncode == 2
    assert "no cell is called 'lstmm'" in found.stderr


SASS = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;           /* 0x00000a0000017a02 */
        /*0010*/                   STL [R1], R4 ;                   /* 0x0 */
        /*0020*/                   LDL R2, [R1+0x4] ;               /* 0x0 */
        /*0030*/                   IADD3 R3, R3, 0x1, RZ ;          /* 0x0 */
        /*0040*/                   STL.64 [R1+0x8], R6 ;            /* 0x0 */
        /*0050*/              @!P1 BRA 0x40 ;                       /* 0x0 */
        /*0060*/               @P0 BRA 0x20 ;                       /* 0x0 */
        /*0070*/                   EXIT ;                           /* 0x0 */
        /*0080*/                   BRA 0x80;                        /* 0x0 */
"""
AMDGCN = """
kernel:
	scratch_store_dword off, v1, s0
.LBB0_1:                                ; %outer
	scratch_load_dword v1, off, s0
.LBB0_2:                                ; %inner
	scratch_load_dword v2, off, s0
	s_cbranch_scc1 .LBB0_2
	s_cbranch_scc0 .LBB0_1
	s_endpgm
"""


def test_spills_of_innermost_loops() -> None:
    spills, jumps = nvidia_code(SASS)
    assert spills == [0x10, 0x20, 0x40]
    assert jumps == [(0x50, 0x40), (0x60, 0x20), (0x80, 0x80)]
    assert in_innermost_loop(spills, jumps) == 1
    spills, jumps = amd_code(AMDGCN)
    assert len(spills) == 3
    assert in_innermost_loop(spills, jumps) == 1
    assert in_innermost_loop(spills, []) == 0


def test_what_is_said_of_a_kernel() -> None:
    good = {"machine": "sm_80", "type": "float32", "name": "k", "loop": "time", "spills": 0}
    good |= {"registers": 99, "stack": 8, "shared": 64}
    assert problem(good) is None
    assert problem({**good, "spills": 3}) == (
        "sm_80 float32 k: spills registers in its innermost loop (3 instructions, 99 registers, 8 "
        "bytes of stack)"
    )
    assert problem({**good, "shared": 1 << 20}) == (
        "sm_80 float32 k: takes 1048576 bytes of shared memory, of 101376"
    )
    assert "does not compile: Error" in str(problem({**good, "error": "Error: no"}))
    assert [*summary([good])] == [
        "sm_80 float32 time: 1 kernels, at most 99 registers and 64 bytes of shared memory; 1 with "
        "a stack"
    ]
