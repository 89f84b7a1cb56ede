"""Training calls that come again go straight to the kernels, with the same bits."""

import threading
from itertools import pairwise

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from anyrnn.errors import ArrayError, InputError
from anyrnn.torch import GRU, LSTM, Recurrent
from anyrnn.torch.execute import forced
from anyrnn.torch.recorded_call import RecordedCall

CELLS = ("lstm", "gru", "rnn", "lstm_peephole", "lstm_projection", "mingru", "article3_lstm")


def layer_of(cell, **options):
    torch.manual_seed(0)
    sizes = {"proj_size": 3} if cell == "lstm_projection" else {}
    name = "lstm" if sizes else cell
    return Recurrent(name, 5, 7, **sizes, **options)


def call(layer, x, state=None):
    """Outputs, states and the gradients of everything."""
    output, last = layer(x, state)
    last = last if isinstance(last, tuple) else (last,)
    given = [] if state is None else [*state] if isinstance(state, tuple) else [state]
    asked = [t for t in (x, *given, *layer.parameters()) if t.requires_grad]
    total = (output * torch.arange(output.shape[-1])).sum() + sum(s.square().sum() for s in last)
    return [output, *last, *torch.autograd.grad(total, asked, allow_unused=True)]


def same(one, other):
    return all(
        (a is None and b is None) or (a.shape == b.shape and torch.equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


def kept(layer):
    """The calls that are kept, and in how many ways each has gone back."""
    calls = [c for c in layer._prepared.calls.values() if isinstance(c, RecordedCall)]
    return [sum(way == "backward" for way, _ in c.known.ways) for c in calls]


@pytest.mark.parametrize("shape", [(3, 11, 5), (1, 11, 5), (11, 1, 5)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_each_call_is_as_the_first(cell, batch_first, shape):
    layer = layer_of(cell, batch_first=batch_first)
    x = torch.randn(*shape, requires_grad=True)
    first = call(layer, x)
    for _ in range(3):
        assert same(call(layer, x), first)
    with torch.no_grad():
        found = [layer(x)[0] for _ in range(3)]
    assert same(found[1:], found[:1] * 2)
    if shape[batch_first] > 1:  # a single step may take another way
        assert torch.equal(found[0], first[0])
        assert kept(layer) == [1]


@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_on_top_of_each_other(batch_first):
    layer = LSTM(5, 4, 2, bidirectional=True, batch_first=batch_first, dropout=0.0)
    reference = torch.nn.LSTM(5, 4, 2, bidirectional=True, batch_first=batch_first)
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(3, 11, 5, requires_grad=True)
    first = call(layer, x)
    for _ in range(2):
        assert same(call(layer, x), first)
        with torch.no_grad():
            assert torch.equal(layer(x)[0], first[0])
            assert torch.equal(layer(x[:, ::2])[0], layer(x[:, ::2].clone())[0])
    for ours, theirs in zip(first, call(reference, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [(True, True), (False, True), (True, False)])
def test_states_that_are_given(wanted, dtype):
    layer = LSTM(4, 6, dtype=dtype)
    x = torch.randn(9, 2, 4, dtype=dtype, requires_grad=wanted[0])
    state = tuple(torch.randn(1, 2, 6, dtype=dtype, requires_grad=wanted[1]) for _ in "hc")
    first = call(layer, x, state)
    for _ in range(2):
        assert same(call(layer, x, state), first)
    reference = torch.nn.LSTM(4, 6, dtype=dtype)
    reference.load_state_dict(layer.state_dict())
    for ours, theirs in zip(first, call(reference, x, state), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_other_weights_are_read():
    layer, x = GRU(4, 6), torch.randn(9, 2, 4)
    for _ in range(3):
        call(layer, x)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(x)[0].square().sum().backward()
        optimiser.step()
        layer.weight_hh_l0.data.mul_(0.9)  # which PyTorch does not count
        fresh = GRU(4, 6)
        fresh.load_state_dict(layer.state_dict())
        assert same(call(layer, x), call(fresh, x))


@pytest.mark.parametrize("steps", [1, 9])
def test_gradients_as_they_come(steps):
    """Expanded, transposed, missing, of part of the results."""
    layer, x = LSTM(4, 6), torch.randn(steps, 2, 4, requires_grad=True)
    asked = [x, *layer.parameters()]
    losses = (
        lambda output, state: output.sum(),
        lambda output, state: (output.transpose(0, 2) * torch.ones(6, 2, steps)).sum(),
        lambda output, state: output[-1].square().sum(),
        lambda output, state: state[1].sum(),
        lambda output, state: state[0].sum() + output[0, 0, 0],
    )
    first = [torch.autograd.grad(loss(*LSTM.__call__(layer, x)), asked) for loss in losses]
    for _ in range(3):
        again = [torch.autograd.grad(loss(*layer(x)), asked) for loss in losses]
        for one, other in zip(first, again, strict=True):
            assert same(one, other)


def test_results_changed_in_place():
    """Residuals that have been changed with the results are made again."""
    layer, x = LSTM(4, 6), torch.randn(9, 2, 4, requires_grad=True)
    asked, first = [x, *layer.parameters()], None
    for _ in range(4):
        output, (h, c) = layer(x)
        loss = output.sum() + h.sum() + c.square().sum()
        output.detach().zero_()
        h.detach().fill_(3.0)
        c.detach()  # read by its square
        found = torch.autograd.grad(loss, asked)
        first = first or found
        assert same(found, first)


def test_twice_and_in_batches():
    layer, x = GRU(3, 4, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    x.requires_grad_()
    for _ in range(2):
        call(layer, x)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))
    output = layer(x)[0]
    above = torch.randn(3, *output.shape, dtype=torch.float64)
    together = torch.autograd.grad(output, x, above, is_grads_batched=True, retain_graph=True)[0]
    for each, gradient in zip(above, together, strict=True):
        alone = torch.autograd.grad(output, x, each, retain_graph=True)[0]
        torch.testing.assert_close(alone, gradient)


def test_parameters_changed_between():
    layer, x = LSTM(4, 6), torch.randn(9, 2, 4)
    for _ in range(2):
        call(layer, x)
    output = layer(x)[0]
    with torch.no_grad():
        layer.weight_ih_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
    output = layer(x)[0]
    layer.weight_hh_l0.data = torch.zeros(1)
    with pytest.raises(ArrayError, match="weight_hh_l0 has shape"):
        output.sum().backward()
    with pytest.raises(InputError, match="weight_hh_l0 has shape"):
        layer(x)


def test_checkpoints_and_first_calls():
    """What is saved looks the same in the first call and in others."""
    for batch_first in (False, True):
        layer = LSTM(4, 6, batch_first=batch_first)
        x = torch.randn(9, 2, 4, requires_grad=True)
        plain = torch.autograd.grad(layer(x)[0].sum(), [x, *layer.parameters()])
        fresh = LSTM(4, 6, batch_first=batch_first)
        fresh.load_state_dict(layer.state_dict())
        for _ in range(3):
            output = checkpoint(lambda x, layer=fresh: layer(x)[0], x, use_reentrant=False)
            assert same(torch.autograd.grad(output.sum(), [x, *fresh.parameters()]), plain)


def test_low_memory_and_other_modes():
    layer, x = GRU(4, 6), torch.randn(9, 2, 4, requires_grad=True)
    first = call(layer, x)
    for memory in ("low", "high", "low"):
        layer.memory = memory
        for one, other in zip(call(layer, x), first, strict=True):
            torch.testing.assert_close(one, other)
    with torch.no_grad():
        assert torch.equal(layer(x)[0], first[0])
        assert not layer(x)[0].requires_grad
    assert not layer.requires_grad_(False)(x.detach())[0].requires_grad
    assert layer(x)[0].requires_grad


def test_several_threads():
    layer, x = LSTM(4, 16), torch.randn(30, 3, 4)
    first, wrong = call(layer, x), []

    def train():
        wrong.extend(not same(call(layer, x), first) for _ in range(30))

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert not any(wrong)


def test_results_are_apart():
    """A call writes into no memory that an earlier one has returned."""
    layer, x = LSTM(4, 6), torch.randn(9, 2, 4, requires_grad=True)
    found = [call(layer, x) for _ in range(4)]
    for one, other in pairwise(found):
        for a, b in zip(one, other, strict=True):
            assert a.data_ptr() != b.data_ptr()
    copies = [tensor.detach().clone() for tensor in found[-1]]
    call(layer, torch.randn(9, 2, 4, requires_grad=True))
    assert same(found[-1], copies)


@pytest.mark.parametrize("shape", [(1, 1), (1, 32), (1, 33), (2, 16)])
@pytest.mark.parametrize("sizes", [(64, 64), (1, 64), (65, 7)])
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm_peephole"])
def test_few_rows(cell, sizes, shape):
    """Whose matrices are read as they are, and whose gradients are written at once."""
    layer = Recurrent(cell, *sizes, dtype=torch.float64)
    x = torch.randn(*shape, sizes[0], dtype=torch.float64, requires_grad=True)
    found = call(layer, x)
    with forced("operations"):
        expected = call(layer, x)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "lstm_peephole", "article1_rnn"])
def test_nothing_is_computed_in_python(cell):
    """Neither sums for gradients of matrices nor those of vectors alone, as of peepholes."""
    layer, x = layer_of(cell), torch.randn(4, 3, 5, requires_grad=True)
    for _ in range(3):
        call(layer, x)
    (known,) = (kept.known for kept in layer._prepared.calls.values())
    assert {way for way, _ in known.ways} == {"record", "backward"}
    assert None not in known.ways.values()
