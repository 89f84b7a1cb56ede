"""Commands that are recorded and then carried out: by machine code, and by functions of Python."""

from __future__ import annotations

import numpy as np
import pytest

from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program import prepared_commands
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 64, 1001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_copies_of_any_size(size: int, dtype: type) -> None:
    commands = CommandBuffer(arithmetic(host(), np.float32), 1)
    source, into = commands.give((size + 2,), dtype), commands.give((size + 4,), dtype)
    cleared = commands.give((size + 2,), dtype)
    commands.copy(source[1 : size + 1], into[3 : size + 3])
    commands.pause()
    commands.clear(cleared[1 : size + 1])
    array = np.arange(size + 2).astype(dtype)
    given = [array, np.full(size + 4, 7, dtype), np.full(size + 2, 7, dtype)]
    _, copied, zeros = commands.finish().run(NUMPY_ARRAYS, given)
    np.testing.assert_array_equal(copied, [7, 7, 7, *array[1 : size + 1], 7])
    np.testing.assert_array_equal(zeros, [7, *[0] * size, 7])


@pytest.mark.parametrize("kept", [True, False])
def test_functions_of_python_between_commands(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kept:
        monkeypatch.setattr(prepared_commands, "KEPT", -1)
    commands = CommandBuffer(arithmetic(host(), np.float64), 1)
    given, result = commands.give((5,)), commands.result((5,))
    between = commands.scratch((5,))
    commands.copy(given, between)
    doubled = commands.compute(lambda array: 2 * array, [between], (5,))
    commands.copy(doubled, result)
    commands.call(
        lambda array, one: np.add(array, one, out=array), result, commands.constant([1.0])
    )
    prepared = commands.finish()
    for seed in range(3):  # each with arrays and memory of its own
        array = np.random.default_rng(seed).normal(size=5)
        _, found = prepared.run(NUMPY_ARRAYS, [array])
        np.testing.assert_array_equal(found, 2 * array + 1)
