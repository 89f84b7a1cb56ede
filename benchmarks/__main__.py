"""Measure our layers beside those of others: python -m benchmarks.

The whole comparison writes benchmarks/results.json after each row and, at its end, the tables in
README.md, its twin in Chinese and docs/benchmarks.md. A part of it, or a quick look, writes rows
only where --output says, and no document.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cases import CELLS, LINEAR, LINEAR_SHAPES, MODES, SHAPES, Case
from benchmarks.measure import Options, estimate, machine, run
from benchmarks.peers import PEERS
from benchmarks.report import HEADER, cells, errors, rewrite
from benchmarks.worker import ROOT

RESULTS = ROOT / "benchmarks" / "results.json"
WIDTH = 125  # of the table
QUICK = Options(seconds=0.05, rounds=1)


def _shape(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text}: expected four sizes, as in 32,100,128,128")
    return tuple(map(int, numbers))


def _shapes_of(cell: str) -> tuple[tuple[int, int, int, int], ...]:
    return LINEAR_SHAPES if cell in LINEAR else SHAPES


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="CELL")
    parser.add_argument("--modes", nargs="+", choices=MODES, metavar="MODE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER")
    parser.add_argument(
        "--shapes", nargs="+", type=_shape, metavar="SHAPE", help="batch,time,input,hidden"
    )
    parser.add_argument("--quick", action="store_true", help="less time for each row")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has")
    parser.add_argument("--report", action="store_true", help="only write the documents anew")
    return parser.parse_args()


def main() -> None:
    """Run the command."""
    chosen, console = _arguments(), Console(width=max(WIDTH, Console().width))
    part = chosen.cells or chosen.shapes or chosen.modes or chosen.peers or chosen.quick
    path = chosen.output or (None if part else RESULTS)
    if chosen.report:
        return rewrite(json.loads((path or RESULTS).read_text()), ROOT)
    options = QUICK if chosen.quick else Options()
    document = {"machine": machine(), "options": vars(options), "rows": []}
    if path and chosen.resume and path.exists():
        document["rows"] = json.loads(path.read_text())["rows"]
    missing = document["machine"]["missing"]
    names = [name for name in chosen.peers or PEERS if name not in missing]
    for name, libraries in missing.items():
        console.print(f"{name} is left out: not installed: {', '.join(libraries)}")
    cases = [
        Case(cell, *each)
        for cell in chosen.cells or CELLS
        for each in product(chosen.shapes or _shapes_of(cell), chosen.modes or MODES)
    ]
    minutes = estimate(cases, names, options) / 60
    console.print(f"{len(cases)} rows, {len(names)} peers: about {minutes:.0f} minutes in all")
    try:
        rows = run(cases, names, options, document, path)
        for _ in track(rows, "measuring", len(cases), console=console, transient=True):
            pass
    except KeyboardInterrupt:
        console.print(f"stopped; --resume goes on with {path}" if path else "stopped")
        raise SystemExit(130) from None
    finally:
        table = Table(*HEADER, box=None, header_style="bold")
        for row in document["rows"]:
            table.add_row(*cells(row))
        console.print(table, *errors(document["rows"]), sep="\n")
    if path == RESULTS and not part:
        rewrite(document, ROOT)


if __name__ == "__main__":
    main()
