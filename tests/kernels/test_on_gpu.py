"""The kernels of GPUs on a GPU: `make gpu-test`. What Triton's interpreter cannot tell: races,
streams, waiting, graphs, bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import anyrnn
from anyrnn.kernels.gpu import graphs
from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch.execute import forced
from invented_cells import INVENTED

if not torch.cuda.is_available():
    pytest.skip("no GPU: torch.cuda.is_available() is False", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET", "0") != "0":
    pytest.skip("Triton's interpreter is on; make gpu-test", allow_module_level=True)

pytestmark = [  # which are errors elsewhere
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous"),
]
CELLS = {**anyrnn.CATALOGUE, **INVENTED}
TYPES = (torch.float32, torch.float16, torch.bfloat16)
SIZES = {"one tile": (5, 3, 4, 7), "several": (23, 37, 67, 73), "launches": (9, 33, 40, 600)}


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products of float32 with all digits."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True


def made(
    name: str, size: str, dtype: torch.dtype = torch.float32
) -> tuple[Recurrent, torch.Tensor]:
    """A layer and its input."""
    torch.manual_seed(0)
    time, batch, features, hidden = SIZES[size]
    cell = CELLS[name]
    same = not {"input", "hidden"} <= {*cell.free_sizes}
    further = {f"{n}_size": 5 for n in cell.free_sizes if n not in ("input", "hidden")}
    layer = Recurrent(cell, hidden if same else features, hidden, **further)
    layer.to("cuda", dtype)
    x = torch.randn(time, batch, layer.input_size, device="cuda", dtype=dtype)
    return layer, x.requires_grad_()


def results(layer: Any, x: torch.Tensor, path: str, **marks: Any) -> list[torch.Tensor]:
    """The outputs, the last states and every gradient."""
    torch.manual_seed(1)
    with forced(path):
        output, state = layer(x, **marks)
        states = state if isinstance(state, tuple) else (state,)
        total = output.square().sum() + sum(part.sum() for part in states)
        wanted = [x, *layer.parameters()]
        return [output, *states, *torch.autograd.grad(total, wanted, allow_unused=True)]


def close(found: list[torch.Tensor], exact: list[torch.Tensor], usual: list[torch.Tensor]) -> None:
    """As close to exact values as torch's operations in the same type."""
    for ours, right, theirs in zip(found, exact, usual, strict=True):
        if right is None:
            assert ours is None or not ours.any()
            continue
        scale = max(1.0, right.abs().max().item())
        error = (ours.double() - right).abs().max().item()
        least = max(1e-5, torch.finfo(ours.dtype).eps)
        assert error <= 3 * (theirs.double() - right).abs().max().item() + least * scale


def check(layer: Any, x: torch.Tensor, **marks: Any) -> None:
    """Compare kernels with torch's operations in float64; marks may be anywhere."""
    found, usual = (results(layer, x, path, **marks) for path in ("compiled", "operations"))
    exact = results(layer.double(), x.detach().double().requires_grad_(), "operations", **marks)
    close(found, exact, usual)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if not cell.draws])
def test_cells(name: str, dtype: torch.dtype, size: str) -> None:
    check(*made(name, size, dtype))


def marks_of(x: torch.Tensor, *names: str) -> dict[str, torch.Tensor]:
    """Some marks for an input, on its device."""
    time, batch, _ = x.shape
    draw = torch.Generator().manual_seed(2)
    every = {
        "lengths": torch.randint(0, time + 1, (batch,), generator=draw),
        "mask": torch.rand(time, batch, generator=draw) < 0.7,
        "resets": torch.rand(time, batch, generator=draw) < 0.2,
    }
    return {name: every[name].to(x.device) for name in names}


@pytest.mark.parametrize("size", ["several", "launches"])
@pytest.mark.parametrize("there", [False, True], ids=["on the CPU", "on the GPU"])
@pytest.mark.parametrize("names", [("lengths",), ("mask",), ("resets",), ("mask", "resets")])
@pytest.mark.parametrize("name", ["lstm_peephole", "gru_reset_before", "mingru", "qrnn"])
def test_marks(name: str, names: tuple[str, ...], there: bool, size: str) -> None:
    layer, x = made(name, size)
    given = marks_of(x, *names)
    check(layer, x, **(given if there else {name: part.cpu() for name, part in given.items()}))


@pytest.mark.parametrize(
    "options", [{"recurrent_dropout": 0.4}, {"zoneout": 0.2}, {"norm": "layer"}]
)
def test_options(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm", 67, 73, bidirectional=True, **options).cuda()
    x = torch.randn(11, 5, 67, device="cuda", requires_grad=True)
    check(layer, x)


@pytest.mark.parametrize("names", [("lengths",), ("mask",), ("lengths", "mask")])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_marks_of_cudnn(name: str, names: tuple[str, ...]) -> None:
    """Padded where they are on the GPU, packed where they are not; neither waits in vain."""
    torch.manual_seed(0)
    layer = Recurrent(name, 67, 73, num_layers=2, bidirectional=True).cuda()
    x = torch.randn(23, 37, 67, device="cuda", requires_grad=True)
    given = marks_of(x, *names)
    padded = results(layer, x, "vendor", **given)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results(layer, x, "vendor", **given)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    packed = results(layer, x, "vendor", **{name: part.cpu() for name, part in given.items()})
    exact = results(layer.double(), x.detach().double().requires_grad_(), "operations", **given)
    close(padded, exact, packed)


@pytest.mark.parametrize("kind", [(LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_torch_has_the_same_numbers(kind: tuple[type[nn.Module], type[nn.Module]]) -> None:
    ours, theirs = (each(65, 130, 2, bidirectional=True).cuda() for each in kind)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(31, 17, 65, device="cuda")
    assert ours.path.name == "vendor"
    for path in ("vendor", "compiled"):
        with forced(path):
            torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", ["several", "launches"])
@pytest.mark.parametrize("name", ["lstm_peephole", "normalised", "gru_reset_before", "mingru"])
def test_the_same_bits_in_each_of_many_runs(name: str, size: str) -> None:
    layer, x = made(name, size)
    first = results(layer, x, "compiled")
    for _ in range(20):
        for ours, again in zip(first, results(layer, x, "compiled"), strict=True):
            assert torch.equal(ours, again)


def test_autocast() -> None:
    layer, x = made("lstm_peephole", "several")
    with torch.autocast("cuda", torch.bfloat16):
        assert str(layer.path).startswith("compiled: torch.bfloat16")
        output, _ = layer(x)
    output.float().sum().backward()
    assert layer.W_l0.grad.dtype is torch.float32
    torch.testing.assert_close(output.float(), layer(x)[0], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("marks", [(), ("lengths",), ("mask",), ("mask", "resets")])
def test_nothing_waits(marks: tuple[str, ...]) -> None:
    layer, x = made("lstm_peephole", "several")
    given = marks_of(x, *marks)
    results(layer, x, "compiled", **given)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results(layer, x, "compiled", **given)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_another_stream() -> None:
    layer, x = made("gru_reset_before", "several")
    wanted = results(layer, x, "compiled")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = results(layer, x, "compiled")
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_another_device_than_the_current_one() -> None:
    layer, x = made("lstm_peephole", "several")
    wanted = results(layer, x, "compiled")
    other = x.detach().to("cuda:1").requires_grad_()
    found = [part.to("cuda:0") for part in results(layer.to("cuda:1"), other, "compiled")]
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_graphs_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = made("lstm_peephole", "launches")
    wanted = results(layer, x, "compiled")
    monkeypatch.setenv(graphs.VARIABLE, "1")
    monkeypatch.setattr(graphs, "GRAPHS", graphs.LaunchGraphs())
    for _ in range(6):
        for ours, right in zip(results(layer, x, "compiled"), wanted, strict=True):
            assert torch.equal(ours, right)
    assert graphs.GRAPHS.recorded


@pytest.mark.parametrize("size", ["several", "launches"])
def test_a_graph_of_cuda(size: str) -> None:
    layer, x = made("lstm_peephole", size)
    with torch.no_grad():
        for _ in range(3):
            wanted = layer(x)[0]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = layer(x)[0]
        output.zero_()
        graph.replay()
    torch.testing.assert_close(output, wanted, rtol=0, atol=0)
