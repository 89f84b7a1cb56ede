"""Calls of the GPU's kernels: what is launched where, without a GPU; and what is refused."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import anyrnn
from anyrnn.errors import InputError
from anyrnn.kernels.gpu import compile, form, program
from anyrnn.kernels.gpu.row_indices import RowIndices
from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.run import Arrays, Run, steps_of
from anyrnn.kernels.target import registered
from anyrnn.torch import LSTM, Recurrent, path
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.execute import forced
from anyrnn.torch.tensors import STAGED, beside

pytest.importorskip("triton")
DEVICE = torch.device("meta")


class Launch(NamedTuple):
    """A kernel that was launched: on which device, over which grid, with what."""

    device: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]


class Elsewhere:
    """A device that is not there: its tensors have no numbers, and to ask for one is an error.

    Attributes:
        launches: What is launched.
        current: The devices that were entered.
    """

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.current: list[Any] = [None]
        assert TENSORS.on_device is not None
        device = replace(TENSORS.on_device, entered=self._entered, queue=lambda like: 7)
        self.interface = replace(TENSORS, on_device=device)

    @contextmanager
    def _entered(self, like: torch.Tensor) -> Iterator[None]:
        self.current.append(like.device)
        yield
        self.current.pop()

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *given, **options: self.launches.append(Launch(self.current[-1], grid, given))

    def given(
        self, name: str, sizes: dict[str, int], batch_sizes: tuple[int, ...]
    ) -> tuple[Run, Arrays]:
        """A run and what it is given."""
        cell = anyrnn.get(name)
        run = Run(cell, tuple(sizes.items())).over(batch_sizes, None, 1)

        def made(*shape: int) -> torch.Tensor:
            return torch.empty(shape, device=DEVICE)

        states = [made(*shape) for shape in run.state_shapes(run.steps.batch)]
        parameters = {n: made(*shape) for n, shape in cell.stored_shapes(sizes).items()}
        rows = made(run.steps.rows, sizes["input"])
        return run, Arrays(self.interface, rows, states, parameters)

    def call(
        self, name: str, sizes: dict[str, int], batch_sizes: tuple[int, ...]
    ) -> dict[Any, torch.Tensor]:
        """A run and its derivative."""
        (run, arrays), target = self.given(name, sizes, batch_sizes), GPU("meta")
        output, last, saved = target.record(run, arrays)
        wanted = [True] * (1 + len(arrays.parameters))
        x, before, totals = target.backward(run, arrays, saved, [output, *last], wanted)
        return {"output": output, "x": x, **dict(enumerate([*last, *before])), **totals}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """A device that is not there, and the kernels for it."""
    found = Elsewhere()
    kernels = defaultdict(lambda: found)
    monkeypatch.setattr(compile, "functions", lambda text, interpreted: kernels)
    monkeypatch.setattr(program, "INDICES", RowIndices())
    return found


@pytest.mark.parametrize("batch_sizes", [(3, 3, 3), (3, 2, 2, 1)])
@pytest.mark.parametrize("name", ["lstm_peephole", "gru", "mingru", "qrnn"])
def test_calls_wait_for_nothing_and_stay_on_the_device_of_their_tensors(
    name: str, batch_sizes: tuple[int, ...], elsewhere: Elsewhere
) -> None:
    found = elsewhere.call(name, {"input": 5, "hidden": 7}, batch_sizes)
    assert {part.device for part in found.values()} == {DEVICE}
    assert elsewhere.launches
    for device, _, arguments in elsewhere.launches:
        assert device == DEVICE
        tensors = [each for each in arguments if isinstance(each, torch.Tensor)]
        assert {each.device for each in tensors} == {DEVICE}
        assert not any(isinstance(each, np.ndarray) for each in arguments)


class Computed(TorchDispatchMode):
    """Notes what is computed, besides what makes memory or views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        found = function(*given, **(named or {}))
        if not function.is_view and "empty" not in function.__name__:
            self.names.append(function.__name__.partition(".")[0])
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lstm_peephole", "gru_reset_before"])
def test_one_step_is_a_product_and_a_launch(
    name: str, dtype: torch.dtype, elsewhere: Elsewhere
) -> None:
    """Besides, each state is copied to where kernels have it, and converted from float32."""
    run, arrays = elsewhere.given(name, {"input": 5, "hidden": 7}, (3,))
    parameters = {name: part.to(dtype) for name, part in arrays.parameters.items()}
    states = [state.to(dtype) for state in arrays.states]
    arrays = arrays._replace(rows=arrays.rows.to(dtype), states=states, parameters=parameters)
    GPU("meta").forward(run, arrays)  # what is kept on a device is made
    elsewhere.launches.clear()
    with Computed() as computed:
        _, last = GPU("meta").forward(run, arrays)
    converted = [] if dtype is torch.float32 else ["_to_copy"] * len(states)
    assert computed.names == ["mm", *["copy_"] * len(states), *converted]
    assert len(elsewhere.launches) == 1
    assert {state.dtype for state in last} == {dtype}


def test_sizes_beyond_32_bits(elsewhere: Elsewhere) -> None:
    """Each number that a kernel is given is exact; the next test is of how it multiplies."""
    steps, batch, hidden = 3, 1 << 20, 4099
    assert steps * batch * hidden > 1 << 33
    found = elsewhere.call("lstm_peephole", {"input": 5, "hidden": hidden}, (batch,) * steps)
    assert found["output"].shape == (steps * batch, hidden)
    for _, grid, arguments in elsewhere.launches:
        assert arguments[1:3] == (batch, steps * batch)
        assert grid[0] * form.LEAST * 2 == batch


@pytest.mark.parametrize("loop", form.Loop)
def test_addresses_have_64_bits(loop: form.Loop) -> None:
    """What is multiplied by the stride of a row, or of a column, is a number of 64 bits."""
    from anyrnn.kernels.gpu.target import loop_sources

    cell = anyrnn.get("mingru" if loop is form.Loop.SCAN else "lstm")
    for source in loop_sources(cell, {"input": 3, "hidden": 70}, loop=loop):
        strides = re.findall(r"([\w.()]+) \* (\w+_(?:row|column))\b", source.text)
        assert strides
        wide = {"row", "here", "entering", "leaving", "before", "after", "here)"}
        for factor, stride in strides:
            assert factor in wide or factor.endswith(".to(tl.int64)"), (factor, stride)
        assert re.search(r"here = .*to\(tl\.int64\)", source.text)


def test_row_indices_are_kept_for_each_queue_apart() -> None:
    made, kept, steps = [], RowIndices(), steps_of((3, 2))
    queue: list[Any] = [1]

    def moved(array: Any, like: Any) -> Any:
        made.append(queue[0])
        return torch.from_numpy(array)

    device: Any = SimpleNamespace(
        moved=moved,
        queue=lambda like: queue[0],
        count=lambda number, like: torch.arange(number),
    )
    like = torch.empty(0)
    for queue[0] in (1, 1, 2, None, None, 1):
        found = kept.find(steps, "offsets", like, device)
        assert found.tolist() == [0, 3, 5]
    assert made == [1, 2, None, None]
    constant = kept.find(steps_of((3, 3)), "offsets", like, device)
    assert constant.tolist() == [0, 3, 6]
    assert made == [1, 2, None, None]  # without a copy, which cannot be recorded


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_autocast(low: torch.dtype) -> None:
    """Arrays of the lower type, gradients of the parameters' own."""
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 5, 7)
    x = torch.randn(4, 3, 5, requires_grad=True)
    found = {}
    with registered(GPU("cpu")):
        for name in ("compiled", "operations"):
            with torch.autocast("cpu", low), forced(name):
                output, (h, c) = layer(x)
            parts = torch.autograd.grad(output.float().square().sum(), [x, *layer.parameters()])
            found[name] = [output, h, c, *parts]
        with torch.autocast("cpu", low):
            assert str(layer.path) == f"compiled: {low} on this CPU ({GPU().name})"
        exact = [layer(x)[0]]
    ours, theirs = found.values()
    assert [part.dtype for part in ours] == [part.dtype for part in theirs]
    assert {part.dtype for part in ours[3:]} == {torch.float32}
    assert not torch.equal(ours[0], exact[0])
    torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.02)


def test_a_type_that_autocast_leaves() -> None:
    layer = Recurrent("lstm_peephole", 3, 5, dtype=torch.float64)
    with registered(GPU("cpu")), torch.autocast("cpu", torch.bfloat16):
        assert str(layer.path).startswith("operations: tensors of float64")


def gates(number: int) -> anyrnn.Cell:
    """A cell with so many gates."""
    lines = "\n".join(f"    h = h * anyrnn.tanh(U.a{i} @ old)" for i in range(number))
    text = f"def many(x, h, *, W, U):\n    old = h\n    h = W @ x\n{lines}\n    return h\n"
    space: dict[str, Any] = {"anyrnn": anyrnn}
    exec(text, space)
    return anyrnn.cell(space["many"])


def test_a_cell_whose_tile_does_not_fit() -> None:
    target = GPU("cpu")
    assert target.refusal(gates(8), "float32") is None
    assert target.refusal(gates(form.SUMS + 1), "float32") == (
        "a step adds up 65 sums of matrix products at a time, and the registers of a GPU hold 64"
    )


@pytest.mark.parametrize(("arch", "said"), [(75, "a GPU of compute capability 7.5"), (80, None)])
def test_a_gpu_that_is_too_old(
    arch: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = SimpleNamespace(
        active=SimpleNamespace(
            get_current_target=lambda: SimpleNamespace(backend="cuda", arch=arch)
        )
    )
    monkeypatch.setattr(compile, "interpreted", lambda: False)
    monkeypatch.setattr(compile.triton().runtime, "driver", driver)
    compile.refusal.cache_clear()
    try:
        found = GPU().refusal(None, "float32")
        assert found == (said and f"{said}; Triton's kernels need 8.0")
        # what a layer on it says
        chosen = path._decide(GPU(), "cuda", anyrnn.get("lstm_peephole"), torch.float32, None, None)
        assert chosen.name == ("operations" if said else "compiled")
        assert (said or "on this GPU") in chosen.reason
    finally:
        compile.refusal.cache_clear()
        path._decide.cache_clear()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler."),
        subprocess.CalledProcessError(1, ["gcc", "Python.h"]),
        AssertionError("libcuda.so cannot found!\n"),
        PermissionError(13, "Permission denied", "/root/.triton"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_driver_that_cannot_be_built(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image without a compiler: operations, and a reason of one line."""

    class Broken:
        @property
        def active(self) -> Any:
            raise error

    monkeypatch.setattr(compile, "interpreted", lambda: False)
    monkeypatch.setattr(compile.triton().runtime, "driver", Broken())
    compile.refusal.cache_clear()
    compile.own_options.cache_clear()
    try:
        found = GPU().refusal(anyrnn.get("lstm_peephole"), "float32")
        assert found == f"Triton cannot use the GPU ({str(error).strip()})"
        assert compile.own_options() == compile.options("cuda")
    finally:
        compile.refusal.cache_clear()
        compile.own_options.cache_clear()


def test_large_arrays_go_to_a_gpu_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.nbytes)
        return tensor

    class Moved(torch.Tensor):
        def to(self, *given: Any, **options: Any) -> Any:
            return given, options

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    there = torch.device("cuda")
    for size in (STAGED, STAGED + 1):
        array = torch.zeros(size, dtype=torch.int8).as_subclass(Moved)
        assert beside(array, there) == ((there,), {"non_blocking": True})
    assert pinned == [STAGED + 1]
    assert beside(torch.zeros(STAGED), torch.device("meta")).device.type == "meta"
    assert pinned == [STAGED + 1]


def test_tensors_on_two_devices() -> None:
    layer = Recurrent("lstm_peephole", 3, 5)
    message = "the input is on meta, but the layer's parameters are on cpu; move one: tensor.to"
    with pytest.raises(InputError, match=message):
        layer(torch.zeros(2, 1, 3, device="meta"))
    states = tuple(torch.zeros(1, 1, 5, device="meta") for _ in range(2))
    with pytest.raises(InputError, match="on meta, but the layer's parameters are on cpu"):
        layer(torch.zeros(2, 1, 3), states)


def test_memory_that_is_not_there_is_torch_s_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Recurrent("lstm_peephole", 3, 5)
    x = torch.zeros(2, 1, 3)
    before = [part.detach().clone() for part in layer.parameters()]

    def full(*given: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with registered(GPU("cpu")):
        wanted = layer(x)[0]
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "new_empty", full)
            with pytest.raises(torch.OutOfMemoryError):
                layer(x)
        assert torch.equal(layer(x)[0], wanted)
    assert all(map(torch.equal, before, layer.parameters()))


def test_plain_layers_are_the_vendor_s_even_under_autocast() -> None:
    chosen = path._decide(GPU(), "cuda", anyrnn.get("lstm"), torch.float16, None, None)
    assert chosen.name == "vendor"
    assert LSTM(3, 5).path.name == "compiled"
