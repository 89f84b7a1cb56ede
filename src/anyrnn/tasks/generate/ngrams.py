"""Language models that count: interpolated n-grams, the floor that a network has to beat."""

from collections.abc import Sequence
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
    # The number of the context before each token, -1 where the training has no such one.
    contexts = [numpy.zeros(len(each), numpy.int64) for each in (training, *measured)]
    chances = [numpy.full(len(each), 1 / size) for each in measured]
    losses = []
    for order in range(1, orders + 1):
        keys = contexts[0] * size + training
        known, counts = numpy.unique(keys[contexts[0] >= 0], return_counts=True)
        if not len(known):  # the training is too short for this order and larger ones
            losses += [losses[-1]] * (orders + 1 - order)
            break
        kinds = numpy.bincount(known // size)
        total = numpy.bincount(known // size, counts)
        grams = [_places(known, contexts[0], keys)]
        for number, sequence in enumerate(measured):
            context = contexts[number + 1]
            found = _places(known, context, context * size + sequence)
            grams.append(found)
            count = numpy.where(found >= 0, counts[found], 0)
            seen = numpy.flatnonzero((context >= 0) & (context < len(kinds)))
            seen = seen[kinds[context[seen]] > 0]
            rest = kinds[context[seen]]
            below = rest * chances[number][seen]
            chances[number][seen] = (count[seen] + below) / (total[context[seen]] + rest)
        losses.append([float(-numpy.log(each[1:]).mean()) for each in chances])
        contexts = [numpy.concatenate([[-1], each[:-1]]) for each in grams]
    return NGrams(losses)


def _places(known: numpy.ndarray, context: numpy.ndarray, keys: numpy.ndarray) -> numpy.ndarray:
    """The number of each n-gram among those of the training; -1 if it is none of them."""
    found = numpy.minimum(numpy.searchsorted(known, keys), len(known) - 1)
    return numpy.where((known[found] == keys) & (context >= 0), found, -1)
