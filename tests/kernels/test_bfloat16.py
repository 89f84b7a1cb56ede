"""Products of numbers rounded to bfloat16, against the interpreter with the same rounding.

Each cell meets one way to compute them: the instruction for pairs, or an emulation on one of the
kinds of CPU that this one can play; the LSTM meets all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import test_compiled_contract as contract
from test_compiled_contract import _poison, by_row, rows_of, same_bits  # noqa: F401

import anyrnn
from anyrnn import Gradients, SequenceResult
from anyrnn.errors import InputError
from anyrnn.graph import interpret
from anyrnn.kernels.compiled_cell import Compiled
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.operand import Operand
from anyrnn.kernels.cpu.emit.packing import PackingJob
from anyrnn.kernels.cpu.machine.processor import Processor, host
from anyrnn.kernels.cpu.program import packing
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.single_step import SingleStep
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS, address
from anyrnn.kernels.result import Result
from anyrnn.kernels.run import BFLOAT16, Run
from checks import TARGETS, Case, close, close_results

# time, batch, and the free sizes of the cell in their order: odd and even lengths of products
SIZES = [(1, 1, (1, 1, 1, 1)), (2, 5, (3, 37, 5, 2)), (1, 13, (18, 19, 24, 3))]


def ways() -> dict[str, Processor]:
    """The kinds of CPU; the one with the instruction for pairs without it too."""
    found = {name: host(name) for name in TARGETS}
    if host().bfloat16:
        found["pairs"] = host()
        found[host().name] = host()._replace(bfloat16=False)
    return found


WAYS = ways()
BEST = "pairs" if "pairs" in WAYS else TARGETS[0]
NAMES = ["rnn", "rnn_output", "lstm_peephole", "lstm_projection", "gru", "gru_reset_before"]
NAMES += ["mingru", "qrnn", "normalised", "three_states"]
COMBINATIONS = [(name, list(WAYS)[place % len(WAYS)]) for place, name in enumerate(NAMES)]
COMBINATIONS += [("lstm", way) for way in WAYS if way != BEST]
COMBINATIONS += [pytest.param("lstm", BEST, marks=pytest.mark.optimised)]
each_combination = pytest.mark.parametrize(("name", "way"), COMBINATIONS)


def rounded(array: Any) -> np.ndarray:
    """To bfloat16 and back: to the nearest, of two the one with an even last bit."""
    single = np.asarray(array, np.float32)
    _, exponent = np.frexp(np.where(np.isfinite(single), single, 0).astype(np.float64))
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 8)
    with np.errstate(all="ignore"):
        nearest = (np.rint(single / unit) * unit).astype(np.float32)
    return np.where(np.isfinite(single), nearest, single).astype(np.asarray(array).dtype)


@contextmanager
def rounding(sums: bool) -> Iterator[None]:
    """The interpreter rounds what it multiplies for each row; and what it only sums, or not."""

    def of_rows(function: Callable[..., Any]) -> Callable[..., Any]:
        def computed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            if right.ndim == 2:
                left, right = rounded(left), rounded(right)
            return function(left, right)

        return computed

    plain = dict(interpret.NUMPY)
    changed = {name: of_rows(plain[name]) for name in ("product", "outer")}
    if sums:
        changed["batch_sum"] = lambda array: plain["batch_sum"](rounded(array))
    interpret.NUMPY.update(changed)
    try:
        yield
    finally:
        interpret.NUMPY.update(plain)


def case(name: str, place: int) -> Case:
    time, batch, sizes = SIZES[place]
    return contract.case(name, place, time, batch, sizes, np.float32)


@cache
def exact(name: str, place: int) -> tuple[SequenceResult, list[Gradients]]:
    given = case(name, place).as_type(np.float64)
    found = []
    for sums in (True, False):
        with rounding(sums):
            found.append((given.interpret(), given.gradients()))
    return found[0][0], [gradients for _, gradients in found]


def run(case: Case, way: str, threads: int = 2) -> tuple[Result, Gradients]:
    dtype = np.dtype(np.float32)
    made = Compiled(case.cell, case.sizes, dtype, threads, CPU(WAYS[way]), "high", "bfloat16")
    result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    return result, result.backward(case.output_gradient, case.state_gradients)


@each_combination
def test_values_and_gradients(name: str, way: str) -> None:
    """A number at the edge between two of bfloat16 may be rounded to the other one."""
    for place in range(len(SIZES)):
        result, gradients = run(case(name, place), way)
        wanted, both = exact(name, place)
        close_results(result, wanted, 1e-5)
        close(gradients.x, both[0].x, 1e-4)
        for ours, theirs in zip(gradients.states, both[0].states, strict=True):
            close(ours, theirs, 1e-4)
        for key, ours in gradients.parameters.items():
            wrong = min(float(np.abs(ours - g.parameters[key]).max(initial=0)) for g in both)
            assert wrong <= 1e-4 * max(1, float(np.abs(ours).max(initial=0))), key


@each_combination
def test_rows_are_computed_alone(name: str, way: str) -> None:
    """Neither threads nor other rows change a bit, not even rows of NaN and infinities."""
    given = contract.case(name, 6, 3, 13, (5, 37, 3, 2), np.float32)
    whole, everything = run(given, way, threads=1), slice(None)
    same_bits(by_row(run(given, way), everything), by_row(whole, everything))
    for chosen in ([4], [2, 3], [0, 5, 6, 7, 12]):
        part = run(rows_of(given, chosen), way)
        same_bits(by_row(part, everything), by_row(whole, chosen))
    spoilt = replace(given, x=given.x.copy(), output_gradient=given.output_gradient.copy())
    spoilt.x[:, 1], spoilt.output_gradient[:, 1] = np.nan, np.nan
    spoilt.x[:, 3] = np.inf
    others = [row for row in range(13) if row not in (1, 3)]
    same_bits(by_row(run(spoilt, way), others), by_row(whole, others))


# every exponent, with the bits that rounding looks at: just below a half, a half, just above
EXPONENTS = np.arange(256, dtype=np.uint32)[:, None] << 23
MANTISSAS = np.array(
    [high << 16 | low for high in (0, 1, 2, 126, 127) for low in (0, 1, 0x7FFF, 0x8000, 0x8001)],
    np.uint32,
)
NUMBERS = (EXPONENTS | MANTISSAS).ravel().view(np.float32)
NUMBERS = np.concatenate([NUMBERS, -NUMBERS])


@pytest.mark.parametrize("way", WAYS)
def test_rounding(way: str) -> None:
    """Of every kind of number; NaN stays NaN, whatever its bits."""
    target = WAYS[way]
    operand = Operand.PAIRS if target.bfloat16 else Operand.ROUNDED
    lanes = target.lanes(False)
    commands = CommandBuffer(arithmetic(target, np.float32), 1)
    source = commands.give((1, len(NUMBERS)))
    place = commands.give((operand.slots(len(NUMBERS)), lanes))
    job = PackingJob(1, len(NUMBERS), lanes, 1, 1)
    packing.write(commands, [(job, source, place)], job.units * job.length, operand)
    found = np.full(place.shape, np.nan, np.float32)
    commands.finish().run(NUMPY_ARRAYS, [NUMBERS[None], found])
    kept = found[:, 0].copy()
    if operand is Operand.PAIRS:
        kept = (kept.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(kept, rounded(NUMBERS))
    np.testing.assert_array_equal(np.signbit(kept), np.signbit(NUMBERS))
    assert not found.view(np.uint32)[:, 1:].any()


def test_special_numbers_in_products() -> None:
    """Infinities and NaN reach what they enter, through every product, and nothing else."""
    cell, sizes = anyrnn.get("rnn_relu"), {"input": 3, "hidden": 2}
    parameters = {"W": np.eye(2, 3), "U": np.zeros((2, 2)), "b": np.zeros(2)}
    parameters = {name: array.astype(np.float32) for name, array in parameters.items()}
    x = np.zeros((1, 4, 3), np.float32)
    x[0, 0, 2], x[0, 1, 0], x[0, 2, 1], x[0, 3] = 1, np.inf, np.nan, 3e38
    with np.errstate(invalid="ignore"):
        wanted = np.maximum(rounded(x[0]) @ parameters["W"].T, 0)
    for target in WAYS.values():
        made = Compiled(cell, sizes, np.dtype(np.float32), 1, CPU(target), "high", "bfloat16")
        output = made.forward(x, parameters=parameters).output[0]
        np.testing.assert_array_equal(output, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"products": "float16"}, "products='float16'; expected 'bfloat16', or None"),
        ({"products": "bfloat16", "dtype": float}, "products in bfloat16 need dtype=float32"),
    ],
)
def test_what_cannot_be_rounded(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        anyrnn.compile("gru", {"input": 2, "hidden": 3}, **options)


def test_the_option() -> None:
    given = case("gru", 1)
    found = anyrnn.compile(given.cell, given.sizes, products="bfloat16")
    output = found.forward(given.x, given.states, parameters=given.parameters).output
    wanted, _ = exact("gru", 1)
    close(output, wanted.output, 1e-5)
    assert np.abs(output - given.interpret().output).max() > 1e-4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("short", [False, True])
def test_a_single_step(way: str, short: bool) -> None:
    """With matrices as they are in memory: float32, or bfloat16 already."""
    given = case("lstm", 1)
    given = replace(given, x=given.x[:1])
    with rounding(True):
        wanted = given.as_type(np.float64).interpret()
    sizes, batch = tuple(given.sizes.items()), len(given.states[0])
    run = Run(given.cell, sizes, operand=BFLOAT16).over((batch,), np.dtype(np.float32), 2)
    one = SingleStep(run, WAYS[way] or host(), short)
    parameters = {
        name: (rounded(array).view(np.uint32) >> 16).astype(np.uint16)
        if short and array.ndim == 2
        else array
        for name, array in given.parameters.items()
    }
    output = np.full((batch, one.output_size), np.nan, np.float32)
    new = [np.full_like(state, np.nan) for state in given.states]
    arrays = [given.x[0], *given.states, *parameters.values(), output, *new]
    one.run([address(np.ascontiguousarray(array)) for array in arrays])
    for ours, theirs in zip([output, *new], [wanted.output[0], *wanted.states], strict=True):
        close(ours, theirs, 1e-5)
