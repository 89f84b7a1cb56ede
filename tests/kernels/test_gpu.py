"""The kernels of GPUs, run by Triton's interpreter on a CPU, against the interpreter of cells."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import anyrnn
import contract
from anyrnn.kernels.gpu import compile, form
from anyrnn.kernels.gpu.form import Loop
from anyrnn.kernels.gpu.target import GPU, loop_sources
from anyrnn.kernels.target import default_target, registered
from anyrnn.torch import Recurrent
from anyrnn.torch.execute import forced
from anyrnn.transforms.dropout import with_input_dropout
from checks import TWINS
from invented_cells import INVENTED, SMALLEST
from triton_target import OnArrays, check, poisoned

pytest.importorskip("triton")
__all__ = ["poisoned"]
pytestmark = pytest.mark.usefixtures("poisoned")
CELLS = {**anyrnn.CATALOGUE, **INVENTED}


SMALL = 3, 3, {"input": 3, "hidden": 5, "hidden_head": 3, "projection": 2, "output": 2}
FORMS = {  # the constants that decide
    Loop.RESIDENT: {"KEPT": 1 << 20},
    Loop.TIME: {"KEPT": 0},
    Loop.STEPS: {"KEPT": 0, "CACHED": 0},
}


@pytest.fixture(params=FORMS)
def each_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FORMS[request.param].items():
        monkeypatch.setattr(form, name, value)


@pytest.mark.parametrize("name", [name for name in CELLS if name not in TWINS])
def test_cells(name: str) -> None:
    check(CELLS[name], smallest=SMALLEST.get(name, 1))


@pytest.mark.usefixtures("each_form")
@pytest.mark.parametrize("name", ["gru_reset_before", "three_states", "classifier"])
def test_sizes_of_several_tiles(name: str) -> None:
    sizes = {size: 67 + 6 * place for place, size in enumerate(CELLS[name].free_sizes)}
    check(CELLS[name], 5e-5, batch=37, sizes=sizes)


@pytest.mark.parametrize("name", ["lstm", "normalised"])
def test_sizes_of_one(name: str) -> None:
    check(CELLS[name], batch=1, time=1, sizes={"input": 1, "hidden": 1})


OPTIONS = [
    ("gru", ("two biases", "layer", "zoneout", "recurrent_dropout per gate", "resets")),
    ("lstm_peephole", ("heads", "clip_state", "input_dropout", "memory=low", "lengths")),
    ("qrnn", ("rms", "clip_gradient", "input_dropout per gate", "all states", "carry")),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options(name: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    if "lengths" in options:
        monkeypatch.setattr(form, "KEPT", 0)
        monkeypatch.setattr(form, "CACHED", 0)
    with registered(OnArrays("cpu")):
        contract.check(name, options, [0], False, [SMALL], np.float32, 2e-5)


@pytest.mark.usefixtures("each_form")
def test_layers_of_torch_in_both_directions() -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 3, 5, bidirectional=True, recurrent_dropout=0.4)
    x, lengths = torch.randn(4, 3, 3, requires_grad=True), torch.tensor([2, 4, 0])
    found = []
    for path in ("compiled", "operations"):
        torch.manual_seed(1)
        with registered(GPU("cpu")), forced(path):
            output, state = layer(x, lengths=lengths)
            total = output.square().sum() + sum(part.sum() for part in state)
            found.append([output, *state, *torch.autograd.grad(total, [x, *layer.parameters()])])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype: torch.dtype) -> None:
    """As close to exact values as torch's operations in the same type."""
    torch.manual_seed(0)
    layer = Recurrent("gru_reset_before", 5, 7, dtype=dtype)
    x = torch.randn(5, 3, 5, dtype=dtype, requires_grad=True)
    found = []
    for path, kind in (("compiled", dtype), ("operations", dtype), ("operations", torch.float64)):
        own = copy.deepcopy(layer).to(kind)
        with registered(GPU("cpu")), forced(path):
            output, _ = own(x.to(kind))
            parameters = [*own.parameters()]
            found.append([output, *torch.autograd.grad(output.square().sum(), parameters)])
    for ours, theirs, exact in zip(*found, strict=True):
        assert ours.dtype is dtype
        error, usual = ((part.double() - exact).abs().max() for part in (ours, theirs))
        assert error <= 3 * usual + 1e-3


def test_random_numbers_are_those_of_every_target() -> None:
    @anyrnn.cell
    def noise(x, h, *, W):
        return W @ x + 0 * h

    cell = with_input_dropout(noise, 0.5)
    given = {"parameters": {"W": np.eye(40, dtype=np.float32)}, "seed": (7 << 40) + 5}
    ones = np.ones((3, 20, 40), np.float32)
    found = []
    for target in (OnArrays("cpu"), default_target()):
        with registered(target):
            made = anyrnn.compile(cell, {"input": 40, "hidden": 40})
            found.append(made.forward(ones, **given).output)
    assert np.array_equal(*found)
    assert 0.4 < (found[0] == 0).mean() < 0.6


@pytest.mark.parametrize("number", [1e300, -1e300, float("nan"), 0.1])
def test_numbers_beyond_float32_are_infinities(number: float) -> None:
    """Before the loop as in it."""

    @anyrnn.cell
    def equations(x, h, *, W, U):
        return anyrnn.minimum(W @ (x * number), anyrnn.tanh(U @ h) + number)

    shapes = equations.stored_shapes({"input": 3, "hidden": 3})
    parameters = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    found = []
    for target in (OnArrays("cpu"), default_target()):
        with registered(target), np.errstate(all="ignore"):
            made = anyrnn.compile(equations, {"input": 3, "hidden": 3})
            ones = np.ones((2, 2, 3), np.float32)
            found.append(made.forward(ones, parameters=parameters).output)
    np.testing.assert_allclose(*found)


def test_compiled_graphs() -> None:
    """What operators return lies in memory as a graph was told: also a gradient of the input that
    is one of several columns for a product.
    """

    @anyrnn.cell
    def joined(x, h, *, U, V):
        return anyrnn.sigmoid(V @ h) * anyrnn.tanh(U @ h + x)

    torch.manual_seed(0)
    layer, x = Recurrent(joined, 5, 5), torch.randn(3, 2, 5, requires_grad=True)
    found = []
    with registered(GPU("cpu")):
        for call in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
            output, _ = call(x)
            parts = torch.autograd.grad(output.square().sum(), [x, *layer.parameters()])
            found.append([output, *parts])
            assert all(part.is_contiguous() for part in parts)
    torch.testing.assert_close(*found)


def test_what_is_refused() -> None:
    target = GPU("cpu")
    assert target.refusal(None, "float64") == "tensors of float64"
    assert target.refusal(anyrnn.get("lstm"), "bfloat16") is None
    assert "Triton's interpreter" in str(GPU().refusal(None, "float32"))


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    compile.missing.cache_clear()
    compile.refusal.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    try:
        assert GPU("cpu").refusal(None, "float32") == (
            "Triton is not installed (pip install 'anyrnn[gpu]')"
        )
    finally:
        compile.missing.cache_clear()
        compile.refusal.cache_clear()


def test_texts_have_the_same_names_for_the_same_cell() -> None:
    cell = anyrnn.get("gru")
    texts = {loop_sources(cell, {"input": 3, "hidden": 70}, loop=Loop.TIME)[0].text}
    texts.add(loop_sources(cell, {"input": 3, "hidden": 70}, loop=Loop.TIME)[0].text)
    assert len(texts) == 1
    assert "for begin in tl.range(0, 70, " in texts.pop()
