"""What a study of cells says and calls things, in English and in Chinese: `words.yaml`."""

from anyrnn.studies.comparison.words import named
from anyrnn.tasks.words import Language, Words

WORDS = Words(__file__)
said, heading = WORDS.said, WORDS.heading

LANGUAGES: tuple[Language, ...] = ("en", "zh")
SUFFIXES: dict[Language, str] = {"en": "", "zh": ".zh-CN"}
"""What the names of pages and pictures in a language end in, before the dot."""

ARTICLES_CELLS = ("rnn", "lstm", "gru")
"""The cells of the articles."""


def called(name: str, language: Language) -> str:
    """What something is called; names that both languages have stay.

    Example:
        >>> called("epoch", "en"), called("epoch", "zh"), called("lstm", "zh")
        ('epoch', '轮', 'lstm')
    """
    own = WORDS.named(name, language)
    return named(name, language) if own == name else own


def title_of(problem: str, language: Language) -> str:
    """What a problem is called."""
    return WORDS.texts["titles"][problem][language]


def figure_of(problem: str, title: str, language: Language) -> str:
    """What the figure of a problem is called, which may be another name than the task's."""
    own = WORDS.texts["figures"].get(problem)
    return own[language] if own else called(title, language)


def steps_of(steps: int, language: Language) -> str:
    """A number of steps.

    Example:
        >>> steps_of(30, "en"), steps_of(30, "zh")
        ('30 steps', '30 步')
    """
    return said("steps", language, steps=steps)
