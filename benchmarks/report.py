"""What the rows say: ratios, aims and misses, as tables for the terminal and the documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from benchmarks.cases import (
    BFLOAT16,
    CUSTOM,
    LAYER_CASES,
    LINEAR,
    MODES,
    NORM,
    OPTION_CASES,
    OPTIONS,
    PLAIN,
    STANDARD,
    Case,
)
from benchmarks.measure import Options, Row
from benchmarks.models import BACKENDS, BATCHES, MODEL_MODES, MODEL_OPTIONS, MODELS
from benchmarks.peers import (
    BASELINES,
    BYPASSED,
    COPY,
    LAYER_PEERS,
    LOOP_TRAINING,
    MODEL_PEERS,
    OUR_MODEL,
    OUR_TRAINING,
    OURS,
    OURS_PLAIN,
    PEERS,
    SGEMM,
    SGEMM_SIZE,
    THEIR_MODEL,
    TORCH_TRAINING,
    TRAINING_PEERS,
)
from benchmarks.trainings import TRAINING_CASES
from benchmarks.words import CHINESE, ENGLISH, Words
from benchmarks.worker import ROOT

LOOPS = ("torch loop", "torch.compile step", "torch.compile loop", "jax scan")
TORCH = ("torch.nn", "torch loop")
OTHER = "other"  # the cells of CUSTOM together
Document = Mapping[str, Any]  # what a run has written

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
STEP_AIMS = dict.fromkeys(product(OPTIONS, MODES), 1.15)
STEP_AIMS |= {(NORM, mode): 1.5 for mode in MODES}
STEP_AIMS |= {(BFLOAT16, "inference"): 1 / 1.6, (BFLOAT16, "training"): 1.0}
PEER_AIM, LINEAR_PEER_AIM, COPY_AIM = 3.0, 2.0, 1.5
MODEL_AIMS = {option: 1.3 if option == PLAIN else 2.5 for option in MODEL_OPTIONS}
THEIR_TRAININGS = (TORCH_TRAINING, LOOP_TRAINING)
TRAINING_AIMS = {"lstm": 1.0}  # of others:
TRAINING_AIM = 1.3
SLACK = 2**20  # bytes of memory: less than that is no difference

KINDS = {
    "ratio": "{:.2f}",
    "step": "{:.2f}",
    "copy": "{:.2f}",
    "share": "{:.0%}",
    "memory": "{:.1f}",
    "stream": "{:.0f} µs",
}


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
    """The kinds of aims that a row of plain layers misses, with what it reached."""
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
    words: Words,
    peers: Sequence[str] = tuple(PEERS),
) -> str:
    return _mean(ratios(rows, cell, mode, peers), words)


def _mean(of: Sequence[float], words: Words) -> str:
    return words["range"].format(geometric_mean(of), min(of), max(of)) if of else "-"


def shape(row: Row) -> str:
    """Batch, time, input, hidden."""
    return "×".join(map(str, row["shape"]))


def cells(row: Row) -> list[list[str]]:
    """The line of a row in the large table."""
    name, theirs = fastest(row) or ("-", None)
    loops = ratio(row, LOOPS) if row["cell"] in CUSTOM else None
    times = (milliseconds(row, OURS), ".3g"), (theirs, ".3g")
    numbers = *times, (ratio(row), ".2f"), (loops, ".2f"), (share(row), ".0%")
    ours, peer, *rest = ("-" if n is None else format(n, form) for n, form in numbers)
    used = " / ".join(f"{size / 1e6:.1f}" for size in memory(row) or ()) or "-"
    return [[row["cell"], row["mode"], shape(row), ours, name, peer, *rest, used]]


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
    return 0.0 if row["option"] in (PLAIN, BFLOAT16) else PEER_AIM


def option_misses(row: Row) -> dict[str, float]:
    """The kinds of aims that a row of options misses, with what it reached."""
    step, copied, reached = to_plain(row), to_copy(row), ratio(row)
    found: dict[str, float] = {}
    if step and step > STEP_AIMS[row["option"], row["mode"]]:
        found["step"] = step
    if copied and copied > COPY_AIM:
        found["copy"] = copied
    if not milliseconds(row, OURS) or (reached and reached < _peer_aim(row)):
        found["ratio"] = reached or 0.0
    return found


def _shown(number: float | None, missed: bool) -> str:
    return "-" if number is None else f"**{number:.2f}**" if missed else f"{number:.2f}"


def option_cells(row: Row) -> list[list[str]]:
    """The line of a row in the table of options; what misses its aim is bold."""
    found, missed = fastest(row), option_misses(row)
    times = [f"{n:.3g}" if n else "-" for n in (milliseconds(row, OURS), found and found[1])]
    line = [
        *_named(row),
        shape(row),
        f"{row['real']:.0%}",
        times[0],
        _shown(to_plain(row), "step" in missed),
        _shown(to_copy(row), "copy" in missed),
        found[0] if found else "-",
        times[1],
        _shown(ratio(row), "ratio" in missed),
    ]
    return [line]


def to_keras(row: Row, backend: str) -> float | None:
    """The time of Keras' own layer divided by that of ours."""
    ours, theirs = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
    return theirs / ours if ours and theirs else None


def model_misses(row: Row) -> dict[str, float]:
    """The backends whose aim a row of models misses, with the ratio."""
    ratios = {backend: to_keras(row, backend) for backend in BACKENDS}
    return {name: n for name, n in ratios.items() if n and n < MODEL_AIMS[row["option"]]}


def model_cells(row: Row) -> list[list[str]]:
    """The rows of the table of models, one for each backend; what misses its aim is bold."""
    found, missed = [], model_misses(row)
    for backend in BACKENDS:
        times = (milliseconds(row, of.format(backend)) for of in (OUR_MODEL, THEIR_MODEL))
        shown = [f"{time / BATCHES:.3g}" if time else "-" for time in times]
        over = _shown(to_keras(row, backend), backend in missed)
        found.append([*_named(row), backend, *shown, over])
    return found


def to_torch(row: Row) -> float | None:
    """The time of a training on torch.nn, or on a loop of torch, divided by that of ours."""
    ours, found = milliseconds(row, OUR_TRAINING), fastest(row, THEIR_TRAININGS)
    return found[1] / ours if ours and found else None


def training_misses(row: Row) -> dict[str, float]:
    """The ratio, if a row of trainings misses its aim."""
    reached = to_torch(row)
    missed = reached and reached < TRAINING_AIMS.get(row["cell"], TRAINING_AIM)
    return {"ratio": reached} if reached and missed else {}


def training_cells(row: Row) -> list[list[str]]:
    """The line of a row in the table of trainings; what misses its aim is bold."""
    name, time = fastest(row, THEIR_TRAININGS) or (": -", None)
    times = (milliseconds(row, OUR_TRAINING), milliseconds(row, BYPASSED), time)
    ours, bypassed, peer = (f"{t / BATCHES:.3g}" if t else "-" for t in times)
    name = name.partition(": ")[2]
    over = _shown(to_torch(row), bool(training_misses(row)))
    return [[row["option"], row["cell"], shape(row), ours, bypassed, name, peer, over]]


def errors(rows: Iterable[Row]) -> list[str]:
    """What went wrong, one line each."""
    return [
        f"{name}: {', '.join(filter(None, _named(row)))}, {shape(row)}: {found['error']}"
        for row in rows
        for name, found in row["peers"].items()
        if "error" in found
    ]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _missed(rows: Iterable[Row], group: str, words: Words) -> str:
    """A list of the rows that miss an aim, for each kind of aim."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        whose = " ".join(words.get(part, part) for part in _named(row) if part)
        for name, reached in GROUPS[group].misses(row).items():
            kind, where = ("ratio", name) if name in BACKENDS else (name, shape(row))
            told = f"{KINDS[kind].format(reached)} ({where})"
            found.setdefault(kind, {}).setdefault(whose, []).append(told)
    parts = [
        f"{words[kind]}\n\n" + "\n".join(f"- {k}: {', '.join(v)}" for k, v in of.items())
        for kind in KINDS
        if (of := found.get(kind))
    ]
    return "\n\n".join(parts) or words["none"]


def columns(group: str, words: Words = ENGLISH) -> list[str]:
    """The names of the columns of a group's table."""
    return words[f"{group} columns"].split(" | ")


def _about(document: Document) -> dict[str, Any]:
    versions = ", ".join(" ".join(pair) for pair in document["machine"]["versions"].items())
    shapes = len({shape(row) for row in document["rows"]})
    there = {name for row in document["rows"] for name in row["peers"]} - {OURS, *BASELINES}
    peers = ", ".join(name for name in PEERS if name in there)
    return {**document["machine"], "versions": versions, "shapes": shapes, "peers": peers}


def section(documents: Mapping[str, Document], words: Words) -> str:
    """The section of README.md: the tables of means.

    Args:
        documents: What runs have written, by group.
        words: A language.
    """
    about, parts = {}, []
    if document := documents.get("layers"):
        about, groups = _about(document), (*STANDARD, OTHER)
        peers = {"{}": tuple(PEERS), words["torch alone"]: TORCH}
        table = [
            [name.format(words[m]), *(_range(document["rows"], g, m, words, of) for g in groups)]
            for m in MODES
            for name, of in peers.items()
        ]
        header = ["", *(words.get(group, group) for group in groups)]
        parts += [words["intro"].format(**about), _markdown(header, table)]
    if document := documents.get("options"):
        about = about or _about(document)
        parts += [words["options"], _option_means(document["rows"], words)]
    if document := documents.get("keras"):
        about = about or _about(document)
        parts += [words["models"], _model_means(document["rows"], words)]
    return "\n\n".join([*parts, f"{words['machine'].format(**about)} {words['more']}"])


def page(document: Document, group: str, words: Words) -> str:
    """What stands in docs/benchmarks.md about a group: means, the rows that miss an aim, all rows.

    Args:
        document: What a run has written.
        group: Its group.
        words: A language.
    """
    rows, about = document["rows"], _about(document)
    missing = [f"{name} ({', '.join(of)})" for name, of in about["missing"].items()]
    parts = [
        words["conditions"].format(**about),
        *([words["missing"].format("; ".join(missing))] if missing else []),
        GROUPS[group].means(rows, words),
        _missed(rows, group, words),
        _markdown(
            columns(group, words),
            (
                [words.get(part, part) for part in line]
                for row in rows
                for line in GROUPS[group].lines(row)
            ),
        ),
        *(words["wrong"].format(error) for error in errors(rows)),
    ]
    return "\n\n".join(parts)


def _layer_means(rows: Sequence[Row], words: Words) -> str:
    """The table of plain layers: means of the ratio to the fastest peer, and the aims."""
    table = [
        [words.get(cell, cell), words[mode], _range(rows, cell, mode, words), *aims]
        for (cell, mode), (least, mean) in AIMS.items()
        for aims in [(f"{mean:.1f}", f"{least:.2f}")]
    ]
    return _markdown(words["means"].split(" | "), table)


def _option_means(rows: Sequence[Row], words: Words) -> str:
    """The table of options: means of what a step takes, and of the ratio to the fastest peer."""
    header = [
        words[kind].format(words[mode]) for mode in MODES for kind in ("to plain", "to peers")
    ]
    table = []
    for option, linear in (*((option, False) for option in OPTIONS), (PLAIN, True)):
        of = [row for row in rows if row["option"] == option and (row["cell"] in LINEAR) == linear]
        line = [words["linear"] if linear else option]
        for mode in MODES:
            for of_row in (to_copy if linear else to_plain, ratio):
                numbers = [of_row(row) for row in of if row["mode"] == mode]
                line.append(_mean([number for number in numbers if number], words))
        if of:
            table.append(line)
    return _markdown(["", *header], table)


def _model_means(rows: Sequence[Row], words: Words) -> str:
    """The table of models: means of the ratio, by backend."""
    table = []
    for option, mode in product(MODEL_OPTIONS, MODEL_MODES):
        of = [row for row in rows if (row["option"], row["mode"]) == (option, mode)]
        groups = ([n for row in of if (n := to_keras(row, name))] for name in BACKENDS)
        if of:
            numbers = [_mean(group, words) for group in groups]
            table.append([f"{mode}, {option}", *numbers, f"{MODEL_AIMS[option]}"])
    return _markdown(["", *BACKENDS, words["aim"]], table)


def _training_means(rows: Sequence[Row], words: Words) -> str:
    """The table of trainings: means of the ratio over the tasks, by cell."""
    table = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        numbers = [found for row in rows if row["cell"] == cell and (found := to_torch(row))]
        table.append([cell, _mean(numbers, words), f"{TRAINING_AIMS.get(cell, TRAINING_AIM)}"])
    return _markdown(words["training means"].split(" | "), table)


_USUAL = Options()
_LONGER = Options(seconds=2.0)  # where a call is of many batches


@dataclass(frozen=True)
class Group:
    """A group of rows, and what is written about it.

    Attributes:
        cases: What is measured.
        peers: Who is asked.
        file: The name of the file with its rows.
        mark: What its place in the documents is called; in README, that of layers is around all.
        means: The table of means, from rows.
        lines: The lines of a row in the table of all rows.
        misses: What a row misses and reached: by kind of aim, or by backend of Keras.
        pace: How long things may take.
    """

    cases: Sequence[Case]
    peers: Sequence[str]
    file: str
    mark: str
    means: Callable[[Sequence[Row], Words], str]
    lines: Callable[[Row], list[list[str]]]
    misses: Callable[[Row], dict[str, float]]
    pace: Options = _USUAL

    @property
    def path(self) -> Path:
        """The file with its rows."""
        return ROOT / "benchmarks" / self.file

    @property
    def marks(self) -> tuple[str, str]:
        """What stands around its place in the documents."""
        return f"<!-- {self.mark} -->", f"<!-- /{self.mark} -->"


GROUPS = {
    "layers": Group(
        LAYER_CASES, [*LAYER_PEERS], "results.json", "measured", _layer_means, cells, misses
    ),
    "options": Group(
        OPTION_CASES,
        [*LAYER_PEERS],
        "options.json",
        "measured options",
        _option_means,
        option_cells,
        option_misses,
    ),
    "keras": Group(
        MODELS,
        [*MODEL_PEERS],
        "keras.json",
        "measured keras",
        _model_means,
        model_cells,
        model_misses,
        _LONGER,
    ),
    "trainings": Group(
        TRAINING_CASES,
        [*TRAINING_PEERS],
        "trainings.json",
        "measured trainings",
        _training_means,
        training_cells,
        training_misses,
        _LONGER,
    ),
}


def rewrite(documents: Mapping[str, Document], root: Path) -> None:
    """Write the tables into README.md, docs/benchmarks.md and their twins, between their marks.

    Args:
        documents: What runs have written, by group.
        root: The folder of the project.

    Raises:
        ValueError: A document has no such marks.
    """
    texts: list[tuple[str, tuple[str, str], str]] = []
    for words in (ENGLISH, CHINESE) if documents else ():
        texts.append((words["readme"], GROUPS["layers"].marks, section(documents, words)))
        for group, document in documents.items():
            texts.append((words["page"], GROUPS[group].marks, page(document, group, words)))
    for name, marks, text in texts:
        before, begin, rest = (root / name).read_text().partition(marks[0])
        _, end, after = rest.partition(marks[1])
        if not end:
            raise ValueError(f"{name} needs the marks {' and '.join(marks)}")
        (root / name).write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
