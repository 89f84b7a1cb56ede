"""Cells without a recurrent matrix, against their papers' equations written out in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, linear

import anyrnn
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy, Stage
from checks import close, make_case

Weights = dict[str, Tensor]
States = tuple[Tensor, ...]


def mingru(x: Tensor, states: States, w: Weights) -> tuple[Tensor, States]:
    """Unrolled: an input counts as its own gate lets it in and the later ones leave it."""
    z = torch.sigmoid(linear(x, w["W.z"], w["b.z"]))
    n = linear(x, w["W.n"], w["b.n"])
    outputs = []
    for t in range(len(x)):
        left = torch.cumprod(torch.cat([1 - z[: t + 1]]).flip(0), 0).flip(0)  # after step s
        passed = torch.cat([left[1:], torch.ones_like(left[:1])])
        outputs.append(left[0] * states[0] + (passed * z[: t + 1] * n[: t + 1]).sum(0))
    return torch.stack(outputs), (outputs[-1],)


def minlstm(x: Tensor, states: States, w: Weights) -> tuple[Tensor, States]:
    f, i = (torch.sigmoid(linear(x, w[f"W.{g}"], w[f"b.{g}"])) for g in "fi")
    n = linear(x, w["W.n"], w["b.n"])
    (h,) = states
    outputs = []
    for t in range(len(x)):
        h = (f[t] * h + i[t] * n[t]) / (f[t] + i[t])
        outputs.append(h)
    return torch.stack(outputs), (h,)


def sru(x: Tensor, states: States, w: Weights) -> tuple[Tensor, States]:
    of_f, of_r = (linear(x, w[f"W.{g}"], w[f"b.{g}"]) for g in "fr")
    candidate = linear(x, w["W.c"])
    (c,) = states
    outputs = []
    for t in range(len(x)):
        f, r = torch.sigmoid(of_f[t] + w["v.f"] * c), torch.sigmoid(of_r[t] + w["v.r"] * c)
        c = f * c + (1 - f) * candidate[t]
        outputs.append(r * c + (1 - r) * x[t])
    return torch.stack(outputs), (c,)


def qrnn(x: Tensor, states: States, w: Weights) -> tuple[Tensor, States]:
    """As the paper has it: convolutions over time, then pooling."""
    c, *before = states
    sequences = torch.cat([torch.zeros_like(x[:1]), x]).permute(1, 2, 0)  # batch, input, time
    gates = []
    for gate, first, function in zip(
        "zfo", before, (torch.tanh, *[torch.sigmoid] * 2), strict=True
    ):
        kernel = torch.stack([w[f"V.{gate}"], w[f"W.{gate}"]], dim=-1)
        sums = conv1d(sequences, kernel, w[f"b.{gate}"]).permute(2, 0, 1)
        gates.append(function(torch.cat([sums[:1] + first, sums[1:]])))
    outputs = []
    for z, f, o in zip(*gates, strict=True):
        c = f * c + (1 - f) * z
        outputs.append(o * c)
    return torch.stack(outputs), (c, *(linear(x[-1], w[f"V.{gate}"]) for gate in "zfo"))


REFERENCES: dict[str, Callable[[Tensor, States, Weights], tuple[Tensor, States]]] = {
    "mingru": mingru,
    "minlstm": minlstm,
    "sru": sru,
    "qrnn": qrnn,
}


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("name", REFERENCES)
def test_a_linear_cell_is_its_papers(name: str, steps: int) -> None:
    cell = anyrnn.get(name)
    sizes = dict(zip(cell.free_sizes, (3, 5), strict=False))
    case = make_case(cell, 0, time=steps, batch=2, sizes=sizes)
    x = torch.tensor(case.x, requires_grad=True)
    states = tuple(torch.tensor(state, requires_grad=True) for state in case.states)
    stored = {n: torch.tensor(a, requires_grad=True) for n, a in case.parameters.items()}
    members = {
        member: part
        for parameter in cell.parameters
        for member, part in zip(
            parameter.members, stored[parameter.name].chunk(len(parameter.members)), strict=True
        )
    }
    output, last = REFERENCES[name](x, states, members)
    found = case.interpret()
    close(found.output, output.detach(), 1e-12)
    for ours, theirs in zip(found.states, last, strict=True):
        close(ours, theirs.detach(), 1e-12)
    loss = (output * torch.tensor(case.output_gradient)).sum()
    for state, gradient in zip(last, case.state_gradients, strict=True):
        loss = loss + (state * torch.tensor(gradient)).sum()
    wanted = torch.autograd.grad(loss, [x, *states, *stored.values()])
    gradients = case.gradients()
    ours = [gradients.x, *gradients.states, *(gradients.parameters[name] for name in stored)]
    for our, their in zip(ours, wanted, strict=True):
        close(our, their, 1e-11)


def test_shapes_and_sizes() -> None:
    shapes = {
        name: {s.name: " x ".join(map(str, s.shape)) for s in anyrnn.get(name).parameters}
        for name in REFERENCES
    }
    assert shapes == {
        "mingru": {"W": "2 hidden x input", "b": "2 hidden"},
        "minlstm": {"W": "3 hidden x input", "b": "3 hidden"},
        "sru": {"W": "3 input x input", "v": "2 input", "b": "2 input"},
        "qrnn": {"W": "3 hidden x input", "V": "3 hidden x input", "b": "3 hidden"},
    }
    assert anyrnn.get("sru").free_sizes == ["input"]


@pytest.mark.parametrize("name", REFERENCES)
def test_no_product_waits_for_a_state(name: str) -> None:
    cell = anyrnn.get(name)
    for policy in (Policy(), FUSED):
        (stage,) = schedule(cell.graph, cell.states, [cell.output], policy).stages
        assert isinstance(stage, Stage)
        terms = [term for accumulator in stage.accumulators for term in accumulator.terms]
        assert all(vector.operation == "input" for _, vector in terms)


def test_mingru_is_an_average() -> None:
    case = make_case(anyrnn.get("mingru"), 1, time=50, sizes={"input": 2, "hidden": 3})
    constant = {"W": np.zeros((6, 2)), "b": np.array([0.0, 0, 0, 1, 2, 3])}
    found = anyrnn.interpret(case.cell, case.x, parameters=constant)
    close(found.states[0], np.broadcast_to([1.0, 2, 3], (3, 3)), 1e-12)
