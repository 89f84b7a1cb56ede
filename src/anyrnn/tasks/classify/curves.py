"""What a report draws of sequences of numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy
from markupsafe import Markup

_CHANNELS = 6  # as many as there are colours
_LABELS = 6
_POINTS = 100
_DIGITS = 5
_WIDTH, _HEIGHT = 240, 60


def shortened(values: numpy.ndarray) -> list[list[float]]:
    """The first channels of a sequence at no more than a hundred points; NaN becomes the mean.

    Args:
        values: (time, channels).

    Returns:
        The values of each channel.
    """
    count = min(len(values), _POINTS)
    return _resampled(values, count).T.tolist()


def mean_curves(
    inputs: Sequence[numpy.ndarray], labels: Sequence[str]
) -> dict[str, list[list[float]]]:
    """The mean sequence of each of the most frequent labels: the values of its first channels.

    Sequences of different lengths are stretched to one length.
    """
    lengths = {len(values) for values in inputs}
    count = min(max(lengths), _POINTS)
    found = {}
    for label, _ in Counter(labels).most_common(_LABELS):
        own = [
            _resampled(values, count)
            for values, name in zip(inputs, labels, strict=True)
            if name == label
        ]
        found[label] = numpy.mean(own, 0).T.round(_DIGITS).tolist()
    return found


def drawn(curve: Sequence[Sequence[float]]) -> Markup:
    """Small lines, one for each channel, in a common scale."""
    values = numpy.array(curve, numpy.float64)
    low, high = values.min(), values.max()
    heights = _HEIGHT - 2 - (values - low) / ((high - low) or 1) * (_HEIGHT - 4)
    steps = numpy.linspace(1, _WIDTH - 1, values.shape[1])
    lines = [
        Markup('<polyline points="{}" style="stroke: var(--series-{})"/>').format(
            " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(steps, each, strict=True)), number
        )
        for number, each in enumerate(heights, start=1)
    ]
    return Markup('<svg class="curve" viewBox="0 0 {} {}" role="img">{}</svg>').format(
        _WIDTH, _HEIGHT, Markup("").join(lines)
    )


def _resampled(values: numpy.ndarray, count: int) -> numpy.ndarray:
    """The first channels at equally distant points of a sequence, (count, channels)."""
    places = numpy.linspace(0, len(values) - 1, count)
    steps = numpy.arange(len(values))
    columns = []
    for channel in values[:, :_CHANNELS].T.astype(numpy.float64):
        known = ~numpy.isnan(channel)
        columns.append(
            numpy.interp(places, steps[known], channel[known]) if known.any() else 0 * places
        )
    return numpy.stack(columns, 1).round(_DIGITS)
