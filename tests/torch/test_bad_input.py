"""Whatever layers and compiled cells are given: a right result, or one line that says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from llvmlite import binding as llvm
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

import anyrnn
from anyrnn.errors import InputError, KernelError, SizeError
from anyrnn.kernels.cpu.machine import processor
from anyrnn.torch import GRU, LSTM, RNN, LSTMCell, Recurrent, single_step
from anyrnn.torch import path as paths
from anyrnn.torch.execute import forced
from checks import make_case, one_line

# memory: any layout, any place

LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "batch first": lambda: torch.randn(4, 5, 3).transpose(0, 1),
    "reversed axes": lambda: torch.randn(3, 4, 5).permute(2, 1, 0),
    "every other": lambda: torch.randn(10, 8, 12)[::2, ::2, ::4],
    "inside of a larger one": lambda: torch.randn(9, 7, 8)[2:7, 1:5, 4:7],
    "one step, repeated": lambda: torch.randn(1, 4, 3).expand(5, 4, 3),
    "one row, repeated": lambda: torch.randn(5, 1, 3).expand(5, 4, 3),
    "one number, repeated": lambda: torch.randn(1).expand(5, 4, 3),
}


def results(layer: torch.nn.Module, x: Tensor, *states: Tensor) -> list[Tensor]:
    """Output, last states and all gradients; then the output of a single step."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, *states)]
    output, last = layer(leaves[0], tuple(leaves[1:]) if states else None)
    loss = output.square().sum() + sum(part.sum() for part in last)
    found = [output, *last, *torch.autograd.grad(loss, [*leaves, *layer.parameters()])]
    with torch.no_grad():
        step, after = layer(x[:1], tuple(states) if states else None)
    return [part.detach() for part in (*found, step, *after)]


@pytest.mark.parametrize("make", [LSTM, lambda *sizes: Recurrent("lstm_peephole", *sizes)])
@pytest.mark.parametrize("name", LAYOUTS)
def test_input_and_states_in_any_layout(name: str, make: Callable[..., torch.nn.Module]) -> None:
    torch.manual_seed(0)
    layer, x = make(3, 3), LAYOUTS[name]()
    states = [LAYOUTS[name]()[2:3] for _ in range(2)]
    wanted = results(layer, x.clone(memory_format=torch.contiguous_format), *map(plain, states))
    for ours, theirs in zip(results(layer, x, *states), wanted, strict=True):
        assert torch.equal(ours, theirs)


def plain(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def test_parameters_in_any_layout() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(4, 2, 3)
    layer.weight_ih_l0.data = torch.randn(20, 6)[:, ::2]
    layer.weight_hh_l0.data = torch.randn(5, 20).t()
    layer.bias_ih_l0.data = torch.randn(1).expand(20)
    layer.bias_hh_l0.data = torch.randn(40)[::2]
    found = results(layer, x)
    for parameter in layer.parameters():
        parameter.data = plain(parameter.data)
    for ours, theirs in zip(found, results(layer, x), strict=True):
        assert torch.equal(ours, theirs)


def test_memory_that_is_not_aligned() -> None:
    torch.manual_seed(0)
    layer, x = GRU(3, 5), torch.randn(4, 2, 3)
    bytes_ = np.empty(4 * x.numel() + 1, np.uint8)[1:]
    bytes_[:] = np.frombuffer(x.numpy().tobytes(), np.uint8)
    odd = torch.from_numpy(bytes_.view(np.float32).reshape(x.shape))
    assert odd.data_ptr() % 4
    with torch.no_grad():
        for given, wanted in ((odd, x), (odd[:1], x[:1])):
            assert torch.equal(layer(given)[0], layer(wanted)[0])


def test_arrays_with_negative_and_no_strides() -> None:
    case = make_case(anyrnn.get("lstm"), 0, time=5, batch=4, sizes={"input": 3, "hidden": 3})
    made = anyrnn.compile(case.cell, case.sizes, dtype=float)

    def both(x: np.ndarray, states: list[np.ndarray], gradient: np.ndarray) -> list[np.ndarray]:
        result = made.forward(x, states, parameters=case.parameters, save=True)
        gradients = result.backward(gradient, states)
        return [result.output, *result.states, gradients.x, *gradients.parameters.values()]

    row = case.x[0, 0]
    for x, state in (
        (case.x[::-1, ::-1, ::-1], case.states[0][::-1, ::-1]),
        (np.broadcast_to(row, case.x.shape), np.broadcast_to(row, (4, 3))),
        (np.broadcast_to(row[:, None, None], (3, 4, 5)).T, np.broadcast_to(row[:, None], (3, 4)).T),
    ):
        wanted = both(x.copy(), [state.copy()] * 2, x.copy())
        for ours, theirs in zip(both(x, [state, state], x), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e38, 1e-45])
def test_numbers_that_are_none_or_the_largest(number: float) -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.full((4, 2, 3), number)
    found = results(layer, x)
    with forced("operations"):
        wanted = results(layer, x)
    for ours, theirs in zip(found[:3], wanted[:3], strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)
    assert [part.shape for part in found] == [part.shape for part in wanted]


# nothing to do


@pytest.mark.parametrize("make", [RNN, GRU, LSTM, lambda *s: Recurrent("lstm_coupled", *s)])
def test_no_sequence_at_all(make: Callable[..., torch.nn.Module]) -> None:
    layer = make(3, 5)
    for time in (1, 4):
        x = torch.zeros(time, 0, 3, requires_grad=True)
        output, _ = layer(x)
        assert output.shape == (time, 0, 5)
        output.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape
        assert all(not parameter.grad.any() for parameter in layer.parameters())
    with torch.no_grad():
        assert layer(torch.zeros(1, 0, 3))[0].shape == (1, 0, 5)
    assert LSTMCell(3, 5)(torch.zeros(0, 3))[0].shape == (0, 5)


@pytest.mark.parametrize("batch", [0, 2])
def test_no_step_at_all(batch: int) -> None:
    with pytest.raises(InputError) as caught:
        GRU(3, 5)(torch.zeros(0, batch, 3))
    assert "a sequence length of 0; expected at least one step" in one_line(caught.value)


# what is no input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 2, 3, dtype=torch.float64), "the input is torch.float64, but the layer's"),
        (torch.zeros(2, 2, 3, dtype=torch.float16), "the input is torch.float16, but the layer's"),
        (torch.zeros(2, 2, 3, dtype=torch.complex64), "the input is torch.complex64, but"),
        (torch.zeros(2, 2, 3, dtype=torch.int32), "the input is torch.int32; expected"),
        (torch.zeros(2, 2, 3, dtype=torch.bool), "the input is torch.bool; expected"),
        (torch.zeros(2, 2, 3).to_sparse(), "the input is torch.sparse_coo; convert it with"),
        (torch.zeros(2, 2, 3, device="meta"), "the input is on meta, but the layer's"),
        (np.zeros((2, 2, 3), np.float32), "the input is a ndarray; expected a tensor"),
        ([[[0.0] * 3]], "the input is a list; expected a tensor"),
        (None, "the input is a NoneType; expected a tensor"),
        (torch.zeros(2, 2, 4), "the input has 4 features"),
        (torch.zeros(3), "the input has shape (3,); expected (time, batch, input)"),
        (torch.zeros(1).expand(1 << 31, 1 << 10, 3), "more than 2147483648 rows; run a part"),
    ],
)
def test_mistakes_in_the_input(given: object, message: str) -> None:
    layer = LSTM(3, 5)
    for context in (torch.enable_grad(), torch.no_grad()):
        with context, pytest.raises(InputError) as caught:
            layer(given)
        assert message in one_line(caught.value)


ROWS = torch.ones(6, 4)
FALLING = torch.tensor([3, 2, 1])
PACKED = {  # data, batch_sizes, sorted_indices, unsorted_indices
    "more rows than there are": (ROWS, torch.tensor([100000, 100000])),
    "fewer rows than there are": (ROWS, torch.tensor([2, 2])),
    "rising": (ROWS, torch.tensor([1, 2, 3])),
    "negative": (ROWS, torch.tensor([8, -2])),
    "zero": (ROWS, torch.tensor([6, 0])),
    "none": (ROWS, torch.zeros(0, dtype=torch.int64)),
    "int32": (ROWS, FALLING.int()),
    "floats": (ROWS, FALLING.float()),
    "a matrix": (ROWS, FALLING[None]),
    "on another device": (ROWS, FALLING.to("meta")),
    "a list": (ROWS, [3, 2, 1]),
    "an index too large": (ROWS, FALLING, torch.tensor([0, 1, 3]), torch.tensor([0, 1, 2])),
    "a negative index": (ROWS, FALLING, torch.tensor([0, 1, 2]), torch.tensor([0, 1, -1])),
    "too few indices": (ROWS, FALLING, torch.tensor([0, 1]), torch.tensor([0, 1])),
    "indices of floats": (ROWS, FALLING, torch.tensor([0, 1, 2]), torch.tensor([0.0, 1.0, 2.0])),
    "data of three axes": (torch.ones(6, 2, 4), FALLING),
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("grad", [True, False])
def test_packed_sequences_that_contradict_themselves(name: str, grad: bool) -> None:
    data, sizes, first, second = (*PACKED[name], None, None)[:4]
    packed = tuple.__new__(PackedSequence, (data, sizes, first, second))
    with torch.set_grad_enabled(grad), pytest.raises(InputError) as caught:
        GRU(4, 5)(packed)
    assert "of a PackedSequence" in one_line(caught.value)


@pytest.mark.parametrize("steps", [1, 3])
def test_states_and_parameters_of_another_type(steps: int) -> None:
    layer, x = LSTM(3, 5), torch.zeros(steps, 2, 3)
    wrong = torch.zeros(1, 2, 5, dtype=torch.float64)
    with torch.no_grad(), pytest.raises(InputError) as caught:
        layer(x, (wrong, wrong.float()))
    assert "the state h is torch.float64, but the layer's parameters are" in one_line(caught.value)
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.double()
    with torch.no_grad(), pytest.raises(RuntimeError, match="dtype"):
        layer(x)


def test_sizes_beyond_all_memory() -> None:
    with pytest.raises(SizeError) as caught:
        Recurrent("lstm", 3, 1 << 62)
    assert "the parameter W has 18446744073709551616 x 3 numbers" in one_line(caught.value)
    made = anyrnn.compile("lstm", {"input": 3, "hidden": 5})
    weights = {s.name: np.zeros(s.shape_for(made.sizes), np.float32) for s in made.cell.parameters}
    for shape, message in (
        ((1 << 40, 1 << 10, 3), "more than there are"),
        ((1 << 40, 1 << 19, 3), "more than can be addressed"),
    ):
        x = np.broadcast_to(np.float32(0), shape)
        with pytest.raises(SizeError) as caught:
            made.forward(x, parameters=weights)
        assert message in one_line(caught.value)


# a machine that LLVM compiles nothing for


@pytest.fixture
def _unknown_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(llvm, "get_process_triple", lambda: "riscv64-unknown-linux-gnu")
    for cached in (processor.host, paths._decide, single_step._prepared):
        cached.cache_clear()
    yield
    for cached in (processor.host, paths._decide, single_step._prepared):
        cached.cache_clear()


@pytest.mark.usefixtures("_unknown_machine")
def test_layers_take_torch_operations_where_nothing_can_be_compiled() -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5), torch.randn(4, 2, 3)
    assert layer.path.name == "operations"
    reason = "this machine (riscv64-unknown-linux-gnu) cannot run kernels; usable: none"
    assert layer.path.reason == reason
    found = results(layer, x)
    with forced("operations"):
        wanted = results(layer, x)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    cell = LSTMCell(3, 5)
    with torch.no_grad():
        step = cell(x[0])[0]
        with forced("operations"):
            assert torch.equal(step, cell(x[0])[0])


@pytest.mark.usefixtures("_unknown_machine")
def test_compiling_says_so_where_nothing_can_be_compiled() -> None:
    for kind in (None, "avx2", "neon"):
        with pytest.raises(KernelError) as caught:
            anyrnn.compile("lstm", {"input": 3, "hidden": 5}, target=kind)
        what = kind or "kernels"
        wanted = f"this machine (riscv64-unknown-linux-gnu) cannot run {what}; usable: none"
        assert one_line(caught.value) == wanted


def test_a_kind_of_cpu_that_this_is_not() -> None:
    other = "neon" if processor.host().name != "neon" else "avx2"
    with pytest.raises(KernelError) as caught:
        anyrnn.compile("lstm", {"input": 3, "hidden": 5}, target=other)
    assert f"cannot run {other}; usable: {processor.host().name}" in one_line(caught.value)
