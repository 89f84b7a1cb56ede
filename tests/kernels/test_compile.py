"""Compiled cells without a framework: what may be given, and what is said about mistakes."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import InputError, KernelError, SizeError, UnknownCellError
from anyrnn.kernels.compiled_cell import Compiled
from checks import Case, close_gradients, close_results, make_case, one_line

SIZES = {"input": 3, "hidden": 5}


def compiled(case: Case, **options: object) -> Compiled:
    return anyrnn.compile(case.cell, case.sizes, dtype=case.x.dtype, **options)


def both(case: Case, **options: object):
    """The results of a compiled cell, and their gradients."""
    made = compiled(case, **options)
    result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
    return result, result.backward(case.output_gradient, case.state_gradients)


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "rnn_output", "article3_lstm"])
def test_it_is_the_interpreter(name: str) -> None:
    case = make_case(anyrnn.get(name), 0)
    result, gradients = both(case)
    close_results(result, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)
    alone = compiled(case).forward(case.x, case.states, parameters=case.parameters)
    close_results(alone, case.interpret(), 1e-12)


def test_a_state_may_have_any_name() -> None:
    @anyrnn.cell
    def foreign(x, 状态, *, W, U):
        return anyrnn.tanh(W @ x + U @ 状态)

    case = make_case(foreign, 0)
    result, gradients = both(case)
    close_results(result, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)


def test_what_is_not_given_is_zero() -> None:
    case = make_case(anyrnn.get("lstm"), 1)
    made = compiled(case)
    result = made.forward(case.x, parameters=case.parameters, save=True)
    wanted = anyrnn.interpret(case.cell, case.x, parameters=case.parameters)
    close_results(result, wanted, 1e-12)
    weights = case.parameters
    for given in ({"output_gradient": case.output_gradient}, {}):
        wanted = anyrnn.gradients(case.cell, case.x, parameters=weights, **given)
        close_gradients(result.backward(**given), wanted, 1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_no_steps_or_no_rows(shape: tuple[int, int]) -> None:
    case = make_case(
        anyrnn.get("lstm_projection"), 2, time=max(1, shape[0]), batch=max(1, shape[1])
    )
    x, states = case.x[: shape[0], : shape[1]], [state[: shape[1]] for state in case.states]
    gradient = case.output_gradient[: shape[0], : shape[1]]
    ends = [end[: shape[1]] for end in case.state_gradients]
    weights = case.parameters
    result = compiled(case).forward(x, states, parameters=weights, save=True)
    close_results(result, anyrnn.interpret(case.cell, x, states, parameters=weights), 0)
    wanted = anyrnn.gradients(
        case.cell,
        x,
        states,
        parameters=weights,
        output_gradient=gradient,
        state_gradients=ends,
    )
    close_gradients(result.backward(gradient, ends), wanted, 0)


def test_any_layout_of_memory() -> None:
    case = make_case(anyrnn.get("gru"), 3)
    result, gradients = both(case)
    unaligned = np.empty(case.x.nbytes + 1, np.uint8)[1:].view(float).reshape(case.x.shape)
    unaligned[...] = case.x
    assert not unaligned.flags.aligned
    for x in (np.asfortranarray(case.x), case.x[:, :, ::-1].copy()[:, :, ::-1], unaligned):
        other = Case(
            case.cell,
            case.sizes,
            x,
            tuple(np.asfortranarray(state) for state in case.states),
            {name: np.asfortranarray(array) for name, array in case.parameters.items()},
            np.asfortranarray(case.output_gradient),
            tuple(np.asfortranarray(end) for end in case.state_gradients),
        )
        again, same = both(other)
        close_results(again, result, 0)
        close_gradients(same, gradients, 0)


def test_arrays_that_cannot_be_written() -> None:
    case = make_case(anyrnn.get("lstm_peephole"), 4)
    arrays = (case.x, *case.states, *case.parameters.values(), case.output_gradient)
    for array in arrays:
        array.flags.writeable = False
    result, gradients = both(case)
    close_results(result, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)


def test_results_are_kept_apart() -> None:
    case = make_case(anyrnn.get("lstm"), 5, time=40, batch=40, sizes={"input": 30, "hidden": 30})
    made = compiled(case)
    results = [
        made.forward(scale * case.x, case.states, parameters=case.parameters, save=True)
        for scale in (1, 2, 3)
    ]
    for scale, result in zip((1, 2, 3), results, strict=True):
        again = made.forward(scale * case.x, case.states, parameters=case.parameters)
        close_results(again, result, 0)
        first, second = (result.backward(case.output_gradient) for _ in range(2))
        close_gradients(first, second, 0)


def test_threads_of_python_get_the_same_bits() -> None:
    case = make_case(anyrnn.get("gru"), 6, time=9, batch=6)
    made = compiled(case, threads=2)

    def run() -> tuple[np.ndarray, np.ndarray]:
        result = made.forward(case.x, case.states, parameters=case.parameters, save=True)
        return result.output, result.backward(case.output_gradient).x

    expected, found = run(), []
    threads = [
        threading.Thread(target=lambda: found.extend(run() for _ in range(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(np.array_equal(*pair) for one in found for pair in zip(one, expected, strict=True))


def test_sizes_are_named_as_a_layer_names_them() -> None:
    short = anyrnn.compile("lstm_projection", {"input": 3, "hidden": 5, "projection": 2})
    long = anyrnn.compile("lstm_projection", {f"{n}_size": s for n, s in short.sizes.items()})
    assert short.sizes == long.sizes
    wanted = f"input=3, projection=2, hidden=5; float32, {short.target.name}"
    assert repr(short) == f"<compiled lstm_projection: {wanted}>"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cell": "lstn"}, UnknownCellError, "no cell is called 'lstn'; nearest: lstm"),
        ({"sizes": {"input": 3}}, SizeError, "cell 'lstm' needs hidden_size"),
        ({"sizes": {"input": 0, "hidden": 5}}, SizeError, "input_size=0: a size is at least 1"),
        (
            {"sizes": {"input": 3, "hidden": 1 << 32}},
            SizeError,
            f"the parameter U of {1 << 34} x {1 << 32} numbers takes {1 << 68} bytes, more than",
        ),
        ({"dtype": np.float16}, InputError, "dtype float16: kernels compute in float32 or float64"),
        ({"dtype": int}, InputError, "dtype int64: kernels compute in"),
        ({"threads": 0}, InputError, "threads=0; expected a whole number of at least 1"),
        ({"threads": 1.5}, InputError, "threads=1.5; expected a whole number"),
        ({"target": "abacus"}, KernelError, "cannot run abacus; usable: "),
    ],
)
def test_mistakes_in_compiling(change: dict, error: type, message: str) -> None:
    with pytest.raises(error) as caught:
        anyrnn.compile(**{"cell": "lstm", "sizes": SIZES, **change})
    assert message in one_line(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": np.zeros((4, 3), np.float32)},
            "the input has shape (4, 3); expected (time, batch, 3)",
        ),
        (
            {"x": np.zeros((4, 2, 7), np.float32)},
            "the input has shape (4, 2, 7); expected (4, 2, 3)",
        ),
        (
            {"x": np.zeros((4, 2, 3), int)},
            "the input is int64, but the cell is compiled for float32",
        ),
        (
            {"x": np.zeros((4, 2, 3))},
            "convert it with .astype(np.float32), or compile with another",
        ),
        ({"x": np.zeros((4, 2, 3), np.float32).astype(">f4")}, "the input is >f4, but the cell"),
        ({"x": [[["a"]]]}, "the input is <U1, but the cell is compiled for float32"),
        (
            {"states": [np.zeros((2, 5), np.float32)]},
            "cell 'lstm' has the states h, c; 1 were given",
        ),
        (
            {"states": [np.zeros((3, 5), np.float32)] * 2},
            "the state h has shape (3, 5); expected (2, 5)",
        ),
        (
            {"states": [np.zeros((2, 5))] * 2},
            "the state h is float64, but the cell is compiled for",
        ),
        ({"parameters": {}}, "cell 'lstm' needs the parameter 'W'; given: none"),
        (
            {"parameters": {n: np.zeros((20, 4), np.float32) for n in "WUb"}},
            "the parameter W has shape (20, 4); expected (20, 3)",
        ),
        (
            {"x": np.broadcast_to(np.float32(0), (1 << 40, 1 << 19, 3))},
            "the output of 1099511627776 x 524288 x 5 numbers takes",
        ),
    ],
)
def test_mistakes_in_running(change: dict, message: str) -> None:
    made = anyrnn.compile("lstm", SIZES)
    shapes = {stored.name: stored.shape_for(made.sizes) for stored in made.cell.parameters}
    given = {
        "x": np.zeros((4, 2, 3), np.float32),
        "parameters": {name: np.zeros(shape, np.float32) for name, shape in shapes.items()},
    }
    with pytest.raises((InputError, SizeError)) as caught:
        made.forward(**{**given, **change})
    assert message in one_line(caught.value)


def test_mistakes_in_going_backward() -> None:
    case = make_case(anyrnn.get("gru"), 7)
    made = compiled(case)
    with pytest.raises(InputError, match=r"run forward\(\.\.\., save=True\) first"):
        made.forward(case.x, parameters=case.parameters).backward(case.output_gradient)
    result = made.forward(case.x, parameters=case.parameters, save=True)
    with pytest.raises(InputError, match=r"the gradient of the output has shape \(1, "):
        result.backward(case.output_gradient[:1])
    with pytest.raises(InputError, match="the gradient of the output is float32"):
        result.backward(case.output_gradient.astype(np.float32))
    with pytest.raises(InputError, match="the states h; 2 were given"):
        result.backward(None, [*case.state_gradients, *case.state_gradients])
    with pytest.raises(InputError, match=r"the gradient of the state h has shape \(1, "):
        result.backward(None, [case.state_gradients[0][:1]])


def test_no_framework_is_needed() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
import anyrnn
made = anyrnn.compile("gru", {"input": 2, "hidden": 3})
shapes = {stored.name: stored.shape_for(made.sizes) for stored in made.cell.parameters}
weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
result = made.forward(np.ones((4, 6, 2), np.float32), parameters=weights, save=True)
print(result.output.shape, result.backward(result.output).parameters["W"].shape)
print(*(name for name in ("keras", "pandas", "rich", "typer") if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "(4, 6, 3) (9, 2)\n\n"
