"""An input packed as the rows of all steps, one step after another, as in a PackedSequence; and
results unpacked into the caller's layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from anyrnn.kernels.host import place_rows
from anyrnn.kernels.row_layout import Layout
from anyrnn.torch.path import choose
from anyrnn.torch.tensors import DTYPES, beside, dense, empty, wants_gradient

Input = Tensor | PackedSequence


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Where packed rows are in a padded array: gather takes them out, scatter is its adjoint.

    Attributes:
        places: The row of the array of each packed row, (rows,), on the device of the array.
        count: The number of rows of the array.
    """

    places: Tensor
    count: int

    def gather(self, array: Tensor) -> Tensor:
        """The packed rows of an array, (count, features)."""
        if not _is_simple(array):
            return array.index_select(0, self.places)
        if not wants_gradient([array]):
            return self.taken(array)
        return LinearMap.apply(array, self.taken, self.scatter)

    def scatter(self, rows: Tensor) -> Tensor:
        """An array of packed rows, (rows, features), with zeros in the other rows."""
        if not _is_simple(rows):
            zeros = rows.new_zeros(self.count, rows.shape[1])
            return zeros.index_add(0, self.places, rows)  # index_copy is slower
        if not wants_gradient([rows]):
            return self.placed(rows)
        return LinearMap.apply(rows, self.placed, self.gather)

    def taken(self, array: Tensor) -> Tensor:
        """As `gather`, where autograd does not follow."""
        found = _empty(len(self.places), array)
        return torch.index_select(array.detach(), 0, self.places, out=found)

    def placed(self, rows: Tensor) -> Tensor:
        """As `scatter`, where autograd does not follow."""
        found, rows = _empty(self.count, rows), dense(rows.detach())
        addresses = found.data_ptr(), rows.data_ptr(), self._rows.data_ptr()
        size = rows.shape[1] * rows.element_size()
        place_rows(*addresses, self.count, size, torch.get_num_threads())
        return found

    @cached_property
    def _rows(self) -> Tensor:
        """The packed row of each row of the array, below 0 where there is none."""
        found = np.full(self.count, -1, np.int64)
        found[self.places.numpy()] = np.arange(len(self.places))
        return torch.from_numpy(found)


def _is_simple(tensor: Tensor) -> bool:
    """Whether a tensor is on a CPU, and nothing but plain autograd sees what is done with it."""
    if not torch._C._has_storage(tensor):  # several gradients at a time
        return False
    return tensor.dtype in DTYPES and choose(None, [tensor]).name == "compiled"


def _empty(count: int, like: Tensor) -> Tensor:
    """Rows in reused memory, which costs no page faults."""
    return empty((count, like.shape[1]), DTYPES[like.dtype])


class LinearMap(torch.autograd.Function):
    """A linear function of an array, which autograd does not follow, and its adjoint."""

    @staticmethod
    def forward(
        ctx: Any,
        array: Tensor,
        function: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Compute the function."""
        ctx.adjoint = adjoint
        return function(array)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Compute the adjoint, which autograd may follow."""
        return ctx.adjoint(gradients[0]), None, None


class Start(NamedTuple):
    """What a state begins with.

    Attributes:
        state: The initial state, (batch, size).
        reset: The state after a reset, (batch, size).
        reverse: Whether the run is from the last step to the first.
    """

    state: Tensor
    reset: Tensor
    reverse: bool


@dataclass(frozen=True)
class Rows:
    """A batch of sequences of one length.

    Attributes:
        data: (time, batch, input); of a PackedSequence (sum of batch_sizes, input).
        batch_sizes: The number of rows of each step; None where all sequences have one length; the
            `DeviceSteps` where these numbers are on a device.
        batch: The number of sequences.
        batched: Whether the caller gave a batch; if not, one sequence.
        batch_first: Whether the caller's tensors have the batch before the time.
    """

    data: Tensor
    batch_sizes: Any  # list[int], DeviceSteps or None
    batch: int
    batched: bool
    batch_first: bool

    @property
    def rows(self) -> Tensor:
        """The input as runs take it: (time, batch, input); of sequences of different lengths (sum
        of batch_sizes, input).
        """
        return self.data

    def begin(self, start: Start) -> Tensor:
        """The initial state of each packed sequence, (sequences, size)."""
        return start.state

    def end(self, last: Tensor, start: Start) -> Tensor:
        """The last state of each sequence of the batch, (batch, size), given that of each packed
        sequence, (sequences, size).
        """
        return last.clone() if last is start.state else last

    def every(self, rows: Tensor, start: Start) -> Tensor:
        """The state after every step, as `stack_every` takes it, given that of each row."""
        return rows

    def restore(self, data: Tensor) -> Input:
        """A result, packed as `data`, in the layout of the input."""
        if not self.batched:
            return data.squeeze(1)
        return data.transpose(0, 1) if self.batch_first else data

    def stack_end(self, states: Sequence[Tensor]) -> Tensor:
        """The last states of several layers, with the layers as the first axis, or of one layer
        that they have already.
        """
        if states[0].dim() == 3:
            return states[0]
        stacked = torch.stack([*states])  # of one too: a copy, and no view
        return stacked if self.batched else stacked.squeeze(1)

    def stack_every(self, states: Sequence[Tensor]) -> Input:
        """The states of several layers at every step, in the layout of the input, with the layers
        as the first axis; in a PackedSequence the layers come after the rows.
        """
        restored = self.restore(torch.stack([*states], dim=-2))
        return restored.movedim(-2, 0) if isinstance(restored, Tensor) else restored

    def drop_features(self, data: Tensor, probability: float) -> Tensor:
        """Drop features of the rows, of each packed sequence the same ones at all steps."""
        sequences = self.batch if self.batch_sizes is None else self.batch_sizes[0]
        factors = functional.dropout(data.new_ones(sequences, data.shape[-1]), probability)
        if self.batch_sizes is not None:
            factors = torch.cat([factors[:size] for size in self.batch_sizes])
        return data * factors


@dataclass(frozen=True)
class PackedRows(Rows):
    """The rows of a PackedSequence.

    Attributes:
        packed: The input.
    """

    packed: PackedSequence

    def begin(self, start: Start) -> Tensor:
        """The initial state in the sorted order of the packed sequences."""
        return _select(start.state, self.packed.sorted_indices)

    def end(self, last: Tensor, start: Start) -> Tensor:
        """The last state in the order of the caller."""
        return _select(last, self.packed.unsorted_indices)

    def restore(self, data: Tensor) -> PackedSequence:
        """The rows of a result, packed as the input."""
        return PackedSequence(data, *self.packed[1:])


@dataclass(frozen=True)
class GatheredRows(Rows):
    """The rows of a padded tensor with lengths, a mask or resets. Masked steps have no row; each
    reset begins another packed sequence. The data are the padded ones, (time, batch, input).

    Attributes:
        layout: Which step each row is.
        carry: Whether the output at a masked step is the last one before it, instead of zero.
        shape: The sizes of the input's axes without the last, in the caller's order.
        found: A cache of index tensors, each with its largest element.
    """

    layout: Layout
    carry: bool
    shape: tuple[int, ...]
    found: dict[tuple[str, bool], tuple[Tensor, int]] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> Tensor:
        """The rows of the steps that count."""
        return self._gathered

    @cached_property
    def _gathered(self) -> Tensor:
        flat, batch_first = flattened(self.data)
        return _row_index(self.layout, batch_first, flat.device).gather(flat)

    def begin(self, start: Start) -> Tensor:
        """The initial state of each packed sequence."""
        index, _ = self._find("begin", start.reverse)
        return self.starts(start).index_select(0, index)

    def end(self, last: Tensor, start: Start) -> Tensor:
        """The last state of each sequence: that of the last one of its packed sequences."""
        return self._among("end", last, start)

    def every(self, rows: Tensor, start: Start) -> Tensor:
        """The state after each step in the layout of the input, carried over masked steps."""
        return self._lay_out(self._among("every", rows, start))

    def stack_every(self, states: Sequence[Tensor]) -> Tensor:
        """The states of several layers at every step, with the layers as the first axis."""
        return torch.stack([*states])

    def restore(self, data: Tensor) -> Tensor:
        """A result in the layout of the input, with zero or the carried output at masked steps."""
        if self.carry:
            zero = data.new_zeros(1, data.shape[1])
            return self._lay_out(_select(torch.cat([data, zero]), self._carried))
        return self._lay_out(self._index_of_rows.scatter(data))

    @cached_property
    def _index_of_rows(self) -> RowIndex:
        return _row_index(self.layout, self.batch_first, self.data.device)

    @cached_property
    def _carried(self) -> Tensor:
        return self._index(self.layout.carried())

    def _find(self, name: str, reverse: bool) -> tuple[Tensor, int]:
        """The index tensor that a method of the layout makes, and its largest element."""
        if (name, reverse) not in self.found:
            index = getattr(self.layout, name)(reverse)
            self.found[name, reverse] = self._index(index), int(index.max(initial=0))
        return self.found[name, reverse]

    def _index(self, index: np.ndarray) -> Tensor:
        """An index as a tensor; one of shape (time, batch) flattened in the caller's order."""
        if index.ndim == 2:
            index = (index.T if self.batch_first else index).ravel()
        return beside(torch.from_numpy(index), self.data.device)

    def _lay_out(self, result: Tensor) -> Tensor:
        """A result flattened in the caller's order, in the layout of the input."""
        return result.unflatten(0, self.shape)

    def starts(self, start: Start) -> Tensor:
        """The initial state of each sequence of the batch, and what it is put back to, if it is."""
        return torch.cat([start.state, start.reset]) if self.layout.resets else start.state

    def _among(self, name: str, found: Tensor, start: Start) -> Tensor:
        """Select from computed rows, followed by the initial states and those after a reset."""
        index, highest = self._find(name, start.reverse)
        if highest >= len(found):
            found = torch.cat([found, self.starts(start).to(found.dtype)])
        return found.index_select(0, index)


def flattened(tensor: Tensor) -> tuple[Tensor, bool]:
    """A tensor (time, batch, features) as rows, in the order of memory: whether that is batch by
    batch.
    """
    batch_first = not tensor.is_contiguous() and tensor.transpose(0, 1).is_contiguous()
    return (tensor.transpose(0, 1) if batch_first else tensor).flatten(0, 1), batch_first


def _row_index(layout: Layout, batch_first: bool, device: torch.device) -> RowIndex:
    """Where the rows of a layout are in a padded array."""
    key = batch_first, device
    if key not in layout.kept:
        places = beside(torch.from_numpy(layout.places(batch_first)), device)
        layout.kept[key] = RowIndex(places, prod(layout.shape))
    return layout.kept[key]


def _select(tensor: Tensor, index: Tensor | None) -> Tensor:
    return tensor if index is None else tensor.index_select(0, index)
