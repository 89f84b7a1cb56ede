"""Writing texts: the next token is drawn from what a network thinks of it, again and again."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from anyrnn.tasks.decoding.search import drawn_from
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, END_MARK, UNKNOWN_ID, Writer
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.options import SamplingOptions
from anyrnn.tasks.generate.tokens import encode_prompt
from anyrnn.tasks.options.common_options import WrittenKind

# Prompts are read in pieces, so that memory does not grow with them.
_STEPS = 1000


def chances(log_probabilities: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """From what the next token is drawn.

    Args:
        log_probabilities: What the network thinks, (..., vocabulary).
        options: How it is drawn: temperature first, then the likeliest `top_k`, then `top_p`.

    Returns:
        Probabilities, (..., vocabulary).

    Example:
        >>> logits = torch.tensor([0.5, 0.3, 0.2]).log()
        >>> chances(logits, SamplingOptions(top_p=0.6))
        tensor([0.6250, 0.3750, 0.0000])
    """
    if options.greedy:
        best = log_probabilities.argmax(-1, keepdim=True)
        return torch.zeros_like(log_probabilities).scatter_(-1, best, 1.0)
    return drawn_from(log_probabilities, options)


class Writing:
    """A text in the making.

    Args:
        network: The network, in evaluation mode.
        tokenizer: Its tokens.
        kind: What they are.
        ends: Whether a text may end; a book does not.
        options: What it begins with, and how it goes on.
        generator: Draws.

    Attributes:
        text: The text so far.

    Raises:
        DataError: The prompt has what the training never had.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        tokenizer: Tokenizer,
        kind: WrittenKind,
        ends: bool,
        options: SamplingOptions,
        generator: torch.Generator,
    ) -> None:
        self.text = ""
        self._network, self._tokenizer, self._kind, self._ends = network, tokenizer, kind, ends
        self._options, self._generator = options, generator
        self._writer = Writer(tokenizer, kind)
        self._state: Any = None
        self._read([BOUNDARY_ID])
        self.add(options.prompt)

    def add(self, text: str) -> None:
        """Go on with a text that somebody else has written.

        Raises:
            DataError: It has what the training never had.
        """
        # Words and pieces begin with the space before them.
        tokens = encode_prompt(
            self._tokenizer, text if self._kind == "character" else text.rstrip(" ")
        )
        self.text += "".join(map(self._writer.text, tokens))
        self._read(tokens)

    def likeliest(self, count: int) -> list[tuple[int, str, float]]:
        """The likeliest next tokens: number, text and probability."""
        found = self._chances()
        values, tokens = found.topk(min(count, int((found > 0).sum())))
        return [
            (token, self._tokenizer.decode([token]) if token != BOUNDARY_ID else END_MARK, value)
            for token, value in zip(tokens.tolist(), values.tolist(), strict=True)
        ]

    def draw(self) -> str | None:
        """Draw the next token."""
        return self.take(int(torch.multinomial(self._chances(), 1, generator=self._generator)))

    def take(self, token: int) -> str | None:
        """Go on with a token.

        Returns:
            What it adds to the text, which is nothing for a part of a character; `None` if it ends
            the text.
        """
        if token == BOUNDARY_ID:
            return None
        piece = self._writer.text(token)
        self.text += piece
        self._read([token])
        return piece

    def pieces(self) -> Iterator[str]:
        """Draw token after token, up to the length or the end of the text."""
        for _ in range(self._options.length):
            piece = self.draw()
            if piece is None:
                return
            if piece:
                yield piece

    def _read(self, tokens: Sequence[int]) -> None:
        device = self._network.embedding.weight.device
        with torch.inference_mode():
            for start in range(0, len(tokens), _STEPS):
                piece = torch.tensor([tokens[start : start + _STEPS]], device=device)
                outputs, self._state = self._network(piece, self._state)
                self._next = self._network.log_probabilities(outputs[:, -1:])[0, 0].cpu()
            if tokens:
                self._next[UNKNOWN_ID] = -torch.inf
                self._next[BOUNDARY_ID if not self._ends else UNKNOWN_ID] = -torch.inf

    def _chances(self) -> torch.Tensor:
        return chances(self._next, self._options)
