"""How well a language model predicts a text, and what it writes itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from anyrnn.tasks.task import Scores


@dataclass(frozen=True)
class TokenScore:
    """A kind of token: how often it occurs, and the bits that it has on average."""

    token: str
    count: int
    bits: float


@dataclass(frozen=True)
class Sample:
    """A text that the network wrote at a temperature."""

    temperature: float
    text: str


@dataclass(frozen=True)
class GenerationScores(Scores):
    """The figures of a language model on some texts: perplexity, bits per character, loss.

    Attributes:
        unknown: The number of tokens that the vocabulary lacks; each counts as "some other token".
        passage: Pieces of the beginning of the texts, and the bits that each has.
        surprising: The tokens that have most of the bits.
        prompt: After what the samples were written.
        samples: What the network wrote.
    """

    unknown: int
    passage: Sequence[tuple[str, float]]
    surprising: Sequence[TokenScore]
    prompt: str
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Likelihood:
    """How likely a text is for a language model.

    Attributes:
        text: The text.
        tokens: The number of its tokens.
        loss: The mean loss of a token, in nats.
        perplexity: Among how many tokens the model chooses, so to speak.
        bits_per_character: The bits that a character has.
    """

    text: str
    tokens: int
    loss: float
    perplexity: float
    bits_per_character: float
