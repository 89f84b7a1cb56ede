"""Language models that count: interpolated n-grams, the floor that a network has to beat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class NGrams:
    """The losses of n-gram models of every order up to one, smoothed as Witten and Bell (1991).

    p_n(w | c) = (count(c w) + kinds(c) p_{n-1}(w | c')) / (count(c) + kinds(c)), where c' is the
    context c without its first token, kinds(c) the number of different tokens after c, and p_0 is
    uniform. A context that never occurred is left to the order below.

    Attributes:
        losses: The mean loss on each sequence that was measured, in nats, by order from 1 on.
    """

    losses: list[list[float]]

    def order(self, sequence: int) -> int:
        """The best order on one of the sequences."""
        losses = [each[sequence] for each in self.losses]
        return 1 + losses.index(min(losses))


def ngrams(
    training: numpy.ndarray, measured: Sequence[numpy.ndarray], size: int, orders: int
) -> NGrams:
    """Count the n-grams of one sequence and measure others.

    Args:
        training: The tokens that are counted.
        measured: Sequences of tokens; the first token of each is context only.
        size: The number of different tokens.
        orders: The largest order.

    Example:
        >>> found = ngrams(numpy.array([0, 1, 0, 1, 0, 1]), [numpy.array([0, 1, 0, 1])], 2, 2)
        >>> [round(loss, 3) for loss, in found.losses]
        [0.693, 0.15]
    """
    models = _counted(training, size, orders)
    sums = numpy.zeros((len(models), len(measured)))
    for number, sequence in enumerate(measured):
        # A block begins with the longest context of its first token.
        for start in range(1, len(sequence), _AT_ONCE):
            context = min(start, orders)
            block = numpy.asarray(sequence[start - context : start + _AT_ONCE])
            for order, losses in enumerate(_losses(models, block, size)):
                sums[order, number] += losses[context:].sum()
    means = (sums / [max(1, len(each) - 1) for each in measured]).tolist()
    return NGrams(means + means[-1:] * (orders - len(means)))


_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order: their keys, how often each occurs, and of each context the number
    of different tokens after it and of all.
    """

    known: numpy.ndarray
    counts: numpy.ndarray
    kinds: numpy.ndarray
    total: numpy.ndarray


def _counted(training: numpy.ndarray, size: int, orders: int) -> list[_Order]:
    """The n-grams of each order; fewer orders, if the training is too short for them."""
    # The number of the context before each token, -1 where the training has no such one.
    context = numpy.zeros(len(training), numpy.int64)
    models: list[_Order] = []
    for _ in range(orders):
        keys = context * size + training
        known, counts = numpy.unique(keys[context >= 0], return_counts=True)
        if not len(known):
            break
        kinds, total = (numpy.bincount(known // size, each) for each in (None, counts))
        models.append(_Order(known, counts, kinds, total))
        context = numpy.concatenate([[-1], _places(known, context, keys)[:-1]])
    return models


def _losses(
    models: Sequence[_Order], sequence: numpy.ndarray, size: int
) -> Iterator[numpy.ndarray]:
    """The loss of each token by each order."""
    context = numpy.zeros(len(sequence), numpy.int64)
    chances = numpy.full(len(sequence), 1 / size)
    for model in models:
        found = _places(model.known, context, context * size + sequence)
        count = numpy.where(found >= 0, model.counts[found], 0)
        seen = numpy.flatnonzero((context >= 0) & (context < len(model.kinds)))
        seen = seen[model.kinds[context[seen]] > 0]
        rest = model.kinds[context[seen]]
        below = rest * chances[seen]
        chances[seen] = (count[seen] + below) / (model.total[context[seen]] + rest)
        yield -numpy.log(chances)
        context = numpy.concatenate([[-1], found[:-1]])


def _places(known: numpy.ndarray, context: numpy.ndarray, keys: numpy.ndarray) -> numpy.ndarray:
    """The number of each n-gram among those of the training; -1 if it is none of them."""
    found = numpy.minimum(numpy.searchsorted(known, keys), len(known) - 1)
    return numpy.where((known[found] == keys) & (context >= 0), found, -1)


Context = tuple[int, ...]
"""The number of the n-gram that stands before a token, by order, of which that of the first is
empty; -1 where the training has no such one.
"""


class NGramModel:
    """The model of the largest order, asked for one token after the other.

    Args:
        training: The tokens that are counted.
        size: The number of different tokens.
        order: The order.

    Example:
        >>> model = NGramModel(numpy.array([0, 1, 0, 1, 0, 1]), 2, 2)
        >>> context = model.after(model.empty, 0)
        >>> model.probabilities(context).round(3)
        array([0.125, 0.875])
    """

    def __init__(self, training: numpy.ndarray, size: int, order: int) -> None:
        self._models = _counted(training, size, order)
        self._size = size
        self.empty: Context = (0, *[-1] * (len(self._models) - 1))

    def probabilities(self, context: Context) -> numpy.ndarray:
        """That of each next token."""
        found = numpy.full(self._size, 1 / self._size)
        for number, model in zip(context, self._models, strict=True):
            if 0 <= number < len(model.kinds) and model.kinds[number]:
                first, end = numpy.searchsorted(
                    model.known, [number * self._size, (number + 1) * self._size]
                )
                found *= model.kinds[number]
                found[model.known[first:end] - number * self._size] += model.counts[first:end]
                found /= model.total[number] + model.kinds[number]
        return found

    def after(self, context: Context, token: int) -> Context:
        """The context after a further token."""
        longer = [0]
        for number, model in zip(context[:-1], self._models, strict=False):
            key = numpy.array([number * self._size + token])
            longer += _places(model.known, numpy.array([number]), key).tolist()
        return tuple(longer)
