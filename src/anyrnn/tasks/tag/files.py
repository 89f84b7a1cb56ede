"""Sentences from files: CoNLL-U, CoNLL (a token a line, columns) and JSON lines."""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.arrow_tables import arrow_table
from anyrnn.tasks.data.contents import Characters, Content
from anyrnn.tasks.data.table import Table, leave_out
from anyrnn.tasks.data.table_pieces import Piece, Text, json_lines
from anyrnn.tasks.options.suffixes import is_json_lines

_UNIVERSAL = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
_COLUMNS = "# global.columns ="
_KEPT = ("tokens", "tags")
_DOCUMENT = "-DOCSTART-"
_FIRST = re.compile(r"1(-\d+)?\t")
_NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")
# Where "_" says that a word has no such feature, not that nobody wrote it down.
_MAY_BE_EMPTY = ("feats", "deps", "misc")
_AT_ONCE = 10_000  # sentences that are written to disk together


@dataclass
class Sentences:
    """What a file holds.

    Attributes:
        path: The file.
        tokens: The tokens of each sentence; those of a large file lie on disk.
        tags: Their tags, likewise; empty lists if no tag was asked for.
        rows: How messages name each sentence, such as "line 17".
        digest: A hash of the file's content.
        skipped: How many sentences and rows were left out, by reason.
    """

    path: Path
    tokens: Sequence[list[str]]
    tags: Sequence[list[str]]
    rows: Sequence[str] = ()
    digest: str = ""
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.tokens)


class _RowError(Exception):
    """A row or sentence cannot be used; the message says why."""


def read_sentences(
    path: Path,
    *,
    token_column: str | None = None,
    tag_column: str | None = None,
    with_tags: bool = True,
    encoding: str = "utf-8",
    skip_bad: bool = False,
) -> Sentences:
    """Read a file of sentences; its kind is told by its suffix.

    A file `.jsonl` has an object with two lists in each line; `.conllu` the ten columns of
    CoNLL-U, in which multiword tokens and empty nodes are passed over; any other one has a token
    in each line, columns between tabs or blanks, and an empty line after each sentence.

    Args:
        path: The file, perhaps compressed (.gz, .xz, .bz2).
        token_column, tag_column: The columns, by name or by number from 1. By default "form" and
            "upos" of CoNLL-U, "tokens" and "tags" of JSON lines, the first and the last one of
            others.
        with_tags: Whether there have to be tags.
        encoding: How its text is encoded.
        skip_bad: Leave out sentences with a row that cannot be used.

    Raises:
        DataError: The file is missing, empty, damaged or in another encoding; a column is missing.
    """
    kind = _JsonLines if is_json_lines(path) else _Columns
    chosen = _Chosen(path, token_column, tag_column, with_tags, skip_bad)
    content = Content(path)
    reader = kind(chosen, partial(Characters, content, encoding))
    options = (kind.__name__, encoding, token_column, tag_column, with_tags, skip_bad)
    table = arrow_table(content, "line", reader.pieces(), _KEPT, options)
    tokens, tags = (table.columns[name].read_by(from_json) for name in _KEPT)
    if not content.large:
        tokens, tags = list(tokens), list(tags)
    found = Sentences(path, tokens, tags, table.rows, table.digest, Counter(table.skipped))
    if not len(found):
        raise DataError(f"{path} has no sentence that can be used")
    return found


def from_json(text: str) -> list[str]:
    """The tokens or tags of a sentence that lies on disk."""
    return json.loads(text)


@dataclass(frozen=True)
class _Chosen:
    """What is read of which file, as `read_sentences` has it."""

    path: Path
    token_column: str | None
    tag_column: str | None
    with_tags: bool
    skip_bad: bool


class _Reader(ABC):
    """Sentences from the text of a file, one after the other."""

    def __init__(self, chosen: _Chosen, text: Text) -> None:
        self.skipped: Counter[str] = Counter()
        self._chosen = chosen
        self.path = chosen.path
        self._text = text

    @abstractmethod
    def sentences(self) -> Iterator[tuple[list[str], list[str], int]]:
        """The tokens and tags of each sentence, and its line.

        Raises:
            DataError: A row cannot be used, and such sentences are not left out.
        """

    def pieces(self) -> Iterator[Piece]:
        """The same, many together, as they are written to disk."""
        rows: list[tuple[str, str, int]] = []
        for tokens, tags, line in self.sentences():
            rows.append((_as_json(tokens), _as_json(tags), line))
            if len(rows) == _AT_ONCE:
                yield self._piece(rows)
                rows = []
        yield self._piece(rows)

    def _piece(self, rows: Sequence[tuple[str, str, int]]) -> Piece:
        columns = {"tokens": [row[0] for row in rows], "tags": [row[1] for row in rows]}
        return Piece(columns, list(_KEPT), [row[2] for row in rows], dict(self.skipped))


_as_json = json.JSONEncoder(ensure_ascii=False).encode


class _Columns(_Reader):
    """Reads a file with a token in each line."""

    def __init__(self, chosen: _Chosen, text: Text) -> None:
        super().__init__(chosen, text)
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        self._universal = ".conllu" in suffixes or ".conllup" in suffixes
        self._names = _UNIVERSAL if self._universal else []
        lines = iter(_lines(self._text()))
        head = next(lines, "")
        if head.startswith(_COLUMNS):
            self._names = head.removeprefix(_COLUMNS).lower().split()
        first = next((line for line in chain([head], lines) if self._may_be_row(line)), None)
        if first is None:
            raise DataError(f"{self.path} has no sentence that can be used")
        self._separator = "\t" if self._universal or "\t" in first else None
        self._count = len(self._names) or len(first.split(self._separator))
        self._token = self._number(chosen.token_column, "token_column", "form", 1)
        self._tag = None
        if chosen.with_tags:
            if self._count == 1:
                raise DataError(
                    f"{self.path}: its first row, {first[:40]!r}, has a single column, but a token "
                    "and its tag are needed, with blanks or tabs between them"
                )
            self._tag = self._number(chosen.tag_column, "tag_column", "upos", self._count)
            if self._tag == self._token:
                raise DataError(
                    f"{self.path}: the tokens and the tags are both in column {self._tag + 1}; "
                    f"name other ones with {option_name('token_column')} and "
                    f"{option_name('tag_column')}"
                )
            may_be_empty = self._names[self._tag] in _MAY_BE_EMPTY if self._names else False
            self._no_tag = "_" if self._universal and not may_be_empty else ""
        self._id = self._names.index("id") if "id" in self._names else None

    def sentences(self) -> Iterator[tuple[list[str], list[str], int]]:
        """Those whose rows can be used."""
        for rows in self._sentences():
            tokens: list[str] = []
            tags: list[str] = []
            number = rows[0][0]
            try:
                for row_number, line in rows:
                    number = row_number
                    self._add(line, tokens, tags)
            except _RowError as error:
                leave_out(self, f"line {number}", error, "sentences", self._chosen.skip_bad)
                continue
            if tokens:
                yield tokens, tags, rows[0][0]

    def _add(self, line: str, tokens: list[str], tags: list[str]) -> None:
        values = line.split(self._separator)
        if len(values) != self._count:
            blanks = "; CoNLL-U has tabs between them" if self._universal else ""
            raise _RowError(f"has {len(values)} column(s) instead of {self._count}{blanks}")
        if self._id is not None and not values[self._id].isdecimal():
            if not _NO_WORD.fullmatch(values[self._id]):
                raise _RowError(f"has the ID {values[self._id]!r}, which is no number")
            kind = "multiword tokens" if "-" in values[self._id] else "empty nodes"
            self.skipped[kind] += 1
            return
        token = values[self._token].strip()
        if not token:
            raise _RowError("has no token")
        tokens.append(token)
        if self._tag is None:
            return
        tag = values[self._tag].strip()
        if not tag or tag == self._no_tag:
            name = self._names[self._tag] if self._names else ""
            raise _RowError(f"has no tag in column {self._tag + 1} {name}".rstrip())
        tags.append(tag)

    def _sentences(self) -> Iterator[list[tuple[int, str]]]:
        """The rows of each sentence with their line numbers, from 1."""
        rows: list[tuple[int, str]] = []
        for number, line in enumerate(_lines(self._text()), start=1):
            if line.strip() and not self._begins(line):
                if line[0] != "#" or not self._is_comment(line, bool(rows)):
                    rows.append((number, line))
                continue
            if rows:
                yield rows
            rows = [(number, line)] if line.strip() and not line.startswith(_DOCUMENT) else []
        if rows:
            yield rows

    def _begins(self, line: str) -> bool:
        """Whether a row begins a sentence or document, even without an empty line before."""
        if self._id is not None:
            return line[0] == "1" and self._id == 0 and _FIRST.match(line) is not None
        return line.startswith(_DOCUMENT)

    def _is_comment(self, line: str, within: bool) -> bool:
        """Whether a line that begins with "#" is no row."""
        if self._universal:
            return True
        # "#" is a token, too; what has other columns than the rows have cannot be one.
        return not within and len(line.split(self._separator)) != self._count

    def _may_be_row(self, line: str) -> bool:
        return bool(line.strip()) and not line.startswith(("#", _DOCUMENT))

    def _number(self, column: str | None, option: str, name: str, number: int) -> int:
        """The place of a column, from 0."""
        path = self.path
        if column is None:
            column = name if name in self._names else str(number)
        if column.lower() in self._names:
            return self._names.index(column.lower())
        if column.isdecimal() and 1 <= int(column) <= self._count:
            return int(column) - 1
        near = get_close_matches(column.lower(), self._names, n=1, cutoff=0.5)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self._names) or "columns without names"
        raise DataError(
            f"{path} has no column {column!r} ({option_name(option)}){guess} (it has {known}; or "
            f"give a number from 1 to {self._count})"
        )


class _JsonLines(_Reader):
    """Reads a file with an object in each line."""

    def sentences(self) -> Iterator[tuple[list[str], list[str], int]]:
        """Those whose lists can be used."""
        chosen = self._chosen
        tokens_name, tags_name = chosen.token_column or "tokens", chosen.tag_column or "tags"
        wanted = [tokens_name, tags_name] if chosen.with_tags else [tokens_name]
        for piece in json_lines(self.path, self._text, wanted, nested=True):
            table = Table(self.path, piece.names, piece.columns, "line", piece.numbers, "")
            token_lists = table.column(tokens_name, "token_column")
            tag_lists = table.column(tags_name, "tag_column") if chosen.with_tags else None
            for place, number in enumerate(piece.numbers):
                try:
                    tokens = _list(token_lists[place], tokens_name)
                    tags = _list(tag_lists[place], tags_name) if tag_lists else []
                    if tag_lists and len(tags) != len(tokens):
                        raise _RowError(f"has {len(tokens)} tokens but {len(tags)} tags")
                except _RowError as error:
                    leave_out(self, f"line {number}", error, "sentences", chosen.skip_bad)
                    continue
                if tokens:
                    yield tokens, tags, number


def _lines(text: Iterable[str]) -> Iterator[str]:
    """The lines of a text that is iterated by line feeds; a carriage return ends a line, too."""
    for line in text:
        if "\r" in line:
            yield from line.removesuffix("\r").split("\r")
        else:
            yield line


def _list(text: str | None, name: str) -> list[str]:
    """A list of strings that are not blank, from JSON."""
    try:
        values = json.loads(text or "null", parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise _RowError(f"has no list {name!r}")
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise _RowError(f"has {json.dumps(value)} in its list {name!r}")
    return values


def distinct(sentences: Sequence[Sequence[str]]) -> Counter[str]:
    """How often each token or tag occurs."""
    counts: Counter[str] = Counter()
    for values in sentences:
        counts.update(values)
    return counts
