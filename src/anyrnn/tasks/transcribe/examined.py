"""A recording of speech that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anyrnn.errors import DataError
from anyrnn.tasks.decoding.decoder import preceding
from anyrnn.tasks.decoding.written_tokens import BOUNDARY_ID
from anyrnn.tasks.inspection.examined import Examined, token_of, without
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.recordings import heard, recording
from anyrnn.tasks.transcribe import ctc
from anyrnn.tasks.transcribe.model import TranscriptionNetwork

if TYPE_CHECKING:
    from anyrnn.tasks.transcribe.task import Transcribe


def examined(task: Transcribe, network: TranscriptionNetwork, options: InspectOptions) -> Examined:
    """A recording; its greedy transcription is explained.

    Raises:
        OptionError: There is no input, no such token, or an option without an effect.
        DataError: The recording cannot be read, or nothing is heard in it.
    """
    without(options, "explain", "the transcription itself is explained")
    name, samples = recording(options, network.features.options.sample_rate)
    lengths = torch.tensor([len(samples)])
    with torch.inference_mode():
        outputs, counts = network(samples[None], lengths)
        (found,) = task.greedily(network, outputs, counts)
    written = [task.tokens.shown(token) for token in found]
    if not written:
        raise DataError(f"the network hears nothing in {name}, so there is nothing to explain")
    if network.decoder is None:
        without(options, "step", "a transcription is explained as a whole, without a decoder")
    step, explained = token_of(options, written, "transcription")
    targets = torch.tensor([[*found, BOUNDARY_ID]])

    def call() -> torch.Tensor:
        outputs, counts = network(samples[None], lengths)
        if network.decoder is None:
            scores = network.log_probabilities(outputs)
            return -ctc.losses(scores, counts, targets[:, :-1], torch.tensor([len(found)]))
        vectors, _ = network.decoder(preceding(targets), network.begin(outputs, counts))
        return -network.decoder.losses(vectors, targets)[0]

    steps, values, channels = heard(network.features, samples, network.segment_length)
    return Examined(
        title=name,
        network=network,
        call=call,
        of=lambda given: given.sum() if step is None else given[step],
        explained=explained,
        answer=task.tokens.text(found),
        layer="recurrent",
        steps=steps,
        values=values,
        channels=channels,
        end=network.decoder is not None,
    )
