"""What PyTorch does with modules besides calling them, on every cell and on layers with options:
traced graphs, other types, and the same bits every time; derivatives have a file of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from citizens import (
    bfloat16,
    each_layer,
    float32,
    float64,
    loss_of,
    made,
    of,
    results,
    tensors,
)
from torch import Tensor, nn
from torch.export import Dim
from torch.func import grad, vmap
from torch.nn.utils.rnn import pack_sequence

import anyrnn
from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


# traced graphs


class Every(nn.Module):
    """Layers beside each other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(made(name) for name in names)

    def forward(self, x: Tensor) -> list[Any]:
        return [layer(x) for layer in self.layers]


# norms in graphs: test_changed_cells.py; highways: test_layer_structure.py
SOME = ["lstm_projection", "rnn"]


def test_one_graph_of_many_layers() -> None:
    torch._dynamo.reset()
    model = Every(SOME)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
        for time, batch in ((5, 3), (3, 4)):
            x = torch.randn(time, batch, 2, dtype=float64)
            torch.testing.assert_close(results(compiled, x), results(model, x))


def test_many_layers_exported_for_all_sizes() -> None:
    model = Every(SOME).eval()
    sizes = {"x": {0: Dim("time"), 1: Dim("batch")}}
    given = torch.randn(5, 2, 2, dtype=float64)
    module = torch.export.export(model, (given,), dynamic_shapes=sizes).module()
    for time, batch in ((5, 2), (1, 3), (7, 1)):
        x = torch.randn(time, batch, 2, dtype=float64)
        torch.testing.assert_close(module(x), model(x))


def test_graphs_under_autocast_and_without_allow_rnn() -> None:
    torch._dynamo.reset()
    layer, own = Recurrent("gru", 3, 4), LSTM(3, 4)

    def mixed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", bfloat16):
            return layer(x)[0]

    compiled = torch.compile(mixed, fullgraph=True, dynamic=True, backend="aot_eager")
    for x in (torch.randn(5, 2, 3), torch.randn(4, 3, 3, dtype=bfloat16)):
        found = [
            torch.autograd.grad(call(x).sum(), [*layer.parameters()]) for call in (mixed, compiled)
        ]
        torch.testing.assert_close(*found)
        torch.testing.assert_close(mixed(x), compiled(x))
    x = torch.randn(5, 2, 3)
    broken = torch.compile(lambda x: own(x.sin())[0].cos(), backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(broken(x), own(x.sin())[0].cos())


def test_transforms_in_a_graph_end_it() -> None:
    torch._dynamo.reset()
    layer, x = Recurrent("gru", 3, 4), torch.randn(2, 5, 3)
    each = vmap(grad(loss_of(layer)), in_dims=(None, 0))
    parameters = dict(layer.named_parameters())
    compiled = torch.compile(each, backend="aot_eager")
    torch.testing.assert_close(compiled(parameters, x), each(parameters, x))


def test_marks_are_not_exported() -> None:
    layer, x = LSTM(3, 4), torch.randn(5, 2, 3)
    for marks in ({"lengths": [3, 1]}, {"mask": torch.ones(5, 2, dtype=torch.bool)}):
        with pytest.raises(InputError, match="export takes sequences of one length"):
            torch.export.export(layer, (x,), marks)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_by_jit() -> None:
    layer = LSTM(3, 4).eval()
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            traced = torch.jit.trace(layer, (torch.randn(5, 2, 3),))
            x = torch.randn(5, 2, 3)
            torch.testing.assert_close(traced(x), layer(x))


# types


@each_layer
def test_bfloat16(name: str) -> None:
    layer, x = made(name).bfloat16(), torch.randn(4, 2, 2).bfloat16()
    found = results(layer, x)
    assert {part.dtype for part in found} == {bfloat16}
    wanted = results(layer.double(), x.double())
    for ours, theirs in zip(found, wanted, strict=True):
        bound = 0.05 * max(1, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["rnn", "residual", "lstm_projection"])
def test_autocast(name: str) -> None:
    """What products multiply is rounded, and so are results; nothing else is."""
    layer, x = made(name, dtype=float32), torch.randn(4, 2, 2)
    wanted = results(layer, x)
    with torch.autocast("cpu", bfloat16):
        found = results(layer, x)
        assert layer.path.name == "compiled"
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype in (float32, bfloat16)
        scale = max(1, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=scale / 64)
    gradients = found[-1 - len(list(layer.parameters())) :]
    assert {part.dtype for part in gradients} == {float32}


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("own", [float32, bfloat16])
def test_masks_and_resets_in_other_types(kind: type[nn.Module], own: torch.dtype) -> None:
    layer, x = kind(3, 4, 2, bidirectional=True, learn_initial_state=True), torch.randn(6, 4, 3)
    marks: dict[str, Any] = {
        "lengths": [6, 0, 3, 1],
        "mask": torch.rand(6, 4) > 0.3,
        "resets": torch.rand(6, 4) > 0.7,
    }
    for given in ({"lengths": [6, 0, 3, 1]}, marks, {**marks, "padding": "carry"}):
        for returned in ("last", "all"):
            wanted = tensors(layer.float()(x, **given, return_states=returned))
            layer, rounded = layer.to(own), x.to(own)
            with torch.autocast("cpu", bfloat16, enabled=own == float32):
                found = tensors(layer(rounded, **given, return_states=returned))
            assert len({part.dtype for part in found}) == 1
            found = [part.float() for part in found]
            torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)


KINDS: dict[str, dict[str, Any]] = {
    "RNN": {},
    "LSTM": {},
    "GRU": {},
    "LSTM of two layers and directions": {"num_layers": 2, "bidirectional": True},
    "LSTM with a projection": {"proj_size": 2},
    "GRU without bias": {"bias": False},
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [bfloat16, torch.float16])
def test_autocast_gives_the_types_that_torch_gives(kind: str, low: torch.dtype) -> None:
    name, options = kind.split()[0], KINDS[kind]
    if name == "LSTM" and low == bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 on this CPU: torch computes its LSTM in float32")
    types = (float32, float64) if low == bfloat16 else (float32,)
    for own, state in itertools.product(types, (None, float32, low)):
        theirs = getattr(nn, name)(3, 4, dtype=own, **options)
        ours = getattr(anyrnn.torch, name)(3, 4, dtype=own, **options)
        ours.load_state_dict(theirs.state_dict())
        for dtype in (own,) if own == float64 else (float32, low):
            x = torch.randn(5, 2, 3, dtype=dtype)
            packed = pack_sequence([x[:, 0], x[:3, 1]])
            for given in (x, x[0], packed):
                initial = None
                if state is not None and own != float64 and given is x:
                    shapes = [part.shape for part in tensors(theirs(x.to(own))[1])]
                    initial = tuple(torch.randn(shape, dtype=state) for shape in shapes)
                    initial = initial if name == "LSTM" else initial[0]
                with torch.autocast("cpu", low):
                    try:
                        wanted = tensors(theirs(given, initial))
                    except RuntimeError:  # torch has no float16 there
                        continue
                    found = tensors(ours(given, initial))
                assert [part.dtype for part in found] == [part.dtype for part in wanted]
                tolerance = {"rtol": 0.0, "atol": 1e-12 if own == float64 else 0.05}
                torch.testing.assert_close(found, wanted, **tolerance)


@pytest.mark.parametrize("kind", [RNNCell, LSTMCell, GRUCell])
def test_autocast_of_single_steps(kind: type[nn.Module]) -> None:
    ours, theirs = kind(3, 4), getattr(nn, kind.__name__)(3, 4)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3)
    for gradient in (False, True):
        with torch.autocast("cpu", bfloat16), torch.set_grad_enabled(gradient):
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0.05)


# the same bits


def bits(layer: nn.Module, x: Tensor, gradient: bool) -> list[Tensor]:
    if gradient:
        return results(layer, x)
    with torch.no_grad():
        return tensors(layer(x))


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", ["gru_reset_before", "residual", "layer norm"])
def test_the_same_bits_every_time_for_any_threads(name: str, gradient: bool) -> None:
    layer = made(name, dtype=float32)
    for shape in ((9, 7, 2), (3, 40, 2), (11, 1, 2), (1, 5, 2)):
        x, wanted = torch.randn(*shape), None
        try:
            for threads in (1, 1, 2, 3, 2):
                torch.set_num_threads(threads)
                found = bits(layer, x, gradient)
                wanted = wanted or found
                assert all(map(torch.equal, found, wanted))
        finally:
            torch.set_num_threads(1)


@pytest.mark.parametrize("make", [of(LSTM, 33, 130), of(GRU, 20, 40, 2, bidirectional=True)])
def test_the_same_bits_for_large_layers(make: Callable[..., nn.Module]) -> None:
    """Outputs for any threads and other rows in the batch, gradients for any threads."""
    torch.manual_seed(0)
    layer = make()
    x = torch.randn(6, 19, layer.input_size)  # type: ignore[arg-type]
    wanted = results(layer, x)
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert all(map(torch.equal, results(layer, x), wanted))
    finally:
        torch.set_num_threads(1)
    for rows in (slice(0, 5), slice(3, 18), slice(None, None, 2)):
        for gradient in (False, True):
            assert torch.equal(bits(layer, x[:, rows], gradient)[0], wanted[0][:, rows])


@pytest.mark.parametrize("kind", [GRU, LSTMCell, Recurrent])
def test_a_script_is_refused_with_the_way_out(kind: Any) -> None:
    module = kind("lstm", 3, 4) if kind is Recurrent else kind(3, 4)
    for each in (module, nn.Sequential(nn.Linear(3, 3), module)):
        with pytest.raises(InputError, match=r"torch\.jit\.script .*; use torch\.jit\.trace or"):
            torch.jit.script(each)
