"""A sentence of a translator that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.decoding.decoder import preceding
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, UNKNOWN_ID
from anyrnn.tasks.inspection.examined import (
    Examined,
    given_text,
    token_of,
    unknown_tokens,
    without,
)
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.translate.model import TranslationNetwork
from anyrnn.tasks.translate.options import SearchOptions
from anyrnn.tasks.translate.translating import hypotheses

if TYPE_CHECKING:
    from anyrnn.tasks.translate.task import Translate

END = "⏎"


def examined(task: Translate, network: TranslationNetwork, options: InspectOptions) -> Examined:
    """A sentence as the encoder reads it; its greedy translation is explained.

    Raises:
        OptionError: There is no input, no such token, or an option without an effect.
        DataError: The sentence is empty, or has no known token.
    """
    text = given_text(options, "a sentence")
    without(options, "explain", "the translation itself is explained; choose its token by step")
    numbers = list(task.source.encode([text], task.options.vocabulary.maximum_length)[0])
    if len(numbers) == 1:
        raise DataError(f"{option_name('input')} {text!r} has no token")
    pieces = [*task.source.pieces(text)[: len(numbers) - 1], END]
    known = [number != UNKNOWN_ID for number in numbers[:-1]]
    notes = unknown_tokens(options.language, pieces[:-1], known)
    sources, lengths = torch.tensor([numbers]), torch.tensor([len(numbers)])
    ((best, *_),) = hypotheses(network, sources, lengths, SearchOptions(beam=1))
    targets = torch.tensor([[*best.tokens, *([BOUNDARY_ID] if best.ended else [])]])
    written = [*map(task.target.shown, best.tokens), *([END] if best.ended else [])]

    def call() -> torch.Tensor:
        vectors, _ = network(sources, lengths, preceding(targets))
        return -network.decoder.losses(vectors, targets)[0]

    step, explained = token_of(options, written, "translation")
    return Examined(
        title=text,
        network=network,
        call=call,
        of=lambda found: found.sum() if step is None else found[step],
        explained=explained,
        answer=task.target.text(best.tokens),
        layer="encoder",
        steps=pieces,
        notes=notes,
    )
