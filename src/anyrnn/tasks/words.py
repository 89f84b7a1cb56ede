"""The words of reports, in English and in Chinese: `words.yaml` beside their code."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

Language = Literal["en", "zh"]


class Words:
    """What a report says: `sentences` and `headings` by key and language, `names` in Chinese.

    Args:
        code: The file of the code that says it; `words.yaml` lies beside it.
    """

    def __init__(self, code: str) -> None:
        self.path = Path(code).with_name("words.yaml")

    def said(self, key: str, language: Language, **places: Any) -> str:
        """A sentence; places in braces are filled in."""
        return self.texts["sentences"][key][language].format(**places)

    def heading(self, key: str, language: Language) -> str:
        """A heading or label."""
        return self.texts["headings"][key][language]

    def headings(self, language: Language) -> dict[str, str]:
        """All headings and labels, by key."""
        return {key: found[language] for key, found in self.texts["headings"].items()}

    def named(self, name: str, language: Language) -> str:
        """What something is called; a name that both languages have stays."""
        return self.texts["names"].get(name, name) if language == "zh" else name

    @cached_property
    def texts(self) -> dict[str, Any]:
        """All of the file."""
        return yaml.safe_load(self.path.read_text(encoding="utf-8"))


def listed(names: Iterable[str], language: Language) -> str:
    """Names one after the other.

    Example:
        >>> listed(["lstm", "gru"], "en"), listed(["lstm", "gru"], "zh")
        ('lstm, gru', 'lstm、gru')
    """
    return ("、" if language == "zh" else ", ").join(names)
