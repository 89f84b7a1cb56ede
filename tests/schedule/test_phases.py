"""What waits for no state: what of it the loop computes, and that it is right when compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import anyrnn
from anyrnn import SequenceResult
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.run import Run
from anyrnn.schedule.forms import FUSED, Policy, Schedule, Stage
from anyrnn.schedule.residuals import StepSchedules, step_schedules
from anyrnn.transforms import transform
from checks import Case, close_gradients, close_results, make_case
from invented_cells import INVENTED
from random_cells import make

LINEAR = ("mingru", "minlstm", "sru", "qrnn")
KINDS = {
    "a comparison of parameters": "where(b.u > 0.1, tanh(W.m @ x + h), 0.2 * h)",
    "one of what is made of parameters": "where(tanh(b.u) > b.w, tanh(W.m @ x + h), 0.2 * h)",
    "a comparison in the derivative": "h + sigmoid(relu(b.u)), tanh(W.m @ x) + 0.1 * h",
    "a gradient that is a sum of sums": "h + b.u + concatenate(b.u[1:], b.u[:1]), h + x",
    "a product is a state": "W.m @ x + 0 * h",
    "a comparison waits for a product, and a product for it": "tanh(W.m @ (x * relu(W.n @ x)) + h)",
    "a product waits for a product": "tanh(W.m @ tanh(W.n @ x + x) + b.u * h)",
    "an output waits for no state": "tanh(W.m @ x), tanh(W.m @ x + h)",
    "a product for the output only": "tanh(x + W.m @ (h + W.n @ x)), tanh(x + b.u * h)",
}


def compare(case: Case, memory: str) -> None:
    compiled = anyrnn.compile(case.cell, case.sizes, dtype=float, memory=memory, threads=1)
    saved = compiled.forward(case.x, case.states, parameters=case.parameters, save=True)
    alone = compiled.forward(case.x, case.states, parameters=case.parameters)
    gradients = saved.backward(case.output_gradient, case.state_gradients)
    for found in (saved, alone):
        close_results(SequenceResult(found.output, found.states, ()), case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled(kind: str) -> None:
    cell = make(f"@cell\ndef drawn(x, h, *, W, b):\n    return {KINDS[kind]}\n")
    case = make_case(cell, 3, time=3, batch=5, sizes={"input": 3, "hidden": 3})
    compare(case, "low")
    for batch in (2, 5):  # with products before the loop, and in it
        part = slice(batch)
        rows = replace(
            case,
            x=case.x[:, part],
            states=tuple(state[part] for state in case.states),
            output_gradient=case.output_gradient[:, part],
            state_gradients=tuple(gradient[part] for gradient in case.state_gradients),
        )
        compare(rows, "high")


@pytest.mark.parametrize("hoist", [False, True])
@pytest.mark.parametrize("name", LINEAR)
def test_a_cell_without_a_recurrent_matrix_is_one_stage_and_products(
    name: str, hoist: bool
) -> None:
    planned = step_schedules(anyrnn.get(name), policy=Policy() if hoist else FUSED)
    (stage,) = planned.forward.stages
    assert isinstance(stage, Stage)
    assert bool(stage.accumulators) == (not hoist)
    assert all(node.operation == "product" for node in planned.forward.before)
    (stage,) = planned.reverse.stages
    assert isinstance(stage, Stage)
    assert not stage.accumulators
    assert not planned.reverse.before
    work = [node for node in planned.reverse.after if node.traits.elementwise]
    assert all(node.operation == "add" for node in work)  # of products and what the loop left


def test_products_leave_the_loop_where_none_waits_for_a_state() -> None:
    def hoists(cell: str | anyrnn.Cell, batch: int, hidden: int) -> bool:
        cell = anyrnn.get(cell)
        sizes = cell.bind_sizes(**dict.fromkeys(cell.free_sizes, hidden))
        run = Run(cell, tuple(sizes.items())).over((batch,) * 9, np.dtype(float), 1)
        return policy.of_run(run).hoist

    assert [hoists("mingru", batch, 8) for batch in (1, 3, 4)] == [True, True, False]
    assert [hoists("lstm", batch, 8) for batch in (1, 4)] == [False, False]
    assert not hoists(INVENTED["echo"], 1, 8)  # a product with the state is in its output
    assert [hoists("lstm", batch, 512) for batch in (1, 4)] == [True, False]


def kinds(planned: Schedule) -> str:
    return " ".join("units" if isinstance(stage, Stage) else "rows" for stage in planned.stages)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_a_norm_takes_one_pass_over_rows_backward(norm: str) -> None:
    """The values to sum are computed where they are summed, and so is what is kept."""
    normalised = step_schedules(transform(anyrnn.get("gru"), norm=norm))
    kept = [node for node in normalised.saved.values() if node.type.shape]
    assert len(kept) == 3 + 6  # the gates, and the products that are normalised
    forward = "units rows rows units" if norm == "layer" else "units rows units"
    assert kinds(normalised.forward) == forward
    assert kinds(normalised.reverse).count("rows") == 1
    assert not any(str(stage.size) == "1" for stage in stages_of_units(normalised))


def stages_of_units(planned: StepSchedules) -> list[Stage]:
    every = [*planned.forward.stages, *planned.reverse.stages]
    return [stage for stage in every if isinstance(stage, Stage)]
