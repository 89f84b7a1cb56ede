"""The words, characters and tags of the training sentences, and numbers for them."""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy

from anyrnn.errors import RunError
from anyrnn.tasks.data.vocabulary import UNKNOWN_ID
from anyrnn.tasks.run_files import entry, read_json, strings

# Of a longer word the beginning and the end are read.
_LONGEST_WORD = 32


@dataclass(frozen=True)
class Vocabulary:
    """What a tagger knows of words before it has learned anything.

    Attributes:
        lowercase: Whether words that differ in capitals only are one word; characters always
            differ.
        words: How often each word occurs that has a number of its own, from 2 on in this order; 0
            is padding, 1 any other word.
        characters: The characters with a number of their own, likewise.
        usual_tags: The most frequent tag of every word of the training sentences.
        usual_tag: The most frequent tag of all.
    """

    lowercase: bool
    words: dict[str, int]
    characters: list[str]
    usual_tags: dict[str, str]
    usual_tag: str

    @classmethod
    def of(
        cls,
        tokens: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]],
        *,
        lowercase: bool,
        minimum_frequency: int,
    ) -> Self:
        """The vocabulary of tagged sentences.

        Args:
            tokens: Their tokens.
            tags: Their tags.
            lowercase: See the attribute.
            minimum_frequency: How often a word has to occur to have a number of its own.
        """
        usual: defaultdict[str, Counter[str]] = defaultdict(Counter)
        every: Counter[str] = Counter()
        for sentence, own in zip(tokens, tags, strict=True):
            every.update(own)
            for token, tag in zip(sentence, own, strict=True):
                usual[token][tag] += 1
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for form, counts in usual.items():
            count = counts.total()
            words[_normal(form, lowercase)] += count
            for character in _normal(form, False):
                characters[character] += count
        return cls(
            lowercase,
            {word: count for word, count in words.most_common() if count >= minimum_frequency},
            [character for character, _ in characters.most_common()],
            {token: counts.most_common(1)[0][0] for token, counts in usual.items()},
            every.most_common(1)[0][0],
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """The vocabulary of a run.

        Raises:
            RunError: The file is missing or damaged.
        """
        values = read_json(path)
        usual = entry(values, "usual_tags", dict, path)
        words = entry(values, "words", dict, path)
        if not all(type(count) is int and count > 0 for count in words.values()):
            raise RunError(f"the run is damaged: {path} needs counts under 'words'")
        if not all(isinstance(tag, str) for tag in usual.values()):
            raise RunError(f"the run is damaged: {path} needs tags under 'usual_tags'")
        return cls(
            entry(values, "lowercase", bool, path),
            words,
            strings(values, "characters", path),
            usual,
            entry(values, "usual_tag", str, path),
        )

    def to_json(self) -> str:
        """What `load` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def knows(self, token: str) -> bool:
        """Whether the training sentences have a token."""
        return token in self.usual_tags

    def guess(self, tokens: Iterable[str]) -> list[str]:
        """The most frequent tag of each token, and that of all for an unknown one."""
        return [self.usual_tags.get(token, self.usual_tag) for token in tokens]

    def word_numbers(self, tokens: Iterable[str]) -> list[int]:
        """The number of each word."""
        numbers, lowercase = self._word_numbers, self.lowercase
        return [numbers.get(_normal(token, lowercase), UNKNOWN_ID) for token in tokens]

    def spelling(self, forms: Sequence[str]) -> numpy.ndarray:
        """The numbers of the characters of each form, padded, (forms, characters)."""
        numbers = self._character_numbers
        words = [_shortened(_normal(form, False)) for form in forms]
        table = numpy.zeros((len(words), max(map(len, words), default=1)), numpy.int64)
        for row, word in enumerate(words):
            table[row, : len(word)] = [numbers.get(one, UNKNOWN_ID) for one in word]
        return table

    @cached_property
    def _word_numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, start=UNKNOWN_ID + 1)}

    @cached_property
    def _character_numbers(self) -> Mapping[str, int]:
        return {one: number for number, one in enumerate(self.characters, start=UNKNOWN_ID + 1)}


def _normal(token: str, lowercase: bool) -> str:
    token = unicodedata.normalize("NFC", token)
    return token.lower() if lowercase else token


def _shortened(word: str) -> str:
    half = _LONGEST_WORD // 2
    return word if len(word) <= _LONGEST_WORD else word[:half] + word[-half:]
