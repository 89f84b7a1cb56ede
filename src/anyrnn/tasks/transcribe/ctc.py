"""Connectionist temporal classification (Graves et al. 2006): from scores of each step to tokens.

A path has a token or the blank at each step. Equal neighbours are one, then blanks go: what is left
are the tokens that the path stands for. So between two equal tokens a path needs a blank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy
import torch
from numpy.typing import NDArray
from torch.nn import functional

from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID

BLANK = BOUNDARY_ID
"""Its number: that of the end of a text, which no text has within."""


def steps_needed(tokens: Sequence[int] | NDArray[numpy.int64]) -> int:
    """The number of steps of the shortest path of some tokens.

    Example:
        >>> steps_needed([5, 6]), steps_needed([5, 5]), steps_needed([])
        (2, 3, 0)
    """
    found = numpy.asarray(tokens)
    return len(found) + int((found[1:] == found[:-1]).sum())


def losses(
    log_probabilities: torch.Tensor,
    lengths: torch.Tensor,
    tokens: torch.Tensor,
    token_lengths: torch.Tensor,
) -> torch.Tensor:
    """The negative logarithm of the probability of all paths of the tokens of each row.

    Args:
        log_probabilities: Those of each token and the blank, (batch, time, vocabulary).
        lengths: The number of steps of each row, (batch).
        tokens: Padded with anything, (batch, tokens).
        token_lengths: The number of tokens of each row, (batch).

    Returns:
        In nats, (batch); infinite where a row has fewer steps than its tokens need.
    """
    return functional.ctc_loss(
        log_probabilities.float().transpose(0, 1),
        tokens,
        lengths,
        token_lengths,
        BLANK,
        reduction="none",
    )


@dataclass(frozen=True)
class Span:
    """Where a token stands.

    Attributes:
        token: Its number.
        first, end: Its first step, and the one after its last.
        score: The mean logarithm of its probability there.
    """

    token: int
    first: int
    end: int
    score: float


class PathReader:
    """The tokens of the likeliest path (greedy search), step after step."""

    def __init__(self) -> None:
        self._token, self._first, self._step = BLANK, 0, 0
        self._scores: list[float] = []

    def spans(self, log_probabilities: NDArray[numpy.floating]) -> Iterator[Span]:
        """The tokens that some more steps end.

        Args:
            log_probabilities: (steps, vocabulary).
        """
        tokens, scores = log_probabilities.argmax(1).tolist(), log_probabilities.max(1).tolist()
        for token, score in zip(tokens, scores, strict=True):
            if token != self._token:
                yield from self.finish()
                self._token, self._first = token, self._step
            self._scores.append(score)
            self._step += 1

    def finish(self) -> Iterator[Span]:
        """The token that the end ends, if there is one."""
        if self._token != BLANK:
            yield Span(self._token, self._first, self._step, fmean(self._scores))
        self._token, self._scores = BLANK, []


def best_paths(log_probabilities: torch.Tensor, lengths: torch.Tensor) -> list[list[Span]]:
    """The tokens of the likeliest path of each row.

    Args:
        log_probabilities: (batch, time, vocabulary).
        lengths: The number of steps of each row, (batch).
    """
    rows = zip(log_probabilities.cpu().numpy(), lengths.tolist(), strict=True)
    readers = ((PathReader(), row[:length]) for row, length in rows)
    return [[*reader.spans(row), *reader.finish()] for reader, row in readers]


def alignment(log_probabilities: NDArray[numpy.floating], tokens: Sequence[int]) -> list[Span]:
    """Where each token stands on the likeliest path of all that stand for the tokens.

    Args:
        log_probabilities: Those of one row, (time, vocabulary).
        tokens: The tokens; they need no more steps than there are.
    """
    if not len(tokens):
        return []
    # The states of a path: blank, first token, blank, second token, ..., blank.
    states = numpy.full(2 * len(tokens) + 1, BLANK)
    states[1::2] = tokens
    # A blank is left out between different tokens only.
    jumps = numpy.zeros(len(states), bool)
    jumps[3::2] = states[3::2] != states[1:-2:2]
    scores = numpy.full(len(states) + 2, -numpy.inf)  # with two states before that cannot be
    scores[2] = 0.0
    moves = numpy.zeros((len(log_probabilities), len(states)), numpy.int8)
    for step, found in enumerate(log_probabilities):
        candidates = numpy.stack([scores[2:], scores[1:-1], scores[:-2]])
        candidates[2, ~jumps] = -numpy.inf
        if step == 0:  # a path may begin with its first token
            candidates[1:] = -numpy.inf
            candidates[0, 1] = 0.0
        moves[step] = candidates.argmax(0)
        scores[2:] = candidates.max(0) + found[states]
    state = len(states) - 1 - int(scores[-2] > scores[-1])
    path = numpy.empty(len(log_probabilities), numpy.int64)
    for step in range(len(path) - 1, -1, -1):
        path[step] = state
        state -= int(moves[step, state])
    spans = []
    for number, token in enumerate(tokens):
        steps = numpy.flatnonzero(path == 2 * number + 1)
        score = float(log_probabilities[steps, token].mean())
        spans.append(Span(int(token), int(steps[0]), int(steps[-1]) + 1, score))
    return spans
