"""A recording of a word that is looked into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyrnn.tasks.classify.examined import answered
from anyrnn.tasks.command.model import CommandNetwork
from anyrnn.tasks.inspection.examined import Examined
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.recordings import heard, recording

if TYPE_CHECKING:
    from anyrnn.tasks.command.task import Command


def examined(task: Command, network: CommandNetwork, options: InspectOptions) -> Examined:
    """A recording.

    Raises:
        OptionError: There is no input, no such word, or an option without an effect.
        DataError: The recording cannot be read.
    """
    name, samples = recording(options, task.inputs.sound.sample_rate)
    steps, values, channels = heard(network.features, samples, network.segment_length)
    return answered(
        task,
        network,
        options,
        samples[None],
        len(samples),
        name,
        steps,
        values=values,
        channels=channels,
    )
