"""torch.nn's own operators: which calls they take, and that they compute the same."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import _VF, Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import anyrnn
import anyrnn.torch
from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, RNN, Recurrent, single_step
from anyrnn.torch.execute import forced

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
float64 = torch.float64
DEVICES = ("cuda", "mps", "xpu")
OPERATORS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@functools.cache
def elsewhere(device: str) -> type[Tensor]:
    """Tensors that say they are on a device, and are in the memory of this machine."""

    class Elsewhere(Tensor):
        is_cpu = False

        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return torch.device(device)

    return Elsewhere


def moved(module: Any, device: str) -> Any:
    for name, parameter in list(module.named_parameters()):
        there = parameter.detach().as_subclass(elsewhere(device))
        module._parameters[name] = nn.Parameter(there)
    return module


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operators of torch.nn that are called, by name."""
    names: list[str] = []

    def record(name: str) -> None:
        operator = getattr(_VF, name)

        def recorded(*arguments: Any) -> Any:
            names.append(name)
            return operator(*arguments)

        monkeypatch.setattr(_VF, name, recorded)

    for name in OPERATORS:
        record(name)
        record(f"{name}_cell")
    single_step._vendor.cache_clear()
    return names


def tensors(value: Any) -> list[Tensor]:
    if value is None:
        return []
    if isinstance(value, Tensor):
        return [value]
    parts = [value.data] if hasattr(value, "batch_sizes") else value
    return [tensor for part in parts for tensor in tensors(part)]


def results_and_gradients(layer: nn.Module, x: Any, state: Any, **marks: Any) -> list[Tensor]:
    torch.manual_seed(1)
    found = tensors(layer(x, state, **marks))
    generator = torch.Generator().manual_seed(2)
    factors = [torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in found]
    leaves = [t for t in (*tensors(x), *tensors(state), *layer.parameters()) if t.requires_grad]
    gradients = torch.autograd.grad(found, leaves, factors, allow_unused=True)
    return [*found, *(g for g in gradients if g is not None)]


PLAIN = {"rnn": 1, "rnn_relu": 1, "gru": 1, "lstm": 2, "lstm_projection": 2}


@settings(max_examples=60)
@given(data=st.data())
def test_any_layer_of_these_cells_computes_the_same(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 99)))
    name = draw(st.sampled_from(list(PLAIN)))
    sizes: dict[str, Any] = {"projection_size": 2} if name == "lstm_projection" else {}
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
        "learn_initial_state": draw(st.booleans()),
        **draw(st.sampled_from([{}, {}, {"residual": True}, {"weight_dropout": 0.5}])),
    }
    if options["bidirectional"]:
        options["merge"] = draw(st.sampled_from(["concat", "concat", "sum"]))
    size = 2 if name == "lstm_projection" else 3
    if options.get("residual") and options.get("merge", "concat") == "concat":
        options["merge"] = "mean" if options["bidirectional"] else "concat"
    layer = Recurrent(name, size, 3, **sizes, **options, dtype=float64)
    time, batch = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    marks: dict[str, Any] = draw(st.sampled_from([{}, {"lengths": lengths}]))
    if draw(st.booleans()):
        shape = (batch, time) if options["batch_first"] else (time, batch)
        marks |= {"resets": torch.rand(shape) < 0.3}
    shape = (batch, time, size) if options["batch_first"] else (time, batch, size)
    x = torch.randn(shape, dtype=float64, requires_grad=True)
    found = []
    for path in ("vendor", "operations"):
        with forced(path):
            found.append(results_and_gradients(layer, x, None, **marks))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "options", "operator"), [
    (LSTM, {}, "lstm"),
    (LSTM, {"num_layers": 3, "bidirectional": True, "bias": False, "batch_first": True}, "lstm"),
    (GRU, {"num_layers": 2, "dropout": 0.5}, "gru"),
    (RNN, {"bidirectional": True}, "rnn_tanh"),
    (RNN, {"nonlinearity": "relu"}, "rnn_relu"),
])  # fmt: skip
def test_without_kernels_one_call_of_torchs_operator(
    kind: type[nn.Module],
    options: dict[str, Any],
    operator: str,
    device: str,
    called: list[str],
) -> None:
    torch.manual_seed(0)
    ours = kind(3, 5, **options, dtype=float64)
    theirs = getattr(nn, kind.__name__)(3, 5, **options, dtype=float64)
    theirs.load_state_dict(ours.state_dict())
    moved(ours, device)
    assert str(ours.path) == f"vendor: torch.nn's {kind.__name__} on {device}"
    sequences = [torch.randn(time, 3, dtype=float64) for time in (2, 6, 4)]
    for x in (torch.randn(4, 2, 3, dtype=float64), pack_sequence(sequences, enforce_sorted=False)):
        there = elsewhere(device)
        given_x = x.as_subclass(there) if isinstance(x, Tensor) else x._replace(
            data=x.data.as_subclass(there)
        )  # fmt: skip
        torch.manual_seed(3)
        found = ours(given_x)
        assert called == [operator]
        called.clear()
        torch.manual_seed(3)
        wanted = theirs(x)
        called.clear()
        for one, other in zip(tensors(found), tensors(wanted), strict=True):
            assert torch.equal(one.as_subclass(Tensor), other)


@pytest.mark.parametrize("device", DEVICES)
def test_single_steps_are_torchs_too(device: str, called: list[str]) -> None:
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        cell = moved(getattr(anyrnn.torch, name)(3, 5), device)
        cell(torch.randn(2, 3).as_subclass(elsewhere(device)))
    assert called == ["rnn_tanh_cell", "lstm_cell", "gru_cell"]


@pytest.mark.parametrize("name", PLAIN)
def test_recurrent_takes_it_for_the_catalogues_cells(name: str, called: list[str]) -> None:
    sizes: dict[str, Any] = {"projection_size": 2} if name == "lstm_projection" else {}
    layer = moved(Recurrent(name, 3, 4, num_layers=2, bidirectional=True, **sizes), "cuda")
    assert layer.path.name == "vendor"
    layer(torch.randn(5, 2, 3).as_subclass(elsewhere("cuda")))
    assert len(called) == 1


@anyrnn.cell
def my_gru(x, h, *, W, U, b):
    r, z = anyrnn.sigmoid(W.r @ x + U.r @ h + b.r), anyrnn.sigmoid(W.z @ x + U.z @ h + b.z)
    n = anyrnn.tanh(W.n @ x + r * (U.n @ h) + b.n)
    return (1 - z) * h + z * n


def test_what_torch_does_not_have_goes_on_to_operations(called: list[str]) -> None:
    x = torch.randn(5, 2, 3).as_subclass(elsewhere("mps"))
    nothing = "tensors on mps, and torch.nn has no cell with the equations of "
    for layer, name in (
        (LSTM(3, 4, norm="layer"), "lstm"),
        (GRU(3, 4, activations={"tanh": "relu"}), "gru"),
        (GRU(3, 4, zoneout=0.1), "gru"),
        (LSTM(3, 4, recurrent_dropout=0.1), "lstm"),
        (Recurrent("lstm_peephole", 3, 4), "lstm_peephole"),
        (Recurrent(my_gru, 3, 4), "my_gru"),
    ):
        moved(layer, "mps")
        assert str(layer.path) == f"operations: {nothing}'{name}'"
        layer(x)
        assert not called
    projected = moved(LSTM(3, 4, proj_size=2), "mps")
    assert "no LSTM with a projection on mps" in projected.path.reason
    assert moved(LSTM(3, 4, proj_size=2), "cuda").path.name == "vendor"
    assert moved(LSTM(3, 4, zoneout=0.1).eval(), "cuda").path.name == "operations"
    assert moved(LSTM(3, 4, recurrent_dropout=0.1).eval(), "cuda").path.name == "vendor"


def test_every_state_is_operations(called: list[str]) -> None:
    layer = moved(LSTM(3, 4), "cuda")
    layer(torch.randn(5, 2, 3).as_subclass(elsewhere("cuda")), return_states="all")
    assert not called


def test_gradients_in_eval_mode(called: list[str]) -> None:
    """cuDNN keeps what a derivative reads in training only: the operator is told that it is."""
    layer = moved(LSTM(3, 4, num_layers=2, dropout=0.5).eval(), "cuda")
    x = torch.randn(5, 2, 3).as_subclass(elsewhere("cuda"))
    assert torch.equal(layer(x)[0], layer(x)[0])
    layer(x)[0].sum().backward()
    assert layer.weight_ih_l0.grad is not None
    assert called == ["lstm"] * 3


def test_forced_on_a_cell_that_torch_lacks() -> None:
    layer = Recurrent("lstm_peephole", 3, 4)
    message = "'vendor' is forced, but torch.nn has no cell with the equations of 'lstm_peep"
    with forced("vendor"), pytest.raises(InputError, match=message):
        layer(torch.randn(5, 2, 3))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_trace_takes_other_lengths_and_batches(kind: type[nn.Module]) -> None:
    layer = kind(3, 4, num_layers=2, bidirectional=True)
    traced: Any = torch.jit.trace(layer, (torch.randn(5, 2, 3),))
    step = getattr(anyrnn.torch, f"{kind.__name__}Cell")(3, 4)
    traced_step: Any = torch.jit.trace(step, (torch.randn(2, 3),))
    for time, batch in ((7, 3), (1, 1)):
        x = torch.randn(time, batch, 3)
        torch.testing.assert_close(traced(x), layer(x))
        torch.testing.assert_close(traced_step(x[0]), step(x[0]))


# single steps that autograd follows


WIDE = 256  # hidden units from which on a layer's step is torch.nn's
STEPS: dict[str, tuple[Any, str]] = {
    "GRU, batch first": (GRU(3, WIDE, batch_first=True, dtype=float64), "gru_cell"),
    "RNN, relu": (RNN(3, WIDE, nonlinearity="relu", dtype=float64), "rnn_relu_cell"),
    "GRU without a bias": (GRU(3, WIDE, bias=False, dtype=float64), "gru_cell"),
    "the cell gru": (Recurrent("gru", 3, WIDE, batch_first=True, dtype=float64), "gru_cell"),
    "the cell rnn": (Recurrent("rnn", 3, WIDE, dtype=float64), "rnn_tanh_cell"),
    "LSTMCell": (anyrnn.torch.LSTMCell(3, 5, dtype=float64), "lstm_cell"),
    "GRUCell": (anyrnn.torch.GRUCell(3, 5, dtype=float64), "gru_cell"),
    "RNNCell": (anyrnn.torch.RNNCell(3, 5, dtype=float64), "rnn_tanh_cell"),
}


def step(module: nn.Module, with_state: bool) -> list[Tensor]:
    """The results of a step, and gradients of all."""
    torch.manual_seed(0)
    is_cell = isinstance(module, nn.RNNCellBase)
    first = getattr(module, "batch_first", False)
    x = torch.randn((4, 3) if is_cell else (4, 1, 3) if first else (1, 4, 3), dtype=float64)
    number = 2 if isinstance(module, nn.LSTMCell) else 1
    shape = (4, 5) if is_cell else (1, 4, WIDE)
    states = [torch.randn(shape, dtype=float64) for _ in range(number)]
    leaves = [x, *(states if with_state else ())]
    for leaf in leaves:
        leaf.requires_grad_()
    state = (states[0] if number == 1 else tuple(states)) if with_state else None
    found = tensors(module(x, state))
    weighted = [part * torch.randn_like(part) for part in found]
    total = torch.stack([part.sum() for part in weighted]).sum()
    return [*found, *torch.autograd.grad(total, [*leaves, *module.parameters()])]


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_with_a_gradient_is_torch_nns(
    name: str, with_state: bool, called: list[str]
) -> None:
    module, operator = STEPS[name]
    found = step(module, with_state)
    assert called == [operator]
    with forced("compiled"):
        wanted = step(module, with_state)
    assert called == [operator]
    torch.testing.assert_close(found, wanted)


def test_which_steps_are_not(called: list[str]) -> None:
    x = torch.randn(1, 4, 3, requires_grad=True)
    with torch.no_grad():
        LSTM(3, 5)(x)
    with torch.autocast("cpu", torch.bfloat16):
        LSTM(3, 5)(x)
    GRU(3, WIDE, memory="low")(x)
    LSTM(3, WIDE, proj_size=2)(x)
    GRU(3, WIDE, 2)(x)
    Recurrent("lstm_peephole", 3, 5)(x)
    Recurrent("gru", 3, WIDE, recurrent_dropout=0.5)(x)
    GRU(3, WIDE)(torch.cat([x, x]))
    anyrnn.torch.LSTMCell(512, 512)(torch.randn(2, 512))
    for layer in (LSTM(3, 5), LSTM(3, WIDE), LSTM(512, 512), GRU(3, 100), RNN(128, 128)):
        size = layer.input_size
        for _ in range(3):  # calls that come again, too
            layer(torch.randn(1, 2, size))[0].sum().backward()
    assert not called


def test_a_layer_says_which_steps_are_torch_nns() -> None:
    end = "; one step with a gradient: torch.nn's"
    assert LSTM(3, 5).path.name == "compiled"
    assert str(RNN(3, WIDE, nonlinearity="relu").path).endswith(f"{end} RNN")
    assert str(Recurrent("gru", 3, WIDE).path).endswith(f"{end} GRU")
    for layer in (
        GRU(3, WIDE, memory="low"),
        GRU(3, WIDE, 2),
        GRU(3, 5),
        LSTM(512, 512),
        Recurrent("sru", 5, 5),
    ):
        assert end not in str(layer.path)
    with forced("compiled"):
        assert str(GRU(3, WIDE).path) == "compiled: asked for"


def test_a_second_derivative_of_a_step() -> None:
    module = anyrnn.torch.GRUCell(3, 5, dtype=float64)
    x = torch.randn(2, 3, dtype=float64, requires_grad=True)
    h = torch.randn(2, 5, dtype=float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(module, (x, h))
