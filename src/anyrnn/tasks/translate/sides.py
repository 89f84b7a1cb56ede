"""The two sides of a translation: sentences to tokens and back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from anyrnn.errors import OptionError, RunError, option_name
from anyrnn.tasks.columns import Sequences
from anyrnn.tasks.common_options import WrittenKind
from anyrnn.tasks.encoding import whole_characters
from anyrnn.tasks.prepared import advanced, number_sequences
from anyrnn.tasks.translate.options import SideKind, TokenOptions
from anyrnn.tasks.vocabulary import UNSPACED, choose_tokens
from anyrnn.tasks.written_tokens import BOUNDARY_ID, UNKNOWN_ID, make_tokenizer

_AT_ONCE = 10_000  # sentences


@dataclass(frozen=True)
class Side:
    """One side: what its tokens are, and which.

    Attributes:
        tokenizer: Sentences to token numbers.
        kind: What tokens are.
    """

    tokenizer: Tokenizer
    kind: WrittenKind

    @property
    def size(self) -> int:
        """The number of different tokens."""
        return self.tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str], longest: int) -> Sequences:
        """The tokens of each sentence, and the end; those of sentences that lie on disk do so, too.

        Args:
            sentences: The sentences.
            longest: How many tokens are kept of one.

        Raises:
            RunError: The tokenizer of a run cannot do what its file asks for.
            WriteError: The numbers cannot be written.
        """

        def chunks() -> Iterator[Any]:
            for start in range(0, len(sentences), _AT_ONCE):
                some = sentences[start : start + _AT_ONCE]
                yield [[*ids[:longest], BOUNDARY_ID] for ids in self._numbers(some)]
                advanced("encoding sentences", start + len(some), len(sentences))

        parts = ("sentences", self.tokenizer.to_str(), str(longest))
        return number_sequences(parts, sentences, chunks)

    def _numbers(self, sentences: Sequence[str]) -> list[list[int]]:
        try:
            found = self.tokenizer.encode_batch_fast(
                [*map(whole_characters, sentences)], add_special_tokens=False
            )
        # The tokenizers library raises a bare Exception for whatever is wrong.
        except Exception as error:
            raise RunError(f"the tokenizer of the run is damaged: {error}") from None
        return [each.ids for each in found]

    def pieces(self, sentence: str) -> list[str]:
        """The parts of a sentence that its tokens stand for."""
        sentence = whole_characters(sentence)
        found = self.tokenizer.encode(sentence, add_special_tokens=False)
        return [sentence[start:end].strip() for start, end in found.offsets]

    def text(self, tokens: Sequence[int], copies: Mapping[int, str] | None = None) -> str:
        """The sentence that tokens are.

        Args:
            tokens: Their numbers, without the end.
            copies: What stands in the place of unknown ones, by their places.
        """
        if self.kind == "bpe":
            return self.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()
        words = self.kind != "character"
        written = []
        for place, token in enumerate(tokens):
            text = self.tokenizer.id_to_token(token) or ""
            if token == UNKNOWN_ID:
                text = (copies or {}).get(place, "�")
                text = f" {text}" if words and not re.match(UNSPACED, text) else text
            written.append(text)
        return "".join(written).strip()

    def shown(self, token: int) -> str:
        """A token as reports show it."""
        return self.tokenizer.decode([token], skip_special_tokens=False).strip()


def make_sides(
    sources: Sequence[str], targets: Sequence[str], options: TokenOptions
) -> tuple[Side, Side]:
    """Both sides, with vocabularies of the training sentences.

    Raises:
        OptionError: Both are to have one vocabulary, but different kinds of tokens.
        SizeError: A vocabulary is too small for its kind of tokens.
        DataError: No token occurs often enough.
    """
    kinds = _kind(options.source_tokens, sources), _kind(options.target_tokens, targets)
    if not options.shared_vocabulary:
        one, other = (
            Side(_tokenizer(texts, kind, options), kind)
            for texts, kind in zip((sources, targets), kinds, strict=True)
        )
        return one, other
    if kinds[0] != kinds[1]:
        raise OptionError(
            f"{option_name('shared_vocabulary', True)} needs tokens of one kind, but those of the "
            f"source are of the kind {kinds[0]}, those of the target {kinds[1]}; choose them with "
            f"{option_name('source_tokens')} and {option_name('target_tokens')}"
        )
    shared = Side(_tokenizer([*sources, *targets], kinds[0], options), kinds[0])
    return shared, shared


def _kind(chosen: SideKind, texts: Sequence[str]) -> WrittenKind:
    if chosen != "auto":
        return chosen
    return "character" if choose_tokens(texts)[0] == "character" else "bpe"


@dataclass(frozen=True)
class _Choice:
    """How the texts of a side become tokens."""

    tokens: WrittenKind
    lowercase: bool
    vocabulary_size: int | None
    minimum_frequency: int


def _tokenizer(texts: Sequence[str], kind: WrittenKind, options: TokenOptions) -> Tokenizer:
    chosen = _Choice(kind, options.lowercase, options.vocabulary_size, options.minimum_frequency)
    # A word is the same one at the beginning of a sentence.
    return make_tokenizer(texts, chosen, space_before=True)
