"""A recurrent decoder: tokens one after the other, each from those before and from a memory.

In training, without input feeding, the recurrent layers run over the whole target at once, by the
same compiled code as any other layer, and the attention of all steps follows in a few products.
With input feeding a step needs the attention of the step before: then the layers are called step by
step. While a text is searched for, they always are.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from anyrnn.tasks.data.streams import IGNORED
from anyrnn.tasks.decoding.attention import Attention, AttentionKind, Memory, attended
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID
from anyrnn.tasks.networks.layers import draw_uniform, recurrent_layers, step_mask


@dataclass(frozen=True)
class DecoderState:
    """What a decoder knows before its next step.

    Attributes:
        recurrent: The states of its layers, as they take it: each (layers, batch, size).
        fed: The attentional vector of the step before, (batch, size), with input feeding.
        memory: What attention reads.
        had: What was attended to before, (batch, 2, source), if attention reads it.
    """

    recurrent: Any
    fed: torch.Tensor | None
    memory: Memory | None
    had: torch.Tensor | None = None

    def taken(self, rows: torch.Tensor, *, same_memory: bool = False) -> "DecoderState":
        """That of some rows of the batch.

        Args:
            rows: Their numbers.
            same_memory: Whether each row's memory is that of the row in whose place it comes.
        """
        found = self.recurrent
        if isinstance(found, torch.Tensor):
            found = found[:, rows]
        else:
            found = tuple(each[:, rows] for each in found)
        fed, had = (None if each is None else each[rows] for each in (self.fed, self.had))
        memory = self.memory
        if memory is not None and not same_memory:
            memory = memory.taken(rows)
        return DecoderState(found, fed, memory, had)


def preceding(targets: torch.Tensor) -> torch.Tensor:
    """The token before each, as a decoder reads it: at first the boundary.

    Args:
        targets: The tokens to be written, (batch, time); `IGNORED` after the end.

    Example:
        >>> preceding(torch.tensor([[5, 7, 0], [6, 0, IGNORED]]))
        tensor([[0, 5, 7],
                [0, 6, 0]])
    """
    before = targets[:, :-1].clamp_min(BOUNDARY_ID)
    return torch.cat([torch.full_like(targets[:, :1], BOUNDARY_ID), before], 1)


class Decoder(nn.Module):
    """Embedding, recurrent layers, attention, a layer over both (the attentional vector of Luong
    et al. 2015), softmax.

    Args:
        cell: A name of the catalogue, such as "gru".
        vocabulary_size: The number of tokens.
        memory_size: The size of an encoder's outputs.
        summary_size: The size of the vector that the first states are made from.
        embedding_size: The size of a token's vector.
        hidden_size: The size of a recurrent layer, and of the attentional vector.
        layers: The number of recurrent layers.
        attention: How attention is scored; none reads the first states only.
        input_feeding: Whether each step also reads the attentional vector of the one before (Luong
            et al. 2015, section 3.3).
        coverage: Whether attention also reads how much attention each place has had; see
            `Attention`.
        dropout: The share of values dropped after the embedding, between layers and before the
            softmax.
        scheduled_sampling: The share of tokens that are read, in training, as the decoder would
            have written them (Bengio et al. 2015, arXiv 1506.03099). Without input feeding what it
            would have written comes from a first pass over the true tokens (Mihaylova and Martins
            2019, arXiv 1906.07651).

    Raises:
        UnknownCellError: There is no such cell.
        OptionError: Options exclude each other.

    Example:
        >>> decoder = Decoder("gru", 9, memory_size=6, summary_size=6, hidden_size=4)
        >>> state = decoder.begin(torch.randn(2, 5, 6), torch.tensor([5, 3]), torch.randn(2, 6))
        >>> vectors, weights = decoder(torch.tensor([[0, 3, 4], [0, 7, 0]]), state)
        >>> vectors.shape, weights.shape
        (torch.Size([2, 3, 4]), torch.Size([2, 3, 5]))
        >>> log_probabilities, _, state = decoder.step(torch.tensor([0, 0]), state)
        >>> log_probabilities.shape
        torch.Size([2, 9])
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        *,
        memory_size: int,
        summary_size: int,
        embedding_size: int = 128,
        hidden_size: int = 256,
        layers: int = 1,
        attention: AttentionKind = "additive",
        input_feeding: bool = False,
        coverage: bool = False,
        dropout: float = 0.0,
        scheduled_sampling: float = 0.0,
    ) -> None:
        super().__init__()
        self.hidden_size, self.layers = hidden_size, layers
        self.input_feeding, self.scheduled_sampling = input_feeding, scheduled_sampling
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout = nn.Dropout(dropout)
        input_size = embedding_size + (hidden_size if input_feeding else 0)
        self.recurrent = recurrent_layers(cell, input_size, hidden_size, layers, dropout)
        output_size, known = self.recurrent.output_size, self.recurrent.sizes
        self.state_sizes = [size.evaluate(known) for size in self.recurrent.cell.state_sizes]
        self.first = nn.Linear(summary_size, layers * sum(self.state_sizes))
        self.attention, read_size = None, output_size
        if attention != "none":
            sizes = (output_size, memory_size, hidden_size)
            self.attention = Attention(attention, *sizes, coverage=coverage)
            read_size += memory_size
        self.attentional = nn.Linear(read_size, hidden_size)
        self.softmax = nn.Linear(hidden_size, vocabulary_size)
        draw_uniform(self.embedding.weight, self.softmax.weight)
        nn.init.zeros_(self.softmax.bias)

    def begin(
        self, outputs: torch.Tensor, lengths: torch.Tensor, summary: torch.Tensor
    ) -> DecoderState:
        """The state before the first step.

        Args:
            outputs: An encoder's outputs, (batch, source, memory size).
            lengths: How many of each row there are, at least 1, (batch).
            summary: A vector for each row, (batch, summary size).
        """
        batch = len(summary)
        first = torch.tanh(self.first(summary)).to(self.first.weight.dtype)
        parts = first.unflatten(1, (self.layers, -1)).transpose(0, 1).split(self.state_sizes, 2)
        states = [each.contiguous() for each in parts]
        memory = had = None
        if self.attention is not None:
            memory = self.attention.memory(outputs, step_mask(lengths, outputs.shape[1]))
            had = self.attention.begin(memory)
        fed = summary.new_zeros(batch, self.hidden_size) if self.input_feeding else None
        return DecoderState(tuple(states) if len(states) > 1 else states[0], fed, memory, had)

    def forward(
        self, tokens: torch.Tensor, state: DecoderState, lengths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Read the true tokens (teacher forcing).

        Args:
            tokens: Their numbers, the first of which is the boundary, (batch, time).
            state: What `begin` gave.
            lengths: The number of tokens of each row, if they differ, (batch).

        Returns:
            What the softmax reads, (batch, time, size), and the weights of attention, (batch, time,
            source).
        """
        if self.input_feeding:
            return self._fed(tokens, state)
        if self.training and self.scheduled_sampling:
            with torch.no_grad():
                own = self.softmax(self._at_once(tokens, state, lengths)[0]).argmax(2)
            tokens = torch.cat([tokens[:, :1], self._sampled(tokens[:, 1:], own[:, :-1])], 1)
        return self._at_once(tokens, state, lengths)

    def step(
        self, tokens: torch.Tensor, state: DecoderState
    ) -> tuple[torch.Tensor, torch.Tensor | None, DecoderState]:
        """Read a token of each row.

        Args:
            tokens: Their numbers, (batch).
            state: What `begin` or the step before gave.

        Returns:
            The logarithm of the probability of each next token, (batch, vocabulary), the weights of
            attention, (batch, source), and the state after the step.
        """
        vector, weights, state = self._step(self._embedded(tokens[:, None]), state)
        log_probabilities = self.softmax(vector).float().log_softmax(-1)
        return log_probabilities[:, 0], None if weights is None else weights[:, 0], state

    def losses(self, vectors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The cross-entropy of each token, in nats, (batch, time); 0 where none counts.

        Args:
            vectors: What `forward` gave.
            targets: The tokens that follow, (batch, time); `IGNORED` where none does.
        """
        counts = targets != IGNORED
        some = functional.cross_entropy(
            self.softmax(vectors[counts]), targets[counts], reduction="none"
        )
        return some.new_zeros(targets.shape).masked_scatter(counts, some)

    def _at_once(
        self, tokens: torch.Tensor, state: DecoderState, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        outputs, _ = self.recurrent(self._embedded(tokens), state.recurrent, lengths)
        return self._attended(outputs, state)

    def _fed(
        self, tokens: torch.Tensor, state: DecoderState
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        vectors: list[torch.Tensor] = []
        every: list[torch.Tensor] = []
        for place in range(tokens.shape[1]):
            read = tokens[:, place : place + 1]
            if vectors and self.training and self.scheduled_sampling:
                with torch.no_grad():
                    own = self.softmax(vectors[-1]).argmax(2)
                read = self._sampled(read, own)
            vector, weights, state = self._step(self._embedded(read), state)
            vectors.append(vector)
            every += [] if weights is None else [weights]
        return torch.cat(vectors, 1), torch.cat(every, 1) if every else None

    def _step(
        self, embedded: torch.Tensor, state: DecoderState
    ) -> tuple[torch.Tensor, torch.Tensor | None, DecoderState]:
        """One step: the attentional vector, (batch, 1, size), weights, the state after it."""
        if state.fed is not None:
            embedded = torch.cat([embedded, state.fed[:, None]], 2)
        outputs, recurrent = self.recurrent(embedded, state.recurrent)
        vector, weights = self._attended(outputs, state)
        fed = None if state.fed is None else vector[:, 0]
        had = state.had
        if had is not None and weights is not None:
            had = attended(had, weights)
        return vector, weights, replace(state, recurrent=recurrent, fed=fed, had=had)

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.embedding(tokens))

    def _attended(
        self, outputs: torch.Tensor, state: DecoderState
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The attentional vectors of all steps at once."""
        weights = None
        if self.attention is not None and state.memory is not None:
            context, weights = self.attention(outputs, state.memory, state.had)
            outputs = torch.cat([outputs, context], 2)
        return self.dropout(torch.tanh(self.attentional(outputs))), weights

    def _sampled(self, true: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """True tokens, a share of which are replaced by the decoder's own."""
        drawn = torch.rand(true.shape, device=true.device) < self.scheduled_sampling
        return torch.where(drawn, own, true)


def repeated_attention(weights: torch.Tensor) -> torch.Tensor:
    """How much of the attention of each step goes where attention was before: the coverage loss of
    See et al. 2017, equation 12, (batch, time).

    Args:
        weights: Those of attention, (batch, time, source).

    Example:
        >>> repeated_attention(torch.tensor([[[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]]])).tolist()
        [[0.0, 0.25, 0.75]]
    """
    had = weights.cumsum(1) - weights
    return torch.minimum(weights, had).sum(-1)
