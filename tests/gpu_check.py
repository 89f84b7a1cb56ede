"""Compiles cells for GPUs that are not there, forwards and back, and reads what their code takes.

`make gpu-check` compiles every cell of the catalogue and of the tests in float32 (TF32) and
bfloat16, in both forms, for each machine; `make gpu-check CELLS="lstm gru"` some. A line for each
kernel: its registers, its stack, where spilled registers lie, and its shared memory. It fails where
a kernel does not compile.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyrnn
from anyrnn.kernels.gpu.compile import MACHINES, Machine, compiled, triton
from anyrnn.kernels.gpu.target import loop_sources
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout
from invented_cells import INVENTED

DROPPED = with_zoneout(with_recurrent_dropout(anyrnn.get("gru"), 0.5, True), 0.1)
CELLS = {**anyrnn.CATALOGUE, **INVENTED, "gru with dropout": DROPPED}
TYPES = {"float32": "tf32", "bfloat16": "ieee"}
HIDDEN = {True: 256, False: 1024}  # by whether one kernel goes over all steps


def resources(made: Any, machine: Machine) -> tuple[int, int]:
    """The registers of a thread, and the bytes of its stack, where it spills others."""
    if machine.backend != "cuda":
        text = made.asm["amdgcn"]
        found = [
            re.search(rf"\.{name}:\s+(\d+)", text) for name in ("vgpr_count", "vgpr_spill_count")
        ]
        registers, spilled = (int(each[1]) if each else -1 for each in found)
        return registers, 4 * spilled
    tool = Path(triton().__file__).parent / "backends/nvidia/bin/cuobjdump"
    with TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(made.asm["cubin"])
        command = [str(tool), "-res-usage", str(file)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, f"{tool} says no registers"
    return int(found[1]), int(found[2])


def check(name: str, element: str, over_time: bool, machine: Machine) -> bool:
    """Compile the kernels of a cell, and print a line for each: whether all of them compile."""
    cell, good = CELLS[name], True
    sizes = cell.bind_sizes(**dict.fromkeys(cell.free_sizes, HIDDEN[over_time]))
    for source in loop_sources(cell, sizes, element, TYPES[element], over_time):
        for kernel in source.kernels:
            what = f"{machine.name} {element} {kernel.name}"
            try:
                made = compiled(source, kernel.name, machine)
                registers, spilled = resources(made, machine)
            except Exception as error:  # whatever a compiler raises
                said = " ".join(str(error).split())[-200:]
                print(f"{what}: {type(error).__name__}: {said}", flush=True)
                good = False
                continue
            shared = made.metadata.shared
            line = (
                f"{registers} registers, {spilled} bytes of stack, {shared} bytes of shared memory"
            )
            print(f"{what}: {line}", flush=True)
    return good


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "cells", nargs="*", help="cells; all of the catalogue and of the tests if not given"
    )
    names = [machine.name for machine in MACHINES]
    parser.add_argument("--machine", action="append", choices=names, help="some machines only")
    parser.add_argument("--type", action="append", choices=[*TYPES], help="some types only")
    given = parser.parse_args()
    machines = [m for m in MACHINES if m.name in (given.machine or names)]
    every = product(given.cells or CELLS, given.type or TYPES, HIDDEN, machines)
    results = [check(*each) for each in every]
    print(f"{len(results)} combinations, {results.count(False)} do not compile")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
