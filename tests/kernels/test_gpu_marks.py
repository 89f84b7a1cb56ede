"""Lengths, masks and resets that are on a GPU stay there: numbers by Triton's interpreter on a CPU,
and that nothing waits by tensors that have no numbers.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import anyrnn
from anyrnn.errors import InputError
from anyrnn.kernels.gpu import compile, form, source
from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.path import Path
from anyrnn.kernels.row_layout import lay_out
from anyrnn.kernels.run import steps_of
from anyrnn.kernels.target import registered
from anyrnn.torch import Recurrent, layer
from anyrnn.torch import path as paths
from anyrnn.torch.device_layout import lay_out_on_device
from anyrnn.torch.execute import forced
from triton_target import poisoned

pytest.importorskip("triton")
__all__ = ["poisoned"]
TIME, BATCH = 4, 3
CPU = torch.device("cpu")
LENGTHS = torch.tensor([2, 4, 0])


def marks(*names: str) -> dict[str, Tensor]:
    """Some, as if they were on a device."""
    draw = torch.Generator().manual_seed(3)
    mask = torch.rand(TIME, BATCH, generator=draw) < 0.6
    mask[:, 1] = False  # a sequence in which no step counts
    resets = torch.rand(TIME, BATCH, generator=draw) < 0.4
    every = {"lengths": LENGTHS, "mask": mask, "resets": resets}
    return {name: every[name] for name in names}


SOME = [("lengths",), ("mask",), ("resets",), ("lengths", "mask", "resets")]


@pytest.mark.parametrize("names", SOME)
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_layout_is_that_of_the_cpu(names: tuple[str, ...], batch_first: bool) -> None:
    axes, shape, given = ("time", "batch"), (TIME, BATCH), marks(*names)
    if batch_first:
        axes, shape = ("batch", "time"), (BATCH, TIME)
        given = {n: part if n == "lengths" else part.t() for n, part in given.items()}
    wanted = lay_out(axes, shape, **given)
    found = lay_out_on_device(axes, shape, CPU, **given)
    assert wanted is not None
    rows, sequences, steps = wanted.rows, wanted.sequences, found.steps
    assert steps.rows == TIME * BATCH
    assert steps.live.tolist() == [True] * rows + [False] * (TIME * BATCH - rows)
    sizes = steps.offsets.diff()
    assert [size for size in sizes.tolist() if size] == wanted.batch_sizes
    assert (sizes <= torch.tensor(steps.batch_sizes)).all()
    assert found.places[:rows].tolist() == wanted.places(True).tolist()
    renamed = torch.arange(found.steps.rows + 1)
    renamed[steps.rows] = rows
    for reverse in (False, True):
        begin = found.begin(reverse)
        assert begin[:sequences].tolist() == wanted.begin(reverse).tolist()
        end = found.end(reverse)
        end = torch.where(end >= steps.batch, end - steps.batch + sequences, end)
        assert end.tolist() == wanted.end(reverse).tolist()
        every = found.every(reverse)
        every = torch.where(every >= steps.rows, every - steps.rows + rows, every)
        assert every.tolist() == wanted.every(reverse).tolist()
    assert renamed[found.carried()].tolist() == wanted.carried().tolist()


@pytest.mark.parametrize("seed", range(40))
def test_steps_are_those_of_the_cpu(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    time, batch = torch.randint(1, 7, (2,), generator=draw).tolist()
    share = torch.rand(2, generator=draw)
    given = {"mask": torch.rand(time, batch, generator=draw) < share[0]}
    if seed % 2:
        given["resets"] = torch.rand(time, batch, generator=draw) < share[1]
    host = lay_out(("time", "batch"), (time, batch), **given)
    if host is None or not host.rows:
        return
    wanted = steps_of(tuple(host.batch_sizes))
    found = lay_out_on_device(("time", "batch"), (time, batch), CPU, **given).steps
    rows, sequences, beyond = wanted.rows, wanted.batch, found.rows + found.batch
    assert found.lengths[:sequences].tolist() == wanted.lengths.tolist()
    assert found.odd[:sequences].tolist() == wanted.odd.tolist()
    for name, size, count in (
        ("before", sequences, rows),
        ("after", rows, rows),
        ("last", sequences, sequences),
    ):
        index, most = getattr(found, name), found.rows if name == "after" else found.batch
        moved = torch.where(index >= most, index - most + size, index)  # behind what is not there
        assert moved[:count].tolist() == getattr(wanted, name).tolist()
        assert 0 <= index.min() <= index.max() < beyond
    assert 0 <= found.first.min() <= found.first.max() < beyond


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks are taken to be on a device, though that is the CPU."""
    monkeypatch.setattr(layer, "on_device", lambda cells, tensors, resets: True)


def results(made: Recurrent, x: Tensor, path: str, given: dict[str, Any]) -> list[Any]:
    """The outputs, the last states and every gradient."""
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    with registered(GPU("cpu")), forced(path):
        output, state = made(x, **given)
        states = state if isinstance(state, tuple) else (state,)
        total = output.square().sum() + sum(part.square().sum() for part in states)
        return [output, *states, *torch.autograd.grad(total, [x, *made.parameters()])]


CALLS: list[tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]] = [
    ("lstm_peephole", ("lengths",), {"bidirectional": True, "recurrent_dropout": 0.4}, {}),
    ("rnn", (), {"num_layers": 2, "input_dropout": 0.3}, {"lengths": LENGTHS + (LENGTHS == 0)}),
    ("lstm_peephole", ("mask",), {}, {"padding": "carry"}),
    ("lstm_peephole", ("resets",), {"bidirectional": True}, {"return_states": "all"}),
    ("gru", ("lengths", "mask", "resets"), {"batch_first": True}, {"reset_state": None}),
    ("gru", ("mask",), {"num_layers": 2, "highway": True}, {}),
    ("mingru", ("lengths", "resets"), {"bidirectional": True}, {}),
    ("qrnn", ("mask", "resets"), {"learn_initial_state": True}, {}),
    ("lstm", ("mask", "resets"), {"norm": "layer", "memory": "low"}, {}),
]


@pytest.mark.usefixtures("there", "poisoned")
@pytest.mark.parametrize(
    ("name", "names", "options", "call", "launches"),
    [*((*each, False) for each in CALLS), (*CALLS[0], True), (*CALLS[4], True)],
)
def test_numbers(
    name: str,
    names: tuple[str, ...],
    options: dict[str, Any],
    call: dict[str, Any],
    launches: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of PyTorch's operations with the same marks on the CPU; NaN where nothing counts."""
    if launches:
        monkeypatch.setattr(form, "KEPT", 0)
        monkeypatch.setattr(form, "CACHED", 0)
    source.loop_source.cache_clear()
    torch.manual_seed(0)
    made = Recurrent(name, 3, 3, **options)
    first = options.get("batch_first", False)
    given = {
        n: part if n == "lengths" or not first else part.t() for n, part in marks(*names).items()
    }
    x = torch.randn(BATCH, TIME, 3) if first else torch.randn(TIME, BATCH, 3)
    if "mask" in names and call.get("padding") != "carry":
        x[~given["mask"]] = torch.nan
    found = results(made, x, "compiled", given | call)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "on_device", lambda cells, tensors, resets: False)
        wanted = results(made, x, "operations", given | call)
    torch.testing.assert_close(found, wanted, rtol=2e-4, atol=2e-5)


VENDOR: list[tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]] = [
    ("lstm", ("lengths",), {"bidirectional": True, "num_layers": 2}, {}),
    ("lstm", ("mask",), {"batch_first": True, "learn_initial_state": True}, {"padding": "carry"}),
    ("lstm", ("lengths", "mask"), {"bias": False, "residual": True}, {}),
    ("lstm_projection", ("mask",), {"projection_size": 2, "bidirectional": True}, {}),
    ("gru", ("lengths",), {"bidirectional": True, "merge": "sum", "num_layers": 2}, {}),
    ("gru", ("mask",), {"bias": False}, {"padding": "carry"}),
    ("rnn", ("lengths", "mask"), {"bidirectional": True}, {}),
    ("rnn_relu", ("mask",), {}, {}),
]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(("name", "names", "options", "call"), VENDOR)
def test_padded_by_the_operator_of_torch(
    name: str,
    names: tuple[str, ...],
    options: dict[str, Any],
    call: dict[str, Any],
) -> None:
    """As exact as with marks on the CPU; NaN where nothing counts."""
    torch.manual_seed(0)
    made = Recurrent(name, 3, 3, **options, dtype=torch.float64)
    first = options.get("batch_first", False)
    given = {n: p if n == "lengths" or not first else p.t() for n, p in marks(*names).items()}
    x = torch.randn(TIME, BATCH, 3, dtype=torch.float64)
    x = x.transpose(0, 1) if first else x
    if "mask" in names and call.get("padding") != "carry":
        x[~given["mask"]] = torch.nan
    found = results(made, x, "vendor", given | call)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "on_device", lambda cells, tensors, resets: False)
        wanted = results(made, x, "operations", given | call)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_held_state_has_the_bits_of_the_last_step(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    made, x = Recurrent("lstm", 3, 40, dtype=dtype), torch.randn(TIME, BATCH, 3, dtype=dtype) * 9
    with torch.no_grad(), forced("vendor"):
        _, (h, c) = made(x, lengths=LENGTHS)
        for place, length in enumerate(LENGTHS.tolist()):
            if length:
                one = x[:length, place : place + 1].contiguous()
                _, (own_h, own_c) = made(one, lengths=torch.tensor([length]))
                assert torch.equal(h[:, place], own_h[:, 0])
                assert torch.equal(c[:, place], own_c[:, 0])
            else:
                assert not torch.cat([h, c])[:, place].any()


@pytest.mark.usefixtures("there", "poisoned")
def test_nothing_counts() -> None:
    torch.manual_seed(0)
    made, x = Recurrent("gru", 3, 3), torch.full((TIME, BATCH, 3), torch.nan)
    found = results(made, x, "compiled", {"lengths": torch.zeros(BATCH, dtype=torch.int64)})
    assert all(not part.any() for part in found)


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", ["lstm_peephole", "mingru"])
def test_no_sequences(name: str) -> None:
    made, x = Recurrent(name, 3, 5), torch.zeros(TIME, 0, 3)
    nothing = torch.zeros(TIME, 0, dtype=torch.bool)
    for given in ({"lengths": torch.zeros(0, dtype=torch.int64)}, {"mask": nothing}):
        found = results(made, x, "compiled", given)
        assert found[0].shape == (TIME, 0, 5)
        assert not any(part.any() for part in found)


@pytest.mark.usefixtures("there", "poisoned")
def test_a_pole_at_zero() -> None:
    """What is computed of rows that are none comes into no sum."""

    @anyrnn.cell
    def inverse(x, h, *, W, U):
        return anyrnn.tanh(W @ (1 / x) + U @ h)

    torch.manual_seed(0)
    made, x = Recurrent(inverse, 3, 3), torch.rand(TIME, BATCH, 3) + 1
    given = marks("lengths")
    found = results(made, x, "compiled", given)
    torch.testing.assert_close(found, results(made, x, "operations", given))


@pytest.mark.usefixtures("there")
def test_second_derivatives() -> None:
    torch.manual_seed(0)
    made = Recurrent("gru", 3, 3, dtype=torch.float32)
    x = torch.randn(TIME, BATCH, 3, requires_grad=True)
    found = []
    for path in ("compiled", "operations"):
        with registered(GPU("cpu")), forced(path):
            output, _ = made(x, **marks("mask", "resets"))
            (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), [x, *made.parameters()]))
    torch.testing.assert_close(*found)


@pytest.mark.usefixtures("there")
def test_lengths_out_of_range_are_clamped() -> None:
    made, x = Recurrent("gru", 3, 3), torch.randn(TIME, 2, 3)
    with torch.no_grad(), registered(GPU("cpu")):
        found = made(x, lengths=torch.tensor([-2, 99]))
        wanted = made(x, lengths=torch.tensor([0, TIME]))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        with pytest.raises(InputError, match="expected 2 whole numbers"):
            made(x, lengths=torch.tensor([1, 2, 3]))
        with pytest.raises(InputError, match="mask: the shape"):
            made(x, mask=torch.ones(2, TIME, dtype=torch.bool))


@pytest.mark.parametrize("names", SOME)
@pytest.mark.parametrize("name", ["lstm_peephole", "mingru"])
def test_nothing_waits(name: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without numbers go through a call and its derivative: to ask for one is an error."""
    launched: list[tuple[int, ...]] = []

    class Kernels:
        def __getitem__(self, grid: Any) -> Any:
            return self if isinstance(grid, str) else lambda *given, **_: launched.append(grid)

    monkeypatch.setattr(compile, "functions", lambda text, interpreted: Kernels())
    monkeypatch.setattr(compile, "refusal", lambda device: None)
    made = copy.deepcopy(Recurrent(name, 3, 5, bidirectional=True)).to("meta")
    x = torch.empty(TIME, BATCH, 3, device="meta", requires_grad=True)
    given = {name: part.to("meta") for name, part in marks(*names).items()}
    with registered(GPU("meta")):
        assert made.path.name == "compiled"
        output, state = made(x, **given, padding="carry")
        (output.sum() + state[0].sum()).backward()
    assert output.shape == (TIME, BATCH, 10)
    assert x.grad is not None
    assert len(launched) == 4
    sequences = TIME * BATCH if "resets" in names else BATCH
    assert {grid[0] for grid in launched} == {
        sequences if name == "mingru" else -(-sequences // 16)
    }


@pytest.mark.parametrize(
    ("resets", "device", "wanted"),
    [(False, "cuda", True), (True, "cuda", False), (False, "mps", False), (False, "cpu", False)],
)
def test_marks_stay(
    resets: bool, device: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the path of torch.nn's operator: lengths and masks, on CUDA."""
    monkeypatch.setattr(paths, "choose", lambda cell, tensors: Path("vendor", "because"))
    there: Any = SimpleNamespace(is_cpu=device == "cpu", device=torch.device(device))
    assert paths.on_device([anyrnn.get("lstm")], [there], resets) is wanted


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_nothing_waits_for_the_operator_of_torch(name: str) -> None:
    made = copy.deepcopy(Recurrent(name, 3, 5, bidirectional=True)).to("meta")
    x = torch.empty(TIME, BATCH, 3, device="meta", requires_grad=True)
    given = {name: part.to("meta") for name, part in marks("lengths", "mask").items()}
    with forced("vendor"):
        output, _ = made(x, **given, padding="carry")
        output.sum().backward()
    assert output.shape == (TIME, BATCH, 10)
    assert x.grad is not None
