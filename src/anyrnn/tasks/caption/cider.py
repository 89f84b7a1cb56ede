"""CIDEr-D: how much captions agree with those that people wrote."""

import math
from collections import Counter
from collections.abc import Sequence

_ORDERS = 4
_SIGMA = 6.0
_FACTOR = 10.0

Words = Sequence[str]
Ngrams = list[dict[tuple[str, ...], float]]


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    r"""CIDEr-D of each caption (Vedantam, Zitnick and Parikh 2015, arXiv 1411.5726, section 7).

    .. math:: \frac{10}{m} \sum_{n=1}^4 \frac{1}{4} \sum_{j=1}^m e^{-(l_c - l_j)^2 / (2 \sigma^2)}
        \frac{\min(g^n_c, g^n_j) \cdot g^n_j}{\|g^n_c\| \|g^n_j\|}

    The vector g^n has for each sequence of n words how often it occurs, times the logarithm of the
    number of pictures over that of pictures with such a sequence in a reference (at least 1); l is
    the number of words, sigma is 6. As in the authors' program (coco-caption), counts are not
    divided by the length. A single picture has the value 0: no word tells it from others.

    Args:
        captions: The words of the caption of each picture.
        references: The words of each of its references.

    Returns:
        The value of each picture, from 0 to 10; that of a set of pictures is their mean.

    Example:
        >>> references = [["a red boat at sea".split()], ["two green trees on a hill".split()]]
        >>> [round(each, 2) for each in cider(["a red boat at sea".split(), []], references)]
        [10.0, 0.0]
    """
    pictures = math.log(max(1, len(references)))
    seen: Counter[tuple[str, ...]] = Counter()
    for own in references:
        seen.update({ngram for words in own for some in _counts(words) for ngram in some})

    def vectors(words: Words) -> Ngrams:
        return [
            {ngram: count * (pictures - math.log(max(1, seen[ngram]))) for ngram, count in some}
            for some in (counts.items() for counts in _counts(words))
        ]

    found = []
    for words, own in zip(captions, references, strict=True):
        vector = vectors(words)
        total = sum(_agreement(vector, len(words), vectors(one), len(one)) for one in own)
        found.append(_FACTOR * total / (_ORDERS * len(own)))
    return found


def _counts(words: Words) -> list[Counter[tuple[str, ...]]]:
    """How often each sequence of one, two, ... words occurs."""
    return [
        Counter(zip(*(words[start:] for start in range(order)), strict=False))
        for order in range(1, _ORDERS + 1)
    ]


def _agreement(caption: Ngrams, length: int, reference: Ngrams, other: int) -> float:
    """The sum over the orders for one reference."""
    total = 0.0
    for one, two in zip(caption, reference, strict=True):
        norms = math.hypot(*one.values()) * math.hypot(*two.values())
        if norms:
            shared = sum(min(one[ngram], two[ngram]) * two[ngram] for ngram in one.keys() & two)
            total += shared / norms
    return total * math.exp(-((length - other) ** 2) / (2 * _SIGMA**2))
