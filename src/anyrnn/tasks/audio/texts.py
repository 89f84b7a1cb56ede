"""How transcripts are written: in which form, and with which tokens."""

import re
import unicodedata
from dataclasses import dataclass

_CHARACTER = re.compile(r"(?<=\w)([’'])(?=\w)|.", re.DOTALL)


@dataclass(frozen=True)
class Normal:
    """Transcripts in the form in which they are learned and measured.

    Attributes:
        lowercase: Whether capitals are made small.
        punctuation: Whether marks are kept; if not, only apostrophes within words are.

    Example:
        >>> Normal(lowercase=True, punctuation=False)("“Don’t —  ask HER,” he said.")
        "don't ask her he said"
    """

    lowercase: bool
    punctuation: bool

    def __call__(self, text: str) -> str:
        """The text in that form, which may be empty."""
        text = unicodedata.normalize("NFC", text)
        if self.lowercase:
            text = text.lower()
        if not self.punctuation:
            text = _CHARACTER.sub(_without_marks, text)
        return " ".join(text.split())


def _without_marks(found: re.Match[str]) -> str:
    if found[1]:
        return "'"
    return " " if unicodedata.category(found[0]).startswith("P") else found[0]
