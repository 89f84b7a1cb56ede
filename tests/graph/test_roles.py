"""Which role each matrix of a cell has, and what the options that mean some roles do to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn import CATALOGUE, Cell, concatenate, relu, sigmoid, tanh
from anyrnn.graph.roles import Role, matrices, roles
from anyrnn.graph.show import equations
from anyrnn.kernels.run import Arrays, Run
from anyrnn.torch import Recurrent
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.operations_path import execute
from anyrnn.transforms import transform
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout
from checks import close_gradients, close_results, make_case, to_torch
from invented_cells import INVENTED

SEED = 7
DROPPED = "where(random(0) >= 0.5, 2, 0) * "


@anyrnn.cell
def linear(x, h, *, W, U):
    """No activation follows the recurrent matrix."""
    return W @ x + U @ (0.5 * h)


@anyrnn.cell
def linear_candidate(x, h, *, W, U):
    """A minimal gated unit whose candidate is linear; U.n reads what another product gates."""
    z = sigmoid(W.z @ x + U.z @ h)
    return (1 - z) * h + z * (W.n @ x + U.n @ (z * h))


@anyrnn.cell
def piecewise_linear(x, h, *, W, U, a):
    """PLRNN (Koppe et al. 2019)."""
    return a * h + U @ relu(h) + W @ x


@anyrnn.cell(sizes={"W": "wide"})
def deep_transition(x, h, *, W, U, V):
    """Deep transition (Pascanu et al. 2014)."""
    return tanh(V @ relu(W @ x + U @ h))


@anyrnn.cell(sizes={"h": "projection", "c": "hidden"})
def joined_projection(x, h, c, *, W, P):
    """Gates on [h, x], and a projection with a second one of another vector."""
    f = sigmoid(W.f @ concatenate(h, x))
    c = f * c + (1 - f) * tanh(W.c @ concatenate(h, x))
    return P.c @ c + P.f @ f, c


@anyrnn.cell(sizes={"s": "context", "V": "output"})
def contextual(x, h, s, *, W, P, R, V, U):
    """SCRN (Mikolov et al. 2014): P reads a new state on the way to another; V and U make y."""
    s = 0.05 * (W.s @ x) + 0.95 * s
    h = sigmoid(W.h @ x + P @ s + R @ h)
    return U @ h + V @ s, h, s


@anyrnn.cell(sizes={"W": "hidden"})
def minimal(x, h, *, W, U, V):
    """MinimalRNN (Chen 2017): V reads what follows from the input only."""
    z = tanh(W @ x)
    u = sigmoid(U @ h + V @ z)
    return u * h + (1 - u) * z


OWN = (
    linear,
    linear_candidate,
    piecewise_linear,
    deep_transition,
    joined_projection,
    contextual,
    minimal,
)
CELLS: dict[str, Cell] = {**CATALOGUE, **INVENTED, **{made.name: made for made in OWN}}
ROLES = {
    "rnn": "input W; recurrent U",
    "rnn_output": "input W; recurrent U; output V",
    "lstm_peephole": "input W.i W.f W.g W.o; recurrent U.i U.f U.g U.o",
    "lstm_projection": "input W.i W.f W.g W.o; recurrent U.i U.f U.g U.o; projection P",
    "gru_reset_before": "input W.r W.z W.n; recurrent U.r U.z U.n",
    "mingru": "input W.z W.n",
    "sru": "input W.f W.r W.c",
    "qrnn": "input W.z W.f W.o V.z V.f V.o",
    "article3_gru": "recurrent W.z W.r W.h",
    "article4_rnn": "input W.xh; recurrent W.hh; output W.hy",
    "antisymmetric": "input W; recurrent U",
    "tied": "input V.x; recurrent V.x V.h",
    "echo": "output W",
    "linear": "input W; recurrent U",
    "linear_candidate": "input W.z W.n; recurrent U.z U.n",
    "piecewise_linear": "input W; recurrent U",
    "deep_transition": "input W; recurrent U V",
    "joined_projection": "recurrent W.f W.c; projection P.c P.f",
    "contextual": "input W.s W.h; recurrent P R; output U V",
    "minimal": "input W V; recurrent U",
}


def shown(cell: Cell) -> str:
    """The matrices of each role, in the cell's order."""
    found = []
    for role in Role:
        names = matrices(cell, role)
        if names:
            order = [leaf.name for leaf in cell.members if leaf.name in names]
            found.append(" ".join([role, *order]))
    return "; ".join(found)


@pytest.mark.parametrize("name", ROLES)
def test_roles(name: str) -> None:
    wanted = [set(part.split()) for part in ROLES[name].split("; ")]
    assert [set(part.split()) for part in shown(CELLS[name]).split("; ")] == wanted


def test_every_product_that_rows_differ_in_has_a_role() -> None:
    for cell in CELLS.values():
        products = [n for n in cell.graph.nodes() if n.operation == "product" and n.type.per_row]
        assert list(roles(cell.graph, cell.states)) == products


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: with_zoneout(cell, 0.2),
        lambda cell: with_zoneout(cell, 0.2, expected=True),
        lambda cell: transform(cell, clip_state=1.0, clip_gradient=1.0),
    ],
)
@pytest.mark.parametrize("name", ["lstm_projection", "rnn_output", "linear", "joined_projection"])
def test_roles_stay_where_states_are_changed(name: str, change: Callable[[Cell], Cell]) -> None:
    assert shown(change(CELLS[name])) == shown(CELLS[name])


def test_a_transform_projects() -> None:
    for name in ("rnn", "gru", "lstm_peephole"):
        assert matrices(transform(anyrnn.get(name), projection=True), Role.PROJECTION) == {"P"}


def test_recurrent_dropout_is_of_recurrent_matrices_only() -> None:
    assert equations(with_recurrent_dropout(anyrnn.get("rnn_output"), 0.5).graph).split("\n") == [
        f"h' = tanh(W @ x + U @ ({DROPPED}h) + b)",
        "y  = V @ h' + d",
    ]
    text = equations(with_recurrent_dropout(anyrnn.get("lstm_projection"), 0.5).graph)
    assert "h' = P @ (o * tanh(c'))" in text.replace("  ", " ")
    with pytest.raises(anyrnn.errors.CellError, match="cell 'echo' has no recurrent matrix"):
        with_recurrent_dropout(INVENTED["echo"], 0.5)


@pytest.mark.parametrize(
    "name", ["rnn_output", "lstm_projection", "classifier", "contextual", "joined_projection"]
)
def test_interpreter_kernels_and_torch_agree(name: str) -> None:
    case = make_case(with_recurrent_dropout(CELLS[name], 0.3), seed=3)
    given = {"parameters": case.parameters, "seed": SEED}
    wanted = anyrnn.interpret(case.cell, case.x, case.states, **given)
    above = {"output_gradient": case.output_gradient, "state_gradients": case.state_gradients}
    gradients = anyrnn.gradients(case.cell, case.x, case.states, **given, **above)
    compiled = anyrnn.compile(case.cell, case.sizes, dtype=np.float64)
    found = compiled.forward(case.x, case.states, **given, save=True)
    close_results(found, wanted, 1e-10)
    close_gradients(found.backward(case.output_gradient, case.state_gradients), gradients, 1e-9)
    x, states, parameters = to_torch(case.x, case.states, case.parameters)
    run = Run(case.cell, tuple(case.sizes.items())).over((x.shape[1],) * len(x), None, 1)
    arrays = Arrays(TENSORS, x.flatten(0, 1), states, parameters, torch.tensor(SEED))
    output, last = execute(run, arrays)
    np.testing.assert_allclose(output.unflatten(0, x.shape[:2]), wanted.output, atol=1e-10)
    for ours, theirs in zip(last, wanted.states, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize(("name", "kept"), [("rnn_output", "V"), ("classifier", "V")])
def test_weight_dropout_leaves_an_output_layer(name: str, kept: str) -> None:
    layer = Recurrent(CELLS[name], 3, 6, output_size=5, weight_dropout=1.0)
    x = torch.randn(4, 2, 3)
    output = layer(x)[0]
    with torch.no_grad():
        getattr(layer, f"{kept}_l0").zero_()
    assert not torch.allclose(output, layer(x)[0])


def test_heads_and_independent_units_are_of_recurrent_matrices_only() -> None:
    for name in ("rnn_output", "linear", "contextual"):
        own = CELLS[name]
        whole = [leaf for leaf in own.members if leaf.name not in matrices(own, Role.RECURRENT)]
        if name != "contextual":  # its P is not square
            for changed in (transform(own, heads=2), transform(own, independent=True)):
                shapes = {leaf.name: len(leaf.type.shape) for leaf in changed.members}
                assert all(shapes[leaf.name] == len(leaf.type.shape) for leaf in whole)
                assert not matrices(changed, Role.RECURRENT) & {leaf.name for leaf in whole}
    x = np.ones((3, 2, 4))
    diagonal = transform(linear, independent=True)
    found = anyrnn.interpret(diagonal, x, parameters={"W": np.ones((5, 4)), "U": np.ones(5)})
    assert np.allclose(found.output[:, 0, 0], [4, 6, 7])
