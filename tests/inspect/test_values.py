"""Gates, attributions, eigenvalues and memory, against formulas, torch and differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import anyrnn
from anyrnn import concatenate, tanh
from anyrnn.errors import InputError
from anyrnn.inspect import gates, persistence, saliency, singular_values, spectrum
from anyrnn.inspect.limits import limits_of
from anyrnn.kernels import host
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.transforms.outputs import values as named_values
from checks import one_line

float64 = torch.float64


@anyrnn.cell
def leaky(x, h, *, a):
    """A linear cell that keeps a known share of its state."""
    return a * h + x


@anyrnn.cell
def joint(x, h, *, W, b):
    """One matrix for the state and the input, as articles write it."""
    return tanh(W @ concatenate(h, x) + b)


@anyrnn.cell
def antisymmetric(x, h, *, W, U):
    """A matrix that is made of a parameter."""
    return h + 0.1 * tanh(W @ x + (U - U.T) @ h)


def leaky_layer(factor: float, size: int = 2) -> Recurrent:
    layer = Recurrent(leaky, size, dtype=float64)
    with torch.no_grad():
        layer.a_l0.fill_(factor)
    return layer


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# gates


def test_gates_of_an_lstm() -> None:
    """Against the formulas in NumPy, by hand."""
    torch.manual_seed(0)
    layer, x = LSTM(3, 4, dtype=float64), torch.randn(5, 2, 3, dtype=float64)
    W, U, b, c = (p.detach().numpy() for p in layer.parameters())
    found, xs = gates(layer, x), x.numpy()
    h_before, c_before = np.zeros((2, 4)), np.zeros((2, 4))
    for step in range(5):
        parts = np.split(xs[step] @ W.T + h_before @ U.T + b + c, 4, axis=1)
        i, f, o = (sigmoid(parts[place]) for place in (0, 1, 3))
        c_before = f * c_before + i * np.tanh(parts[2])
        h_before = o * np.tanh(c_before)
        wanted = {"i": i, "f": f, "g": np.tanh(parts[2]), "o": o, "c": c_before, "h": h_before}
        for name, values in wanted.items():
            np.testing.assert_allclose(found.values[name][:, step], values, rtol=1e-10)
    assert found.gates == ["i", "f", "o"]
    assert found.limits["g"].activation == "tanh"
    assert "c" not in found.limits


def test_gates_within_a_network_and_of_sequences_of_several_lengths() -> None:
    torch.manual_seed(0)
    layer = GRU(3, 4, 2, bidirectional=True, batch_first=True, dtype=float64)
    model = nn.ModuleDict({"a": RNN(4, 2, dtype=float64), "b": layer})
    x = torch.randn(2, 5, 3, dtype=float64)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor) -> Tensor:
            self.parts["a"](torch.randn(6, 4, dtype=float64))
            return self.parts["b"](x, lengths=[5, 3])[0]

    found = gates(Both(), x).values
    assert found["parts.a.h"].shape == (1, 6, 2)
    wanted = layer.inspect(x, lengths=[5, 3])
    for name, values in wanted.items():
        ours = found[f"parts.b.{name}"]
        np.testing.assert_array_equal(np.nan_to_num(ours), values.numpy())
        assert np.isnan(ours[1, 3:]).all()
    only = gates(Both(), x, layers=["parts.b"]).values
    assert "z_l1_reverse" in only


@pytest.mark.parametrize(
    ("cell", "value", "low", "high"),
    [("gru", "z", 0, 1), ("rnn", "h", -1, 1), ("rnn_relu", "h", 0, np.inf)],
)
def test_limits_follow_from_the_operation(cell: str, value: str, low: float, high: float) -> None:
    limits = limits_of(named_values(anyrnn.get(cell))[value])
    assert limits is not None
    assert (limits.low, limits.high) == (low, high)


def test_limits_of_activations_with_numbers() -> None:
    @anyrnn.cell
    def scaled(x, h, *, W, U):
        f = 1 - anyrnn.sigmoid(W.f @ x)
        g = 3 * tanh(W.g @ x) - 1
        k = -(tanh(U.k @ h))
        m = f * g
        return m * k

    named = named_values(scaled)
    found = {name: limits_of(named[name]) for name in "fgkm"}
    assert [(each.low, each.high) for each in found.values() if each] == [(0, 1), (-4, 2), (-1, 1)]
    assert found["m"] is None


def test_saturation() -> None:
    layer = LSTM(3, 4)
    x = torch.randn(9, 2, 3)
    with torch.no_grad():
        layer.bias_ih_l0.view(4, 4)[0].fill_(-50)
        layer.bias_ih_l0.view(4, 4)[1].fill_(50)
        layer.bias_ih_l0.view(4, 4)[2].copy_(torch.tensor([50, 50, 50, -50]))
    found = gates(layer, x).saturation
    assert (found["i"].low, found["i"].high) == (1, 0)
    assert (found["f"].low, found["f"].high) == (0, 1)
    assert (found["g"].low, found["g"].high) == (0.25, 0.75)
    values = gates(layer, x).values["o"]
    assert found["o"].low == pytest.approx((values < 0.1).mean())
    assert found["o"].high == pytest.approx((values > 0.9).mean())


# attributions


class Texts(nn.Module):
    """A classifier of tokens."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 3, dtype=float64)
        self.recurrent = Recurrent(cell, 3, 4, batch_first=True, dtype=float64)
        self.dense = nn.Linear(4, 3, dtype=float64)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dense(self.recurrent(self.embedding(tokens))[0][:, -1])


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_attributions_to_tokens(cell: str) -> None:
    torch.manual_seed(0)
    model, tokens = Texts(cell), torch.tensor([[3, 1, 4, 1, 5]])
    found = saliency(model, tokens, of=lambda logits: logits[0, 2])
    vectors = model.embedding(tokens).detach()

    def output(x: Tensor) -> float:
        return model.dense(model.recurrent(x)[0][0, -1])[2].item()

    assert found.value == pytest.approx(output(vectors), rel=1e-10)
    assert found.baseline_value == pytest.approx(output(torch.zeros_like(vectors)), rel=1e-10)
    total = found.integrated.sum()
    assert total == pytest.approx(found.value - found.baseline_value, abs=1e-8)
    assert found.gap < 1e-6
    for step, feature in ((0, 0), (2, 1), (4, 2)):
        shift = torch.zeros_like(vectors)
        shift[0, step, feature] = 1e-6
        slope = (output(vectors + shift) - output(vectors - shift)) / 2e-6
        wanted = slope * vectors[0, step, feature].item()
        assert found.gradient_times_input[0, step, feature] == pytest.approx(wanted, rel=1e-5)


def test_attributions_of_a_linear_cell_are_known() -> None:
    layer, x = leaky_layer(0.8), torch.randn(6, 2, dtype=float64)
    found = saliency(layer, x, of=lambda result: result[0][-1, 0])
    wanted = 0.8 ** np.arange(5, -1, -1) * x[:, 0].numpy()
    np.testing.assert_allclose(found.gradient_times_input[0, :, 0], wanted)
    np.testing.assert_allclose(found.integrated[0, :, 0], wanted)
    np.testing.assert_allclose(found.integrated[0, :, 1], 0)
    np.testing.assert_allclose(found.by_step, [wanted])


def test_attributions_of_packed_sequences() -> None:
    torch.manual_seed(0)
    layer, x = GRU(3, 4, dtype=float64), torch.randn(5, 2, 3, dtype=float64)
    lengths = torch.tensor([3, 5])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    found = saliency(layer, packed)
    alone = saliency(layer, x[:3, 0])
    np.testing.assert_allclose(found.integrated[0, :3], alone.integrated[0], atol=1e-9)
    assert not found.integrated[0, 3:].any()


# eigenvalues


def test_eigenvalues_are_those_of_numpy() -> None:
    torch.manual_seed(0)
    layer = GRU(3, 4, 2, dtype=float64)
    found = {each.name: each for each in spectrum(layer)}
    assert list(found) == [f"U.{gate}_l{k}" for k in (0, 1) for gate in "rzn"]
    for k in (0, 1):
        matrices = np.split(getattr(layer, f"weight_hh_l{k}").detach().numpy(), 3)
        for gate, matrix in zip("rzn", matrices, strict=True):
            wanted = np.linalg.eigvals(matrix)
            each = found[f"U.{gate}_l{k}"]
            np.testing.assert_allclose(np.sort(each.eigenvalues), np.sort(wanted))
            assert each.radius == pytest.approx(np.abs(wanted).max())
            assert abs(each.eigenvalues[0]) == pytest.approx(each.radius)


def test_which_matrices_have_eigenvalues() -> None:
    torch.manual_seed(0)
    layer = Recurrent(joint, 3, 4, dtype=float64)
    (found,) = spectrum(layer)
    matrix = layer.W_l0.detach().numpy()
    np.testing.assert_allclose(
        np.sort(found.eigenvalues), np.sort(np.linalg.eigvals(matrix[:, :4]))
    )
    layer = Recurrent(antisymmetric, 3, 4, dtype=float64)
    (found,) = spectrum(layer)
    np.testing.assert_allclose(found.eigenvalues.real, 0, atol=1e-12)
    (found,) = spectrum(leaky_layer(0.7))
    assert found.diagonal
    np.testing.assert_allclose(found.eigenvalues, 0.7)
    assert spectrum(Recurrent("mingru", 3, 4)) == []


# memory


@pytest.mark.parametrize(("factor", "steps"), [(0.5, 7), (0.9, 44), (1.0, None)])
def test_how_long_a_perturbation_survives(factor: float, steps: int | None) -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 3, 2, dtype=float64)
    found = persistence(leaky_layer(factor), x, step=4)
    np.testing.assert_allclose(found.whole.share, factor ** np.arange(56), atol=1e-8)
    assert found.steps_left() == steps


def test_perturbations_in_both_directions() -> None:
    """The distance of two runs from perturbed initial states, where the layer starts so."""
    torch.manual_seed(0)
    layer = Recurrent("gru", 3, 4, bidirectional=True, batch_first=True, dtype=float64)
    x = torch.randn(2, 6, 3, dtype=float64)
    found = persistence(layer, x, lengths=[6, 4], directions=1)
    assert [flow.name for flow in found.flows] == ["l0", "l0_reverse"]
    usual = layer(x, lengths=[6, 4], return_states="all")[1][1, 1, :4].detach()
    norms = found.flows[1].norms[1]
    assert norms[0] == pytest.approx(0.01 * usual[3].norm().item())
    assert np.isnan(norms[4:]).all()
    assert (np.diff(norms[:4]) < 0).all()


def test_a_perturbation_of_all_layers_is_followed() -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 4, 2, dtype=float64)
    x = torch.randn(9, 1, 3, dtype=float64)
    found = persistence(layer, x, directions=1, size=1e-6)
    assert found.whole.name == "all layers"
    jacobians = singular_values(layer, x)["all layers"]
    assert jacobians.shape == (1, 9, 16)
    _, states = layer(x[:1])
    norms = [torch.cat([s[k] for s in states], dim=1).norm().item() for k in (0, 1)]
    stretched = found.whole.norms[0, 8] / (1e-6 * np.linalg.norm(norms))
    assert jacobians[0, 8, -1] <= stretched <= jacobians[0, 8, 0]


def test_singular_values_of_a_torch_layer() -> None:
    torch.manual_seed(0)
    theirs = nn.LSTM(3, 4, dtype=float64)
    ours = LSTM(3, 4, dtype=float64)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 1, 3, dtype=float64)
    found = singular_values(ours, x)["l0"]
    np.testing.assert_allclose(found[0, 0], 1)

    def rest(start: int) -> Any:
        _, (h, c) = theirs(x[:start])

        def run(state: Tensor) -> Tensor:
            given = state[:4].view(1, 1, 4), state[4:].view(1, 1, 4)
            return torch.cat([each.flatten() for each in theirs(x[start:], given)[1]])

        return torch.autograd.functional.jacobian(run, torch.cat([h.flatten(), c.flatten()]))

    for back in (1, 3, 5):
        wanted = torch.linalg.svdvals(rest(6 - back))
        np.testing.assert_allclose(found[0, back], wanted, rtol=1e-8, atol=1e-12)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = GRU(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x)[0])[0]


class Never(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = GRU(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x


MISTAKES: dict[str, Any] = {
    "several times, which saliency": lambda x: saliency(Twice(), x),
    "several times; choose layers": lambda x: persistence(Twice(), x),
    "2 times; expected one call": lambda x: singular_values(Twice(), x),
    "did not call its recurrent layer": lambda x: saliency(Never(), x),
    "did not call its recurrent layers: 'layer'": lambda x: gates(Never(), x),
    "has several recurrent layers; give layer=": lambda x: saliency(
        nn.ModuleList([GRU(3, 3), GRU(3, 3)]), x
    ),
    "the most; use gradient_flow": lambda x: singular_values(GRU(3, 513), x),
    "no sequence has a step after": lambda x: persistence(GRU(3, 4), x, step=4),
    "at least one direction": lambda x: persistence(GRU(3, 4), x, directions=0),
    "no recurrent layer of anyrnn.torch": lambda x: spectrum(nn.Linear(3, 3)),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told(words: str) -> None:
    with pytest.raises(InputError) as told:
        MISTAKES[words](torch.randn(5, 2, 3))
    assert words in one_line(told.value)


def test_attributions_need_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "free_memory", lambda: 1 << 20)
    with pytest.raises(InputError, match="GiB are free"):
        saliency(GRU(3, 64), torch.randn(4000, 1, 3))
