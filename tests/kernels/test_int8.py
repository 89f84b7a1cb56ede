"""Products of int8 in prepared cells, against NumPy that quantises in the same way.

Each cell meets one way to compute them: the instruction for four bytes, or an emulation on one of
the kinds of CPU that this one can play; the product itself meets all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pytest
import test_compiled_contract as contract
from test_compiled_contract import _poison  # noqa: F401

import anyrnn
from anyrnn import SequenceResult
from anyrnn.errors import InputError
from anyrnn.graph import interpret
from anyrnn.kernels import int8
from anyrnn.kernels.compiled_cell import Compiled
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.matrix_products import projection
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.prepared_cell import PreparedCell
from anyrnn.kernels.run import INT8, Run
from anyrnn.kernels.run_keys import key
from checks import TARGETS, Case, optimised

LEAST = np.float32(2.0**-119)


def quantised(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales of rows; as documented."""
    rows = np.asarray(rows, np.float32)
    with np.errstate(all="ignore"):
        peak = np.abs(rows).max(-1, keepdims=True)
        finite, some = np.isfinite(peak), peak >= LEAST
        into = np.where(finite & some, np.float32(127) / peak, np.float32(0))
        integers = np.rint(np.where(finite, rows, 0) * into).astype(np.int64)
        scale = np.where(some, peak / np.float32(127), np.float32(0))
    return integers, np.where(finite, scale, np.float32(np.nan)).astype(np.float32)


def product(matrix: Any, vectors: Any) -> np.ndarray:
    """The products of a matrix with each row of an array."""
    (left, left_scale), (right, right_scale) = quantised(vectors), quantised(matrix)
    return (left @ right.T) * left_scale.astype(np.float64) * right_scale.T.astype(np.float64)


def ways() -> dict[str, Processor]:
    """The kinds of CPU; those that have the instruction for four bytes without it too."""
    found = {name: host(name) for name in TARGETS}
    if host().multiplies_bytes:
        found["bytes"] = host()
        features = host().features
        for feature in ("avx512vnni", "avxvnni"):
            features = features.replace(f"+{feature}", f"-{feature}")
        found[host().name] = host()._replace(features=features)
        if host().bits == 512:  # as on CPUs with AVX-VNNI only
            found["bytes of 256 bits"] = host()._replace(name="avx2", bits=256, registers=16)
    return found


WAYS = ways()
BEST = "bytes" if "bytes" in WAYS else TARGETS[0]
NAMES = ["rnn", "rnn_output", "lstm", "lstm_peephole", "lstm_projection", "gru", "mingru", "qrnn"]
NAMES += ["gru_reset_before", "normalised", "three_states", "antisymmetric"]
# time, batch, and the free sizes of the cell in their order: no multiples of 4, and some
SIZES = [(1, 1, (1, 1, 1, 1)), (2, 5, (3, 37, 5, 2)), (3, 13, (18, 19, 24, 3))]
EDGE = 0.05  # what a number is wrong by that is rounded to the other one of two


@pytest.mark.parametrize("way", optimised(WAYS, {BEST, "avx2"}))
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product(way: str, transposed: bool) -> None:
    """Of all sizes, of rows and matrices in any order in memory; rows and units of zeros, of NaN,
    of an infinity, of tiny and of large numbers.
    """
    random = np.random.default_rng(0)
    for rows, length, units in ((1, 1, 1), (7, 13, 37), (64, 33, 130), (2, 1027, 5), (13, 64, 64)):
        vectors = random.normal(size=(rows, length)).astype(np.float32)
        matrix = random.normal(size=(units, length)).astype(np.float32)
        matrix *= np.exp(random.normal(size=(units, 1)))
        if rows > 12:
            vectors[0], vectors[1], vectors[2] = 0, 1e-38, 3e38
            vectors[3, 5], vectors[4, 6], vectors[5, 7] = np.nan, np.inf, -np.inf
            vectors[6] *= np.float32(1e-30)
            matrix[0], matrix[1], matrix[2, 3], matrix[3, 4] = 0, 1e-39, np.nan, np.inf
            vectors[7], matrix[4] = 127, -127  # every integer of an element is at its end
        for threads in (1, 2):
            commands = CommandBuffer(arithmetic(WAYS[way], np.float32, INT8), threads)
            given = commands.give(matrix.T.shape).T if transposed else commands.give(matrix.shape)
            places = commands.give(vectors.shape), commands.give((rows, units))
            projection(commands, given, rows, once=True)(*places)
            out = np.full((rows, units), np.nan, np.float32)
            stored = np.ascontiguousarray(matrix.T if transposed else matrix)
            commands.finish().run(NUMPY_ARRAYS, [stored, vectors, out])
            with np.errstate(over="ignore"):
                wanted = product(matrix, vectors).astype(np.float32)
            np.testing.assert_allclose(out, wanted, rtol=1e-6, atol=1e-37)


def test_the_instruction_is_used() -> None:
    """Where the CPU has it; nothing else multiplies bytes."""
    for way, processor in WAYS.items():
        operand = arithmetic(processor, np.float32, INT8).operand
        assert operand is (Operand.BYTES if way.startswith("bytes") else Operand.WORDS)


def case(name: str, place: int) -> Case:
    time, batch, sizes = SIZES[place]
    return contract.case(name, place, time, batch, sizes, np.float32)


@cache
def exact(name: str, place: int) -> SequenceResult:
    plain = interpret.NUMPY["product"]

    def changed(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        return product(matrix, vectors) if vectors.ndim == 2 else plain(matrix, vectors)

    with mock.patch.dict(interpret.NUMPY, product=changed):
        return case(name, place).as_type(np.float64).interpret()


def prepared(given: Case, way: str, threads: int = 2) -> PreparedCell:
    dtype = np.dtype(np.float32)
    made = Compiled(given.cell, given.sizes, dtype, threads, CPU(WAYS[way]), "high", None)
    return made.prepare(given.parameters, weights="int8")


def arrays(results: Any) -> list[np.ndarray]:
    """By rows of the batch."""
    if hasattr(results, "output"):
        return [np.moveaxis(results.output, 1, 0), *results.states]
    return [results[0], *results[1]]


def is_close(found: Any, wanted: Any) -> None:
    """The numbers of a row follow from each other: in at most one row the kernels may have rounded
    another way what is in the middle of two integers.
    """
    wrong = 0.0
    for ours, theirs in zip(arrays(found), arrays(wanted), strict=True):
        errors = np.abs(ours - theirs).reshape(len(ours), -1).max(1)
        wrong = np.maximum(wrong, errors)
    assert np.max(wrong) < EDGE
    assert np.sum(wrong > 1e-5) <= 1, wrong


@pytest.mark.parametrize(
    ("name", "way"), [(name, list(WAYS)[place % len(WAYS)]) for place, name in enumerate(NAMES)]
)
def test_cells(name: str, way: str) -> None:
    """A run, twice, and its steps one by one."""
    for place in range(len(SIZES)):
        given, wanted = case(name, place), exact(name, place)
        cell = prepared(given, way)
        found = cell.forward(given.x, given.states)
        is_close(found, wanted)
        again = cell.forward(given.x, given.states)
        assert all(map(np.array_equal, arrays(found), arrays(again)))
        step: Any = None, given.states
        for x in given.x:
            step = cell.step(x, step[1])
        is_close(step, (wanted.output[-1], wanted.states))


def test_other_weights() -> None:
    given = case("gru", 1)
    found = prepared(given, TARGETS[0]).forward(given.x, given.states)
    twice = {name: 2 * array for name, array in given.parameters.items()}
    other = prepared(replace(given, parameters=twice), TARGETS[0]).forward(given.x, given.states)
    assert not np.array_equal(other.output, found.output)


@pytest.mark.parametrize("way", [BEST, TARGETS[-1]])
def test_rows_are_computed_alone(way: str) -> None:
    """Neither threads nor other rows change a bit, not even rows of NaN and infinities."""
    given = contract.case("lstm", 6, 3, 13, (5, 37), np.float32)
    whole = prepared(given, way, threads=1).forward(given.x, given.states)
    both = prepared(given, way).forward(given.x, given.states)
    assert all(map(np.array_equal, arrays(both), arrays(whole)))
    for chosen in ([4], [2, 3], [0, 5, 6, 7, 12]):
        states = [state[chosen] for state in given.states]
        part = prepared(given, way).forward(given.x[:, chosen], states)
        for ours, theirs in zip(arrays(part), arrays(whole), strict=True):
            np.testing.assert_array_equal(ours, theirs[chosen])
    spoilt = given.x.copy()
    spoilt[1:, 1, 0], spoilt[:, 3, 2] = np.nan, np.inf
    found = prepared(given, way).forward(spoilt, given.states)
    others = [row for row in range(13) if row not in (1, 3)]
    for ours, theirs in zip(arrays(found), arrays(whole), strict=True):
        np.testing.assert_array_equal(ours[others], theirs[others])
    assert np.isnan(found.output[1:, 1]).all()
    assert np.isnan(found.output[:, 3]).all()
    assert np.array_equal(found.output[0, 1], whole.output[0, 1])


def test_lengths_and_resets() -> None:
    given = contract.case("gru", 3, 5, 4, (7, 11), np.float32)
    cell = prepared(given, list(WAYS)[-1])
    lengths, resets = np.array([5, 1, 0, 3]), np.zeros((5, 4), bool)
    resets[2, 0] = True
    found = cell.forward(given.x, given.states, lengths=lengths, resets=resets)
    states = [state[:1] for state in given.states]
    for first, last in ((0, 2), (2, 5)):
        part = cell.forward(given.x[first:last, :1], states).output
        np.testing.assert_array_equal(found.output[first:last, :1], part)
    assert not found.output[1:, 1].any()
    assert not found.output[:, 2].any()
    np.testing.assert_array_equal(found.states[0][2], given.states[0][2])


@anyrnn.cell
def matrixless(x, h, *, w, b):
    return anyrnn.tanh(w * x + b) + h * 0.5


@pytest.mark.parametrize(
    ("name", "options", "weights", "message"),
    [
        ("gru", {}, "int4", r"^weights='int4'; expected 'int8', or None for as they are"),
        ("gru", {"dtype": float}, "int8", r"^weights='int8' cannot be: .* float64, and what"),
        ("gru", {"products": "bfloat16"}, "int8", r"compiled for products in bfloat16$"),
        (matrixless, {}, "int8", r"the cell 'matrixless' has no matrix$"),
    ],
)
def test_what_is_refused(name: Any, options: Any, weights: str, message: str) -> None:
    cell = anyrnn.get(name)
    sizes = dict.fromkeys(cell.free_sizes, 3)
    made = anyrnn.compile(cell, sizes, **options)
    arrays = {
        stored.name: np.zeros(stored.shape_for(made.sizes), made.dtype)
        for stored in cell.parameters
    }
    with pytest.raises(InputError, match=message):
        made.prepare(arrays, weights=weights)


def test_what_has_no_derivative_and_what_is_too_long() -> None:
    given = case("lstm", 1)
    with pytest.raises(InputError, match="products in int8 have no derivative: run without"):
        prepared(given, TARGETS[0]).forward(given.x, given.states, save=True)
    longest = {"input": int8.LONGEST, "hidden": 1}
    assert int8.refusal(anyrnn.get("rnn"), longest, np.dtype(np.float32)) is None
    longest["input"] += 1
    refused = int8.refusal(anyrnn.get("rnn"), longest, np.dtype(np.float32))
    assert refused == "a matrix has 133145 columns, and int32 holds sums of 133144 products"


def test_the_key_of_a_run_names_it() -> None:
    sizes = (("input", 2), ("hidden", 3))
    cell = anyrnn.get("gru")
    assert key(Run(cell, sizes)) != key(Run(cell, sizes, operand=INT8))
