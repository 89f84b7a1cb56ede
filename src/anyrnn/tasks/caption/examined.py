"""A picture whose caption is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.caption.captioning import captions_of
from anyrnn.tasks.caption.features import check_channels, given_features
from anyrnn.tasks.caption.model import CaptionNetwork
from anyrnn.tasks.caption.options import SearchOptions
from anyrnn.tasks.decoding.decoder import preceding
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID, END_MARK
from anyrnn.tasks.inspection.examined import Examined, Read, token_of, without
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said
from anyrnn.tasks.words import Language

if TYPE_CHECKING:
    from anyrnn.tasks.caption.task import Caption


def examined(task: Caption, network: CaptionNetwork, options: InspectOptions) -> Examined:
    """A picture, of whose greedy caption the decoder is looked into, token by token; what it says
    is attributed to the regions as the decoder sees them.

    Raises:
        OptionError: There is no picture, no such token, or an option without an effect.
        DataError: The picture cannot be used.
    """
    if options.input is None:
        raise OptionError(f"{option_name('input')} is missing: give a picture")
    without(options, "row", "the input is a picture")
    without(options, "explain", "the caption itself is explained; choose its token by step")
    features = given_features(task.source, [options.input], 0)
    check_channels(features, [options.input], task.channels, "the training had")
    ((best, *_),) = captions_of(network, task.vocabulary, features, SearchOptions(beam=1))
    written = [*map(task.vocabulary.shown, best.tokens), *([END_MARK] if best.ended else [])]
    targets = torch.tensor([[*best.tokens, *([BOUNDARY_ID] if best.ended else [])]])
    regions, lengths = torch.as_tensor(features[0])[None], torch.tensor([len(features[0])])

    def call(seen: torch.Tensor) -> torch.Tensor:
        vectors, _ = network.decoder(preceding(targets), network.attend(seen, lengths))
        return -network.decoder.losses(vectors, targets)[0]

    step, explained = token_of(options, written, "caption")
    with torch.no_grad():
        seen = network.seen(regions)
    grid = features.grid(0)
    at_once = not network.decoder.input_feeding
    return Examined(
        title=str(options.input),
        network=network,
        call=lambda: call(network.seen(regions)),
        of=lambda found: found.sum() if step is None else found[step],
        explained=explained,
        answer=best.text,
        layer="decoder.recurrent",
        steps=written,
        # With input feeding the layer is called for each token: there is no end of all steps.
        end=at_once,
        at=step if at_once else None,
        read=Read(_names(len(features[0]), grid, options.language), seen, call, grid),
    )


def _names(count: int, grid: tuple[int, int], language: Language) -> list[str]:
    """What regions are called: where they lie or, if that is not known, by number."""
    if not all(grid):
        return [said("region number", language, number=number + 1) for number in range(count)]
    places = (divmod(number, grid[1]) for number in range(count))
    return [said("region", language, row=row + 1, column=column + 1) for row, column in places]
