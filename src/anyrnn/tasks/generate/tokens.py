"""Texts to tokens and back."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy
import pyarrow
from tokenizers import Regex, Tokenizer, decoders, normalizers

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.columns import LongText, key_on_disk
from anyrnn.tasks.encoding import whole_characters
from anyrnn.tasks.generate.options import TokenKind, TokenOptions
from anyrnn.tasks.prepared import (
    Watch,
    advanced,
    folder_of_data,
    prepared,
    read_columns,
    watching,
    write_columns,
)
from anyrnn.tasks.vocabulary import CHARACTER, SPACED_WORD, UNKNOWN, UNSPACED, tokenizer_of

BOUNDARY = "[END]"
BOUNDARY_ID, UNKNOWN_ID = 0, 1
SPECIAL = (BOUNDARY, UNKNOWN)
END_MARK, UNKNOWN_MARK = "■", "�"
"""How reports show them."""

_SIZES: dict[TokenKind, int] = {
    "character": 30_000,
    "word": 30_000,
    "whitespace": 30_000,
    "bpe": 4_000,
}
_PATTERNS: dict[TokenKind, str] = {
    "word": rf"\n|{UNSPACED}| ?(?:{SPACED_WORD})",
    "whitespace": r"\n| \S+",
}
_AT_ONCE = 1000
_TOLD = 1 << 20  # characters or tokens
_LONGEST = 10_000  # characters of a piece
_BOUNDARY = numpy.array([BOUNDARY_ID], numpy.int32)
# Lines with their ends; a very long one is cut at a space, if it has any.
_PIECES = re.compile(r"[^\n]{0,9999}(?:\s|\Z)|[^\n]{10000}")


def make_tokenizer(texts: Sequence[str | LongText], options: TokenOptions) -> Tokenizer:
    """A tokenizer whose vocabulary comes from the training texts.

    Raises:
        SizeError: The vocabulary is too small for this kind of tokens.
        DataError: No token occurs often enough.
    """
    kind = options.tokens
    steps: list[normalizers.Normalizer] = []
    if kind in ("word", "whitespace"):
        # A word has a space before it wherever it stands, so that it is always the same one.
        steps.append(normalizers.Replace(Regex(r"^[^\S\n]*|[^\S\n]+"), " "))
    tokenizer = tokenizer_of(
        _counted(texts, watching()),
        kind,
        _PATTERNS.get(kind, CHARACTER),
        steps=steps,
        special=SPECIAL,
        lowercase=options.lowercase,
        vocabulary_size=options.vocabulary_size or _SIZES[kind],
        minimum_frequency=0 if kind == "bpe" else options.minimum_frequency,
        space_before=False,
    )
    if tokenizer.get_vocab_size() == len(SPECIAL):
        raise DataError(
            f"no {kind} token occurs {options.minimum_frequency} times in the training texts; give "
            f"more text, or {option_name('minimum_frequency', 1)}"
        )
    return tokenizer


def _counted(texts: Sequence[str | LongText], told: Watch) -> Iterator[str]:
    """The pieces of texts; they are asked for in a thread of the tokenizers library."""
    total, done, shown = sum(map(len, texts)), 0, 0
    for text in texts:
        for piece in _pieces(text):
            yield piece
            done += len(piece)
            if done - shown >= _TOLD or done == total:
                told("counting tokens", done, total)
                shown = done


@dataclass(frozen=True)
class Encoded:
    """Texts as one sequence of tokens, each text after a boundary.

    Attributes:
        tokens: The tokens; after several texts another boundary ends them.
        starts: Where the boundary before each text stands.
        characters: The number of characters; where there are several texts, the end of each counts
            as one.
        unknown: The number of tokens that the vocabulary lacks.
    """

    tokens: numpy.ndarray
    starts: numpy.ndarray
    characters: int
    unknown: int

    @property
    def count(self) -> int:
        """The number of tokens that are predicted."""
        return len(self.tokens) - 1


def encode(tokenizer: Tokenizer, texts: Sequence[str | LongText]) -> Encoded:
    """The tokens of texts; those of texts that lie on disk do so, too, prepared once.

    Raises:
        WriteError: They cannot be written.
    """
    characters = sum(map(len, texts)) + (len(texts) if len(texts) > 1 else 0)
    starts: list[int] = []

    def stream() -> Iterator[numpy.ndarray]:
        count = done = shown = 0
        pieces = _marked(texts)
        while batch := list(islice(pieces, _AT_ONCE)):
            found = tokenizer.encode_batch_fast(
                [text for text, _ in batch], add_special_tokens=False
            )
            tokens: list[Any] = []
            for (text, begins), each in zip(batch, found, strict=True):
                if begins:
                    starts.append(count)
                    tokens.append(_BOUNDARY)
                tokens.append(numpy.array(each.ids, numpy.int32))
                count, done = count + begins + len(each.ids), done + len(text)
            yield numpy.concatenate(tokens)
            if done - shown >= _TOLD:
                advanced("encoding text", done, characters)
                shown = done
        if len(texts) > 1:
            yield _BOUNDARY

    def make(file: pyarrow.NativeFile) -> None:
        # An array in one piece can be mapped into memory; only its end tells how long it is.
        with tempfile.TemporaryFile(dir=folder_of_data()) as raw:
            for some in stream():
                raw.write(some.tobytes())
            raw.flush()
            mapped = numpy.memmap(raw, numpy.int32, "r")
            write_columns(file, [mapped, numpy.array(starts, numpy.int64)])

    key = key_on_disk(texts)
    if key:
        tokens, places = read_columns(prepared(("stream", tokenizer.to_str(), key), make)[1])
    else:
        tokens, places = numpy.concatenate(list(stream())), numpy.array(starts, numpy.int64)
    unknown = sum(
        int((tokens[start : start + _TOLD] == UNKNOWN_ID).sum())
        for start in range(0, len(tokens), _TOLD)
    )
    return Encoded(tokens, places, characters, unknown)


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of what a text is to begin with.

    Raises:
        DataError: It has what the training texts never had.
    """
    prompt = whole_characters(prompt)
    pieces = tokenizer.encode_batch_fast(list(_pieces(prompt)), add_special_tokens=False)
    tokens = [token for piece in pieces for token in piece.ids]
    if UNKNOWN_ID in tokens:
        found = tokenizer.encode(prompt, add_special_tokens=False)
        start, end = found.offsets[found.ids.index(UNKNOWN_ID)]
        raise DataError(
            f"the prompt has {prompt[start:end].strip() or prompt[start:end]!r}, which the model "
            "has not seen, or too seldom, in its training; leave it out"
        )
    return tokens


def _marked(texts: Sequence[str | LongText]) -> Iterator[tuple[str, bool]]:
    """The pieces of texts, one or more of each, and whether a text begins with it."""
    for text in texts:
        begins = True
        for piece in _pieces(text):
            yield piece, begins
            begins = False
        if begins:
            yield "", begins


def _pieces(text: str | LongText) -> Iterator[str]:
    rest = ""
    for some in [text] if isinstance(text, str) else text:
        rest, end = rest + whole_characters(some), 0
        for match in _PIECES.finditer(rest):
            # What follows may belong to the last piece.
            if not match[0].endswith("\n") and match.start() + _LONGEST > len(rest):
                break
            yield match[0]
            end = match.end()
        rest = rest[end:]
    yield from filter(None, _PIECES.findall(rest))


class Writer:
    """Tokens to text, one at a time.

    Args:
        tokenizer: Theirs.
        kind: What they are.
    """

    def __init__(self, tokenizer: Tokenizer, kind: TokenKind) -> None:
        self._tokenizer = tokenizer
        self._stream = decoders.DecodeStream(skip_special_tokens=True)
        self._words = kind in ("word", "whitespace")
        self._line_start = True

    def text(self, token: int) -> str:
        """The text that a token adds; nothing, if it is a part of a character."""
        text = self._stream.step(self._tokenizer, token) or ""
        shown = text.removeprefix(" ") if self._words and self._line_start else text
        if text:
            self._line_start = text.endswith("\n")
        return shown
