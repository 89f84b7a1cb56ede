"""An input as the rows of all steps, and how results get their caller's layout back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from anyrnn.kernels.row_layout import Layout
from anyrnn.torch.moves import Moves

Input = Tensor | PackedSequence


@dataclass(frozen=True)
class Rows:
    """An input whose steps all count.

    Attributes:
        data: (sum of batch_sizes, input); (time, batch, input) while torch.compile or torch.export
            trace, because merging sizes that they do not know costs them conditions.
        time: The number of steps.
        batch: The number of sequences.
        batched: Whether the caller gave a batch; if not, one sequence.
        batch_first: Whether the caller's tensors have the batch before the time.
    """

    data: Tensor
    time: int
    batch: int
    batched: bool
    batch_first: bool

    @property
    def batch_sizes(self) -> list[int]:
        """The number of rows of each step."""
        return [self.batch] * self.time

    @property
    def sequences(self) -> int:
        """The number of sequences that the rows make, each with an initial state of its own."""
        return self.batch

    def begin(self, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The initial state of each sequence of rows.

        Args:
            state: The initial state, (batch, size).
            reset: What it is put back to.
            reverse: Whether the run is from the last step to the first.
        """
        return state

    def end(self, last: Tensor, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The last state, (batch, size), given those of the sequences of rows.

        Args:
            last: These.
            state: The initial state.
            reset: What it is put back to.
            reverse: Whether the run was from the last step to the first.
        """
        return last.clone() if last is state else last

    def every(self, rows: Tensor, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """What `stack_every` takes, of the state after the step of each row; as `end`."""
        return rows

    def restore(self, data: Tensor) -> Input:
        """The rows of a result, laid out as `data`, in the layout of the input."""
        features = data.shape[self.data.dim() - 1 :]
        return self._turn(data.reshape(self.time, self.batch, *features))

    def _turn(self, result: Tensor) -> Tensor:
        """A tensor (time, batch, ...) in the layout of the input."""
        if not self.batched:
            return result.squeeze(1)
        return result.transpose(0, 1) if self.batch_first else result

    def stack_end(self, states: Sequence[Tensor]) -> Tensor:
        """The last states of layers, the layers first."""
        stacked = states[0].unsqueeze(0) if len(states) == 1 else torch.stack([*states])
        return stacked if self.batched else stacked.squeeze(1)

    def stack_every(self, states: Sequence[Tensor]) -> Input:
        """The states of layers at every step, each laid out as the input, the layers first; in a
        PackedSequence the layers come after the rows.
        """
        restored = self.restore(torch.stack([*states], dim=-2))
        return restored.movedim(-2, 0) if isinstance(restored, Tensor) else restored

    def times(self, data: Tensor, factors: Tensor) -> Tensor:
        """Rows, laid out as `data`, times a vector for each sequence of rows."""
        if self.data.dim() == 3:
            return data * factors
        return (data.unflatten(0, (self.time, self.batch)) * factors).flatten(0, 1)


class _Ragged(Rows):
    """An input whose sequences have a number of steps of their own."""

    def times(self, data: Tensor, factors: Tensor) -> Tensor:
        """Rows times a vector for each sequence of rows."""
        return data * torch.cat([factors[:size] for size in self.batch_sizes])


@dataclass(frozen=True)
class PackedRows(_Ragged):
    """A PackedSequence.

    Attributes:
        packed: It.
    """

    packed: PackedSequence

    @property
    def batch_sizes(self) -> list[int]:
        """The number of rows of each step."""
        return self.packed.batch_sizes.tolist()

    def begin(self, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The initial state in the order of the rows."""
        return _select(state, self.packed.sorted_indices)

    def end(self, last: Tensor, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The last state in the order of the caller."""
        return _select(last, self.packed.unsorted_indices)

    def restore(self, data: Tensor) -> PackedSequence:
        """The rows of a result, packed as the input."""
        return PackedSequence(data, *self.packed[1:])


@dataclass(frozen=True)
class GatheredRows(_Ragged):
    """A tensor of which some steps do not count, or before some of whose steps states are put back.

    Attributes:
        layout: Which, and where the others are in `data`.
        carry: Whether outputs are carried over steps that do not count.
        found: The indices that were needed so far.
    """

    layout: Layout
    carry: bool
    found: dict[tuple[str, bool], tuple[Tensor, int]] = field(default_factory=dict, repr=False)

    @property
    def batch_sizes(self) -> list[int]:
        """The number of rows of each step."""
        return self.layout.batch_sizes

    @property
    def sequences(self) -> int:
        """The number of sequences that the rows make."""
        return self.layout.sequences

    def begin(self, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The initial state of each sequence of rows."""
        index, _ = self._find("begin", reverse)
        return self._starts(state, reset).index_select(0, index)

    def end(self, last: Tensor, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The last state: that of the last sequence of rows of each sequence."""
        return self._among("end", last, state, reset, reverse)

    def every(self, rows: Tensor, state: Tensor, reset: Tensor, reverse: bool) -> Tensor:
        """The state after each step, laid out as the input, carried where a step does not count."""
        return self._lay_out(self._among("every", rows, state, reset, reverse))

    def stack_every(self, states: Sequence[Tensor]) -> Tensor:
        """The states of layers at every step, laid out already, the layers first."""
        return torch.stack([*states])

    def restore(self, data: Tensor) -> Tensor:
        """The rows of a result, laid out as the input; zero or carried where no step counts."""
        if self.carry:
            zero = data.new_zeros(1, data.shape[1])
            return self._lay_out(_select(torch.cat([data, zero]), self._carried))
        return self._lay_out(self._moves.spread(data))

    @cached_property
    def _moves(self) -> Moves:
        places = self._index(self.layout.places(self.batch_first))
        return Moves(places, self.time * self.batch)

    @cached_property
    def _carried(self) -> Tensor:
        return self._index(self.layout.carried())

    def _find(self, name: str, reverse: bool) -> tuple[Tensor, int]:
        """An index that a method of the layout makes, and the highest number in it."""
        if (name, reverse) not in self.found:
            index = getattr(self.layout, name)(reverse)
            self.found[name, reverse] = self._index(index), int(index.max(initial=0))
        return self.found[name, reverse]

    def _index(self, index: np.ndarray) -> Tensor:
        """An index as a tensor; one (time, batch) in the order of a result in memory."""
        if index.ndim == 2:
            index = (index.T if self.batch_first else index).ravel()
        return torch.from_numpy(index).to(self.data.device)

    def _lay_out(self, result: Tensor) -> Tensor:
        """A result in that order, laid out as the input."""
        shape = (self.batch, self.time) if self.batch_first else (self.time, self.batch)
        result = result.unflatten(0, shape)
        return result if self.batched else result.squeeze(1)

    def _starts(self, state: Tensor, reset: Tensor) -> Tensor:
        return torch.cat([state, reset]) if self.layout.resets else state

    def _among(
        self, name: str, found: Tensor, state: Tensor, reset: Tensor, reverse: bool
    ) -> Tensor:
        """Of what was found, the initial state and what it was put back to, what an index says."""
        index, highest = self._find(name, reverse)
        if highest >= len(found):
            found = torch.cat([found, self._starts(state, reset).to(found.dtype)])
        return found.index_select(0, index)


def gather(tensor: Tensor, layout: Layout) -> Tensor:
    """The rows of a tensor (time, batch, features) that count, without a copy of the others."""
    batch_first = not tensor.is_contiguous() and tensor.transpose(0, 1).is_contiguous()
    flat = (tensor.transpose(0, 1) if batch_first else tensor).flatten(0, 1)
    places = torch.from_numpy(layout.places(batch_first)).to(tensor.device)
    return Moves(places, len(flat)).take(flat)


def _select(tensor: Tensor, index: Tensor | None) -> Tensor:
    return tensor if index is None else tensor.index_select(0, index)
