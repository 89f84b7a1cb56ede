"""Options that change the equations of a cell, on layers: `activations`, `norm`, `heads`,
`independent`, `proj_size`, `clip_state`, `clip_gradient`.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

import anyrnn
from anyrnn.errors import AnyrnnError
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.execute import forced
from anyrnn.transforms import transform
from checks import close, one_line

LENGTHS = [3, 6, 1, 5]


@pytest.fixture(autouse=True)
def double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def spread(layer: nn.Module) -> None:
    """Random parameters: gains of 1 and initial states of 0 hide mistakes."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)


# each option alone, against torch


def test_activations_are_torchs_rnn_with_relu() -> None:
    layer, theirs = RNN(3, 5, activations={"tanh": "relu"}), nn.RNN(3, 5, nonlinearity="relu")
    layer.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 4, 3)
    torch.testing.assert_close(layer(x), theirs(x))


def blocks(matrix: Tensor, gates: int, heads: int) -> Tensor:
    """The recurrent matrix of torch for the stored blocks, (heads, gates, head, head)."""
    size = matrix.shape[1]
    parts = matrix.unflatten(0, (heads, gates, size)).transpose(0, 1)
    return torch.cat([torch.block_diag(*gate) for gate in parts])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_heads_are_blocks_of_torchs_matrices(name: str) -> None:
    layer = getattr(anyrnn.torch, name)(3, [6, 4], heads=2)
    theirs = [getattr(nn, name)(3, 6), getattr(nn, name)(6, 4)]
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[name]
    x = torch.randn(6, 4, 3)
    output, _ = layer(x)
    with torch.no_grad():
        for place, other in enumerate(theirs):
            for part in ("weight_ih", "bias_ih", "bias_hh"):
                getattr(other, f"{part}_l0").copy_(getattr(layer, f"{part}_l{place}"))
            other.weight_hh_l0.copy_(blocks(getattr(layer, f"weight_hh_l{place}"), gates, 2))
            x, _ = other(x)
    torch.testing.assert_close(output, x)


def test_independent_units_are_a_diagonal() -> None:
    layer, theirs = GRU(3, 5, independent=True), nn.GRU(3, 5)
    state = layer.state_dict()
    assert state["weight_hh_l0"].shape == (15,)
    diagonals = [torch.diag(gate) for gate in state["weight_hh_l0"].chunk(3)]
    theirs.load_state_dict({**state, "weight_hh_l0": torch.cat(diagonals)})
    x = torch.randn(6, 4, 3)
    torch.testing.assert_close(layer(x), theirs(x))


def test_normalised_lstm_by_hand() -> None:
    """Ba et al. 2016, equations 20 to 22."""
    layer = LSTM(3, 5, norm="layer")
    assert layer.input_gain_l0.tolist() == [1.0] * 20
    assert layer.state_gain_l0.tolist() == [1.0] * 5
    assert layer.state_bias_l0.tolist() == [0.0] * 5
    spread(layer)
    norm = nn.functional.layer_norm
    x, h, c = torch.randn(6, 4, 3), torch.zeros(4, 5), torch.zeros(4, 5)
    outputs = []
    for x_t in x:
        parts = []
        for gain, product in (
            (layer.input_gain_l0, x_t @ layer.weight_ih_l0.t()),
            (layer.recurrent_gain_l0, h @ layer.weight_hh_l0.t()),
        ):
            gates = zip(gain.chunk(4), product.chunk(4, dim=-1), strict=True)
            parts.append(torch.cat([norm(gate, (5,), own) for own, gate in gates], dim=-1))
        gates = sum(parts) + layer.bias_ih_l0 + layer.bias_hh_l0
        i, f, g, o = gates.chunk(4, dim=-1)  # type: ignore[union-attr]
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * norm(c, (5,), layer.state_gain_l0, layer.state_bias_l0).tanh()
        outputs.append(h)
    torch.testing.assert_close(layer(x)[0], torch.stack(outputs), rtol=1e-9, atol=1e-9)


def test_projection_of_an_lstm_is_torchs_and_other_cells_have_one_too() -> None:
    theirs, x = nn.LSTM(3, 5, proj_size=2), torch.randn(6, 4, 3)
    layer = Recurrent("lstm", 3, 5, proj_size=2)
    with torch.no_grad():
        layer.W_l0.copy_(theirs.weight_ih_l0)
        layer.U_l0.copy_(theirs.weight_hh_l0)
        layer.P_l0.copy_(theirs.weight_hr_l0)
        layer.b_l0.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
    torch.testing.assert_close(layer(x), theirs(x))
    simple = RNN(3, 5, proj_size=2)
    h, outputs = torch.zeros(4, 2), []
    for x_t in x:
        inner = x_t @ simple.weight_ih_l0.t() + h @ simple.weight_hh_l0.t()
        inner = inner + simple.bias_ih_l0 + simple.bias_hh_l0
        h = inner.tanh() @ simple.weight_hr_l0.t()
        outputs.append(h)
    torch.testing.assert_close(simple(x)[0], torch.stack(outputs))
    output, (h, unprojected) = GRU(3, 5, proj_size=2)(x)
    assert (output.shape, h.shape, unprojected.shape) == ((6, 4, 2), (1, 4, 2), (1, 4, 5))
    sizes = Recurrent(["gru", "lstm"], 3, 5, proj_size=[0, 2])
    assert sizes(x)[0].shape == (6, 4, 2)


def test_clipped_states_and_gradients() -> None:
    layer = LSTM(3, 5, clip_state={"c": 0.1})
    spread(layer)
    _, (_, c) = layer(torch.randn(6, 4, 3), return_states="all")
    assert c.abs().max() == 0.1
    plain, clipped = RNN(3, 5), RNN(3, 5, clip_gradient=0.01)
    spread(plain)
    clipped.load_state_dict(plain.state_dict())
    x, h = torch.randn(6, 4, 3), torch.zeros(1, 4, 5, requires_grad=True)
    torch.testing.assert_close(clipped(x), plain(x))
    (found,) = torch.autograd.grad(clipped(x, h)[0].sum(), h)
    (free,) = torch.autograd.grad(plain(x, h)[0].sum(), h)
    assert found.abs().max() <= 0.01 < free.abs().max()


# pairs of options, against the interpreter


OPTIONS: dict[str, Any] = {
    "activations": {"sigmoid": "hard_sigmoid"},
    "norm": "rms",
    "heads": 2,
    "independent": True,
    "proj_size": 3,
    "clip_state": 0.3,
    "clip_gradient": 0.05,
}
EXCLUDE = {"heads", "independent", "proj_size"}
PAIRS = [pair for pair in itertools.combinations(OPTIONS, 2) if not EXCLUDE.issuperset(pair)] + [
    tuple(name for name in OPTIONS if name not in ("independent", "proj_size"))
]


@pytest.mark.parametrize("chosen", PAIRS, ids="+".join)
def test_pairs_of_options_are_the_interpreters(chosen: tuple[str, ...]) -> None:
    options = {name: OPTIONS[name] for name in chosen}
    layer = Recurrent("lstm_peephole", 3, 4, 2, bidirectional=True, merge="mean", **options)
    spread(layer)
    named = {
        ("projection" if name == "proj_size" else name): value for name, value in options.items()
    }
    if "projection" in named:
        named["projection"] = True
    cell = transform(anyrnn.get("lstm_peephole"), **named)
    assert layer.cell is cell
    x = torch.randn(6, 4, 3)
    with forced("operations"):
        output, last = layer(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        data = x[:length, row : row + 1].numpy()
        for place in range(2):
            both = []
            for direction, end in enumerate(("", "_reverse")):
                weights = {
                    stored.name: getattr(layer, f"{stored.name}_l{place}{end}").detach().numpy()
                    for stored in cell.parameters
                }
                given = data[::-1] if direction else data
                result = anyrnn.interpret(cell, given, parameters=weights)
                both.append(result.output[::-1] if direction else result.output)
                for found, wanted in zip(last, result.states, strict=True):
                    close(found[2 * place + direction, row : row + 1].detach(), wanted, 1e-11)
            data = np.mean(both, axis=0)
        close(output[:length, row : row + 1].detach(), data, 1e-11)
        assert not output[length:, row].any()


EVERY: dict[str, Any] = {"norm": "layer", "clip_state": 0.5, "clip_gradient": 0.5}


def test_the_compiled_path() -> None:
    x = torch.randn(6, 4, 3, requires_grad=True)
    for options in ({**EVERY, "heads": 2}, {**EVERY, "independent": True}):
        layer = GRU(3, 4, 2, bidirectional=True, **options)
        spread(layer)
        found = []
        for path in ("compiled", "operations"):
            with forced(path):
                output, last = layer(x, lengths=LENGTHS)
            loss = output.square().sum() + last.sum()
            found.append([output, last, *torch.autograd.grad(loss, [x, *layer.parameters()])])
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
        assert str(layer.path).startswith("compiled")


@pytest.mark.parametrize("kind", [GRU, Recurrent])
def test_with_all_that_layers_do(kind: type[nn.Module]) -> None:
    """Copies, files, traced graphs, steps, every state and value, weight dropout."""
    positional = ("gru", 3) if kind is Recurrent else (3,)
    options = {**EVERY, "heads": 2, "learn_initial_state": True, "residual": True}
    layer = kind(*positional, [4, 4], **options)
    spread(layer)
    x = torch.randn(6, 4, 3)
    output, last = layer(x)
    other = kind(*positional, [4, 4], **options)
    assert repr(other) == repr(layer)
    assert "heads=2" in repr(layer)
    assert "head_size" not in repr(layer)
    other.load_state_dict(layer.state_dict())
    for copied in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(copied(x), (output, last), rtol=0, atol=0)
    state = None
    with torch.no_grad():
        for x_t in x:
            step, state = layer.step(x_t, state)
    torch.testing.assert_close((step, state), (output[-1], last))
    all_output, h = layer(x, return_states="all")
    torch.testing.assert_close(all_output, output)
    torch.testing.assert_close(layer.inspect(x)["h_l1"], h[1].detach())
    if kind is GRU:  # test_layer_structure.py traces the other kind
        torch._dynamo.reset()
        with torch._dynamo.config.patch(allow_rnn=True):
            compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
            torch.testing.assert_close(compiled(x), (output, last))
    dropped = kind(*positional, 4, norm="rms", heads=2, weight_dropout=0.5)
    assert not torch.equal(dropped(x)[0], dropped(x)[0])


def test_without_bias_what_a_norm_adds_stays() -> None:
    layer = Recurrent("lstm", 3, 5, bias=False, norm="layer")
    names = [name for name, _ in layer.named_parameters()]
    assert names == [
        f"{name}_l0"
        for name in ("W", "U", "input_gain", "recurrent_gain", "state_gain", "state_bias")
    ]
    assert not any(
        "bias_ih" in name for name, _ in LSTM(3, 5, bias=False, norm="rms").named_parameters()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, "norm='batch'; expected 'layer' or 'rms'"),
        ({"heads": 2}, "2 does not divide"),
        ({"heads": 0}, "heads=0; expected a whole number of at least 1"),
        ({"heads": 5, "independent": True}, "heads=5 and independent=True exclude each other"),
        ({"independent": 1}, "independent=1; expected True or False"),
        ({"activations": {"sigmoid": "tan"}}, "'tan' is not known; did you mean tanh?"),
        ({"activations": {"exp": "tanh"}}, "cell 'gru' does not use exp; it uses: sigmoid, tanh"),
        ({"clip_state": {"c": 1.0}}, "cell 'gru' has no state 'c'; its states are: h"),
        ({"clip_state": -1}, "clip_state=-1; expected a number above zero"),
        ({"clip_gradient": 0}, "clip_gradient=0; expected a number above zero"),
        (
            {"proj_size": 5},
            "needs projection smaller than hidden, but projection_size=5 and hidden",
        ),
        ({"proj_size": -1}, "proj_size=-1; expected a whole number of at least 0"),
        ({"proj_size": 2.5}, "proj_size=2.5; expected a whole number of at least 0"),
        ({"independent": True, "weight_dropout": 0.5}, "the cell 'gru' has no recurrent matrix"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    for make in (lambda: GRU(3, 5, **options), lambda: Recurrent("gru", 3, 5, **options)):
        with pytest.raises(AnyrnnError) as caught:
            make()
        assert message in one_line(caught.value)


def test_a_projection_of_the_cell_itself() -> None:
    torch.manual_seed(1)
    layer = Recurrent("lstm_projection", 3, 5, proj_size=2)
    torch.manual_seed(1)
    named = Recurrent("lstm_projection", 3, 5, projection_size=2)
    x = torch.randn(6, 4, 3)
    assert torch.equal(layer(x)[0], named(x)[0])
    with pytest.raises(AnyrnnError, match="proj_size=2 and projection_size=3 are one size"):
        Recurrent("lstm_projection", 3, 5, proj_size=2, projection_size=3)


def test_a_near_miss_of_an_option() -> None:
    for make in (partial(GRU, 3, 5), partial(Recurrent, "gru", 3, 5)):
        with pytest.raises(AnyrnnError, match=r"no option 'residul'; did you mean residual\?"):
            make(residul=True)
        with pytest.raises(TypeError, match="residul"):
            make(residul=True)
