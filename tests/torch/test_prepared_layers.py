"""Prepared layers: the same bits as without, and never a stale weight."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, vector_to_parameters

from anyrnn.errors import InputError
from anyrnn.kernels.packed_weights import Packing
from anyrnn.torch import GRU, LSTM, RNN, LSTMCell, Recurrent, prepare
from anyrnn.torch.execute import forced
from anyrnn.torch.layer import Layer


def unprepared(layer: nn.Module) -> nn.Module:
    """A copy that packs in each call."""
    other = copy.deepcopy(layer)
    for part in other.modules():
        if isinstance(part, Layer):
            part.unprepare()
    return other


def packings(layer: Layer) -> list[Packing]:
    """What a layer has packed."""
    assert layer._prepared is not None
    assert layer._prepared.packed is not None
    return [found for part in layer._prepared.packed.values() for found in part._kept.values()]


def flat(results: Any) -> list[Tensor]:
    output, states = results
    return [output, *(states if isinstance(states, tuple) else (states,))]


def same(layer: nn.Module, *given: Any) -> bool:
    """Whether a prepared layer gives the bits of one that is not."""
    with torch.no_grad():
        return all(map(torch.equal, flat(layer(*given)), flat(unprepared(layer)(*given))))


LAYERS: dict[str, Callable[[], Layer]] = {
    "lstm": lambda: LSTM(3, 5),
    "gru": lambda: GRU(17, 33, 2, bidirectional=True),
    "rnn": lambda: RNN(1, 1, nonlinearity="relu"),
    "projection": lambda: LSTM(4, 7, proj_size=3),
    "large": lambda: LSTM(40, 100),
    "norm": lambda: LSTM(5, 6, norm="layer"),
    "rms norm": lambda: GRU(5, 6, norm="rms"),
    "qrnn": lambda: Recurrent("qrnn", 5, 7),
    "peephole": lambda: Recurrent("lstm_peephole", 4, 6, batch_first=True),
    "float64": lambda: Recurrent("gru_reset_before", 4, 6, dtype=torch.float64),
    "highway": lambda: GRU(5, 5, 3, highway=True, learn_initial_state=True),
    "bfloat16": lambda: LSTM(5, 6).bfloat16(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_of_an_unprepared_layer(name: str) -> None:
    """For several sizes of batches in turn, with lengths, one step, in training and back."""
    torch.manual_seed(0)
    layer = prepare(LAYERS[name]().eval())
    dtype = next(layer.parameters()).dtype
    for time, batch in ((4, 3), (9, 1), (4, 3), (1, 2), (1, 1), (2, 11)):
        shape = (batch, time) if layer.batch_first else (time, batch)
        x = torch.randn(*shape, layer.input_size, dtype=dtype)  # type: ignore[call-overload]
        assert same(layer, x)
        assert same(layer, x)
        lengths = [time - k % time for k in range(batch)]
        with torch.inference_mode():
            found, wanted = layer(x, lengths=lengths), unprepared(layer)(x, lengths=lengths)
        assert torch.equal(found[0], wanted[0])
    assert same(layer.train(), x)
    assert same(layer.eval(), x)
    if name != "bfloat16":
        assert packings(layer)


def test_weights_are_packed_once() -> None:
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(7, 4, 3)
    with torch.no_grad():
        layer(x)
        (first,) = packings(layer)
        layer(x[:3])  # another number of steps has the same matrices
        (second,) = packings(layer)
    assert second is first
    layer.unprepare()
    assert layer._prepared is None or layer._prepared.packed is None


def test_one_packing_is_kept_for_each_way_to_read_weights() -> None:
    """Those of stale parameters are released."""
    layer = prepare(LSTM(3, 300).eval())
    with torch.no_grad():
        for batch in (1, 5, 1, 5):
            layer(torch.randn(4, batch, 3))
        before = packings(layer)
        layer.weight_hh_l0.add_(1)
        layer(torch.randn(4, 1, 3))
    assert len(before) == 2
    assert len(packings(layer)) == 1


def optimiser(kind: Any, **options: Any) -> Callable[[nn.Module], None]:
    def change(layer: nn.Module) -> None:
        for tensor in layer.parameters():
            tensor.grad = torch.rand_like(tensor) + 0.5
        kind(layer.parameters(), lr=0.1, **options).step()
        layer.zero_grad()

    return change


def trained(layer: nn.Module) -> None:
    layer.train()
    with torch.enable_grad():
        flat(layer(torch.randn(4, 2, 3)))[0].sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.5).step()
    layer.eval()


def others(layer: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn_like(tensor) for name, tensor in layer.state_dict().items()}


def in_inference_mode(layer: Any) -> None:
    with torch.inference_mode():
        layer.weight_hh_l0.add_(0.3)


def by_another_parameter(layer: Any) -> None:
    layer.weight_ih_l0 = nn.Parameter(torch.randn_like(layer.weight_ih_l0))


def by_data(layer: Any) -> None:
    for tensor in layer.parameters():
        tensor.data = torch.randn_like(tensor)


def back_and_forth(layer: nn.Module) -> None:
    """Other numbers, perhaps in the memory that the first ones had."""
    layer.double()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(1.1)
    layer.bfloat16()
    layer.float()


def there_and_back(layer: Any) -> None:
    layer.weight_hh_l0.data = torch.zeros(20, 5)
    layer.weight_hh_l0.data = torch.randn(20, 5)


def by_shape(layer: Any) -> None:
    layer.requires_grad_(False)
    layer.weight_hh_l0.resize_(1, 1).resize_(30, 5).copy_(torch.randn(30, 5)).resize_(20, 5)
    layer.requires_grad_(True)


def transposed_in_place(layer: Any) -> None:
    """The same memory read in another order."""
    data = layer.weight_hh_l0.data
    layer.weight_hh_l0.data = data.as_strided((20, 5), (1, 20) if data.is_contiguous() else (5, 1))


def with_autograd(layer: Any) -> None:
    layer.requires_grad_(False)
    layer.weight_hh_l0.mul_(2)
    layer.requires_grad_(True)


def shared(layer: Any) -> None:
    layer.share_memory()
    with torch.no_grad():
        layer.weight_hh_l0[0, 0] += 3


def no_grad(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def changed(layer: Any) -> None:
        with torch.no_grad():
            change(layer)

    return changed


CHANGES: dict[str, Callable[[Any], Any]] = {
    "SGD": optimiser(torch.optim.SGD),
    "Adam, foreach": optimiser(torch.optim.Adam, foreach=True),
    "Adam, fused": optimiser(torch.optim.Adam, fused=True),
    "AdamW, one by one": optimiser(torch.optim.AdamW, foreach=False),
    "a training": trained,
    "in place": no_grad(lambda layer: layer.weight_hh_l0.mul_(2)),
    "one element": no_grad(lambda layer: layer.bias_hh_l0[0].add_(1)),
    "a view": no_grad(lambda layer: layer.weight_ih_l0.view(-1)[3:5].add_(1)),
    "a detached alias": lambda layer: layer.weight_hh_l0.detach().add_(1),
    "foreach": no_grad(lambda layer: torch._foreach_mul_([*layer.parameters()], 1.5)),
    "out=": no_grad(lambda layer: torch.add(layer.weight_hh_l0.clone(), 1, out=layer.weight_hh_l0)),
    "in inference mode": in_inference_mode,
    "drawn anew": lambda layer: layer.reset_parameters(),
    "load_state_dict": lambda layer: layer.load_state_dict(others(layer)),
    "load_state_dict, assign": lambda layer: layer.load_state_dict(others(layer), assign=True),
    "another parameter": by_another_parameter,
    "data": by_data,
    "data twice": there_and_back,
    "data in another order": transposed_in_place,
    "vector_to_parameters": lambda layer: vector_to_parameters(
        torch.randn(sum(p.numel() for p in layer.parameters())), layer.parameters()
    ),
    "set_": no_grad(lambda layer: layer.weight_hh_l0.set_(torch.randn(20, 5))),
    "resize_": by_shape,
    "to and back": back_and_forth,
    "requires_grad_": with_autograd,
    "shared memory": shared,
    "clipped": no_grad(
        lambda layer: [p.clamp_(-p.abs().mean(), 0.9 * p.max()) for p in layer.parameters()]
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("prepared", [True, False])
def test_a_change_is_noticed(name: str, batch: int, prepared: bool) -> None:
    torch.manual_seed(0)
    layer, x = LSTM(3, 5).eval(), torch.randn(6, batch, 3)
    layer = prepare(layer) if prepared else layer
    state = torch.randn(1, batch, 5), torch.randn(1, batch, 5)
    with torch.no_grad():
        for _ in range(3):  # more than once: what was packed before is stale, too
            layer(x)
            before = layer(x)[0].clone()
            layer.step(x[0], state)
            step = layer.step(x[0], state)[0].clone()
            kept = packings(layer) if prepared else []
            assert len(kept) == prepared
            CHANGES[name](layer)
            after, after_step = layer(x)[0], layer.step(x[0], state)[0]
            assert not torch.equal(before, after)
            assert torch.equal(after, unprepared(layer)(x)[0])
            assert not torch.equal(step, after_step)
            assert torch.equal(after_step, unprepared(layer).step(x[0], state)[0])  # type: ignore[operator]
            assert not prepared or kept[0] not in packings(layer)


def test_further_ways_to_have_other_parameters() -> None:
    """Of one call only, computed from others, of a copy."""
    torch.manual_seed(0)
    layer, x = prepare(GRU(3, 5).eval()), torch.randn(6, 2, 3)
    with torch.no_grad():
        first = layer(x)[0]
        other = others(layer)
        found = functional_call(layer, other, (x,))[0]
        assert torch.equal(layer(x)[0], first)
        layer.load_state_dict(other)
        assert torch.equal(layer(x)[0], found)
        twin = copy.deepcopy(layer)
        assert twin._prepared is not layer._prepared
        assert packings(twin) == []
        twin.weight_hh_l0.mul_(2)
        assert torch.equal(layer(x)[0], found)
        assert same(twin, x)
        loaded = pickle.loads(pickle.dumps(layer))
        assert packings(loaded) == []
        assert torch.equal(loaded(x)[0], found)
    kept = prepare(Recurrent("gru", 3, 5).eval())
    with torch.no_grad():
        before = kept(x)[0]
        torch.utils.swap_tensors(kept.U_l0, nn.Parameter(torch.randn(15, 5)))
        assert not torch.equal(kept(x)[0], before)
        assert same(kept, x)
    normed = parametrizations.weight_norm(prepare(LSTM(3, 5).eval()), "weight_hh_l0")
    with torch.no_grad():
        for _ in range(3):
            before = normed(x)[0]
            normed.parametrizations.weight_hh_l0.original0.mul_(1.5)  # type: ignore[union-attr]
            assert not torch.equal(normed(x)[0], before)
            assert same(normed, x)


def test_gradients_are_not_those_of_packed_weights() -> None:
    """With a gradient a call computes as ever, and its derivative with it."""
    torch.manual_seed(0)
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(6, 2, 3)
    with torch.no_grad():
        layer(x)
    other = unprepared(layer)
    for each in (layer, other):
        flat(each(x))[0].square().sum().backward()
    for name, tensor in layer.named_parameters():
        assert torch.equal(tensor.grad, other.get_parameter(name).grad)  # type: ignore[arg-type]


def test_parameters_that_count_no_changes_are_packed_in_each_call() -> None:
    with torch.inference_mode():
        layer, x = prepare(LSTM(3, 5).eval()), torch.randn(6, 2, 3)
        for _ in range(2):
            before = layer(x)[0]
            layer.weight_hh_l0.mul_(2)
            assert not torch.equal(layer(x)[0], before)
        assert packings(layer) == []


def test_in_training_nothing_is_kept() -> None:
    """So whatever a training does to parameters, evaluation begins with what they are then."""
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(6, 2, 3)
    with torch.no_grad():
        layer(x)
        layer.train()
        assert packings(layer) == []
        layer(x)
        assert packings(layer) == []
        layer.weight_hh_l0.data.add_(1)
        assert same(layer.eval(), x)
        assert packings(layer)


def test_several_threads_while_weights_change() -> None:
    """A run goes on with what it has: each result is that of one of the two."""
    torch.manual_seed(0)
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(50, 4, 3)
    weights = [others(layer), others(layer)]
    with torch.no_grad():
        wanted = []
        for each in weights:
            layer.load_state_dict(each)
            wanted.append(layer(x)[0])
        found: list[Tensor] = []

        def call() -> None:
            with torch.no_grad():
                found.extend(layer(x)[0] for _ in range(50))

        for each in weights:
            layer.load_state_dict(each)
            threads = [Thread(target=call) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert len(found) == 300
    assert all(any(torch.equal(result, each) for each in wanted) for result in found)


def test_what_is_not_counted_is_not_noticed() -> None:
    """As documented, with the way out."""
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(6, 2, 3)
    with torch.no_grad():
        before = layer(x)[0]
        layer.weight_hh_l0.data.add_(1)
        assert torch.equal(layer(x)[0], before)
        prepare(layer)
        assert not torch.equal(layer(x)[0], before)
        layer.weight_hh_l0.data.add_(1)
        layer.unprepare()
        assert same(layer, x)


def test_a_module_without_layers_is_refused() -> None:
    with pytest.raises(InputError, match=r"^Linear has no layer of anyrnn\.torch"):
        prepare(nn.Linear(2, 3))
    with pytest.raises(InputError, match=r"^LSTMCell has no layer .* need not be"):
        prepare(LSTMCell(2, 3))
    with pytest.raises(InputError, match=r"^list has no layer"):
        prepare([GRU(3, 4)])  # type: ignore[type-var]
    model = nn.Sequential(nn.Linear(2, 3), nn.ModuleList([GRU(3, 4), RNN(4, 5)]))
    assert prepare(model) is model
    assert all(part._prepared for part in model.modules() if isinstance(part, Layer))


SINGLE = ("lstm", "rnn", "projection", "large", "norm", "qrnn", "peephole", "float64", "bfloat16")


@contextmanager
def nothing_read() -> Iterator[None]:
    """No call may go the usual way meanwhile."""

    def refuse(*given: Any) -> None:
        raise AssertionError("a prepared call looks at its input in the usual way")

    with mock.patch.multiple(Layer, _read=refuse, _step_of=refuse):
        yield


@pytest.mark.parametrize("name", ["lstm", "rnn", "projection", "large", "norm", "qrnn", "float64"])
@pytest.mark.parametrize("prepared", [True, False])
def test_the_second_call_is_short(name: str, prepared: bool) -> None:
    """The second one with inputs of the same shape; with states and without."""
    layer = LAYERS[name]().eval()
    layer = prepare(layer) if prepared else layer
    dtype = next(layer.parameters()).dtype
    with torch.no_grad():
        for time, batch in ((7, 2), (1, 2), (3, 1)):
            x = torch.randn(time, batch, layer.input_size, dtype=dtype)  # type: ignore[call-overload]
            first = layer(x)
            with nothing_read():
                second = layer(x)
                third = layer(x, second[1])
            assert all(map(torch.equal, flat(first), flat(second)))
            assert same(layer, x, second[1])
            assert all(map(torch.equal, flat(third), flat(unprepared(layer)(x, second[1]))))
        layer.step(x[0])
        with nothing_read():
            output, state = layer.step(x[0])
            layer.step(x[0], state)
        assert torch.equal(output, unprepared(layer).step(x[0])[0])  # type: ignore[operator]


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("prepared", [True, False])
def test_a_stream(name: str, prepared: bool) -> None:
    """Step by step, as without; results that a caller gave, in turns, and over the state."""
    torch.manual_seed(0)
    layer = LAYERS[name]().eval()
    other, dtype = unprepared(layer), next(layer.parameters()).dtype
    layer = prepare(layer) if prepared else layer
    for batch in (1, 3):
        state = wanted_state = out = None
        places: list[Any] = []
        with torch.no_grad():
            for count, x in enumerate(torch.randn(12, batch, layer.input_size, dtype=dtype)):  # type: ignore[call-overload]
                wanted, wanted_state = other.step(x, wanted_state)  # type: ignore[operator]
                if count in (2, 3):
                    places.append(layer.step(torch.zeros_like(x), state))
                    for tensor in flat(places[-1]):
                        tensor.fill_(torch.nan)
                out = None if count < 4 else places[count % 2]
                if count > 8:  # over the state before
                    out = torch.empty_like(wanted), state
                output, state = layer.step(x, state, out=out)
                assert out is None or output is out[0]
                assert out is None or state is out[1]
                found = flat((output, state))
                assert all(map(torch.equal, found, flat((wanted, wanted_state))))


def test_results_in_memory_that_is_read_too() -> None:
    """Shared with the state or the input, wholly or in parts, or with each other's."""
    torch.manual_seed(0)
    layer = prepare(RNN(5, 5).eval())
    with torch.no_grad():
        for _ in range(3):
            memory = torch.randn(40)
            x, state = memory[:5].view(1, 5), memory[5:10].view(1, 1, 5)
            wanted = unprepared(layer).step(x, state)  # type: ignore[operator]
            for start, end in ((0, 20), (5, 20), (20, 5), (7, 20), (20, 2), (20, 0), (9, 4)):
                kept = memory.clone()
                out = memory[start:][:5].view(1, 5), memory[end:][:5].view(1, 1, 5)
                found = layer.step(x, state, out=out)
                assert found is out
                assert torch.equal(found[1], wanted[1])
                if not set(range(start, start + 5)) & set(range(end, end + 5)):
                    assert torch.equal(found[0], wanted[0])
                memory.copy_(kept)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.zeros(2, 5), r"^out is a Tensor; expected an output and a state, as step"),
        ((torch.zeros(2, 5),), r"^out has 1 parts; expected 2"),
        ((torch.zeros(2, 5), torch.zeros(1, 2, 5)), r"^out\[1\] is a Tensor; expected 2 tensors"),
        ((torch.zeros(2, 4), (torch.zeros(1, 2, 5),) * 2), r"^out\[0\] is torch.float32 of shape"),
        ((torch.zeros(2, 5).double(), (torch.zeros(1, 2, 5),) * 2), r"^out\[0\] is torch.float64"),
        ((torch.zeros(2, 5), (torch.zeros(1, 2, 5), None)), r"^out\[1\]\[1\] is a NoneType"),
        (
            (torch.zeros(1, 5).expand(2, 5), (torch.zeros(1, 2, 5),) * 2),
            r"^out\[0\] cannot be written: .* single memory location",
        ),
    ],
)
def test_results_that_cannot_be_written(out: Any, message: str) -> None:
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(2, 3)
    with torch.no_grad():
        for _ in range(3):
            with pytest.raises(InputError, match=message):
                layer.step(x, out=out)
            layer.step(x)
    with pytest.raises(InputError, match=r"^step\(out=...\) writes results without a gradient"):
        layer.step(x, out=layer.step(x))


@pytest.mark.parametrize("name", ["first", "kept"])
def test_autograd_sees_that_results_were_written_again(name: str) -> None:
    layer, head, x = LSTM(3, 5).eval(), nn.Linear(5, 1), torch.randn(2, 3)
    if name == "kept":
        prepare(layer)
        with torch.no_grad():
            layer.step(x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            out = layer.step(x)
            layer.step(x, out=out)
    with torch.no_grad():
        out = layer.step(x)
    loss = head(out[0]).sum()
    with torch.no_grad():
        layer.step(2 * x, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_a_prepared_call_has_to_see() -> None:
    """Each of these comes after calls that were prepared, and goes the usual way."""
    torch.manual_seed(0)
    layer, x = prepare(LSTM(3, 5).eval()), torch.randn(6, 1, 3)
    other = unprepared(layer)
    with torch.no_grad():
        for _ in range(2):
            layer(x)
            layer.step(x[0])
    assert layer(x)[0].requires_grad
    assert layer.step(x[0])[0].requires_grad
    with torch.no_grad():
        for bad in (x.double(), x[..., :2], x[0, 0, 0], x.to("meta"), None):
            for call in (layer, layer.step):
                with pytest.raises(InputError):
                    call(bad)
        with pytest.raises(InputError):
            layer(x, (torch.zeros(1, 1, 5), torch.zeros(1, 1, 4)))
        with pytest.raises(InputError):
            layer(x, torch.zeros(1, 1, 5))
        assert torch.equal(layer(x[::2])[0], other(x[::2])[0])
        wide = torch.randn(6, 1, 6)[..., ::2]
        assert torch.equal(layer(wide)[0], other(wide)[0])
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x)[0].dtype == layer.step(x[0])[0].dtype == torch.bfloat16
        with forced("operations"):
            assert torch.equal(layer(x)[0], other(x)[0])
        called = []
        handle = layer.register_forward_hook(lambda *given: called.append(1))
        layer.step(x[0])
        layer(x)
        handle.remove()
        assert called == [1, 1]
        vars(layer)["forward"] = lambda *given: (torch.zeros(1, 1, 5), None)
        assert not layer.step(x[0])[0].any()
        del vars(layer)["forward"]
        assert torch.equal(layer(x)[0], other(x)[0])
        square = torch.randn(4, 2, 3)
        layer(square)
        layer(square)
        turned = x.transpose(0, 1).contiguous()
        layer.batch_first = other.batch_first = True
        assert torch.equal(layer(square)[0], other(square)[0])
        assert torch.equal(layer(turned)[0], other(turned)[0])
        assert torch.equal(layer(x)[0], other(x)[0])  # now six sequences of one step
        assert torch.equal(layer.step(x[0])[0], other.step(x[0])[0])  # type: ignore[operator]
    grads = torch.func.vmap(lambda each: layer(each)[0])(torch.randn(2, 1, 6, 3))
    assert grads.shape == (2, 1, 6, 5)


def test_a_learned_initial_state_is_not_taken_for_zeros() -> None:
    torch.manual_seed(0)
    layer, x = prepare(GRU(3, 5, learn_initial_state=True).eval()), torch.randn(6, 2, 3)
    with torch.no_grad():
        layer.h_0_l0.fill_(0.5)
        state = torch.zeros(1, 2, 5)
        for _ in range(3):
            for given in (x, x[:1]):
                assert same(layer, given, state)
                assert same(layer, given)
                assert not torch.equal(layer(given)[0], layer(given, state)[0])


@pytest.mark.parametrize("prepared", [True, False])
def test_dropout_in_training_after_prepared_calls(prepared: bool) -> None:
    """Also where somebody sets the attribute."""
    torch.manual_seed(0)
    layer = GRU(3, 50, recurrent_dropout=0.5).eval()
    layer = prepare(layer) if prepared else layer
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        for given in (x, x[:1]):
            for _ in range(3):
                first = layer.eval()(given, torch.ones(1, 2, 50))[0]
            assert not torch.equal(layer.train()(given, torch.ones(1, 2, 50))[0], first)
            assert torch.equal(layer.eval()(given, torch.ones(1, 2, 50))[0], first)
            layer(given, torch.ones(1, 2, 50))
            layer.training = True
            assert not torch.equal(layer(given, torch.ones(1, 2, 50))[0], first)
