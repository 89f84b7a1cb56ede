"""All transforms together: pairs, saved, what excludes what; `test_pairs.py` compiles them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anyrnn
from anyrnn import Cell
from anyrnn.derivative.reverse import derivative
from anyrnn.errors import CellError, SizeError
from anyrnn.graph.show import equations
from anyrnn.graph.verify import verify
from anyrnn.kernels import run_keys
from anyrnn.kernels.run import Run
from anyrnn.transforms import transform
from anyrnn.transforms.bias import with_two_biases, without_bias
from checks import Case, close_gradients, close_results, make_case, one_line
from random_cells import RandomCell, random_cells

NAMES = ("lstm", "gru", "gru_reset_before", "lstm_peephole", "rnn", "lstm_projection")
OPTIONS: dict[str, dict[str, object]] = {
    "activations": {"activations": {"tanh": "hard_sigmoid"}},
    "layer": {"norm": "layer"},
    "rms": {"norm": "rms"},
    "heads": {"heads": 2},
    "independent": {"independent": True},
    "projection": {"projection": True},
    "clip_state": {"clip_state": 0.6},
    "clip_gradient": {"clip_gradient": 0.3},
}
SIZES = {"input": 3, "hidden": 19, "hidden_head": 5, "projection": 7}
EXCLUDED = [{"layer", "rms"}, *map(set, combinations(("heads", "independent", "projection"), 2))]
ALONE = [(option,) for option in OPTIONS]
PAIRS = [pair for pair in combinations(OPTIONS, 2) if set(pair) not in EXCLUDED]
ALL = [
    ("activations", "layer", "heads", "clip_state", "clip_gradient"),
    ("activations", "rms", "independent", "clip_state", "clip_gradient"),
    ("activations", "layer", "projection", "clip_state", "clip_gradient"),
]


def changed(name: str, options: tuple[str, ...]) -> Cell:
    return transform(
        anyrnn.get(name), **{key: value for o in options for key, value in OPTIONS[o].items()}
    )


def case_of(cell: Cell, seed: int = 0) -> Case:
    sizes = {name: SIZES[name] for name in cell.free_sizes}
    return make_case(cell, seed, time=3, batch=5, sizes=sizes)


def possible(name: str, options: tuple[str, ...]) -> bool:
    """The matrices of the projected LSTM are not square, and it has a projection already."""
    return name != "lstm_projection" or not {"heads", "independent", "projection"} & set(options)


COMBINATIONS = [  # of the pairs a third each: every one meets a cell or two
    (name, options)
    for place, name in enumerate(NAMES)
    for options in [*ALONE, *PAIRS[place % 3 :: 3], *ALL]
    if possible(name, options)
]


@pytest.mark.parametrize(("name", "options"), COMBINATIONS)
def test_torch_operations_are_the_interpreter(name: str, options: tuple[str, ...]) -> None:
    cell = changed(name, options)
    verify(cell.graph)
    case = case_of(cell)
    results, gradients = case.execute()
    close_results(results, case.interpret(), 1e-12)
    close_gradients(gradients, case.gradients(), 1e-11)
    assert changed(name, options) is cell
    assert pickle.loads(pickle.dumps(cell)) is cell


@pytest.mark.parametrize("change", [without_bias, with_two_biases])
@pytest.mark.parametrize("options", ALL)
def test_biases(change: Callable[[Cell], Cell], options: tuple[str, ...]) -> None:
    """Without biases, or with two, before or after: the same equations, but for the norm's own."""
    given = {key: value for o in options for key, value in OPTIONS[o].items()}
    for name in ("lstm", "gru"):
        after = change(changed(name, options))
        before = transform(change(anyrnn.get(name)), **given)
        extra = {"state_bias"} if change is without_bias and name == "lstm" else set()
        own = [{stored.name for stored in cell.parameters} for cell in (before, after)]
        assert own[0] - own[1] == extra & own[0]
        case = case_of(after)
        results, gradients = case.execute()
        close_results(results, case.interpret(), 1e-12)
        close_gradients(gradients, case.gradients(), 1e-11)


def test_traced_graphs_find_a_transformed_cell_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ALL:
        cell = changed("lstm", options)
        sizes = tuple(case_of(cell).sizes.items())
        key = run_keys.key(Run(cell, sizes))
        monkeypatch.setattr(run_keys, "_runs", {})  # as in another process
        assert run_keys.run_of(key).cell is cell


def test_nothing_asked_for() -> None:
    gru = anyrnn.get("gru")
    assert transform(gru) is gru
    assert transform(gru, activations={}, clip_state={}) is gru
    assert transform(gru, norm=None, heads=1, independent=False, projection=False) is gru


def test_a_norm_goes_over_all_heads() -> None:
    cell = transform(anyrnn.get("rnn"), norm="layer", heads=2)
    means = [node for node in cell.graph.nodes() if node.operation == "mean"]
    assert {str(mean.arguments[0].type) for mean in means} == {"batch x (2 hidden_head)"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 2, "independent": True}, "heads=2 and independent=True exclude each other"),
        ({"heads": 2, "projection": True}, "heads=2 and projection exclude each other"),
        ({"independent": True, "projection": True}, "independent=True and projection exclude"),
        ({"heads": 0}, "heads=0; expected a whole number of at least 1"),
        ({"heads": True}, "heads=True; expected a whole number of at least 1"),
        ({"independent": 1}, "independent=1; expected True or False"),
        ({"projection": 3}, "projection=3; expected True or False"),
        ({"norm": True}, "norm=True; expected 'layer' or 'rms'"),
        ({"clip_state": True}, "clip_state=True; expected a number above zero"),
        ({"clip_gradient": 0}, "clip_gradient=0; expected a number above zero"),
        ({"activations": "relu"}, "activations='relu'; expected names"),
    ],
)
def test_mistakes(options: dict[str, object], message: str) -> None:
    with pytest.raises(CellError) as caught:
        transform(anyrnn.get("lstm"), **options)
    assert message in one_line(caught.value)


@given(
    random_cells(),
    st.lists(st.sampled_from([*OPTIONS, "without_bias"]), min_size=1, max_size=4, unique=True),
    st.integers(0, 99),
)
@settings(max_examples=40)
def test_random_cells_in_any_order(drawn: RandomCell, order: list[str], seed: int) -> None:
    """Each change works on what those before it have made, or says in one line why it cannot."""
    cell = drawn.cell
    for option in order:
        try:
            cell = (
                without_bias(cell)
                if option == "without_bias"
                else transform(cell, **OPTIONS[option])
            )
        except CellError as error:
            one_line(error)
    reverse = derivative(cell.graph)
    for graph in (cell.graph, reverse):
        verify(graph)
        assert equations(graph)
    sizes = dict.fromkeys(cell.free_sizes, 5) | {"projection": 2}
    sizes = {name: sizes[name] for name in cell.free_sizes}
    try:
        case = make_case(cell, seed, time=3, batch=2, sizes=sizes)
    except SizeError:
        assert "projection" in cell.sizes  # another size is as small
        return
    results, gradients = case.execute()
    close_results(results, case.interpret(), 1e-9)
    close_gradients(gradients, case.gradients(), 1e-8)
