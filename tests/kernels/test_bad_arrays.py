"""Compiled cells and the store, given what they should not be: a right result, or one line that
says what is wrong; the process goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.errors import InputError, KernelError, SizeError
from anyrnn.kernels import arguments, store
from anyrnn.kernels.cpu.machine import engine
from anyrnn.kernels.cpu.machine.processor import Processor, host
from checks import close_gradients, close_results, make_case, one_line

SIZES = {"input": 3, "hidden": 5}
ARM = Processor("neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32)
TYPE = "but the cell is compiled for float32; convert it with .astype(np.float32)"


def parameters(cell: str = "lstm") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = anyrnn.get(cell)
    shapes = {stored.name: stored.shape_for(made.bind_sizes(**SIZES)) for stored in made.parameters}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


# what to compile


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sizes": [3, 5]}, InputError, "sizes: a list was given; expected numbers by name, as in"),
        ({"sizes": None}, InputError, "sizes: a NoneType was given"),
        (
            {"sizes": {3: 3}},
            InputError,
            "expected numbers by name, as in {'input': 3, 'hidden': 5}",
        ),
        ({"sizes": {**SIZES, "hidden_size": 7}}, InputError, "hidden and hidden_size are the same"),
        ({"sizes": {**SIZES, "height": 7}}, SizeError, "cell 'lstm' has no height_size; its sizes"),
        ({"sizes": {**SIZES, "hidden": -5}}, SizeError, "hidden_size=-5: a size is at least 1"),
        ({"sizes": {**SIZES, "hidden": 5.0}}, SizeError, "hidden_size=5.0: a size is a whole"),
        ({"sizes": {**SIZES, "hidden": None}}, SizeError, "cell 'lstm' needs hidden_size"),
        *(
            ({"sizes": {**SIZES, name: 1 << power}}, SizeError, "more than can be addressed; use")
            for name, power in (("input", 62), ("hidden", 40), ("hidden", 62), ("hidden", 500))
        ),
        ({"dtype": "spam"}, InputError, "dtype spam: kernels compute in float32 or float64"),
        ({"dtype": None}, InputError, "dtype None: kernels compute in"),
        ({"dtype": object}, InputError, "dtype object: kernels compute in"),
        ({"dtype": np.complex64}, InputError, "dtype complex64: kernels compute in"),
        ({"dtype": np.dtype(">f8")}, InputError, "dtype >f8: kernels compute in"),
        ({"threads": -1}, InputError, "threads=-1; expected a whole number of at least 1"),
        ({"threads": True}, InputError, "threads=True; expected"),
        ({"threads": "2"}, InputError, "threads='2'; expected"),
        ({"memory": "medium"}, InputError, "memory='medium'; expected 'high', or 'low'"),
        ({"memory": None}, InputError, "memory=None; expected 'high', or 'low'"),
        ({"target": ["avx2"]}, InputError, "target=['avx2']; expected the name of a kind of CPU"),
        ({"target": ""}, KernelError, "cannot run ''; usable: "),
    ],
)
def test_what_cannot_be_compiled(change: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        anyrnn.compile(**{"cell": "lstm", "sizes": SIZES, **change})
    assert message in one_line(caught.value)


def test_numbers_of_numpy_are_whole_numbers() -> None:
    sizes = {name: np.int64(size) for name, size in SIZES.items()}
    made = anyrnn.compile("lstm", sizes, threads=np.int32(1))
    assert repr(made) == repr(anyrnn.compile("lstm", SIZES))
    assert (made.sizes, made.threads) == (SIZES, 1)


def test_threads_are_never_more_than_cores() -> None:
    made = anyrnn.compile("lstm", {"input": 64, "hidden": 64}, threads=10**9)
    assert made.threads == arguments.usable_cores()


# arrays


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (zeros(4, 2, 3).astype(np.float16), f"the input is float16, {TYPE}"),
        (zeros(4, 2, 3).astype(complex), f"the input is complex128, {TYPE}"),
        (zeros(4, 2, 3).astype(object), f"the input is object, {TYPE}"),
        (zeros(4, 2, 3) > 0, f"the input is bool, {TYPE}"),
        (np.zeros((4, 2, 3), "M8[s]"), f"the input is datetime64[s], {TYPE}"),
        ([[[1.0, 2.0], [3.0]]], "the input cannot be made an array: setting an array element"),
        (torch.zeros(4, 2, 3, requires_grad=True), "Use tensor.detach().numpy() instead"),
        (np.ma.array(zeros(4, 2, 3), mask=True), "the input is a masked array, whose mask has no"),
        ({"x": 1}, "the input has shape (); expected (time, batch, 3)"),
        ("spam", "the input has shape (); expected (time, batch, 3)"),
        (zeros(4, 2, 0), "the input has shape (4, 2, 0); expected (4, 2, 3)"),
    ],
)
def test_what_is_no_input(x: Any, message: str) -> None:
    made = anyrnn.compile("lstm", SIZES)
    with pytest.raises(InputError) as caught:
        made.forward(x, parameters=parameters())
    assert message in one_line(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, ": a int was given; expected a list of arrays, for h, c"),
        ({"h": zeros(2, 5), "c": zeros(2, 5)}, ": a dict was given; expected a list of arrays"),
        ("hc", ": a str was given; expected a list of arrays"),
        (zeros(2, 5), "the state h has shape (5,); expected (2, 5)"),
        ([None, None], f"the state h is object, {TYPE}"),
        ([zeros(2, 5)] * 3, "cell 'lstm' has the states h, c; 3 were given"),
        ([zeros(2, 5), zeros(2, 5).astype(complex)], f"the state c is complex128, {TYPE}"),
    ],
)
def test_what_are_no_states(given: Any, message: str) -> None:
    made, x = anyrnn.compile("lstm", SIZES), zeros(4, 2, 3)
    with pytest.raises(InputError) as caught:
        made.forward(x, given, parameters=parameters())
    assert message in one_line(caught.value)
    result = made.forward(x, parameters=parameters(), save=True)
    with pytest.raises(InputError) as caught:
        result.backward(None, given)
    assert message.replace("the state ", "the gradient of the state ") in one_line(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: None, "parameters: a NoneType was given; expected arrays by name, for W, U"),
        (lambda given: list(given.values()), "parameters: a list was given; expected arrays by"),
        (
            lambda given: {**given, "d": zeros(5)},
            "cell 'lstm' has no parameter 'd'; it has: W, U, b",
        ),
        (lambda given: {1: zeros(5)}, "cell 'lstm' needs the parameter 'W'; given: 1"),
        (lambda given: {"W.i": zeros(5, 3)}, "cell 'lstm' needs the parameter 'W'; given: W.i"),
        (lambda given: {**given, "W": None}, f"the parameter W is object, {TYPE}"),
        (lambda given: {**given, "W": given["W"].T}, "W has shape (3, 20); expected (20, 3)"),
        (
            lambda given: {**given, "b": given["b"].astype(float)},
            f"the parameter b is float64, {TYPE}",
        ),
    ],
)
def test_what_are_no_parameters(change: Any, message: str) -> None:
    made = anyrnn.compile("lstm", SIZES)
    with pytest.raises(InputError) as caught:
        made.forward(zeros(4, 2, 3), parameters=change(parameters()))
    assert message in one_line(caught.value)


def test_lists_are_made_arrays() -> None:
    case = make_case(anyrnn.get("lstm"), 1, sizes=SIZES).as_type(np.float32)
    made = anyrnn.compile(case.cell, SIZES)
    wanted = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    weights = {name: array.tolist() for name, array in case.parameters.items()}
    found = made.forward(
        case.x.tolist(), (state.tolist() for state in case.states), parameters=weights, save=True
    )
    close_results(found, wanted, 0)
    gradients = wanted.backward(case.output_gradient, case.state_gradients)
    ends = [end.tolist() for end in case.state_gradients]
    close_gradients(found.backward(case.output_gradient.tolist(), ends), gradients, 0)
    x = [[[1, 0, 1]]]
    ones = made.forward(x, parameters=weights)
    close_results(ones, made.forward(np.array(x, np.float32), parameters=weights), 0)


def test_parameters_in_any_layout() -> None:
    case = make_case(anyrnn.get("lstm_peephole"), 2, time=5, batch=4, sizes=SIZES)
    made = anyrnn.compile(case.cell, SIZES, dtype=float)
    wanted = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    gradients = wanted.backward(case.output_gradient)

    def unaligned(array: np.ndarray) -> np.ndarray:
        odd = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        odd[...] = array
        return odd

    def spread(array: np.ndarray) -> np.ndarray:
        wide = np.full([3 * size for size in array.shape], np.nan)
        part = wide[tuple([slice(None, None, -3)] * array.ndim)]
        part[...] = array
        return part

    def read_only(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flags.writeable = False
        return array

    for change in (unaligned, spread, read_only, np.asfortranarray):
        weights = {name: change(array) for name, array in case.parameters.items()}
        found = made.forward(case.x, case.states, parameters=weights, save=True)
        close_results(found, wanted, 0)
        close_gradients(found.backward(case.output_gradient), gradients, 0)
    same = {name: np.broadcast_to(0.1, array.shape) for name, array in case.parameters.items()}
    found = made.forward(case.x, case.states, parameters=same)
    close_results(found, replace(case, parameters=same).interpret(), 1e-12)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38, 1e-45])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "rnn_relu"])
def test_numbers_that_are_none_or_the_largest(cell: str, number: float) -> None:
    case = make_case(anyrnn.get(cell), 3, sizes=SIZES).as_type(np.float32)
    case.x[1, 1, 1] = number
    made = anyrnn.compile(case.cell, SIZES)
    result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    gradients = result.backward(case.output_gradient)
    with np.errstate(all="ignore"):
        wanted = case.interpret()
    np.testing.assert_allclose(result.output, wanted.output, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert np.isfinite(result.output[:, 0]).all()
    assert np.isfinite(gradients.x[:, 0]).all()


# the machine


def python(code: str, **variables: str) -> list[str]:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


MISSING = """
import sys
sys.modules["llvmlite"] = sys.modules["llvmlite.binding"] = None
"""
BROKEN = """
import llvmlite.binding
def fail():
    raise OSError("Could not find/load shared object file\\nlibllvmlite.so")
llvmlite.binding.initialize_native_target = fail
"""
TRY = """
import anyrnn
try:
    anyrnn.compile("lstm", {"input": 3, "hidden": 5})
except anyrnn.errors.KernelError as error:
    print(error)
"""
TRY_TORCH = """
import torch
layer = anyrnn.torch.LSTM(3, 5)
print(layer.path)
print(layer(torch.zeros(4, 2, 3))[0].shape)
"""


def test_without_a_compiler() -> None:
    (broken,) = python(BROKEN + TRY)
    error, path, shape = python(MISSING + TRY + TRY_TORCH)
    for each in (broken, error):
        assert each.startswith("llvmlite, which compiles kernels, cannot be loaded (")
        assert each.endswith("; install it again")
    assert path == f"operations: {error}"
    assert shape == "torch.Size([4, 2, 5])"


def test_code_of_another_machine_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    monkeypatch.setenv("ANYRNN_CACHE", str(tmp_path))
    text = "".join(
        f"define void @{name}(ptr %out) {{ ret void }}\n" for name in ("enter", "enter_alone")
    )
    with monkeypatch.context() as there:
        there.setattr(engine, "_link", lambda compiled: engine.Code(0, 0))
        try:
            engine.compile_text(text, ARM, "theirs")
        except RuntimeError as error:
            pytest.skip(f"this build of LLVM does not compile for 64-bit Arm: {error}")
    (theirs,) = tmp_path.iterdir()
    engine.compile_text(text, host(), "ours")
    assert {entry.label for entry in store.entries()} == {"ours", "theirs"}
    (ours,) = set(tmp_path.iterdir()) - {theirs}
    whole = ours.read_bytes()
    theirs.rename(ours)
    engine.compile_text(text, host(), "ours")
    assert ours.read_bytes() == whole


def test_runs_where_nothing_can_be_kept(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    code = """
import warnings, numpy as np, anyrnn
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for cell in ("lstm", "gru"):
        made = anyrnn.compile(cell, {"input": 3, "hidden": 5})
        shapes = {stored.name: stored.shape_for(made.sizes) for stored in made.cell.parameters}
        weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
        x = np.ones((4, 2, 3), np.float32)
        print(made.forward(x, parameters=weights, save=True).backward().x.shape)
print(*(warning.category.__name__ for warning in told))
"""
    assert python(code, ANYRNN_CACHE=str(place / "cache")) == ["(4, 2, 3)"] * 2 + ["CacheWarning"]
