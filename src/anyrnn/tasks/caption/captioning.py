"""Pictures to their captions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from anyrnn.tasks.caption.features import Features
from anyrnn.tasks.caption.model import CaptionNetwork
from anyrnn.tasks.caption.options import SearchOptions
from anyrnn.tasks.data.batches import Batch, Batches, Column, by_rows
from anyrnn.tasks.decoding.search import generator_of, rows_at_once, searched
from anyrnn.tasks.decoding.written_tokens import UNKNOWN_ID
from anyrnn.tasks.decoding.written_vocabulary import BestFirst, Candidate, WrittenVocabulary


@dataclass(frozen=True)
class Captioned(BestFirst):
    """A picture with its captions.

    Attributes:
        picture: The picture, as it was given.
        candidates: The captions, the best one first.
    """

    picture: Any
    candidates: list[Candidate]


def captions_of(
    network: CaptionNetwork,
    vocabulary: WrittenVocabulary,
    features: Features,
    search: SearchOptions,
    generator: torch.Generator | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[list[Candidate]]:
    """The captions of pictures, the best one of each first.

    Args:
        network: The network, in evaluation mode.
        vocabulary: Its tokens.
        features: What it sees of the pictures.
        search: How captions are searched for.
        generator: Draws, if each token is drawn.
        check: Called after each batch.
    """
    generator = generator or generator_of(search.seed)
    columns = {"regions": Column(features, padded=True, lengths=features.lengths)}
    batches = Batches(columns, rows_at_once(search.beam, vocabulary.size))

    def captions(batch: Batch) -> Iterator[list[Candidate]]:
        state = network.begin(batch["regions"], batch.lengths["regions"])
        limits = torch.full((len(batch),), search.longest)
        for own in searched(network.decoder, state, limits, search, generator, (UNKNOWN_ID,)):
            yield [vocabulary.candidate(each) for each in own[: search.n_best]]

    return by_rows(network, batches, captions, check)
