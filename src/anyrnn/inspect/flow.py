"""What is left of a gradient, or of a perturbation, after how many steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anyrnn.kernels.run import Array

SHARE = 0.01
_EXPLODED = 100.0


@dataclass(frozen=True)
class Flow:
    """How a gradient is carried back from the end of sequences, or a perturbation on from a step.

    Attributes:
        name: The layer and direction, such as `l0` or `l1_reverse`; `all layers` for all of them.
        norms: The norm for all states together after so many steps back, or on, (batch, steps); NaN
            where a sequence has no such step.
        share: What is left of that after 0 steps, (steps): the median over sequences.
    """

    name: str
    norms: Array
    share: Array

    def steps_left(self, share: float = SHARE) -> int | None:
        """The number of steps after which no more than a share is left; None if more is left after
        all steps there are.
        """
        above = np.flatnonzero(self.share > share)
        last = int(above[-1]) if len(above) else -1
        return None if last + 1 >= len(self.share) else last + 1

    @property
    def per_step(self) -> float:
        """By what it is multiplied at each step, on average over all steps where it is not zero:
        below 1 it vanishes, above 1 it explodes. NaN for a single step.
        """
        steps = np.flatnonzero(self.share > 0)
        if len(steps) < 2:
            return float("nan")
        logarithms = np.log(self.share[steps])
        return float(np.exp(np.polyfit(steps, logarithms, 1)[0]))

    @property
    def verdict(self) -> str:
        """`vanishes` if no more than 1 % is left somewhere, `explodes` if it grows a hundredfold,
        `keeps` if neither.
        """
        if not np.isfinite(self.share).all() or self.share.max(initial=0) > _EXPLODED:
            return "explodes"
        return "keeps" if self.steps_left() is None else "vanishes"


def from_start(name: str, norms: Array, backwards: bool) -> Flow:
    """The flow of norms by step, (batch, time), from the first step on, or from the last one
    backwards; NaN at steps that do not count.
    """
    rows = [row[~np.isnan(row)] for row in norms]
    rows = [row[::-1] if backwards else row for row in rows]
    longest = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), longest), np.nan)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return _measured(name, padded)


def _measured(name: str, norms: Array) -> Flow:
    """The flow of norms by the number of steps."""
    present = norms[norms[:, 0] > 0] if norms.size else norms
    if not len(present):  # no gradient at all
        return Flow(name, norms, np.zeros(norms.shape[1]))
    share = (present / present[:, :1])[:, ~np.isnan(present).all(axis=0)]
    return Flow(name, norms, np.nanmedian(share, axis=0))


def whole(flows: Sequence[Flow]) -> Flow:
    """The flow of the network of these layers and directions: of all layers together; where they
    run in both directions, of that direction of the last layer that keeps more.
    """
    if len(flows) == 1:
        return flows[0]
    if any(flow.name.endswith("_reverse") for flow in flows):
        forwards, backwards = flows[-2:]
        steps = [flow.steps_left() for flow in (forwards, backwards)]
        longer = steps[1] is None or (steps[0] is not None and steps[1] > steps[0])
        return backwards if longer and steps[0] is not None else forwards
    if len({flow.norms.shape for flow in flows}) > 1:
        return flows[-1]
    squares = [flow.norms**2 for flow in flows]
    return _measured("all layers", np.sqrt(np.sum(squares, axis=0)))
