"""Zeros added to the states of a call: autograd's gradients of them are those of the states at each
step, computed by one compiled run backwards however many steps there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from anyrnn.errors import InputError
from anyrnn.kernels import host
from anyrnn.kernels.run import Run
from anyrnn.kernels.target import target_for
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.layer_stack import LayerStack, State, read_states
from anyrnn.torch.packed_rows import GatheredRows, Input, Rows
from anyrnn.torch.precision import compute_dtype
from anyrnn.torch.tensors import DTYPES


def as_batch(given: Input, batch_first: bool) -> Tensor:
    """Values laid out as an input, as (batch, time, size); one sequence is a batch of one."""
    if isinstance(given, PackedSequence):
        return pad_packed_sequence(given, batch_first=True)[0]
    if given.dim() == 2:
        return given[None]
    return given if batch_first else given.transpose(0, 1)


def first_leaf(state: State) -> Tensor:
    """The first tensor of a state."""
    while isinstance(state, tuple):
        state = state[0]
    return state


def row_numbers(rows: Rows) -> Tensor:
    """The row of each step, (batch, time) in the order of the caller; -1 for one that does not
    count.
    """
    if isinstance(rows, GatheredRows):
        rows = replace(rows, carry=False)
    shape = rows.rows.shape[:-1]
    numbers = torch.arange(1, shape.numel() + 1, dtype=torch.float64).reshape(*shape, 1)
    return as_batch(rows.restore(numbers.to(rows.data.device)), rows.batch_first)[..., 0].long() - 1


def laid_out(rows: Tensor, numbers: Tensor) -> Tensor:
    """Rows, (rows, size), as (batch, time, size); NaN at steps that have none."""
    return rows[numbers.clamp(min=0)].masked_fill((numbers < 0)[..., None], torch.nan)


class _Only(torch.autograd.Function):
    """The value itself, whose gradient flows through some rows only."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, chosen: Tensor) -> Tensor:
        ctx.chosen = chosen
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.chosen, None


class Added:
    """Given numbers that are added to the states of one call of a layer.

    Args:
        rows: For each layer and direction, by its suffix, what is added to its states, side by
            side, packed as the rows are; nothing where there is none.
    """

    def __init__(self, rows: Mapping[str, Tensor]) -> None:
        self._rows = rows

    def added(self, part: LayerPart, data: Tensor) -> Tensor:
        """The input of a part, followed by what is added to its states."""
        shape = *data.shape[:-1], sum(part.state_sizes)
        given = self._rows.get(part.suffix)
        return torch.cat([data, data.new_zeros(shape) if given is None else given], dim=-1)

    def leaving(self, output: Tensor, *reverse: bool) -> Tensor:
        """The output."""
        return output


class Shifts(Added):
    """Zeros that are added to the states of one call of a layer, to have their gradients.

    Args:
        end: Whether the gradient may enter the last layer's outputs at the end of a sequence only:
            at its last step, or its first one where the layer runs backwards.
        at: A step, from 0, that takes the place of the end.

    Attributes:
        numbers: The row of each step, (batch, time); -1 for one that does not count.
    """

    numbers: Tensor

    def __init__(self, end: bool, at: int | None = None) -> None:
        super().__init__({})
        self._end, self._at = end, at
        self._added: list[tuple[LayerPart, Tensor]] = []

    def begin(self, rows: Rows, structure: LayerStack, training: bool, memory: str) -> None:
        """Look at the input.

        Raises:
            InputError: What has to be kept for the gradient is more than the memory that is free,
                or there is no such step.
        """
        count = rows.rows.shape[:-1].numel()
        _check_memory(rows, [part.shifted(training, memory) for part in structure.parts], count)
        self.numbers = row_numbers(rows)
        if self._at is not None and self._at >= self.numbers.shape[1]:
            raise InputError(
                f"at={self._at}, but the input has {self.numbers.shape[1]} steps, from 0"
            )
        self._rows_of, self._form, self._parts = rows, structure.form, structure.parts

    def last_states(self, last: Any) -> list[tuple[LayerPart, Tensor]]:
        """The last states of a call one by one, (batch, size), each with its layer and direction.

        Args:
            last: As the call returned them.
        """
        found = read_states(self._form, last, self._rows_of, first_leaf(last))
        return [
            (part, state)
            for part, states in zip(self._parts, found, strict=True)
            for state in states or ()
        ]

    def added(self, part: LayerPart, data: Tensor) -> Tensor:
        """The input of a part, followed by the zeros that are added to its states."""
        width = sum(part.state_sizes)
        zeros = data.new_zeros(*data.shape[:-1], width).requires_grad_()
        self._added.append((part, zeros))
        return torch.cat([data, zeros], dim=-1)

    def leaving(self, output: Tensor, *reverse: bool) -> Tensor:
        """An output that the gradient enters, at the end of each sequence only if that is wanted.

        Args:
            output: Laid out as the rows.
            *reverse: For each run that it belongs to, whether that goes backwards.
        """
        if not self._end:
            return output
        ends = torch.zeros(output.shape[:-1].numel(), dtype=output.dtype, device=output.device)
        for backwards in reverse:
            chosen = self.numbers[:, self._at] if self._at is not None else None
            rows = _last(self.numbers, backwards) if chosen is None else chosen[chosen >= 0]
            ends[rows] = 1
        return _Only.apply(output, ends.reshape(*output.shape[:-1], 1))

    @property
    def tensors(self) -> list[Tensor]:
        """The zeros, to ask autograd for their gradients."""
        return [zeros for _, zeros in self._added]

    def by_state(self, gradients: Sequence[Tensor | None]) -> dict[tuple[str, str], Tensor]:
        """The gradients of states, given those of the tensors.

        Returns:
            By the suffix of a layer and direction and the name of a state, (batch, time, size);
            NaN at steps that do not count.
        """
        found = {}
        for (part, zeros), gradient in zip(self._added, gradients, strict=True):
            whole = torch.zeros_like(zeros) if gradient is None else gradient
            parts = laid_out(whole.flatten(0, -2), self.numbers).split(part.state_sizes, dim=-1)
            for name, each in zip(part.cell.states, parts, strict=True):
                found[part.suffix, name] = each
        return found


def _last(numbers: Tensor, reverse: bool) -> Tensor:
    """The rows with which sequences end, of those that have any."""
    counts = numbers >= 0
    steps = torch.arange(numbers.shape[1], device=numbers.device)
    place = torch.where(counts, -steps if reverse else steps, -numbers.shape[1]).argmax(1)
    found = numbers.gather(1, place[:, None])[:, 0]
    return found[found >= 0]


def _check_memory(rows: Rows, runs: Sequence[Run], count: int) -> None:
    """Refuse an input whose gradient cannot be had in the memory that is free."""
    free, data = host.free_memory(), rows.data
    target = target_for(data.device.type)
    kind = DTYPES[compute_dtype(data.dtype)]
    if free is None or target is None or target.refusal(None, kind.name) is not None:
        return
    numbers = 0
    for run in runs:
        saved = sum(prod(part.shape(1, 0)) for part in target.residuals(run).values())
        # the input with its shift, its gradient, and the output
        numbers += saved + 2 * dict(run.sizes)["input"] + run.output_shape()[0]
    needed = numbers * count * np.dtype(kind).itemsize
    if needed > free:
        raise InputError(
            f"the gradient of {count:,} steps needs about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free: use fewer or shorter sequences, or a layer with "
            "memory='low'"
        )
