"""What the documents say about the rows, and the groups of rows that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import (
    AVX2_CASES,
    LAYER_CASES,
    MODES,
    OPTION_CASES,
    RANDOM_CASES,
    STANDARD,
    Case,
)
from benchmarks.load import WARNED
from benchmarks.measure import Options, Row
from benchmarks.models import BACKENDS, MODELS
from benchmarks.peers import (
    BASELINES,
    LAYER_PEERS,
    MODEL_PEERS,
    OUR_PREPARED,
    OURS,
    PEERS,
    TRAINING_PEERS,
)
from benchmarks.reached import (
    OTHER,
    TORCH,
    misses,
    model_misses,
    option_misses,
    training_misses,
)
from benchmarks.tables import (
    cells,
    layer_means,
    markdown,
    model_cells,
    model_means,
    named,
    option_cells,
    option_means,
    ranged,
    shape,
    training_cells,
    training_means,
)
from benchmarks.trainings import TRAINING_CASES
from benchmarks.words import CHINESE, ENGLISH, Words
from benchmarks.worker import ROOT

Document = Mapping[str, Any]  # what a run has written
KINDS = {
    "ratio": "{:.2f}",
    "step": "{:.2f}",
    "floor": "{:.2f}",
    "share": "{:.0%}",
    "memory": "{:.1f}",
    "stream": "{:.0f} µs",
}


def errors(rows: Iterable[Row]) -> list[str]:
    """What went wrong, one line each."""
    return [
        f"{name}: {', '.join(filter(None, named(row)))}, {shape(row)}: {found['error']}"
        for row in rows
        for name, found in row["peers"].items()
        if "error" in found
    ]


def _threads(row: Row, words: Words) -> str:
    return words["one thread" if row["threads"] == 1 else "threads"].format(row["threads"])


def _counts(rows: Iterable[Row]) -> list[int]:
    """The numbers of threads of some rows, the largest first."""
    return sorted({row["threads"] for row in rows}, reverse=True)


def _missed(rows: Sequence[Row], group: str, words: Words) -> str:
    """A list of the rows that miss an aim, for each kind of aim."""
    found: dict[str, dict[str, list[str]]] = {}
    counts = _counts(rows)
    for row in rows:
        whose = " ".join(words.get(part, part) for part in named(row) if part)
        for name, reached in GROUPS[group].misses(row).items():
            kind, where = ("ratio", name) if name in BACKENDS else (name, shape(row))
            where += f", {_threads(row, words)}" if len(counts) > 1 else ""
            told = f"{KINDS[kind].format(reached)} ({where})"
            found.setdefault(kind, {}).setdefault(whose, []).append(told)
    parts = [
        f"{words[kind]}\n\n" + "\n".join(f"- {k}: {', '.join(v)}" for k, v in of.items())
        for kind in KINDS
        if (of := found.get(kind))
    ]
    return "\n\n".join(parts) or words["none"]


def table(rows: Sequence[Row], group: str, words: Words = ENGLISH) -> list[list[str]]:
    """The names of the columns of a group's table, and its lines."""
    each, several = GROUPS[group], len(_counts(rows)) > 1
    added = [words["threads column"]] if several else []
    lines = [[*words[f"{each.columns} columns"].split(" | "), *added]]
    for row in rows:
        threads = [str(row["threads"])] if several else []
        lines += [[words.get(part, part) for part in line] + threads for line in each.lines(row)]
    return lines


def means(rows: Sequence[Row], group: str, words: Words) -> list[str]:
    """The tables of means of a group, for each number of threads."""
    found = []
    for count in _counts(rows):
        of = [row for row in rows if row["threads"] == count]
        told = [f"{_threads(of[0], words).capitalize()}:"] if len(of) < len(rows) else []
        found += [*told, GROUPS[group].means(of, words)]
    return found


def _about(document: Document) -> dict[str, Any]:
    versions = ", ".join(" ".join(pair) for pair in document["machine"]["versions"].items())
    shapes = len({shape(row) for row in document["rows"]})
    ours = {OURS, OUR_PREPARED, *BASELINES}
    there = {name for row in document["rows"] for name in row["peers"]} - ours
    peers = ", ".join(name for name in PEERS if name in there)
    return {**document["machine"], "versions": versions, "shapes": shapes, "peers": peers}


def _on_most_threads(document: Document) -> list[Row]:
    most = max(_counts(document["rows"]), default=0)
    return [row for row in document["rows"] if row["threads"] == most]


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
        rows = _on_most_threads(document)
        lines = [
            [name.format(words[m]), *(ranged(rows, g, m, words, of) for g in groups)]
            for m in MODES
            for name, of in peers.items()
        ]
        header = ["", *(words.get(group, group) for group in groups)]
        parts += [words["intro"].format(**about), markdown([header, *lines])]
    if document := documents.get("options"):
        about = about or _about(document)
        parts += [words["options"], option_means(_on_most_threads(document), words)]
    if document := documents.get("keras"):
        about = about or _about(document)
        parts += [words["models"], model_means(_on_most_threads(document), words)]
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
    parts = [words["conditions"].format(**about)]
    if "random" in document:
        parts.append(words["random"].format(**document["random"]))
    if about["load"] is not None:
        beside = [row for row in rows if (row["load"] or 0) > WARNED]
        parts.append(words["load"].format(about["load"], len(beside), WARNED))
    if missing:
        parts.append(words["missing"].format("; ".join(missing)))
    parts += means(rows, group, words)
    parts += [_missed(rows, group, words), markdown(table(rows, group, words))]
    return "\n\n".join([*parts, *(words["wrong"].format(error) for error in errors(rows))])


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
        columns: Whose names the columns have.
        pace: How long things may take.
        isa: What all libraries are held to, as in `Conditions`; who cannot be is left out.
    """

    cases: Sequence[Case]
    peers: Sequence[str]
    file: str
    mark: str
    means: Callable[[Sequence[Row], Words], str]
    lines: Callable[[Row], list[list[str]]]
    misses: Callable[[Row], dict[str, float]]
    columns: str
    pace: Options = _USUAL
    isa: str | None = None

    @property
    def path(self) -> Path:
        """The file with its rows."""
        return ROOT / "benchmarks" / self.file

    @property
    def marks(self) -> tuple[str, str]:
        """What stands around its place in the documents."""
        return f"<!-- {self.mark} -->", f"<!-- /{self.mark} -->"


_LAYERS = Group(
    LAYER_CASES, [*LAYER_PEERS], "results.json", "measured", layer_means, cells, misses, "layers"
)
_HELD = [name for name, peer in LAYER_PEERS.items() if peer.held]
GROUPS = {
    "layers": _LAYERS,
    "random": replace(_LAYERS, cases=RANDOM_CASES, file="random.json", mark="measured random"),
    "avx2": replace(
        _LAYERS, cases=AVX2_CASES, peers=_HELD, file="avx2.json", mark="measured avx2", isa="avx2"
    ),
    "options": Group(
        OPTION_CASES,
        [*LAYER_PEERS],
        "options.json",
        "measured options",
        option_means,
        option_cells,
        option_misses,
        "options",
    ),
    "keras": Group(
        MODELS,
        [*MODEL_PEERS],
        "keras.json",
        "measured keras",
        model_means,
        model_cells,
        model_misses,
        "keras",
        _LONGER,
    ),
    "trainings": Group(
        TRAINING_CASES,
        [*TRAINING_PEERS],
        "trainings.json",
        "measured trainings",
        training_means,
        training_cells,
        training_misses,
        "trainings",
        _LONGER,
    ),
}

MEASURED = ("layers", "options", "keras", "trainings")  # unless others are asked for


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
