"""What a target is: a kind of machine that kernels are made for. Faces know this interface only."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

from anyrnn.graph.cell import Cell
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import (
    NOTHING,
    ArrayInterface,
    Arrays,
    PackedResiduals,
    Residual,
    Run,
    Slot,
)


class Step(Protocol):
    """A single step of a cell, entered with addresses only; see `Target.step`.

    Attributes:
        output_size: The size of the output.
        parameters: What each stored parameter is to be.
    """

    output_size: int
    parameters: Sequence[Slot]

    def run(self, addresses: list[int]) -> None:
        """Run.

        Args:
            addresses: Of the input, (batch, input); the states, each (batch, size); the stored
                parameters; the output, (batch, output size); the new states. Each is contiguous.
        """
        ...

    def bind(self, addresses: Sequence[int]) -> Callable[[], None]:
        """What runs it at the same addresses each time; never twice at a time."""
        ...


Call = Literal["forward", "record", "backward"]  # methods of a target


class Entry(NamedTuple):
    """A run that is entered with addresses, without a look at arrays; see `Target.entry`.

    Attributes:
        run: Runs it, given the addresses of what it is given, then of the results.
        results: What the arrays are to be that it writes.
        returned: Where what the method returns is, in order: the place of a result, and the first
            of its rows and the one behind the last; None for what has no influence.
    """

    run: Callable[[Sequence[int]], None]
    results: Sequence[Slot]
    returned: Sequence[tuple[int, tuple[int, int]] | None]


class Target(Protocol):
    """A kind of machine that kernels are made for.

    Attributes:
        device: The type of the devices whose memory its kernels read, as PyTorch calls it: `cpu`.
        rounds: Whether its kernels take float32 and round what their products multiply
            (`Run.operand`), for mixed precision; else arrays are given in the lower type.
    """

    device: str
    rounds: bool

    @property
    def name(self) -> str:
        """What this kind of machine is called, as in `avx512`."""
        ...

    def refusal(self, cell: Cell | None, dtype: str | None) -> str | None:
        """Why its kernels cannot run, in a few words; None if they can.

        Args:
            cell: The cell; None to ask about the type and the machine only.
            dtype: The name of the type that all arrays have; None for no array.
        """
        ...

    def variant(self, name: str | None) -> Target:
        """The target restricted to a kind of machine, as `avx2`; the best one for None.

        Raises:
            KernelError: This machine is of no such kind.
        """
        ...

    def describe(self, cell: Cell, memory: str, sizes: Mapping[str, int], dtype: str) -> str:
        """How a cell is computed, as text for a reader.

        Args:
            cell: The cell.
            memory: What is saved for the derivative, as of `Run`.
            sizes: The named sizes as numbers, for a target whose code differs by them.
            dtype: The name of the type, likewise.
        """
        ...

    def residuals(self, run: Run) -> Mapping[str, Residual | PackedResiduals]:
        """What `record` saves for `backward`, by name and in order."""
        ...

    def forward(self, run: Run, arrays: Arrays) -> tuple[Any, list[Any]]:
        """Run a cell over sequences.

        Args:
            run: What to run.
            arrays: What it is given.

        Returns:
            The outputs, laid out as the inputs, and the last states.
        """
        ...

    def record(
        self, run: Run, arrays: Arrays, into: Mapping[str, Any] = NOTHING
    ) -> tuple[Any, list[Any], dict[str, Any]]:
        """Run a cell and save the residuals that `backward` reads.

        Args:
            run: What to run.
            arrays: What it is given.
            into: Arrays that residuals may be written into, by name.

        Returns:
            The outputs, the last states, and the residuals by name.

        Raises:
            InputError: The run has no derivative: its products are in int8.
        """
        ...

    def backward(
        self,
        run: Run,
        arrays: Arrays,
        residuals: Mapping[str, Any],
        gradients: Sequence[Any],
        wanted: Sequence[bool],
    ) -> tuple[Any | None, list[Any], dict[str, Any]]:
        """Compute the gradients of a run.

        Args:
            run: What was run.
            arrays: What it was given; the initial states may be left out.
            residuals: What `record` saved.
            gradients: The gradients of the outputs, laid out as they are, and of the last states.
            wanted: Whether the gradient of the inputs is wanted, and of each stored parameter.

        Returns:
            The gradients of the inputs, of the initial states, and of the stored parameters by
            name; what has no influence is None or not there.
        """
        ...

    def step(self, run: Run, short: bool = False) -> Step | None:
        """A single step, without a derivative, by the shortest way into a kernel.

        Args:
            run: What to run; it has one step.
            short: Whether matrices are bfloat16 in memory.

        Returns:
            The step; None if the target has none for this cell.
        """
        ...

    def entry(
        self,
        run: Run,
        call: Call,
        interface: ArrayInterface,
        packed: PackedWeights | None = None,
        stamp: Sequence[Any] = (),
        wanted: Sequence[bool] = (),
    ) -> Entry | None:
        """A run that a method of this target has run, without a look at arrays.

        Args:
            run: What was run.
            call: The method: its entry is given the input, for `backward` the gradient of the
                outputs and the residuals in order, then the states or their gradients, and the
                stored parameters; each is contiguous.
            interface: What the arrays were.
            packed: Where its packed weights were kept. What is found there is read, whatever
                becomes of the parameters. None to pack them each time.
            stamp: That of the parameters: they must have been packed as they are now.
            wanted: As `backward` takes it.

        Returns:
            The entry; None if there is no such way.
        """
        ...


_LAZY = {  # modules that register a target when imported
    "cpu": "anyrnn.kernels.cpu.target",
    "cuda": "anyrnn.kernels.gpu.target",
}
_targets: dict[str, Target] = {}


def register(target: Target) -> None:
    """Have a target compute what is on its device."""
    _targets[target.device] = target


def devices() -> tuple[str, ...]:
    """The types of devices that have a target."""
    return tuple({**_LAZY, **_targets})


def target_for(device: str) -> Target | None:
    """The target of a type of device; None if there are no kernels for it."""
    if device not in _targets and device in _LAZY:
        importlib.import_module(_LAZY[device])
    return _targets.get(device)


def default_target() -> Target:
    """The target of arrays in the memory of this machine."""
    found = target_for("cpu")
    assert found is not None
    return found


def places(target: Target, run: Run, recorded: bool = False) -> bool:
    """Whether `forward` of a target, or `record` and `backward` if it is `recorded`, take
    `PlacedSteps` for a run, read padded arrays and write padded ones; few targets do for some runs.
    """
    asked: Callable[[Run, bool], bool] | None = getattr(target, "places", None)
    return asked is not None and asked(run, recorded)


@contextmanager
def registered(target: Target) -> Iterator[None]:
    """Have a target compute in the place of the one that its device has."""
    before = target_for(target.device)
    register(target)
    try:
        yield
    finally:
        if before is None:
            del _targets[target.device]
        else:
            register(before)
