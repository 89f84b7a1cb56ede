"""A text of a language model that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID
from anyrnn.tasks.generate.model import LanguageNetwork
from anyrnn.tasks.generate.tokens import encode_prompt
from anyrnn.tasks.inspection.examined import Examined, given_text, log_odds, without
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said

if TYPE_CHECKING:
    from anyrnn.tasks.generate.task import Generate


def examined(task: Generate, network: LanguageNetwork, options: InspectOptions) -> Examined:
    """A text, of which the next token is explained.

    Raises:
        OptionError: There is no input, no such token, or an option without an effect.
        DataError: The text is empty, or has what the training never had.
    """
    text = given_text(options)
    without(options, "step", "the token after the text is explained")
    tokens = [BOUNDARY_ID, *encode_prompt(task.tokenizer, text)]
    inputs = torch.tensor([tokens])

    def call() -> torch.Tensor:
        outputs, _ = network(inputs)
        return network.log_probabilities(outputs[:, -1:])[0, 0]

    with torch.inference_mode():
        found = call()
    best = int(found.argmax())
    token = best if options.explain is None else _token(task, options.explain)
    name, language = task.token_name(token), options.language
    return Examined(
        title=text,
        network=network,
        call=call,
        of=lambda found: log_odds(found, token),
        explained=said(
            "token that follows", language, name=name, probability=float(found[token].exp())
        ),
        answer=said(
            "follows", language, name=task.token_name(best), percent=100 * float(found[best].exp())
        ),
        layer="recurrent",
        steps=[task.token_name(each) for each in tokens],
    )


def _token(task: Generate, given: str) -> int:
    found = task.tokenizer.encode(given, add_special_tokens=False).ids
    if len(found) != 1:
        raise OptionError(
            f"{option_name('explain')} is {given!r}, which is {len(found)} tokens of the run; give "
            "one token"
        )
    return found[0]
