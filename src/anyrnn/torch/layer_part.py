"""One layer in one direction: its cell, sizes and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.graph.roles import Role, matrices
from anyrnn.kernels.run import Run
from anyrnn.torch.tracing import constant
from anyrnn.transforms import outputs as state_outputs
from anyrnn.transforms.shifts import shifted_sizes, with_shifted_states

Name = Callable[[str], str]


@dataclass(eq=False)
class LayerPart:
    """One layer in one direction.

    Attributes:
        cell: The cell.
        training_cell: The cell as it is in training.
        run: What is run of it outside training.
        size_items: Its named sizes.
        layer: The place of the layer, from 0.
        direction: 0 forwards, 1 backwards.
        name: Gives what the module calls a stored parameter, without the layer.
    """

    cell: Cell
    training_cell: Cell
    size_items: tuple[tuple[str, int], ...]
    layer: int
    direction: int
    name: InitVar[Name]

    def __post_init__(self, name: Name) -> None:
        """Compute what calls read."""
        self.sizes = dict(self.size_items)
        self.state_sizes = [size.evaluate(self.sizes) for size in self.cell.state_sizes]
        self.output_size = self.cell.output_size.evaluate(self.sizes)
        self.suffix = f"_l{self.layer}" + "_reverse" * self.direction
        stored = [parameter.name for parameter in self.cell.parameters]
        self.names = {each: name(each) + self.suffix for each in stored}
        called = tuple(self.names.items())
        self.run = Run(self.cell, self.size_items, self.direction == 1, called=called)
        self.recurrent_rows: dict[str, list[tuple[int, int, bool]]] = {}
        self.extended: dict[tuple[str, bool], tuple[Cell, dict[str, int]]] = {}
        self._step_shapes: dict[int, list[tuple[int, int, int]]] = {}
        self.initial_names = [f"{state}_0{self.suffix}" for state in self.cell.states]

    def step_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """The shapes of the states of a layer of this part alone, (1, batch, size)."""
        found = self._step_shapes.get(batch)
        if found is None:
            found = self._step_shapes[batch] = [(1, batch, size) for size in self.state_sizes]
        return found

    def shifted(self, training: bool, memory: str, all_states: bool = False) -> Run:
        """The run of the cell whose new states have something added to them; perhaps one that
        outputs all states.
        """
        cell = self.training_cell if training else self.cell
        sizes = tuple(shifted_sizes(cell, self.sizes).items())
        made = with_shifted_states(cell)
        if all_states:
            made = state_outputs.with_states_as_output(made)
        return Run(made, sizes, self.direction == 1, memory, called=self.run.called)

    def find_recurrent_rows(self, probability: float) -> None:
        """Find which rows of each stored parameter weight dropout is applied to.

        Args:
            probability: For the message: of dropping an element.

        Raises:
            InputError: The cell has no matrix between its old states and the new ones.
        """
        recurrent = matrices(self.cell, Role.RECURRENT, Role.PROJECTION)
        for stored in self.cell.parameters:
            if recurrent.intersection(stored.members):
                self.recurrent_rows[stored.name] = [
                    (rows.start, rows.stop, name in recurrent)
                    for name, rows in stored.rows(self.sizes).items()
                ]
        if not self.recurrent_rows:
            raise InputError(
                f"weight_dropout={probability}, but the cell '{self.cell.name}' has no recurrent "
                "matrix"
            )

    def drop_weights(self, weights: dict[str, Tensor], probability: float) -> dict[str, Tensor]:
        """Drop elements of the recurrent matrices.

        Args:
            weights: The stored parameters.
            probability: Of dropping one.
        """
        found = dict(weights)
        for name, members in self.recurrent_rows.items():
            whole = weights[name]
            if all(recurrent for _, _, recurrent in members):
                found[name] = functional.dropout(whole, probability)
            else:
                pieces = [
                    functional.dropout(whole[start:stop], probability, recurrent)
                    for start, stop, recurrent in members
                ]
                found[name] = torch.cat(pieces)
        return found

    def like(self, other: LayerPart) -> bool:
        """Whether the states of both can be stacked: one cell, one size."""
        return self.cell is other.cell and self.state_sizes == other.state_sizes


@constant
def extend(part: LayerPart, returned: str, training: bool) -> None:
    """Make the cell of a part that also outputs `all` states, or all `values` of the equations; and
    find the sizes of what it outputs, one after the other, by name, the part's own output first.
    """
    if (returned, training) in part.extended:
        return
    cell = part.training_cell if training else part.cell
    if returned == "values":
        extended, named = state_outputs.with_values_as_output(cell), state_outputs.values(cell)
    else:
        extended, named = state_outputs.with_states_as_output(cell), state_outputs.states(cell)
    part.extended[returned, training] = extended, state_outputs.sizes(named, part.sizes)
