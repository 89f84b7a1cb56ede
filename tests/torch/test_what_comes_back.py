"""Every state, every value, single steps and chunks: `return_states`, `inspect`, `step`."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import anyrnn
from anyrnn.errors import AnyrnnError, InputError
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.parameters import split_parameters
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.execute import forced
from checks import PATHS, close, one_line
from invented_cells import INVENTED

float64 = torch.float64
CELLS = {**anyrnn.CATALOGUE, **INVENTED}


def make(name: str, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    cell = CELLS[name]
    sizes = {f"{size}_size": 3 + place for place, size in enumerate(cell.free_sizes)}
    return Recurrent(cell, **{"input_size": 3, **sizes, **options}, dtype=float64)


def weights(layer: Recurrent, suffix: str = "_l0") -> dict[str, np.ndarray]:
    names = [stored.name for stored in layer.cell.parameters]
    return {name: getattr(layer, name + suffix).detach().numpy() for name in names}


def as_tuple(states: Any) -> tuple[Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


# every state at every step


@pytest.mark.parametrize("name", CELLS)
def test_all_states_are_the_interpreters(name: str) -> None:
    layer = make(name)
    x = torch.randn(4, 2, layer.input_size, dtype=float64)
    wanted = anyrnn.interpret(layer.cell, x.numpy(), parameters=weights(layer))
    with forced("operations"):
        output, states = layer(x, return_states="all")
    close(output.detach(), wanted.output, 1e-12)
    for found, history in zip(as_tuple(states), wanted.history, strict=True):
        close(found[0].detach(), history[1:], 1e-12)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["lstm_projection", "gru", "three_states", "echo"])
def test_gradients_of_all_states(name: str, path: str) -> None:
    """Against a sequence that is run step by step, whose states autograd follows."""
    layer = make(name)
    x = torch.randn(5, 2, layer.input_size, dtype=float64, requires_grad=True)
    outputs, steps, state = [], [], None
    for x_t in x:
        output, state = layer.step(x_t, state)
        outputs.append(output)
        steps.append(as_tuple(state))
    wanted = [
        torch.stack(outputs),
        *(torch.stack(part, dim=1) for part in zip(*steps, strict=True)),
    ]
    with forced(path):
        output, states = layer(x, return_states="all")
    found = [output, *as_tuple(states)]
    factors = [torch.randn_like(tensor) for tensor in wanted]
    leaves = [x, *layer.parameters()]
    gradients = []
    for tensors in (found, wanted):
        loss = sum((a * b).sum() for a, b in zip(tensors, factors, strict=True))
        gradients.append(torch.autograd.grad(loss, leaves, allow_unused=True))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(*gradients, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", [LSTM, Recurrent])
def test_layouts_of_all_states(kind: type[nn.Module], batch_first: bool) -> None:
    torch.manual_seed(0)
    positional = ("lstm_peephole", 3, 5) if kind is Recurrent else (3, 5)
    options = {"num_layers": 2, "bidirectional": True, "dtype": float64}
    layer = kind(*positional, batch_first=batch_first, **options)
    x = torch.randn(4, 3, 3, dtype=float64)
    given = x.transpose(0, 1) if batch_first else x
    output, (h, c) = layer(given, return_states="all")
    _, (h_last, c_last) = layer(given)
    assert h.shape == c.shape == ((4, 3, 4, 5) if batch_first else (4, 4, 3, 5))
    time = 2 if batch_first else 1
    for all_states, last in ((h, h_last), (c, c_last)):
        torch.testing.assert_close(all_states.select(time, -1)[::2], last[::2])
        torch.testing.assert_close(all_states.select(time, 0)[1::2], last[1::2])
    torch.testing.assert_close(output, torch.cat([h[2], h[3]], dim=-1))

    one, (h_one, _) = layer(x[:, 0], return_states="all")
    assert h_one.shape == (4, 4, 5)
    torch.testing.assert_close(one, torch.cat([h_one[2], h_one[3]], dim=-1))

    lengths = [2, 4, 3]
    output, (h, _) = layer(given, lengths=lengths, return_states="all")
    rows = h if batch_first else h.transpose(1, 2)
    outputs = output if batch_first else output.transpose(0, 1)
    for row, length in enumerate(lengths):
        _, (alone, _) = layer(x[:length, row], return_states="all")
        torch.testing.assert_close(rows[:, row, :length], alone)
        after = rows[:, row, length:]
        carried = rows[:, row, length - 1 : length].expand_as(after).clone()
        carried[1::2] = 0  # backwards nothing has come yet
        assert torch.equal(after, carried)
        both = torch.cat([rows[2, row, :length], rows[3, row, :length]], dim=-1)
        torch.testing.assert_close(outputs[row, :length], both)

    packed = pack_padded_sequence(given, torch.tensor(lengths), batch_first, enforce_sorted=False)
    _, (packed_h, _) = layer(packed, return_states="all")
    padded, _ = pad_packed_sequence(packed_h, batch_first)
    padded = padded.movedim(2, 0) if batch_first else padded.movedim(2, 0).transpose(1, 2)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(padded[:, row, :length], rows[:, row, :length])


def test_all_states_in_a_traced_graph() -> None:
    torch._dynamo.reset()
    layer = make("lstm_peephole", bidirectional=True)
    x = torch.randn(4, 2, layer.input_size, dtype=float64)
    compiled = torch.compile(
        lambda x: layer(x, return_states="all"), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(x), layer(x, return_states="all"))


@pytest.mark.parametrize("given", ["none", "", None, True, 3])
def test_mistakes_in_return_states(given: object) -> None:
    for layer in (GRU(3, 5), make("gru")):
        with pytest.raises(InputError) as caught:
            layer(torch.zeros(4, 2, 3), return_states=given)
        assert one_line(caught.value) == f"return_states={given!r}; expected 'last' or 'all'"


# every value


@pytest.mark.parametrize("name", CELLS)
def test_values_are_the_interpreters(name: str) -> None:
    """Of every name in the graph, at every step, evaluated from the states before it."""
    layer = make(name)
    cell, x = layer.cell, torch.randn(4, 2, layer.input_size, dtype=float64)
    with forced("operations"):
        found = layer.inspect(x)
    assert not any(value.requires_grad for value in found.values())
    result = anyrnn.interpret(cell, x.numpy(), parameters=weights(layer))
    leaves = split_parameters(cell, weights(layer), layer.sizes)
    wanted: dict[str, list[np.ndarray]] = {name: [] for name in found}
    named = {name: node for node, name in cell.graph.names.items() if not node.is_leaf}
    named |= cell.graph.outputs
    assert set(found) == {name for name, node in named.items() if len(node.type.shape) < 2}
    for time, x_t in enumerate(x.numpy()):
        leaves |= {cell.input: x_t}
        leaves |= {n: h[time] for n, h in zip(cell.states, result.history, strict=True)}
        values = evaluate(named.values(), leaves, layer.sizes, x_t.dtype)
        for name, part in wanted.items():
            value = np.atleast_1d(values[named[name]]).astype(float)
            part.append(np.broadcast_to(value, (2, value.shape[-1])))
    for name, value in found.items():
        close(value, np.stack(wanted[name]), 1e-12, name)


@pytest.mark.parametrize("name", ["lstm_peephole", "conditions", "of_numbers", "three_states"])
def test_values_on_the_compiled_path(name: str) -> None:
    layer = make(name, num_layers=2, bidirectional=True)
    x = torch.randn(4, 3, layer.input_size, dtype=float64)
    lengths = [4, 1, 3]
    found = layer.inspect(x, lengths=lengths)
    with forced("operations"):
        wanted = layer.inspect(x, lengths=lengths)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-12, atol=1e-12)
    assert not found["h_l1_reverse"][1:, 1].any()
    output, _ = layer(x, lengths=lengths)
    both = torch.cat([found["h_l1"], found["h_l1_reverse"]], dim=-1)
    torch.testing.assert_close(both, output.detach())


def test_names_of_values() -> None:
    x = torch.randn(4, 2, 3)
    assert sorted(LSTM(3, 5).inspect(x)) == ["c", "f", "g", "h", "i", "o"]
    values = GRU(3, 5, num_layers=2, batch_first=True).inspect(x, torch.zeros(2, 4, 5))
    assert sorted(values) == sorted(f"{name}_l{place}" for name in "hrzn" for place in (0, 1))
    assert all(value.shape == (4, 2, 5) for value in values.values())
    packed = RNN(3, 5).inspect(pack_padded_sequence(x, torch.tensor([4, 2])))
    assert packed["h"].data.shape == (6, 5)
    with pytest.raises(AnyrnnError, match="the input has 2 features"):
        LSTM(3, 5).inspect(x[..., :2])


# steps and chunks


STREAMS: dict[str, Any] = {
    "lstm": lambda: LSTM(3, 5, num_layers=2),
    "gru": lambda: GRU(3, 5, batch_first=True),
    "rnn": lambda: RNN(3, 5, num_layers=3, learn_initial_state=True),
    "peephole": lambda: Recurrent("lstm_peephole", 3, 5),
    "output": lambda: Recurrent("rnn_output", 3, 5, output_size=5, num_layers=2),
    "several": lambda: Recurrent(["lstm", "gru"], 3, [5, 4]),
    "highway": lambda: Recurrent("gru", 3, 3, num_layers=2, highway=True),
}


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", STREAMS)
def test_steps_and_chunks_are_the_sequence(name: str, grad: bool) -> None:
    torch.manual_seed(0)
    layer = STREAMS[name]().double()
    time = 1 if getattr(layer, "batch_first", False) else 0
    x = torch.randn(9, 9, 3, dtype=float64)
    with torch.set_grad_enabled(grad):
        wanted, last = layer(x)
        outputs, state = [], None
        for x_t in x.unbind(time):
            output, state = layer.step(x_t, state)
            outputs.append(output)
        torch.testing.assert_close(torch.stack(outputs, time), wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)
        for size in (2, 4, 7):
            outputs, state = [], None
            for chunk in x.split(size, time):
                output, state = layer(chunk, state)
                outputs.append(output)
            torch.testing.assert_close(torch.cat(outputs, time), wanted, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)
    one, state_one = layer.step(x[0, 0])
    assert one.shape == wanted.shape[-1:]
    torch.testing.assert_close(one, wanted[0, 0], rtol=1e-12, atol=1e-12)
    again, _ = layer.step(x[1, 0] if not time else x[0, 1], state_one)
    torch.testing.assert_close(again, wanted[1, 0] if not time else wanted[0, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_of_two_steps_or_more_have_the_same_bits(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = LSTM(16, 24, num_layers=2).to(dtype), torch.randn(40, 8, 16, dtype=dtype)
    with torch.no_grad():
        wanted, last = layer(x)
        for size in (2, 8, 20):
            outputs, state = [], None
            for chunk in x.split(size):
                output, state = layer(chunk, state)
                outputs.append(output)
            assert torch.equal(torch.cat(outputs), wanted)
            assert all(map(torch.equal, state, last))


def test_mistakes_in_a_step() -> None:
    x = torch.zeros(2, 3)
    for layer, given, message in (
        (LSTM(3, 5, bidirectional=True), x, "the layer is bidirectional: it needs the whole"),
        (LSTM(3, 5), x[None], "the input of a step is (1, 2, 3); expected (batch, 3) or (3,)"),
        (LSTM(3, 5), [0.0] * 3, "the input of a step is a list; expected a tensor"),
        (LSTM(3, 5), x[:, :2], "the input has 2 features"),
    ):
        with pytest.raises(InputError) as caught:
            layer.step(given)
        assert message in one_line(caught.value)
    with pytest.raises(InputError, match="the state h has shape"):
        GRU(3, 5).step(x, torch.zeros(2, 5))


def test_copies_and_hooks_step_too() -> None:
    layer, x = LSTM(3, 5, num_layers=2), torch.randn(2, 3)
    wanted = layer.step(x)[0]
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied.step(x)[0], wanted)
        torch.testing.assert_close(copied.inspect(x[None])["h_l1"][0], wanted.detach())
    seen = []
    layer.register_forward_hook(lambda *arguments: seen.append(1))
    layer.step(x)
    assert seen == [1]
