"""Linear loops of GPUs as scans over time, by Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
import contract
from anyrnn import sigmoid, tanh
from anyrnn.graph.cell import Cell
from anyrnn.kernels.gpu import form
from anyrnn.kernels.gpu.form import Loop
from anyrnn.kernels.gpu.target import loop_sources
from anyrnn.kernels.target import registered
from triton_target import OnArrays, check, poisoned

pytest.importorskip("triton")
__all__ = ["poisoned"]
pytestmark = pytest.mark.usefixtures("poisoned")


@anyrnn.cell(sizes={"c": "hidden", "d": "hidden"})
def chain(x, h, c, d, *, W):
    """A state's scale depends on another state, which is a shift register."""
    return sigmoid(c) * h + tanh(d) * (W.h @ x), W.c @ x, c


def forms(cell: Cell) -> list[str]:
    """How the loops of a cell go over time."""
    sizes = cell.bind_sizes(**dict.fromkeys(cell.free_sizes, 5))
    return [str(each.form.loop) for each in loop_sources(cell, sizes)]


@pytest.mark.parametrize("name", ["mingru", "minlstm", "qrnn", "chain"])
def test_cells(name: str) -> None:
    cell = chain if name == "chain" else anyrnn.get(name)
    assert forms(cell) == ["scan", "scan"]
    check(cell, time=5, batch=2)


def test_the_derivative_of_a_cell_whose_gates_see_its_state() -> None:
    assert forms(anyrnn.get("sru")) == ["time", "scan"]
    check(anyrnn.get("sru"), time=5, batch=2)


def test_several_tiles_of_units() -> None:
    check(anyrnn.get("mingru"), time=3, batch=1, sizes={"input": 2, "hidden": 35})


@pytest.mark.parametrize("time", [1, 4, 5])
def test_numbers_of_steps_at_the_edges_of_chunks(time: int) -> None:
    check(anyrnn.get("minlstm"), time=time, batch=1)


SIZES = 6, 3, {"input": 2, "hidden": 3}
OPTIONS = [
    ("mingru", ("lengths",)),
    ("mingru", ("resets", "zoneout", "memory=low")),
    ("minlstm", ("mask", "input_dropout per gate", "all states")),
    ("qrnn", ("lengths", "input_dropout")),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options(name: str, options: tuple[str, ...]) -> None:
    with registered(OnArrays("cpu")):
        contract.check(name, options, [0], False, [SIZES], np.float32, 2e-5)


@anyrnn.cell
def forgetful(x, h):
    """A large input forgets the state."""
    return anyrnn.where(x > 10, 0 * x, h) + x


def test_a_scale_of_zero_is_free_of_what_was_before() -> None:
    x = np.ones((7, 1, 2), np.float32)
    x[1, 0, 0], x[3] = -np.inf, 11
    with registered(OnArrays("cpu")):
        found = anyrnn.compile(forgetful, {"hidden": 2}).forward(x, parameters={}).output[:, 0]
    with np.errstate(invalid="ignore"):  # of what is not chosen
        wanted = anyrnn.interpret(forgetful, x.astype(float), parameters={}).output[:, 0]
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found[3:]).all()


def test_the_sequential_form_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = anyrnn.get("minlstm")
    monkeypatch.setattr(form, "recurrences", lambda schedule: None)
    assert forms(cell) == [Loop.TIME, Loop.TIME]
    check(cell, time=5, batch=2)
