"""Which recordings a folder, a table or a list names, and what is said in them by whom."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.files import reading
from anyrnn.tasks.command.options import FOLDER, TABLE, DataOptions, kind_of
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.contents import read_text
from anyrnn.tasks.data.table import RowNames
from anyrnn.tasks.data.table_files import read_complete

NOISE = "_background_noise_"
"""The folder of long recordings without speech, as Speech Commands has it."""

_ENDINGS = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".caf",
)
"""The names of files in a folder that are taken for recordings end in one of these."""


@dataclass
class Listing:
    """Recordings that are not yet read.

    Attributes:
        path: The folder, the table or the list.
        files: The recordings.
        words: What is said in each.
        speakers: Who says it; "" if nothing tells.
        rows: How messages name the row of each; empty for a folder.
        noise: Long recordings without speech.
        skipped: How many files or rows were left out, by reason.
    """

    path: Path
    files: Sequence[Path]
    words: Sequence[str]
    speakers: Sequence[str]
    rows: Sequence[str] = ()
    noise: Sequence[Path] = ()
    skipped: Counter[str] = field(default_factory=Counter)

    def take(self, rows: Sequence[int]) -> "Listing":
        """The listing of some of the recordings."""
        columns = ("files", "words", "speakers", *(["rows"] if self.rows else []))
        return replace(self, **{name: taken(getattr(self, name), rows) for name in columns})


def listed(path: Path, options: DataOptions, seed: int) -> Listing:
    """What a folder, a table or a list names.

    Args:
        path: The folder, table or list.
        options: How it is read, and which words count.
        seed: Decides which of the other words are kept.

    Raises:
        DataError: It cannot be used.
        OptionError: The pattern is none, or nothing has a column of speakers.
    """
    kind = kind_of(path, options.separator)
    if kind != TABLE and options.speaker is not None:
        here = option_name("speaker")
        raise OptionError(f"{here} has no effect on {kind}; leave {here} out")
    pattern = _compiled(options.name_pattern, with_words=kind != TABLE)
    if kind == TABLE:
        found = _of_table(path, options, pattern)
    else:
        found = _of_folder(path, pattern) if kind == FOLDER else _of_list(path, options, pattern)
    if not found.files:
        raise DataError(f"{path} names no recording")
    return _with_unknown(found, options, seed)


def _compiled(pattern: str, with_words: bool) -> re.Pattern[str]:
    name = option_name("name_pattern")
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"{name} is no regular expression: {error}") from None
    if not found.groupindex.keys() & {"speaker", "word"}:
        raise OptionError(
            f"{name} is {pattern!r}, but needs a group (?P<speaker>...) or (?P<word>...)"
        )
    if "word" in found.groupindex and not with_words:
        raise OptionError(f"{name} finds words, but those of a table are in {option_name('label')}")
    return found


def _of_table(path: Path, options: DataOptions, pattern: re.Pattern[str]) -> Listing:
    columns = [(options.recording, "recording"), (options.label, "label")]
    if options.speaker is not None:
        columns.append((options.speaker, "speaker"))
    table = read_complete(path, options, columns)
    names, words, *speakers = ([*map(str.strip, table.column(*each))] for each in columns)
    return Listing(
        path,
        [path.parent / name for name in names],
        words,
        speakers[0] if speakers else [_speaker(name, pattern) for name in names],
        [*table.rows],
        skipped=Counter({f"rows {reason}": count for reason, count in table.skipped.items()}),
    )


def _of_folder(path: Path, pattern: re.Pattern[str]) -> Listing:
    found = Listing(path, [], [], [])
    names = [file.relative_to(path) for file in _files(path)]
    sounds = [name for name in names if _is_sound(name)]
    found.noise = [path / name for name in sounds if NOISE in name.parts]
    if others := sum(len(name.parts) > 1 and not _is_sound(name) for name in names):
        found.skipped["files that are no recordings by their names"] = others
    _add(found, [name for name in sounds if NOISE not in name.parts], pattern)
    return found


def _is_sound(name: PurePath) -> bool:
    return name.suffix.lower() in _ENDINGS


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, in an order that repeats; but for hidden ones."""
    with reading(path):
        there = sorted(path.iterdir())
    for each in there:
        if each.name.startswith("."):
            continue
        if each.is_dir():
            yield from _files(each)
        else:
            yield each


def _of_list(path: Path, options: DataOptions, pattern: re.Pattern[str]) -> Listing:
    text, _ = read_text(path, options.encoding)
    lines = [(k, line.strip()) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    found = Listing(path, [], [], [])
    _add(found, [PurePath(line) for _, line in lines], pattern)
    found.rows = RowNames("line", [number for number, _ in lines])
    return found


def _add(found: Listing, names: Sequence[PurePath], pattern: re.Pattern[str]) -> None:
    """Add recordings by their names, as seen from the folder that they, or their list, are in."""
    folder = found.path if found.path.is_dir() else found.path.parent
    words = []
    for name in names:
        told = pattern.search(name.as_posix()) if "word" in pattern.groupindex else None
        word = (told and told["word"]) or name.parent.name
        if not word:
            raise DataError(
                f"{folder / name} lies in no folder of a word; let {option_name('name_pattern')} "
                "find the word in the name, with a group (?P<word>...)"
            )
        words.append(word)
    found.files, found.words = [folder / name for name in names], words
    found.speakers = [_speaker(name.as_posix(), pattern) for name in names]


def _speaker(name: str, pattern: re.Pattern[str]) -> str:
    told = pattern.search(name)
    return (told["speaker"] or "") if told and "speaker" in pattern.groupindex else ""


def _with_unknown(found: Listing, options: DataOptions, seed: int) -> Listing:
    """The chosen words, and of the others about as many as there are of one of them."""
    kept = {*options.words, options.silence, options.unknown}
    if not options.words or kept.issuperset(found.words):
        return found
    counts = Counter(found.words)
    for word in options.words:
        if not counts[word]:
            raise DataError(
                f"{found.path} has no recording of {word!r} ({option_name('words')}); it has "
                f"{', '.join(sorted(counts))}"
            )
    others = [row for row, word in enumerate(found.words) if word not in kept]
    average = round(sum(counts[word] for word in options.words) / len(options.words))
    chosen = numpy.random.default_rng(seed).permutation(others)[:average].tolist()
    rows = sorted({*range(len(found.words))} - {*others} | {*chosen})
    some = found.take(rows)
    some.words = [word if word in kept else options.unknown for word in some.words]
    return some
