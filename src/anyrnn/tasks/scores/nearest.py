"""A method without a network: by the most similar text of the training."""

from collections.abc import Sequence

import numpy

_MOST = 100_000  # texts of the training that are looked at
_AT_ONCE = 256


def nearest(known: Sequence[str], texts: Sequence[str]) -> list[int]:
    """For each text the number of the most similar known one.

    They are compared by the cosine of the weighted counts (tf-idf) of sequences of one to three
    characters within words.

    Args:
        known: The texts of the training; of very many only the first ones count.
        texts: The others.

    Example:
        >>> nearest(["the red boat", "a green tree"], ["green trees", "boats"])
        [1, 0]
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3))
    every = vectors.fit_transform(known[:_MOST]).T.tocsr()
    found: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        some = vectors.transform(texts[start : start + _AT_ONCE]) @ every
        found += numpy.asarray(some.argmax(axis=1)).ravel().tolist()
    return found
