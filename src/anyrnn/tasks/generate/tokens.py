"""The tokens of books, collections of texts and prompts."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy
import pyarrow
from tokenizers import Tokenizer

from anyrnn.errors import DataError
from anyrnn.tasks.data.columns import LongText, key_on_disk
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.prepared import (
    advanced,
    folder_of_data,
    prepared,
    read_columns,
    write_columns,
)
from anyrnn.tasks.data.vocabulary import token_numbers
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, TOLD, UNKNOWN_ID, pieces_of

_AT_ONCE = 1000
_BOUNDARY = numpy.array([BOUNDARY_ID], numpy.int32)


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
            found = token_numbers(tokenizer, [text for text, _ in batch])
            tokens: list[Any] = []
            for (text, begins), each in zip(batch, found, strict=True):
                if begins:
                    starts.append(count)
                    tokens.append(_BOUNDARY)
                tokens.append(numpy.array(each, numpy.int32))
                count, done = count + begins + len(each), done + len(text)
            yield numpy.concatenate(tokens)
            if done - shown >= TOLD:
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
        int((tokens[start : start + TOLD] == UNKNOWN_ID).sum())
        for start in range(0, len(tokens), TOLD)
    )
    return Encoded(tokens, places, characters, unknown)


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of what a text is to begin with.

    Raises:
        DataError: It has what the training texts never had.
    """
    prompt = whole_characters(prompt)
    pieces = token_numbers(tokenizer, list(pieces_of(prompt)))
    tokens = [token for piece in pieces for token in piece]
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
        for piece in pieces_of(text):
            yield piece, begins
            begins = False
        if begins:
            yield "", begins
