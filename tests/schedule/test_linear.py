"""Which loops are linear, and with which scales and shifts."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
from anyrnn import relu, sigmoid, tanh, where
from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Graph
from anyrnn.schedule.forms import Policy, Schedule
from anyrnn.schedule.linear import recurrences
from anyrnn.schedule.residuals import step_schedules
from invented_cells import INVENTED

CELLS = {**anyrnn.CATALOGUE, **INVENTED}


def loops(cell: Cell) -> tuple[Schedule, Schedule]:
    """The loop forwards, and the loop back."""
    both = step_schedules(cell, "high", Policy())
    return both.forward, both.reverse


def test_which_cells_are_linear() -> None:
    found = {
        name: [recurrences(loop) is not None for loop in loops(c)] for name, c in CELLS.items()
    }
    both = [name for name, (forward, back) in found.items() if forward and back]
    assert both == ["mingru", "minlstm", "qrnn", "moving_average", "echo", "only_input"]
    # the derivative is linear in its cotangents, even where gates see the state of their unit
    assert [name for name, each in found.items() if each == [False, True]] == ["sru", "diagonal"]


@anyrnn.cell
def leaky(x, h, *, W, a):
    return where(W.c @ x > 0, a * h, -h / 3) - W.n @ x + h * 0.5


@anyrnn.cell(sizes={"c": "hidden", "d": "hidden"})
def chain(x, h, c, d, *, W):
    """A state's scale depends on another state, which is a shift register."""
    return sigmoid(c) * h + tanh(d), W.c @ x, c


@pytest.mark.parametrize("name", ["mingru", "minlstm", "qrnn", "sru", "diagonal", "leaky", "chain"])
def test_a_new_state_is_what_its_scale_and_shift_say(name: str) -> None:
    cell = {**CELLS, "leaky": leaky, "chain": chain}[name]
    random, number = np.random.default_rng(0), 0
    for loop in loops(cell):
        found = recurrences(loop)
        for each in found or ():
            number += 1
            every = Graph({"new": each.new, "scale": each.scale, "shift": each.shift})
            sizes = {"input": 3, "hidden": 3}
            given = {}
            for node in every.nodes():
                if node.is_leaf and "name" in node.attributes:
                    shape = [size.evaluate(sizes) for size in node.type.shape]
                    shape = [2, *shape] if node.type.per_row else shape
                    given[node.name] = random.uniform(0.1, 0.9, shape)
            values = evaluate(every.outputs.values(), given, sizes, float)
            new, scale, shift = (values[every.outputs[each]] for each in every.outputs)
            old = 0 if each.old is None else given.get(each.state, 0)
            np.testing.assert_allclose(scale * old + shift, new, rtol=1e-12)
    assert number


def test_states_in_the_order_in_which_they_are_solved() -> None:
    forward, back = map(recurrences, loops(chain))
    assert forward is not None
    assert back is not None
    assert [each.state for each in forward] == ["c", "d", "h"]
    assert str(back[0].state) == "d_h"


@anyrnn.cell
def swapped(x, h, c):
    return c + x, h


@anyrnn.cell
def rectified(x, h):
    return relu(h) + x


@anyrnn.cell
def squared(x, h):
    return h * h + x


@anyrnn.cell
def divisor(x, h):
    return x / h


@anyrnn.cell
def chosen(x, h):
    return where(h > 0, h, x)


@pytest.mark.parametrize("cell", [swapped, rectified, squared, divisor, chosen])
def test_what_is_not_linear(cell: Cell) -> None:
    assert recurrences(loops(cell)[0]) is None
