"""A sentence of a tagger that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.vocabulary import split_words
from anyrnn.tasks.inspection.examined import Examined, chosen, given_text, log_odds, place
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said
from anyrnn.tasks.tag.model import TagNetwork
from anyrnn.tasks.words import listed

if TYPE_CHECKING:
    from anyrnn.tasks.tag.task import Tag


def examined(task: Tag, network: TagNetwork, options: InspectOptions) -> Examined:
    """A sentence; an unknown word is read by its characters.

    Raises:
        OptionError: There is no input, no such tag or token, or an option without an effect.
        DataError: The sentence is empty.
    """
    words = split_words(given_text(options, "a sentence"))
    if not words:
        raise DataError(f"{option_name('input')} {options.input!r} has no token")
    (batch,) = task.batch_of([words])
    lengths = batch.lengths["words"]

    def call() -> torch.Tensor:
        return network(batch["words"], lengths, batch["characters"], batch["forms"])

    with torch.inference_mode():
        scores = call()
        tags = [task.tags[number] for number in network.decode(scores, lengths)[0].tolist()]
        probabilities = network.probabilities(scores, lengths)[0]
    step = place(options, "step", len(words), "tokens", len(words) - 1)
    name = tags[step] if options.explain is None else options.explain
    tag = chosen("explain", name, task.tags, "tag")
    unknown = [word for word in words if not task.vocabulary.knows(word)]
    notes = ()
    if unknown:
        together = listed(unknown, options.language)
        notes = (said("unknown words", options.language, listed=together),)
    return Examined(
        title=" ".join(words),
        network=network,
        call=call,
        of=lambda found: log_odds(found[0, step], tag),
        explained=said(
            "tag",
            options.language,
            name=name,
            token=words[step],
            probability=float(probabilities[step, tag]),
        ),
        answer=" ".join(f"{word}/{each}" for word, each in zip(words, tags, strict=True)),
        layer="recurrent",
        steps=words,
        at=step,
        notes=notes,
    )
