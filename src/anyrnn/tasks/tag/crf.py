"""A conditional random field over the tags of a sentence (Lafferty et al. 2001)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from anyrnn.tasks.networks.layers import step_mask

_MOST_PAIRS = 1 << 22  # of tags, whose scores are computed at once


class ConditionalRandomField(nn.Module):
    r"""Scores of whole sequences of tags, from the scores of each tag and of each pair.

    .. math:: s(y) = a_{y_1} + \sum_t e_{t, y_t} + \sum_t A_{y_{t-1}, y_t} + b_{y_T}

    Args:
        tag_count: The number of tags.

    Attributes:
        transitions: The score of each tag (column) after each tag (row).
        start, end: The score of each tag at the beginning and at the end.
    """

    def __init__(self, tag_count: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tag_count))
        self.transitions = nn.Parameter(torch.zeros(tag_count, tag_count))
        self.end = nn.Parameter(torch.zeros(tag_count))

    def losses(
        self, emissions: torch.Tensor, tags: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """The negative log-likelihood of the tags of each sentence.

        Args:
            emissions: The score of each tag at each step, (batch, time, tags).
            tags: The true tags, (batch, time); where one is negative, any tag counts as true.
            lengths: The number of steps of each sentence, at least 1, (batch).

        Returns:
            In nats, (batch).
        """
        numbers = torch.arange(emissions.shape[-1], device=emissions.device)
        allowed = (tags[..., None] == numbers) | (tags[..., None] < 0)
        true = emissions.masked_fill(~allowed, -torch.inf)
        both = self.partition(torch.cat([emissions, true]), torch.cat([lengths, lengths]))
        return torch.sub(*both.chunk(2))

    def partition(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The logarithm of the sum of exp(s(y)) over all sequences of tags, (batch)."""
        parameters = (self.start, self.transitions, self.end)
        return _LogPartition.apply(emissions.to(self.start.dtype), lengths, *parameters)

    def marginals(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The probability of each tag at each step (forward-backward), (batch, time, tags); what
        follows the end is 0.
        """
        emissions = emissions.to(self.start.dtype)
        forward, total = _forward(emissions, lengths, self.start, self.transitions, self.end)
        weights = torch.ones_like(total)
        return _backward(emissions, lengths, self.transitions, self.end, forward, weights)[0]

    def decode(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The tags of the largest score (Viterbi), (batch, time); what follows the end is 0."""
        scores = _beginnings(emissions, self.start, self.transitions, torch.amax)
        found, after = scores.numpy(force=True), self.transitions.numpy(force=True).T
        ends, last = self.end.numpy(force=True), lengths.cpu().numpy() - 1
        count, time, _ = found.shape
        tags = numpy.zeros((count, time), numpy.int64)
        tag = tags[:, 0]
        for step in range(time - 1, -1, -1):
            following = numpy.where(numpy.equal(step, last)[:, None], ends, after[tag])
            tag = (found[:, step] + following).argmax(1)
            tags[:, step] = tag
        tags[numpy.arange(time) > last[:, None]] = 0
        return torch.from_numpy(tags).to(emissions.device)


class _LogPartition(torch.autograd.Function):
    """The gradient of the logarithm of the partition function is the marginals: autograd would
    keep a graph of every step, which for a long sentence takes gigabytes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        emissions: torch.Tensor,
        lengths: torch.Tensor,
        start: torch.Tensor,
        transitions: torch.Tensor,
        end: torch.Tensor,
    ) -> torch.Tensor:
        scores, total = _forward(emissions, lengths, start, transitions, end)
        ctx.save_for_backward(emissions, lengths, transitions, end, scores)
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        emissions, lengths, transitions, end, forward = ctx.saved_tensors
        marginals, pairs = _backward(emissions, lengths, transitions, end, forward, gradient)
        last = marginals[torch.arange(len(lengths), device=lengths.device), lengths - 1]
        return marginals, None, marginals[:, 0].sum(0), pairs, last.sum(0)


def _beginnings(
    emissions: torch.Tensor,
    start: torch.Tensor,
    transitions: torch.Tensor,
    together: Callable[[torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    """What all beginnings that end with a tag are worth together, by step and tag.

    Args:
        emissions, start, transitions: See `ConditionalRandomField`.
        together: The logarithm of their sum, or the largest.
    """
    scores = [start + emissions[:, 0]]
    for emission in emissions.unbind(1)[1:]:
        scores.append(together(scores[-1][:, :, None] + transitions, 1) + emission)
    return torch.stack(scores, 1)


def _pairs(before: torch.Tensor, transitions: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """The scores of pairs of tags at all steps but the first, some steps at a time: which steps
    they begin at, and the scores, (batch, steps, tags, tags).

    Args:
        before: The scores of tags at each step, (batch, time, tags).
        transitions: The score of each tag after each other one.
    """
    last = before.shape[1] - 1
    at_once = max(1, _MOST_PAIRS // (len(before) * transitions.numel()))
    for first in range(0, last, at_once):
        some = slice(first, min(first + at_once, last))
        yield some, before[:, some, :, None] + transitions


def _forward(
    emissions: torch.Tensor,
    lengths: torch.Tensor,
    start: torch.Tensor,
    transitions: torch.Tensor,
    end: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logarithm of the sum over all beginnings, by step and last tag, and that over all
    sequences.
    """
    found = _beginnings(emissions, start, transitions, torch.logsumexp)
    rows = torch.arange(len(lengths), device=lengths.device)
    return found, (found[rows, lengths - 1] + end).logsumexp(1)


def _backward(
    emissions: torch.Tensor,
    lengths: torch.Tensor,
    transitions: torch.Tensor,
    end: torch.Tensor,
    forward: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The marginals of tags, (batch, time, tags), and those of pairs, summed over all steps.

    Args:
        emissions, lengths, transitions, end: See `ConditionalRandomField`.
        forward: What `_forward` gave.
        weights: What each sentence counts, (batch).
    """
    present = step_mask(lengths, emissions.shape[1])
    after, backward = end.expand_as(emissions[:, 0]), []
    for emission, there in zip(
        reversed(emissions.unbind(1)), reversed(present[..., None].unbind(1)), strict=True
    ):
        backward.append(after)
        endings = (transitions + (emission + after)[:, None]).logsumexp(2)
        after = torch.where(there, endings, end)
    following = torch.stack(backward[::-1], 1)
    counted = weights[:, None] * present
    sums = torch.zeros_like(transitions)
    for some, pairs in _pairs(forward, transitions):
        later = slice(some.start + 1, some.stop + 1)
        pairs = pairs + (emissions[:, later] + following[:, later])[:, :, None]
        # Their sum is known to be 1, which 32 bits of large logarithms would miss.
        probabilities = pairs.flatten(2).softmax(2) * counted[:, later, None]
        sums += probabilities.sum((0, 1)).view_as(sums)
    return (forward + following).softmax(2) * counted[..., None], sums
