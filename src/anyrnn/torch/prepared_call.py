"""Calls of a prepared layer: what calls of the same sizes have in common is looked at once.

What is kept is where things are: parameters, and for a run their packed copies. Each call looks
whether all of it is still so; if not, it goes the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import Run
from anyrnn.kernels.target import target_for
from anyrnn.torch.changes import changes
from anyrnn.torch.compiled_path import TENSORS, over
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.path import is_ordinary
from anyrnn.torch.single_step import target_step
from anyrnn.torch.step_results import direct_results, disjoint
from anyrnn.torch.tensors import DTYPE, DTYPES, IS_CPU, PLAIN, REQUIRES_GRAD, SHAPE, maker

SEVERAL = frozenset((tuple, list))
RUNS = 16  # shapes of inputs whose runs are kept
OUTS = 8  # results given by a caller that are remembered


class PreparedCall:
    """A call of a layer without a gradient, to be run again with tensors of the same kind.

    Args:
        run: Runs it, given the addresses of the input, the states, the parameters and the results.
        given: The input and the states.
        stored: The parameters that it reads.
        parameters: All of the layer's by name.
        output_size: The size of the output.
        counts: How often these had been changed when they were packed; None where they are read as
            they are.
    """

    def __init__(
        self,
        run: Callable[[Sequence[int]], None],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
        parameters: Mapping[str, Any],
        output_size: int,
        counts: list[int] | None,
    ) -> None:
        self.run, self.count = run, len(given)
        self.target, self.threads = target_for("cpu"), torch.get_num_threads()
        self.shapes, self.dtypes = [*map(SHAPE, given)], [*map(DTYPE, given)]
        # objects and memory are held, so that no others have their identities and addresses
        self.stored, self.parameters = [*stored], [*parameters.values()]
        self.aliases = [*map(Tensor.detach, stored)]
        self.identities = [*map(id, self.parameters)]
        self.places = [*map(Tensor.data_ptr, stored)]
        self.counts = counts
        rows, *states = self.shapes
        self.made: list[tuple[int, ...]] = [(*rows[:-1], output_size), *states]
        kind = DTYPES[self.dtypes[0]]
        self.makers = [maker(shape, kind) for shape in self.made]
        with torch.inference_mode(False):
            self.zeros = [
                torch.zeros(shape, dtype=self.dtypes[0], device="cpu") for shape in states
            ]
        self.sizes = tuple(map(torch.Size.numel, map(torch.Size, (*self.made, *self.shapes))))
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
        if [*map(id, parameters.values())] != self.identities:
            return None
        try:
            if not (
                PLAIN.issuperset(map(type, given))
                and [*map(SHAPE, given)] == self.shapes
                and [*map(DTYPE, given)] == self.dtypes
                and all(map(IS_CPU, given))
            ):
                return None
            tensors = [*given, *self.stored]
            if not all(map(Tensor.is_contiguous, tensors)):
                return None
            if torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors)):
                return None
            addresses = [*map(Tensor.data_ptr, tensors)]
        except RuntimeError:  # a tensor without a shape or without memory
            return None
        if addresses[self.count :] != self.places or 0 in addresses:
            return None
        if self.counts is not None and changes(self.stored) != self.counts:
            return None
        if out is not None:
            places = self._places(out, given, addresses)
            if places is None:
                return None
            self.run(addresses + places)
            return out
        output, *new = [make() for make in self.makers]
        self.run([*addresses, output.data_ptr(), *map(Tensor.data_ptr, new)])
        return output, new[0] if len(new) == 1 else tuple(new)

    def _places(
        self, out: Any, given: Sequence[Tensor], addresses: Sequence[int]
    ) -> list[int] | None:
        """Where results begin that are to be written into given tensors; None if they cannot."""
        known = self.outs.get(id(out))
        if known is not None:
            _, places, tensors = known
            if [*map(Tensor.data_ptr, tensors)] == places:
                every = *places, *addresses[: self.count]
                return places if disjoint(every, self.sizes, self.dtypes[0].itemsize) else None
        found = direct_results(out, given, self.made)
        if found is None:
            return None
        tensors = [found[0], *found[1]]
        places = [*map(Tensor.data_ptr, tensors)]
        if isinstance(out, tuple) and isinstance(out[1], tuple | Tensor):  # it stays as it is
            if len(self.outs) >= OUTS:
                self.outs.clear()
            self.outs[id(out)] = (out, [t.detach() for t in tensors]), places, tensors
        return places


class Prepared:
    """What a prepared layer keeps. A copy of it is empty: it belongs to another layer.

    Attributes:
        packed: The packed weights of each part.
        step: The last step of a layer alone.
        runs: The runs of a layer alone, by the shapes of inputs.
    """

    def __init__(self) -> None:
        self.packed: dict[LayerPart, PackedWeights] = {}
        self.step: PreparedCall | None = None
        self.runs: dict[tuple[int, ...], PreparedCall | None] = {}

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        """What is copied and pickled: nothing of it."""
        return Prepared, ()

    def keep(self, shape: tuple[int, ...], call: PreparedCall | None) -> None:
        """Keep the run for inputs of a shape; the oldest of many is released."""
        runs = {key: other for key, other in self.runs.items() if key != shape}
        while len(runs) >= RUNS:
            del runs[next(iter(runs))]
        self.runs = {**runs, shape: call}


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors have one type of those that kernels take, without mixed precision."""
    found = {*map(DTYPE, tensors)}
    return len(found) == 1 and found.issubset(DTYPES) and not torch.is_autocast_enabled("cpu")


def prepared_step(
    run: Run, given: Sequence[Tensor], stored: Sequence[Tensor], parameters: Mapping[str, Any]
) -> PreparedCall | None:
    """The step that has just been run, prepared; None if there is no such thing.

    Args:
        run: What was run.
        given: The input and the states.
        stored: The parameters.
        parameters: All of the layer's by name.
    """
    if not _alike([*given, *stored]) or not all(map(Tensor.is_contiguous, stored)):
        return None
    step = target_step(run, [*given, *stored])
    if step is None:
        return None
    return PreparedCall(step.run, given, stored, parameters, step.output_size, None)


def prepared_run(
    run: Run,
    rows: Tensor,
    stored: Sequence[Tensor],
    parameters: Mapping[str, Any],
    packed: PackedWeights,
) -> PreparedCall | None:
    """As `prepared_step`, for a run over sequences of one length with packed weights.

    Args:
        run: What was run.
        rows: The input, (time, batch, input).
        stored: The parameters.
        parameters: All of the layer's by name.
        packed: Where packed weights are kept.
    """
    if not _alike([rows, *stored]) or not is_ordinary() or not rows.is_cpu:
        return None
    counts = changes(stored)
    if counts is None or not all(map(Tensor.is_contiguous, stored)):
        return None
    time, batch, _ = rows.shape
    run = over(run, (batch,) * time, rows)
    target = target_for("cpu")
    stamp = [*map(Tensor.data_ptr, stored), *counts]
    enter = None if target is None else target.entry(run, TENSORS, packed, stamp)
    if enter is None:
        return None
    states = [rows.new_zeros((1, *shape)) for shape in run.state_shapes(batch)]
    size = run.output_shape()[0]
    return PreparedCall(enter, [rows, *states], stored, parameters, size, counts)
