"""Tensors of bfloat16 and torch.autocast on the compiled path: the numbers of the NumPy face, with
the same rounding, to the bit.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import anyrnn
from anyrnn.kernels import run_keys
from anyrnn.kernels.run import Run
from anyrnn.torch import GRU, LSTM, Recurrent

bfloat16, float32 = torch.bfloat16, torch.float32
SIZES = {"input": 5, "hidden": 19}


def numbers(layer: nn.Module, x: Tensor) -> np.ndarray:
    """What the NumPy face computes from a layer's parameters, rounded to bfloat16 in products."""
    parameters = dict(layer.named_parameters())
    given = {
        stored.name: parameters[f"{stored.name}_l0"].detach().float().numpy()
        for stored in layer._made().parts[0].cell.parameters
    }
    cell = layer._made().parts[0].cell
    made = anyrnn.compile(cell, SIZES, products="bfloat16", threads=1)
    return made.forward(x.float().numpy(), parameters=given).output


@pytest.mark.parametrize("cell", ["lstm_peephole", "gru_reset_before"])
def test_one_rounding_everywhere(cell: str) -> None:
    """The parameters of a module, its input and its results are rounded; nothing between is but
    what products multiply.
    """
    layer, x = Recurrent(cell, **{f"{n}_size": s for n, s in SIZES.items()}), torch.randn(7, 3, 5)
    with torch.no_grad(), torch.autocast("cpu", bfloat16):
        np.testing.assert_array_equal(layer(x)[0], numbers(layer, x))
    layer, x = layer.to(bfloat16), x.to(bfloat16)
    assert str(layer.path).startswith("compiled: torch.bfloat16 on this CPU")
    with torch.no_grad():
        output, _ = layer(x)
    assert output.dtype == bfloat16
    np.testing.assert_array_equal(
        output.float(), torch.from_numpy(numbers(layer, x)).to(bfloat16).float()
    )


def gradients(layer: nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    total = (layer(x)[0].float() * weights).sum()
    return list(torch.autograd.grad(total, [x, *layer.parameters()]))


@pytest.mark.parametrize(("kind", "memory"), [(LSTM, "high"), (GRU, "low")])
def test_gradients(kind: type[nn.Module], memory: str) -> None:
    """As those of float32, up to the rounding of products."""
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "memory": memory}
    layer, x, weights = kind(5, 19, **options), torch.randn(6, 4, 5), torch.randn(6, 4, 38)
    wanted = gradients(layer, x, weights)
    with torch.autocast("cpu", bfloat16):
        mixed = gradients(layer, x, weights)
    low = gradients(layer.to(bfloat16), x.to(bfloat16), weights)
    assert {part.dtype for part in mixed} == {float32}
    assert {part.dtype for part in low} == {bfloat16}
    for exact, *found in zip(wanted, mixed, low, strict=True):
        scale = exact.abs().max()
        for part in found:
            assert 1e-5 * scale < (part.float() - exact).abs().max() < 0.03 * scale


def test_a_run_is_called_by_its_rounding_too() -> None:
    """A graph that torch.compile has traced under torch.autocast is another one."""
    layer, x = Recurrent("gru", 5, 19), torch.randn(7, 3, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.equal(compiled(x)[0], layer(x)[0])
        with torch.autocast("cpu", bfloat16):
            np.testing.assert_array_equal(compiled(x)[0], numbers(layer, x))


def test_a_graph_from_before_there_was_rounding() -> None:
    told = json.loads(run_keys.key(Run(anyrnn.get("gru"), tuple(SIZES.items()), memory="low")))
    assert told.pop("operand") is None
    assert run_keys.run_of(json.dumps(told)).operand is None


@pytest.mark.parametrize("own", [float32, bfloat16])
def test_streams(own: torch.dtype) -> None:
    """Step by step the same, but for the states, which are rounded between calls."""
    layer, x, state, outputs = LSTM(5, 19).to(own), torch.randn(6, 2, 5).to(own), None, []
    with torch.no_grad(), torch.autocast("cpu", bfloat16, enabled=own == float32):
        wanted, _ = layer(x)
        for x_t in x:
            output, state = layer.step(x_t, state)
            outputs.append(output)
    torch.testing.assert_close(torch.stack(outputs), wanted, rtol=0, atol=0.01)
