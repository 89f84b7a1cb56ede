"""Lengths, masks and resets that are given on a device, laid out as rows there.

As `anyrnn.kernels.row_layout.Layout`, from which rows have their order; but no size depends on a
value, so that nothing waits for the device: there is a row for every step, also for those that do
not count, and with resets as many sequences of rows as there are steps.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.kernels.row_layout import check_booleans, check_lengths
from anyrnn.kernels.run import DeviceSteps
from anyrnn.torch.packed_rows import GatheredRows, LinearMap, flattened
from anyrnn.torch.tensors import beside


class DeviceLayout:
    """How the steps that count lie as rows.

    Args:
        counts: Whether each step counts, (time, batch).
        resets: Whether the state is put back before each step, (time, batch), if it ever is.

    Attributes:
        resets: Whether the state may be put back.
        steps: The steps of the rows.
        rows: The row of each step, (time, batch); of one that does not count any.
        places: Where each row is in an array (batch * time, ...); of a row that is none any.
    """

    def __init__(self, counts: Tensor, resets: Tensor | None) -> None:
        time, batch = counts.shape
        self.counts, self.resets = counts, resets is not None
        self._pieces = torch.zeros_like(counts[:1], dtype=torch.int64).expand(time, batch)
        self._each = 1  # pieces of a sequence
        if resets is not None:
            self._pieces, self._each = resets.cumsum(0), time + 1
        self._columns = torch.arange(batch, device=counts.device)
        counted, most = counts.t().flatten(), time * batch  # one sequence after another
        piece = (self._columns * self._each + self._pieces).t().flatten()
        numbers = piece.new_zeros(batch * self._each).scatter_add_(0, piece, counted.long())
        lengths, self._order = numbers.sort(descending=True, stable=True)
        self._numbers, self._rank = numbers, self._order.argsort()
        lengths, self._order = lengths[:most], self._order[:most]
        every = torch.arange(time, device=counts.device)
        sizes = torch.searchsorted(-lengths, -every)  # of steps: how many sequences are longer
        offsets = functional.pad(sizes.cumsum(0), (1, 0))
        within = counted.cumsum(0) - 1 - (numbers.cumsum(0) - numbers)[piece]
        step, sequence = within.clamp(min=0), self._rank[piece].clamp(max=len(lengths) - 1)
        row = torch.where(counted, offsets[step] + sequence, most)
        self.rows = row.view(batch, time).t()

        def of_rows(values: Tensor) -> Tensor:
            """What steps have, in the order of rows."""
            return values.new_zeros(most + 1).scatter_(0, row, values)[:most]

        self.places = of_rows(torch.arange(most, device=counts.device))
        bounds = (len(lengths),) * time
        if resets is not None:  # a sequence that has a row at a step has one at each step before
            bounds = tuple(most // number for number in range(1, time + 1))
        self.steps = DeviceSteps(
            bounds,
            most,
            len(lengths),
            lengths,
            offsets,
            torch.arange(len(lengths), device=counts.device),
            of_rows(step),
            of_rows(sequence),
            torch.arange(most, device=counts.device) < offsets[-1],
        )

    def begin(self, reverse: bool) -> Tensor:
        """As `Layout.begin`."""
        owner, piece = self._order // self._each, self._order % self._each
        put_back = piece != self._first_piece(reverse)[owner]
        return owner + put_back * len(self._columns)

    def end(self, reverse: bool) -> Tensor:
        """As `Layout.end`."""
        last, batch = self._pieces[0 if reverse else -1], len(self._columns)
        piece, put_back = self._columns * self._each + last, last != self._first_piece(reverse)
        start = self.steps.batch + self._columns + put_back * batch
        return torch.where(self._numbers[piece] > 0, self._rank[piece], start)

    def every(self, reverse: bool) -> Tensor:
        """As `Layout.every`."""
        near, found = self._nearest(reverse)
        found = found & (self._pieces.gather(0, near) == self._pieces)
        put_back = self._pieces != self._first_piece(reverse)
        start = self.steps.rows + self._columns + put_back * len(self._columns)
        return torch.where(found, self.rows.gather(0, near), start)

    def carried(self) -> Tensor:
        """As `Layout.carried`."""
        near, found = self._nearest(False)
        return torch.where(found, self.rows.gather(0, near), self.steps.rows)

    def _first_piece(self, reverse: bool) -> Tensor:
        return self._pieces[-1] if reverse else torch.zeros_like(self._pieces[0])

    def _nearest(self, reverse: bool) -> tuple[Tensor, Tensor]:
        """For each step the nearest one that counts, itself or before it (after it in reverse); and
        whether there is one.
        """
        time = len(self.counts)
        steps = torch.arange(time, device=self.counts.device)[:, None]
        if reverse:
            near = torch.where(self.counts, steps, time).flip(0).cummin(0).values.flip(0)
        else:
            near = torch.where(self.counts, steps, -1).cummax(0).values
        return near.clamp(0, time - 1), (near >= 0) & (near < time)


@dataclass(frozen=True)
class RowChoice:
    """A choice of rows of an array, of which each is chosen once at most; and its adjoint, which
    needs no sum, as no row is chosen twice.

    Attributes:
        index: Which row of the array each row of the result is.
        chosen: Whether it is one; else it is zero.
        back, used: The same of the adjoint.
    """

    index: Tensor
    chosen: Tensor
    back: Tensor
    used: Tensor

    def of(self, array: Tensor) -> Tensor:
        """The rows of an array."""
        return LinearMap.apply(array, self.computed, self.adjoint.of)

    def computed(self, array: Tensor) -> Tensor:
        """As `of`, where autograd does not follow."""
        return array.index_select(0, self.index).masked_fill(~self.chosen[:, None], 0)

    @property
    def adjoint(self) -> RowChoice:
        """The adjoint."""
        return RowChoice(self.back, self.used, self.index, self.chosen)


def row_choice(layout: DeviceLayout, batch_first: bool) -> RowChoice:
    """The rows of an array whose steps are laid out, (batch * time, ...) or (time * batch, ...)."""
    time, batch = layout.counts.shape
    places, rows, counts = layout.places, layout.rows, layout.counts
    if batch_first:
        rows, counts = rows.t(), counts.t()
    else:
        places = places % time * batch + places // time
    back = rows.flatten().clamp(max=layout.steps.rows - 1)
    return RowChoice(places, layout.steps.live, back, counts.flatten())


@dataclass(frozen=True)
class DeviceRows(GatheredRows):
    """The rows of a padded tensor with lengths, a mask or resets that are on its device.

    Attributes:
        layout: Which step each row is.
    """

    layout: Any  # DeviceLayout

    @cached_property
    def _gathered(self) -> Tensor:
        flat, turned = flattened(self.data)
        return row_choice(self.layout, turned).of(flat)

    def drop_features(self, data: Tensor, probability: float) -> Tensor:
        """As `Rows.drop_features`."""
        ones = data.new_ones(self.batch_sizes.batch, data.shape[-1])
        factors = functional.dropout(ones, probability)
        return data * factors.index_select(0, self.batch_sizes.sequence)

    def restore(self, data: Tensor) -> Tensor:
        """As `GatheredRows.restore`."""
        if self.carry:
            return super().restore(data)
        return self._lay_out(self._choice.adjoint.of(data))

    @cached_property
    def _choice(self) -> RowChoice:
        return row_choice(self.layout, self.batch_first)

    def _find(self, name: str, reverse: bool) -> tuple[Tensor, int]:
        if (name, reverse) not in self.found:
            index = self._index(getattr(self.layout, name)(reverse))
            self.found[name, reverse] = index, sys.maxsize  # its largest element may be any
        return self.found[name, reverse]

    def _index(self, index: Any) -> Tensor:
        if index.dim() == 2:
            index = (index.t() if self.batch_first else index).flatten()
        return index


def lay_out_on_device(
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    device: torch.device,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
) -> DeviceLayout:
    """As `anyrnn.kernels.row_layout.lay_out`, for a device. No value is looked at: lengths out of
    range are clamped.

    Raises:
        InputError: One of the arrays has another shape or type.
    """
    time = shape[axes.index("time")]

    def moved(array: Any) -> Tensor:
        return beside(torch.as_tensor(array).detach(), device)

    def turned(what: str, array: Any) -> Tensor:
        check_booleans(what, array, axes, shape)
        found = moved(array)
        return found.t() if axes[0] == "batch" else found.view(time, -1)

    counts = None if mask is None else turned("mask", mask)
    if lengths is not None:
        check_lengths(lengths, axes, shape)
        within = torch.arange(time, device=device)[:, None] < moved(lengths)
        counts = within if counts is None else counts & within
    back = None if resets is None else turned("resets", resets)
    if counts is None:
        assert back is not None, "a call is laid out that says something about its steps"
        counts = torch.ones_like(back)
    return DeviceLayout(counts, back)
