"""A conditional random field over the tags of a sentence (Lafferty et al. 2001)."""

import torch
from torch import nn


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
        scores = self.start + emissions[:, 0]
        for step in range(1, emissions.shape[1]):
            following = self._following(scores, emissions[:, step])
            scores = torch.where((step < lengths)[:, None], following, scores)
        return (scores + self.end).logsumexp(1)

    def _following(self, scores: torch.Tensor, emissions: torch.Tensor) -> torch.Tensor:
        """The scores of all beginnings by their last tag, one step further, (batch, tags)."""
        return (scores[:, :, None] + self.transitions).logsumexp(1) + emissions

    def marginals(self, emissions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The probability of each tag at each step (forward-backward), (batch, time, tags)."""
        forward = [self.start + emissions[:, 0]]
        for step in range(1, emissions.shape[1]):
            forward.append(self._following(forward[-1], emissions[:, step]))
        backward = [self.end.expand_as(forward[0])]
        for step in range(emissions.shape[1] - 1, 0, -1):
            pairs = self.transitions + (emissions[:, step] + backward[-1])[:, None]
            present = (step < lengths)[:, None]
            backward.append(torch.where(present, pairs.logsumexp(2), self.end))
        return (torch.stack(forward, 1) + torch.stack(backward[::-1], 1)).softmax(2)

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
