"""Captions with scikit-learn's verbs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy

from anyrnn.errors import DataError
from anyrnn.tasks.caption.backbone import Backbone
from anyrnn.tasks.caption.data import Part
from anyrnn.tasks.caption.features import (
    ArraySource,
    FeatureSource,
    PictureSource,
    check_channels,
    digest_of,
    features_of,
    given_features,
)
from anyrnn.tasks.caption.options import Options
from anyrnn.tasks.caption.task import Caption
from anyrnn.tasks.data.columns import hash_of
from anyrnn.tasks.data.given import as_list
from anyrnn.tasks.estimator import Estimator, FromList, WritesTexts
from anyrnn.tasks.options.declaration import replaced


class Captioner(FromList, WritesTexts, task=Caption, data=("validation_share",)):
    """Pictures to their captions.

    A share of the pictures (`validation_share`) is kept aside in `fit` and decides when to stop.

    Example:
        >>> from anyrnn.tasks import Captioner
        >>> pictures = [numpy.eye(3)[[number % 3, 0]] for number in range(12)]
        >>> captions = [["a dog", "one dog"], ["a cat"], ["a bird"]] * 4
        >>> captioner = Captioner(cell="gru", hidden_size=8, epochs=1, minimum_frequency=1)
        >>> len(captioner.fit(pictures, captions).predict(pictures[:2]))
        2
    """

    files: ClassVar = {
        "data": Estimator.place,
        "picture": "the pictures",
        "caption": "their captions",
    }
    _arrays = False

    def options(self) -> Options:
        """The options of the task as the parameters say; see `Estimator`."""
        found = super().options()
        data = replaced(found.data, arrays=self.place if self._arrays else None)
        return replaced(found, data=data)

    def fit(self, X: Iterable[Any], y: Iterable[str | Iterable[str]]) -> Self:
        """Train on pictures and their captions.

        Args:
            X: The files of the pictures; or arrays, (regions, channels) or (channels, height,
                width).
            y: The caption of each, or several.

        Raises:
            DataError: One of them cannot be used, there are not captions for each picture, or there
                are too few.
            OptionError, SizeError: A parameter is not as it has to be, or has no effect.
        """
        pictures = _listed(X)
        self._arrays = isinstance(pictures[0], numpy.ndarray)
        options = self.options()
        source = ArraySource() if self._arrays else PictureSource(Backbone.chosen(options.pictures))
        data = self._divided(_part(pictures, y, source))
        count = sum(map(len, data.training.captions))
        return self._fit(replace(data, facts={**data.facts, "training_captions": count}))

    def _listed(self, X: Iterable[Any]) -> list[Any]:
        return _listed(X)

    def score(self, X: Iterable[Any], y: Iterable[str | Iterable[str]]) -> float:
        """BLEU-4 of the captions, from 0 to 100."""
        part = _part(_listed(X), y, self._fitted.task.source)
        return self._fitted.score(part).figures["bleu_4"]


def _listed(X: Iterable[Any]) -> list[Any]:
    found = as_list(X, "picture")
    if not found:
        raise DataError("there is no picture")
    kind = numpy.ndarray if isinstance(found[0], numpy.ndarray) else str | Path
    for number, each in enumerate(found):
        if not isinstance(each, kind):
            what = "an array" if kind is numpy.ndarray else "the file of a picture"
            raise DataError(f"row {number} is of the type {type(each).__name__}, not {what}")
    return found


def _part(pictures: Sequence[Any], y: Iterable[str | Iterable[str]], source: FeatureSource) -> Part:
    if isinstance(y, str):
        raise DataError("one caption was given, but captions for each picture are needed")
    captions = [[own] if isinstance(own, str) else list(own) for own in y]
    if len(captions) != len(pictures):
        raise DataError(f"{len(pictures):,} pictures, but captions of {len(captions):,}")
    for number, own in enumerate(captions):
        if not own or not all(isinstance(each, str) and each.strip() for each in own):
            raise DataError(f"row {number} has no caption, or an empty one")
    names = [f"row {number}" for number in range(len(pictures))]
    if isinstance(pictures[0], numpy.ndarray):
        features = given_features(source, pictures)
        digests = [hash_of(each) for each in pictures]
        files = [Path()] * len(pictures)
    else:
        files = [*map(Path, pictures)]
        digests = [*map(digest_of, files)]
        features = features_of(source, files, digests)
        for row in numpy.flatnonzero(features.lengths == 0)[:1]:
            given_features(source, [files[row]])  # which says why
    check_channels(features, names, int(features.channels[0]), "row 0 has")
    return Part(Captioner.place, source, names, files, captions, features, digests)
