"""A cell over a sequence, forward and backward, on NumPy arrays: what every face runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from anyrnn.derivative.reverse import PREFIX
from anyrnn.graph.cell import Cell
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.kernels.cpu.program.commands import NOTHING, NUMPY_ARRAYS, Arrays
from anyrnn.kernels.cpu.program.program import How, Steps, program
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.phases import is_recurrent
from anyrnn.schedule.residuals import BEFORE, GRADIENT, training

FEW_ROWS = 3  # as many or fewer make little use of a matrix each time that they read it
CACHED = 1 << 18  # elements of matrices that stay in the caches from one step to the next
PARALLEL = 1 << 20  # multiplications of a run from which on several threads pay

_training = lru_cache(maxsize=256)(training)


@lru_cache(maxsize=256)
def _inference(cell: Cell, policy: Policy) -> Schedule:
    return schedule(cell.graph, cell.states, [cell.output], policy)


@lru_cache(maxsize=1024)
def _matrix_elements(cell: Cell, sizes: tuple[tuple[str, int], ...]) -> int:
    shapes = (stored.shape_for(dict(sizes)) for stored in cell.parameters if stored.is_matrix)
    return sum(rows * columns for rows, columns in shapes)


@lru_cache(maxsize=256)
def _waits_for_no_product(cell: Cell) -> bool:
    """Whether no step waits for a product with what depends on a state, and nothing is left to be
    computed after all steps: then products with the input come first without changing a bit.
    """
    return not (is_recurrent(cell.graph, cell.states) or _inference(cell, Policy()).after)


def team_size(cell: Cell, sizes: tuple[tuple[str, int], ...], rows: int, threads: int) -> int:
    """The number of threads that pay, and that there are, for the rows of all steps."""
    pays = rows * _matrix_elements(cell, sizes) >= PARALLEL
    return threads if pays and team.available() else 1


@dataclass(frozen=True)
class Call:
    """What a run is besides its arrays.

    Attributes:
        cell: The cell.
        sizes: The named sizes as numbers.
        steps: The steps of the sequences.
        reverse: Whether it goes from the last step to the first.
        dtype: The type of all arrays.
        threads: The most threads to use.
        arrays: What kind of arrays these are.
        seed: What random numbers follow from, for a cell that draws some.
        target: The CPU to compile for; this one if not given.
        memory: `high`, or `low` to keep the states only and compute the rest again.
        operand: `bfloat16` to round what products multiply, with float32 as the type of all arrays.
    """

    cell: Cell
    sizes: tuple[tuple[str, int], ...]
    steps: Steps
    reverse: bool
    dtype: np.dtype[Any]
    threads: int
    arrays: Arrays = NUMPY_ARRAYS
    seed: Any = None
    target: Processor | None = None
    memory: str = "high"
    operand: str | None = None

    @property
    def policy(self) -> Policy:
        """Whether to multiply all inputs first, so that a step reads fewer matrices.

        The products of a step are better computed together, those of the input and those of the
        state, but where few rows wait for large matrices, or for none with the state.
        """
        if self.steps.batch > FEW_ROWS:
            return FUSED
        large = _matrix_elements(self.cell, self.sizes) > CACHED
        return Policy() if large or _waits_for_no_product(self.cell) else FUSED

    def how(self, histories: tuple[str, ...] | None = None) -> How:
        """How to run it, or with the histories that going backward reads, how to go back."""
        forward = histories is None
        return How(
            self.steps,
            self.reverse if forward else not self.reverse,
            () if forward else histories,
            self.dtype,
            team_size(self.cell, self.sizes, self.steps.rows, self.threads),
            self.target,
            team.threads_of(),
            self.operand,
        )

    def named(self, parameters: Sequence[Any]) -> dict[str, Any]:
        """The stored parameters by name."""
        names = (stored.name for stored in self.cell.parameters)
        return dict(zip(names, parameters, strict=True))


def forward(
    call: Call, rows: Any, states: Sequence[Any], parameters: Sequence[Any]
) -> tuple[Any, list[Any]]:
    """Run a cell.

    Args:
        call: What to run.
        rows: The inputs of all steps, step after step, (rows of all steps, input).
        states: The initial states, each (batch, size).
        parameters: The stored parameters.

    Returns:
        The outputs, laid out as the inputs, and the last states.
    """
    output, last, _ = _forward(
        call, _inference(call.cell, call.policy), rows, states, parameters, (), ()
    )
    return output, last


def record(
    call: Call,
    rows: Any,
    states: Sequence[Any],
    parameters: Sequence[Any],
    into: Mapping[str, Any] = NOTHING,
) -> tuple[Any, list[Any], dict[str, Any]]:
    """Run a cell, and keep what `backward` needs; arguments as those of `forward`.

    Args:
        call: What to run.
        rows: The inputs of all steps.
        states: The initial states.
        parameters: The stored parameters.
        into: Arrays for what is kept, by name; it is there unless it is a part of something else.

    Returns:
        The outputs, the last states, and what to keep, by name.
    """
    planned = _training(call.cell, call.memory, call.policy)
    return _forward(
        call,
        planned.forward,
        rows,
        states,
        parameters,
        tuple(planned.saved),
        planned.histories,
        into,
    )


def _forward(
    call: Call,
    planned: Schedule,
    rows: Any,
    states: Sequence[Any],
    parameters: Sequence[Any],
    saved: tuple[str, ...],
    histories: tuple[str, ...],
    into: Mapping[str, Any] = NOTHING,
) -> tuple[Any, list[Any], dict[str, Any]]:
    cell = call.cell
    named = {("results", name): into[name] for name in saved if name in into}
    for name in histories:
        if BEFORE + name in into:
            named["histories", name] = into[BEFORE + name]
    outcome = program(cell, planned, call.sizes, (cell.output, *saved), histories).run(
        call.how(),
        {cell.input: rows},
        dict(zip(cell.states, states, strict=True)),
        call.named(parameters),
        call.arrays,
        call.seed,
        named,
    )
    kept = {name: outcome.results[name] for name in saved}
    kept |= {BEFORE + name: outcome.histories[name] for name in histories}
    return outcome.results[cell.output], [outcome.states[name] for name in cell.states], kept


def backward(
    call: Call,
    rows: Any,
    saved: Mapping[str, Any],
    parameters: Sequence[Any],
    output_gradient: Any,
    state_gradients: Sequence[Any],
    input_wanted: bool,
    wanted: Sequence[str],
) -> tuple[Any | None, list[Any], dict[str, Any]]:
    """Go back through a run.

    Args:
        call: What was run.
        rows: Its inputs.
        saved: What `record` kept.
        parameters: The stored parameters.
        output_gradient: The gradient of the outputs, laid out as they are.
        state_gradients: The gradients of the last states.
        input_wanted: Whether to compute the gradient of the input.
        wanted: The stored parameters whose gradients to compute.

    Returns:
        The gradients of the inputs, of the initial states, and of the stored parameters by name;
        what has no influence is None or not there.
    """
    cell, planned = call.cell, _training(call.cell, call.memory, call.policy).reverse
    x = PREFIX + cell.input
    results = (x,) if input_wanted and x in planned.graph.outputs else ()
    outcome = program(cell, planned, call.sizes, results, (), tuple(wanted)).run(
        call.how(tuple(name for name in saved if name.startswith(BEFORE))),
        {cell.input: rows, GRADIENT + "output": output_gradient, **saved},
        {PREFIX + n: part for n, part in zip(cell.states, state_gradients, strict=True)},
        call.named(parameters),
        call.arrays,
        call.seed,
    )
    last = [outcome.states[PREFIX + name] for name in cell.states]
    return outcome.results.get(x), last, outcome.gradients
