"""Texts to tokens and back."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from anyrnn.errors import DataError, SizeError, option_name
from anyrnn.tasks.generate.options import TokenKind, TokenOptions
from anyrnn.tasks.vocabulary import SPACED_WORD, UNKNOWN, UNSPACED

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
    "character": r"[\s\S]",
    "word": rf"\n|{UNSPACED}| ?(?:{SPACED_WORD})",
    "whitespace": r"\n| \S+",
}
_BYTES = 256
_AT_ONCE = 1000
# Lines with their ends; a very long one is cut at a space, if it has any.
_PIECES = re.compile(r"[^\n]{0,9999}(?:\s|\Z)|[^\n]{10000}")


def make_tokenizer(texts: Sequence[str], options: TokenOptions) -> Tokenizer:
    """A tokenizer whose vocabulary comes from the training texts.

    Raises:
        SizeError: The vocabulary is too small for this kind of tokens.
        DataError: No token occurs often enough.
    """
    kind = options.tokens
    size = options.vocabulary_size or _SIZES[kind]
    smallest = len(SPECIAL) + (_BYTES if kind == "bpe" else 1)
    if size < smallest:
        raise SizeError(
            f"a vocabulary of {kind} tokens needs at least {smallest} entries, "
            f"but {option_name('vocabulary_size')} is {size}"
        )
    shared = {"special_tokens": list(SPECIAL), "show_progress": False, "vocab_size": size}
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if options.lowercase:
        steps.append(normalizers.Lowercase())
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **shared)
    else:
        if kind != "character":
            # A word has a space before it wherever it stands, so that it is always the same one.
            steps.append(normalizers.Replace(Regex(r"^[^\S\n]*|[^\S\n]+"), " "))
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(
            Regex(_PATTERNS[kind]), "removed", invert=True
        )
        tokenizer.decoder = decoders.Fuse()
        frequency = options.minimum_frequency
        trainer = trainers.WordLevelTrainer(min_frequency=frequency, **shared)
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.train_from_iterator((piece for text in texts for piece in _pieces(text)), trainer)
    if tokenizer.get_vocab_size() == len(SPECIAL):
        raise DataError(
            f"no {kind} token occurs {options.minimum_frequency} times in the training texts; give "
            f"more text, or {option_name('minimum_frequency', 1)}"
        )
    return tokenizer


@dataclass(frozen=True)
class Encoded:
    """Texts as one sequence of tokens, each text after a boundary.

    Attributes:
        tokens: The tokens; after several texts another boundary ends them.
        starts: Where the boundary before each text stands.
        characters: The number of characters; where there are several texts, the end of each counts
            as one.
    """

    tokens: numpy.ndarray
    starts: numpy.ndarray
    characters: int

    @property
    def count(self) -> int:
        """The number of tokens that are predicted."""
        return len(self.tokens) - 1

    @property
    def unknown(self) -> int:
        """The number of tokens that the vocabulary lacks."""
        return int((self.tokens == UNKNOWN_ID).sum())


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    """The tokens of texts."""
    boundary = numpy.array([BOUNDARY_ID], numpy.int32)
    parts = [numpy.concatenate([boundary, *_encoded(tokenizer, text)]) for text in texts]
    starts = numpy.cumsum([0, *map(len, parts)])[:-1]
    several = len(texts) > 1
    tokens = numpy.concatenate([*parts, boundary] if several else parts)
    return Encoded(tokens, starts, sum(map(len, texts)) + (len(texts) if several else 0))


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of what a text is to begin with.

    Raises:
        DataError: It has what the training texts never had.
    """
    tokens = [token for array in _encoded(tokenizer, prompt) for token in array.tolist()]
    if UNKNOWN_ID in tokens:
        found = tokenizer.encode(prompt, add_special_tokens=False)
        start, end = found.offsets[found.ids.index(UNKNOWN_ID)]
        raise DataError(
            f"the prompt has {prompt[start:end].strip() or prompt[start:end]!r}, which the model "
            "has not seen, or too seldom, in its training; leave it out"
        )
    return tokens


def _encoded(tokenizer: Tokenizer, text: str) -> Iterator[numpy.ndarray]:
    pieces = list(_pieces(text))
    for start in range(0, len(pieces), _AT_ONCE):
        batch = pieces[start : start + _AT_ONCE]
        for found in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield numpy.array(found.ids, numpy.int32)


def _pieces(text: str) -> Iterable[str]:
    return filter(None, _PIECES.findall(text))


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
