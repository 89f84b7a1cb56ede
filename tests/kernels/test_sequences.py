"""Lengths, masks and resets on NumPy arrays, against a loop over the interpreter's steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import anyrnn
from anyrnn.errors import InputError
from anyrnn.kernels.row_layout import Layout, lay_out
from checks import Case, close_gradients, close_results, make_case, one_line
from masked import run

CELLS = ["lstm", "gru", "rnn_output", "lstm_projection"]


def booleans(time: int, batch: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(bool, (time, batch))


def compute(case: Case, **marks: Any) -> tuple[Any, Any]:
    made = anyrnn.compile(case.cell, case.sizes, dtype=case.x.dtype)
    result = made.forward(case.x, case.states, parameters=case.parameters, save=True, **marks)
    return result, result.backward(case.output_gradient, case.state_gradients)


def agree(case: Case, counts: np.ndarray, put_back: np.ndarray, **marks: Any) -> None:
    wanted, gradients = run(case, counts, put_back, marks.get("padding") == "carry")
    found, ours = compute(case, **marks)
    close_results(found, wanted, 1e-12)
    close_gradients(ours, gradients, 1e-11)


@settings(max_examples=60)
@given(data=st.data())
def test_masks_and_resets_are_the_loop(data: st.DataObject) -> None:
    time, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    case = make_case(anyrnn.get(data.draw(st.sampled_from(CELLS))), 0, time, batch)
    counts, resets = np.ones((time, batch), bool), np.zeros((time, batch), bool)
    marks: dict[str, Any] = {"padding": data.draw(st.sampled_from(["zero", "carry"]))}
    if data.draw(st.booleans()):
        marks["mask"] = counts = data.draw(booleans(time, batch))
    if data.draw(st.booleans()):
        lengths = data.draw(arrays(np.int64, batch, elements=st.integers(0, time)))
        counts = counts & (np.arange(time)[:, None] < lengths)
        marks["lengths"] = data.draw(st.sampled_from([lengths, lengths.tolist()]))
    if data.draw(st.booleans()):
        marks["resets"] = resets = data.draw(booleans(time, batch))
    agree(case, counts, resets, **marks)


@pytest.mark.parametrize("name", CELLS)
def test_nothing_counts(name: str) -> None:
    case = make_case(anyrnn.get(name), 1)
    counts = np.zeros(case.x.shape[:2], bool)
    agree(case, counts, ~counts, mask=counts, resets=~counts)
    agree(case, counts, counts, lengths=[0, 0, 0], padding="carry")


def test_everything_counts() -> None:
    """To the last bit what it is without a mask."""
    case = make_case(anyrnn.get("lstm"), 2)
    every = np.ones(case.x.shape[:2], bool)
    plain, gradients = compute(case)
    for marks in ({"mask": every}, {"lengths": [4, 4, 4]}, {"resets": ~every}):
        found, ours = compute(case, **marks)
        close_results(found, plain, 0)
        close_gradients(ours, gradients, 0)


def test_what_does_not_count_is_not_read() -> None:
    case = make_case(anyrnn.get("gru"), 3, time=6)
    counts = np.random.default_rng(0).random((6, 3)) < 0.5
    wanted, gradients = compute(case, mask=counts)
    case.x[~counts] = np.nan
    case.output_gradient[~counts] = np.nan
    found, ours = compute(case, mask=counts)
    close_results(found, wanted, 0)
    close_gradients(ours, gradients, 0)


@given(data=st.data())
def test_rows_of_a_layout(data: st.DataObject) -> None:
    """Every step that counts has one row, in the order of its sequence, and no other has one."""
    time, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    counts, resets = data.draw(booleans(time, batch)), data.draw(booleans(time, batch))
    layout = Layout(counts, resets)
    sizes = layout.batch_sizes
    assert sorted(sizes, reverse=True) == sizes
    assert sum(sizes) == layout.rows == counts.sum()
    assert sizes[0] == layout.sequences
    places = layout.places()
    assert sorted(places) == np.flatnonzero(counts).tolist()
    turned = layout.places(True)
    assert (places == turned % time * batch + turned // time).all()
    offsets = np.cumsum([0, *sizes])
    for rank in range(layout.sequences):
        own = [places[offsets[step] + rank] for step, size in enumerate(sizes) if rank < size]
        steps, sequences = np.divmod(own, batch)
        assert len(set(sequences)) == 1
        assert (np.diff(steps) > 0).all()
        between = resets[steps[0] + 1 : steps[-1] + 1, sequences[0]]
        assert not between.any()


def test_nothing_to_lay_out() -> None:
    axes, shape = ("time", "batch"), (3, 2)
    every = np.ones(shape, bool)
    assert lay_out(axes, shape) is None
    assert lay_out(axes, shape, np.array([3, 3]), every, ~every) is None
    assert lay_out(axes, shape, np.array([3, 2])) is not None
    assert lay_out(("time",), (3,), mask=np.array([True, False, True])) is not None


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"lengths": [4]}, "lengths are int64 of shape (1,); expected 3 whole numbers"),
        ({"lengths": [4.0, 2, 1]}, "lengths are float64 of shape (3,)"),
        ({"lengths": [4, 5, 1]}, "a length is 5; the input has 4 steps: expected 0 to 4"),
        ({"lengths": [4, -1, 1]}, "a length is -1; the input has 4 steps: expected 0 to 4"),
        ({"lengths": [[1], 2]}, "lengths cannot be made an array"),
        ({"mask": np.ones((4, 3))}, "mask: numbers of the type float64 were given; expected bool"),
        ({"mask": np.ones((4, 2), bool)}, "mask: the shape (4, 2) was given; expected (4, 3)"),
        ({"resets": np.ones((4, 3), int)}, "resets: numbers of the type int64 were given"),
        ({"resets": np.ones((3, 4), bool)}, "the shape (3, 4) was given; expected (4, 3): (time,"),
        ({"padding": "last"}, "padding='last'; expected 'zero' or 'carry'"),
    ],
)
def test_mistakes(marks: dict[str, Any], message: str) -> None:
    case = make_case(anyrnn.get("gru"), 0)
    with pytest.raises(InputError) as caught:
        compute(case, **marks)
    assert message in one_line(caught.value)
