"""Which way a call is computed, and what must hold on the compiled one."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest
import torch

from anyrnn import Cell, get
from anyrnn.errors import InputError
from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch.execute import Path, choose, forced
from anyrnn.torch.path import _decide


def test_layers_say_their_path() -> None:
    assert LSTM(3, 4).path.name == "compiled"
    assert Recurrent("gru", 3, 4).path.name == "compiled"
    assert str(GRU(3, 4, dtype=torch.float16).path) == "operations: tensors of float16"
    assert str(GRU(3, 4, device="meta").path) == "operations: tensors on meta"
    with forced("operations"):
        assert LSTM(3, 4).path == Path("operations", "asked for")
    with (
        pytest.raises(InputError, match="no path is called 'fast'; there are: compiled"),
        forced("fast"),
    ):
        pass


class Elsewhere:
    """A target of another device than the CPU."""

    name = "some compiler"

    def refusal(self, cell: Cell | None, dtype: str | None) -> str | None:
        return None if dtype == "float32" else f"tensors of {dtype}"


def test_the_order_on_a_gpu() -> None:
    """First torch.nn's operator, then our kernels, then operations."""

    def path(name: str, dtype: torch.dtype = torch.float32, **marks: Any) -> str:
        given = {"subclass": None, "tracer": None, **marks}
        target: Any = Elsewhere()
        return str(_decide(target, "cuda", get(name), dtype, **given))

    assert path("lstm") == path("lstm", torch.float64) == "vendor: torch.nn's LSTM on cuda"
    kernels = "compiled: torch.float32 on this GPU (some compiler)"
    assert path("lstm_peephole") == kernels
    lacks = ", and torch.nn has no cell with the equations of 'lstm_peephole'"
    double = path("lstm_peephole", torch.float64)
    assert double == f"operations: tensors of float64{lacks}"
    mixed = path("lstm_peephole", several=True)
    assert mixed == f"operations: tensors of several types{lacks}"
    assert path("lstm", several=True).startswith("vendor")
    assert path("gru", subclass="Other").startswith("vendor")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own
def test_transforms_of_torch_take_torch_operations() -> None:
    names = []

    def note(x: torch.Tensor) -> torch.Tensor:
        names.append(choose(None, [x]).name)
        return x.sum()

    torch.func.grad(note)(torch.ones(3))
    torch.func.jvp(note, (torch.ones(3),), (torch.ones(3),))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(note, (torch.ones(3),), check_trace=False)
    assert names == ["operations"] * 3


def test_per_sample_gradients() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 3, 4, dtype=torch.float64)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    parameters = dict(layer.named_parameters())

    def loss(parameters: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, parameters, (one,))[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    for row in range(2):
        layer.zero_grad()
        layer(x[row])[0].square().sum().backward()
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(each[name][row], parameter.grad)


def test_threads_of_python_get_the_same_bits() -> None:
    torch.manual_seed(0)
    layer = LSTM(5, 7, bidirectional=True)
    x = torch.randn(9, 3, 5)

    def run() -> list[torch.Tensor]:
        own = x.clone().requires_grad_()
        output, _ = layer(own)
        return [output.detach(), *torch.autograd.grad(output.square().sum(), own)]

    expected = run()
    results: list[list[torch.Tensor]] = []
    threads = [
        threading.Thread(target=lambda: results.extend(run() for _ in range(5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40
    for result in results:
        assert all(torch.equal(*pair) for pair in zip(result, expected, strict=True))


def test_changing_an_output_in_place_changes_no_gradient() -> None:
    layer = GRU(3, 4)
    gradients = []
    x = torch.randn(5, 2, 3)
    for changed in (False, True):
        output, _ = layer(x)
        loss = output.sum()
        if changed:
            with torch.no_grad():
                output.zero_()
        gradients.append(torch.autograd.grad(loss, list(layer.parameters())))
    for ours, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_frozen_parameters_get_no_gradient() -> None:
    layer = Recurrent("lstm", 3, 4)
    layer.U_l0.requires_grad_(False)
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    assert layer.U_l0.grad is None
    assert layer.W_l0.grad is not None
