"""Cells with projections, with heads, with independent units."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.errors import CellError, SizeError
from anyrnn.torch import Recurrent
from anyrnn.transforms.heads import with_heads, with_independent_units
from anyrnn.transforms.projection import with_projection
from checks import Case, close, close_gradients, close_results, make_case, one_line
from invented_cells import INVENTED
from random_cells import make


def sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def test_the_projected_lstm_is_the_one_of_the_catalogue() -> None:
    ours, theirs = with_projection(anyrnn.get("lstm")), anyrnn.get("lstm_projection")
    assert ours.graph.outputs == theirs.graph.outputs
    assert ours.parameters == theirs.parameters


def test_the_projected_lstm_of_torch() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(3, 5, proj_size=2, dtype=torch.double)
    ours = Recurrent(with_projection(anyrnn.get("lstm")), 3, 5, projection_size=2).double()
    with torch.no_grad():
        ours.W_l0.copy_(theirs.weight_ih_l0)
        ours.U_l0.copy_(theirs.weight_hh_l0)
        ours.b_l0.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
        ours.P_l0.copy_(theirs.weight_hr_l0)
    x = torch.randn(7, 4, 3, dtype=torch.double, requires_grad=True)
    results = []
    for layer in (ours, theirs):
        output, (h, c) = layer(x)
        gradients = torch.autograd.grad(
            output.square().sum() + c.sum(),
            [x, layer.get_parameter("P_l0" if layer is ours else "weight_hr_l0")],
        )
        results.append([output, h, c, *gradients])
    torch.testing.assert_close(*results)


def test_a_projected_gru_carries_its_unprojected_state_too() -> None:
    cell = with_projection(anyrnn.get("gru"))
    case = make_case(cell, 0, sizes={"input": 3, "hidden": 5, "projection": 2})
    W, U, b = (np.split(case.parameters[name], 3) for name in ("W", "U", "b"))
    d, P = case.parameters["d"], case.parameters["P"]
    small, h = case.states
    for x, wanted in zip(case.x, case.interpret().output, strict=True):
        r, z = (sigmoid(x @ W[k].T + small @ U[k].T + b[k]) for k in (0, 1))
        n = np.tanh(x @ W[2].T + b[2] + r * (small @ U[2].T + d))
        h = (1 - z) * n + z * h
        small = h @ P.T
        close(small, wanted, 1e-12)
    assert cell.states == ("h", "unprojected")
    before = with_projection(anyrnn.get("gru_reset_before"))  # r * h is not h
    shapes = {stored.name: list(map(str, stored.shape)) for stored in before.parameters}
    assert shapes["U_r"] == ["2 hidden", "projection"]
    assert shapes["U_n"] == ["hidden", "hidden"]


def test_joined_vectors_are_projected() -> None:
    """The article's LSTM on [h, x] is the LSTM, projected too."""
    joined = with_projection(anyrnn.get("article3_lstm"))
    theirs = make_case(joined, 0, sizes={"input": 3, "hidden": 5, "projection": 2})
    order = [1, 0, 2, 3]  # of f, i, C, o
    W, b = (
        np.concatenate([np.split(theirs.parameters[name], 4)[place] for place in order])
        for name in ("W", "b")
    )
    parameters = {"U": W[:, :2], "W": W[:, 2:], "b": b, "P": theirs.parameters["P"]}
    ours = replace(theirs, cell=with_projection(anyrnn.get("lstm")), parameters=parameters)
    close(ours.interpret().output, theirs.interpret().output, 1e-12)


def test_an_output_apart_stays_as_it_is() -> None:
    cell = with_projection(anyrnn.get("rnn_output"))
    assert str(cell.output_size) == "output"
    assert [str(size) for size in cell.state_sizes] == ["projection"]


def block_diagonal(case: Case, gates: int, heads: int) -> dict[str, np.ndarray]:
    """The parameters of the same cell without heads."""
    U = case.parameters["U"]
    head = U.shape[1]
    full = np.zeros((gates, heads * head, heads * head))
    for k, of_head in enumerate(np.split(U, heads)):  # all gates of the first head come first
        for gate, block in enumerate(np.split(of_head, gates)):
            full[gate, k * head : (k + 1) * head, k * head : (k + 1) * head] = block
    return {**case.parameters, "U": full.reshape(-1, heads * head)}


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3), ("gru_reset_before", 3)])
def test_heads_are_blocks_on_the_diagonal(name: str, gates: int, heads: int) -> None:
    plain = anyrnn.get(name)
    cell = with_heads(plain, heads)
    case = make_case(
        cell, 0, sizes={"input": 3, "hidden": 6} if heads == 1 else {"input": 3, "hidden_head": 2}
    )
    full = replace(case, cell=plain, parameters=block_diagonal(case, gates, heads))
    close_results(case.interpret(), full.interpret(), 1e-12)
    ours, theirs = case.gradients(), full.gradients()
    close(ours.x, theirs.x, 1e-12)
    close(ours.parameters["W"], theirs.parameters["W"], 1e-12)
    back = block_diagonal(replace(case, parameters=dict(ours.parameters)), gates, heads)["U"]
    close(np.where(back != 0, theirs.parameters["U"], 0), back, 1e-12)


def test_heads_of_heads() -> None:
    cell = with_heads(with_heads(anyrnn.get("rnn"), 2), 3)
    sizes = cell.bind_sizes(input=1, hidden=12)
    assert sizes == {"input": 1, "hidden": 12, "hidden_head": 6, "hidden_head_head": 2}
    assert [stored.shape_for(sizes) for stored in cell.parameters] == [(12, 1), (12, 2), (12,)]


def test_independent_units_are_diagonal_matrices() -> None:
    for name, gates in (("lstm", 4), ("gru", 3), ("gru_reset_before", 3)):
        plain = anyrnn.get(name)
        case = make_case(with_independent_units(plain), 0, sizes={"input": 3, "hidden": 5})
        U = np.concatenate([np.diag(vector) for vector in np.split(case.parameters["U"], gates)])
        full = replace(case, cell=plain, parameters={**case.parameters, "U": U})
        close_results(case.interpret(), full.interpret(), 1e-12)
        ours, theirs = case.gradients(), full.gradients()
        close(ours.x, theirs.x, 1e-12)
        diagonals = [np.diag(matrix) for matrix in np.split(theirs.parameters["U"], gates)]
        close(ours.parameters["U"], np.concatenate(diagonals), 1e-12)


def test_the_independent_network_of_the_paper() -> None:
    ours = with_independent_units(anyrnn.get("rnn_relu"))
    case = make_case(ours, 0, sizes={"hidden": 5})
    renamed = {"W": case.parameters["W"], "u": case.parameters["U"], "b": case.parameters["b"]}
    theirs = replace(case, cell=INVENTED["diagonal"], parameters=renamed)
    close_results(case.interpret(), theirs.interpret(), 1e-12)
    ours, wanted = case.gradients(), theirs.gradients()
    wanted.parameters["U"] = wanted.parameters.pop("u")
    close_gradients(
        ours, replace(wanted, parameters=dict(sorted(wanted.parameters.items()))), 1e-12
    )


def test_saved_and_loaded_and_with_hyperparameters() -> None:
    for cell in (
        with_projection(anyrnn.get("gru")),
        with_heads(anyrnn.get("gru"), 2),
        with_independent_units(anyrnn.get("gru")),
    ):
        assert pickle.loads(pickle.dumps(cell)) is cell
    repeated = INVENTED["repeated"]
    for change in (lambda cell: with_heads(cell, 2), with_independent_units):
        chosen = change(repeated).with_hyperparameters(steps=2)
        assert chosen.graph.outputs == change(repeated.with_hyperparameters(steps=2)).graph.outputs


def test_sizes_that_do_not_fit() -> None:
    cells = {
        "needs hidden = 3 hidden_head (heads=3), and 3 does not divide 128": (
            with_heads(anyrnn.get("lstm"), 3),
            {"hidden": 128},
        ),
        "but input_size=3, hidden_size=8, hidden_head_size=5 was given": (
            with_heads(anyrnn.get("lstm"), 2),
            {"hidden": 8, "hidden_head": 5},
        ),
        "needs projection smaller than hidden, but projection_size=7 and hidden = 5": (
            with_projection(anyrnn.get("lstm")),
            {"hidden": 5, "projection": 7},
        ),
        "needs projection_size": (with_projection(anyrnn.get("rnn")), {"hidden": 5}),
    }
    for message, (cell, sizes) in cells.items():
        with pytest.raises(SizeError) as caught:
            cell.bind_sizes(input=3, **sizes)
        assert message in one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("lstm_projection", with_independent_units, "U.i is hidden x projection, not square"),
        ("article3_gru", with_heads, "W.z is hidden x hidden + input, not square"),
        ("antisymmetric", with_heads, "is made of U, and is no parameter itself"),
        ("diagonal", with_independent_units, "it has no recurrent matrix"),
        ("tied", with_independent_units, "is made of V.h, and is no parameter itself"),
        ("only_input", with_projection, "no matrix multiplies its state h itself"),
        ("repeated", with_projection, "no matrix multiplies its state h itself"),
        ("three_states", with_projection, "cell 'three_states' has 'P' already"),
        ("lstm_projection", with_projection, "has a projection already; give projection_size"),
    ],
)
def test_cells_that_cannot(name: str, change: object, message: str) -> None:
    cell = anyrnn.CATALOGUE.get(name) or INVENTED[name]
    with pytest.raises(CellError) as caught:
        change(cell, 2) if change is with_heads else change(cell)
    assert message in one_line(caught.value)
    assert repr(name) in str(caught.value)


@anyrnn.cell(sizes={"h": "hidden", "c": "cell"})
def joined_to_the_input(x, h, c, *, W, U):
    """The size of the input follows from those of the states."""
    c = anyrnn.tanh(U.c @ c + anyrnn.concatenate(h, x))
    return anyrnn.tanh(W @ x + U.h @ h), c


@anyrnn.cell(sizes={"c": "cell"})
def twice_as_long(x, h, c, *, W, U):
    """The size of a state follows from that of the other."""
    h = anyrnn.tanh(W @ x + U.h @ h)
    return h, anyrnn.tanh(U.c @ c + anyrnn.concatenate(h, h))


def test_sizes_that_follow_from_others() -> None:
    cell = with_heads(joined_to_the_input, 2)
    assert str(cell.sizes["input"]) == "2 cell_head - 2 hidden_head"
    wanted = {"input": 4, "hidden": 6, "cell": 10, "cell_head": 5, "hidden_head": 3}
    for given in (("input", "hidden"), ("cell", "input"), ("hidden_head", "cell_head")):
        assert cell.bind_sizes(**{name: wanted[name] for name in given}) == wanted
    with pytest.raises(SizeError) as caught:
        cell.bind_sizes(input=3, hidden=6)
    assert "needs input = 2 cell_head - 2 hidden_head" in one_line(caught.value)
    assert "and 2 does not divide 9" in str(caught.value)
    with pytest.raises(CellError) as caught:
        with_heads(twice_as_long, 2)
    assert "U.c is 2 hidden x 2 hidden; its size has to be one that is chosen" in str(caught.value)
    case = make_case(with_independent_units(twice_as_long), 0, sizes={"hidden": 2})
    assert case.parameters["U"].shape == (2 + 4,)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        ("tanh(U @ h) + U @ x", with_independent_units, "U is not only multiplied with what"),
        ("tanh(U @ concatenate(h, h) + U @ concatenate(h, x))", with_projection, "no matrix"),
    ],
)
def test_matrices_that_are_used_otherwise_too(line: str, change: object, message: str) -> None:
    cell = make(f"@cell\ndef drawn(x, h, *, U):\n    return {line}\n")
    with pytest.raises(CellError) as caught:
        change(cell)
    assert message in one_line(caught.value)


@pytest.mark.parametrize("heads", [0, -1, 2.0, True, "2", None])
def test_numbers_of_heads(heads: object) -> None:
    with pytest.raises(CellError) as caught:
        with_heads(anyrnn.get("gru"), heads)
    assert f"heads={heads!r}; expected a whole number of at least 1" in one_line(caught.value)
