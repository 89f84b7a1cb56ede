"""The target of CPUs: a run is the program of its forward or reverse schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from anyrnn.errors import InputError, KernelError
from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Gradient
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.emit.lower import unsupported
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program.program import Machine, Outcome, Program
from anyrnn.kernels.cpu.program.program_plan import OUTPUT, ProgramPlan
from anyrnn.kernels.cpu.program.residual_layout import ResidualLayout, residual_layout
from anyrnn.kernels.cpu.program.single_step import SingleStep, single_step
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import (
    BFLOAT16,
    INT8,
    NOTHING,
    ArrayInterface,
    Arrays,
    PackedResiduals,
    Residual,
    Run,
    Sizes,
)
from anyrnn.kernels.target import Call, Entry, register
from anyrnn.schedule.forms import FUSED, Policy
from anyrnn.schedule.residuals import step_schedules
from anyrnn.schedule.show import describe

DTYPES = ("float32", "float64", BFLOAT16)  # bfloat16 is computed in float32, with products in it

_schedules = lru_cache(maxsize=256)(step_schedules)


@lru_cache(maxsize=256)
def _layout(cell: Cell, sizes: Sizes, memory: str) -> ResidualLayout:
    # which residuals there are follows from no policy
    return residual_layout(cell, _schedules(cell, memory, FUSED), dict(sizes))


@lru_cache(maxsize=1024)
def _forward(cell: Cell, sizes: Sizes, memory: str | None, chosen: Policy) -> Program:
    """The program of a forward run; without residuals for no memory."""
    if memory is None:
        planned = policy.inference(cell, chosen)
        return Program(ProgramPlan(cell, planned, dict(sizes), (cell.output,), (), ()))
    both, layout = _schedules(cell, memory, chosen), _layout(cell, sizes, memory)
    results = cell.output, *both.saved
    plan = ProgramPlan(cell, both.forward, dict(sizes), results, both.histories, ())
    return Program(plan, layout)


class _Reverse(NamedTuple):
    """What goes back through a run.

    Attributes:
        program: Its program.
        x: The name of the gradient of the input.
        states: Those of the gradients of the states.
    """

    program: Program
    x: Gradient
    states: tuple[Gradient, ...]


@lru_cache(maxsize=1024)
def _reverse(
    cell: Cell, sizes: Sizes, memory: str, chosen: Policy, wanted: tuple[bool, ...]
) -> _Reverse:
    planned = _schedules(cell, memory, chosen).reverse
    x, (asked_input, *asked) = Gradient(cell.input), wanted
    results = (x,) if asked_input and x in planned.graph.outputs else ()
    totals = tuple(n for n, yes in zip(cell.parameter_names, asked, strict=True) if yes)
    plan = ProgramPlan(cell, planned, dict(sizes), results, (), totals, backward=True)
    program = Program(plan, _layout(cell, sizes, memory))
    return _Reverse(program, x, tuple(map(Gradient, cell.states)))


class CPU:
    """The CPU of this machine, or a kind that it can play."""

    device = "cpu"
    rounds = True

    def __init__(self, processor: Processor | None = None) -> None:
        self._processor = processor

    @property
    def processor(self) -> Processor:
        """The CPU that code is compiled for.

        Raises:
            KernelError: It is of no kind that is known, or llvmlite cannot be loaded.
        """
        return self._processor or host()

    @property
    def name(self) -> str:
        """The kind of the CPU."""
        return self.processor.name

    def refusal(self, cell: Cell | None, dtype: str | None) -> str | None:
        """As `Target.refusal`."""
        if dtype not in DTYPES:
            return f"tensors of {dtype}"
        refused = None if cell is None else unsupported(policy.inference(cell, FUSED))
        if refused is not None:
            return refused
        try:
            self.processor  # noqa: B018 - asks whether there is one
        except KernelError as error:
            return str(error)
        return None

    def variant(self, name: str | None) -> CPU:
        """As `Target.variant`."""
        return CPU(host(name))

    def describe(self, cell: Cell, memory: str, sizes: Mapping[str, int], dtype: str) -> str:
        """As `Target.describe`: the same for all sizes and types."""
        return describe(cell, memory)

    def residuals(self, run: Run) -> Mapping[Any, Residual | PackedResiduals]:
        """As `Target.residuals`."""
        return _layout(run.cell, run.sizes, run.memory).arrays

    def places(self, run: Run, recorded: bool = False) -> bool:
        """As `anyrnn.kernels.target.places`."""
        kind, chosen = (run.cell, run.sizes), policy.of_run(run)
        if not recorded:
            return _forward(*kind, None, chosen).plan.can_place
        wanted = True, *(True for _ in run.cell.parameter_names)
        back = _reverse(*kind, run.memory, chosen, wanted).program
        return _forward(*kind, run.memory, chosen).plan.can_place and back.plan.can_place

    def forward(self, run: Run, arrays: Arrays) -> tuple[Any, list[Any]]:
        """As `Target.forward`."""
        cell, made = run.cell, _forward(run.cell, run.sizes, None, policy.of_run(run))
        outcome = self._run(made, run, arrays, {cell.input: arrays.rows})
        return outcome.results[cell.output], [*map(outcome.states.__getitem__, cell.states)]

    def record(
        self, run: Run, arrays: Arrays, into: Mapping[Any, Any] = NOTHING
    ) -> tuple[Any, list[Any], dict[Any, Any]]:
        """As `Target.record`."""
        if run.operand == INT8:
            raise InputError(
                "products in int8 have no derivative: run without a gradient (torch.no_grad(), "
                "save=False), or prepare without weights='int8'"
            )
        cell, made = run.cell, _forward(run.cell, run.sizes, run.memory, policy.of_run(run))
        outcome = self._run(made, run, arrays, {cell.input: arrays.rows}, into)
        saved = {name: outcome.results[name] for name in self.residuals(run)}
        return outcome.results[cell.output], [*map(outcome.states.__getitem__, cell.states)], saved

    def _run(self, made: Program, run: Run, *given: Any) -> Outcome:
        return made.run(run, self._machine(run), *given)

    def _machine(self, run: Run) -> Machine:
        return Machine(self.processor, policy.team_size(run), team.threads_of())

    def backward(
        self,
        run: Run,
        arrays: Arrays,
        residuals: Mapping[Any, Any],
        gradients: Sequence[Any],
        wanted: Sequence[bool],
    ) -> tuple[Any | None, list[Any], dict[str, Any]]:
        """As `Target.backward`."""
        cell, (output_gradient, *states) = run.cell, gradients
        found = _reverse(cell, run.sizes, run.memory, policy.of_run(run), tuple(wanted))
        inputs = {cell.input: arrays.rows, OUTPUT: output_gradient, **residuals}
        outcome = self._run(found.program, run, arrays._replace(states=states), inputs)
        last = [*map(outcome.states.__getitem__, found.states)]
        return outcome.results.get(found.x), last, outcome.gradients

    def entry(
        self,
        run: Run,
        call: Call,
        interface: ArrayInterface,
        packed: PackedWeights | None = None,
        stamp: Sequence[Any] = (),
        wanted: Sequence[bool] = (),
    ) -> Entry | None:
        """As `Target.entry`."""
        cell, chosen, saved = run.cell, policy.of_run(run), [*self.residuals(run)]
        inputs: list[Any] = [cell.input]
        results: list[Any] = [cell.output]
        states, totals = cell.states, ()
        if call == "backward":
            made, x, states = _reverse(cell, run.sizes, run.memory, chosen, tuple(wanted))
            inputs, results, totals = [cell.input, OUTPUT, *saved], [x], cell.parameter_names
        else:
            made = _forward(cell, run.sizes, run.memory if call == "record" else None, chosen)
        found = made.entry(run, self._machine(run), interface, inputs, packed, stamp)
        if found is None:
            return None
        enter, arrays, outcome = found
        returned = [*map(outcome.results.get, results), *map(outcome.states.get, states)]
        returned += map(outcome.results.get, saved if call == "record" else ())
        return Entry(enter, arrays, [*returned, *map(outcome.gradients.get, totals)])

    def step(self, run: Run, short: bool = False) -> SingleStep | None:
        """As `Target.step`."""
        if run.operand == INT8:  # matrices are quantised while they are packed
            return None
        found = single_step(run, self.processor, short)
        return found if found.possible else None


register(CPU())
