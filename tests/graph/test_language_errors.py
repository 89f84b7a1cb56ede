"""A mistake in a cell is told in the words of its writer: cell, line, mistake, the way out."""

from __future__ import annotations

import functools
import importlib
import math
import pickle
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn import concatenate, minimum, sigmoid, tanh
from anyrnn.errors import AnyrnnError, CellError, SizeError, UnusedParameterWarning
from anyrnn.torch import Recurrent
from checks import one_line
from random_cells import make

HEAD = "@cell\ndef mine(x, h, *, W, U, b):\n    "

AT_A_LINE = {  # body: kind, line, parts of the message
    "matrix_columns": (
        "a = W @ x + h\n    return a + W @ concatenate(x, h)",
        SizeError,
        "line 4 `return a + W @ concatenate(x, h)`",
        ["input columns", "vector of size input + size of h"],
    ),
    "sum_of_two_sizes": (
        "return concatenate(h, x) + h",
        SizeError,
        "line 3 `return concatenate(h, x) + h`",
        ["input + size of h and size of h", "W.name @ value"],
    ),
    "state_of_another_size": (
        "return tanh(concatenate(W @ x + h, h))",
        SizeError,
        "line 3",
        ["state h has size size of h", "2 size of h", "bring it back", "W.name @ value"],
    ),
    "branch": (
        "if x > 0:\n        h = x\n    return h",
        CellError,
        "line 3 `if x > 0:`",
        ["where("],
    ),
    "and": ("return where(x > 0 and h > 0, x, h)", CellError, "line 3", ["branch", "where("]),
    "not": ("return h if not x else x", CellError, "line 3", ["branch", "where("]),
    "chained": ("return where(0 < x < 1, h, x)", CellError, "line 3", ["branch", "where("]),
    "equality": ("return where(x == h, h, x)", CellError, "line 3", ["==", "where("]),
    "loop": ("for v in x:\n        h = h + v\n    return h", CellError, "line 3", ["v[:10]"]),
    "unpacking": ("a, c = W @ x\n    return h", CellError, "line 3 `a, c = W @ x`", ["unpacked"]),
    "element": ("h[:2] = 0\n    return h", CellError, "line 3 `h[:2] = 0`", ["concatenate(a, b)"]),
    "attribute that is set": (
        "W.i = 3\n    return W.i * x + h",
        CellError,
        "line 3 `W.i = 3`",
        ["such as W.i is trained"],
    ),
    "misspelt": ("return sigmod(W @ x + h)", CellError, "line 3", ["'sigmod'", "sigmoid?"]),
    "unknown_function": ("return erf(W @ x + h)", CellError, "line 3", ["'erf'", "softplus"]),
    "circular": (
        "f = sigmoid(W.f @ x + i)\n    i = sigmoid(W.i @ x)\n    return f * i * h",
        CellError,
        "line 3 `f = sigmoid(W.f @ x + i)`",
        ["'i'", "in order"],
    ),
    "numpy": ("return np.tanh(W @ x + h)", CellError, "line 3", ["NumPy", "softplus"]),
    "numpy_array": ("return np.asarray(h) + h", CellError, "line 3", ["NumPy", "softplus"]),
    "math": ("return math.tanh(h)", CellError, "line 3 `return math.tanh(h)`", ["math"]),
    "torch": ("return torch.tanh(h)", CellError, "line 3", ["tanh() of torch", "softplus"]),
    "misspelt_in_module": ("return anyrnn.sigmod(h)", CellError, "line 3", ["sigmoid?"]),
    "attribute": ("return h.relu()", CellError, "line 3", ["'.relu'", "softplus"]),
    "shape": ("return h * x.shape[0]", CellError, "line 3", ["'.shape'"]),
    "length": ("return h / len(h)", CellError, "line 3 `return h / len(h)`", ["len()"]),
    "modulo": ("return h % 2", CellError, "line 3", ["%", "+ - * / ** @"]),
    "power_of_two": ("return 2 ** h", CellError, "line 3", ["**"]),
    "two_arguments": ("return sigmoid(h, x)", CellError, "line 3", ["sigmoid() takes 1"]),
    "text": ("return h + 'x'", CellError, "line 3", ["str 'x'", "W.i"]),
    "truth": ("return h + True", CellError, "line 3", ["bool True", "a if k > 1 else b"]),
    "larger": ("return max(h, x)", CellError, "line 3 `return max(h, x)`", ["maximum or minimum"]),
    "summed": ("return [*map(len, [0, *h])]", CellError, "line 3", ["v[:10]", "sum and mean"]),
    "called": ("return tanh(W(x) + h)", CellError, "line 3", ["was called", "W.i @ x"]),
    "hidden_function": ("return U(h)", CellError, "line 3", ["hides a function of its name"]),
    "array": ("return h + np.ones(3)", CellError, "line 3", ["ndarray"]),
    "nothing": ("return h + None", CellError, "line 3", ["NoneType None"]),
    "two_kinds": (
        "a = W.i @ x\n    return a + W.i * h",
        CellError,
        "line 4",
        ["W.i is a vector here", "a matrix in line 3 `a = W.i @ x`"],
    ),
    "family_bare_then_member": (
        "a = W @ x\n    return a + W.i * h",
        CellError,
        "line 4",
        ["'W'", "by itself", "W.<name>"],
    ),
    "family_member_then_bare": (
        "a = W.i @ x\n    return a + W * h",
        CellError,
        "line 4",
        ["'W'", "by itself", "W.<name>"],
    ),
    "undetermined": (
        "return h * mean(W @ x)",
        SizeError,
        "line 3 `return h * mean(W @ x)`",
        ["the size of W", "@cell(sizes={'W': 'hidden'})"],
    ),
    "empty_slice": ("return h + sum(x[2:2])", SizeError, "line 3", ["slice 2:2 is empty"]),
    "backward_slice": ("return h + sum(x[5:2])", SizeError, "line 3", ["slice 5:2 is empty"]),
    "step": ("return h + sum(x[::2])", CellError, "line 3", ["consecutive", "v[:10]"]),
    "index": ("return h + sum(x[0])", CellError, "line 3", ["consecutive", "v[:10]"]),
    "item": ("return h + W['i'] @ x", CellError, "line 3", ["consecutive"]),
    "fraction_in_slice": ("return h + sum(x[:1.5])", CellError, "line 3", ["1.5"]),
    "power": ("return h ** 9", CellError, "line 3", ["power of 9", "1 to 8 and 0.5"]),
    "power_of_state": ("return x ** h", CellError, "line 3", ["exponent", "exp("]),
    "vector_times_matrix": ("return x @ W + h", SizeError, "line 3", ["matrix on the left"]),
    "matrix_times_matrix": ("return W @ U.T @ h + h", SizeError, "line 3", ["matrix on the left"]),
    "number_product": ("return W @ mean(x) + h", SizeError, "line 3", ["vector on the right"]),
    "transposed_vector": ("return x.T @ h + h", SizeError, "line 3", ["only a matrix"]),
    "sum_of_number": ("return h * sum(mean(x))", SizeError, "line 3", ["sum() takes vectors"]),
    "no_condition": ("return where(h, x, h)", SizeError, "line 3", ["comparison first", "x > 0"]),
    "sliced_matrix": ("return (U.T)[:2] @ h + h", SizeError, "line 3", ["only vectors"]),
}

OF_THE_CELL = {  # source: kind, parts of the message
    "number_returned": (HEAD + "return 0.5", CellError, ["0.5", "new h", "no value"]),
    "generator": (HEAD + "yield tanh(h)", CellError, ["a generator", "with yield or async"]),
    "coroutine": (
        "@cell\nasync def mine(x, h):\n    return h",
        CellError,
        ["a coroutine", "with yield or async"],
    ),
    "state_in_a_dictionary": (
        HEAD + "return {'h': tanh(h)}",
        CellError,
        ["returns {'h': <tanh of a cell>} as the new h"],
    ),
    "parameters_before_the_star": (
        "@cell\ndef mine(x, h, W, U):\n    return tanh(W @ x + U @ h)",
        SizeError,
        ["W is a state: parameters stand after * in the signature"],
    ),
    "nothing_returned": (HEAD + "h = tanh(h)", CellError, ["None", "new h"]),
    "too_many": (HEAD + "return h, x, h, x", CellError, ["4 values", "1 new state (h)", "output"]),
    "too_few": (
        "@cell\ndef mine(x, h, c):\n    return h + c",
        CellError,
        ["1 values", "2 new states (h, c)", "an output and"],
    ),
    "of_parameters_only": (HEAD + "return tanh(b)", CellError, ["new h depends neither"]),
    "constant_state": (
        HEAD + "return W @ x + h, b * 1",
        CellError,
        ["new h depends neither on the input nor on a state"],
    ),
    "number_as_output": (HEAD + "return mean(x), h", SizeError, ["output is one number"]),
    "no_states": ("@cell\ndef mine(x, *, W):\n    return W @ x", CellError, ["at least one state"]),
    "no_input": ("@cell\ndef mine(*, W):\n    return W", CellError, ["an input", "def mine(x, h"]),
    "arguments": (
        "@cell\ndef mine(x, *h):\n    return h",
        CellError,
        ["*h", "write the arguments"],
    ),
    "keywords": ("@cell\ndef mine(x, h, **k):\n    return h", CellError, ["*k"]),
    "default": ("@cell\ndef mine(x, h=0):\n    return h", CellError, ["h=0", "no defaults", "*"]),
    "word_as_default": (
        "@cell\ndef mine(x, h, *, mode='a'):\n    return h",
        CellError,
        ["mode='a'", "number"],
    ),
    "truth_as_default": (
        "@cell\ndef mine(x, h, *, mode=True):\n    return h",
        CellError,
        ["mode=True", "number"],
    ),
    "state_called_output": (
        "@cell\ndef mine(x, output):\n    return output",
        CellError,
        ["cannot be called 'output'"],
    ),
    "independent_states": (
        "@cell\ndef mine(x, h, c, *, W, U):\n    return tanh(W.a @ x) * h, tanh(W.b @ x) * c",
        SizeError,
        ["states h, c are independent", "@cell(sizes={'c': 'a name'})"],
    ),
    "sizes_of_nothing": (
        "@cell(sizes={'V.y': 'output'})\ndef mine(x, h, *, V):\n    return V.z @ h, h",
        CellError,
        ["'V.y'", "neither a state nor a parameter", "did you mean V.z?"],
    ),
    "sizes_of_a_number": (
        "@cell(sizes={'V': 10})\ndef mine(x, h, *, V):\n    return V @ h, h",
        CellError,
        ["{'V': 10}", "a name, or 1"],
    ),
    "scaled_matrix": (
        "@cell(sizes={'a': 1})\ndef mine(x, h, *, U, a):\n    return tanh((a * (U - U.T)) @ h + x)",
        SizeError,
        ["line 3", "a trained number cannot scale a matrix", "a.name * (U @ h)"],
    ),
}


def refused(source: str, kind: type[AnyrnnError]) -> str:
    with pytest.raises(kind) as caught:
        make(source, "mine", math=math, np=np, torch=torch, anyrnn=anyrnn)
    return one_line(caught.value)


@pytest.mark.parametrize("name", AT_A_LINE)
def test_mistakes_at_a_line(name: str) -> None:
    body, kind, line, parts = AT_A_LINE[name]
    message = refused(HEAD + body + "\n", kind)
    assert message.startswith("cell 'mine', line "), message
    for part in (line, *parts):
        assert part in message


@pytest.mark.parametrize("name", OF_THE_CELL)
def test_mistakes_of_the_cell(name: str) -> None:
    source, kind, parts = OF_THE_CELL[name]
    message = refused(source + "\n", kind)
    assert message.startswith("cell 'mine'"), message
    for part in parts:
        assert part in message


def test_mistake_in_a_helper_is_told_at_the_line_of_the_cell() -> None:
    def gate(value: object) -> object:
        return 1 if value > 0 else value  # type: ignore[operator]

    with pytest.raises(CellError, match=r"cell 'mine', line \d+ `return gate\(x\) \* h`"):

        @anyrnn.cell
        def mine(x, h):
            return gate(x) * h


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):

        @anyrnn.cell
        def mine(x, h):
            return h / (1 // 0)

    with pytest.raises(AttributeError, match="nosuch"):

        @anyrnn.cell
        def other(x, h):
            return np.nosuch(h)


def test_a_cell_that_is_called() -> None:
    inner = anyrnn.get("gru")
    with pytest.raises(CellError, match="'gru' was called; a layer runs it"):
        inner(1, 2)
    with pytest.raises(CellError, match=r"cell 'mine', line \d+ .*the cell 'gru' was called"):

        @anyrnn.cell
        def mine(x: Any, h: Any, *, W: Any) -> Any:
            return inner(x, h, W=W)


def test_functions_outside_a_cell() -> None:
    with pytest.raises(CellError, match="inside its function"):
        anyrnn.tanh(0.5)


def test_a_name_in_the_place_of_a_cell() -> None:
    for run in (anyrnn.interpret, anyrnn.gradients):
        with pytest.raises(CellError, match=r"'gru' is no cell; .* anyrnn\.get\('lstm'\)"):
            run("gru", np.ones((1, 1, 1)), parameters={})  # type: ignore[arg-type]


def test_no_function() -> None:
    with pytest.raises(CellError, match="@cell takes a function"):
        anyrnn.cell(3)  # type: ignore[call-overload]
    for made in (int, functools.partial(test_no_function, 1), [].append):
        with pytest.raises(CellError, match=r"@cell takes a function, not .*; write one with def"):
            anyrnn.cell(made)  # type: ignore[arg-type]


def test_tracing_leaves_no_trace() -> None:
    def watch(*arguments: object) -> None: ...

    before = sys.gettrace()
    for body in ("return tanh(h + x)", "return h if x else x"):
        sys.settrace(watch)
        try:
            make(HEAD + body + "\n", "mine")
        except AnyrnnError:
            pass
        finally:
            after = sys.gettrace()
            sys.settrace(before)
        assert after is watch
    with pytest.raises(CellError, match="inside its function"):
        anyrnn.tanh(0.5)


def test_unused_parameters_are_named() -> None:
    with pytest.warns(UnusedParameterWarning, match=r"cell 'mine': W\.z, b never influence"):

        @anyrnn.cell
        def mine(x, h, *, W, b):
            z = W.z @ x + b
            n = tanh = anyrnn.tanh(W.n @ x)
            del z, tanh
            return n + h

    assert mine.unused == ("W.z", "b")
    assert [parameter.members for parameter in mine.parameters] == [("W.n",)]


def test_unused_parameters_that_are_known() -> None:
    @anyrnn.cell(unused=("W.z",))
    def mine(x, h, *, W):
        W.z @ x
        return W.n @ x + h

    assert mine.unused == ("W.z",)


def test_a_family_that_is_never_used_is_no_parameter() -> None:
    @anyrnn.cell
    def mine(x, h, *, W, U):
        return W @ x + h

    assert [parameter.name for parameter in mine.parameters] == ["W"]


@anyrnn.cell
def top_level(x, h, *, W, rate=0.1, times=2):
    for _ in range(times):
        h = h + rate * anyrnn.tanh(W @ x)
    return h


def test_cells_can_be_pickled() -> None:
    for name, cell in anyrnn.CATALOGUE.items():
        assert pickle.loads(pickle.dumps(cell)) is cell, name
    chosen = top_level.with_hyperparameters(rate=0.7).with_hyperparameters(times=1)
    from anyrnn.transforms.bias import without_bias

    for cell in (chosen, without_bias(anyrnn.get("gru")), without_bias(chosen)):
        again = pickle.loads(pickle.dumps(cell))
        assert again.graph.outputs == cell.graph.outputs  # hash-consing: the same nodes
        assert again.hyperparameters == cell.hyperparameters
        assert again.parameters == cell.parameters


def test_cells_inside_functions_cannot_be_pickled() -> None:
    @anyrnn.cell
    def mine(x, h):
        return x + h

    with pytest.raises(CellError, match=r"cell 'mine' cannot be saved.*top level of a module"):
        pickle.dumps(mine)


def test_cells_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = pickle.dumps(top_level)
    monkeypatch.delattr(importlib.import_module(__name__), "top_level")
    with pytest.raises(CellError, match="'top_level' is not at the top level"):
        pickle.loads(saved)


def test_hyperparameters() -> None:
    assert top_level.hyperparameters == {"rate": 0.1, "times": 2}
    chosen = top_level.with_hyperparameters(times=3)
    assert chosen.hyperparameters == {"rate": 0.1, "times": 3}
    assert top_level.hyperparameters["times"] == 2
    assert top_level.with_hyperparameters() is top_level
    with pytest.raises(CellError, match="no hyperparameter 'rat'; it has: rate, times"):
        top_level.with_hyperparameters(rat=1)
    for bad in ("3", True, None):
        with pytest.raises(CellError, match="is a number"):
            top_level.with_hyperparameters(rate=bad)  # type: ignore[arg-type]


def test_hyperparameters_are_numbers_where_python_needs_them() -> None:
    @anyrnn.cell(sizes={"W": "hidden"})
    def mine(x, h, *, W, low=1, high=2, flag=0):
        assert low < high
        assert low <= high
        assert not low > high
        assert not low >= high
        assert low != high
        assert 0 < low < 2
        assert high == 2
        assert not flag or flag > 0
        assert float(low) + int(high) in (3, 3.5)
        h = anyrnn.where(h > low, h, x) if low < high else x
        return (h[low:] if flag else h) ** high + W[low:high] * anyrnn.sum(x[:high])

    with pytest.raises(CellError, match=r"whole number is needed here, not 1\.5"):
        mine.with_hyperparameters(low=1.5, flag=1)


def test_numbers_of_numpy() -> None:
    @anyrnn.cell
    def mine(x, h):
        return np.float32(0.5) * x + h * np.float64(0.25) - np.int64(3)

    result = anyrnn.interpret(mine, np.ones((1, 1, 2)), [np.ones((1, 2))], parameters={})
    np.testing.assert_array_equal(result.output, np.full((1, 1, 2), -2.25))


# names and numbers that Python allows


def test_any_name_that_python_allows() -> None:
    @anyrnn.cell
    def équations(输入, 状态, d_h, *, Ω, U, _β, saved=0.5):
        门 = sigmoid(Ω._门 @ 输入 + U.门 @ 状态 + _β.__i)
        return saved * 门, 门 * tanh(Ω.ñ @ 输入 + U.ñ @ d_h)

    x = np.ones((4, 2, 3), np.float32)
    compiled = anyrnn.compile(équations, {"input": 3, "hidden": 5})
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in équations.stored_shapes(compiled.sizes).items()
    }
    found = compiled.forward(x, parameters=parameters, save=True)
    wanted = anyrnn.interpret(équations, x, parameters=parameters)
    assert np.allclose(found.output, wanted.output, atol=1e-5)
    gradients = found.backward(np.ones_like(found.output))
    theirs = anyrnn.gradients(équations, x, parameters=parameters)
    assert sorted(gradients.parameters) == sorted(theirs.parameters) == sorted(parameters)


NUMBERS = [10**400, 10**5000, Fraction(10**400, 3), 2j, Decimal("0.5"), True, np.True_, "a", None]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_constants_that_are_no_numbers(number: Any) -> None:
    def equations(x, h, *, W, U, k=0.5):
        return tanh(W @ x + U @ h) + k * h

    def constant(x, h, *, W, U):
        return tanh(W @ x + U @ h) + number * h

    def default(x, h, *, W, U, k=number):
        return tanh(W @ x + U @ h) + k * h

    for attempt in (
        lambda: anyrnn.cell(equations).with_hyperparameters(k=number),
        lambda: anyrnn.cell(constant),
        lambda: anyrnn.cell(default),
    ):
        with pytest.raises(CellError) as caught:
            attempt()
        assert len(one_line(caught.value)) < 400


@pytest.mark.parametrize(
    "number", [1e300, -1e300, 1e-300, float("nan"), Fraction(1, 3), np.float32(0.1), np.int64(3)]
)
def test_numbers_are_the_same_in_every_form(number: Any) -> None:
    @anyrnn.cell
    def equations(x, h, *, W, k=number):
        return minimum(k, tanh(W @ x) + h) * number

    x, parameters = np.ones((3, 2, 3), np.float32), {"W": np.ones((5, 3), np.float32)}
    compiled = anyrnn.compile(equations, {"input": 3, "hidden": 5})
    with np.errstate(all="ignore"):
        wanted = anyrnn.interpret(equations, x, parameters=parameters).output
    assert np.allclose(compiled.forward(x, parameters=parameters).output, wanted, equal_nan=True)


def test_whole_hyperparameters_bound_slices() -> None:
    @anyrnn.cell
    def halves(x, h, *, W, U, k=2):
        return tanh(W @ x[k : 2 * k] + U @ h) * concatenate(h[: k // 2], h[-k + k // 2 :])

    assert "x[2:4]" in anyrnn.graph.show.equations(halves.graph)
    found = halves.with_hyperparameters(k=4)
    assert "x[4:8]" in anyrnn.graph.show.equations(found.graph)
    with pytest.raises(CellError, match=r"whole number is needed here, not 1\.5"):
        halves.with_hyperparameters(k=1.5)


@pytest.mark.parametrize("name", ["dropout", "zoneout", "merge", "input_size", "hidden_size"])
def test_a_hyperparameter_that_is_called_as_an_option(name: str) -> None:
    lines = f"def named(x, h, *, W, {name}=0.5):\n    return tanh(W @ x + {name} * h)\n"
    scope: dict[str, Any] = {"tanh": tanh}
    exec(lines, scope)
    cell = anyrnn.cell(scope["named"])
    with pytest.raises(CellError) as caught:
        Recurrent(cell, 3, 4)
    message = f"the cell 'named' has a hyperparameter '{name}', and the layer an option '{name}'"
    assert message in one_line(caught.value)


def test_parameters_may_be_called_as_nearly_anything() -> None:
    @anyrnn.cell
    def named(x, h, *, W, U):
        gate = sigmoid(W._name @ x + U._traced @ h + W._tracer @ x)
        return gate * tanh(W._fail @ x + U._value @ h) + W.apply @ x

    layer = Recurrent(named, 3, 4)
    members = [name for stored in named.parameters for name in stored.members]
    assert sorted(members) == [
        *("U._traced", "U._value", "W._fail", "W._name", "W._tracer", "W.apply")
    ]
    x = torch.ones(5, 2, 3)
    parameters = {
        stored.name: getattr(layer, f"{stored.name}_l0").detach().numpy()
        for stored in named.parameters
    }
    wanted = anyrnn.interpret(named, x.numpy(), parameters=parameters).output
    assert np.allclose(layer(x)[0].detach().numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("member", "bare"), [("W.f @ x + W.h @ h", "W_f @ x"), ("W.h @ h + W.a_b @ x", "W_a.b @ x")]
)
def test_two_parameters_that_would_be_stored_under_one_name(member: str, bare: str) -> None:
    family = bare.partition(" ")[0].partition(".")[0]
    more = f" + {family}.c @ h" if "." in bare else ""
    text = f"@cell\ndef mine(x, h, *, W, {family}):\n    return tanh({member} + {bare}{more})\n"
    with pytest.raises(CellError, match="both stored as"):
        make(text)


def test_a_function_that_calls_itself_without_end() -> None:
    text = "def again(a):\n    return again(a)\n" + HEAD + "return again(W @ x + U @ h + b)\n"
    with pytest.raises(CellError, match=r"line 5 `return again.*without end"):
        make(text)


def test_a_value_of_another_cell() -> None:
    kept: list[Any] = []

    @anyrnn.cell
    def first(x, h, *, W):
        kept.append(h)
        return tanh(W @ x + h)

    def second(x, h, *, W):
        return tanh(W @ x + h) + kept[0]

    def third(x, h, *, W):
        return tanh(kept[0] + W @ x + h)

    def fourth(x, h, *, W):
        return kept[0] + 1.0

    for function in (second, third, fourth):
        with pytest.raises(CellError, match=f"cell '{function.__name__}'.*another cell"):
            anyrnn.cell(function)


@pytest.mark.parametrize("sizes", ["h", {1: "size"}, {"h": ""}, {"h": "a b"}, ["h"]])
def test_sizes_that_are_no_names(sizes: Any) -> None:
    with pytest.raises(CellError, match="sizes="):
        anyrnn.cell(sizes=sizes)(lambda x, h, *, W: tanh(W @ x + h))


def test_a_size_that_is_called_as_an_option() -> None:
    @anyrnn.cell(sizes={"V": "proj"})
    def named(x, h, *, W, V):
        h = tanh(W @ x + h)
        return V @ h, h

    with pytest.raises(CellError, match="a size 'proj', and the layer an option 'proj_size'"):
        Recurrent(named, 3, 4)


@pytest.mark.parametrize(
    "call",
    [
        *("clip_gradient(h, 0)", "clip_gradient(h, -1)", "clip_gradient(h, -k)"),
        *("layer_norm(h, -1)", "layer_norm(h, epsilon=-k)"),
    ],
)
def test_bounds_that_make_no_sense(call: str) -> None:
    text = f"@cell\ndef mine(x, h, *, W, k=2):\n    return tanh(W @ x + {call})\n"
    with pytest.raises(CellError, match=r"line 3 .*, not -?\d"):
        make(text)


def test_parameters_that_are_said_to_be_unused() -> None:
    def wasteful(x, h, *, W, b):
        tanh(b)
        return tanh(W.n @ x + h)

    assert anyrnn.cell(unused="b")(wasteful).unused == ("b",)
    for unused in ("c", ("Q.b",), (1,)):
        with pytest.raises(CellError, match="unused names"):
            anyrnn.cell(unused=unused)(wasteful)  # type: ignore[arg-type]


def test_hyperparameters_are_numbers_to_python() -> None:
    @anyrnn.cell
    def counted(x, h, *, W, k=2, p=0.5):
        function = {2: tanh, 3: sigmoid}[k]
        scale = 2**k + 7 // k + 7 % k + k**-1 + round(p) + k**2 + (1 + p) ** 0.5
        return scale * function(W @ x + h) ** k + h**2.0 + h ** np.int64(2)

    x, parameters = np.ones((1, 1, 3)), {"W": np.full((2, 3), 0.1)}
    for k, function in (2, np.tanh), (3, lambda a: 1 / (1 + np.exp(-a))):
        scale = 2**k + 7 // k + 7 % k + k**-1 + round(0.5) + k**2 + 1.5**0.5
        found = anyrnn.interpret(counted.with_hyperparameters(k=k), x, parameters=parameters)
        assert np.allclose(found.output, scale * function(0.3) ** k)


def test_symbols_are_printed_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    @anyrnn.cell
    def mine(x: Any, h: Any, *, W: Any, U: Any) -> Any:
        print(x, h, W, U.h, tanh(x))
        return tanh(W @ x + U.h @ h)

    names = ["x", "h", "W", "U.h", "tanh"]
    assert capsys.readouterr().out.split("\n")[0] == " ".join(f"<{n} of a cell>" for n in names)
