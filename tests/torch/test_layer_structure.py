"""Sizes and cells of their own, merge, residual, highway, learned initial states, dropouts: against
layers of torch.nn put together by hand.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import anyrnn
from anyrnn.errors import AnyrnnError, CellError, InputError, SizeError
from anyrnn.graph.roles import Role, matrices
from anyrnn.torch import GRU, LSTM, RNN, Recurrent
from anyrnn.torch.path import ORDER, forced
from checks import one_line
from invented_cells import INVENTED

float64 = torch.float64
LENGTHS = torch.tensor([3, 6, 1, 5])


@pytest.fixture(autouse=True)
def double() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(float64)
    yield
    torch.set_default_dtype(torch.float32)


def by_hand(
    layer: nn.Module,
    kinds: Sequence[Sequence[type[nn.RNNBase]]],
    join: Callable[[int, Tensor, list[Tensor]], Tensor],
) -> Callable[[Tensor, Any], tuple[Tensor, list[list[Any]]]]:
    """The layers and directions of a drop-in layer, one module of torch.nn each.

    Args:
        layer: Our layer, with torch's parameters.
        kinds: The module of each layer and direction.
        join: What becomes of the outputs of a layer: its place, its input, the outputs.
    """
    parts: list[list[nn.RNNBase]] = []
    for place, directions in enumerate(kinds):
        parts.append([])
        for direction, kind in enumerate(directions):
            suffix = f"_l{place}" + "_reverse" * direction
            stored = {
                name.replace(suffix, "_l0"): parameter
                for name, parameter in layer.named_parameters()
                if name.endswith(suffix) and name.startswith(("weight", "bias"))
            }
            columns, size = stored["weight_ih_l0"].shape[1], stored["weight_hh_l0"].shape[1]
            part = kind(columns, size)
            for name, parameter in stored.items():
                delattr(part, name)
                setattr(part, name, parameter)  # the same parameter: gradients meet there
            parts[-1].append(part)

    def run(x: Tensor, state: Any) -> tuple[Tensor, list[list[Any]]]:
        last: list[list[Any]] = []
        for place, directions in enumerate(parts):
            outputs, last = [], [*last, []]
            for direction, part in enumerate(directions):
                given = turned(x) if direction else x
                packed = pack_padded_sequence(given, LENGTHS, enforce_sorted=False)
                initial = None if state is None else state[place][direction]
                output, final = part(packed, initial)
                output, _ = pad_packed_sequence(output)
                outputs.append(turned(output) if direction else output)
                last[-1].append(final)
            x = join(place, x, outputs)
        return x, last

    return run


def turned(x: Tensor) -> Tensor:
    """Each sequence from its own end; what is after it is zero."""
    result = torch.zeros_like(x)
    rows = [x[:length, row].flip(0) for row, length in enumerate(LENGTHS)]
    for row, sequence in enumerate(rows):
        result = result.index_put((torch.arange(len(sequence)), torch.tensor(row)), sequence)
    return result


def flat(value: Any) -> list[Tensor]:
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [t for part in value for t in flat(part)]


def same(
    layer: nn.Module, wanted: Callable[..., Any], states: Callable[..., Any], state: Any = None
) -> None:
    """Outputs, last states and gradients agree, with lengths; states as `states` makes them."""
    x = torch.randn(6, 4, layer.input_size, requires_grad=True)  # type: ignore[arg-type]
    leaves = [x, *layer.parameters()]
    output, last = layer(x, states(state) if state else None, lengths=LENGTHS)
    expected, expected_last = wanted(x, state)
    found, target = [output, *flat(last)], [expected, *flat(states(expected_last))]
    factors = [torch.randn_like(tensor) for tensor in target]
    gradients = []
    for tensors in (found, target):
        loss = sum((a * b).sum() for a, b in zip(tensors, factors, strict=True))
        gradients.append(torch.autograd.grad(loss, leaves, retain_graph=True))
    torch.testing.assert_close(found, target, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def concat(place: int, x: Tensor, outputs: list[Tensor]) -> Tensor:
    return torch.cat(outputs, dim=-1)


def each_layers_own(last: Any) -> Any:
    """The states of one direction, a tuple with an entry for each layer."""
    return tuple(directions[0] for directions in last)


# sizes and cells of their own


@pytest.mark.parametrize("path", ORDER)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_layers_of_different_sizes(name: str, path: str) -> None:
    layer = getattr(anyrnn.torch, name)(3, [5, 2, 4])
    assert layer.num_layers == 3
    assert layer.hidden_size == [5, 2, 4]
    run = by_hand(layer, [[getattr(nn, name)]] * 3, concat)
    shapes = [(1, 4, size) for size in (5, 2, 4)]
    make = torch.randn if name != "LSTM" else lambda shape: (torch.randn(shape), torch.randn(shape))
    with forced(path):
        same(layer, run, each_layers_own)
        same(layer, run, each_layers_own, [[make(shape)] for shape in shapes])


def test_sizes_in_both_directions() -> None:
    layer = GRU(3, hidden_size=[5, 2], num_layers=2, bidirectional=True)
    run = by_hand(layer, [[nn.GRU] * 2] * 2, concat)
    same(layer, run, lambda last: tuple(torch.cat(each) for each in last))
    assert layer.weight_ih_l1.shape == (6, 10)


def test_equal_sizes_are_no_list() -> None:
    layer, plain = LSTM(3, [5, 5]), LSTM(3, 5, num_layers=2)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(4, 2, 3)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=0)
    assert layer(x)[1][0].shape == (2, 2, 5)


TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def as_torch(layer: Recurrent) -> nn.Module:
    """The parameters of cells that torch.nn has, as torch calls them."""
    holder = nn.Module()
    structure = layer._structure
    assert structure is not None
    for part in structure.parts:
        own = {name: getattr(layer, name + part.suffix) for name in part.names}
        bias, size = own["b"], part.sizes["hidden"]
        other = torch.zeros_like(bias)
        if "d" in own:
            other = torch.cat([other[: 2 * size], own["d"]])
        tensors = {"weight_ih": own["W"], "weight_hh": own["U"], "bias_ih": bias, "bias_hh": other}
        for name, tensor in tensors.items():
            holder.register_parameter(name + part.suffix, nn.Parameter(tensor.detach().clone()))
    return holder


@pytest.mark.parametrize(
    ("cells", "bidirectional"),
    [
        (["lstm", "gru", "rnn"], False),
        (["gru", ("lstm", "rnn")], True),
        (("gru", "lstm"), True),
        ([("rnn", "rnn"), "lstm"], True),
    ],
    ids=str,
)
def test_cells_of_their_own(cells: Any, bidirectional: bool) -> None:
    sizes = [4, 3, 2][: len(cells) if isinstance(cells, list) else 2]
    layer = Recurrent(cells, 3, sizes, bidirectional=bidirectional)
    each = cells if isinstance(cells, list) else [cells] * 2
    pairs = [pair if isinstance(pair, tuple) else (pair,) * (1 + bidirectional) for pair in each]
    run = by_hand(as_torch(layer), [[TORCH[name] for name in pair] for pair in pairs], concat)
    x = torch.randn(6, 4, 3)
    output, last = layer(x, lengths=LENGTHS)
    wanted, wanted_last = run(x, None)
    torch.testing.assert_close(output, wanted, rtol=1e-11, atol=1e-11)
    assert len(last) == len(pairs)
    for found, expected, pair in zip(last, wanted_last, pairs, strict=True):
        alike = len(set(pair)) == 1
        if alike and len(pair) == 2:
            parts = zip(*expected, strict=True) if pair[0] == "lstm" else [expected]
            joined = [torch.cat(part) for part in parts]
            torch.testing.assert_close(flat(found), joined, rtol=1e-11, atol=1e-11)
        else:
            assert len(found) == len(pair) or alike
            torch.testing.assert_close(flat(found), flat(expected), rtol=1e-11, atol=1e-11)
    again, _ = layer(x, layer(x)[1])  # its own states are states it takes
    assert not torch.allclose(again, layer(x)[0])


def test_sizes_and_numbers_for_the_cells_that_have_them() -> None:
    layer = Recurrent(
        ["lstm_projection", "rnn_output"], 3, 6, projection_size=2, output_size=[0, 4]
    )
    assert layer(torch.randn(5, 2, 3))[0].shape == (5, 2, 4)
    assert layer.U_l0.shape == (24, 2)
    assert layer.W_l1.shape == (6, 2)
    antisymmetric = INVENTED["antisymmetric"]
    layer = Recurrent(["gru", antisymmetric], 3, 6, step=0.25)
    assert layer._structure.layers[1][0].cell.hyperparameters["step"] == 0.25


# merge, residual, highway

MERGES = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "mean": lambda a, b: (a + b) / 2,
}


@pytest.mark.parametrize("merge", MERGES)
def test_merge(merge: str) -> None:
    layer = LSTM(3, 4, num_layers=2, bidirectional=True, merge=merge)
    run = by_hand(layer, [[nn.LSTM] * 2] * 2, lambda place, x, outputs: MERGES[merge](*outputs))
    same(
        layer,
        run,
        lambda last: tuple(map(torch.cat, zip(*[s for e in last for s in e], strict=True))),
    )


@pytest.mark.parametrize("sizes", [[3, 3, 3], [5, 5, 3], [3, 4, 4]])
def test_residual(sizes: list[int]) -> None:
    layer = GRU(3, sizes, residual=True)

    def join(place: int, x: Tensor, outputs: list[Tensor]) -> Tensor:
        (output,) = outputs
        skipped = x * (torch.arange(len(x))[:, None] < LENGTHS)[..., None]
        return output + skipped if x.shape == output.shape else output

    stacked = len(set(sizes)) == 1
    run = by_hand(layer, [[nn.GRU]] * 3, join)
    same(layer, run, lambda last: torch.cat(flat(last)) if stacked else each_layers_own(last))


def test_highway() -> None:
    layer = LSTM(4, 4, num_layers=2, highway=True)
    assert layer.highway_weight_l0.shape == layer.highway_weight_l1.shape == (4, 4)
    assert layer.highway_bias_l0.tolist() == [-1.0] * 4

    def join(place: int, x: Tensor, outputs: list[Tensor]) -> Tensor:
        (output,) = outputs
        weight, bias = (getattr(layer, f"highway_{n}_l{place}") for n in ("weight", "bias"))
        t = torch.sigmoid(x @ weight.t() + bias)
        counts = (torch.arange(len(x))[:, None] < LENGTHS)[..., None]
        return (t * output + (1 - t) * x) * counts

    run = by_hand(layer, [[nn.LSTM]] * 2, join)
    same(layer, run, lambda last: tuple(map(torch.cat, zip(*each_layers_own(last), strict=True))))
    only_second = Recurrent("gru", 3, 5, num_layers=2, highway=True)
    names = [name for name, _ in only_second.named_parameters() if "highway" in name]
    assert names == ["highway_weight_l1", "highway_bias_l1"]


# learned initial states


@pytest.mark.parametrize("bidirectional", [False, True])
def test_learned_initial_states(bidirectional: bool) -> None:
    layer = LSTM(3, [4, 2], bidirectional=bidirectional, learn_initial_state=True)
    names = [name for name, _ in layer.named_parameters() if "_0_" in name]
    ends = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"] if bidirectional else ["_l0", "_l1"]
    assert names == [state + end for end in ends for state in ("h_0", "c_0")]
    plain = LSTM(3, [4, 2], bidirectional=bidirectional)
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(6, 4, 3)
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=0)  # they start at zero
    learned = {name: getattr(layer, name) for name in names}
    with torch.no_grad():
        for tensor in learned.values():
            tensor.normal_()
    state = tuple(
        tuple(
            torch.stack([learned[f"{n}_0{end}"] for end in ends if f"_l{place}" in end])
            .unsqueeze(1)
            .expand(-1, 4, -1)
            for n in ("h", "c")
        )
        for place in (0, 1)
    )
    for options in ({}, {"lengths": LENGTHS}, {"return_states": "all"}):
        found, wanted = layer(x, **options), plain(x, state, **options)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        torch.testing.assert_close(layer(x, state, **options), wanted, rtol=0, atol=0)
    leaves = [*learned.values()]
    ours = torch.autograd.grad(layer(x)[0].square().sum(), leaves)
    theirs = torch.autograd.grad(plain(x, state)[0].square().sum(), leaves)
    torch.testing.assert_close(ours, theirs)
    layer(x)[1][1][0].sum().backward()
    assert learned["h_0_l1"].grad.any()


def test_learned_initial_states_of_single_steps_and_one_sequence() -> None:
    layer = GRU(3, 4, learn_initial_state=True)
    with torch.no_grad():
        layer.h_0_l0.normal_()
        x = torch.randn(5, 3)
        wanted = layer(x, layer.h_0_l0[None])[0]
        torch.testing.assert_close(layer(x)[0], wanted)
        torch.testing.assert_close(layer(x[:1, None])[0][0, 0], wanted[0])
        torch.testing.assert_close(layer.step(x[0])[0], wanted[0])


# dropouts


def test_input_dropout_is_one_mask_for_all_steps() -> None:
    seen: list[Tensor] = []
    layer = Recurrent(INVENTED["moving_average"], 40, num_layers=2, input_dropout=0.5)
    x = torch.ones(6, 4, 40)
    output, _ = layer(x, lengths=LENGTHS)
    kept = output[0] > 0
    assert 0.15 < kept.double().mean() < 0.35  # half of the first layer's, half of the second's
    assert not torch.equal(kept[0], kept[1])
    for row, length in enumerate(LENGTHS):
        assert torch.equal(output[:length, row] > 0, kept[row].expand(length, -1))
    torch.testing.assert_close(output[0][kept], torch.full((int(kept.sum()),), 0.04))
    other, _ = layer(x)
    assert (other[1:] > 0).equal((other[:1] > 0).expand(5, -1, -1))
    torch.testing.assert_close(layer.eval()(x)[0][0], torch.full((4, 40), 0.01))
    assert not seen


def test_input_dropout_is_multiplication_with_its_mask() -> None:
    layer = GRU(3, 4, input_dropout=0.4)
    plain = GRU(3, 4)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(6, 4, 3)
    torch.manual_seed(1)
    found = layer(x, lengths=LENGTHS)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones(4, 3), 0.4)
    order = LENGTHS.argsort(descending=True)
    rows = torch.empty(4, 3)
    rows[order] = mask
    torch.testing.assert_close(found, plain(x * rows, lengths=LENGTHS))


def test_weight_dropout_is_one_mask_for_a_call() -> None:
    layer = LSTM(3, 4, num_layers=2, weight_dropout=0.5)
    x = torch.randn(6, 4, 3)
    torch.manual_seed(1)
    output, _ = layer(x)
    torch.manual_seed(1)
    plain = LSTM(3, 4, num_layers=2)
    torch.manual_seed(1)
    state = dict(layer.state_dict())
    for place in (0, 1):
        name = f"weight_hh_l{place}"
        state[name] = nn.functional.dropout(state[name], 0.5)
        assert (state[name] == 0).any()
    plain.load_state_dict(state)
    torch.testing.assert_close(output, plain(x)[0])
    assert not torch.equal(layer(x)[0], layer(x)[0])
    output.sum().backward()
    assert torch.equal(layer.weight_hh_l1.grad == 0, state["weight_hh_l1"] == 0)
    plain.load_state_dict(layer.eval().state_dict())
    torch.testing.assert_close(layer(x), plain(x), rtol=0, atol=0)


def test_the_matrices_that_weight_dropout_means() -> None:
    wanted = {
        "gru": {"U.r", "U.z", "U.n"},
        "gru_reset_before": {"U.r", "U.z", "U.n"},
        "rnn_output": {"U"},
        "lstm_projection": {"U.i", "U.f", "U.g", "U.o", "P"},
    }
    between = Role.RECURRENT, Role.PROJECTION
    for name, found in wanted.items():
        assert matrices(anyrnn.get(name), *between) == found
    assert matrices(INVENTED["moving_average"], *between) == frozenset()


@anyrnn.cell(sizes={"A.output": "hidden"})
def one_family(x, h, *, W, A):
    h = anyrnn.tanh(W @ x + A.state @ h)
    return A.output @ h, h


def test_weight_dropout_of_some_members_only() -> None:
    layer, plain = Recurrent(one_family, 3, 4, weight_dropout=0.5), Recurrent(one_family, 3, 4)
    assert layer.cell.parameters[1].members == ("A.state", "A.output")
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(4, 2, 3)
    torch.manual_seed(1)
    output, _ = layer(x)
    torch.manual_seed(1)
    with torch.no_grad():
        plain.A_l0[:4] = nn.functional.dropout(layer.A_l0[:4], 0.5)
    torch.testing.assert_close(output, plain(x)[0])


# everything at once


OPTIONS: dict[str, dict[str, Any]] = {
    "sizes": {"hidden_size": [4, 3], "learn_initial_state": True},
    "both": {"hidden_size": [3, 3], "bidirectional": True, "merge": "mean", "residual": True},
    "highway": {"hidden_size": 3, "num_layers": 2, "highway": True, "memory": "low"},
    "drops": {"hidden_size": 4, "num_layers": 2, "input_dropout": 0.2, "weight_dropout": 0.3},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", [LSTM, Recurrent])
def test_copies_files_and_types(kind: type[nn.Module], name: str) -> None:
    positional = ("lstm", 3) if kind is Recurrent else (3,)
    layer = kind(*positional, **OPTIONS[name]).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 2, 3)
    wanted = layer(x)
    other = kind(*positional, **OPTIONS[name]).eval()
    assert repr(other) == repr(layer)
    assert list(other.state_dict()) == [name for name, _ in layer.named_parameters()]
    other.load_state_dict(layer.state_dict())
    for copied in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(copied(x), wanted, rtol=0, atol=0)
    single = copy.deepcopy(layer).float()(x.float())
    torch.testing.assert_close(single[0], wanted[0].float(), rtol=1e-4, atol=1e-4)
    meta = kind(*positional, **OPTIONS[name], device="meta")
    assert {parameter.device.type for parameter in meta.parameters()} == {"meta"}


@pytest.mark.parametrize("name", OPTIONS)
def test_in_a_traced_graph(name: str) -> None:
    torch._dynamo.reset()
    x = torch.randn(5, 2, 3)
    kind = [GRU, partial(Recurrent, "gru")][list(OPTIONS).index(name) % 2]
    layer = kind(3, **OPTIONS[name])
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        assert compiled(x)[0].shape == layer(x)[0].shape
        if name == "drops":
            layer.eval()
        torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
def test_exported_for_all_sizes() -> None:
    options: dict[str, Any] = {"highway": True, "learn_initial_state": True, "merge": "mean"}
    layer = Recurrent("gru", 3, [3, 3], bidirectional=True, **options).eval()
    nn.init.normal_(layer.h_0_l1)
    sizes = {"input": {0: Dim("time"), 1: Dim("batch")}}
    program = torch.export.export(layer, (torch.randn(4, 2, 3),), dynamic_shapes=sizes)
    for time, batch in ((4, 2), (7, 3)):
        x = torch.randn(time, batch, 3)
        torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize("skip", ["residual", "highway"])
def test_derivatives_of_both_orders(skip: str) -> None:
    options: dict[str, Any] = {skip: True, "learn_initial_state": True, "merge": "mul"}
    layer = LSTM(2, [2, 2], bidirectional=True, **options)
    nn.init.normal_(layer.h_0_l1)
    x, h = torch.randn(3, 2, 2, requires_grad=True), layer.h_0_l1

    def function(x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        output, states = torch.func.functional_call(
            layer, {"h_0_l1": h}, (x,), {"return_states": "all"}
        )
        return output, *states

    arguments = (x, h.detach().requires_grad_())
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


def test_mixed_precision() -> None:
    layer = GRU(3, [3, 3], highway=True, learn_initial_state=True, input_dropout=0.5).float()
    x = torch.randn(4, 2, 3, dtype=torch.float32)
    with torch.autocast("cpu"):
        output, _ = layer(x)
        output.float().sum().backward()
        found, _ = layer.eval()(x)
    torch.testing.assert_close(found.float(), layer(x)[0], rtol=0.1, atol=0.05)


def test_representations() -> None:
    assert repr(LSTM(3, [5, 4], merge="sum", bidirectional=True)) == (
        "LSTM(3, [5, 4], num_layers=2, bidirectional=True, merge=sum)"
    )
    assert repr(Recurrent(["lstm", "gru"], 3, 5, input_dropout=0.5)) == (
        "Recurrent([lstm, gru], input_size=3, hidden_size=5, num_layers=2, input_dropout=0.5)"
    )
    assert repr(Recurrent(("lstm", "gru"), 3, [5], bidirectional=True)) == (
        "Recurrent(lstm and gru, input_size=3, hidden_size=[5], bidirectional=True)"
    )


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"hidden_size": [5, 4], "num_layers": 3},
        SizeError,
        "hidden_size has an element for each of 2 layers, but num_layers=3; make them agree",
    ),
    ({"hidden_size": []}, SizeError, "hidden_size=[]; expected an element for each layer"),
    ({"hidden_size": [5, 0]}, SizeError, "hidden_size=0: a size is at least 1"),
    ({"hidden_size": [5, 2.5]}, SizeError, "hidden_size=2.5: a size is a whole number"),
    ({"merge": "add"}, InputError, "merge='add'; expected one of: concat, sum, mul, mean"),
    ({"merge": "sum"}, InputError, "merge='sum' joins two directions; it needs bidirectional=True"),
    ({"residual": 1}, InputError, "residual=1; expected True or False"),
    (
        {"residual": True},
        SizeError,
        "residual=True needs a layer whose output is as large as its input; the layers make 3 to 5",
    ),
    ({"highway": True, "hidden_size": [5, 4]}, SizeError, "the layers make 3 to 5, 5 to 4"),
    ({"highway": True, "residual": True}, InputError, "exclude each other; choose one"),
    ({"learn_initial_state": None}, InputError, "learn_initial_state=None; expected True or"),
    ({"input_dropout": 1.5}, InputError, "input_dropout=1.5; expected a probability, from 0 to 1"),
    ({"weight_dropout": "0.5"}, InputError, "weight_dropout='0.5'; expected a probability"),
    ({"weight_dropout": True}, InputError, "weight_dropout=True; expected a probability"),
]


@pytest.mark.parametrize("kind", [GRU, Recurrent])
@pytest.mark.parametrize("place", range(len(BAD)), ids=lambda i: BAD[i][2][:40])
def test_bad_options(kind: type[nn.Module], place: int) -> None:
    options, error, message = BAD[place]
    positional = ("gru",) if kind is Recurrent else ()
    with pytest.raises(error) as caught:
        kind(*positional, **{"input_size": 3, "hidden_size": 5} | options)
    assert isinstance(caught.value, AnyrnnError | TypeError)
    if "2.5" not in message:
        assert message in one_line(caught.value)


MORE_BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"cell": []}, SizeError, "cell=[]; expected an element for each layer"),
    (
        {"cell": ["gru", "lstm"], "hidden_size": [3, 4, 5]},
        SizeError,
        "hidden_size has an element for each of 3 layers, but cell 2; make them agree",
    ),
    ({"cell": ["gru", "nosuch"]}, anyrnn.errors.UnknownCellError, "no cell is called 'nosuch'"),
    (
        {"cell": ("gru", "lstm")},
        InputError,
        "2 cells are given for the directions of a layer, which "
        "has 1 (bidirectional=False); expected (forwards, backwards) with bidirectional=True",
    ),
    ({"cell": [("gru",)], "bidirectional": True}, InputError, "1 cells are given for the"),
    (
        {"cell": ["gru", "lstm"], "projection_size": 3},
        CellError,
        "a layer of the cell 'gru' and 'lstm' has no option 'projection_size'",
    ),
    (
        {
            "cell": ("lstm_projection", "gru"),
            "projection_size": 2,
            "bidirectional": True,
            "merge": "sum",
        },
        SizeError,
        "the directions of layer 0 have 2 and 5; use merge='concat'",
    ),
    (
        {"cell": INVENTED["moving_average"], "hidden_size": None, "weight_dropout": 0.5},
        InputError,
        "weight_dropout=0.5, but the cell 'moving_average' has no recurrent matrix",
    ),
    ({"num_layers": [2]}, SizeError, "num_layers=[2]; expected a whole number of at least 1"),
]


@pytest.mark.parametrize("place", range(len(MORE_BAD)), ids=lambda i: MORE_BAD[i][2][:40])
def test_bad_options_of_any_cell(place: int) -> None:
    options, error, message = MORE_BAD[place]
    with pytest.raises(error) as caught:
        Recurrent(**{"cell": "gru", "input_size": 3, "hidden_size": 5} | options)
    assert message in one_line(caught.value)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            torch.zeros(2, 4, 5),
            "the initial state is a Tensor (one tensor); expected a tuple with "
            "an entry for each of 2 layers",
        ),
        ((torch.zeros(1, 4, 5),), "is a tuple (1); expected a tuple with an entry for each of 2"),
        (
            (torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)),
            "the state h of layer 1 has shape (1, 4, 5);"
            " expected (1, 4, 2): (directions, batch, size)",
        ),
        (((torch.zeros(1, 4, 5),) * 2, None), "2 initial states of layer 0 were given; expected 1"),
    ],
)
def test_bad_states_of_layers_that_differ(state: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        GRU(3, [5, 2]).float()(torch.zeros(6, 4, 3, dtype=torch.float32), state)
    assert message in one_line(caught.value)


def test_states_of_some_layers_only() -> None:
    layer, x = GRU(3, [5, 2]), torch.randn(6, 4, 3)
    state = torch.randn(1, 4, 2)
    found = layer(x, (None, state))
    torch.testing.assert_close(found, layer(x, (torch.zeros(1, 4, 5), state)), rtol=0, atol=0)


def test_projection_of_layers_with_sizes() -> None:
    layer = LSTM(3, [5, 4], proj_size=2)
    assert layer(torch.zeros(6, 4, 3))[0].shape == (6, 4, 2)
    assert layer.weight_hr_l1.shape == (2, 4)
    with pytest.raises(SizeError, match="proj_size=3 has to be smaller than hidden_size=2"):
        LSTM(3, [5, 2], proj_size=3)


def test_layers_of_torch_that_are_ours_now() -> None:
    """As when a file of torch.nn's layers is read where ours are in their place."""
    theirs, x = nn.LSTM(3, 5, num_layers=2, bidirectional=True), torch.randn(4, 2, 3)
    wanted = theirs(x)
    theirs.__class__ = LSTM
    torch.testing.assert_close(theirs(x), wanted)
    assert theirs.inspect(x)["f_l1_reverse"].shape == (4, 2, 5)
    assert RNN(3, 5)(x)[0].shape == (4, 2, 5)
