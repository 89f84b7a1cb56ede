"""A conditional random field over the tags of a sentence (Lafferty et al. 2001)."""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable


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
        batch, time, count = emissions.shape
        scores = self.start + emissions[:, 0]
        stay = torch.arange(count, device=emissions.device).expand(batch, count)
        came_from = []
        for step in range(1, time):
            best, before = (scores[:, :, None] + self.transitions).max(1)
            present = (step < lengths)[:, None]
            scores = torch.where(present, best + emissions[:, step], scores)
            came_from.append(torch.where(present, before, stay))
        tag = (scores + self.end).argmax(1)
        tags = [tag]
        for before in reversed(came_from):
            tag = before.gather(1, tag[:, None])[:, 0]
            tags.append(tag)
        decoded = torch.stack(tags[::-1], 1)
        steps = torch.arange(time, device=emissions.device)
        return decoded.masked_fill(steps >= lengths[:, None], 0)


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
    scores = [start + emissions[:, 0]]
    for emission in emissions.unbind(1)[1:]:
        scores.append((scores[-1][:, :, None] + transitions).logsumexp(1) + emission)
    found = torch.stack(scores, 1)
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
    after, sums = end.expand_as(emissions[:, 0]), torch.zeros_like(transitions)
    backward = [after]
    for step in range(emissions.shape[1] - 1, 0, -1):
        present = step < lengths
        following = transitions + (emissions[:, step] + after)[:, None]
        # Their sum is known to be 1, which 32 bits of large logarithms would miss.
        pairs = forward[:, step - 1, :, None] + following
        probabilities = pairs.flatten(1).softmax(1) * (weights * present)[:, None]
        sums += probabilities.sum(0).view_as(sums)
        after = torch.where(present[:, None], following.logsumexp(2), end)
        backward.append(after)
    steps = torch.arange(emissions.shape[1], device=lengths.device)
    probabilities = (forward + torch.stack(backward[::-1], 1)).softmax(2)
    return probabilities * (weights[:, None] * (steps < lengths[:, None]))[..., None], sums
