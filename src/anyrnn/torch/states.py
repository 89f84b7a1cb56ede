"""The states of a layer in the form that a caller sees.

Where all parts of a layer are alike, a state is one tensor (layers x directions, batch, size);
otherwise the layers have a form each, in a tuple, and so have the directions of one that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from anyrnn.errors import InputError
from anyrnn.torch.rows import Rows
from anyrnn.torch.sequences import check_tensor

if TYPE_CHECKING:
    from anyrnn.torch.structure import Part

State = Tensor | tuple["State", ...]


@dataclass(eq=False)
class Stacked:
    """The form of the states of parts that are alike.

    Attributes:
        names: The names of the states.
        sizes: Their sizes.
        count: The number of parts.
        place: For messages: what the first axis is, and whose states these are.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    count: int
    place: tuple[str, str]

    def read(self, given: object, rows: Rows, like: Tensor) -> list[list[Tensor]]:
        """The states of each part, (batch, size).

        Args:
            given: A tensor for a cell with one state, else a tuple of tensors, each (parts, batch,
                size), or (parts, size) for one sequence without a batch.
            rows: The input.
            like: A parameter of the layer.

        Raises:
            InputError: The states are not what the layer takes.
        """
        axis, whose = self.place
        alone = len(self.names) == 1 and not isinstance(given, tuple | list)
        tensors = (given,) if alone else given
        if not isinstance(tensors, tuple | list) or len(tensors) != len(self.names):
            count = len(tensors) if isinstance(tensors, tuple | list) else 1
            raise InputError(
                f"{count} initial states{whose} were given; expected {len(self.names)}: "
                f"({', '.join(self.names)})"
            )
        states = []
        for name, size, tensor in zip(self.names, self.sizes, tensors, strict=True):
            tensor = check_tensor(f"the state {name}{whose}", tensor, like)
            wanted = (self.count, rows.batch, size) if rows.batched else (self.count, size)
            if tuple(tensor.shape) != wanted:
                parts = f"({axis}, batch, size)" if rows.batched else f"({axis}, size)"
                raise InputError(
                    f"the state {name}{whose} has shape {tuple(tensor.shape)}; expected {wanted}: "
                    f"{parts}"
                )
            states.append(tensor if rows.batched else tensor.unsqueeze(1))
        return [[tensor[index] for tensor in states] for index in range(self.count)]


Form = Stacked | tuple["Form", ...]
Values = list[Tensor] | None


def _stacked(parts: Sequence[Part], place: tuple[str, str]) -> Stacked | None:
    first = parts[0]
    if not all(part.like(first) for part in parts):
        return None
    return Stacked(first.cell.states, tuple(first.state_sizes), len(parts), place)


def form(layers: Sequence[Sequence[Part]]) -> Form:
    """The form of the states of a layer's parts."""
    parts = [part for layer in layers for part in layer]
    found: Form | None = _stacked(parts, ("layers x directions", ""))
    return found or tuple(
        _stacked(layer, ("directions", f" of layer {place}"))
        or tuple(
            Stacked(part.cell.states, tuple(part.state_sizes), 1, ("1", f" of {part.suffix[1:]}"))
            for part in layer
        )
        for place, layer in enumerate(layers)
    )


def read(form: Form, given: object, rows: Rows, like: Tensor, whose: str = "") -> list[Values]:
    """The initial states of each part, (batch, size); None for those that were not given.

    Raises:
        InputError: The states are not what the layer takes.
    """
    if isinstance(form, Stacked):
        return [None] * form.count if given is None else [*form.read(given, rows, like)]
    entries: Sequence[Any] = [None] * len(form)
    if given is not None:
        if not isinstance(given, tuple | list) or len(given) != len(form):
            count = len(given) if isinstance(given, tuple | list) else "one tensor"
            what = "direction" if whose else "layer"
            raise InputError(
                f"the initial state{whose} is a {type(given).__name__} ({count}); expected a tuple "
                f"with an entry for each of {len(form)} {what}s"
            )
        entries = given
    found = []
    for place, (part, entry) in enumerate(zip(form, entries, strict=True)):
        found += read(part, entry, rows, like, f" of layer {place}")
    return found


def write(
    form: Form, values: Iterator[Sequence[Tensor]], stack: Callable[[Sequence[Tensor]], Any]
) -> Any:
    """Give the states of each part the form of the caller.

    Args:
        form: The form.
        values: The states of each part.
        stack: What to do with the same state of parts that are alike.
    """
    if not isinstance(form, Stacked):
        return tuple(write(part, values, stack) for part in form)
    parts = [next(values) for _ in range(form.count)]
    states = [stack(tensors) for tensors in zip(*parts, strict=True)]
    return states[0] if len(states) == 1 else tuple(states)


def detached(state: State) -> State:
    """The state, cut off from what it was computed from."""
    return state.detach() if isinstance(state, Tensor) else tuple(map(detached, state))
