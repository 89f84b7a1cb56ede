"""Sizes are inferred from the equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anyrnn
from anyrnn import CATALOGUE
from anyrnn.errors import AnyrnnError, CellError, InputError, SizeError, UnknownCellError
from anyrnn.graph.sizes import Size, SizeVariable, Unifier
from checks import one_line
from invented_cells import INVENTED

SHAPES = {
    "rnn": "W: hidden x input, U: hidden x hidden, b: hidden",
    "rnn_output": "W: hidden x input, U: hidden x hidden, b: hidden, V: output x hidden, d: output",
    "lstm": "W: 4 hidden x input, U: 4 hidden x hidden, b: 4 hidden",
    "lstm_1997": "W: 3 hidden x input, U: 3 hidden x hidden, b: 3 hidden",
    "lstm_peephole": "W: 4 hidden x input, U: 4 hidden x hidden, p: 3 hidden, b: 4 hidden",
    "lstm_coupled": "W: 3 hidden x input, U: 3 hidden x hidden, b: 3 hidden",
    "lstm_projection": "W: 4 hidden x input, U: 4 hidden x projection, b: 4 hidden, "
    "P: projection x hidden",
    "gru": "W: 3 hidden x input, U: 3 hidden x hidden, b: 3 hidden, d: hidden",
    "gru_reset_before": "W: 3 hidden x input, U: 3 hidden x hidden, b: 3 hidden",
    "article1_gru": "W_hr: 2 hidden x hidden, W_xr: 2 hidden x input, b: 2 hidden",
    "article3_lstm": "W: 4 hidden x hidden + input, b: 4 hidden",
    "article4_rnn": "W_hh: hidden + output x hidden, W_xh: hidden x input, b: hidden + output",
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_catalogue(name: str) -> None:
    found = {
        stored.name: " x ".join(map(str, stored.shape)) for stored in CATALOGUE[name].parameters
    }
    assert found == dict(part.split(": ") for part in SHAPES[name].split(", "))


def test_members_of_the_catalogue() -> None:
    members = {
        name: [stored.members for stored in CATALOGUE[name].parameters]
        for name in ("lstm", "gru", "article1_gru")
    }
    assert members == {
        "lstm": [tuple(f"{family}.{gate}" for gate in "ifgo") for family in "WUb"],
        "gru": [
            ("W.r", "W.z", "W.n"),
            ("U.r", "U.z", "U.n"),
            ("b.r", "b.z", "b.n"),
            ("d.n",),
        ],
        "article1_gru": [("W.hr", "W.hh"), ("W.xr", "W.xh"), ("b.r", "b.h")],
    }
    assert CATALOGUE["article1_gru"].unused == ("W.hz", "W.xz", "b.z")


def test_free_sizes() -> None:
    cells = {**CATALOGUE, **INVENTED}
    free = {name: cells[name].free_sizes for name in cells}
    assert free["lstm"] == ["input", "hidden"]
    assert sorted(free["lstm_projection"]) == ["hidden", "input", "projection"]
    assert sorted(free["rnn_output"]) == ["hidden", "input", "output"]
    assert sorted(free["three_states"]) == ["cell", "hidden", "input", "memory"]
    assert free["same_sizes"] == ["input"]
    assert str(INVENTED["same_sizes"].sizes["hidden"]) == "input"


def test_equal_sizes_must_be_equal() -> None:
    with pytest.raises(SizeError) as caught:
        INVENTED["same_sizes"].bind_sizes(input=3, hidden=5)
    message = one_line(caught.value)
    assert "cell 'same_sizes' needs hidden = input (line " in message
    assert "`return tanh(x + U @ h)`" in message
    assert "input_size=3, hidden_size=5 was given" in message


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"input": 3}, "cell 'lstm' needs hidden_size"),
        ({"hidden": 3}, "cell 'lstm' needs input_size"),
        ({"input": 3, "hidden": 0}, "hidden_size=0: a size is at least 1"),
        ({"input": -3, "hidden": 5}, "input_size=-3: a size is at least 1"),
        ({"input": 3.0, "hidden": 5}, r"input_size=3\.0: a size is a whole number"),
        ({"input": True, "hidden": 5}, "input_size=True: a size is a whole number"),
        ({"input": "3", "hidden": 5}, "input_size='3': a size is a whole number"),
        ({"input": 3, "hidden": 5, "output": 2}, "no output_size; its sizes are: input_size"),
    ],
)
def test_bad_sizes(numbers: dict, message: str) -> None:
    with pytest.raises(SizeError, match=message):
        anyrnn.get("lstm").bind_sizes(**numbers)


def test_a_size_that_follows_must_be_positive() -> None:
    @anyrnn.cell
    def shorter(x, h, *, W):
        return anyrnn.tanh(x[2:] + W.a @ h)

    assert shorter.bind_sizes(input=5) == {"input": 5, "hidden": 3}
    assert str(shorter.sizes["hidden"]) == "input - 2"
    with pytest.raises(SizeError, match="needs hidden = input - 2"):
        shorter.bind_sizes(input=2)


def test_slices_beyond_the_end() -> None:
    @anyrnn.cell
    def mine(x, h, *, W):
        return anyrnn.tanh(W @ x) * anyrnn.sum(h[:3]) + h

    with pytest.raises(SizeError, match="cell 'mine' takes 0:3 of a vector of size 2"):
        mine.bind_sizes(input=1, hidden=2)
    with pytest.raises(AnyrnnError, match="takes 0:3 of a vector of size 2"):
        anyrnn.interpret(mine, np.ones((1, 1, 1)), parameters={"W": np.ones((2, 1))})
    assert mine.bind_sizes(input=1, hidden=3) == {"input": 1, "hidden": 3}


def test_halves_of_a_product() -> None:
    @anyrnn.cell(sizes={"W": "both"})
    def mine(x, h, *, W):
        both = W @ x
        return anyrnn.tanh(both[:2]) * anyrnn.sigmoid(both[2:]) + h

    assert {name: str(size) for name, size in mine.sizes.items()} == {
        "input": "input",
        "both": "4",
        "hidden": "2",
    }


@pytest.mark.parametrize(
    ("x", "states", "parameters", "message"),
    [
        (np.ones((4, 3)), None, {}, "expected floats \\(time, batch, input\\)"),
        (np.ones((4, 2, 3), int), None, {}, "the input is int64"),
        (None, None, {"W": np.ones((5, 4))}, "shape of W is 5 x 4; expected 5 x 3"),
        (None, None, {"U": np.ones((5, 4))}, "shape of U is 5 x 4; expected 5 x 5"),
        (None, None, {"b": np.ones((5, 1))}, "shape of b is 5 x 1; expected 5"),
        (None, None, {"W": None}, "needs the parameter 'W'; given: U, b"),
        (None, [np.ones((2, 4))], {}, "size of the state h is 4; expected 5"),
        (None, [np.ones((3, 5))], {}, "state h is \\(3, 5\\); expected \\(batch, size\\), batch 2"),
        (None, [np.ones(5)], {}, "expected \\(batch, size\\), batch 2"),
        (None, [np.ones((2, 5))] * 2, {}, "has the states h; 2 were given"),
    ],
)
def test_arrays_that_do_not_fit(x: object, states: object, parameters: dict, message: str) -> None:
    given = {"W": np.ones((5, 3)), "U": np.ones((5, 5)), "b": np.ones(5)} | parameters
    given = {name: array for name, array in given.items() if array is not None}
    x = np.ones((4, 2, 3)) if x is None else x
    with pytest.raises(InputError, match=message) as caught:
        anyrnn.interpret(anyrnn.get("rnn"), x, states, parameters=given)  # type: ignore[arg-type]
    one_line(caught.value)


def test_gradients_that_do_not_fit() -> None:
    given = {"W": np.ones((5, 3)), "U": np.ones((5, 5)), "b": np.ones(5)}
    options = {"parameters": given, "x": np.ones((4, 2, 3))}
    with pytest.raises(InputError, match="output's gradient is \\(4, 2, 3\\); expected \\(4, 2, 5"):
        anyrnn.gradients(anyrnn.get("rnn"), output_gradient=np.ones((4, 2, 3)), **options)
    for wrong in ([np.ones(5)], [np.ones((1, 5))], [np.ones((2, 5))] * 2):
        with pytest.raises(InputError, match="gradients of the states are"):
            anyrnn.gradients(anyrnn.get("rnn"), state_gradients=wrong, **options)


def test_lists_and_mixed_types_are_computed_in_the_type_of_the_input() -> None:
    given = {"W": np.ones((1, 1)), "U": np.ones((1, 1)), "b": np.ones(1)}
    result = anyrnn.interpret(
        anyrnn.get("rnn"), np.ones((2, 1, 1), np.float32), [[[0.5]]], parameters=given
    )
    assert {array.dtype for array in (result.output, *result.states, *result.history)} == {
        np.dtype(np.float32)
    }


def test_names_of_the_catalogue() -> None:
    assert anyrnn.get("GRU-reset-before") is CATALOGUE["gru_reset_before"]
    assert anyrnn.get(CATALOGUE["gru"]) is CATALOGUE["gru"]
    with pytest.raises(UnknownCellError, match="no cell is called 'lstn'; nearest: lstm") as caught:
        anyrnn.get("lstn")
    assert one_line(caught.value).startswith("no cell")
    assert isinstance(caught.value, KeyError)
    with pytest.raises(UnknownCellError, match="known: rnn, rnn_relu"):
        anyrnn.get("qqqqqq")
    with pytest.raises(CellError, match="is no cell; give a name such as 'lstm'"):
        anyrnn.get(len)  # type: ignore[arg-type]


forms = st.builds(
    lambda hidden, other, number: (
        Size.of("hidden").scaled(hidden) + Size.of("input").scaled(other) + number
    ),
    st.integers(-3, 3),
    st.integers(-3, 3),
    st.integers(-9, 9),
)


@given(forms, forms, st.integers(1, 9), st.integers(1, 9))
def test_arithmetic_of_sizes(left: Size, right: Size, hidden: int, features: int) -> None:
    numbers = {"hidden": hidden, "input": features}
    value, other = left.evaluate(numbers), right.evaluate(numbers)
    assert (left + right).evaluate(numbers) == value + other
    assert (left - right).evaluate(numbers) == value - other
    assert left.scaled(3).divided(3) == left
    assert left - left == Size.of(0)
    assert (left + right) - right == left
    assert not (left.never_positive and value > 0)
    longer = Size.of("cell").scaled(2) + 1
    replaced = left.substitute({"hidden": longer}).evaluate({"cell": hidden, "input": features})
    assert replaced == left.evaluate({"hidden": 2 * hidden + 1, "input": features})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=4), st.data())
def test_solutions_are_solutions(pairs: list, data: st.DataObject) -> None:
    variables = [SizeVariable(name) for name in "abcd"]
    unifier = Unifier()
    accepted = []
    for place, number in pairs:
        other = data.draw(st.integers(0, 3))
        left = Size.of(variables[place]).scaled(data.draw(st.integers(1, 3))) + number
        right = Size.of(variables[other]) + data.draw(st.integers(0, 9))
        before = dict(unifier.bindings)
        if unifier.unify(left, right):
            accepted.append((left, right))
        else:
            assert unifier.bindings == before
        for one, two in accepted:
            assert unifier.resolve(one) == unifier.resolve(two)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (Size.of("hidden"), "hidden"),
        (Size.of("hidden").scaled(2) + "input" - 1, "2 hidden + input - 1"),
        (Size.of(3) - "hidden", "-hidden + 3"),
        (Size.of(0), "0"),
        (Size.of("b") - Size.of("a").scaled(2), "b - 2 a"),
    ],
)
def test_text_of_sizes(size: Size, text: str) -> None:
    assert str(size) == text


def test_a_size_without_a_number() -> None:
    with pytest.raises(SizeError, match="size 'hidden' is not known; give hidden_size"):
        Size.of("hidden").evaluate({"input": 3})


def test_a_family_of_members_of_two_sizes_comes_first() -> None:
    @anyrnn.cell(sizes={"c": "cell"})
    def two(x, h, c, *, p, W):
        return anyrnn.tanh(p.a * h + W.h @ x + p.e) + p.b * h, anyrnn.tanh(p.c * c + W.c @ x) * p.d

    parameters = {"p": np.ones(3 * 3 + 2 * 5), "W": np.ones((3 + 5, 2))}
    states = [np.zeros((1, 3)), np.zeros((1, 5))]
    result = anyrnn.interpret(two, np.ones((4, 1, 2)), states, parameters=parameters)
    assert result.output.shape == (4, 1, 3)
