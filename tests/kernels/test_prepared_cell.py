"""Cells on NumPy arrays that are prepared with weights: runs and streams."""

from __future__ import annotations

import copy
import pickle
import sys
import tracemalloc
from threading import Thread
from typing import Any

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import InputError

CELLS = (
    "lstm",
    "gru",
    "rnn",
    "lstm_peephole",
    "mingru",
    "qrnn",
    "lstm_projection",
    "gru_reset_before",
)


def made(name: str, dtype: Any = np.float32) -> tuple[Any, dict[str, np.ndarray]]:
    cell = anyrnn.get(name)
    sizes = {"input": 7, "hidden": 5, "projection": 3}
    compiled = anyrnn.compile(
        cell, {key: size for key, size in sizes.items() if key in cell.sizes}, dtype=dtype
    )
    random = np.random.default_rng(0)
    weights = {
        stored.name: random.normal(size=stored.shape_for(compiled.sizes)).astype(dtype)
        for stored in cell.parameters
    }
    return compiled, weights


def arrays(results: Any) -> list[np.ndarray]:
    return [results[0], *results[1]]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_runs_and_streams(name: str, dtype: Any) -> None:
    """The bits of `forward` with weights; step by step the same up to rounding."""
    compiled, weights = made(name, dtype)
    prepared = compiled.prepare(weights)
    random = np.random.default_rng(1)
    for time, batch in ((6, 3), (1, 1), (6, 3), (5, 1), (0, 2), (2, 0)):
        x = random.normal(size=(time, batch, 7)).astype(dtype)
        wanted = compiled.forward(x, parameters=weights)
        for _ in range(2):
            found = prepared.forward(x)
            assert np.array_equal(found.output, wanted.output)
            assert all(map(np.array_equal, found.states, wanted.states))
        states = out = None
        for step, x_t in enumerate(x):
            if step > 2:  # into arrays that were given, and over the states before
                out = np.full_like(wanted.output[0], np.nan), states
            output, states = prepared.step(x_t, states, out=out)
            assert out is None or states is out[1]
            np.testing.assert_allclose(output, wanted.output[step], rtol=1e-4, atol=1e-5)
        for found, last in zip(states or (), wanted.states, strict=False):
            np.testing.assert_allclose(found, last, rtol=1e-4, atol=1e-5)


def test_results_are_arrays_of_their_own() -> None:
    compiled, weights = made("lstm")
    prepared, x = compiled.prepare(weights), np.ones((2, 7), np.float32)
    first = prepared.step(x)
    kept = [array.copy() for array in arrays(first)]
    prepared.step(2 * x, first[1])
    assert all(map(np.array_equal, arrays(first), kept))
    assert not any(np.shares_memory(array, first[0]) for array in first[1])


def test_weights_are_those_of_when_it_was_prepared() -> None:
    compiled, weights = made("gru")
    x = np.ones((4, 2, 7), np.float32)
    prepared = compiled.prepare(weights)
    before, step = prepared.forward(x).output, prepared.step(x[0])[0]
    for array in weights.values():
        array *= 2
    assert np.array_equal(prepared.forward(x).output, before)
    assert np.array_equal(prepared.step(x[0])[0], step)
    other = compiled.prepare(weights)
    assert np.array_equal(other.forward(x).output, compiled.forward(x, parameters=weights).output)
    assert not np.array_equal(other.step(x[0])[0], step)
    with pytest.raises(ValueError, match="read-only"):
        prepared.parameters["W"] += 1


def test_arrays_of_any_layout() -> None:
    compiled, weights = made("lstm")
    prepared, random = compiled.prepare(weights), np.random.default_rng(2)
    x = random.normal(size=(3, 7)).astype(np.float32)
    states = [random.normal(size=(3, 5)).astype(np.float32) for _ in range(2)]
    wanted = prepared.step(x, states)
    turned = np.asfortranarray(x), [np.asfortranarray(state) for state in states]
    listed = x.tolist(), tuple(states)
    for given in (turned, listed):
        for _ in range(2):
            assert all(map(np.array_equal, arrays(prepared.step(*given)), arrays(wanted)))
    x.flags.writeable = False
    assert np.array_equal(prepared.step(x, states)[0], wanted[0])
    out = np.zeros((5, 3), np.float32).T, tuple(np.zeros((2, 3, 10), np.float32)[..., ::2])
    prepared.step(x, states, out=out)
    assert all(map(np.array_equal, arrays(out), arrays(wanted)))


@pytest.mark.parametrize("name", ["lstm", "qrnn"])
def test_copies_have_memory_of_their_own(name: str) -> None:
    compiled, weights = made(name)
    prepared, x = compiled.prepare(weights), np.ones((2, 7), np.float32)
    _, states = prepared.step(x)
    wanted = arrays(prepared.step(x, states))
    for other in (
        copy.deepcopy(prepared),
        copy.copy(prepared),
        pickle.loads(pickle.dumps(prepared)),
    ):
        other.step(np.full_like(x, np.nan), states)
        prepared.step(x, states)
        assert all(map(np.array_equal, arrays(other.step(x, states)), wanted))
        with pytest.raises(ValueError, match="read-only"):
            other.parameters["W"] += 1
    again = pickle.loads(pickle.dumps(compiled))
    assert repr(again) == repr(compiled)
    runs = [each.forward(x[None], parameters=weights) for each in (again, compiled)]
    assert np.array_equal(runs[0].output, runs[1].output)


def test_memory_does_not_grow_with_the_number_of_streams() -> None:
    compiled, weights = made("lstm")
    prepared, x = compiled.prepare(weights), np.ones((2, 7), np.float32)
    grown = 0
    for count in (3, 100):
        tracemalloc.start()
        for _ in range(count):
            prepared.step(x)
            prepared.step(x.tolist(), iter([STATE, STATE]))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 30_000


ZEROS = np.zeros((2, 7), np.float32)
STATE = np.zeros((2, 5), np.float32)
READ_ONLY = np.broadcast_to(STATE, STATE.shape)


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        ((ZEROS[0],), None, r"^the input has shape \(7,\); expected \(batch, 7\)"),
        ((ZEROS[:, :3],), None, r"^the input has shape \(2, 3\); expected \(2, 7\)"),
        ((ZEROS.astype(float),), None, "^the input is float64, but the cell is compiled for"),
        ((ZEROS, [STATE]), None, "^cell 'lstm' has the states h, c; 1 were given"),
        ((ZEROS, [STATE, STATE[:1]]), None, r"^the state c has shape \(1, 5\); expected"),
        ((ZEROS, [STATE, STATE], ZEROS), None, None),
        ((ZEROS, 3), None, "^the state: a int was given; expected a list of arrays, for h, c"),
        ((ZEROS, {"h": STATE, "c": STATE}), None, "^the state: a dict was given; expected a list"),
        ((ZEROS,), (STATE, None), "^out is a tuple; expected what step"),
        ((ZEROS,), (READ_ONLY, (STATE, STATE)), "^out has a read-only array of float32 with"),
        ((ZEROS,), STATE, "^out is a ndarray; expected what step"),
        ((ZEROS,), (STATE, (STATE,)), "^out is a tuple; expected what step"),
        (
            (ZEROS,),
            (STATE[:, :4], (STATE, STATE)),
            r"^out has an array of float32 with",
        ),
        ((ZEROS,), (STATE.astype(float), (STATE, STATE)), "^out has an array of float64"),
        ((ZEROS,), (STATE, (STATE, None)), "^out has a NoneType; expected an array of float32"),
    ],
)
def test_mistakes(given: Any, out: Any, message: str | None) -> None:
    compiled, weights = made("lstm")
    prepared = compiled.prepare(weights)
    for _ in range(2):
        if message is None:
            with pytest.raises(TypeError):
                prepared.step(*given, out=out)
        else:
            with pytest.raises(InputError, match=message):
                prepared.step(*given, out=out)
        prepared.step(ZEROS)
        prepared.step(ZEROS, [STATE, STATE])


def test_several_threads() -> None:
    compiled, weights = made("lstm")
    prepared = compiled.prepare(weights)
    inputs = np.random.default_rng(3).normal(size=(4, 30, 2, 7)).astype(np.float32)
    found: dict[int, list[np.ndarray]] = {}

    def stream(index: int) -> None:
        states, outputs = None, []
        for x in inputs[index]:
            output, states = prepared.step(x, states)
            outputs.append(output)
        found[index] = outputs

    for index in range(4):
        stream(index)
    wanted = dict(found)
    found.clear()
    threads = [Thread(target=stream, args=(index,)) for index in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 4
    assert all(all(map(np.array_equal, found[index], wanted[index])) for index in range(4))
