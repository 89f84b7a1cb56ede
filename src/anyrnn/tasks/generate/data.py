"""Books and collections of texts from the user's files, split into training, validation, test."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data import parts
from anyrnn.tasks.data.columns import LongText, TextColumn
from anyrnn.tasks.data.table_files import lines_of, read_complete, read_texts, texts_in_rows
from anyrnn.tasks.data.table_pieces import Piece
from anyrnn.tasks.generate.options import DataOptions
from anyrnn.tasks.options.suffixes import is_table

# Of a book less than this cannot be learned from and measured.
_SMALLEST_BOOK = 20


@dataclass(frozen=True, eq=False)
class Part(parts.Part):
    """Texts.

    Attributes:
        texts: The texts; those of a large file lie on disk.
        books: The file of each, if each is a file.
    """

    columns = ("texts", "books")

    texts: Sequence[str | LongText]
    books: Sequence[Path] | None = None

    def groups(self) -> parts.Groups:
        """Equal texts stay together."""
        keys = (each.key if isinstance(each, LongText) else each for each in self.texts)
        return parts.Groups.equal(keys, "text")

    @property
    def characters(self) -> int:
        """The number of characters."""
        return sum(map(len, self.texts))


def read(options: DataOptions, seed: int) -> parts.Data[Part]:
    """Read the files and split off what has no file of its own.

    Of a book the end is split off; of many texts some, chosen at random.

    Args:
        options: Which files.
        seed: Decides the split of many texts; equal ones land in the same part.

    Raises:
        DataError: A file cannot be used, or is too small.
    """
    main = read_part(options.data, options)
    own = {name: read_part((path,), options) for name, path in options.own_files().items()}
    many = options.text is not None or options.lines
    found = divided(main, options.shares(own), many, seed) | own
    counts = {name: part.characters for name, part in found.items()}
    listed = ", ".join(f"{count:,} for {name}" for name, count in counts.items())
    return parts.Data.of(
        found,
        [main, *own.values()],
        {"texts": len(main.texts), "characters": counts},
        notes=[f"characters: {listed}; in {len(main.texts):,} text(s)"],
    )


def read_part(paths: Path | Sequence[Path], options: DataOptions) -> Part:
    """The texts of some files.

    Raises:
        DataError: A file or (without `skip_bad`) a row cannot be used.
    """
    paths = (paths,) if isinstance(paths, Path) else paths
    if not paths:
        raise DataError(f"no file is named; name one with {option_name('data')}")
    texts: list[TextColumn] = []
    digests: list[str] = []
    skipped: Counter[str] = Counter()
    for path in paths:
        found, digest, left_out = _read_file(path, options)
        texts.append(found)
        digests.append(digest)
        skipped.update(left_out)
    from_files = {"digests": digests, "skipped": skipped}
    if options.text is not None or options.lines:
        return Part(paths[0], TextColumn.joined(texts), **from_files)
    return Part(paths[0], [LongText(each) for each in texts], paths, **from_files)


def divided(part: Part, shares: Mapping[str, float], many: bool, seed: int) -> dict[str, Part]:
    """Split texts: the named parts get their shares, the training gets the rest.

    Args:
        part: The texts.
        shares: The share of each further part.
        many: Whether whole texts are divided among the parts; if not, each text is cut.
        seed: Decides who goes where; equal texts land in the same part.

    Raises:
        DataError: There is too little.
    """
    if many:
        return parts.divided_at_random(part, shares, seed)
    sizes = [1 - sum(shares.values()), *shares.values()]
    files = part.books or [part.path] * len(part)
    books = [_cut(*book, sizes) for book in zip(files, part.texts, strict=True)]
    cut = zip(("training", *shares), zip(*books, strict=True), strict=True)
    return {name: replace(part, texts=texts, digests=(), skipped={}) for name, texts in cut}


def _cut(path: Path, text: str | LongText, sizes: Sequence[float]) -> list[str | LongText]:
    """A book, cut from the start to the end."""
    if len(text) < _SMALLEST_BOOK:
        raise DataError(
            f"{path} has {len(text)} character(s), but a book needs at least "
            f"{_SMALLEST_BOOK}; if its lines are texts of their own, say so with "
            f"{option_name('lines', True)}"
        )
    places, share = [0], 0.0
    for size in sizes[:-1]:
        share += size
        places.append(max(places[-1] + 1, int(share * len(text))))
    return [text[start:end] for start, end in zip(places, [*places[1:], len(text)], strict=True)]


def _read_file(path: Path, options: DataOptions) -> tuple[TextColumn, str, dict[str, int]]:
    """The texts of a file, or the pieces of a book; a hash of it, and what was left out."""
    if options.text is not None:
        table = read_complete(path, options, [(options.text, "text")])
        column: Any = table.column(options.text, "text")
        return column.read_by(_normal), table.digest, dict(table.skipped)
    if is_table(path):
        raise DataError(
            f"{path} is a table; name the column of its texts with {option_name('text')}"
        )
    return *read_texts(path, options.encoding, _lines if options.lines else _chunks), {}


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _chunks(pieces: Iterable[str]) -> Iterator[Piece]:
    """Rows that are pieces of a text, normal together as the whole would be."""
    return texts_in_rows(_normal_pieces(pieces), 1)


def _lines(pieces: Iterable[str]) -> Iterator[Piece]:
    """Rows that are the lines of a text."""
    return texts_in_rows(filter(str.strip, lines_of(_normal_pieces(pieces))))


# Nothing before an ASCII character is composed with it.
_BORDER = re.compile(r"(?s)(.*[^\r])(?=[\0-\x7f])|(.*\r)(?=[\0-\x09\x0b-\x7f])")


def _normal_pieces(pieces: Iterable[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        rest += piece
        if border := _BORDER.match(rest):
            yield _normal(border[0])
            rest = rest[border.end() :]
    if rest:
        yield _normal(rest)
