"""The target of CPUs: a run is the program of its forward or reverse schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from anyrnn.errors import KernelError
from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before, Gradient, OutputGradient
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.emit.lower import unsupported
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program.program import Machine, Outcome, Program, program
from anyrnn.kernels.cpu.program.single_step import SingleStep, single_step
from anyrnn.kernels.run import BFLOAT16, NOTHING, ArrayInterface, History, Residual, Run
from anyrnn.kernels.target import register
from anyrnn.schedule.forms import FUSED
from anyrnn.schedule.residuals import Training, training

DTYPES = ("float32", "float64", BFLOAT16)  # bfloat16 is computed in float32, with products in it

_training = lru_cache(maxsize=256)(training)


@lru_cache(maxsize=256)
def _shared(cell: Cell, memory: str) -> dict[Any, str]:
    """The saved values that are new states whose history is saved anyway, with these states."""
    planned = _training(cell, memory, FUSED)  # which residuals there are follows from no policy
    outputs = planned.forward.graph.outputs
    states = {outputs[name]: name for name in planned.histories}
    return {name: states[outputs[name]] for name in planned.saved if outputs[name] in states}


@lru_cache(maxsize=256)
def _residuals(cell: Cell, sizes: tuple[tuple[str, int], ...], memory: str) -> dict[Any, Residual]:
    planned, shared = _training(cell, memory, FUSED), _shared(cell, memory)
    numbers = dict(sizes)
    found: dict[Any, Residual] = {}
    for name, node in planned.saved.items():
        if name not in shared:
            width = node.type.shape[0].evaluate(numbers) if node.type.shape else 1
            found[name] = Residual(width, history=False)
    for name in planned.histories:
        size = cell.state_sizes[cell.states.index(name)]
        found[Before(name)] = Residual(size.evaluate(numbers), history=True)
    return found


class CPU:
    """The CPU of this machine, or a kind that it can play."""

    device = "cpu"

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

    def residuals(self, run: Run) -> Mapping[Any, Residual]:
        """As `Target.residuals`."""
        return _residuals(run.cell, run.sizes, run.memory)

    def forward(
        self,
        run: Run,
        interface: ArrayInterface,
        rows: Any,
        states: Sequence[Any],
        parameters: Sequence[Any],
        seed: Any = None,
    ) -> tuple[Any, list[Any]]:
        """As `Target.forward`."""
        cell, planned = run.cell, policy.inference(run.cell, policy.of_run(run))
        made: Program = program(cell, planned, run.sizes, (cell.output,))
        outcome = self._run(made, run, interface, {cell.input: rows}, states, parameters, seed)
        return outcome.results[cell.output], [outcome.states[name] for name in cell.states]

    def record(
        self,
        run: Run,
        interface: ArrayInterface,
        rows: Any,
        states: Sequence[Any],
        parameters: Sequence[Any],
        seed: Any = None,
        into: Mapping[Any, Any] = NOTHING,
    ) -> tuple[Any, list[Any], dict[Any, Any]]:
        """As `Target.record`."""
        cell, planned = run.cell, self._training(run)
        names = {
            name: ("histories", name.of) if kind.history else ("results", name)
            for name, kind in self.residuals(run).items()
        }
        results = cell.output, *planned.saved
        made: Program = program(cell, planned.forward, run.sizes, results, planned.histories)
        inputs, places = {cell.input: rows}, {names[name]: array for name, array in into.items()}
        outcome = self._run(made, run, interface, inputs, states, parameters, seed, places)
        saved = {name: getattr(outcome, part)[key] for name, (part, key) in names.items()}
        return outcome.results[cell.output], [outcome.states[name] for name in cell.states], saved

    @staticmethod
    def _training(run: Run) -> Training:
        return _training(run.cell, run.memory, policy.of_run(run))

    def _run(self, made: Program, run: Run, *given: Any) -> Outcome:
        machine = Machine(self.processor, policy.team_size(run), team.threads_of())
        return made.run(run, machine, *given)

    def backward(
        self,
        run: Run,
        interface: ArrayInterface,
        rows: Any,
        residuals: Mapping[Any, Any],
        parameters: Sequence[Any],
        gradients: Sequence[Any],
        wanted: Sequence[bool],
        seed: Any = None,
    ) -> tuple[Any | None, list[Any], dict[str, Any]]:
        """As `Target.backward`."""
        cell, planned = run.cell, self._training(run).reverse
        saved: dict[Any, Any] = dict(residuals)
        for name, state in _shared(cell, run.memory).items():
            saved[name] = History(saved[Before(state)], run.steps, run.reverse).new
        asked_input, *asked = wanted
        x, names = Gradient(cell.input), run.parameter_names
        results = (x,) if asked_input and x in planned.graph.outputs else ()
        totals = tuple(name for name, yes in zip(names, asked, strict=True) if yes)
        made: Program = program(cell, planned, run.sizes, results, (), totals, backward=True)
        output_gradient, *states = gradients
        inputs = {cell.input: rows, OutputGradient("output"): output_gradient, **saved}
        outcome = self._run(made, run, interface, inputs, states, parameters, seed)
        last = [outcome.states[Gradient(name)] for name in cell.states]
        return outcome.results.get(x), last, outcome.gradients

    def step(self, run: Run, short: bool = False) -> SingleStep | None:
        """As `Target.step`."""
        found = single_step(run, self.processor, short)
        return found if found.possible else None


register(CPU())
