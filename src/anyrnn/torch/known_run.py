"""Runs over sequences of one length, entered again with little but addresses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from torch import Tensor

from anyrnn.kernels.run import ArrayInterface, Run
from anyrnn.kernels.target import Call, Entry, Target
from anyrnn.torch.tensors import NO_MEMORY, PLAIN, TYPES, address_reader, list_maker, zeros

Shape = tuple[int, ...]


class _Part(NamedTuple):
    """What is returned of an array.

    Attributes:
        place: The place of the array.
        view: A shape, strides and an offset in it; None for all of it, as it is.
        saved: Whether the derivative reads the array.
        shared: Whether something else is in it that is returned or saved.
    """

    place: int
    view: tuple[Shape, Shape, int] | None
    saved: bool
    shared: bool


class _Results:
    """The arrays that an entry writes, and what is returned of them.

    Args:
        entry: The entry.
        shapes: The shape of each tensor to return. What the entry returns behind them is saved for
            the derivative.
    """

    def __init__(self, entry: Entry, shapes: Sequence[Shape]) -> None:
        self.run, places = entry.run, [found and found[0] for found in entry.returned]
        made: list[Shape] = [slot.shape for slot in entry.results]
        self.saved: list[Any] = places[len(shapes) :]
        self.parts: list[_Part | None] = []
        for found, shape in zip(entry.returned, shapes, strict=False):
            if found is None:
                self.parts.append(None)
                continue
            place, (first, last) = found
            array, view, shared = made[place], None, places.count(place) > 1
            if not shared and last - first == array[0]:
                made[place] = shape
            elif shape != array:
                strides = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
                view = shape, strides, first * prod(array[1:])
            self.parts.append(_Part(place, view, place in self.saved, shared))
        kinds = [slot.dtype for slot in entry.results]
        self.make = list_maker(made, kinds)
        self.shapes = [made[place] for place in self.saved]

    def fill(self, given: Sequence[int]) -> list[Tensor]:
        """Run, given addresses: the arrays."""
        arrays = self.make()
        self.run([*given, *map(Tensor.data_ptr, arrays)])
        return arrays

    def taken(self, arrays: Sequence[Tensor]) -> tuple[list[Any], list[Tensor]]:
        """What is returned, as tensors that count changes apart from what is saved; and for those
        that have memory of that, others that count with them, without memory.
        """
        found: list[Tensor | None] = []
        counters = []
        for part in self.parts:
            if part is None:
                found.append(None)
                continue
            tensor = arrays[part.place]
            if part.view is not None:
                tensor = tensor.as_strided(*part.view)
            if part.view is not None or part.shared:
                tensor = tensor.data
            if part.saved:
                counters.append(tensor.detach())
                counters[-1].data = NO_MEMORY
            found.append(tensor)
        return found, counters


class CallLayout(NamedTuple):
    """How the arrays of a call are laid out.

    Attributes:
        time: Whether inputs and outputs are (time, batch, size); else the rows of all steps.
        stacked: Whether the last states are to be (1, batch, size), as those of one layer.
        batch_first: Whether outputs are (batch, time, size).
    """

    time: bool
    stacked: bool
    batch_first: bool = False


class KnownRun:
    """A run over sequences of one length, which has been run before.

    Args:
        target: What runs it.
        run: What is run.
        interface: What its arrays are.
        layout: How they are laid out: (time, batch, size).
    """

    def __init__(
        self, target: Target, run: Run, interface: ArrayInterface, layout: CallLayout
    ) -> None:
        self.target, self.run, self.interface, self.layout = target, run, interface, layout
        time, batch, sizes = len(run.steps.batch_sizes), run.steps.batch, dict(run.sizes)
        self.states = run.state_shapes(batch)
        self.parameters = [*run.cell.stored_shapes(sizes).values()]
        self.x, self.output = (time, batch, sizes["input"]), run.output_shape(time, batch)
        self.given = [self.x, *self.states, *self.parameters]
        self.dtypes = [TYPES[run.dtype]] * len(self.given)
        self.ways: dict[Any, _Results | None] = {}
        self.read = address_reader(self.given, self.dtypes)
        self.read_gradients: Callable[[list[Any]], list[int] | None] | None = None
        self.zeros: list[Callable[[], Tensor]] = []  # gradients of results that nothing depends on

    def learn(self, call: Call, wanted: tuple[bool, ...] = ()) -> None:
        """Find the way into what a method of the target has just run, if there is one.

        Args:
            call: The method.
            wanted: As the derivative takes it.
        """
        if (call, wanted) in self.ways:
            return
        entry = self.target.entry(self.run, call, self.interface, wanted=wanted)
        shapes = [self.output, *map(self._stacked, self.states)]
        if call == "backward":
            shapes = self.given
        elif entry is not None and None in entry.returned:
            entry = None
        self.ways[call, wanted] = entry and _Results(entry, shapes)

    def starts(self, call: Call, tensors: Sequence[Tensor]) -> list[int] | None:
        """Where the input, the states and the parameters begin; None if it has to be run in the
        usual way.
        """
        if self.ways.get((call, ())) is None:
            return None
        return self.read([*tensors])

    def enter(
        self, call: Call, starts: Sequence[int]
    ) -> tuple[list[Any], list[Tensor], list[Tensor]]:
        """Run forwards.

        Args:
            call: The method of the target.
            starts: Where the input, the states and the parameters begin.

        Returns:
            The outputs and the last states; what is saved for the derivative; and what counts the
            changes of results that have memory of it.
        """
        results = self.ways[call, ()]
        assert results is not None
        arrays = results.fill(starts)
        found, counters = results.taken(arrays)
        if self.layout.batch_first:
            found[0] = found[0].transpose(0, 1).data
        return found, [*map(arrays.__getitem__, results.saved)], counters

    def derivative(
        self, saved: Sequence[Tensor], gradients: Sequence[Tensor | None], wanted: tuple[bool, ...]
    ) -> list[Tensor | None] | None:
        """The gradients of the input, the states and the parameters; None if they have to be
        computed in the usual way.

        Args:
            saved: The input, the states, the parameters, and what was saved.
            gradients: Those of the results.
            wanted: Whether the gradient of the input is wanted, and of each parameter.
        """
        results = self.ways.get(("backward", wanted))
        if results is None or self.ways.get(("record", ())) is None:
            return None
        first, end = 1 + len(self.states), len(self.given)
        read = self.read_gradients or self._gradient_reader()
        above = [
            make() if gradient is None else gradient
            for gradient, make in zip(gradients, self.zeros, strict=True)
        ]
        if self.layout.batch_first and gradients[0] is not None:
            above[0] = above[0].transpose(0, 1)
        behind = *saved[end:], *above[1:], *saved[first:end]
        starts = read([saved[0], above[0], *behind])
        if starts is None:  # some are not contiguous
            if not PLAIN.issuperset(map(type, above)):
                return None
            output, *states = map(Tensor.contiguous, above)
            behind = *saved[end:], *states, *saved[first:end]
            starts = read([saved[0], output, *behind])
        return None if starts is None else results.taken(results.fill(starts))[0]

    def _gradient_reader(self) -> Callable[[list[Any]], list[int] | None]:
        """What reads where the arrays begin that the derivative is given."""
        own = self.ways["record", ()]
        assert own is not None
        states = [*map(self._stacked, self.states)]
        shapes = [self.x, self.output, *own.shapes, *states, *self.parameters]
        self.zeros = [*(zeros(shape, self.dtypes[0]) for shape in (self.output, *states))]
        self.read_gradients = address_reader(shapes, self.dtypes[:1] * len(shapes))
        return self.read_gradients

    def _stacked(self, shape: Shape) -> Shape:
        """The shape of a last state, as it is returned."""
        return (1, *shape) if self.layout.stacked else shape


@lru_cache(maxsize=64)
def known_run(target: Target, run: Run, interface: ArrayInterface, layout: CallLayout) -> KnownRun:
    """The one of these arguments."""
    return KnownRun(target, run, interface, layout)
