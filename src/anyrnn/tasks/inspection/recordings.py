"""Recordings that are looked into."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.audio.features import Features
from anyrnn.tasks.audio.recordings import read_recordings
from anyrnn.tasks.inspection.examined import without
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.networks.layers import segments


def recording(options: InspectOptions, rate: int) -> tuple[str, torch.Tensor]:
    """The name and the samples of the recording that is given.

    Raises:
        OptionError: There is none, or an option has no effect.
        DataError: It cannot be read, or is empty.
    """
    if options.input is None:
        raise OptionError(f"{option_name('input')} is missing: give a recording")
    without(options, "row", "the input is a recording")
    path = Path(options.input)
    found = read_recordings([path], rate)
    for problem in filter(None, found.problems):
        raise DataError(problem)
    samples = torch.as_tensor(numpy.array(found.samples[0]))
    if not len(samples):
        raise DataError(f"{path} has no sound")
    return path.name, samples


def heard(
    features: Features, samples: torch.Tensor, length: int
) -> tuple[list[str], numpy.ndarray, list[str]]:
    """What a layer hears of samples: the seconds at which each of its steps begins, the features,
    (steps, features), and their names.

    Args:
        features: What makes them.
        samples: The samples, (samples).
        length: How many frames are one step.
    """
    with torch.inference_mode():
        frames, counts = features(samples[None], torch.tensor([len(samples)]))
        joined, steps = segments(frames, counts, length)
    count = int(steps[0])
    values = joined[0, :count].unflatten(1, (length, -1)).mean(1).numpy()
    seconds = length * features.hop / features.options.sample_rate
    names = [f"feature {number + 1}" for number in range(values.shape[1])]
    return [f"{step * seconds:.2f} s" for step in range(count)], values, names
