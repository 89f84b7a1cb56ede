"""Cells with other activation functions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import CellError
from anyrnn.transforms.activations import ACTIVATIONS, with_activations
from checks import close, make_case, one_line
from invented_cells import INVENTED


def test_an_lstm_with_the_rectifier_and_hard_sigmoids() -> None:
    changed = with_activations(anyrnn.get("lstm"), {"tanh": "relu", "sigmoid": "hard_sigmoid"})
    case = make_case(changed, 0, sizes={"input": 3, "hidden": 5})
    W, U, b = (case.parameters[name] for name in ("W", "U", "b"))
    h, c = case.states
    for x, wanted in zip(case.x, case.interpret().output, strict=True):
        i, f, g, o = np.split(x @ W.T + h @ U.T + b, 4, axis=1)
        i, f, o = (np.clip(gate / 6 + 0.5, 0, 1) for gate in (i, f, o))
        c = f * c + i * np.maximum(g, 0)
        h = o * np.maximum(c, 0)
        close(h, wanted, 1e-12)


def test_functions_are_replaced_all_at_once() -> None:
    lstm = anyrnn.get("lstm")
    exchange = {"tanh": "sigmoid", "sigmoid": "tanh"}
    exchanged = with_activations(lstm, exchange)
    operations = [node.operation for node in exchanged.graph.nodes()]
    assert (operations.count("tanh"), operations.count("sigmoid")) == (3, 2)
    assert with_activations(exchanged, exchange).graph.outputs == lstm.graph.outputs
    assert with_activations(lstm, {}) is lstm
    assert [stored.name for stored in exchanged.parameters] == ["W", "U", "b"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_function(name: str) -> None:
    changed = with_activations(anyrnn.get("rnn"), {"tanh": name})
    assert changed.graph.outputs["h"].operation == name
    assert (
        with_activations(changed, {name: "tanh"}).graph.outputs == anyrnn.get("rnn").graph.outputs
    )


def test_saved_and_loaded_and_with_hyperparameters() -> None:
    changed = with_activations(INVENTED["antisymmetric"], {"tanh": "softplus"})
    assert pickle.loads(pickle.dumps(changed)) is changed
    chosen = changed.with_hyperparameters(step=0.5)
    again = pickle.loads(pickle.dumps(chosen))
    assert again.graph.outputs == chosen.graph.outputs
    assert again.hyperparameters == {"step": 0.5, "gamma": 0.05}


@pytest.mark.parametrize(
    ("cell", "given", "message"),
    [
        ("gru", {"relu": "tanh"}, "cell 'gru' does not use relu; it uses: sigmoid, tanh"),
        ("gru", {"tanh": "rleu"}, "{'tanh': 'rleu'}: 'rleu' is not known; did you mean relu?"),
        ("gru", {"tanh": "clip_gradient"}, "'clip_gradient' is not known"),
        ("gru", {"swish": "tanh"}, "'swish' is not known; known: sigmoid, tanh, relu"),
        ("gru", {"tanh": 3}, "'3' is not known"),
        ("gru", "relu", "activations='relu'; expected names, as in {'tanh': 'relu'}"),
    ],
)
def test_mistakes(cell: str, given: object, message: str) -> None:
    with pytest.raises(CellError) as caught:
        with_activations(anyrnn.get(cell), given)
    assert message in one_line(caught.value)
