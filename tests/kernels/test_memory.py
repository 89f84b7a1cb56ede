"""Keeping the states only, and computing the rest again: the same gradients, from less."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import InputError
from anyrnn.kernels.cpu import run
from anyrnn.schedule.reverse import training
from checks import close_gradients, close_results, make_case
from invented_cells import INVENTED, SMALLEST

CELLS = {**anyrnn.CATALOGUE, **INVENTED}


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_the_same(name, monkeypatch) -> None:
    for seed, most in enumerate((run.SEGMENT_BYTES, 1)):
        monkeypatch.setattr(run, "SEGMENT_BYTES", most)
        case = make_case(CELLS[name], seed, smallest=SMALLEST.get(name, 1))
        made = anyrnn.compile(case.cell, case.sizes, dtype=float, memory="low")
        result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
        gradients = result.backward(case.output_gradient, case.state_gradients)
        close_results(result, case.interpret(), 1e-12)
        close_gradients(gradients, case.gradients(), 1e-11)


@pytest.mark.parametrize("name", CELLS)
def test_states_only_are_kept(name) -> None:
    cell = CELLS[name]
    planned = training(cell, "low")
    new_states = {cell.graph.outputs[state] for state in cell.states}
    assert set(planned.saved.values()) <= new_states
    assert set(planned.histories) <= set(cell.states)


@pytest.mark.parametrize(("name", "high", "low"), [("rnn", 1, 1), ("lstm", 7, 2), ("gru", 5, 1)])
def test_numbers_kept_for_each_row_and_unit(name, high, low) -> None:
    cell = anyrnn.get(name)
    for memory, wanted in (("high", high), ("low", low)):
        planned = training(cell, memory)
        new = [cell.graph.outputs[state] for state in planned.histories]
        assert len({*planned.saved.values(), *new}) == wanted


def test_neither_high_nor_low() -> None:
    with pytest.raises(InputError, match="memory='lo'; expected 'high', or 'low' to compute"):
        anyrnn.compile("lstm", {"input": 3, "hidden": 5}, dtype=np.float32, memory="lo")
