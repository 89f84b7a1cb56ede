"""A second target needs nothing outside its own folder: here the interpreter is one, and what faces
promise holds on it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn import Cell
from anyrnn.kernels.run import ArrayInterface, Arrays, Residual, Run
from anyrnn.kernels.target import default_target, devices, registered, target_for
from anyrnn.torch import LSTM, Recurrent
from anyrnn.torch.execute import forced
from checks import Case, close_gradients, close_results, make_case
from invented_cells import INVENTED

CELLS = {**anyrnn.CATALOGUE, **INVENTED}


class Interpreter:
    """The interpreter as a target: one sequence of rows after another, nothing saved."""

    device = "cpu"
    name = "interpreter"
    rounds = True

    def __init__(self, unknown: str = "") -> None:
        self.unknown = unknown
        self.entered: list[str] = []

    def refusal(self, cell: Cell | None, dtype: str | None) -> str | None:
        if dtype != "float64":
            return f"the interpreter takes no {dtype}"
        return f"no {self.unknown}" if cell is not None and cell.name == self.unknown else None

    def variant(self, name: str | None) -> Interpreter:
        return self

    def describe(self, cell: Cell, memory: str, sizes: Mapping[str, int], dtype: str) -> str:
        return cell.name

    def residuals(self, run: Run) -> Mapping[str, Residual]:
        return {name: Residual(size, history=True) for name, size in _sizes(run).items()}

    def forward(self, run: Run, arrays: Arrays) -> tuple[Any, list[Any]]:
        self.entered.append("forward")
        view = arrays.interface.view
        found = anyrnn.interpret(
            run.cell,
            _spread(run, view(arrays.rows)),
            [view(state) for state in arrays.states],
            parameters={name: view(array) for name, array in arrays.parameters.items()},
            seed=None if arrays.seed is None else int(view(arrays.seed)[0]),
        )
        output = found.output[::-1] if run.reverse else found.output
        rows = _made(arrays.interface, output.reshape(run.steps.rows, -1))
        return rows, [_made(arrays.interface, state) for state in found.states]

    def record(
        self, run: Run, arrays: Arrays, into: Mapping[str, Any] | None = None
    ) -> tuple[Any, list[Any], dict[str, Any]]:
        output, last = self.forward(run, arrays)
        saved, interface = {}, arrays.interface
        for (name, part), state in zip(self.residuals(run).items(), arrays.states, strict=True):
            shape = part.shape(run.steps.rows, run.steps.batch)
            saved[name] = interface.empty(shape, run.dtype)
            interface.view(saved[name])[: run.steps.batch] = interface.view(state)
        return output, last, saved

    def backward(
        self,
        run: Run,
        arrays: Arrays,
        residuals: Mapping[str, Any],
        gradients: Sequence[Any],
        wanted: Sequence[bool],
    ) -> tuple[Any | None, list[Any], dict[str, Any]]:
        self.entered.append("backward")
        interface, view = arrays.interface, arrays.interface.view
        x, *gradient = (_spread(run, view(array)) for array in (arrays.rows, gradients[0]))
        found = anyrnn.gradients(
            run.cell,
            x,
            [view(array)[: run.steps.batch] for array in residuals.values()],
            parameters={name: view(array) for name, array in arrays.parameters.items()},
            output_gradient=gradient[0],
            state_gradients=[view(array) for array in gradients[1:]],
            seed=None if arrays.seed is None else int(view(arrays.seed)[0]),
        )
        x_gradient = found.x[::-1] if run.reverse else found.x
        return (
            _made(interface, x_gradient.reshape(run.steps.rows, -1)) if wanted[0] else None,
            [_made(interface, state) for state in found.states],
            {
                name: _made(interface, found.parameters[name])
                for name, asked in zip(run.cell.parameter_names, wanted[1:], strict=True)
                if asked
            },
        )

    def entry(self, run: Run, *given: Any, **further: Any) -> None:
        """There is no other way."""

    def step(self, run: Run, short: bool = False) -> None:
        return None


def _sizes(run: Run) -> dict[str, int]:
    sizes = (size for _, size in run.state_shapes(run.steps))
    return dict(zip(run.cell.states, sizes, strict=True))


def _spread(run: Run, rows: np.ndarray) -> np.ndarray:
    """Rows as (time, batch, features), in the order in which they run."""
    assert run.steps.constant, "this target takes sequences of one length"
    whole = rows.reshape(len(run.steps.batch_sizes), run.steps.batch, -1)
    return whole[::-1] if run.reverse else whole


def _made(interface: ArrayInterface, array: np.ndarray) -> Any:
    found = interface.empty(array.shape, array.dtype)
    interface.view(found)[...] = array
    return found


@pytest.fixture
def interpreter() -> Iterator[Interpreter]:
    target = Interpreter()
    with registered(target):
        yield target


def case_of(name: str) -> Case:
    return make_case(CELLS[name], 0, time=3, batch=2)


@pytest.mark.parametrize("name", CELLS)
def test_arrays_of_numpy(name: str, interpreter: Interpreter) -> None:
    case = case_of(name)
    made = anyrnn.compile(case.cell, case.sizes, dtype=float)
    assert made.target is interpreter
    seed = 5 if case.cell.draws else None
    given = {"parameters": case.parameters, "seed": seed}
    result = made.forward(case.x, case.states, **given, save=True)
    close_results(result, anyrnn.interpret(case.cell, case.x, case.states, **given), 1e-12)
    above = {"output_gradient": case.output_gradient, "state_gradients": case.state_gradients}
    wanted = anyrnn.gradients(case.cell, case.x, case.states, **given, **above)
    close_gradients(result.backward(case.output_gradient, case.state_gradients), wanted, 1e-12)
    assert interpreter.entered == ["forward", "backward"]


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if not cell.draws])
def test_tensors_of_torch(name: str, interpreter: Interpreter) -> None:
    case = case_of(name)
    results, gradients = case.execute("compiled")
    close_results(results, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-12)
    assert interpreter.entered == ["forward", "backward"]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers(bidirectional: bool, interpreter: Interpreter) -> None:
    layer = LSTM(3, 5, 2, bidirectional=bidirectional, dtype=torch.float64)
    assert str(layer.path) == "compiled: torch.float64 on this CPU (interpreter)"
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    parts = layer(x)[0], *torch.autograd.grad(layer(x)[0].sum(), layer.parameters())
    assert interpreter.entered.count("backward") == 2 * (1 + bidirectional)
    with forced("operations"):
        wanted = layer(x)[0], *torch.autograd.grad(layer(x)[0].sum(), layer.parameters())
    for ours, theirs in zip(parts, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_it_cannot_take_is_refused_with_a_reason() -> None:
    target = Interpreter(unknown="gru")
    with registered(target):
        assert str(LSTM(3, 5).path) == "operations: the interpreter takes no float32"
        assert str(Recurrent("gru", 3, 5).double().path) == "operations: no gru"
        assert Recurrent("lstm", 3, 5).double().path.name == "compiled"
        Recurrent("gru", 3, 5).double()(torch.zeros(2, 1, 3, dtype=torch.float64))
    assert not target.entered


def test_the_registry() -> None:
    before = default_target()
    assert before.device == "cpu"
    assert "cpu" in devices()
    assert target_for("mps") is None
    with registered(Interpreter()):
        assert default_target().name == "interpreter"
    assert default_target() is before
