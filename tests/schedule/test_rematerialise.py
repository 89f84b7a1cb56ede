"""What is cheap enough to be computed again is found in linear time, at any depth."""

from __future__ import annotations

import numpy as np

import anyrnn
from anyrnn import tanh
from anyrnn.schedule.rematerialise import frontier


@anyrnn.cell
def unfolded(x, h, *, W, rounds=20):
    """A chain of cheap operations, in which each value is used several times."""
    v = W @ x + h
    for _ in range(rounds):
        v = v * v * 0.5 - 0.5 * v
    return tanh(v)


def test_a_value_that_is_used_several_times() -> None:
    compiled = anyrnn.compile(unfolded, {"input": 2, "hidden": 3}, dtype=float, threads=1)
    random = np.random.default_rng(0)
    x, parameters = random.random((3, 2, 2)), {"W": random.random((3, 2)) / 2}
    result = compiled.forward(x, parameters=parameters, save=True)
    found = result.backward(np.ones_like(result.output))
    ones = np.ones((3, 2, 3))
    wanted = anyrnn.gradients(unfolded, x, parameters=parameters, output_gradient=ones)
    assert np.allclose(result.output, anyrnn.interpret(unfolded, x, parameters=parameters).output)
    assert np.allclose(found.x, wanted.x, atol=1e-12)


def test_a_long_chain() -> None:
    graph = unfolded.with_hyperparameters(rounds=1000).graph
    (last,) = (node for node in graph.nodes() if node.operation == "tanh")
    found = frontier(last.arguments[0], lambda node: node.is_leaf)
    assert {node.operation for node in found} == {"product", "state", "constant"}
