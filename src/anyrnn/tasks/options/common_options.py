"""Options on networks, tokens and searches that several tasks have."""

from __future__ import annotations

from typing import Any, Literal

from anyrnn.tasks.options.declaration import OptionGroup, option
from anyrnn.tasks.options.option_checks import LARGEST_SEED, DataNeed, Need

TokenKind = Literal["word", "character", "bpe"]
WrittenKind = Literal["character", "word", "whitespace", "bpe"]
ChosenKind = Literal["auto", "character", "word", "whitespace", "bpe"]
Pooling = Literal["last", "mean", "max"]

WRITTEN_SIZES: dict[WrittenKind, int] = {
    "character": 30_000,
    "word": 30_000,
    "whitespace": 30_000,
    "bpe": 4_000,
}
"""The largest number of tokens of each kind, if nothing else is asked for."""

# What every network has.
LAYERS: Any = option(1, "The number of recurrent layers.", ge=1, le=1000)


def cells(default: str = "lstm") -> Any:
    """The option of a task's cells."""
    return option(
        (default,),
        "The recurrent cell; several are compared. See [bold]anyrnn cells[/bold].",
        ge=1,
        metavar="NAME",
        flags=("--cell",),
        distinct=True,
    )


def embedding_size(default: int, of: str = "token", needs: tuple[Need, ...] = ()) -> Any:
    """The option of the size of vectors that stand for tokens or words."""
    return option(default, f"The size of a {of}'s vector.", ge=1, needs=needs)


def hidden_size(default: int) -> Any:
    """The option of the size of a network's layers."""
    return option(default, "The size of a recurrent layer.", ge=1)


def bidirectional(default: bool) -> Any:
    """The option of a network that may also read backwards."""
    return option(default, "Also read backwards.")


def dropout(default: float) -> Any:
    """The option of a network's dropout."""
    return option(default, "The share of values dropped in training.", ge=0, lt=1)


def minimum_frequency(
    default: int, what: str, where: str = "texts", needs: tuple[Need, ...] = ()
) -> Any:
    """The option of the tokens that a vocabulary leaves out."""
    return option(
        default,
        f"How often a {what} has to occur in the training {where} to be known.",
        ge=1,
        flags=("--min-frequency", "--minimum-frequency"),
        needs=needs,
    )


def written_vocabulary_size(whose: str = "") -> Any:
    """The option of the number of tokens of texts that are written."""
    sizes = f"{WRITTEN_SIZES['bpe']} with bpe, {WRITTEN_SIZES['word']} with others"
    return option(None, f"The largest number of different tokens{whose}.", ge=1, shown=sizes)


def written_lowercase(default: bool) -> Any:
    """The option of texts that are written in small letters."""
    help = "Make capitals small; then figures do not see them, either."
    return option(default, help)


KIND_OF_TOKENS = "kind of tokens"
"""What tokens turn out to be, where the texts decide."""

NOT_PIECES = DataNeed(KIND_OF_TOKENS, but="bpe tokens")


def most_tokens(default: int, help: str) -> Any:
    """The option of the number of tokens of a text."""
    return option(default, help, ge=1, flags=("--max-length", "--maximum-length"))


LARGEST_BEAM = 1000
"""Larger beams cost more memory and time, and find texts that are likelier, but hardly better."""


def beam(default: int, help: str, needs: tuple[Need, ...] = ()) -> Any:
    """The option of how many texts a search keeps at each step."""
    return option(default, help, ge=1, le=LARGEST_BEAM, needs=needs)


INPUT_FEEDING: Any = option(
    False,
    "Each step of the decoder also reads what the step before has attended to; then it is "
    "computed step by step.",
)


def scheduled_sampling(needs: tuple[Need, ...] = ()) -> Any:
    """The option of how often a decoder reads its own tokens in training."""
    help = "The share of tokens that the decoder reads as it would have written them, in training."
    return option(0.0, help, ge=0, le=1, needs=needs)


def temperature(needs: tuple[Need, ...]) -> Any:
    """The option of how much likelier likely tokens are drawn."""
    help = "Below 1 likely tokens become likelier, above 1 less likely."
    return option(1.0, help, gt=0, needs=needs)


def top_k(needs: tuple[Need, ...]) -> Any:
    """The option of the number of tokens among which one is drawn."""
    help = "Choose among so many of the likeliest tokens; 0 for all."
    return option(0, help, ge=0, needs=needs)


def top_p(needs: tuple[Need, ...]) -> Any:
    """The option of the probability of the tokens among which one is drawn."""
    help = "Choose among the likeliest tokens that have this probability together."
    return option(1.0, help, gt=0, le=1, needs=needs)


def seed_of_draws(needs: tuple[Need, ...]) -> Any:
    """The option that makes draws repeat."""
    shown = "another one each time"
    return option(None, "Decides what is drawn.", ge=0, le=LARGEST_SEED, shown=shown, needs=needs)


class VocabularyOptions(OptionGroup, panel="Texts and tokens"):
    """How texts become tokens."""

    tokens: Literal["auto", "word", "character", "bpe"] = option(
        "auto", "What the model reads; auto looks at the texts."
    )
    lowercase: bool = option(True, "Make capitals small.")
    vocabulary_size: int = option(
        30_000,
        "The largest number of different tokens, with the two for padding and unknown.",
        ge=1,
    )
    minimum_frequency: int = minimum_frequency(2, "token")
    maximum_length: int = most_tokens(400, "The number of tokens kept of a text.")
    keep: Literal["start", "end"] = option("end", "Which end of a longer text is kept.")
