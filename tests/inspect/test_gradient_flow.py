"""Gradients of states at each step, against a loop whose states autograd follows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import anyrnn
from anyrnn import tanh
from anyrnn.errors import InputError
from anyrnn.inspect import gradient_flow
from anyrnn.kernels import host
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.execute import forced
from checks import one_line
from invented_cells import INVENTED

float64 = torch.float64
CELLS = {**anyrnn.CATALOGUE, **INVENTED}
STEPS = 5


@anyrnn.cell
def leaky(x, h, *, a):
    """A linear cell that keeps a known share of its state."""
    return a * h + x


@anyrnn.cell(sizes={"V": "output"})
def with_output(x, h, *, W, U, V):
    """A cell whose output is computed from its new state."""
    new = tanh(W @ x + U @ h)
    return V @ new, new


def make(name: str, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    cell = CELLS[name]
    sizes = {f"{size}_size": 3 + place for place, size in enumerate(cell.free_sizes)}
    return Recurrent(cell, **{"input_size": 3, **sizes, **options}, dtype=float64)


def as_tuple(states: Any) -> tuple[Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


def by_loop(layer: Recurrent, x: Tensor, factors: Tensor) -> list[tuple[Tensor, ...]]:
    """The gradients of the states after each step, in PyTorch operations, step by step."""
    states, state, output = [], None, x
    with forced("operations"):
        for x_t in x:
            output, state = layer.step(x_t, state)
            states.append(as_tuple(state))
            state = tuple(s.clone() for s in states[-1])
            state = state if len(state) > 1 else state[0]
    loss = (output * factors).sum()

    def gradient(state: Tensor) -> Tensor:
        found = None  # the first ones may be constants
        if state.requires_grad:
            (found,) = torch.autograd.grad(loss, state, allow_unused=True, retain_graph=True)
        return torch.zeros_like(state) if found is None else found

    return [tuple(map(gradient, each)) for each in states]


def check_against_loop(layer: Recurrent) -> None:
    x = torch.randn(STEPS, 2, layer.input_size, dtype=float64, requires_grad=True)
    factors = torch.randn(2, layer.output_size, dtype=float64)
    flow = gradient_flow(layer, x, of=lambda found: (found[0][-1] * factors).sum())
    wanted = by_loop(layer, x, factors)
    assert list(flow.norms) == list(layer.cell.states)
    for place, name in enumerate(layer.cell.states):
        norms = torch.stack([each[place][0].norm(dim=-1) for each in wanted], dim=1)
        np.testing.assert_allclose(flow.norms[name][:, :-1], norms[:, :-1], rtol=1e-9, atol=1e-12)
    if layer.cell.output == layer.cell.states[0]:  # after the last step only the output is left
        last = factors.norm(dim=-1)
        np.testing.assert_allclose(flow.norms[layer.cell.output][:, -1], last)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_those_of_a_loop(name: str) -> None:
    with forced("operations"):
        check_against_loop(make(name))


@pytest.mark.parametrize("name", ["gru", "lstm_projection", "mingru", "three_states", "normalised"])
def test_gradients_of_the_compiled_path(name: str) -> None:
    layer = make(name)
    assert layer.path.name == "compiled"
    check_against_loop(layer)


def test_the_step_of_an_output_reads_its_new_state() -> None:
    torch.manual_seed(0)
    layer = Recurrent(with_output, 3, 4, output_size=2, dtype=float64)
    factors = torch.randn(2, dtype=float64)
    x = torch.randn(4, 1, 3, dtype=float64)
    flow = gradient_flow(layer, x, of=lambda found: found[0][-1, 0] @ factors)
    wanted = (factors @ layer.V_l0).norm().item()
    assert flow.norms["h"][0, -1] == pytest.approx(wanted, rel=1e-12)


class Network(nn.Module):
    """Two modules with layers, one of them with several and in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = GRU(3, 4, batch_first=True, dtype=float64)
        self.upper = LSTM(4, 2, 2, bidirectional=True, batch_first=True, dtype=float64)
        self.dense = nn.Linear(4, 2, dtype=float64)

    def forward(self, x: Tensor, lengths: Any = None) -> Tensor:
        output, _ = self.lower(x, lengths=lengths)
        return self.dense(self.upper(output, lengths=lengths)[0])


def shifted(model: Network, x: Tensor, lengths: Any, shift: Tensor) -> Tensor:
    """What a network makes of an input if the last outputs of its lower layer are shifted."""

    def hook(module: nn.Module, given: Any, result: Any) -> Any:
        output = result[0].clone()
        output[:, -1] += shift
        return output, result[1]

    handle = model.lower.register_forward_hook(hook)
    result = model(x, lengths)
    handle.remove()
    return result


def test_a_network_of_several_layers() -> None:
    """Of the lower layer's last state only outputs are made, which central differences shift."""
    torch.manual_seed(0)
    model, lengths = Network(), [5, 3]
    x = torch.randn(2, 5, 3, dtype=float64)

    def of(result: Tensor) -> Tensor:
        return result[:, 0].square().sum()

    flow = gradient_flow(model, x, lengths=lengths, of=of, end=False)
    upper = [f"upper.{s}_l{k}{d}" for k in (0, 1) for d in ("", "_reverse") for s in "hc"]
    assert list(flow.norms) == ["lower.h", *upper]
    assert flow.norms["lower.h"].shape == (2, 5)
    counted = [[True] * 5, [True] * 3 + [False] * 2]
    assert (~np.isnan(flow.norms["upper.c_l1_reverse"])).tolist() == counted
    found = []
    for unit in range(4):
        step = 1e-5 * torch.eye(4)[unit]
        more, less = (of(shifted(model, x, lengths, sign * step)).item() for sign in (1, -1))
        found.append((more - less) / 2e-5)
    assert flow.norms["lower.h"][0, -1] == pytest.approx(np.linalg.norm(found), rel=1e-6)
    parts = [f"upper.l{k}{d}" for k in (0, 1) for d in ("", "_reverse")]
    assert [each.name for each in flow.flows] == ["lower.l0", *parts]


def test_only_the_end_counts_unless_told_otherwise() -> None:
    layer = make("gru")
    x = torch.randn(6, 2, 3, dtype=float64)
    whole = gradient_flow(layer, x, of=lambda found: found[0].sum(), end=False)
    end = gradient_flow(layer, x, of=lambda found: found[0].sum())
    last = gradient_flow(layer, x, of=lambda found: found[0][-1].sum(), end=False)
    np.testing.assert_allclose(end.norms["h"], last.norms["h"], rtol=1e-12)
    assert (whole.norms["h"][:, 0] != end.norms["h"][:, 0]).all()


@pytest.mark.parametrize("options", [{"residual": True}, {"highway": True}])
def test_the_end_of_layers_with_skips(options: dict[str, bool]) -> None:
    torch.manual_seed(0)
    layer = Recurrent("gru", 4, 4, 2, dtype=float64, **options)
    x = torch.randn(6, 2, 4, dtype=float64)
    end = gradient_flow(layer, x, of=lambda found: found[0].sum())
    last = gradient_flow(layer, x, of=lambda found: found[0][-1].sum(), end=False)
    np.testing.assert_allclose(end.norms["h_l0"], last.norms["h_l0"], rtol=1e-12)


def test_sequences_of_several_lengths_end_by_themselves() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm", 3, 4, bidirectional=True, dtype=float64)
    x, lengths = torch.randn(6, 3, 3, dtype=float64), torch.tensor([4, 6, 1])
    padded = gradient_flow(layer, x, lengths=lengths)
    packed = gradient_flow(layer, pack_padded_sequence(x, lengths, enforce_sorted=False))
    masked = gradient_flow(layer, x, mask=torch.arange(6)[:, None] < lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = gradient_flow(layer, x[:length, row])
        for name, norms in alone.norms.items():
            for found in (padded, packed, masked):
                np.testing.assert_allclose(found.norms[name][row, :length], norms[0], rtol=1e-10)
                assert np.isnan(found.norms[name][row, length:]).all()
    assert padded.flows[1].norms.shape == (3, 6)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.2])
def test_how_much_is_left_of_a_known_share(factor: float) -> None:
    torch.manual_seed(0)
    layer = Recurrent(leaky, 2, dtype=float64)
    with torch.no_grad():
        layer.a_l0.fill_(factor)
    flow = gradient_flow(layer, torch.randn(60, 3, 2, dtype=float64))
    np.testing.assert_allclose(flow.whole.share, factor ** np.arange(60))
    assert flow.whole.per_step == pytest.approx(factor)
    assert flow.steps_left() == {0.5: 7, 0.9: 44}.get(factor)
    assert flow.steps_left(0.4) == {0.5: 2, 0.9: 9}.get(factor)
    assert flow.whole.verdict == {1.0: "keeps", 1.2: "explodes"}.get(factor, "vanishes")


class Stream(nn.Module):
    """Steps one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = GRU(3, 4, dtype=float64)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for x_t in x:
            _, state = self.layer.step(x_t, state)
        return state.square().sum() / 2


def test_steps_of_a_stream_are_one_sequence() -> None:
    torch.manual_seed(0)
    model, x = Stream(), torch.randn(5, 2, 3, dtype=float64)
    found = gradient_flow(model, x).norms["h"]
    np.testing.assert_allclose(found, gradient_flow(model.layer, x).norms["h"], rtol=1e-10)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Dropout(0.5), RNN(3, 4))
    model[0].eval()
    gradient_flow(model, torch.randn(5, 2, 3))
    assert not model[0].training
    assert model[1].training
    assert all(each.requires_grad for each in model.parameters())
    assert all(each.grad is None for each in model.parameters())
    assert "forward" not in vars(model[1])


MISTAKES: dict[str, tuple[Any, tuple[int, ...], dict[str, Any]]] = {
    "replace torch.nn.LSTM": (nn.LSTM(3, 4), (5, 2, 3), {}),
    "sequence length of 0": (GRU(3, 4), (0, 2, 3), {}),
    "layer 'x'; it has ''": (GRU(3, 4), (5, 2, 3), {"layers": ["x"]}),
    "expected one number": (GRU(3, 4), (5, 2, 3), {"of": lambda found: found[0]}),
    "does not depend on": (GRU(3, 4), (5, 2, 3), {"of": lambda found: found[0].detach().sum()}),
    "return_states='all'": (GRU(3, 4), (5, 2, 3), {"return_states": "all"}),
    "expected a torch.nn.Module": ("gru", (5, 2, 3), {}),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told(words: str) -> None:
    model, shape, options = MISTAKES[words]
    with pytest.raises(InputError, match=re.escape(words)) as told:
        gradient_flow(model, torch.randn(shape), **options)
    one_line(told.value)


def test_an_input_longer_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = GRU(3, 64)
    monkeypatch.setattr(host, "free_memory", lambda: 1 << 20)
    gradient_flow(layer, torch.randn(200, 2, 3))
    with pytest.raises(InputError, match=r"4,000 steps needs about .* GiB") as told:
        gradient_flow(layer, torch.randn(2000, 2, 3))
    one_line(told.value)


def test_the_gradient_of_an_output_in_between() -> None:
    torch.manual_seed(0)
    layer = Recurrent("gru", 3, 4, bidirectional=True, dtype=float64)
    x = torch.randn(6, 2, 3, dtype=float64)
    found = gradient_flow(layer, x, of=lambda result: result[0].sum(), at=2)
    wanted = gradient_flow(layer, x, of=lambda result: result[0][2].sum(), end=False)
    for name, norms in wanted.norms.items():
        np.testing.assert_allclose(found.norms[name], norms, rtol=1e-12)
    assert [flow.norms.shape for flow in found.flows] == [(2, 3), (2, 4)]
    assert all(flow.share[0] == 1 for flow in found.flows)
    with pytest.raises(InputError, match="at=6, but the input has 6 steps"):
        gradient_flow(layer, x, at=6)
