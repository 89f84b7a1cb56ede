"""Tokens of texts that are written, not only read: from a text to tokens and back to the text."""

import re
from collections.abc import Iterator, Sequence
from typing import Protocol

from tokenizers import Regex, Tokenizer, decoders, normalizers

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.columns import LongText
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.prepared import Watch, watching
from anyrnn.tasks.data.vocabulary import CHARACTER, SPACED_WORD, UNKNOWN, UNSPACED, tokenizer_of
from anyrnn.tasks.options.common_options import WRITTEN_SIZES, WrittenKind

BOUNDARY = "[END]"
BOUNDARY_ID, UNKNOWN_ID = 0, 1
SPECIAL = (BOUNDARY, UNKNOWN)
END_MARK, UNKNOWN_MARK = "■", "�"
"""How reports show them."""

_PATTERNS: dict[WrittenKind, str] = {
    "word": rf"\n|{UNSPACED}| ?(?:{SPACED_WORD})",
    "whitespace": r"\n| \S+",
}
TOLD = 1 << 20
"""After how many characters or tokens it is told how far a preparation is."""

_LONGEST = 10_000  # characters of a piece
# Lines with their ends; a very long one is cut at a space, if it has any.
_PIECES = re.compile(r"[^\n]{0,9999}(?:\s|\Z)|[^\n]{10000}")


class VocabularyChoice(Protocol):
    """Which tokens a vocabulary has."""

    @property
    def lowercase(self) -> bool:
        """Whether capitals are made small."""
        ...

    @property
    def vocabulary_size(self) -> int | None:
        """The largest number of different tokens."""
        ...

    @property
    def minimum_frequency(self) -> int:
        """How often a character or word has to occur to be known."""
        ...


def make_tokenizer(
    texts: Sequence[str | LongText],
    kind: WrittenKind,
    options: VocabularyChoice,
    *,
    space_before: bool = False,
) -> Tokenizer:
    """A tokenizer whose vocabulary comes from the training texts.

    Args:
        texts: The texts.
        kind: What tokens are.
        options: Which of them are known.
        space_before: Whether a first word counts as one after a space; of byte-pair encoding only.

    Raises:
        SizeError: The vocabulary is too small for this kind of tokens.
        DataError: No token occurs often enough.
    """
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
        vocabulary_size=options.vocabulary_size or WRITTEN_SIZES[kind],
        minimum_frequency=0 if kind == "bpe" else options.minimum_frequency,
        space_before=space_before,
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
        for piece in pieces_of(text):
            yield piece
            done += len(piece)
            if done - shown >= TOLD or done == total:
                told("counting tokens", done, total)
                shown = done


def pieces_of(text: str | LongText) -> Iterator[str]:
    """The pieces of a text: lines, or parts of very long ones."""
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

    def __init__(self, tokenizer: Tokenizer, kind: WrittenKind) -> None:
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
