"""The vocabulary of sentences that are written: sentences to tokens and back."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

import torch
from tokenizers import Tokenizer

from anyrnn.errors import RunError
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.prepared import advanced, number_sequences
from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.data.vocabulary import (
    TOKENIZER,
    UNSPACED,
    choose_tokens,
    load_tokenizer,
    token_numbers,
)
from anyrnn.tasks.decoding.search import Hypothesis
from anyrnn.tasks.decoding.written_tokens import (
    BOUNDARY_ID,
    END_MARK,
    SPECIAL,
    UNKNOWN_ID,
    VocabularyChoice,
    make_tokenizer,
)
from anyrnn.tasks.options.common_options import ChosenKind, WrittenKind
from anyrnn.tasks.run_files import CONFIG, entry

_AT_ONCE = 10_000  # sentences


@dataclass(frozen=True)
class Candidate:
    """A text that a search found.

    Attributes:
        text: The text.
        tokens: Its tokens.
        score: By what it was chosen: the logarithm of its probability with the penalties.
        ended: Whether it ended by itself; if not, it was cut at its largest length.
        weights: Those of attention at each token and at the end, (steps, source).
    """

    text: str
    tokens: list[int] = field(repr=False)
    score: float
    ended: bool
    weights: torch.Tensor | None = field(repr=False, default=None)


class BestFirst:
    """What was written for an input.

    Attributes:
        candidates: The texts, the best one first.
    """

    candidates: list[Candidate]

    @property
    def best(self) -> Candidate:
        """The best candidate."""
        return self.candidates[0]

    @property
    def text(self) -> str:
        """The text of the best candidate."""
        return self.best.text

    def answer(self, name: str) -> dict[str, object]:
        """The best candidate and the others for the command line, where a text has this name."""
        best, *others = self.candidates
        return {
            name: best.text,
            "score": best.score,
            "ended": best.ended,
            "alternatives": [{name: other.text, "score": other.score} for other in others],
        }


@dataclass(frozen=True)
class WrittenVocabulary:
    """What the tokens of sentences are, and which.

    Attributes:
        tokenizer: Sentences to token numbers.
        kind: What tokens are.
    """

    tokenizer: Tokenizer
    kind: WrittenKind

    @classmethod
    def made(cls, texts: Sequence[str], kind: WrittenKind, options: VocabularyChoice) -> Self:
        """That of the training sentences.

        Args:
            texts: The sentences.
            kind: What tokens are.
            options: Which of them are known.

        Raises:
            SizeError: The vocabulary is too small for its kind of tokens.
            DataError: No token occurs often enough.
        """
        # A word is the same one at the beginning of a sentence.
        return cls(make_tokenizer(texts, kind, options, space_before=True), kind)

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], run: Path, name: str = "tokens", file: str = TOKENIZER
    ) -> Self:
        """That of a run.

        Args:
            state: The state of the task.
            run: The folder of the run.
            name: What the state calls the kind of tokens.
            file: The name of the tokenizer's file.

        Raises:
            RunError: The run is damaged.
        """
        kind: Any = entry(state, name, str, run / CONFIG)
        if kind not in get_args(WrittenKind):
            raise RunError(f"the run is damaged: {run / CONFIG} has the kind of tokens {kind!r}")
        return cls(load_tokenizer(run / file, SPECIAL), kind)

    def files(self, file: str = TOKENIZER) -> dict[str, str]:
        """The name and the text of the file that `restored` needs."""
        return {file: self.tokenizer.to_str(pretty=True)}

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
                numbers = token_numbers(self.tokenizer, some)
                yield [[*ids[:longest], BOUNDARY_ID] for ids in numbers]
                advanced("encoding sentences", start + len(some), len(sentences))

        parts = ("sentences", self.tokenizer.to_str(), str(longest))
        return number_sequences(parts, sentences, chunks)

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

    def candidate(self, found: Hypothesis, copies: Mapping[int, str] | None = None) -> Candidate:
        """What a search found, as text; see `text`."""
        text = self.text(found.tokens, copies)
        return Candidate(text, found.tokens, found.score, found.ended, found.weights)

    def references(self, tokens: torch.Tensor, lengths: torch.Tensor) -> list[str]:
        """The sentences of a batch that are to be written.

        Args:
            tokens: Padded token numbers, (batch, time).
            lengths: The number of tokens of each, with the end, (batch).
        """
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        return [self.text(row[: length - 1]) for row, length in rows]

    def shown_at(self, found: Candidate, steps: int) -> list[str]:
        """What reports show at each step of a text: its tokens, then the mark of the end."""
        shown = [self.shown(token) for token in found.tokens]
        return shown + [END_MARK] * (steps - len(shown))

    def shown(self, token: int) -> str:
        """A token as reports show it."""
        return self.tokenizer.decode([token], skip_special_tokens=False).strip()


def kind_of_tokens(chosen: ChosenKind, texts: Sequence[str], spaced: WrittenKind) -> WrittenKind:
    """What tokens are; for `auto` characters of a script without spaces, and of texts as short as
    names.

    Args:
        chosen: What the user chose.
        texts: The training sentences.
        spaced: What `auto` takes for others.
    """
    if chosen != "auto":
        return chosen
    return "character" if choose_tokens(texts)[0] == "character" else spaced
