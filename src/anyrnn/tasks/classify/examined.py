"""An input of a classifier that is looked into."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from anyrnn.errors import DataError, OptionError, option_name
from anyrnn.tasks.classify.data import read_part
from anyrnn.tasks.classify.inputs import Numbers, Texts
from anyrnn.tasks.classify.labelling import Labelling
from anyrnn.tasks.classify.model import SequenceNetwork
from anyrnn.tasks.data.encoding import whole_characters
from anyrnn.tasks.data.vocabulary import UNKNOWN_ID
from anyrnn.tasks.inspection.examined import (
    Examined,
    chosen,
    given_text,
    log_odds,
    place,
    unknown_tokens,
    without,
)
from anyrnn.tasks.inspection.options import InspectOptions
from anyrnn.tasks.inspection.words import said

if TYPE_CHECKING:
    from anyrnn.tasks.classify.task import Classify


def examined(task: Classify, network: SequenceNetwork, options: InspectOptions) -> Examined:
    """A text, or a sequence of numbers.

    Raises:
        OptionError: There is no input, no such row or label, or an option without an effect.
        DataError: The input cannot be read, is empty, or has no known token.
    """
    if isinstance(task.inputs, Numbers):
        return _numbers(task, task.inputs, network, options)
    assert isinstance(task.inputs, Texts)
    text = whole_characters(given_text(options))
    found = task.inputs.vocabulary.tokenizer.encode(text, add_special_tokens=False)
    if not found.ids:
        raise DataError(f"{option_name('input')} {text!r} has no token")
    steps = [text[start:end].strip() or text[start:end] for start, end in found.offsets]
    notes = unknown_tokens(options.language, steps, [number != UNKNOWN_ID for number in found.ids])
    inputs = torch.tensor([found.ids])
    return answered(task, network, options, inputs, len(found.ids), text, steps, notes=notes)


def _numbers(
    task: Classify, numbers: Numbers, network: SequenceNetwork, options: InspectOptions
) -> Examined:
    if options.input is None:
        raise OptionError(
            f"{option_name('input')} is missing: give a file of sequences like that of the training"
        )
    path = Path(options.input)
    known = {"numbers": True, "channels": numbers.channels}
    part = read_part(path, task.options.data, with_labels=False, **known)
    row = place(options, "row", len(part), f"sequences in {path}", 0)
    values = numbers.scaled(part.inputs[row])
    inputs = torch.from_numpy(values)[None]
    length = task.options.model.segment_length
    starts = range(1, len(values) + 1, length)
    means = [numpy.nanmean(values[start - 1 : start - 1 + length], axis=0) for start in starts]
    return answered(
        task,
        network,
        options,
        inputs,
        len(values),
        f"{path.name}, {part.rows[row]}",
        [str(start) for start in starts],
        values=numpy.stack(means),
        channels=numbers.channels,
    )


def answered(
    task: Labelling,
    network: SequenceNetwork,
    options: InspectOptions,
    inputs: torch.Tensor,
    length: int,
    title: str,
    steps: Sequence[str],
    **others: Any,
) -> Examined:
    """What a classifier says of one input.

    Args:
        task: The task.
        network: Its network.
        options: What is explained.
        inputs: The input as the network reads it, a batch of one.
        length: Its steps.
        title: What it is called.
        steps: What stands at each step of the layer.
        **others: Further attributes of the result.

    Raises:
        OptionError: There is no such label, or an option has no effect.
    """
    without(options, "step", "an input has one label for all steps")
    lengths = torch.tensor([length])

    def call() -> torch.Tensor:
        return network(inputs, lengths)

    with torch.inference_mode():
        logits = call()[0]
    several = task.separator is not None
    probabilities = logits.sigmoid() if several else logits.softmax(0)
    best = int(probabilities.argmax())
    label = best
    if options.explain is not None:
        label = chosen("explain", options.explain, task.labels, "label")
    name = task.labels[label]
    return Examined(
        title=title,
        network=network,
        call=call,
        of=lambda found: found[0, label] if several else log_odds(found[0], label),
        explained=said(
            "label", options.language, name=name, probability=float(probabilities[label])
        ),
        answer=f"{task.labels[best]} ({100 * float(probabilities[best]):.1f} %)",
        layer="recurrent",
        steps=steps,
        **others,
    )
