"""Captions without a network: always the same one, or that of the most similar picture."""

from collections import Counter
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from anyrnn.tasks.caption.features import Features


def most_frequent(captions: Sequence[Sequence[str]]) -> str:
    """The most frequent caption of pictures, the first of equally frequent ones.

    Example:
        >>> most_frequent([["a cat", "a dog runs"], ["A dog runs"], ["a dog  runs"]])
        'a dog runs'
    """
    every = [caption for own in captions for caption in own]
    plain = [" ".join(caption.lower().split()) for caption in every]
    ((most, _),) = Counter(plain).most_common(1)
    return every[plain.index(most)]


def nearest(known: Features, features: Features) -> list[int]:
    """For each picture the number of the most similar known one, by the cosine of the means of
    their regions.

    Args:
        known: The pictures of the training.
        features: The others.
    """
    return (_directions(features) @ _directions(known).T).argmax(1).tolist()


def _directions(features: Features) -> NDArray[numpy.float32]:
    means = numpy.stack([regions[:, :-2].mean(0) for regions in features])
    return means / numpy.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
