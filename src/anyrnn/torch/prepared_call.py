"""Calls of a layer: what those of one size have in common is looked at once.

Without a gradient what is kept is what is entered; of a prepared layer also where the packed
weights are. With one it is what autograd records. Each call looks whether its tensors are as they
were; if not, it goes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import Run
from anyrnn.kernels.target import target_for
from anyrnn.torch.changes import changes
from anyrnn.torch.compiled_path import TENSORS, Layout, over, record
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.path import choose, is_ordinary
from anyrnn.torch.single_step import target_step
from anyrnn.torch.step_results import direct_results, disjoint
from anyrnn.torch.tensors import DTYPE, DTYPES, IS_CPU, PLAIN, REQUIRES_GRAD, SHAPE, maker

SEVERAL = frozenset((tuple, list))
CALLS = 16  # of a layer that are kept
STACKED = Layout(True, True)  # as those of a layer alone
OUTS = 8  # results given by a caller that are remembered


class KnownCall:
    """A call of a layer, to be made again with tensors of the same kind.

    Args:
        names: What the layer calls the parameters that it reads.
        given: The input and the states, each (1, batch, size) or (batch, size).
        stored: The parameters.
        gradient: Whether autograd follows it.
    """

    def __init__(
        self,
        names: Iterable[str],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
        gradient: bool,
    ) -> None:
        self.count, self.names, self.gradient = len(given), [*names], gradient
        self.target, self.threads = target_for("cpu"), torch.get_num_threads()
        self.shapes, self.dtypes = ([*map(of, (*given, *stored))] for of in (SHAPE, DTYPE))
        with torch.inference_mode(False):
            self.zeros = [
                torch.zeros(shape, dtype=self.dtypes[0], device="cpu")
                for shape in self.shapes[1 : self.count]
            ]

    def tensors(
        self, rows: Any, state: Any, parameters: Mapping[str, Any]
    ) -> tuple[list[Tensor], list[Tensor]] | None:
        """The input with the states, and the parameters; None if anything is not as it was.

        Args:
            rows: The input.
            state: The states as a caller gives them; None for zeros.
            parameters: The layer's parameters by name.
        """
        if (
            torch.compiler.is_compiling()
            or not is_ordinary()
            or torch.is_autocast_enabled("cpu")
            or torch.get_num_threads() != self.threads
            or target_for("cpu") is not self.target
        ):
            return None
        if type(state) in PLAIN:
            given = [rows, state]
        elif state is None:
            given = [rows, *self.zeros]
        elif type(state) in SEVERAL and self.count > 2:
            given = [rows, *state]
        else:
            return None
        stored: list[Any] = [*map(parameters.get, self.names)]
        tensors = given + stored
        try:
            if (
                PLAIN.issuperset(map(type, tensors))
                and [*map(SHAPE, tensors)] == self.shapes
                and [*map(DTYPE, tensors)] == self.dtypes
                and all(map(IS_CPU, tensors))
                and all(map(Tensor.is_contiguous, tensors))
                and self.gradient == (torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors)))
            ):
                return given, stored
        except RuntimeError:  # a tensor without a shape
            pass
        return None


class RecordedCall(KnownCall):
    """A call of a layer that autograd follows, to be made again with tensors of the same kind.

    Args:
        run: What is run, with its steps.
        names: What the layer calls the parameters that it reads.
        given: The input and the states.
        stored: The parameters.
    """

    def __init__(
        self,
        run: Run,
        names: Iterable[str],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
    ) -> None:
        super().__init__(names, given, stored, True)
        self.run = run

    def __call__(
        self, rows: Any, state: Any, parameters: Mapping[str, Any], out: Any = None
    ) -> tuple[Tensor, Any] | None:
        """Run; None if anything is not as it was. Arguments as those of a `PreparedCall`."""
        found = None if out is not None else self.tensors(rows, state, parameters)
        if found is None:
            return None
        (_, *states), stored = found
        try:
            tensors = [rows, *(state[0] for state in states), *stored]
        except RuntimeError:  # a state without memory
            return None
        output, *new = record(self.run, None, STACKED, tensors)
        return output, new[0] if len(new) == 1 else tuple(new)


class PreparedCall(KnownCall):
    """A call of a layer without a gradient, to be run again with tensors of the same kind.

    Args:
        run: Runs it, given the addresses of the input, the states, the parameters and the results.
        names: What the layer calls the parameters that it reads.
        given: The input and the states.
        stored: The parameters.
        output_size: The size of the output.
        counts: How often these had been changed when they were packed; None where they are read as
            they are.
    """

    def __init__(
        self,
        run: Callable[[Sequence[int]], None],
        names: Iterable[str],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
        output_size: int,
        counts: list[int] | None,
    ) -> None:
        super().__init__(names, given, stored, False)
        self.run, self.counts = run, counts
        if counts is not None:  # memory is held, so that nothing else gets its addresses
            self.aliases = [*map(Tensor.detach, stored)]
            self.places = [*map(Tensor.data_ptr, stored)]
        rows, *states = self.shapes[: self.count]
        self.made: list[tuple[int, ...]] = [(*rows[:-1], output_size), *states]
        kind = DTYPES[self.dtypes[0]]
        self.makers = [maker(shape, kind) for shape in self.made]
        shapes = *self.made, *self.shapes[: self.count]
        self.sizes = tuple(map(torch.Size.numel, map(torch.Size, shapes)))
        self.outs: dict[int, tuple[Any, list[int], list[Tensor]]] = {}

    def __call__(
        self, rows: Any, state: Any, parameters: Mapping[str, Any], out: Any = None
    ) -> tuple[Tensor, Any] | None:
        """Run; None if anything is not as it was.

        Args:
            rows: The input.
            state: The states as a caller gives them; None for zeros.
            parameters: The layer's parameters by name.
            out: Where to write the results; None for new tensors.
        """
        found = self.tensors(rows, state, parameters)
        if found is None:
            return None
        given, stored = found
        try:
            addresses = [*map(Tensor.data_ptr, given + stored)]
        except RuntimeError:  # a tensor without memory
            return None
        if 0 in addresses:
            return None
        if self.counts is not None and (
            addresses[self.count :] != self.places or changes(stored) != self.counts
        ):
            return None
        if out is not None:
            found = self._places(out, given, addresses)
            if found is None:
                return None
            places, tensors = found
            self.run(addresses + places)
            increment_version(tensors)
            return out
        output, *new = [make() for make in self.makers]
        self.run([*addresses, output.data_ptr(), *map(Tensor.data_ptr, new)])
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


Call = PreparedCall | RecordedCall


class Prepared:
    """What a layer keeps from one call to the next. A copy of it is empty: it belongs to another
    layer.

    Attributes:
        weights: `int8` if products are those of int8; None if not.
        packed: The packed weights of each part; None where each call packs them.
        calls: Those of a layer alone, by the shape of the input, whether it is batch first,
            whether the layer trains, whether autograd follows, and what is saved for it.
    """

    def __init__(self, keeps_weights: bool = False, weights: str | None = None) -> None:
        self.weights = weights
        self.packed: dict[LayerPart, PackedWeights] | None = {} if keeps_weights else None
        self.calls: dict[Any, Call | None] = {}

    def __reduce__(self) -> tuple[type[Prepared], tuple[bool, str | None]]:
        """What is copied and pickled: nothing of what is kept."""
        return Prepared, (self.packed is not None, self.weights)

    def emptied(self) -> Prepared:
        """The same without what is kept."""
        return Prepared(self.packed is not None, self.weights)

    def keep(self, key: Any, call: Call | None) -> None:
        """Keep a call; the oldest of many is released."""
        calls = {other: each for other, each in self.calls.items() if other != key}
        while len(calls) >= CALLS:
            del calls[next(iter(calls))]
        self.calls = {**calls, key: call}


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors have one type of those that kernels take, without mixed precision."""
    found = {*map(DTYPE, tensors)}
    return len(found) == 1 and found.issubset(DTYPES) and not torch.is_autocast_enabled("cpu")


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
    if not _alike([*given, *stored]):
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
) -> PreparedCall | None:
    """As `prepared_step`, for a run over sequences of one length.

    Args:
        run: What was run.
        names: What the layer calls the parameters.
        rows: The input, (time, batch, input).
        stored: The parameters.
        packed: Where packed weights are kept; None to pack them in each call.
    """
    if not _usual(run, rows, stored):
        return None
    counts = None if packed is None else changes(stored)
    if (packed is not None and counts is None) or not all(map(Tensor.is_contiguous, stored)):
        return None
    run, given = _over_all(run, rows)
    target, stamp = target_for("cpu"), [*map(Tensor.data_ptr, stored), *(counts or ())]
    enter = None if target is None else target.entry(run, TENSORS, packed, stamp)
    if enter is None:
        return None
    return PreparedCall(enter, names, given, stored, run.output_shape()[0], counts)


def recorded_run(
    run: Run, names: Iterable[str], rows: Tensor, stored: Sequence[Tensor]
) -> RecordedCall | None:
    """As `prepared_run`, for a run that autograd follows."""
    if not _usual(run, rows, stored) or run.cell.draws or not rows.is_contiguous():
        return None
    run, given = _over_all(run, rows)
    return RecordedCall(run, names, given, stored)


def _usual(run: Run, rows: Tensor, stored: Sequence[Tensor]) -> bool:
    """Whether kernels of the CPU compute a run, as they would without a caller's wish."""
    if not _alike([rows, *stored]) or not is_ordinary() or not rows.is_cpu:
        return False
    return choose(run.cell, [rows, *stored]).name == "compiled"


def _over_all(run: Run, rows: Tensor) -> tuple[Run, list[Tensor]]:
    """The run over sequences of one length, and its input with initial states."""
    time, batch, _ = rows.shape
    run = over(run, (batch,) * time, rows)
    return run, [rows, *(rows.new_zeros((1, *shape)) for shape in run.state_shapes(batch))]
