"""Sentences from files: CoNLL-U, CoNLL (a token a line, columns) and JSON lines."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.columns import leave_out
from anyrnn.tasks.contents import read_text
from anyrnn.tasks.tables import is_json_lines, read_table

_UNIVERSAL = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
_COLUMNS = "# global.columns ="
_DOCUMENT = "-DOCSTART-"
_NO_WORD = re.compile(r"\d+-\d+|\d+\.\d+")
_TOKEN_FILES = {".conllu", ".conllup", ".conll", ".bio", ".iob", ".iob2"}
# Where "_" says that a word has no such feature, not that nobody wrote it down.
_MAY_BE_EMPTY = ("feats", "deps", "misc")


@dataclass
class Sentences:
    """What a file holds.

    Attributes:
        path: The file.
        tokens: The tokens of each sentence.
        tags: Their tags; empty lists if no tag was asked for.
        rows: How messages name each sentence, such as "line 17".
        digest: A hash of the file's content.
        skipped: How many sentences and rows were left out, by reason.
    """

    path: Path
    tokens: list[list[str]] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    digest: str = ""
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.tokens)

    def add(self, tokens: list[str], tags: list[str], row: str) -> None:
        """Add a sentence."""
        self.tokens.append(tokens)
        self.tags.append(tags)
        self.rows.append(row)


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
    if is_json_lines(path):
        names = (token_column or "tokens", (tag_column or "tags") if with_tags else None)
        found = _read_json_lines(path, names, encoding, skip_bad)
    else:
        text, digest = read_text(path, encoding)
        found = Sentences(path, digest=digest)
        _Columns(found, text, token_column, tag_column, with_tags).read(skip_bad)
    if not len(found):
        raise DataError(f"{path} has no sentence that can be used")
    return found


class _Columns:
    """Reads a file with a token in each line."""

    def __init__(
        self,
        found: Sentences,
        text: str,
        token_column: str | None,
        tag_column: str | None,
        with_tags: bool,
    ) -> None:
        self._found = found
        self._lines = re.split(r"\r\n|\r|\n", text)
        suffixes = [suffix.lower() for suffix in found.path.suffixes]
        self._universal = ".conllu" in suffixes or ".conllup" in suffixes
        self._names = _UNIVERSAL if self._universal else []
        for line in self._lines[:1]:
            if line.startswith(_COLUMNS):
                self._names = line.removeprefix(_COLUMNS).lower().split()
        first = next((line for line in self._lines if self._may_be_row(line)), "")
        self._separator = "\t" if self._universal or "\t" in first else None
        self._count = len(self._names) or len(first.split(self._separator))
        self._token = self._number(token_column, "token_column", "form", 1)
        self._tag = None
        if with_tags:
            self._tag = self._number(tag_column, "tag_column", "upos", self._count)
            if self._tag == self._token:
                raise DataError(
                    f"{found.path}: the tokens and the tags are both in column {self._tag + 1}; "
                    f"name other ones with {option_name('token_column')} and "
                    f"{option_name('tag_column')}"
                )
        self._id = self._names.index("id") if "id" in self._names else None

    def read(self, skip_bad: bool) -> None:
        """Read all sentences.

        Raises:
            DataError: A row cannot be used, and `skip_bad` is not set.
        """
        for number, rows in self._sentences():
            tokens: list[str] = []
            tags: list[str] = []
            try:
                for row_number, line in rows:
                    number = row_number
                    self._add(line, tokens, tags)
            except _RowError as error:
                leave_out(self._found, f"line {number}", error, "sentences", skip_bad)
                continue
            if tokens:
                self._found.add(tokens, tags, f"line {rows[0][0]}")

    def _add(self, line: str, tokens: list[str], tags: list[str]) -> None:
        values = line.split(self._separator)
        if len(values) != self._count:
            blanks = "; CoNLL-U has tabs between them" if self._universal else ""
            raise _RowError(f"has {len(values)} column(s) instead of {self._count}{blanks}")
        if self._id is not None and not values[self._id].isdecimal():
            if not _NO_WORD.fullmatch(values[self._id]):
                raise _RowError(f"has the ID {values[self._id]!r}, which is no number")
            kind = "multiword tokens" if "-" in values[self._id] else "empty nodes"
            self._found.skipped[kind] += 1
            return
        token = values[self._token].strip()
        if not token:
            raise _RowError("has no token")
        tokens.append(token)
        if self._tag is None:
            return
        tag = values[self._tag].strip()
        name = self._names[self._tag] if self._names else ""
        if not tag or (tag == "_" and self._universal and name not in _MAY_BE_EMPTY):
            raise _RowError(f"has no tag in column {self._tag + 1} {name}".rstrip())
        tags.append(tag)

    def _sentences(self) -> Iterator[tuple[int, list[tuple[int, str]]]]:
        """The rows of each sentence with their line numbers, from 1."""
        rows: list[tuple[int, str]] = []
        for number, line in enumerate(self._lines, start=1):
            if line.strip() and not self._begins(line):
                if not self._is_comment(line, bool(rows)):
                    rows.append((number, line))
                continue
            if rows:
                yield rows[0][0], rows
            rows = [(number, line)] if line.strip() and not line.startswith(_DOCUMENT) else []
        if rows:
            yield rows[0][0], rows

    def _begins(self, line: str) -> bool:
        """Whether a row begins a sentence or document, even without an empty line before."""
        if self._id is not None:
            return re.match(r"1(-\d+)?\t", line) is not None and self._id == 0
        return line.startswith(_DOCUMENT)

    def _is_comment(self, line: str, within: bool) -> bool:
        if not line.startswith("#"):
            return False
        if self._universal:
            return True
        # "#" is a token, too; what has other columns than the rows have cannot be one.
        return not within and len(line.split(self._separator)) != self._count

    def _may_be_row(self, line: str) -> bool:
        return bool(line.strip()) and not line.startswith(("#", _DOCUMENT))

    def _number(self, column: str | None, option: str, name: str, number: int) -> int:
        """The place of a column, from 0."""
        path = self._found.path
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


def _read_json_lines(
    path: Path, names: tuple[str, str | None], encoding: str, skip_bad: bool
) -> Sentences:
    token_column, tag_column = names
    wanted = [name for name in names if name is not None]
    table = read_table(path, encoding=encoding, wanted=wanted)
    found = Sentences(path, digest=table.digest)
    token_lists = table.column(token_column, "token_column")
    tag_lists = list(table.column(tag_column, "tag_column")) if tag_column else None
    for number, text in enumerate(token_lists):
        try:
            tokens = _list(text, token_column)
            tags = _list(tag_lists[number], str(tag_column)) if tag_lists else []
            if tag_lists and len(tags) != len(tokens):
                raise _RowError(f"has {len(tokens)} tokens but {len(tags)} tags")
        except _RowError as error:
            leave_out(found, table.row(number), error, "sentences", skip_bad)
            continue
        if tokens:
            found.add(tokens, tags, table.row(number))
    return found


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


def has_tokens(path: Path) -> bool:
    """Whether the name of a file says that it has tokens, not lines of text."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    return is_json_lines(path) or bool(suffixes & _TOKEN_FILES)


def distinct(sentences: Sequence[Sequence[str]]) -> Counter[str]:
    """How often each token or tag occurs."""
    return Counter(value for values in sentences for value in values)
