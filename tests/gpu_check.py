"""Compiles cells for GPUs that are not there, forwards and back, and reads what their code takes.

`make gpu-check` compiles every cell of the catalogue and of the tests in every type, float32 with
products of all digits and in TF32, in the forms that three hidden sizes choose, for each machine;
`make gpu-check CELLS="lstm gru"` some. A line for each kernel is written to a file: its registers,
its stack, where spilled registers lie, and its shared memory; a kernel that the file has is not
compiled again. It fails where a kernel does not compile, does not fit, or spills registers in an
innermost loop; a value or two that are read again in each turn are no fault, as a turn reads
dozens.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from hashlib import sha256
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

import anyrnn
from anyrnn.kernels.gpu.compile import MACHINES, Machine, compiled, options, triton, version
from anyrnn.kernels.gpu.form import Loop
from anyrnn.kernels.gpu.target import loop_sources
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout
from invented_cells import INVENTED

DROPPED = with_zoneout(with_recurrent_dropout(anyrnn.get("gru"), 0.5, True), 0.1)
CELLS = {**anyrnn.CATALOGUE, **INVENTED, "gru with dropout": DROPPED}
TYPES = {  # of arrays, and how float32 is multiplied
    "float32": ("float32", "ieee"),
    "tf32": ("float32", "tf32"),
    "float16": ("float16", "ieee"),
    "bfloat16": ("bfloat16", "ieee"),
}
HIDDEN = (64, 256, 1024)
# bytes of shared memory of a program; the GPUs of 8.6 and 8.9 have less than that of 8.0
SHARED = {"sm_80": 101376, "sm_90": 232448, "sm_100": 232448, "gfx942": 65536}
FEW = 2  # instructions of innermost loops that may reach the stack
RESULTS = Path("runs/gpu-check.jsonl")


class Task(NamedTuple):
    """What one process compiles at a time."""

    cell: str
    kind: str
    hidden: int
    machine: Machine


class Jump(NamedTuple):
    """A branch in machine code: where it is, and where it goes."""

    at: int
    to: int


def nvidia_code(text: str) -> tuple[list[int], list[Jump]]:
    """Where machine code as cuobjdump prints it reaches its stack, and its branches."""
    spills, jumps = [], []
    for place, instruction in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]*);", text):
        at = int(place, 16)
        branch = re.search(r"\bBRA(?:\.\w+)*\s+(?:\S+,\s+)?`?\(?0x([0-9a-f]+)", instruction)
        if re.search(r"\b(LDL|STL)\b", instruction):
            spills.append(at)
        elif branch:
            jumps.append(Jump(at, int(branch[1], 16)))
    return spills, jumps


def amd_code(text: str) -> tuple[list[int], list[Jump]]:
    """The same of the text that Triton has for GPUs of AMD; places are lines."""
    lines = text.splitlines()
    labels = {line[:-1]: place for place, line in enumerate(lines) if re.match(r"\.\w+:$", line)}
    labels |= {
        line.split(":")[0]: p for p, line in enumerate(lines) if re.match(r"\.LBB\w+:", line)
    }
    spills = [p for p, line in enumerate(lines) if re.match(r"\s+scratch_(load|store)", line)]
    found = ((p, re.match(r"\s+s_c?branch\w*\s+(\.\w+)", line)) for p, line in enumerate(lines))
    return spills, [Jump(p, labels[at[1]]) for p, at in found if at and at[1] in labels]


def in_innermost_loop(spills: Iterable[int], jumps: Iterable[Jump]) -> int:
    """How many places lie in a loop that has no other loop inside."""
    loops = {(jump.to, jump.at) for jump in jumps if jump.to < jump.at}
    innermost = [
        (start, end)
        for start, end in loops
        if not any(start <= a and b <= end and (a, b) != (start, end) for a, b in loops)
    ]
    return sum(any(start <= place <= end for start, end in innermost) for place in spills)


def resources(made: Any, machine: Machine) -> dict[str, int]:
    """The registers of a thread, the bytes of its stack, and how many instructions of innermost
    loops reach it.
    """
    if machine.backend != "cuda":
        text = made.asm["amdgcn"]
        found = [re.search(rf"\.{n}:\s+(\d+)", text) for n in ("vgpr_count", "vgpr_spill_count")]
        registers, spilled = (int(each[1]) if each else -1 for each in found)
        code = amd_code(text)
        return {"registers": registers, "stack": 4 * spilled, "spills": in_innermost_loop(*code)}
    with TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(made.asm["cubin"])
        tool = Path(triton().__file__).parent / "backends/nvidia/bin/cuobjdump"

        def printed(option: str) -> str:
            command = [str(tool), option, str(file)]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        usage = re.search(r"REG:(\d+) STACK:(\d+)", printed("-res-usage"))
        assert usage is not None, f"{tool} says no registers"
        registers, stack = map(int, usage.groups())
        code = nvidia_code(printed("-sass")) if stack else ([], [])
    return {"registers": registers, "stack": stack, "spills": in_innermost_loop(*code)}


@lru_cache(maxsize=1)
def known(file: Path) -> dict[str, dict[str, Any]]:
    """The results of runs before, by key; a line that was cut off by a kill is left out."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        found[result["key"]] = result
    return found


def check(task: Task, file: Path) -> list[dict[str, Any]]:
    """Compile the kernels of a cell: a result for each, with `new` where it was not known."""
    cell, results = CELLS[task.cell], []
    sizes = cell.bind_sizes(**dict.fromkeys(cell.free_sizes, task.hidden))
    for source in loop_sources(cell, sizes, *TYPES[task.kind]):
        if source.form.loop is Loop.SCAN and task.hidden in HIDDEN[1:]:
            continue  # its tiles are the same
        for kernel in source.kernels:
            machine, element = task.machine, source.form.element  # some texts do not have it
            what = source.text, kernel.name, element, machine, version(), options(machine.backend)
            key = sha256(repr(what).encode()).hexdigest()
            named = {"name": kernel.name, "machine": task.machine.name, "type": task.kind}
            result = known(file).get(key)
            if result is not None:
                result = result | named
            else:
                result = {"key": key, **named, "loop": str(source.form.loop), "new": True}
                try:
                    made = compiled(source, kernel.name, task.machine)
                    result |= resources(made, task.machine) | {"shared": made.metadata.shared}
                except Exception as error:  # whatever a compiler raises
                    said = " ".join(str(error).split())[-200:]
                    result["error"] = f"{type(error).__name__}: {said}"
            results.append(result)
    return results


def problem(result: dict[str, Any]) -> str | None:
    """What is wrong with a kernel, in one line; None if nothing is."""
    what = f"{result['machine']} {result['type']} {result['name']}"
    if "error" in result:
        return f"{what}: does not compile: {result['error']}"
    if result["spills"] > FEW:
        return (
            f"{what}: spills registers in its innermost loop ({result['spills']} instructions, "
            f"{result['registers']} registers, {result['stack']} bytes of stack)"
        )
    if result["shared"] > SHARED[result["machine"]]:
        most = SHARED[result["machine"]]
        return f"{what}: takes {result['shared']} bytes of shared memory, of {most}"
    return None


def summary(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line for each machine, type and form."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for result in results:
        if "error" not in result:
            key = result["machine"], result["type"], result["loop"]
            groups.setdefault(key, []).append(result)
    for key, every in sorted(groups.items()):
        most = {name: max(each[name] for each in every) for name in ("registers", "shared")}
        stacks = sum(each["stack"] > 0 for each in every)
        yield (
            f"{' '.join(key)}: {len(every)} kernels, at most {most['registers']} registers and "
            f"{most['shared']} bytes of shared memory; {stacks} with a stack"
        )


def run(tasks: list[Task], file: Path, processes: int) -> list[dict[str, Any]]:
    """Compile in several processes, with a bar; results are written as they come."""
    file.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    console = Console()
    with (
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
        Progress(console=console) as bar,
        file.open("a", encoding="utf-8") as written,
    ):
        if file.stat().st_size and not file.read_bytes().endswith(b"\n"):
            written.write("\n")  # after a line that was cut off
        line = bar.add_task("compiling", total=len(tasks))
        for done in as_completed([pool.submit(check, task, file) for task in tasks]):
            for result in done.result():
                if result.pop("new", False):
                    written.write(json.dumps(result) + "\n")
                    written.flush()
                    if problem(result):
                        console.print(problem(result), markup=False, soft_wrap=True)
                results[result["key"]] = result
            bar.advance(line)
    return [*results.values()]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("cells", nargs="*", help="cells; all of the catalogue and of the tests if not given")
    names = [machine.name for machine in MACHINES]
    add("--machine", action="append", choices=names, help="some machines only")
    add("--type", action="append", choices=[*TYPES], help="some types only")
    add("--hidden", action="append", type=int, help=f"the sizes; {HIDDEN} if not given")
    add("--processes", type=int, default=os.cpu_count() or 1, help="how many compile at a time")
    add("--results", type=Path, default=RESULTS, help=f"the file of results ({RESULTS})")
    given = parser.parse_args()
    unknown = [name for name in given.cells if name not in CELLS]
    if unknown:
        parser.error(f"no cell is called '{unknown[0]}'")
    machines = [m for m in MACHINES if m.name in (given.machine or names)]
    kinds = given.type or TYPES, given.hidden or HIDDEN
    every = product(given.cells or CELLS, *kinds, machines)
    results = run([Task(*each) for each in every], given.results, given.processes)
    for line in summary(results):
        print(line)
    wrong = sorted(filter(None, map(problem, results)))
    print(*wrong, f"{len(results)} kernels, {len(wrong)} of them wrong; {given.results}", sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
