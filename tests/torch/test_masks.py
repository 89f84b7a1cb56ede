"""Lengths and masks: only the steps that count are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import anyrnn
from anyrnn.errors import AnyrnnError
from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch.execute import forced
from anyrnn.torch.path import ORDER
from checks import PATHS, one_line
from masked_layers import as_given, carried, draw_states, loop, make

CELLS = ["lstm", "gru", "rnn_output", "lstm_projection"]
float64 = torch.float64


def flags(draw: Any, *shape: int) -> Tensor:
    drawn = draw(
        st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    return torch.tensor(drawn).reshape(shape)


def check(found: Any, wanted: Any, leaves: list[Tensor]) -> None:
    """Values, and the gradients of a random combination of them."""
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    factors = [torch.randn_like(tensor) for tensor in wanted]
    gradients = []
    for tensors in (found, wanted):
        loss = sum((a * b).sum() for a, b in zip(tensors, factors, strict=True))
        gradients.append(
            torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        )
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


@settings(max_examples=80)
@given(data=st.data())
def test_a_layer_is_the_loop(data: st.DataObject) -> None:
    draw = data.draw
    torch.manual_seed(draw(st.integers(0, 99)))
    time, batch = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    batch_first, every_state = draw(st.booleans()), draw(st.booleans())
    name = draw(st.sampled_from(CELLS))
    layer = make(name, draw(st.integers(1, 2)), draw(st.booleans()), batch_first=batch_first)
    x = torch.randn(time, batch, 3, dtype=float64, requires_grad=True)
    initial = draw_states(layer, batch)
    reset = initial
    counts, resets = torch.ones(time, batch).bool(), torch.zeros(time, batch).bool()
    marks: dict[str, Any] = {"padding": draw(st.sampled_from(["zero", "carry"]))}

    def turn(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, 1) if batch_first else tensor

    if draw(st.booleans()):
        counts = flags(draw, time, batch)
        marks["mask"] = turn(counts)
    if draw(st.booleans()):
        lengths = draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
        counts = counts & (torch.arange(time)[:, None] < torch.tensor(lengths))
        marks["lengths"] = draw(
            st.sampled_from([lengths, np.array(lengths), torch.tensor(lengths)])
        )
    if draw(st.booleans()):
        resets = flags(draw, time, batch)
        marks["resets"] = turn(resets)
        if draw(st.booleans()):
            reset = draw_states(layer, batch)
            marks["reset_state"] = as_given(reset)
    output, every, last = loop(layer, x, counts, resets, initial, reset)
    if marks["padding"] == "carry":
        output = carried(output, counts)
    wanted = every if every_state else last
    given_x = turn(x).contiguous() if draw(st.booleans()) else turn(x)
    with forced(draw(st.sampled_from(sorted(PATHS)))):
        returned = "all" if every_state else "last"
        found, states = layer(given_x, as_given(initial), **marks, return_states=returned)
    states = states if isinstance(states, tuple) else (states,)
    stacked = [torch.stack(part) for part in zip(*wanted, strict=True)]
    if every_state and batch_first:
        states = tuple(state.transpose(1, 2) for state in states)
    leaves = [x, *layer.parameters(), *(s for part in (*initial, *reset) for s in part)]
    check([turn(found), *states], [output, *stacked], leaves)


@pytest.mark.parametrize("name", CELLS)
def test_of_its_own_length(name: str) -> None:
    """A row with holes is the sequence without them, in both directions."""
    torch.manual_seed(0)
    layer = make(name, 2, True)
    x = torch.randn(7, 3, 3, dtype=float64)
    mask = torch.tensor([[0, 1, 1, 0, 1, 0, 0], [1] * 7, [0, 0, 0, 0, 0, 1, 1]]).bool().T
    output, state = layer(x, mask=mask)
    states = state if isinstance(state, tuple) else (state,)
    for row in range(3):
        own = mask[:, row]
        alone, ended = layer(x[own, row])
        torch.testing.assert_close(output[own, row], alone, rtol=1e-12, atol=1e-12)
        assert not output[~own, row].any()
        for whole, part in zip(states, ended if len(states) > 1 else (ended,), strict=True):
            torch.testing.assert_close(whole[:, row], part, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_lengths_are_a_packed_sequence(kind: type[nn.Module], batch_first: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    ours = kind(3, 5, **options, dtype=float64)
    theirs = getattr(nn, kind.__name__)(3, 5, **options, dtype=float64)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn((4, 6, 3) if batch_first else (6, 4, 3), dtype=float64, requires_grad=True)
    lengths = torch.tensor([2, 6, 1, 6])
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    wanted, last = theirs(packed)
    wanted = pad_packed_sequence(wanted, batch_first)[0]
    output, state = ours(x, lengths=lengths)
    flat = (state, last) if kind is GRU else zip(state, last, strict=True)
    for found, other in [(output, wanted), *([flat] if kind is GRU else flat)]:
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-10)
    factors = torch.randn_like(wanted)
    gradients = [
        torch.autograd.grad((result * factors).sum(), [x, *layer.parameters()])
        for result, layer in ((output, ours), (wanted, theirs))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ORDER)
@pytest.mark.parametrize("padding", ["zero", "carry"])
def test_what_does_not_count_is_not_read(padding: str, path: str) -> None:
    torch.manual_seed(0)
    layer, mask = make("lstm", 2, True), torch.rand(6, 4) < 0.5
    x = torch.randn(6, 4, 3, dtype=float64)
    spoilt = x.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    with forced(path):
        wanted = layer(x, mask=mask, padding=padding)
        output, states = layer(spoilt, mask=mask, padding=padding)
    torch.testing.assert_close((output, states), wanted, rtol=0, atol=0)
    factors = torch.randn_like(output)
    if padding == "zero":  # a gradient of what is there only
        factors[~mask] = torch.nan
    (output * factors).sum().backward()
    assert not spoilt.grad[~mask].any()
    for tensor in (spoilt, *layer.parameters()):
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("path", PATHS)
def test_nothing_counts(path: str) -> None:
    layer = make("lstm", 2, True)
    x = torch.randn(4, 3, 3, dtype=float64, requires_grad=True)
    given_state = tuple(torch.randn(4, 3, 4, dtype=float64, requires_grad=True) for _ in range(2))
    with forced(path):
        for marks in ({"lengths": [0, 0, 0]}, {"mask": torch.zeros(4, 3).bool()}):
            output, state = layer(x, given_state, **marks, padding="carry")
            assert output.shape == (4, 3, 8)
            assert not output.any()
            torch.testing.assert_close(state, given_state)
            leaves = [x, *layer.parameters(), *given_state]
            found = torch.autograd.grad(state[0].sum() + output.sum(), leaves, allow_unused=True)
            assert all(part is None or not part.any() for part in found[:-2])
            assert (found[-2] == 1).all()
            every = layer(x, given_state, **marks, return_states="all")[1]
            assert torch.equal(every[1][:, 2], given_state[1])
            assert not any(value.any() for value in layer.inspect(x, **marks).values())


def test_everything_counts() -> None:
    """To the last bit what it is without a mask, by the same way."""
    layer, x = GRU(3, 5, batch_first=True), torch.randn(2, 4, 3)
    for marks in (
        {"mask": torch.ones(2, 4).bool()},
        {"lengths": [4, 4]},
        {"resets": np.zeros((2, 4), bool)},
    ):
        torch.testing.assert_close(layer(x, **marks), layer(x), rtol=0, atol=0)


def test_one_sequence() -> None:
    for batch_first in (False, True):
        layer = LSTM(3, 5, bidirectional=True, batch_first=batch_first)
        x, mask = torch.randn(5, 3), torch.tensor([False, True, True, False, True])
        output, (h, c) = layer(x, mask=mask, return_states="all")
        assert h.shape == c.shape == (2, 5, 5)
        alone, last = layer(x[mask])
        torch.testing.assert_close(output[mask], alone)
        torch.testing.assert_close(layer(x, mask=mask)[1], last)
        assert not output[~mask].any()
        assert layer.inspect(x, mask=mask)["c_l0"].shape == (5, 5)


@pytest.mark.parametrize("name", ["lstm", "rnn_output"])
def test_values_at_steps_that_count(name: str) -> None:
    torch.manual_seed(0)
    layer = make(name, 2, True, batch_first=True)
    x, mask = torch.randn(3, 5, 3, dtype=float64), torch.rand(3, 5) < 0.6
    found, row = layer.inspect(x, mask=mask), 1
    own = mask[row]
    for name, value in layer.inspect(x[row, own]).items():
        torch.testing.assert_close(found[name][row, own], value, rtol=1e-12, atol=1e-12)
        assert not found[name][~mask].any()


def test_any_device_and_any_kind_of_numbers() -> None:
    layer, x = GRU(3, 5), torch.randn(4, 3, 3)
    wanted = layer(x, lengths=[3, 0, 4])
    for kind in (torch.int32, torch.uint8, torch.int64):
        found = layer(x, lengths=torch.tensor([3, 0, 4], dtype=kind))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    mask = [[True, False, True]] * 3 + [[False, False, True]]
    for given_mask in (mask, np.array(mask), torch.tensor(mask), torch.tensor(mask).to_sparse()):
        torch.testing.assert_close(layer(x, mask=given_mask), wanted, rtol=0, atol=0)


def test_input_dropout_has_one_mask_for_a_sequence() -> None:
    torch.manual_seed(0)
    layer = Recurrent(_echo, 3, input_dropout=0.5)
    mask = torch.rand(9, 4) < 0.7
    output, _ = layer(torch.ones(9, 4, 3), mask=mask)
    for row in range(4):
        seen = output[mask[:, row], row]
        assert (seen == seen[:1]).all()
        assert set(seen.unique().tolist()) <= {0.0, 2.0}


@anyrnn.cell
def _echo(x, h):
    return x + 0 * h


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_traced() -> None:
    """torch.compile runs such calls outside its graphs."""
    torch._dynamo.reset()
    layer, x = GRU(3, 5), torch.randn(4, 2, 3)
    mask = torch.tensor([[True, False], [False, True], [True, True], [False, True]])
    compiled = torch.compile(lambda x: layer(x, mask=mask)[0] * 2, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x, mask=mask)[0] * 2)
    compiled = torch.compile(lambda x: layer(x, resets=mask)[0] * 2, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x, resets=mask)[0] * 2)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_second_derivatives_and_transforms() -> None:
    torch.manual_seed(0)
    layer = make("gru", 1, True)
    mask, resets = torch.rand(4, 2) < 0.6, torch.rand(4, 2) < 0.3
    x = torch.randn(4, 2, 3, dtype=float64, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return layer(x, mask=mask, resets=resets, padding="carry")[0]

    torch.autograd.gradcheck(run, (x,))
    torch.autograd.gradgradcheck(run, (x,))
    many = torch.randn(3, 4, 2, 3, dtype=float64)
    mapped = torch.func.vmap(run)(many)
    torch.testing.assert_close(mapped, torch.stack([run(part) for part in many]))
    mapped = torch.func.vmap(lambda x: layer(x, mask=mask)[0])(many)
    torch.testing.assert_close(mapped, torch.stack([layer(x, mask=mask)[0] for x in many]))
    tangent = torch.randn(4, 2, 3, dtype=float64)
    by_argument = torch.func.grad(lambda x, mask: layer(x, mask=mask)[0].sum())(many[0], mask)
    with torch.no_grad():
        x.copy_(many[0])
    (wanted,) = torch.autograd.grad(layer(x, mask=mask)[0].sum(), x)
    torch.testing.assert_close(by_argument, wanted)
    with pytest.raises(AnyrnnError, match=r"mask: a tensor that .*vmap maps was given"):
        torch.func.vmap(lambda x, mask: layer(x, mask=mask)[0])(many, torch.stack([mask] * 3))
    _, forward = torch.func.jvp(run, (x.detach(),), (tangent,))
    backward = torch.autograd.grad(run(x), x, torch.ones_like(forward))[0]
    torch.testing.assert_close(forward.sum(), (backward * tangent).sum())


X = torch.zeros(4, 2, 3)
ONES = torch.ones(4, 2)
MISTAKES: list[tuple[Tensor, dict[str, Any], str]] = [
    (X, {"lengths": [4]}, "lengths are torch.int64 of shape (1,); expected 2 whole numbers"),
    (X, {"lengths": [4, 5]}, "a length is 5; the input has 4 steps: expected 0 to 4"),
    (X, {"lengths": [-1, 5]}, "a length is -1; the input has 4 steps: expected 0 to 4"),
    (X, {"mask": ONES}, "mask: numbers of the type torch.float32 were given; expected booleans"),
    (X, {"mask": [[1, 0]] * 4}, "mask: numbers of the type torch.int64 were given"),
    (X, {"mask": "ab"}, "mask='ab'; expected booleans"),
    (X, {"mask": ONES.bool().to("meta")}, "mask=tensor(..., device='meta'"),
    (
        X,
        {"mask": ONES.bool().T},
        "mask: the shape (2, 4) was given; expected (4, 2): (time, batch)",
    ),
    (X, {"mask": ONES.bool()[:, 0]}, "mask: the shape (4,) was given; expected (4, 2)"),
    (X, {"resets": ONES}, "resets: numbers of the type torch.float32 were given"),
    (X, {"resets": ONES.bool()[:3]}, "resets: the shape (3, 2) was given; expected (4, 2)"),
    (X[:, 0], {"mask": ONES.bool()}, "mask: the shape (4, 2) was given; expected (4,): (time)"),
    (X[:, 0], {"lengths": [3]}, "lengths were given for one sequence without a batch"),
    (X, {"padding": "last"}, "padding='last'; expected 'zero' or 'carry'"),
    (X, {"padding": None}, "padding=None; expected 'zero' or 'carry'"),
]


@pytest.mark.parametrize("kind", [Recurrent, GRU])
@pytest.mark.parametrize("place", range(len(MISTAKES)), ids=lambda i: MISTAKES[i][2][:40])
def test_mistakes(kind: type[nn.Module], place: int) -> None:
    x, marks, message = MISTAKES[place]
    layer = kind("gru", 3, 5) if kind is Recurrent else kind(3, 5)
    with pytest.raises(AnyrnnError) as caught:
        layer(x, **marks)
    assert message in one_line(caught.value)


def test_mistakes_of_other_layouts() -> None:
    layer = GRU(3, 5, batch_first=True)
    with pytest.raises(
        AnyrnnError, match=r"\(2, 4\) was given; expected \(4, 2\): \(batch, time\)"
    ):
        layer(X, mask=ONES.bool().T)
    packed = pack_padded_sequence(X, torch.tensor([4, 2]))
    for name in ("lengths", "mask", "resets"):
        with pytest.raises(AnyrnnError, match=f"{name} cannot be given besides a PackedSequence"):
            GRU(3, 5)(packed, **{name: ONES.bool()})
