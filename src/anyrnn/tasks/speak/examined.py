"""A text whose speech is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.inspection.examined import Examined, Read, chosen, given_text, place
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said
from anyrnn.tasks.speak.data import normal_of
from anyrnn.tasks.speak.model import SpeechNetwork, Spoken
from anyrnn.tasks.speak.options import SpeechOptions
from anyrnn.tasks.words import listed

if TYPE_CHECKING:
    from anyrnn.tasks.speak.task import Speak

_LEVEL, _END = "level", "end"


def examined(task: Speak, network: SpeechNetwork, options: InspectOptions) -> Examined:
    """A text, of whose speech the decoder's layers after attention are looked into, step by step;
    what it says is attributed to the characters.

    Raises:
        OptionError: There is no text, no such step, or an option without an effect.
        DataError: The text is empty, too long, or has no character that the training had.
    """
    text = normal_of(task.options)(whole_characters(given_text(options)))
    if len(task.characters.read(text)) == 1:
        raise DataError(f"{option_name('input')} {text[:40]!r} has no character of the training")
    speaking = task.speaking(network, SpeechOptions())
    (utterance,) = speaking.utterances([text])
    count, language = len(utterance.weights), options.language
    texts = torch.as_tensor(task.characters.encode([text])[0])[None]
    lengths, steps = torch.tensor([texts.shape[1]]), torch.tensor([count * network.reduction])
    frames = _spoken(network, texts, lengths, count)

    def call(read: torch.Tensor) -> Spoken:
        return network.spoken(network.encode(read, lengths), frames, steps)

    with torch.no_grad():
        read = network.embedding(texts)
        found = call(read)
    levels = found.coarse.unflatten(1, (count, network.reduction)).mean((2, 3))[0]
    step = place(options, "step", count, "steps of the speech", int(levels.argmax()))
    what = _LEVEL
    if options.explain is not None:
        what = (_LEVEL, _END)[chosen("explain", options.explain, (_LEVEL, _END), "output")]
    first, last = step * network.reduction, (step + 1) * network.reduction

    def of(given: Spoken) -> torch.Tensor:
        return given.stops[0, step] if what == _END else given.coarse[0, first:last].mean()

    seconds = network.reduction * task.features.hop / task.options.sound.sample_rate
    ends = float(found.stops[0, step].sigmoid())
    unknown = task.characters.unknown(text)
    notes = (said("left out", language, listed=listed(unknown, language)),) if unknown else ()
    return Examined(
        title=text,
        network=network,
        call=lambda: call(network.embedding(texts)),
        of=of,
        explained=said(what, language, start=step * seconds, step=step + 1, probability=ends),
        answer=said(
            "speech" if utterance.ended else "speech that did not end",
            language,
            seconds=count * seconds,
        ),
        layer="writer",
        steps=[f"{number * seconds:.2f} s" for number in range(count)],
        values=frames[0].unflatten(0, (count, network.reduction)).mean(1).numpy(),
        channels=[f"band {number + 1}" for number in range(network.bands)],
        at=step,
        read=Read(task.characters.read(text), read, call),
        notes=notes,
    )


def _spoken(
    network: SpeechNetwork, texts: torch.Tensor, lengths: torch.Tensor, count: int
) -> torch.Tensor:
    """The frames that the decoder gives itself to read, (1, frames, bands)."""
    every: list[torch.Tensor] = []
    with torch.inference_mode():
        state = network.begin(texts, lengths)
        frames = state.context.new_zeros(1, 1, network.bands)
        for _ in range(count):
            frames, _, _, state = network.step(frames[:, -1], state)
            every.append(frames)
    return torch.cat(every, 1).clone()
