"""What the rows say: ratios, aims and misses, as tables for the terminal and the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.cases import CUSTOM, LINEAR, MODES, NORM, OPTIONS, PLAIN, STANDARD
from benchmarks.measure import Row
from benchmarks.models import BACKENDS, BATCHES, MODEL_MODES, MODEL_OPTIONS
from benchmarks.peers import (
    BASELINES,
    COPY,
    OUR_MODEL,
    OURS,
    OURS_PLAIN,
    PEERS,
    SGEMM,
    SGEMM_SIZE,
    THEIR_MODEL,
)

LOOPS = ("torch loop", "torch.compile step", "torch.compile loop", "jax scan")
TORCH = ("torch.nn", "torch loop")
OTHER = "other"  # the cells of CUSTOM together
Document = Mapping[str, Any]  # what a run has written
MARKS = "<!-- measured -->", "<!-- /measured -->"
OPTION_MARKS = "<!-- measured options -->", "<!-- /measured options -->"
MODEL_MARKS = "<!-- measured keras -->", "<!-- /measured keras -->"

# the ratio in every row, and the geometric mean of the ratios
AIMS = {
    ("lstm", "inference"): (0.97, 1.2),
    ("lstm", "training"): (1.0, 1.2),
    ("gru", "inference"): (1.0, 1.5),
    ("gru", "training"): (1.2, 2.0),
    ("rnn", "inference"): (1.0, 1.5),
    ("rnn", "training"): (1.2, 2.0),
    **{(cell, mode): (1.0, 2.5) for cell in (*CUSTOM, OTHER) for mode in MODES},
    **{(cell, mode): (2.0, 2.0) for cell in LINEAR for mode in MODES},
}
SHARES = {"inference": 0.90, "training": 0.85}  # of the sgemm rate, where both are large enough:
BATCH, HIDDEN = 32, 128
STREAM = 0.020  # milliseconds for a step
# of layers with options: our time for a step that counts, in times of our plain layer; the fastest
# peer's time in times of ours; our time in times of a copy
STEP_AIMS = {option: 1.5 if option == NORM else 1.15 for option in OPTIONS}
PEER_AIM, LINEAR_PEER_AIM, COPY_AIM = 3.0, 2.0, 1.5
MODEL_AIMS = {option: 1.3 if option == PLAIN else 2.5 for option in MODEL_OPTIONS}
SLACK = 2**20  # bytes of memory: less than that is no difference

HEADER = ["Cell", "Mode", "Shape", "Ours, ms", "Fastest peer", "Its, ms", "Ratio", "To loops"]
HEADER += ["Of sgemm", "MB, torch's"]
OPTION_HEADER = ["Cell", "Option", "Mode", "Shape", "Steps that count", "Ours, ms"]
OPTION_HEADER += ["To plain, a step", "To a copy", "Fastest peer", "Its, ms", "Ratio"]
MODEL_HEADER = ["Cell", "Option", "Mode", "Backend", "Ours, ms", "Keras', ms", "Ratio"]
ENGLISH = {
    "file": "README.md",
    "inference": "inference",
    "training": "training",
    "other": "other cells",
    "range": "**{:.2f}** ({:.2f} to {:.2f})",
    "intro": "Measured with `make bench`, {date}: the time of the fastest peer ({peers}; for other "
    "cells the loops in torch and JAX only) divided by ours; then of torch.nn alone, or torch's "
    "loop. Geometric mean over up to {shapes} shapes, and extremes.",
    "machine": "{cores} cores of {cpu}; {versions}; [every row](docs/benchmarks.md).",
    "torch": "{}, torch alone",
    "rows": "Rows below the aims",
    "none": "No row misses its aim.",
    "ratio": "Ratios below the aim: {}.",
    "share": "Share of the matrix-product rate below the aim: {}.",
    "memory": "More memory than torch, times: {}.",
    "stream": "A stream's step in more than 20 µs: {}.",
}
CHINESE = {
    "file": "README.zh-CN.md",
    "inference": "推理",
    "training": "训练",
    "other": "其他单元",
    "range": "**{:.2f}**（{:.2f} 到 {:.2f}）",
    "intro": "用 `make bench` 测得（{date}）：最快的对手（{peers}；"
    "其他单元只比 torch 和 JAX 的循环）的时间除以我们的时间；"
    "然后只与 torch.nn（或 torch 的循环）相比。"
    "至多 {shapes} 种形状的几何平均，以及最小、最大值。",
    "machine": "{cpu}，{cores} 核；{versions}；[全部数据](docs/benchmarks.md)（英文）。",
    "torch": "{}，只比 torch",
    "rows": "未达到目标的行",
    "none": "没有一行未达到目标。",
    "ratio": "比值未达到目标的：{}。",
    "share": "占矩阵乘法速率的比例未达到目标的：{}。",
    "memory": "内存比 torch 多的（倍数）：{}。",
    "stream": "流式一步超过 20 微秒的：{}。",
}
KINDS = {"ratio": "{:.2f}", "share": "{:.0%}", "memory": "{:.1f}", "stream": "{:.0f} µs"}


def milliseconds(row: Row, name: str) -> float | None:
    """The median of a peer in a row, if it has one."""
    quartiles = row["peers"].get(name, {}).get("quartiles")
    return quartiles[1] if quartiles else None


def fastest(row: Row, names: Iterable[str] = tuple(PEERS)) -> tuple[str, float] | None:
    """The fastest of some peers, and its milliseconds."""
    times = {n: milliseconds(row, n) for n in names if n not in (OURS, *BASELINES)}
    return min(((n, t) for n, t in times.items() if t), key=lambda pair: pair[1], default=None)


def ratio(row: Row, names: Iterable[str] = tuple(PEERS)) -> float | None:
    """The time of the fastest of some peers divided by ours."""
    ours, found = milliseconds(row, OURS), fastest(row, names)
    return found[1] / ours if ours and found else None


def share(row: Row) -> float | None:
    """Our rate in matrix products, divided by that of one large product."""
    ours, product = milliseconds(row, OURS), milliseconds(row, SGEMM)
    return row["operations"] / ours * product / (2 * SGEMM_SIZE**3) if ours and product else None


def memory(row: Row) -> tuple[int, int] | None:
    """The bytes that a call of ours and of torch's needs at its peak."""
    theirs = "torch.nn" if row["cell"] in STANDARD else "torch loop"
    ours, theirs = (row["peers"].get(name, {}).get("memory") for name in (OURS, theirs))
    return None if ours is None or theirs is None else (ours, theirs)


def misses(row: Row) -> dict[str, float]:
    """The kinds of aims that a row misses, with what it reached."""
    found: dict[str, float] = {}
    (batch, time, _, hidden), mode = row["shape"], row["mode"]
    ours, reached, rate, used = milliseconds(row, OURS), ratio(row), share(row), memory(row)
    if not ours or (reached and reached < AIMS[row["cell"], mode][0]):
        found["ratio"] = reached or 0.0  # 0 where ours failed
    if rate and batch >= BATCH and hidden >= HIDDEN and rate < SHARES[mode]:
        found["share"] = rate
    if used and used[0] > used[1] + SLACK:
        found["memory"] = used[0] / max(used[1], 1)
    if ours and time == 1 and mode == "inference" and ours > STREAM:
        found["stream"] = 1e3 * ours
    return found


def ratios(
    rows: Iterable[Row], cell: str, mode: str, peers: Sequence[str] = tuple(PEERS)
) -> list[float]:
    """The ratios of a cell in a mode to some peers; to loops where the cell is not one that
    libraries have.
    """
    cells = CUSTOM if cell == OTHER else (cell,)
    of = [row for row in rows if row["cell"] in cells and row["mode"] == mode]
    loops = [name for name in LOOPS if name in peers]
    found = (ratio(row, loops if row["cell"] in CUSTOM else peers) for row in of)
    return [number for number in found if number]


def _range(
    rows: Iterable[Row],
    cell: str,
    mode: str,
    words: Mapping[str, str],
    peers: Sequence[str] = tuple(PEERS),
) -> str:
    return _mean(ratios(rows, cell, mode, peers), words)


def _mean(of: Sequence[float], words: Mapping[str, str]) -> str:
    return words["range"].format(geometric_mean(of), min(of), max(of)) if of else "-"


def shape(row: Row) -> str:
    """Batch, time, input, hidden."""
    return "×".join(map(str, row["shape"]))


def cells(row: Row) -> list[str]:
    """A row of the large table."""
    name, theirs = fastest(row) or ("-", None)
    loops = ratio(row, LOOPS) if row["cell"] in CUSTOM else None
    times = (milliseconds(row, OURS), ".3g"), (theirs, ".3g")
    numbers = *times, (ratio(row), ".2f"), (loops, ".2f"), (share(row), ".0%")
    ours, peer, *rest = ("-" if n is None else format(n, form) for n, form in numbers)
    used = " / ".join(f"{size / 1e6:.1f}" for size in memory(row) or ()) or "-"
    return [row["cell"], row["mode"], shape(row), ours, name, peer, *rest, used]


def _named(row: Row) -> list[str]:
    return [row["cell"], row.get("option", ""), row["mode"]]


def to_plain(row: Row) -> float | None:
    """Our time for a step that counts, divided by that of our plain layer for a step."""
    ours, plain = milliseconds(row, OURS), milliseconds(row, OURS_PLAIN)
    return ours / row["real"] / plain if ours and plain else None


def to_copy(row: Row) -> float | None:
    """Our time divided by that of a copy."""
    ours, copied = milliseconds(row, OURS), milliseconds(row, COPY)
    return ours / copied if ours and copied else None


def _peer_aim(row: Row) -> float:
    """The least ratio; the other group of rows has that of plain layers."""
    if row["cell"] in LINEAR:
        return LINEAR_PEER_AIM
    return 0.0 if row["option"] == PLAIN else PEER_AIM


def _shown(number: float | None, missed: bool) -> str:
    return "-" if number is None else f"**{number:.2f}**" if missed else f"{number:.2f}"


def option_cells(row: Row) -> list[str]:
    """A row of the table of options; what misses its aim is bold."""
    found = fastest(row)
    times = [f"{n:.3g}" if n else "-" for n in (milliseconds(row, OURS), found and found[1])]
    plain, copied, over = to_plain(row), to_copy(row), ratio(row)
    return [
        *_named(row),
        shape(row),
        f"{row['real']:.0%}",
        times[0],
        _shown(plain, (plain or 0) > STEP_AIMS[row["option"]]),
        _shown(copied, (copied or 0) > COPY_AIM),
        found[0] if found else "-",
        times[1],
        _shown(over, (over or 0) < _peer_aim(row)),
    ]


def to_keras(row: Row, backend: str) -> float | None:
    """The time of Keras' own layer divided by that of ours."""
    ours, theirs = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
    return theirs / ours if ours and theirs else None


def model_cells(row: Row) -> list[list[str]]:
    """The rows of the table of models, one for each backend; what misses its aim is bold."""
    found = []
    for backend in BACKENDS:
        times = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
        shown = [f"{time / BATCHES:.3g}" if time else "-" for time in times]
        over = to_keras(row, backend)
        missed = (over or 0) < MODEL_AIMS[row["option"]]
        found.append([*_named(row), backend, *shown, _shown(over, missed)])
    return found


def errors(rows: Iterable[Row]) -> list[str]:
    """What went wrong, one line each."""
    return [
        f"{name}: {', '.join(filter(None, _named(row)))}, {shape(row)}: {found['error']}"
        for row in rows
        for name, found in row["peers"].items()
        if "error" in found
    ]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _missed(rows: Sequence[Row], words: Mapping[str, str]) -> list[str]:
    """A sentence for each kind of aim: the rows that miss it, with what they reached."""
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
    for row in rows:
        for kind, value in misses(row).items():
            rows_of = found[kind].setdefault(f"{row['cell']} {words[row['mode']]}", [])
            rows_of.append(f"{KINDS[kind].format(value)} ({shape(row)})")
    listed = {
        kind: "; ".join(f"{k} {', '.join(v)}" for k, v in of.items()) for kind, of in found.items()
    }
    return [words[kind].format(text) for kind, text in listed.items() if text] or [words["none"]]


TABLES: dict[str, tuple[list[str], Callable[[Row], list[list[str]]]]] = {
    "layers": (HEADER, lambda row: [cells(row)]),
    "options": (OPTION_HEADER, lambda row: [option_cells(row)]),
    "keras": (MODEL_HEADER, model_cells),
}


def _about(document: Document) -> dict[str, Any]:
    versions = ", ".join(" ".join(pair) for pair in document["machine"]["versions"].items())
    shapes = len({shape(row) for row in document["rows"]})
    there = {name for row in document["rows"] for name in row["peers"]} - {OURS, *BASELINES}
    peers = ", ".join(name for name in PEERS if name in there)
    return {**document["machine"], "versions": versions, "shapes": shapes, "peers": peers}


def section(document: Document, words: Mapping[str, str]) -> str:
    """The section of README.md: a table of means, and every row that misses its aim.

    Args:
        document: What a run has written.
        words: A language.
    """
    rows, about, groups = document["rows"], _about(document), (*STANDARD, OTHER)
    peers = {"{}": tuple(PEERS), words["torch"]: TORCH}
    table = [
        [name.format(words[m]), *(_range(rows, g, m, words, of) for g in groups)]
        for m in MODES
        for name, of in peers.items()
    ]
    means = _markdown(["", *(words.get(group, group) for group in groups)], table)
    machine, missed = words["machine"].format(**about), " ".join(_missed(rows, words))
    hidden = f"<details><summary>{words['rows']}</summary>{missed}</details>"
    return "\n".join([words["intro"].format(**about), "", *means, "", f"{machine} {hidden}"])


def page(document: Document) -> str:
    """The tables of docs/benchmarks.md.

    Args:
        document: What a run has written.
    """
    rows, about = document["rows"], _about(document)
    means = [
        [
            ENGLISH.get(cell, cell),
            mode,
            _range(rows, cell, mode, ENGLISH),
            f"{mean:.1f}",
            f"{least:.2f}",
        ]
        for (cell, mode), (least, mean) in AIMS.items()
    ]
    parts = [
        *_conditions(about),
        "\n".join(_markdown(["Cell", "Mode", "Ratio", "Aim: mean", "Aim: every row"], means)),
        *_missed(rows, ENGLISH),
        "\n".join(_markdown(HEADER, map(cells, rows))),
        *(f"Went wrong: {error}." for error in errors(rows)),
    ]
    return "\n\n".join(parts)


def _conditions(about: Mapping[str, Any]) -> list[str]:
    missing = [f"{name} ({', '.join(of)})" for name, of in about["missing"].items()]
    return [
        "{date}, {cores} cores of {cpu}; {versions}.".format(**about),
        *([f"Not installed: {'; '.join(missing)}."] if missing else []),
    ]


def option_page(document: Document) -> str:
    """The tables of docs/benchmarks.md about options.

    Args:
        document: What a run has written.
    """
    rows, means = document["rows"], []
    for option, mode in product(OPTIONS, MODES):
        for linear in (False, True):
            of = [row for row in rows if (row["option"], row["mode"]) == (option, mode)]
            of = [row for row in of if (row["cell"] in LINEAR) == linear]
            numbers = ([n for n in map(of_row, of) if n] for of_row in (to_plain, to_copy, ratio))
            if of:
                name = f"{option}, linear cells" if linear else option
                means.append([name, mode, *(_mean(group, ENGLISH) for group in numbers)])
    header = ["Option", "Mode", "To plain, a step", "To a copy", "Ratio"]
    parts = [
        *_conditions(_about(document)),
        "\n".join(_markdown(header, means)),
        "\n".join(_markdown(OPTION_HEADER, map(option_cells, rows))),
        *(f"Went wrong: {error}." for error in errors(rows)),
    ]
    return "\n\n".join(parts)


def model_page(document: Document) -> str:
    """The tables of docs/benchmarks.md about models of Keras.

    Args:
        document: What a run has written.
    """
    rows, means = document["rows"], []
    for option, mode in product(MODEL_OPTIONS, MODEL_MODES):
        of = [row for row in rows if (row["option"], row["mode"]) == (option, mode)]
        groups = ([n for row in of if (n := to_keras(row, name))] for name in BACKENDS)
        if of:
            numbers = [_mean(group, ENGLISH) for group in groups]
            means.append([option, mode, *numbers, f"{MODEL_AIMS[option]}"])
    parts = [
        *_conditions(_about(document)),
        "\n".join(_markdown(["Option", "Mode", *BACKENDS, "Aim: every row"], means)),
        "\n".join(_markdown(MODEL_HEADER, (line for row in rows for line in model_cells(row)))),
        *(f"Went wrong: {error}." for error in errors(rows)),
    ]
    return "\n\n".join(parts)


def rewrite(documents: Mapping[str, Document], root: Path) -> None:
    """Write the tables into README.md, its twin and docs/benchmarks.md, between their marks.

    Args:
        documents: What runs have written, by group.
        root: The folder of the project.

    Raises:
        ValueError: A document has no such marks.
    """
    texts: list[tuple[str, tuple[str, str], str]] = []
    if layers := documents.get("layers"):
        texts = [(words["file"], MARKS, section(layers, words)) for words in (ENGLISH, CHINESE)]
        texts.append(("docs/benchmarks.md", MARKS, page(layers)))
    if options := documents.get("options"):
        texts.append(("docs/benchmarks.md", OPTION_MARKS, option_page(options)))
    if models := documents.get("keras"):
        texts.append(("docs/benchmarks.md", MODEL_MARKS, model_page(models)))
    for name, marks, text in texts:
        before, begin, rest = (root / name).read_text().partition(marks[0])
        _, end, after = rest.partition(marks[1])
        if not end:
            raise ValueError(f"{name} needs the marks {' and '.join(marks)}")
        (root / name).write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
