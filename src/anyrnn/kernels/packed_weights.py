"""Packed weights that are kept from one call to the next, and what notices that they are stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anyrnn.kernels.run import ArrayInterface


@dataclass
class Packing:
    """What a kernel makes of parameters: packed matrices.

    Attributes:
        stamp: Where each parameter began, and how often it had been changed, before it was packed.
        parameters: Aliases of them: while these hold their memory, no other array begins there.
        memory: The target's; None as long as nothing is packed.
    """

    stamp: list[Any]
    parameters: list[Any]
    memory: Any = None


class PackedWeights:
    """The packed weights of one layer in one direction; the layer owns them.

    Each call compares where all parameters begin and how often they were changed with what was so
    when they were packed. If anything differs they are packed again, into other memory: a run in
    another thread goes on with what it has. A change that an array does not count goes unnoticed.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, Packing] = {}

    def find(
        self,
        contents: bytes,
        interface: ArrayInterface,
        arrays: Sequence[Any],
        starts: Sequence[int],
    ) -> Packing | None:
        """What was packed of parameters as they are now, or a packing without memory.

        Args:
            contents: What is to be there.
            interface: What kind of arrays these are.
            arrays: The parameters.
            starts: Where they begin.

        Returns:
            The packing; None if the changes of an array are not counted.
        """
        counts = interface.changes(arrays)
        if counts is None:
            return None
        stamp = [*starts, *counts]
        found = self.kept(contents, stamp)
        return found or Packing(stamp, [*map(interface.alias, arrays)])

    def kept(self, contents: bytes, stamp: list[Any]) -> Packing | None:
        """What was packed of parameters with a stamp, if it is kept."""
        found = self._kept.get(contents)
        return found if found is not None and found.stamp == stamp else None

    def keep(self, contents: bytes, packing: Packing) -> None:
        """Keep a packing, with others of the same parameters; what is stale is released."""
        kept = {key: other for key, other in self._kept.items() if other.stamp == packing.stamp}
        self._kept = {**kept, contents: packing}
