"""What a study of cells says and calls things, in English and in Chinese: `words.yaml`."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from anyrnn.studies.comparison.words import Language, named

LANGUAGES: tuple[Language, ...] = ("en", "zh")
SUFFIXES: dict[Language, str] = {"en": "", "zh": ".zh-CN"}
"""What the names of pages and pictures in a language end in, before the dot."""

ARTICLES_CELLS = ("rnn", "lstm", "gru")
"""The cells of the articles."""


def said(key: str, language: Language, **places: Any) -> str:
    """A sentence of a language.

    Example:
        >>> said("more than", "en", steps=99)
        'more than 99'
    """
    return _texts()["sentences"][key][language].format(**places)


def heading(key: str, language: Language) -> str:
    """A heading of a table."""
    return _texts()["headings"][key][language]


def called(name: str, language: Language) -> str:
    """What something is called; names that both languages have stay.

    Example:
        >>> called("epoch", "en"), called("epoch", "zh"), called("lstm", "zh")
        ('epoch', '轮', 'lstm')
    """
    return _texts()["names"].get(name, named(name, language)) if language == "zh" else name


def title_of(problem: str, language: Language) -> str:
    """What a problem is called."""
    return _texts()["titles"][problem][language]


def figure_of(problem: str, title: str, language: Language) -> str:
    """What the figure of a problem is called, which may be another name than the task's."""
    own = _texts()["figures"].get(problem)
    return own[language] if own else called(title, language)


def steps_of(steps: int, language: Language) -> str:
    """A number of steps.

    Example:
        >>> steps_of(30, "en"), steps_of(30, "zh")
        ('30 steps', '30 步')
    """
    return said("steps", language, steps=steps)


@cache
def _texts() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
