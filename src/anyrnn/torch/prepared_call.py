"""Calls of a layer without a gradient: what those of one size have in common is looked at once.

What is kept is what is entered; of a prepared layer also where the packed weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import Run
from anyrnn.torch.changes import changes
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.kept_call import KeptCall, alike, repeatable, time_first
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.single_step import target_step
from anyrnn.torch.step_results import direct_results, disjoint
from anyrnn.torch.tensors import DTYPES, list_maker

CALLS = 16  # of a layer that are kept
OUTS = 8  # results given by a caller that are remembered


class PreparedCall(KeptCall):
    """A call of a layer without a gradient, to be run again with tensors of the same kind.

    Args:
        run: Runs it, given the addresses of the input, the states, the parameters and the results.
        names: What the layer calls the parameters that it reads.
        given: The input and the states.
        stored: The parameters.
        output_size: The size of the output.
        counts: How often these had been changed when they were packed; None where they are read as
            they are.
        batch_first: Whether the input has the batch before the time.
    """

    def __init__(
        self,
        run: Callable[[list[int]], None],
        names: Iterable[str],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
        output_size: int,
        counts: list[int] | None,
        batch_first: bool = False,
    ) -> None:
        super().__init__(names, given, stored, recorded=False)
        self.run, self.batch_first, self.counts = run, batch_first, counts
        if counts is not None:  # memory is held, so that nothing else gets its addresses
            self.aliases = [*map(Tensor.detach, stored)]
            self.places = [*map(Tensor.data_ptr, stored)]
        leading, states = self.shapes[0][:-1], self.shapes[1 : self.count]
        leading = leading[::-1] if batch_first else leading
        self.made: list[tuple[int, ...]] = [(*leading, output_size), *states]
        kind = DTYPES[self.dtypes[0]]
        self.make = list_maker(self.made, [kind] * len(self.made))
        shapes = *self.made, *self.shapes[: self.count]
        self.sizes = tuple(map(torch.Size.numel, map(torch.Size, shapes)))
        self.outs: dict[int, tuple[Any, list[int], list[Tensor]]] = {}

    def __call__(
        self, rows: Any, state: Any, parameters: Mapping[str, Any], out: Any = None
    ) -> tuple[Tensor, Any] | None:
        """As `KeptCall.__call__`."""
        found = self.read(rows, state, parameters)
        if found is None:
            return None
        tensors, addresses = found
        if self.counts is not None and (
            addresses[self.count :] != self.places or changes(tensors[self.count :]) != self.counts
        ):
            return None
        if out is not None:
            written = self._places(out, tensors[: self.count], addresses)
            if written is None:
                return None
            places, results = written
            self.run(addresses + places)
            increment_version(results)
            return out
        if self.batch_first:
            moved = time_first(tensors[0])
            addresses[0] = moved.data_ptr()
        output, *new = self.make()
        self.run([*addresses, output.data_ptr(), *map(Tensor.data_ptr, new)])
        if self.batch_first:
            output = output.transpose(0, 1).detach()
        return output, new[0] if len(new) == 1 else tuple(new)

    def _places(
        self, out: Any, given: Sequence[Tensor], addresses: Sequence[int]
    ) -> tuple[list[int], list[Tensor]] | None:
        """Where results begin that are to be written into given tensors, and these; None if they
        cannot.
        """
        known = self.outs.get(id(out))
        if known is not None:
            _, places, tensors = known
            if [*map(Tensor.data_ptr, tensors)] == places:
                every = *places, *addresses[: self.count]
                apart = disjoint(every, self.sizes, self.dtypes[0].itemsize)
                return (places, tensors) if apart else None
        found = direct_results(out, given, self.made)
        if found is None:
            return None
        tensors = [found[0], *found[1]]
        places = [*map(Tensor.data_ptr, tensors)]
        if isinstance(out, tuple) and isinstance(out[1], tuple | Tensor):  # it stays as it is
            if len(self.outs) >= OUTS:
                self.outs.clear()
            self.outs[id(out)] = (out, [t.detach() for t in tensors]), places, tensors
        return places, tensors


class Prepared:
    """What a layer keeps from one call to the next. A copy of it is empty: it belongs to another
    layer.

    Attributes:
        packed: The packed weights of each part; None where each call packs them.
        calls: Those of a layer alone, by what they have in common.
    """

    def __init__(self, keeps_weights: bool = False) -> None:
        self.packed: dict[LayerPart, PackedWeights] | None = {} if keeps_weights else None
        self.calls: dict[Any, KeptCall | None] = {}

    def __reduce__(self) -> tuple[type[Prepared], tuple[bool]]:
        """What is copied and pickled: nothing of what is kept."""
        return Prepared, (self.packed is not None,)

    def keep(self, key: Any, call: KeptCall | None) -> None:
        """Keep a call; the oldest of many is released."""
        calls = {other: each for other, each in self.calls.items() if other != key}
        while len(calls) >= CALLS:
            del calls[next(iter(calls))]
        self.calls = {**calls, key: call}


def prepared_step(
    run: Run, names: Iterable[str], given: Sequence[Tensor], stored: Sequence[Tensor]
) -> PreparedCall | None:
    """The step that has just been run, prepared; None if there is no such thing.

    Args:
        run: What was run.
        names: What the layer calls the parameters.
        given: The input and the states.
        stored: The parameters.
    """
    if not alike([*given, *stored]):
        return None
    step = target_step(run, [*given, *stored])
    if step is None:
        return None
    return PreparedCall(step.run, names, given, stored, step.output_size, None)


def prepared_run(
    run: Run,
    names: Iterable[str],
    rows: Tensor,
    stored: Sequence[Tensor],
    packed: PackedWeights | None,
    batch_first: bool,
) -> PreparedCall | None:
    """As `prepared_step`, for a run over sequences of one length.

    Args:
        run: What was run.
        names: What the layer calls the parameters.
        rows: The input, as the caller gave it.
        stored: The parameters.
        packed: Where packed weights are kept; None to pack them in each call.
        batch_first: Whether the input has the batch before the time.
    """
    found = repeatable(run, rows, stored, batch_first)
    counts = None if packed is None else changes(stored)
    if found is None or (packed is not None and counts is None):
        return None
    (run, target), stamp = found, [*map(Tensor.data_ptr, stored), *(counts or ())]
    entry = target.entry(run, "forward", TENSORS, packed, stamp)
    if entry is None:
        return None
    batch, (size, *_) = run.steps.batch, run.output_shape()
    shapes = [(run.steps.rows, size), *run.state_shapes(batch)]
    whole = [(place, (0, shape[0])) for place, shape in enumerate(shapes)]
    if [*entry.returned] != whole or len(entry.results) != len(whole):
        return None
    states = [rows.new_zeros((1, *shape)) for shape in shapes[1:]]
    moves = batch_first and batch != 1
    return PreparedCall(entry.run, names, [rows, *states], stored, size, counts, moves)
