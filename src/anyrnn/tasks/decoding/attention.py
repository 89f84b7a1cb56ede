"""Attention: what a decoder reads of an encoder's outputs, and how much of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from anyrnn.errors import OptionError, option_name

AttentionKind = Literal["additive", "location", "general", "dot", "none"]

_AT_ONCE = 1 << 24  # numbers of the hidden layer of additive attention
_FILTERS, _WIDTH = 32, 31  # those of Tacotron 2: places are read 15 to each side


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
            1409.0473); location, v · tanh(W q + U m + V f) with f = F * (a', C), a convolution
            along the source over the weights of the query before and the sum of all weights before
            (Chorowski et al. 2015, arXiv 1506.07503, equation 9; the sum as in Tacotron 2, Shen et
            al. 2018, arXiv 1712.05884); general, q · W m; dot, q · m (Luong, Pham and Manning 2015,
            arXiv 1508.04025).
        query_size: The size of q.
        memory_size: The size of each m.
        size: The size of the hidden layer of the additive score.
        coverage: Whether the additive score also reads how much attention each place has had, C:
            v · tanh(W q + U m + w C) (Tu et al. 2016, arXiv 1601.04811; See, Liu and Manning 2017,
            arXiv 1704.04368).

    With location or coverage a query needs the weights of those before it, so that queries are
    answered one after the other.

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
        elif kind in ("additive", "location"):
            self.query = nn.Linear(query_size, size)
            self.key = nn.Linear(memory_size, size, bias=False)
            self.energy = nn.Linear(size, 1, bias=False)
        self.covered = nn.Linear(1, size, bias=False) if coverage else None
        self.filters = self.location = None
        if kind == "location":
            self.filters = nn.Linear(2 * _WIDTH, _FILTERS, bias=False)
            self.location = nn.Linear(_FILTERS, size, bias=False)

    def memory(self, values: torch.Tensor, mask: torch.Tensor) -> Memory:
        """The outputs of an encoder with what is computed of them once for all queries.

        Args:
            values: The outputs, (batch, source, memory size).
            mask: Whether each place has a token, (batch, source); each row has one.
        """
        return Memory(values, values if self.kind == "dot" else self.key(values), mask)

    def begin(self, memory: Memory) -> torch.Tensor | None:
        """What was attended to before the first query, if that matters: nothing.

        Args:
            memory: What is read.

        Returns:
            The weights of the query before and the sum of all, (batch, 2, source).
        """
        if self.covered is None and self.location is None:
            return None
        return memory.keys.new_zeros(len(memory.mask), 2, memory.mask.shape[1])

    def forward(
        self, queries: torch.Tensor, memory: Memory, had: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read for some queries.

        Args:
            queries: The decoder's outputs, (batch, steps, query size).
            memory: What is read.
            had: What `begin`, or `attended` after other queries, gave.

        Returns:
            The contexts, (batch, steps, memory size), and the weights, (batch, steps, source).
        """
        if had is None:
            weights = self._weights(queries, memory.keys, memory.mask)
        else:
            every: list[torch.Tensor] = []
            for query in queries.split(1, 1):
                keys = memory.keys + self._had(had)
                every.append(self._weights(query, keys, memory.mask))
                had = attended(had, every[-1])
            weights = torch.cat(every, 1)
        return weights @ memory.values, weights

    def _had(self, had: torch.Tensor) -> torch.Tensor:
        """What a score reads of the weights before it, (batch, source, size)."""
        found: list[torch.Tensor] = []
        if self.covered is not None:
            found.append(self.covered(had[:, 1, :, None]))
        if self.filters is not None and self.location is not None:
            # Of so few channels a product over windows is faster than a convolution.
            padded = functional.pad(had, (_WIDTH // 2, _WIDTH // 2))
            windows = padded.unfold(2, _WIDTH, 1).transpose(1, 2).flatten(2)
            found.append(self.location(self.filters(windows)))
        return found[0] if len(found) == 1 else found[0] + found[1]

    def _weights(
        self, queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
        score = _products if self.kind in ("general", "dot") else self._additive
        return score(queries, keys).masked_fill(~mask[:, None], -torch.inf).softmax(-1)

    def _additive(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        steps = max(1, _AT_ONCE // max(1, keys.numel()))
        scores = [
            self.energy(torch.tanh(some[:, :, None] + keys[:, None]))[..., 0]
            for some in self.query(queries).split(steps, 1)
        ]
        return torch.cat(scores, 1) if len(scores) > 1 else scores[0]


def attended(had: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What was attended to after some more queries, as `Attention.begin` begins it.

    Args:
        had: What was before, (batch, 2, source).
        weights: Those of the queries, (batch, steps, source).

    Example:
        >>> attended(torch.tensor([[[0.2, 0.8], [0.5, 1.5]]]), torch.tensor([[[0.4, 0.6]]]))
        tensor([[[0.4000, 0.6000],
                 [0.9000, 2.1000]]])
    """
    return torch.stack([weights[:, -1], had[:, 1] + weights.sum(1)], 1)


def _products(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    return queries @ keys.transpose(1, 2)
