"""Graphs of the launches of a loop that has one for each step: what is launched twice with the same
addresses is recorded, and from then on put into the queue as one thing.

A graph holds nothing but kernels and what they were launched with, so it is good for whatever is at
these addresses, and is no good for others: the addresses are a part of what it is found by. Memory
that is given back and taken again in each call of a training is the same in most calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Any

from anyrnn.kernels.run import DeviceArrays

VARIABLE = "ANYRNN_CUDA_GRAPHS"  # 1: graphs are recorded
KEPT = 16  # graphs, each with as many nodes as launches
SEEN = 256  # keys of launches that came once


def wanted() -> bool:
    """Whether graphs are asked for."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


class LaunchGraphs:
    """Graphs by what they were recorded with; those that were used least recently are dropped."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, tuple[Callable[[], None], Any]] = {}
        self._seen: dict[Hashable, None] = {}

    @property
    def recorded(self) -> int:
        """How many graphs are kept."""
        return len(self._graphs)

    def launch(
        self,
        key: Hashable,
        launches: Callable[[], None],
        kernels: Any,
        like: Any,
        device: DeviceArrays,
    ) -> None:
        """Launch kernels, by a graph if they were launched before.

        Args:
            key: All that they are launched with.
            launches: Launches them.
            kernels: The kernels, which live as long as a graph of them.
            like: An array on the device.
            device: What records there.
        """
        if device.queue(like) is None:  # somebody else records
            launches()
            return
        found = self._graphs.pop(key, None)
        if found is None:
            if key not in self._seen:
                self._seen[key] = None
                _shorten(self._seen, SEEN)
                launches()  # kernels are compiled, which cannot be recorded
                return
            del self._seen[key]
            found = device.recorded(launches, like), kernels
        self._graphs[key] = found
        _shorten(self._graphs, KEPT)
        found[0]()


def _shorten(kept: dict[Hashable, Any], most: int) -> None:
    while len(kept) > most:
        kept.pop(next(iter(kept)), None)


GRAPHS = LaunchGraphs()
