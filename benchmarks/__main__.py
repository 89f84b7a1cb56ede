"""Measure our layers beside those of others: python -m benchmarks.

Four groups of rows: cells as they are, layers with options (lengths, masks, dropout...), models of
Keras with its layers and with ours, and trainings of the tasks. A group writes its file after each
row, benchmarks/results.json, options.json, keras.json or trainings.json, and at its end the tables
in README.md, in docs/benchmarks.md and in their Chinese twins. So do cells as they are in shapes
drawn from a seed (--random 40 --seed 1, random.json), and held to the instructions of older CPUs
(--isa avx2, avx2.json). A part of it, or a quick look, writes rows only where --output says, and no
document.

Other programs' work is looked for before the first row and before each other one, while all
libraries are stopped: more than half a busy core is told, more than one and a half end the command,
unless it is --force'd.
"""

from __future__ import annotations

import argparse
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from anyrnn.errors import KernelError
from anyrnn.kernels.cpu.machine.processor import host
from benchmarks.cases import CELLS, MODES, OPTIONS, Case, random_shapes
from benchmarks.conditions import HELD, Conditions, cores
from benchmarks.load import busy_cores, objection, warning
from benchmarks.measure import LOOK, Options, Row, estimate, machine, run
from benchmarks.models import MODEL_MODES
from benchmarks.peers import PEERS
from benchmarks.report import GROUPS, MEASURED, Document, errors, means, rewrite, table
from benchmarks.trainings import TRAIN, TRAININGS
from benchmarks.words import ENGLISH
from benchmarks.worker import ROOT

WIDTH = 160  # of the table
QUICK = Options(seconds=0.05, rounds=1)


def _shape(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text}: expected four sizes, as in 32,100,128,128")
    return tuple(map(int, numbers))


def _threads(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.isdecimal() and 1 <= int(number) <= cores() for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text}: expected numbers from 1 to {cores()}, the cores there are, as in 1,{cores()}"
        )
    return [*dict.fromkeys(map(int, numbers))]


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 0 or more")
    return int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--group", choices=MEASURED, help="one of the groups only")
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="CELL")
    parser.add_argument("--modes", nargs="+", choices=(*MODES, *MODEL_MODES, TRAIN), metavar="MODE")
    parser.add_argument("--options", nargs="+", choices=(*OPTIONS, *TRAININGS), metavar="OPTION")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER")
    parser.add_argument(
        "--shapes", nargs="+", type=_shape, metavar="SHAPE", help="batch,time,input,hidden"
    )
    parser.add_argument(
        "--random", type=_natural, metavar="COUNT", help="so many shapes drawn from a --seed"
    )
    parser.add_argument(
        "--seed", type=_natural, metavar="SEED", help="the same shapes for the same"
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        default=[cores()],
        metavar="COUNTS",
        help="a row for each, as in 1,2, with so many threads and cores; default: %(default)s",
    )
    parser.add_argument("--isa", choices=HELD, help="hold all libraries to these instructions")
    parser.add_argument("--force", action="store_true", help="measure beside other programs' work")
    parser.add_argument("--quick", action="store_true", help="less time for each row")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has")
    parser.add_argument("--report", action="store_true", help="only write the documents anew")
    chosen = parser.parse_args()
    if (chosen.random is None) != (chosen.seed is None):
        parser.error("--random COUNT and --seed SEED go together")
    if chosen.random == 0:
        parser.error("--random 0: expected 1 or more")
    if chosen.random and (chosen.shapes or chosen.group not in (None, "layers")):
        parser.error("--random draws the shapes of cells as they are: no --shapes or other --group")
    if chosen.isa:
        try:
            host(chosen.isa)
        except KernelError as error:
            parser.error(f"--isa {chosen.isa}: {error}")
    return chosen


def _groups(chosen: argparse.Namespace) -> list[str]:
    """The groups that are asked for."""
    if chosen.random:
        return ["random"]
    if chosen.isa and chosen.group in (None, "layers"):
        return [chosen.isa]
    return [chosen.group] if chosen.group else [*MEASURED]


def _cases(group: str, chosen: argparse.Namespace) -> list[Case]:
    """Those of a group that are asked for; with shapes of one's own once for each."""
    layers = chosen.cells and GROUPS[group].columns == "layers"  # of which some have fewer cells
    cases = [
        case
        for case in GROUPS["layers" if layers else group].cases
        if case.cell in (chosen.cells or CELLS)
        and (chosen.modes is None or case.mode in chosen.modes)
        and (chosen.options is None or case.option in chosen.options)
    ]
    shapes = random_shapes(chosen.random, chosen.seed) if chosen.random else chosen.shapes
    if shapes is None:
        return cases
    return list(dict.fromkeys(replace(case, shape=s) for case in cases for s in shapes))


def main() -> None:
    """Run the command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the peers, too
    chosen, console = _arguments(), Console(width=max(WIDTH, Console().width))
    if chosen.report:
        return rewrite(_written(), ROOT)
    groups = _groups(chosen)
    if chosen.output and len(groups) > 1:
        console.print("--output is the file of one group; say which one with --group")
        raise SystemExit(2)
    found = {group: _cases(group, chosen) for group in groups}
    if not any(found.values()):
        console.print("there are no such rows: see --cells, --modes and --options")
        raise SystemExit(2)
    load = busy_cores(LOOK)
    if (problem := objection(load)) and not chosen.force:
        console.print(problem, soft_wrap=True)
        raise SystemExit(2)
    console.print(warning(load) or f"other programs keep {load or 0:.1f} cores busy")
    for group, cases in found.items():
        if cases:
            _measure(group, cases, chosen, load, console)


def _written() -> dict[str, Document]:
    """What the files hold, by group."""
    return {
        name: json.loads(group.path.read_text())
        for name, group in GROUPS.items()
        if group.path.exists()
    }


def _resumed(path: Path, document: Document, console: Console) -> list[Row]:
    """The rows of a file of the same shapes and instructions."""
    found = json.loads(path.read_text())
    for name, now, then in (
        ("--isa", document["machine"]["isa"], found["machine"]["isa"]),
        ("--random and --seed", document.get("random"), found.get("random")),
    ):
        if now != then:
            console.print(
                f"--resume: {path} was measured with another {name}; give that", soft_wrap=True
            )
            raise SystemExit(2)
    return found["rows"]


def _measure(
    group: str,
    cases: list[Case],
    chosen: argparse.Namespace,
    load: float | None,
    console: Console,
) -> None:
    part = any(
        (chosen.cells, chosen.shapes, chosen.modes, chosen.options, chosen.peers, chosen.quick)
    )
    part |= chosen.isa != GROUPS[group].isa
    path = chosen.output or (None if part else GROUPS[group].path)
    options = QUICK if chosen.quick else GROUPS[group].pace
    usual = [name for name in GROUPS[group].peers if PEERS[name].held or not chosen.isa]
    about = {**machine(usual), "isa": chosen.isa, "load": load}
    document: dict[str, Any] = {"machine": about, "options": vars(options), "rows": []}
    if chosen.random:
        document["random"] = {"count": chosen.random, "seed": chosen.seed}
    if path and chosen.resume and path.exists():
        document["rows"] = _resumed(path, document, console)
    missing = about["missing"]
    names = [name for name in usual if name in (chosen.peers or usual) and name not in missing]
    for name in chosen.peers or GROUPS["layers"].peers if chosen.isa else ():
        if not PEERS[name].held:
            console.print(f"{name} is left out: it cannot be held to {chosen.isa}")
    for name, libraries in missing.items():
        console.print(f"{name} is left out: not installed: {', '.join(libraries)}")
    conditions = [Conditions(count, chosen.isa) for count in chosen.threads]
    count, minutes = len(cases) * len(conditions), estimate(cases, names, options) / 60
    minutes *= len(conditions)
    console.print(f"{count} rows, {len(names)} peers: about {minutes:.0f} minutes in all")
    try:
        rows = run(cases, names, conditions, options, document, path)
        for _ in track(rows, "measuring", count, console=console, transient=True):
            pass
    except KeyboardInterrupt:
        console.print(f"stopped; --resume goes on with {path}" if path else "stopped")
        raise SystemExit(130) from None
    finally:
        header, *lines = table(document["rows"], group)
        shown = Table(*header, box=None, header_style="bold")
        for line in lines:
            shown.add_row(*line)
        console.print(shown, *errors(document["rows"]), sep="\n")
        console.print(*means(document["rows"], group, ENGLISH), sep="\n\n", markup=False)
    if path == GROUPS[group].path and not part:
        rewrite(_written(), ROOT)


if __name__ == "__main__":
    main()
