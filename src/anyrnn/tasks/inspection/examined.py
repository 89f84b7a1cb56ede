"""An input as a network of a run reads it, with the output that is to be explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy
import torch

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said
from anyrnn.tasks.words import Language, listed


@dataclass(frozen=True)
class Read:
    """What an output is attributed to, if not to what the layer reads: what a decoder attends to.

    Attributes:
        places: What stands at each place: a character, a region.
        values: What is read of each place, (1, places, features).
        call: Gives for it what `Examined.of` reads the number off.
        grid: The height and width of the places, if they lie in rows; else 0 and 0.
    """

    places: Sequence[str]
    values: torch.Tensor
    call: Callable[[torch.Tensor], Any]
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Examined:
    """An input that is looked into.

    Attributes:
        title: The input in short.
        network: The network.
        call: Runs it on the input.
        of: The number of its result that is explained.
        explained: What that number is, in words.
        answer: What the network says, in words.
        layer: The name of the recurrent layer that is looked into; it reads the input, but of what
            has `read`.
        steps: What stands at each step of that layer: a token, a time.
        values: The numbers that are read at each step, if it reads numbers, (steps, channels).
        channels: Their names.
        end: Whether the explained output is read off the end of the sequence, or is followed from
            all steps.
        at: The step, from 0, that takes the place of the end, if it is one in between.
        row: Which row of that layer's batch it is, where a network reads several things at a time.
        read: What the output is attributed to, if not to what that layer reads.
        notes: What a reader has to know besides.
        language: The language of all that is said.
    """

    title: str
    network: torch.nn.Module
    call: Callable[[], Any]
    of: Callable[[Any], torch.Tensor]
    explained: str
    answer: str
    layer: str
    steps: Sequence[str]
    values: numpy.ndarray | None = None
    channels: Sequence[str] = ()
    end: bool = True
    at: int | None = None
    row: int = 0
    read: Read | None = None
    notes: Sequence[str] = field(default_factory=tuple)
    language: Language = "en"

    @property
    def places(self) -> Sequence[str]:
        """What the output is attributed to: the steps, or the places that are attended to."""
        return self.steps if self.read is None else self.read.places


class Call(torch.nn.Module):
    """A network together with one call of it."""

    def __init__(self, examined: Examined) -> None:
        super().__init__()
        self.network = examined.network
        self._call = examined.call

    def forward(self) -> Any:
        """The result of the call."""
        return self._call()


def log_odds(logits: torch.Tensor, number: int) -> torch.Tensor:
    """The logarithm of p / (1 - p) of one of several classes, from logits, (classes).

    Example:
        >>> log_odds(torch.tensor([0.0, 1.0]), 1)
        tensor(1.)
    """
    if len(logits) == 1:
        return logits[0]
    others = torch.cat([logits[:number], logits[number + 1 :]])
    return logits[number] - others.logsumexp(0)


def given_text(options: InspectOptions, what: str = "a text") -> str:
    """The text that is given.

    Raises:
        OptionError: There is none, or an option has no effect on a text.
        DataError: It is empty.
    """
    if options.input is None:
        raise OptionError(
            f"{option_name('input')} is missing: give {what}, {option_name('input', 'TEXT')}"
        )
    without(options, "row", f"the input is {what}")
    if not options.input.strip():
        raise DataError(f"{option_name('input')} is empty; give {what}")
    return options.input


def without(options: InspectOptions, name: str, because: str) -> None:
    """Refuse an option that has no effect.

    Raises:
        OptionError: It is given.
    """
    if getattr(options, name) is not None:
        raise OptionError(f"{option_name(name)} has no effect: {because}; leave it out")


def chosen(name: str, given: str, known: Sequence[str], what: str) -> int:
    """The number of an output that is called by its name.

    Raises:
        OptionError: There is none of that name.
    """
    if given not in known:
        some = ", ".join(map(repr, known[:20])) + (", ..." if len(known) > 20 else "")
        raise OptionError(f"{option_name(name)} is {given!r}, which is no {what}; there are {some}")
    return list(known).index(given)


def place(options: InspectOptions, name: str, count: int, units: str, default: int) -> int:
    """The place, from 0, that is called by its number, from 1.

    Raises:
        OptionError: There are not so many.
    """
    given = getattr(options, name)
    if given is None:
        return default
    if given > count:
        raise OptionError(f"{option_name(name)} is {given}, but there are {count} {units}")
    return given - 1


def token_of(
    options: InspectOptions,
    written: Sequence[str],
    what: Literal["caption", "transcription", "translation"],
) -> tuple[int | None, str]:
    """Which token of what a network writes is explained, and what is said of it; without a step
    all of it is.

    Args:
        options: The step.
        written: The tokens.
        what: What they are.

    Raises:
        OptionError: There are not so many.
    """
    if options.step is None:
        return None, said(what, options.language)
    step = place(options, "step", len(written), f"tokens in the {what}", 0)
    token = {"name": written[step], "step": step + 1}
    return step, said(f"token of the {what}", options.language, **token)


def unknown_tokens(
    language: Language, steps: Sequence[str], known: Sequence[bool]
) -> tuple[str, ...]:
    """A note on tokens that the network does not know.

    Raises:
        DataError: It knows none.
    """
    unknown = [step for step, one in zip(steps, known, strict=True) if not one]
    if unknown and len(unknown) == len(steps):
        raise DataError(
            f"the network knows no token of the input: {', '.join(map(repr, unknown[:5]))} did not "
            "occur, or too seldom, in its training"
        )
    if not unknown:
        return ()
    return (said("unknown tokens", language, listed=listed(map(repr, unknown[:10]), language)),)
