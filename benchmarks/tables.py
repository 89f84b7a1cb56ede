"""The tables of the rows: a line for each, and means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from statistics import geometric_mean

from benchmarks.cases import CUSTOM, LINEAR, MODES, OPTIONS, PLAIN
from benchmarks.measure import Row
from benchmarks.models import BACKENDS, BATCHES, MODEL_MODES, MODEL_OPTIONS
from benchmarks.peers import (
    BYPASSED,
    OUR_MODEL,
    OUR_PREPARED,
    OUR_TRAINING,
    OURS,
    PEERS,
    THEIR_MODEL,
)
from benchmarks.reached import (
    AIMS,
    KERAS_TRAININGS,
    LOOPS,
    MODEL_AIMS,
    OTHER,
    THEIR_TRAININGS,
    TRAINING_AIM,
    TRAINING_AIMS,
    best_ratio,
    fastest,
    memory,
    milliseconds,
    model_misses,
    option_misses,
    ratio,
    ratios,
    rivals,
    share,
    to_floor,
    to_keras,
    to_plain,
    to_training,
)
from benchmarks.words import Words


def shape(row: Row) -> str:
    """Batch, time, input, hidden."""
    return "×".join(map(str, row["shape"]))


def cells(row: Row) -> list[list[str]]:
    """The line of a row in the large table."""
    name, theirs = fastest(row) or ("-", None)
    loops = ratio(row, LOOPS) if row["cell"] in CUSTOM else None
    prepared = milliseconds(row, OUR_PREPARED), ratio(row, whose=OUR_PREPARED)
    times = (milliseconds(row, OURS), ".3g"), (prepared[0], ".3g"), (theirs, ".3g")
    over = (ratio(row), ".2f"), (prepared[1], ".2f"), (loops, ".2f"), (share(row), ".0%")
    numbers = ("-" if n is None else format(n, form) for n, form in (*times, *over))
    ours, ready, peer, *rest = numbers
    used = " / ".join(f"{size / 1e6:.1f}" for size in memory(row) or ()) or "-"
    return [[row["cell"], row["mode"], shape(row), ours, ready, name, peer, *rest, used]]


def named(row: Row) -> list[str]:
    """The cell, the option and the mode."""
    return [row["cell"], row.get("option", ""), row["mode"]]


def _shown(number: float | None, missed: bool) -> str:
    return "-" if number is None else f"**{number:.2f}**" if missed else f"{number:.2f}"


def option_cells(row: Row) -> list[list[str]]:
    """The line of a row in the table of options; what misses its aim is bold."""
    found, missed = fastest(row), option_misses(row)
    times = [f"{n:.3g}" if n else "-" for n in (milliseconds(row, OURS), found and found[1])]
    line = [
        *named(row),
        shape(row),
        f"{row['real']:.0%}",
        times[0],
        _shown(to_plain(row), "step" in missed),
        _shown(to_floor(row), "floor" in missed),
        found[0] if found else "-",
        times[1],
        _shown(ratio(row), "ratio" in missed),
    ]
    return [line]


def model_cells(row: Row) -> list[list[str]]:
    """The rows of the table of models, one for each backend; what misses its aim is bold."""
    found, missed = [], model_misses(row)
    for backend in BACKENDS:
        times = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
        shown = [f"{time / BATCHES:.3g}" if time else "-" for time in times]
        over = _shown(to_keras(row, backend), backend in missed)
        found.append([*named(row), backend, *shown, over])
    return found


def training_cells(row: Row) -> list[list[str]]:
    """The line of a row in the table of trainings; what misses its aim is bold."""
    aim, line = (
        TRAINING_AIMS.get(row["cell"], TRAINING_AIM),
        [row["option"], row["cell"], shape(row)],
    )
    line += [_a_batch(milliseconds(row, name)) for name in (OUR_TRAINING, BYPASSED)]
    for peers in (THEIR_TRAININGS, KERAS_TRAININGS):
        name, time = fastest(row, peers) or (": -", None)
        over = to_training(row, peers)
        name = name.partition(": ")[2].removeprefix("keras on ")
        line += [name, _a_batch(time), _shown(over, bool(over and over < aim))]
    return [line]


def _a_batch(time: float | None) -> str:
    return f"{time / BATCHES:.3g}" if time else "-"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line has the names of its columns."""
    table = (lines[0], ["---"] * len(lines[0]), *lines[1:])
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def ranged(
    rows: Iterable[Row],
    cell: str,
    mode: str,
    words: Words,
    peers: Sequence[str] = tuple(PEERS),
) -> str:
    """The mean and the extremes of the ratios of a cell in a mode to some peers."""
    return mean(ratios(rows, cell, mode, peers), words)


def mean(of: Sequence[float], words: Words) -> str:
    """The geometric mean and the extremes of some numbers."""
    return words["range"].format(geometric_mean(of), min(of), max(of)) if of else "-"


def layer_means(rows: Sequence[Row], words: Words) -> str:
    """The table of plain layers: means of the ratio, the worst rows, the aims."""
    table = []
    for (cell, mode), (least, aim) in AIMS.items():
        if of := ratios(rows, cell, mode):
            ready = ratios(rows, cell, mode, whose=OUR_PREPARED)
            aims = f"{aim:.1f}", f"{least:.2f}"
            name, whose = words.get(cell, cell), words[mode]
            where = "-" if cell == OTHER else _worst(rows, cell, mode)
            table.append([name, whose, mean(of, words), mean(ready, words), where, *aims])
    return markdown([words["means"].split(" | "), *table])


def _worst(rows: Sequence[Row], cell: str, mode: str) -> str:
    """The row with the least ratio: its shape, and the peer."""
    of = [row for row in rows if (row["cell"], row["mode"]) == (cell, mode)]
    names = rivals(cell)
    _, least = min((found, k) for k, row in enumerate(of) if (found := best_ratio(row, names)))
    found = fastest(of[least], names)
    return f"{shape(of[least])}, {found[0]}" if found else "-"


def option_means(rows: Sequence[Row], words: Words) -> str:
    """The table of options: means of what a step takes, and of the ratio to the fastest peer."""
    header = [
        words[kind].format(words[mode]) for mode in MODES for kind in ("to plain", "to peers")
    ]
    table = []
    for option, linear in (*((option, False) for option in OPTIONS), (PLAIN, True)):
        of = [row for row in rows if row["option"] == option and (row["cell"] in LINEAR) == linear]
        line = [words["linear"] if linear else option]
        for mode in MODES:
            for of_row in (to_floor if linear else to_plain, ratio):
                numbers = [of_row(row) for row in of if row["mode"] == mode]
                line.append(mean([number for number in numbers if number], words))
        if of:
            table.append(line)
    return markdown([["", *header], *table])


def model_means(rows: Sequence[Row], words: Words) -> str:
    """The table of models: means of the ratio, by backend."""
    table = []
    for option, mode in product(MODEL_OPTIONS, MODEL_MODES):
        of = [row for row in rows if (row["option"], row["mode"]) == (option, mode)]
        groups = ([n for row in of if (n := to_keras(row, name))] for name in BACKENDS)
        if of:
            numbers = [mean(group, words) for group in groups]
            table.append([f"{mode}, {option}", *numbers, f"{MODEL_AIMS[option]}"])
    return markdown([["", *BACKENDS, words["aim"]], *table])


def training_means(rows: Sequence[Row], words: Words) -> str:
    """The table of trainings: means of the ratios over the tasks, by cell."""
    table = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        of = [row for row in rows if row["cell"] == cell]
        numbers = (
            [found for row in of if (found := to_training(row, peers))]
            for peers in (THEIR_TRAININGS, KERAS_TRAININGS)
        )
        aim = f"{TRAINING_AIMS.get(cell, TRAINING_AIM)}"
        table.append([cell, *(mean(each, words) for each in numbers), aim])
    return markdown([words["training means"].split(" | "), *table])
