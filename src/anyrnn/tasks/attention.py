"""Attention: what a decoder reads of an encoder's outputs, and how much of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from anyrnn.errors import OptionError, option_name

AttentionKind = Literal["additive", "general", "dot", "none"]

_AT_ONCE = 1 << 24  # numbers of the hidden layer of additive attention


@dataclass(frozen=True)
class Memory:
    """The outputs of an encoder, as an attention reads them.

    Attributes:
        values: What is read, (batch, source, size).
        keys: What a query is compared with, (batch, source, key size).
        mask: Whether each place has a token, (batch, source).
    """

    values: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor

    def taken(self, rows: torch.Tensor) -> "Memory":
        """That of some rows of the batch."""
        return Memory(self.values[rows], self.keys[rows], self.mask[rows])


class Attention(nn.Module):
    r"""A mean of an encoder's outputs, weighted by a score of each.

    .. math:: c = \sum_s a_s m_s, \quad a = \mathrm{softmax}(e(q, m_1), ..., e(q, m_S))

    Args:
        kind: The score e: additive, v · tanh(W q + U m) (Bahdanau, Cho and Bengio 2015, arXiv
            1409.0473); general, q · W m; dot, q · m (Luong, Pham and Manning 2015, arXiv
            1508.04025).
        query_size: The size of q.
        memory_size: The size of each m.
        size: The size of the hidden layer of the additive score.
        coverage: Whether the additive score also reads how much attention each place has had, C:
            v · tanh(W q + U m + w C) (Tu et al. 2016, arXiv 1601.04811; See, Liu and Manning 2017,
            arXiv 1704.04368). Then a query needs the weights of those before it, so that queries
            are answered one after the other.

    Raises:
        OptionError: A dot product of vectors of different sizes.

    Example:
        >>> attention = Attention("general", query_size=4, memory_size=6, size=4)
        >>> mask = torch.tensor([[True, True, False]])
        >>> memory = attention.memory(torch.randn(1, 3, 6), mask)
        >>> context, weights = attention(torch.randn(1, 2, 4), memory)
        >>> context.shape, weights.shape, weights[0, :, 2].tolist()
        (torch.Size([1, 2, 6]), torch.Size([1, 2, 3]), [0.0, 0.0])
    """

    def __init__(
        self,
        kind: AttentionKind,
        query_size: int,
        memory_size: int,
        size: int,
        *,
        coverage: bool = False,
    ) -> None:
        super().__init__()
        self.kind: AttentionKind = kind
        if kind == "dot" and query_size != memory_size:
            raise OptionError(
                f"{option_name('attention', 'dot')} multiplies the decoder's outputs of size "
                f"{query_size} with the encoder's of size {memory_size}, which have to be as "
                f"large; use {option_name('attention', 'general')}, or "
                f"{option_name('bidirectional', False)}"
            )
        if kind == "general":
            self.key = nn.Linear(memory_size, query_size, bias=False)
        elif kind == "additive":
            self.query = nn.Linear(query_size, size)
            self.key = nn.Linear(memory_size, size, bias=False)
            self.energy = nn.Linear(size, 1, bias=False)
        self.covered = nn.Linear(1, size, bias=False) if coverage else None

    def memory(self, values: torch.Tensor, mask: torch.Tensor) -> Memory:
        """The outputs of an encoder with what is computed of them once for all queries.

        Args:
            values: The outputs, (batch, source, memory size).
            mask: Whether each place has a token, (batch, source); each row has one.
        """
        return Memory(values, values if self.kind == "dot" else self.key(values), mask)

    def forward(
        self, queries: torch.Tensor, memory: Memory, had: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read for some queries.

        Args:
            queries: The decoder's outputs, (batch, steps, query size).
            memory: What is read.
            had: With coverage: how much attention each place has had before, (batch, source).

        Returns:
            The contexts, (batch, steps, memory size), and the weights, (batch, steps, source).
        """
        if self.covered is None or had is None:
            weights = self._weights(queries, memory.keys, memory.mask)
        else:
            every: list[torch.Tensor] = []
            for query in queries.split(1, 1):
                keys = memory.keys + self.covered(had[:, :, None])
                every.append(self._weights(query, keys, memory.mask))
                had = had + every[-1][:, 0]
            weights = torch.cat(every, 1)
        return weights @ memory.values, weights

    def _weights(
        self, queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
        score = self._additive if self.kind == "additive" else _products
        return score(queries, keys).masked_fill(~mask[:, None], -torch.inf).softmax(-1)

    def _additive(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        steps = max(1, _AT_ONCE // max(1, keys.numel()))
        scores = [
            self.energy(torch.tanh(some[:, :, None] + keys[:, None]))[..., 0]
            for some in self.query(queries).split(steps, 1)
        ]
        return torch.cat(scores, 1) if len(scores) > 1 else scores[0]


def _products(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    return queries @ keys.transpose(1, 2)
