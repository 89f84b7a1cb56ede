"""Prefix beam search: the likeliest tokens, of all their paths together, with a language model.

Graves et al. 2006, section 3.2, and Hannun et al. 2014, arXiv 1408.2873, algorithm 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from anyrnn.tasks.transcribe.ctc import BLANK

Numbers = NDArray[numpy.float64]


class LanguageModel(Protocol):
    """What tells how likely each token is after those before; its states are of several texts."""

    def begin(self) -> Any:
        """The state of one empty text."""
        ...

    def scores(self, state: Any) -> Numbers:
        """The logarithm of the probability of each next token, in the place of the blank that of
        the end of the text, (texts, vocabulary).
        """
        ...

    def after(self, state: Any, texts: NDArray[numpy.int64], tokens: NDArray[numpy.int64]) -> Any:
        """The state of other texts.

        Args:
            state: That of some texts.
            texts: Which of them each one continues.
            tokens: With which token; with the blank it does not.
        """
        ...


@dataclass(frozen=True)
class PrefixSearch:
    r"""How texts are compared: by :math:`\log p(y | x) + a \log p_{LM}(y) + b |y|`.

    Attributes:
        beam: How many beginnings are kept at each step.
        language: The language model, if there is one.
        weight: Its weight a.
        bonus: The bonus of each token b: a language model prefers short texts.
        forbidden: Tokens that are never written.
    """

    beam: int
    language: LanguageModel | None = None
    weight: float = 0.0
    bonus: float = 0.0
    forbidden: Sequence[int] = ()

    def run(self, log_probabilities: NDArray[numpy.floating]) -> list[tuple[list[int], float]]:
        """The best tokens with what they are worth, the best ones first.

        Args:
            log_probabilities: Those of each token and the blank, (time, vocabulary).

        Example:
            >>> PrefixSearch(beam=4).run(numpy.log([[0.6, 0.4], [0.6, 0.4]]))[0][0]
            [1]
        """
        beginnings = _Beginnings(self)
        for found in log_probabilities.astype(numpy.float64):
            beginnings.step(found)
        return beginnings.best()


@dataclass
class _Beginnings:
    """The beginnings that are kept.

    Each is a node of a tree; of the paths that stand for it some end with the blank, others with
    its last token.
    """

    search: PrefixSearch
    nodes: NDArray[numpy.int64] = field(default_factory=lambda: numpy.zeros(1, numpy.int64))
    blank: Numbers = field(default_factory=lambda: numpy.zeros(1))
    token: Numbers = field(default_factory=lambda: numpy.full(1, -numpy.inf))
    worth: Numbers = field(default_factory=lambda: numpy.zeros(1))  # but for their paths

    def __post_init__(self) -> None:
        self._parents, self._tokens = [-1], [BLANK]
        self._children: dict[tuple[int, int], int] = {}
        language = self.search.language
        self._state = None if language is None else language.begin()

    def step(self, found: Numbers) -> None:
        """Go on with the logarithms of the probabilities of a step, (vocabulary)."""
        rows = numpy.arange(len(self.nodes))
        last = numpy.array([self._tokens[node] for node in self.nodes])
        total = numpy.logaddexp(self.blank, self.token)
        longer = total[:, None] + found
        # After its last token, only a path with a blank between writes the same one again.
        longer[rows, last] = self.blank + found[last]
        longer[:, [BLANK, *self.search.forbidden]] = -numpy.inf
        blank, token = total + found[BLANK], self.token + found[last]
        # What a beginning becomes may be kept already, as another.
        parents = numpy.array([self._parents[node] for node in self.nodes])
        which, parent = (parents[:, None] == self.nodes).nonzero()
        token[which] = numpy.logaddexp(token[which], longer[parent, last[which]])
        longer[parent, last[which]] = -numpy.inf
        gained = self._gained(len(found))
        worth = numpy.concatenate([self.worth, (self.worth[:, None] + gained).ravel()])
        ranks = numpy.concatenate([numpy.logaddexp(blank, token), longer.ravel()]) + worth
        chosen = _largest(ranks, self.search.beam)
        stays = chosen < len(rows)
        from_row, added = numpy.divmod(chosen - len(rows), len(found))
        from_row, added = numpy.where(stays, chosen, from_row), numpy.where(stays, BLANK, added)
        pairs = zip(self.nodes[from_row].tolist(), added.tolist(), strict=True)
        self.nodes = numpy.array([self._node(*pair) for pair in pairs])
        self.blank = numpy.where(stays, blank[from_row], -numpy.inf)
        self.token = numpy.where(stays, token[from_row], longer[from_row, added])
        self.worth = worth[chosen]
        if self.search.language is not None:
            self._state = self.search.language.after(self._state, from_row, added)

    def best(self) -> list[tuple[list[int], float]]:
        """The tokens of each with what they are worth as a whole, the best ones first."""
        worth = self.worth + numpy.logaddexp(self.blank, self.token)
        if self.search.language is not None:
            ends = self.search.language.scores(self._state)[:, BLANK]
            worth = worth + self.search.weight * ends
        order = numpy.argsort(-worth, kind="stable")
        return [(self._written(int(self.nodes[row])), float(worth[row])) for row in order]

    def _gained(self, vocabulary: int) -> Numbers:
        """What each further token adds to the worth of each beginning."""
        if self.search.language is None:
            return numpy.full((len(self.nodes), vocabulary), self.search.bonus)
        scores = self.search.language.scores(self._state)
        return self.search.weight * scores + self.search.bonus

    def _node(self, parent: int, token: int) -> int:
        if token == BLANK:
            return parent
        node = self._children.setdefault((parent, token), len(self._parents))
        if node == len(self._parents):
            self._parents.append(parent)
            self._tokens.append(token)
        return node

    def _written(self, node: int) -> list[int]:
        tokens = []
        while node:
            tokens.append(self._tokens[node])
            node = self._parents[node]
        return tokens[::-1]


def _largest(values: Numbers, count: int) -> NDArray[numpy.int64]:
    """Where the largest values are, the first of equal ones first; none of them is infinite."""
    least = -numpy.inf
    if count < len(values):
        least = numpy.partition(values, -count)[-count]
    found = numpy.flatnonzero((values >= least) & (values > -numpy.inf))
    return found[numpy.argsort(-values[found], kind="stable")[:count]]
