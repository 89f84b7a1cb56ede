"""The sentences and headings of a comparison, in English and in Chinese: `words.yaml`."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Language = Literal["en", "zh"]


def said(key: str, language: Language, **places: Any) -> str:
    """A sentence of a language.

    Example:
        >>> said("points", "zh", value=3)
        '3 个百分点'
    """
    return texts()["sentences"][key][language].format(**places)


def headings(language: Language) -> dict[str, str]:
    """The headings and labels of the report, by key."""
    return {key: found[language] for key, found in texts()["headings"].items()}


def named(name: str, language: Language) -> str:
    """What a figure or a simple method is called; names of measures such as MAE stay.

    Example:
        >>> named("accuracy", "zh"), named("accuracy", "en"), named("MAE", "zh")
        ('准确率', 'accuracy', 'MAE')
    """
    return texts()["names"].get(name, name) if language == "zh" else name


def listed(names: Iterable[str], language: Language) -> str:
    """Names one after the other."""
    return ("、" if language == "zh" else ", ").join(names)


@cache
def texts() -> dict[str, Any]:
    """All of the file: `sentences` and `headings` by key and language, `names` in Chinese."""
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
