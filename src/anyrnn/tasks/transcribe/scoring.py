"""Transcriptions beside what was said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.transcripts import Part
from anyrnn.tasks.decoding.written_vocabulary import WrittenVocabulary
from anyrnn.tasks.networks.layers import segments
from anyrnn.tasks.transcribe.scores import (
    RATES,
    Example,
    Picture,
    TranscriptionScores,
    confusions,
    errors,
)
from anyrnn.tasks.transcribe.transcribing import Transcription

_EXAMPLES, _WORST, _PICTURES = 12, 8, 3


@dataclass(frozen=True)
class Losses:
    """The losses of the transcripts of some recordings.

    Attributes:
        total: The sum of the losses of all tokens.
        count: The number of these.
        short, unknown: See `TranscriptionScores`.
    """

    total: float
    count: int
    short: int
    unknown: int


def compared(
    part: Part,
    found: Sequence[Transcription],
    losses: Losses,
    picture: Callable[[int], Picture],
) -> TranscriptionScores:
    """How good transcriptions are.

    Args:
        part: The recordings.
        found: The transcription of each.
        losses: Those of their transcripts.
        picture: Makes the picture of one, by its number.
    """
    texts = [each.text for each in found]
    figures = {"loss": losses.total / max(1, losses.count)}
    for rate in RATES:
        wrong, count = errors(texts, part.texts, rate)
        figures[rate] = wrong / count
    examples = [
        Example(name, reference, text, errors([text], [reference], "cer")[0])
        for name, reference, text in zip(part.names, part.texts, texts, strict=True)
    ]
    worst = sorted(
        (each for each in examples if each.errors),
        key=lambda one: -one.errors / len(one.reference),
    )
    shown = part.spread(_EXAMPLES)
    return TranscriptionScores(
        count=len(part),
        figures=figures,
        short=losses.short,
        unknown=losses.unknown,
        cut=sum(not each.ended for each in found),
        confusions=confusions(texts, part.texts),
        examples=[examples[row] for row in shown],
        worst=worst[:_WORST],
        pictures=[picture(row) for row in shown[:_PICTURES]],
    )


def picture(
    name: str,
    samples: Any,
    found: Transcription,
    features: Features,
    segment_length: int,
    tokens: WrittenVocabulary,
) -> Picture:
    """What a network hears of a recording, the mean of the frames of each step, beside its words.

    Args:
        name: What the recording is called.
        samples: Its samples.
        found: Its transcription.
        features: What the network hears.
        segment_length: How many frames are a step.
        tokens: What it writes.
    """
    samples = torch.as_tensor(samples)[None]
    heard, counts = features(samples, torch.tensor([samples.shape[1]]))
    steps, _ = segments(heard, counts, segment_length)
    columns = steps[0].unflatten(1, (-1, heard.shape[2])).mean(1)
    low, high = columns.aminmax()
    spectrum = ((columns - low) / (high - low).clamp_min(1e-6) * 99).round().int()
    weights = [] if found.weights is None else (100 * found.weights).round().int().tolist()
    written = [tokens.shown(span.token) or "·" for span in found.spans]
    seconds = features.seconds(segment_length)
    return Picture(name, seconds, spectrum.tolist(), found.words, written, weights)
