"""What is cheap enough to be computed again is found in linear time, at any depth."""

from __future__ import annotations

import numpy as np

import anyrnn
from anyrnn import sigmoid, tanh
from anyrnn.schedule.rematerialise import frontier
from anyrnn.schedule.residuals import step_schedules


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


@anyrnn.cell
def equal_gates(x, h, *, W, U):
    """Two gates that only the order of their sums tells apart."""
    a = W @ x + U @ h
    return sigmoid(a + 0.5) * sigmoid(0.5 + a)


def test_equal_residuals_are_one() -> None:
    """Of two names of one value the second was never written, and gradients were arbitrary."""
    planned = step_schedules(equal_gates)
    assert len({planned.forward.graph.outputs[name] for name in planned.saved}) == 1
    assert len(planned.saved) == 1
    compiled = anyrnn.compile(equal_gates, {"input": 2, "hidden": 3}, dtype=float, threads=1)
    random = np.random.default_rng(0)
    x, parameters = random.random((4, 2, 2)), {"W": random.random((3, 2)), "U": np.eye(3)}
    wanted = anyrnn.gradients(
        equal_gates, x, parameters=parameters, output_gradient=np.ones((4, 2, 3))
    )
    for _ in range(3):
        result = compiled.forward(x, parameters=parameters, save=True)
        found = result.backward(np.ones_like(result.output))
        assert np.allclose(found.x, wanted.x, atol=1e-12)
        assert np.allclose(found.parameters["U"], wanted.parameters["U"], atol=1e-12)


def test_a_long_chain() -> None:
    graph = unfolded.with_hyperparameters(rounds=1000).graph
    (last,) = (node for node in graph.nodes() if node.operation == "tanh")
    found = frontier(last.arguments[0], lambda node: node.is_leaf)
    assert {node.operation for node in found} == {"product", "state", "constant"}
