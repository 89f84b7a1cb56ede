"""Cells with layer normalisation inside the step."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import anyrnn
from anyrnn.errors import CellError
from anyrnn.transforms.activations import with_activations
from anyrnn.transforms.bias import without_bias
from anyrnn.transforms.clip import with_clipped_state
from anyrnn.transforms.normalisation import with_normalisation
from checks import Case, close, make_case, one_line
from invented_cells import INVENTED
from random_cells import make

Step = Callable[[Tensor, list[Tensor], dict[str, Tensor]], list[Tensor]]


def norm(kind: str, value: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    if kind == "layer":
        return functional.layer_norm(value, value.shape[-1:], gain, bias, 1e-5)
    result = functional.rms_norm(value, value.shape[-1:], gain, 1e-5)
    return result if bias is None else result + bias


def lstm(kind: str) -> Step:
    def step(x: Tensor, states: list[Tensor], p: dict[str, Tensor]) -> list[Tensor]:
        h, c = states
        gates = [
            norm(kind, x @ W.T, a) + norm(kind, h @ U.T, r) + b
            for W, U, b, a, r in zip(
                *(p[n].chunk(4) for n in ("W", "U", "b", "input_gain", "recurrent_gain")),
                strict=True,
            )
        ]
        i, f, g, o = gates
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return [o.sigmoid() * norm(kind, c, p["state_gain"], p["state_bias"]).tanh(), c]

    return step


def gru(kind: str) -> Step:
    def step(x: Tensor, states: list[Tensor], p: dict[str, Tensor]) -> list[Tensor]:
        (h,) = states
        W, U, a, s = (p[n].chunk(3) for n in ("W", "U", "input_gain", "recurrent_gain"))
        of_x = [norm(kind, x @ m.T, gain) for m, gain in zip(W, a, strict=True)]
        of_h = [norm(kind, h @ m.T, gain) for m, gain in zip(U, s, strict=True)]
        br, bz, bn = p["b"].chunk(3)
        r, z = (of_x[0] + of_h[0] + br).sigmoid(), (of_x[1] + of_h[1] + bz).sigmoid()
        n = (of_x[2] + bn + r * (of_h[2] + p["d"])).tanh()
        return [(1 - z) * n + z * h]

    return step


def compare(case: Case, step: Step) -> None:
    """Values and all gradients, with torch's own normalisation and autograd."""
    x = torch.tensor(case.x, requires_grad=True)
    states = [torch.tensor(state, requires_grad=True) for state in case.states]
    parameters = {n: torch.tensor(p, requires_grad=True) for n, p in case.parameters.items()}
    current, outputs = states, []
    for x_t in x:
        current = step(x_t, current, parameters)
        outputs.append(current[0])
    result, gradients = case.interpret(), case.gradients()
    close(result.output, torch.stack(outputs).detach().numpy(), 1e-12)
    given = [torch.tensor(g) for g in (case.output_gradient, *case.state_gradients)]
    leaves = [x, *states, *parameters.values()]
    wanted = torch.autograd.grad([torch.stack(outputs), *current], leaves, given)
    found = [gradients.x, *gradients.states, *(gradients.parameters[n] for n in parameters)]
    for ours, theirs in zip(found, wanted, strict=True):
        close(ours, theirs.numpy(), 1e-11)


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize(("name", "step"), [("lstm", lstm), ("gru", gru)])
def test_torch_has_the_same(name: str, step: Callable[[str], Step], kind: str) -> None:
    cell = with_normalisation(anyrnn.get(name), kind)
    compare(make_case(cell, 0, sizes={"input": 3, "hidden": 5}), step(kind))


@anyrnn.cell
def used_twice(x, h, *, W, U, V, b):
    """A product in two sums and by itself, a difference, two matrices for one sum."""
    p, q = W.p @ x, U.q @ h
    g = anyrnn.sigmoid(p - q + b.g)
    n = anyrnn.tanh(b.n - U.n @ h - V.n @ anyrnn.tanh(h) + q)
    return g * anyrnn.tanh(p * n) + (1 - g) * h


def test_a_sum_of_products_has_one_gain() -> None:
    cell = with_normalisation(used_twice)
    members = {stored.name: stored.members for stored in cell.parameters}
    assert members["input_gain"] == ("input_gain.p",)
    assert members["recurrent_gain"] == ("recurrent_gain.q", "recurrent_gain.n")

    def step(x: Tensor, states: list[Tensor], v: dict[str, Tensor]) -> list[Tensor]:
        (h,) = states
        q, n = v["U"].chunk(2)
        gain_q, gain_n = v["recurrent_gain"].chunk(2)
        bg, bn = v["b"].chunk(2)
        p = norm("layer", x @ v["W"].T, v["input_gain"])
        g = (p - norm("layer", h @ q.T, gain_q) + bg).sigmoid()
        together = h @ n.T + h.tanh() @ v["V"].T - h @ q.T
        n = (bn - norm("layer", together, gain_n)).tanh()
        return [g * (p * n).tanh() + (1 - g) * h]

    compare(make_case(cell, 0, sizes={"input": 3, "hidden": 5}), step)


def test_what_is_normalised() -> None:
    def gains(name: str) -> dict[str, list[str]]:
        cell = with_normalisation(anyrnn.CATALOGUE.get(name) or INVENTED[name])
        return {
            stored.name: [member.partition(".")[2] for member in stored.members]
            for stored in cell.parameters
            if stored.name.endswith("_gain")
        }

    gates = ["i", "f", "g", "o"]
    whole = {"input_gain": gates, "recurrent_gain": gates, "state_gain": ["c"]}
    assert gains("lstm_peephole") == gains("lstm_projection") == whole  # not the projection P
    assert gains("rnn_output") == {"input_gain": ["W"], "recurrent_gain": ["U"]}  # not V
    assert gains("gru_reset_before")["recurrent_gain"] == ["r", "z", "n"]
    assert gains("repeated") == {"input_gain": ["W"], "recurrent_gain": ["U"]}  # of three steps
    assert gains("article3_gru") == {"recurrent_gain": ["z", "r", "h"]}  # of W [h, x]
    assert gains("only_input") == {"input_gain": ["W"]}
    three = gains("three_states")
    assert three == {"input_gain": ["c", "m"], "recurrent_gain": ["c", "m", "h"]}


def test_members_of_two_families_with_one_name() -> None:
    cell = make(
        "@cell\ndef drawn(x, h, *, W, V, X):\n"
        "    return tanh(W.a @ x) * tanh(V.a @ x) * tanh(X.W_a @ x) * sigmoid(W.V_a @ x) + h\n"
    )
    (stored,) = (s for s in with_normalisation(cell).parameters if s.name == "input_gain")
    names = [member.removeprefix("input_gain.") for member in stored.members]
    assert len(set(names)) == 4
    assert {"a", "V_a"} <= set(names)


def test_how_parameters_start() -> None:
    cell = with_normalisation(anyrnn.get("lstm"))
    started = {"input_gain": 1, "recurrent_gain": 1, "state_gain": 1, "state_bias": 0}
    assert cell.initial == started
    assert with_clipped_state(cell, 3).initial == started
    assert anyrnn.get("lstm").initial == {}
    bare = without_bias(cell)
    assert bare.initial == {key: 1 for key in started if key != "state_bias"}
    assert [stored.name for stored in bare.parameters][-1] == "state_gain"


def test_order_does_not_matter() -> None:
    lstm = anyrnn.get("lstm")
    for change in (
        lambda cell: with_activations(cell, {"tanh": "relu"}),
        lambda cell: with_clipped_state(cell, 0.5),
        without_bias,
    ):
        first, second = with_normalisation(change(lstm)), change(with_normalisation(lstm))
        if change is not without_bias:  # which takes the bias of the state too
            assert first.graph.outputs == second.graph.outputs
        case = make_case(second, 0, sizes={"hidden": 5})
        assert np.isfinite(case.interpret().output).all()


def test_saved_and_loaded_and_with_hyperparameters() -> None:
    for arguments in ((), ("rms",), ("layer", 0.5)):
        cell = with_normalisation(anyrnn.get("gru"), *arguments)
        assert pickle.loads(pickle.dumps(cell)) is cell
    chosen = with_normalisation(INVENTED["repeated"]).with_hyperparameters(steps=2)
    assert (
        chosen.graph.outputs
        == with_normalisation(INVENTED["repeated"].with_hyperparameters(steps=2)).graph.outputs
    )
    assert chosen.initial == {"input_gain": 1, "recurrent_gain": 1}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lstm", {"kind": "batch"}, "norm='batch'; expected 'layer' or 'rms'"),
        ("lstm", {"kind": ["rms"]}, "norm=['rms']; expected 'layer' or 'rms'"),
        ("lstm", {"epsilon": 0}, "epsilon=0; expected a number above zero"),
        ("lstm", {"epsilon": "small"}, "epsilon='small'"),
        ("moving_average", {}, "'moving_average' has nothing to normalise"),
    ],
)
def test_mistakes(name: str, options: dict[str, object], message: str) -> None:
    cell = anyrnn.CATALOGUE.get(name) or INVENTED[name]
    with pytest.raises(CellError) as caught:
        with_normalisation(cell, **options)
    assert message in one_line(caught.value)


def test_not_twice() -> None:
    with pytest.raises(CellError) as caught:
        with_normalisation(with_normalisation(anyrnn.get("gru")))
    assert "cell 'gru' has parameters called input_gain already" in one_line(caught.value)
