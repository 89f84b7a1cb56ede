"""Texts to character numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow

from anyrnn.tasks.data.sequences import Sequences
from anyrnn.tasks.decoding.written_tokens import END_MARK

_END, _FIRST = 1, 2  # after padding


@dataclass(frozen=True)
class Characters:
    """The characters that a voice knows.

    Attributes:
        known: All of them, in order.

    Example:
        >>> characters = Characters.of(["a cab"])
        >>> characters.encode(["bad"])[0], characters.read("bad"), characters.unknown("bad")
        (array([4, 3, 1]), ['b', 'a', '■'], ['d'])
    """

    known: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Characters":
        """Those of some texts."""
        return cls("".join(sorted({character for text in texts for character in text})))

    @property
    def size(self) -> int:
        """How many different numbers there are."""
        return _FIRST + len(self.known)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.known, start=_FIRST)}

    def encode(self, texts: Iterable[str]) -> Sequences:
        """The numbers of the characters of each text that are known, and the end."""
        numbers = self._numbers
        encoded = [[*(numbers[c] for c in text if c in numbers), _END] for text in texts]
        return Sequences([pyarrow.array(encoded, pyarrow.large_list(pyarrow.int32()))])

    def read(self, text: str) -> list[str]:
        """The characters of a text that are known, and a mark for the end."""
        return [*(character for character in text if character in self._numbers), END_MARK]

    def unknown(self, text: str) -> list[str]:
        """The characters of a text that are not known."""
        return sorted({*text} - self._numbers.keys())
