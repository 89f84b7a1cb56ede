"""Runs over padded sequences in the layout of frameworks, against the compiled cell."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.kernels.callbacks import Batch, Callback, whole_number
from anyrnn.kernels.run import Run
from checks import Case, make_case

Array = np.ndarray


def batch_of(
    case: Case, mask: Array | None, turned: bool, sequences: bool, *further: Array
) -> Batch:
    x = np.ascontiguousarray(case.x.transpose(1, 0, 2))
    states = list(case.states)
    parameters = [np.ascontiguousarray(array.T) for array in case.parameters.values()]
    run = Run(case.cell, tuple(case.sizes.items()))
    callback = Callback(run, turned, sequences, mask is not None, False)
    return Batch(callback, 1, x, states, parameters, mask, None, [*further])


def unknown(shapes: list[tuple[int, ...]]) -> list[Array]:
    """Arrays to be written."""
    return [np.full(shape, np.nan) for shape in shapes]


def compute(
    case: Case, mask: Array | None, turned: bool, wanted: list[bool], sequences: bool = True
) -> list[Array]:
    """Output, last states and the gradients that are wanted."""
    batch = batch_of(case, mask, turned, sequences)
    size, time, _ = batch.x.shape
    results, again = (unknown(batch.callback.result_shapes(size, time)) for _ in range(2))
    batch.forward(results)
    kept = unknown(batch.callback.residual_shapes(size, time))
    batch.forward([*again, *kept])
    for one, other in zip(results, again, strict=True):
        np.testing.assert_array_equal(one, other)
    asked = [wanted[0], *(True for _ in case.states), *wanted[1:]]
    given = [batch.x, *batch.states, *batch.parameters]
    into = unknown([array.shape for array, yes in zip(given, asked, strict=True) if yes])
    outputs = [case.output_gradient.transpose(1, 0, 2)] * sequences
    further = *kept, *outputs, *case.state_gradients
    batch_of(case, mask, turned, sequences, *further).backward(wanted, into)
    first = len(into) - sum(wanted[1:])  # of the parameters' gradients, which are transposed too
    return [*results, *into[:first], *(array.T for array in into[first:])]


def expected(
    case: Case, mask: Array | None, turned: bool, wanted: list[bool], sequences: bool
) -> list[Array]:
    order = slice(None, None, -1) if turned else slice(None)
    made = anyrnn.compile(case.cell, case.sizes, dtype=float)
    marks: dict[str, Any] = {} if mask is None else {"mask": mask.T[order]}
    result = made.forward(
        case.x[order], case.states, parameters=case.parameters, save=True, padding="carry", **marks
    )
    found = result.backward(case.output_gradient if sequences else None, case.state_gradients)
    parameters = zip(found.parameters.values(), wanted[1:], strict=True)
    return [
        *([result.output.transpose(1, 0, 2)] if sequences else []),
        *result.states,
        *([found.x[order].transpose(1, 0, 2)] if wanted[0] else []),
        *found.states,
        *(part for part, yes in parameters if yes),
    ]


@pytest.mark.parametrize("name", ["lstm", "rnn", "gru", "rnn_output", "lstm_projection", "minlstm"])
@pytest.mark.parametrize("turned", [False, True])
def test_as_the_compiled_cell(name: str, turned: bool) -> None:
    case = make_case(anyrnn.get(name), 3, time=5, batch=4)
    random = np.random.default_rng(0)
    masks = [random.random((4, 5)) < 0.5, np.zeros((4, 5), bool), np.ones((4, 5), bool), None]
    for mask, sequences in product(masks, (False, True)):
        wanted = [bool(each) for each in random.integers(0, 2, 1 + len(case.parameters))]
        how = mask, turned, wanted, sequences
        for one, other in zip(compute(case, *how), expected(case, *how), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_what_is_not_a_number_is_a_value() -> None:
    case = make_case(anyrnn.get("lstm"), 0)
    case.x[0], case.output_gradient[1] = np.inf, np.nan
    found = compute(case, None, False, [True] * (1 + len(case.parameters)))
    assert np.isnan(found[-1]).any()


def test_seeds() -> None:
    assert whole_number(np.array([7])).tolist() == [7]
    assert whole_number(np.array(7)).tolist() == [7]
    assert whole_number(np.array([1, 2])).tolist() == [(1 << 32) + 2]
    assert whole_number(np.array([-1, -1])).tolist() == [-1]
    assert whole_number(torch.tensor([1, 2])).tolist() == [(1 << 32) + 2]
