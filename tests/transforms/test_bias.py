"""Cells without biases."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
from anyrnn import CATALOGUE, sigmoid, softmax, tanh
from anyrnn.errors import CellError
from anyrnn.graph.verify import verify
from anyrnn.transforms.bias import biases, without_bias
from checks import close, close_gradients, close_results, make_case
from invented_cells import INVENTED, SMALLEST

CELLS = {**CATALOGUE, **INVENTED}


@pytest.mark.parametrize("name", CELLS)
def test_zero_biases_are_no_biases(name: str) -> None:
    cell = CELLS[name]
    bare = without_bias(cell)
    verify(bare.graph)
    removed = {node.name for node in biases(cell.graph)}
    kept = {member for stored in bare.parameters for member in stored.members}
    everything = {member for stored in cell.parameters for member in stored.members}
    assert kept == everything - removed
    case = make_case(cell, 0, smallest=SMALLEST.get(name, 1))
    for stored in cell.parameters:
        edges = [bound.evaluate(case.sizes) for bound in stored.bounds]
        for place, member in enumerate(stored.members):
            if member in removed:
                case.parameters[stored.name][edges[place] : edges[place + 1]] = 0
    other = make_case(bare, 0, sizes={size: case.sizes[size] for size in bare.free_sizes})
    parameters = dict(other.parameters)
    for stored in bare.parameters:
        edges = [bound.evaluate(case.sizes) for bound in stored.bounds]
        for place, member in enumerate(stored.members):
            parameters[stored.name][edges[place] : edges[place + 1]] = _member(case, member)
    result = anyrnn.interpret(bare, case.x, case.states, parameters=parameters)
    close(result.output, case.interpret().output, 1e-12)


def _member(case: object, member: str) -> np.ndarray:
    for stored in case.cell.parameters:
        if member in stored.members:
            edges = [bound.evaluate(case.sizes) for bound in stored.bounds]
            place = stored.members.index(member)
            return case.parameters[stored.name][edges[place] : edges[place + 1]]
    raise KeyError(member)


def test_which_vectors_are_biases() -> None:
    found = {name: {node.name for node in biases(CELLS[name].graph)} for name in CELLS}
    assert found["lstm_peephole"] == {"b.i", "b.f", "b.g", "b.o"}
    assert found["gru"] == {"b.r", "b.z", "b.n", "d.n"}
    assert found["diagonal"] == {"b"}
    assert found["normalised"] == {"b.z", "b.w", "b.u"}
    assert found["joined"] == found["of_parameters"] == found["single_numbers"] - {"b"} == set()


@anyrnn.cell
def number_and_bias(x, h, *, W, b):
    """Without its bias the sum of a number and a bias is still a vector."""
    gate = sigmoid(anyrnn.mean(x) + b.gate)
    rest = softmax(b.first - (b.second + anyrnn.sum(h)))
    return tanh(W @ x + h) * gate + rest


def test_a_number_plus_a_bias_keeps_its_size() -> None:
    bare = without_bias(number_and_bias)
    assert [stored.name for stored in bare.parameters] == ["W"]
    case = make_case(bare, 0)
    results, gradients = case.execute()
    close_results(results, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)
    zero = {"W": case.parameters["W"], "b": np.zeros(3 * case.sizes["hidden"])}
    wanted = anyrnn.interpret(number_and_bias, case.x, case.states, parameters=zero)
    close(case.interpret().output, wanted.output, 1e-12)


def test_a_size_that_only_a_bias_has() -> None:
    @anyrnn.cell(sizes={"b": "extra"})
    def mine(x, h, *, b):
        return x + h * anyrnn.mean(tanh(anyrnn.mean(x) + b))

    with pytest.raises(CellError, match="cell 'mine' cannot do without bias"):
        without_bias(mine)


def test_without_bias_twice_and_with_hyperparameters() -> None:
    bare = without_bias(INVENTED["antisymmetric"])
    assert without_bias(bare).parameters == bare.parameters
    chosen = bare.with_hyperparameters(step=0.5)
    assert chosen.hyperparameters["step"] == 0.5
    assert [stored.name for stored in chosen.parameters] == ["U", "W"]
    constants = {
        node.attributes["value"] for node in chosen.graph.nodes() if node.operation == "constant"
    }
    assert 0.5 in constants
    assert 0.3 not in constants
