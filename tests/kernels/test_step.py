"""A single step entered by addresses, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernels.test_loop import case

import anyrnn
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program.single_step import SingleStep
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.run import Run
from checks import spread

SIZES = [(1, 3, 5), (2, 13, 37), (3, 1, 1), (7, 5, 18), (4, 33, 16)]  # batch, input, hidden


def run(cell, dtype, batch, input_size, hidden, threads=1, target=None):
    """The output and the new states, and the interpreter's; what is written to starts as NaN."""
    sizes, parameters, x, states = case(cell, dtype, 1, batch, input_size, hidden)
    made = Run(cell, tuple(sizes.items())).over((batch,), np.dtype(dtype), threads)
    single = SingleStep(made, host(target), False)
    assert single.possible
    output = np.full((batch, single.output_size), np.nan, dtype)
    new = [np.full_like(state, np.nan) for state in states]
    arrays = [x, *states, *(parameters[part.name] for part in cell.parameters), output, *new]
    for _ in range(2):  # the second time with what the first has left behind
        single.run([address(array) for array in arrays])
    return [output, *new], anyrnn.interpret(cell, x, states, parameters=parameters)


@pytest.mark.parametrize(
    ("name", "dtype", "target"), spread(anyrnn.CATALOGUE, ["gru_reset_before"])
)
def test_step_is_the_interpreters(name, dtype, target) -> None:
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for sizes in SIZES:
        found, expected = run(anyrnn.get(name), dtype, *sizes, target=target)
        for ours, theirs in zip(found, [expected.output[0], *expected.states], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before"])
def test_threads_and_neighbours_change_no_bit(name, monkeypatch) -> None:
    cell = anyrnn.get(name)
    alone, _ = run(cell, np.float32, 7, 13, 37)
    monkeypatch.setattr(policy, "PARALLEL", 0)
    team, _ = run(cell, np.float32, 7, 13, 37, threads=2)
    for one, two in zip(alone, team, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_parameter_that_has_to_be_computed_first() -> None:
    @anyrnn.cell
    def turned(x, h, *, W, U, b):
        return anyrnn.tanh(W @ x + U @ h + anyrnn.softmax(b))

    sizes = turned.bind_sizes(input=3, hidden=5)
    run = Run(turned, tuple(sizes.items())).over((1,), np.dtype(np.float32), 1)
    assert not SingleStep(run, host(), False).possible
    assert CPU().step(run) is None
