"""What a run is: a cell over sequences. The records that faces, targets and callbacks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from anyrnn.graph.cell import Cell

Array = NDArray[Any]
Sizes = tuple[tuple[str, int], ...]
BFLOAT16, INT8 = "bfloat16", "int8"
NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Steps:
    """The steps of a batch of sequences, whose rows lie one after another.

    Attributes:
        batch_sizes: The number of rows of each step, never rising.
        bounds: The first row of each step, and the number of all rows.
        offsets: The same as an array.
        rows: The number of rows of all steps.
        batch: The number of sequences.
    """

    batch_sizes: tuple[int, ...]
    bounds: list[int] = field(init=False, repr=False)
    offsets: Array = field(init=False, repr=False)
    rows: int = field(init=False, repr=False)
    batch: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bounds = [*accumulate(self.batch_sizes, initial=0)]
        object.__setattr__(self, "bounds", bounds)
        object.__setattr__(self, "offsets", np.array(bounds, np.int64))
        object.__setattr__(self, "rows", bounds[-1])
        object.__setattr__(self, "batch", self.batch_sizes[0])

    @property
    def constant(self) -> bool:
        """Whether every step has a row of each sequence."""
        return self.batch_sizes[-1] == self.batch_sizes[0]

    @cached_property
    def _row(self) -> Array:
        """The sequence of each row."""
        return np.arange(self.rows) - np.repeat(self.offsets[:-1], self.batch_sizes)

    @cached_property
    def before(self) -> Array:
        """Where a history from the first step on has the row that comes before each row."""
        start = np.concatenate([[0], self.batch + self.offsets[:-2]])
        return np.repeat(start, self.batch_sizes) + self._row

    @cached_property
    def after(self) -> Array:
        """Where a history from the last step on has the row that comes after each row."""
        following = np.append(self.batch_sizes[1:], 0)
        goes_on = self._row < np.repeat(following, self.batch_sizes)
        start = np.repeat(self.offsets[1:], self.batch_sizes)
        return np.where(goes_on, start, self.rows) + self._row

    @cached_property
    def last(self) -> Array:
        """Where a history from the first step on has the last step of each sequence."""
        return self.batch + self.offsets[self.lengths - 1] + np.arange(self.batch)

    @cached_property
    def lengths(self) -> Array:
        """The number of steps of each sequence."""
        return np.searchsorted(-np.diff(self.offsets), -np.arange(self.batch), side="left")

    @cached_property
    def odd(self) -> Array:
        """Whether each sequence has an odd number of steps, (batch, 1)."""
        return (self.lengths % 2)[:, None].astype(bool)


@dataclass(frozen=True, eq=False)
class Places:
    """Where the rows of all steps are in a padded array."""

    rows: Array  # the row of the array of each
    rest: Array  # the other rows of the array


@dataclass(frozen=True, eq=False)
class PlacedSteps(Steps):
    """Steps whose rows a run reads and writes where they are in padded arrays; and whose states are
    those of a caller's batch. What is written has zeros where no step is.

    Attributes:
        input, output: Where rows are in the input and in the output, and in the gradients of these.
        padded: The number of rows of the padded arrays.
        begin: The given state with which each sequence begins.
        end: Where each last state is: among those of the sequences, and after them the given ones.
        given: The number of states that are given.
    """

    input: Places
    output: Places
    padded: int
    begin: Array
    end: Array
    given: int

    @property
    def constant(self) -> bool:
        """Numbers of rows vary in any case."""
        return False


@lru_cache(maxsize=256)
def steps_of(batch_sizes: tuple[int, ...]) -> Steps:
    """The steps; the same ones for the same sizes, so that what is written for them is found."""
    return Steps(batch_sizes)


@dataclass(frozen=True, eq=False)
class DeviceSteps:
    """As `Steps`, of sequences whose lengths are known on a device only: there are as many rows as
    there may be, and of those that are none the values are undefined.

    Attributes:
        batch_sizes: How many rows each step has at most.
        rows: How many rows all steps have at most.
        batch: How many sequences there are at most.
        lengths: The number of steps of each sequence, never rising, (batch,).
        offsets: The first row of each step, and the number of all rows, (steps + 1,).
        sequences: The numbers of the sequences, (batch,).
        step, sequence: The step and the sequence of each row, (rows,).
        live: Whether each row is one, (rows,).
    """

    batch_sizes: tuple[int, ...]
    rows: int
    batch: int
    lengths: Any
    offsets: Any
    sequences: Any
    step: Any
    sequence: Any
    live: Any
    constant: ClassVar[bool] = False

    @cached_property
    def before(self) -> Any:
        """As `Steps.before`."""
        return (self.step > 0) * (self.batch + self.offsets[self.step - 1]) + self.sequence

    @cached_property
    def after(self) -> Any:
        """As `Steps.after`."""
        goes_on = self.step + 1 < self.lengths[self.sequence]
        following = self.offsets[self.step + 1]
        return goes_on * following + ~goes_on * self.rows + self.sequence

    @cached_property
    def last(self) -> Any:
        """As `Steps.last`; of a sequence without steps its initial state."""
        found = self.batch + self.offsets[self.lengths - 1]
        return (self.lengths > 0) * found + self.sequences

    @cached_property
    def first(self) -> Any:
        """Where a history from the last step on has the first step of each sequence; of one without
        steps its initial state.
        """
        return (self.lengths == 0) * self.rows + self.sequences

    @cached_property
    def odd(self) -> Any:
        """As `Steps.odd`."""
        return (self.lengths % 2 == 1)[:, None]


@dataclass(frozen=True)
class History:
    """A state after each step, and the initial one: in front, or at the end of a run in reverse."""

    array: Any  # (rows + batch, size)
    steps: Any  # `Steps`, or what has as many rows and sequences
    reverse: bool  # whether the run went from the last step to the first

    @property
    def initial(self) -> Any:
        """The initial state."""
        batch, rows = self.steps.batch, self.steps.rows
        return self.array[rows:] if self.reverse else self.array[:batch]

    @property
    def new(self) -> Any:
        """The state after each step, for the rows of all steps."""
        batch, rows = self.steps.batch, self.steps.rows
        return self.array[:rows] if self.reverse else self.array[batch:]

    def old(self, first: Any, last: Any) -> Any:
        """Where the array has the state before the step of each of some rows."""
        if self.steps.constant:
            shift = self.steps.batch if self.reverse else 0
            return slice(first + shift, last + shift)
        index = self.steps.after if self.reverse else self.steps.before
        return index[first:last]


class Run(NamedTuple):
    """What a run is besides its arrays.

    Attributes:
        cell: The cell.
        sizes: The named sizes as numbers.
        reverse: Whether it goes from the last step to the first.
        memory: `high` saves the residuals that the backward pass reads; `low` saves the states
            only, and the backward pass rematerialises the rest.
        operand: `bfloat16` if what matrix products multiply is rounded, with float32 arrays;
            `int8` if it is quantised, which has no derivative.
        steps: The steps of the sequences; None in a traced graph, until it runs.
        dtype: The type of all arrays; None until it runs.
        threads: The most threads to use.
        called: What a module calls the stored parameters, for messages, by pairs.
        transposed: Whether of stored matrices the transposes are given, (columns, rows), as Keras
            has them; their gradients are laid out likewise.
    """

    cell: Cell
    sizes: Sizes
    reverse: bool = False
    memory: str = "high"
    operand: str | None = None
    steps: Any = None
    dtype: Any = None
    threads: int = 1
    called: tuple[tuple[str, str], ...] = ()
    transposed: bool = False

    def over(
        self,
        batch_sizes: Sequence[int] | DeviceSteps,
        dtype: np.dtype[Any] | None,
        threads: int,
    ) -> Run:
        """The run over sequences with so many rows at each step."""
        known = isinstance(batch_sizes, DeviceSteps)
        steps = batch_sizes if known else steps_of(tuple(batch_sizes))
        return Run(*self[:5], steps, dtype, threads, *self[8:])

    def name_of(self, stored: str) -> str:
        """What messages call a stored parameter."""
        return dict(self.called).get(stored, stored)

    def state_shapes(self, batch: Any) -> list[tuple[Any, ...]]:
        """The shape of each state."""
        sizes = dict(self.sizes)
        return [(batch, size.evaluate(sizes)) for size in self.cell.state_sizes]

    def output_shape(self, *leading: Any) -> tuple[Any, ...]:
        """The shape of the output behind some leading axes."""
        return (*leading, self.cell.output_size.evaluate(dict(self.sizes)))


@dataclass(frozen=True)
class Residual:
    """An array that the forward pass saves for the backward pass.

    A history also holds the initial state: batch rows more than there are rows of all steps.
    """

    width: int  # the size of each row
    history: bool

    def shape(self, rows: Any, batch: Any) -> tuple[Any, Any]:
        """Its shape, for the number of rows of all steps and of sequences."""
        return rows + batch if self.history else rows, self.width


@dataclass(frozen=True)
class PackedResiduals:
    """Several of them in one array, one after another."""

    parts: tuple[Residual, ...]

    def shape(self, rows: Any, batch: Any) -> tuple[Any]:
        """As `Residual.shape`."""
        return (sum(map(prod, (part.shape(rows, batch) for part in self.parts))),)


class Slot(Protocol):
    """What an array is to be that a run is given."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    name: tuple[str, str]  # in an ArrayError: its kind, as `parameter`, and what it is called


Reader = Callable[[Sequence[Any]], tuple[Sequence[Any], Sequence[int]]]


class Arrays(NamedTuple):
    """The arrays that a run is given.

    Attributes:
        interface: What kind of arrays these are.
        rows: The inputs of all steps, step after step, (rows of all steps, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters by name.
        seed: What random numbers follow from, one whole number of 64 bits in an array, for a cell
            that draws some.
        packed: Where packed weights are kept from one run to the next, `PackedWeights`; None to
            pack them in each.
    """

    interface: ArrayInterface
    rows: Any
    states: Sequence[Any]
    parameters: Mapping[str, Any]
    seed: Any = None
    packed: Any = None

    @property
    def differentiable(self) -> list[Any]:
        """The rows, the states and the parameters."""
        return [self.rows, *self.states, *self.parameters.values()]


@dataclass(frozen=True, eq=False)
class DeviceArrays:
    """A framework's arrays as a target takes them whose device has memory of its own: its kernels
    are given the arrays themselves, and what is not in kernels is done by the framework.

    Attributes:
        operations: A function for each operation of a graph.
        float32: The type, as the framework calls it.
        join: What joins arrays along an axis.
        moved: What copies an array to the device of another one, a NumPy array or the framework's.
        entered: What makes the device of an array the current one, and keeps its types as they are.
        queue: What the queue is called that the current device takes work from, which is told from
            other queues; None while what is put into it is recorded, to be done later.
        recorded: What records what a function launches beside an array, none of which is done: it
            returns what does it, as often as it is called, in the queue that is current then.
        count: The whole numbers from 0 on, so many, of 64 bits, beside an array.
        number: A number as an array without axes, beside an array and of its type.
        tf32: Whether float32 may be multiplied with fewer digits on a device.
    """

    operations: Mapping[str, Callable[..., Any]]
    float32: Any
    join: Callable[[Sequence[Any], int], Any]
    moved: Callable[[Any, Any], Any]
    entered: Callable[[Any], AbstractContextManager[Any]]
    queue: Callable[[Any], Any]
    recorded: Callable[[Callable[[], None], Any], Callable[[], None]]
    count: Callable[[int, Any], Any]
    number: Callable[[float, Any], Any]
    tf32: Callable[[], bool]


@dataclass(frozen=True, eq=False)
class ArrayInterface:
    """A framework's arrays: how their memory is reached, and its elementwise operations.

    Attributes:
        operations: A function for each elementwise operation, on NumPy arrays.
        maker: What makes an array of a shape and a type, with undefined contents.
        reader: What reads arrays that are to be as slots say: gives them, contiguous, and where
            their memory begins; an ArrayError if one has not the shape of its slot.
        address: Where an array's memory begins.
        view: An array's memory as a NumPy array.
        changes: How often each array was changed in place, as far as it can be noticed; None if one
            of them counts no changes.
        alias: Another array with the memory of one, which it keeps alive.
        on_device: What targets of other devices need, if there are any.
    """

    operations: Mapping[str, Callable[..., Array]]
    maker: Callable[[tuple[int, ...], np.dtype[Any]], Callable[[], Any]]
    reader: Callable[[Sequence[Slot]], Reader]
    address: Callable[[Any], int]
    view: Callable[[Any], Array]
    changes: Callable[[Sequence[Any]], list[int] | None]
    alias: Callable[[Any], Any]
    on_device: DeviceArrays | None = None

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """An array with undefined contents."""
        return self.maker(shape, dtype)()
