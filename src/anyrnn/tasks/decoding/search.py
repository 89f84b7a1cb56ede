"""From a decoder to texts: beam search, greedy search, sampling."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from anyrnn.tasks.decoding.decoder import Decoder, DecoderState
from anyrnn.tasks.decoding.search_options import SearchOptions
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID

_BATCH_SIZE = 64
_MOST_SCORES = 1 << 24  # of next tokens at a step


class Draw(Protocol):
    """How a token is drawn."""

    @property
    def temperature(self) -> float:
        """Below 1 likely tokens become likelier."""
        ...

    @property
    def top_k(self) -> int:
        """Among how many of the likeliest tokens; 0 for all."""
        ...

    @property
    def top_p(self) -> float:
        """Among the likeliest tokens that have this probability together."""
        ...


def drawn_from(log_probabilities: torch.Tensor, how: Draw) -> torch.Tensor:
    """From what the next token is drawn.

    Args:
        log_probabilities: What the network thinks, (..., vocabulary).
        how: Temperature first, then the likeliest `top_k`, then `top_p`.

    Returns:
        Probabilities, (..., vocabulary).
    """
    # In float64, and 0 for the likeliest: nothing but unlikely tokens overflows, however low it is.
    precise = log_probabilities.double()
    likeliest = precise.amax(-1, keepdim=True)
    found = ((precise - likeliest) / how.temperature).softmax(-1).to(log_probabilities.dtype)
    if how.top_k:
        count = min(how.top_k, found.shape[-1])
        smallest = found.topk(count, -1).values[..., -1:]
        found = found.where(found >= smallest, 0.0)
    if how.top_p < 1:
        ordered, places = found.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered
        ordered = ordered.where(before < how.top_p * found.sum(-1, keepdim=True), 0.0)
        found = torch.zeros_like(found).scatter_(-1, places, ordered)
    return found / found.sum(-1, keepdim=True)


def generator_of(seed: int | None) -> torch.Generator:
    """What draws on the CPU, without a seed other numbers each time."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(seed)


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens that a search found.

    Attributes:
        tokens: The tokens, without the end.
        score: What the search compares: the logarithm of the probability with its penalties.
        ended: Whether the decoder ended it; if not, the limit of the length did.
        weights: Those of attention at each token and at the end, (steps, source).
    """

    tokens: list[int]
    score: float
    ended: bool
    weights: torch.Tensor | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Beam:
    """A beam search; with a beam of 1 it is greedy.

    Attributes:
        size: How many sequences are kept at each step, for each row.
        length_penalty: The exponent of the length by which scores are divided, and coverage_penalty
            the weight of the penalty for places of the source that have got no attention: alpha and
            beta of Wu et al. 2016, arXiv 1609.08144, section 7.
        no_repeat: No sequence of so many tokens occurs twice; 0 for no such rule.
    """

    size: int = 1
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    no_repeat: int = 0

    def score(self, total: float, steps: int, weights: torch.Tensor | None) -> float:
        """What a sequence of so many steps is worth.

        Args:
            total: The logarithm of its probability.
            steps: The number of steps, the end included.
            weights: Those of attention, (steps, source), without padding.

        Example:
            >>> Beam(length_penalty=1).score(-7.0, 1, None), Beam().score(-7.0, 1, None)
            (-7.0, -7.0)
        """
        found = total / ((5 + steps) / 6) ** self.length_penalty
        if self.coverage_penalty and weights is not None:
            covered = weights.sum(0).clamp(1e-6, 1).log().sum()
            found += self.coverage_penalty * float(covered)
        return found


def beam_search(
    decoder: Decoder,
    state: DecoderState,
    limits: torch.Tensor,
    beam: Beam,
    forbidden: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The likeliest sequences for each row of a batch, the best one first.

    A row is done when as many sequences as the beam have ended, or at its limit: if none has ended
    by then, those that were going on are given, cut there.

    Args:
        decoder: The decoder, in evaluation mode.
        state: What its `begin` gave for the rows.
        limits: The largest number of steps of each row, the end included, (batch).
        beam: How it is searched.
        forbidden: Tokens that are never chosen.
    """
    return _BeamSearch(decoder, state, limits, beam, forbidden).run()


class _BeamSearch:
    def __init__(
        self,
        decoder: Decoder,
        state: DecoderState,
        limits: torch.Tensor,
        beam: Beam,
        forbidden: Sequence[int],
    ) -> None:
        self.decoder, self.beam, self.forbidden = decoder, beam, list(forbidden)
        self.limits = limits.tolist()
        device = decoder.softmax.weight.device
        batch, size = len(self.limits), beam.size
        self.firsts = torch.arange(batch, device=device)[:, None] * size
        self.state = state.taken(torch.arange(batch, device=device).repeat_interleave(size))
        self.lengths = None if state.memory is None else state.memory.mask.sum(1).tolist()
        # At first all sequences of a row are the same one.
        self.totals = torch.full((batch, size), -torch.inf, device=device)
        self.totals[:, 0] = 0
        self.tokens = torch.full((batch * size, 1), BOUNDARY_ID, device=device)
        self.weights: torch.Tensor | None = None
        self.done: list[list[Hypothesis]] = [[] for _ in range(batch)]
        self.closed = [False] * batch

    def run(self) -> list[list[Hypothesis]]:
        """Step after step, until every row is done."""
        with torch.inference_mode():
            for steps in range(1, max(self.limits, default=0) + 1):
                self._step(steps)
                if all(self.closed):
                    break
        return [sorted(found, key=lambda one: -one.score) for found in self.done]

    def _step(self, steps: int) -> None:
        size = self.beam.size
        found, weights, state = self.decoder.step(self.tokens[:, -1], self.state)
        if self.forbidden:
            found[:, self.forbidden] = -torch.inf
        if self.beam.no_repeat:
            _forbid_repeated(found, self.tokens[:, 1:], self.beam.no_repeat)
        vocabulary = found.shape[1]
        every = (self.totals.flatten()[:, None] + found).view(len(self.limits), -1)
        # A sequence has one end: of twice as many candidates at least half go on.
        totals, places = every.topk(min(2 * size, every.shape[1]))
        parents, tokens = self.firsts + places // vocabulary, places % vocabulary
        if weights is not None:
            before = [] if self.weights is None else [self.weights]
            self.weights = torch.cat([*before, weights[:, None]], 1)
        ends = tokens == BOUNDARY_ID
        reached = ends[:, :size] & totals[:, :size].isfinite()
        for row, rank in reached.nonzero().tolist():
            if len(self.done[row]) < size:
                self._end(row, int(parents[row, rank]), float(totals[row, rank]), steps)
        self.totals, order = totals.masked_fill(ends, -torch.inf).topk(size)
        chosen = parents.gather(1, order).flatten()
        self.tokens = torch.cat([self.tokens[chosen], tokens.gather(1, order).view(-1, 1)], 1)
        self.state = state.taken(chosen, same_memory=True)
        if self.weights is not None:
            self.weights = self.weights[chosen]
        self._close(steps)

    def _close(self, steps: int) -> None:
        """Close the rows that are done; nothing of them goes on."""
        size, alive = self.beam.size, self.totals.isfinite().any(1).tolist()
        for row, limit in enumerate(self.limits):
            if self.closed[row]:
                continue
            if steps >= limit and not self.done[row]:
                for rank, total in enumerate(self.totals[row].tolist()):
                    if total > -torch.inf:
                        self._end(row, row * size + rank, total, steps, ended=False)
            if steps >= limit or len(self.done[row]) >= size or not alive[row]:
                self.closed[row] = True
                self.totals[row] = -torch.inf

    def _end(self, row: int, place: int, total: float, steps: int, ended: bool = True) -> None:
        weights = None
        if self.weights is not None and self.lengths is not None:
            weights = self.weights[place, :, : self.lengths[row]].cpu().clone()
        tokens = self.tokens[place, 1:].tolist()
        score = self.beam.score(total, steps, weights)
        self.done[row].append(Hypothesis(tokens, score, ended, weights))


def _forbid_repeated(found: torch.Tensor, tokens: torch.Tensor, length: int) -> None:
    """Make each token impossible that would end a sequence of tokens that was there before."""
    for row, own in enumerate(tokens.tolist()):
        begins = own[len(own) - length + 1 :] if length > 1 else []
        for place in range(len(own) - length + 1):
            if own[place : place + length - 1] == begins:
                found[row, own[place + length - 1]] = -torch.inf


def sample(
    decoder: Decoder,
    state: DecoderState,
    limits: torch.Tensor,
    how: Draw,
    generator: torch.Generator,
    forbidden: Sequence[int] = (),
) -> list[Hypothesis]:
    """A sequence for each row of a batch, each token drawn.

    Args:
        decoder: The decoder, in evaluation mode.
        state: What its `begin` gave for the rows.
        limits: The largest number of steps of each row, the end included, (batch).
        how: How each token is drawn.
        generator: Draws, on the CPU.
        forbidden: Tokens that are never drawn.
    """
    device, rows = decoder.softmax.weight.device, range(len(limits))
    lengths = None if state.memory is None else state.memory.mask.sum(1).tolist()
    tokens = torch.full((len(limits), 1), BOUNDARY_ID)
    totals, steps = torch.zeros(len(limits)), torch.zeros(len(limits), dtype=torch.int64)
    going, every = torch.ones(len(limits), dtype=torch.bool), []
    with torch.inference_mode():
        for place in range(max(limits.tolist(), default=0)):
            going &= place < limits
            if not going.any():
                break
            found, weights, state = decoder.step(tokens[:, -1].to(device), state)
            found = found.cpu()
            for token in forbidden:
                found[:, token] = -torch.inf
            drawn = torch.multinomial(drawn_from(found, how), 1, generator=generator)
            totals += found.gather(1, drawn)[:, 0].where(going, 0.0)
            steps += going
            tokens = torch.cat([tokens, drawn], 1)
            every += [] if weights is None else [weights.cpu()]
            going &= drawn[:, 0] != BOUNDARY_ID
    hypotheses = []
    for row in rows:
        own = tokens[row, 1 : 1 + int(steps[row])].tolist()
        ended = bool(own) and own[-1] == BOUNDARY_ID
        weights = None
        if every and lengths is not None:
            weights = torch.stack([each[row, : lengths[row]] for each in every[: len(own)]])
        score = float(totals[row])
        hypotheses.append(Hypothesis(own[: len(own) - ended], score, ended, weights))
    return hypotheses


def searched(
    decoder: Decoder,
    state: DecoderState,
    limits: torch.Tensor,
    search: SearchOptions,
    generator: torch.Generator | None = None,
    forbidden: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The sequences for each row of a batch that options ask for, the best one first.

    Args:
        decoder, state, limits, forbidden: See `beam_search`.
        search: How they are searched for, or drawn.
        generator: Draws, on the CPU.
    """
    if search.sample:
        generator = generator or torch.Generator()
        drawn = sample(decoder, state, limits, search, generator, forbidden)
        return [[each] for each in drawn]
    beam = Beam(search.beam, search.length_penalty, search.coverage_penalty, search.no_repeat)
    return beam_search(decoder, state, limits, beam, forbidden)


def rows_at_once(beam: int, vocabulary: int) -> int:
    """For how many rows a search fits into memory, as each step has a score for every token.

    Args:
        beam: How many sequences are kept of a row.
        vocabulary: The number of tokens.
    """
    return max(1, min(_BATCH_SIZE, _MOST_SCORES // (beam * vocabulary)))
