"""Measure our layers beside those of others: python -m benchmarks.

Four groups of rows: cells as they are, layers with options (lengths, masks, dropout...), models of
Keras with its layers and with ours, and trainings of the tasks. A group writes its file,
benchmarks/results.json, options.json, keras.json or trainings.json, after each row and, at its end,
the tables in README.md, in docs/benchmarks.md and in their Chinese twins. A part of it, or a quick
look, writes rows only where --output says, and no document.
"""

from __future__ import annotations

import argparse
import json
import signal
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cases import CELLS, MODES, OPTIONS, Case
from benchmarks.measure import Options, estimate, machine, run
from benchmarks.models import MODEL_MODES
from benchmarks.peers import PEERS
from benchmarks.report import GROUPS, Document, columns, errors, rewrite
from benchmarks.trainings import TRAIN, TRAININGS
from benchmarks.worker import ROOT

WIDTH = 125  # of the table
QUICK = Options(seconds=0.05, rounds=1)


def _shape(text: str) -> tuple[int, ...]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text}: expected four sizes, as in 32,100,128,128")
    return tuple(map(int, numbers))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--group", choices=GROUPS, help="one of the groups only")
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="CELL")
    parser.add_argument("--modes", nargs="+", choices=(*MODES, *MODEL_MODES, TRAIN), metavar="MODE")
    parser.add_argument("--options", nargs="+", choices=(*OPTIONS, *TRAININGS), metavar="OPTION")
    parser.add_argument("--peers", nargs="+", choices=PEERS, metavar="PEER")
    parser.add_argument(
        "--shapes", nargs="+", type=_shape, metavar="SHAPE", help="batch,time,input,hidden"
    )
    parser.add_argument("--quick", action="store_true", help="less time for each row")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has")
    parser.add_argument("--report", action="store_true", help="only write the documents anew")
    return parser.parse_args()


def _cases(group: str, chosen: argparse.Namespace) -> list[Case]:
    """Those of a group that are asked for; with shapes of one's own once for each."""
    cases = [
        case
        for case in GROUPS[group].cases
        if case.cell in (chosen.cells or CELLS)
        and (chosen.modes is None or case.mode in chosen.modes)
        and (chosen.options is None or case.option in chosen.options)
    ]
    if chosen.shapes is None:
        return cases
    return list(dict.fromkeys(replace(case, shape=s) for case in cases for s in chosen.shapes))


def main() -> None:
    """Run the command."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the peers, too
    chosen, console = _arguments(), Console(width=max(WIDTH, Console().width))
    if chosen.report:
        return rewrite(_written(), ROOT)
    groups = [chosen.group] if chosen.group else list(GROUPS)
    if chosen.output and len(groups) > 1:
        console.print("--output is the file of one group; say which one with --group")
        raise SystemExit(2)
    for group in groups:
        if cases := _cases(group, chosen):
            _measure(group, cases, chosen, console)


def _written() -> dict[str, Document]:
    """What the files hold, by group."""
    return {
        name: json.loads(group.path.read_text())
        for name, group in GROUPS.items()
        if group.path.exists()
    }


def _measure(group: str, cases: list[Case], chosen: argparse.Namespace, console: Console) -> None:
    part = any(
        (chosen.cells, chosen.shapes, chosen.modes, chosen.options, chosen.peers, chosen.quick)
    )
    path = chosen.output or (None if part else GROUPS[group].path)
    options = QUICK if chosen.quick else GROUPS[group].pace
    usual = GROUPS[group].peers
    document = {"machine": machine(usual), "options": vars(options), "rows": []}
    if path and chosen.resume and path.exists():
        document["rows"] = json.loads(path.read_text())["rows"]
    missing = document["machine"]["missing"]
    names = [name for name in chosen.peers or usual if name not in missing]
    for name, libraries in missing.items():
        console.print(f"{name} is left out: not installed: {', '.join(libraries)}")
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
        table = Table(*columns(group), box=None, header_style="bold")
        for row in document["rows"]:
            for line in GROUPS[group].lines(row):
                table.add_row(*line)
        console.print(table, *errors(document["rows"]), sep="\n")
    if path == GROUPS[group].path and not part:
        rewrite(_written(), ROOT)


if __name__ == "__main__":
    main()
