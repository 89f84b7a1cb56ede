"""The target of GPUs: a run is the program of its forward or reverse schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from anyrnn.graph.cell import Cell
from anyrnn.graph.keys import Before, Gradient, OutputGradient
from anyrnn.kernels.gpu import compile, listing, outside_loop
from anyrnn.kernels.gpu.form import Form, Loop, choose_loop
from anyrnn.kernels.gpu.outside_loop import Program
from anyrnn.kernels.gpu.program import execute
from anyrnn.kernels.gpu.source import LoopSource, loop_source, unsupported
from anyrnn.kernels.run import NOTHING, Arrays, Residual, Run, Sizes
from anyrnn.kernels.target import register
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import Policy
from anyrnn.schedule.residuals import StepSchedules, step_schedules

OUTPUT = OutputGradient("output")
DTYPES = ("float32", "float16", "bfloat16")
POLICY = Policy()  # what no step waits for is large products of the framework


@lru_cache(maxsize=256)
def _schedules(cell: Cell, memory: str) -> StepSchedules:
    return step_schedules(cell, memory, POLICY)


@lru_cache(maxsize=256)
def _forward(cell: Cell, memory: str | None) -> Program:
    """The program of a forward run; without residuals for no memory."""
    name = f"{cell.name}_forward"
    if memory is None:
        planned = schedule(cell.graph, cell.states, [cell.output], POLICY)
        return Program(name, planned, (cell.output,))
    both = _schedules(cell, memory)
    saved = (key for key in both.saved if key not in both.shared)
    return Program(name, both.forward, (cell.output, *saved), both.histories)


@lru_cache(maxsize=512)
def _reverse(cell: Cell, memory: str, wanted: tuple[bool, ...]) -> Program:
    planned = _schedules(cell, memory).reverse
    x, (asked_input, *asked) = Gradient(cell.input), wanted
    results = (x,) if asked_input and x in planned.graph.outputs else ()
    totals = tuple(n for n, yes in zip(cell.parameter_names, asked, strict=True) if yes)
    return Program(f"{cell.name}_backward", planned, results, (), totals, backward=True)


@lru_cache(maxsize=256)
def _refusal(cell: Cell) -> str | None:
    """Why a cell cannot run, forwards or back."""
    wanted = (True,) * (1 + len(cell.parameters))
    for each in (_forward(cell, None), _forward(cell, "high"), _reverse(cell, "high", wanted)):
        found = unsupported(each.schedule) or outside_loop.unsupported(cell, each)
        if found is not None:
            return found
    return None


@lru_cache(maxsize=512)
def _residuals(cell: Cell, sizes: Sizes, memory: str) -> dict[Any, Residual]:
    both, numbers = _schedules(cell, memory), dict(sizes)
    found: dict[Any, Residual] = {
        key: Residual(node.type.size.evaluate(numbers), history=False)
        for key, node in both.saved.items()
        if key not in both.shared
    }
    for name in both.histories:
        size = cell.graph.outputs[name].type.size.evaluate(numbers)
        found[Before(name)] = Residual(size, history=True)
    return found


def loop_sources(
    cell: Cell,
    sizes: Mapping[str, int],
    element: str = "float32",
    precision: str = "ieee",
    loop: Loop | None = None,
    memory: str = "high",
) -> tuple[LoopSource, LoopSource]:
    """The source of a cell's loop forwards, with residuals, and of the loop back.

    Args:
        cell: The cell.
        sizes: The named sizes.
        element: The type of the arrays.
        precision: How float32 is multiplied, `ieee` or `tf32`.
        loop: How it goes over time; as `choose_loop` says if not given.
        memory: What is saved for the loop back, as of `Run`.
    """
    both, found = _schedules(cell, memory), []
    for name, planned, reverse in (
        ("forward", both.forward, False),
        ("backward", both.reverse, True),
    ):
        chosen = loop or choose_loop(planned, sizes, element)
        form = Form(chosen, reverse, element, precision, interpreted=False)
        kept = frozenset(() if reverse else both.histories)
        given = f"{cell.name}_{name}", planned, tuple(sizes.items()), kept, form
        found.append(loop_source(*given))
    return found[0], found[1]


class GPU:
    """GPUs that Triton knows.

    Args:
        device: The type of their devices, as PyTorch calls it.
    """

    rounds = False

    def __init__(self, device: str = "cuda") -> None:
        self.device = device

    @property
    def name(self) -> str:
        """What compiles for it."""
        return f"Triton {compile.version()}"

    def refusal(self, cell: Cell | None, dtype: str | None) -> str | None:
        """As `Target.refusal`."""
        if dtype not in DTYPES:
            return f"tensors of {dtype}"
        found = compile.refusal(self.device)
        if found is None and cell is not None:
            found = _refusal(cell)
        return found

    def variant(self, name: str | None) -> GPU:
        """As `Target.variant`."""
        return self

    def describe(self, cell: Cell, memory: str, sizes: Mapping[str, int], dtype: str) -> str:
        """As `Target.describe`: the schedule, the forms of its loops and their source."""
        sources = loop_sources(cell, sizes, dtype, memory=memory)
        return listing.describe(cell, memory, POLICY, sizes, sources)

    def residuals(self, run: Run) -> Mapping[Any, Residual]:
        """As `Target.residuals`."""
        return _residuals(run.cell, run.sizes, run.memory)

    def forward(self, run: Run, arrays: Arrays) -> tuple[Any, list[Any]]:
        """As `Target.forward`."""
        cell = run.cell
        found = execute(_forward(cell, None), run, arrays, {cell.input: arrays.rows})
        return found.results[cell.output], [*map(found.states.__getitem__, cell.states)]

    def record(
        self, run: Run, arrays: Arrays, into: Mapping[Any, Any] = NOTHING
    ) -> tuple[Any, list[Any], dict[Any, Any]]:
        """As `Target.record`."""
        cell = run.cell
        found = execute(_forward(cell, run.memory), run, arrays, {cell.input: arrays.rows})
        saved = {name: found.results[name] for name in self.residuals(run)}
        return found.results[cell.output], [*map(found.states.__getitem__, cell.states)], saved

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
        made, both = _reverse(cell, run.memory, tuple(wanted)), _schedules(cell, run.memory)
        inputs = {cell.input: arrays.rows, OUTPUT: output_gradient, **residuals}
        batch, rows = run.steps.batch, run.steps.rows
        for key, name in both.shared.items():
            history = residuals[Before(name)]
            inputs[key] = history[:rows] if run.reverse else history[batch:]
        found = execute(made, run, arrays._replace(states=states), inputs)
        last = [found.states[Gradient(name)] for name in cell.states]
        return found.results.get(Gradient(cell.input)), last, found.gradients

    def entry(self, run: Run, *given: Any, **further: Any) -> None:
        """As `Target.entry`: there is no shorter way for a run."""
        return None

    def step(self, run: Run, short: bool = False) -> None:
        """As `Target.step`: there is no shorter way for one step."""
        return None


register(GPU())
