"""Layers on top of each other, in one direction or two: what `Recurrent` and the drop-in layers
have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from anyrnn.errors import SizeError
from anyrnn.graph.cell import Cell
from anyrnn.torch.execute import execute, single_step
from anyrnn.torch.sequences import Input, read_input, read_states
from anyrnn.torch.tracing import constant

State = Tensor | tuple[Tensor, ...]


def parameter(module: nn.Module, name: str) -> Tensor:
    """A parameter of a module, found fast, or what a parametrization makes of it."""
    found = module._parameters.get(name)
    return getattr(module, name) if found is None else found


@dataclass(eq=False)  # frozen, torch.compile could not trace it
class Stack:
    """The shape of a recurrent layer.

    Attributes:
        cell: The cell.
        size_items: The named sizes of the first layer.
        num_layers: The number of layers.
        bidirectional: Whether each layer also runs backwards.
        batch_first: Whether tensors have the batch before the time.
        dropout: The probability of dropping an output between two layers, in training.
        memory: `high`, or `low` to keep the states only for the derivative.
        sizes: The named sizes of the first layer, as a mapping.
        state_sizes: The size of each state.
    """

    cell: Cell
    size_items: tuple[tuple[str, int], ...]
    num_layers: int
    bidirectional: bool
    batch_first: bool
    dropout: float
    memory: str = "high"

    def __post_init__(self) -> None:
        self.sizes = dict(self.size_items)
        self.state_sizes = _state_sizes(self.cell, self.size_items)

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The size of the output of one direction."""
        return self.cell.output_size.evaluate(self.sizes)

    def layer_sizes(self, layer: int) -> dict[str, int]:
        """The named sizes of one layer: from the second on, the input is the output of the one
        before.
        """
        if layer == 0:
            return self.sizes
        return dict(_later_sizes(self.cell, self.size_items, self.directions))

    def run(
        self,
        weights: Callable[[int, int], Mapping[str, Tensor]],
        like: Callable[[], Tensor],
        given: object,
        state: object,
        lengths: object,
        training: bool,
    ) -> tuple[Input, State]:
        """Run all layers.

        Args:
            weights: The stored parameters of a layer and a direction.
            like: Gives a parameter: the type and device of the layer.
            given: The caller's input.
            state: The caller's initial state, or None.
            lengths: The caller's lengths, or None.
            training: Whether to drop outputs between layers.

        Returns:
            The output and the last state, as torch.nn returns them.
        """
        single = self._single_step(weights, given, state, lengths)
        if single is not None:
            return single
        rows = read_input(given, like(), self.sizes["input"], self.batch_first, lengths)
        total = self.num_layers * self.directions
        initial = read_states(state, rows, self.cell.states, self.state_sizes, total, like())
        data = rows.data
        batch_sizes = None if data.dim() == 3 else rows.batch_sizes
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                index = layer * self.directions + direction
                output, final = execute(
                    self.cell,
                    data,
                    batch_sizes,
                    [tensor[index] for tensor in initial],
                    weights(layer, direction),
                    self.layer_sizes(layer),
                    reverse=direction == 1,
                    memory=self.memory,
                )
                outputs.append(output)
                last.append(final)
            data = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
            if self.dropout and training and layer < self.num_layers - 1:
                data = functional.dropout(data, self.dropout)
        states = [rows.unsort(torch.stack(parts)) for parts in zip(*last, strict=True)]
        if not rows.batched:
            states = [tensor.squeeze(1) for tensor in states]
        return rows.restore(data), states[0] if len(states) == 1 else tuple(states)

    def _single_step(
        self,
        weights: Callable[[int, int], Mapping[str, Tensor]],
        given: object,
        state: object,
        lengths: object,
    ) -> tuple[Input, State] | None:
        """One step of one layer by the short way; None if the call is not that, or not right."""
        if self.num_layers > 1 or self.bidirectional or lengths is not None:
            return None
        if not isinstance(given, Tensor) or given.dim() != 3:
            return None
        batch, time = given.shape[:2] if self.batch_first else given.shape[1::-1]
        if time != 1 or given.shape[2] != self.sizes["input"]:
            return None
        shapes = [(1, batch, size) for size in self.state_sizes]
        states = (state,) if isinstance(state, Tensor) else state
        if states is None:
            states = tuple(given.new_zeros(shape) for shape in shapes)
        elif not isinstance(states, tuple | list) or len(states) != len(shapes):
            return None
        for tensor, shape in zip(states, shapes, strict=True):
            if not isinstance(tensor, Tensor) or tensor.shape != shape:
                return None
        found = single_step(self.cell, given, states, weights(0, 0), self.size_items)
        if found is None:
            return None
        output, last = found
        return output, last[0] if len(last) == 1 else last


@constant
def _state_sizes(cell: Cell, size_items: tuple[tuple[str, int], ...]) -> list[int]:
    sizes = dict(size_items)
    return [size.evaluate(sizes) for size in cell.state_sizes]


@constant
def _later_sizes(
    cell: Cell, size_items: tuple[tuple[str, int], ...], directions: int
) -> tuple[tuple[str, int], ...]:
    first = dict(size_items)
    free = {name: first[name] for name in cell.free_sizes}
    sizes = cell.bind_sizes(**{**free, "input": cell.output_size.evaluate(first) * directions})
    if any(size.evaluate(sizes) != size.evaluate(first) for size in cell.state_sizes):
        raise SizeError(
            f"cell '{cell.name}' has states as large as its input, and the second layer's input "
            f"is {sizes['input']}, the first one's {first['input']}; use num_layers=1, or one "
            "direction"
        )
    return tuple(sizes.items())


_cached_stack = lru_cache(maxsize=256)(Stack)


def stack(
    cell: Cell,
    size_items: tuple[tuple[str, int], ...],
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    dropout: float,
    memory: str,
) -> Stack:
    """The shape of a layer; arguments are those of `Stack`."""
    make = Stack if torch.compiler.is_compiling() else _cached_stack
    return make(cell, size_items, num_layers, bidirectional, batch_first, dropout, memory)
