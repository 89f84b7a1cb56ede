"""What PyTorch does with modules besides calling them, on every cell and on layers with options:
torch.func, derivatives of any order, traced graphs, other types, and the same bits every time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.export import Dim
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.checkpoint import checkpoint

import anyrnn
from anyrnn.errors import InputError
from anyrnn.graph import randomness
from anyrnn.torch import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell
from anyrnn.torch.torch_ops import uniform

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")

bfloat16, float32, float64 = torch.bfloat16, torch.float32, torch.float64
NUMBERS = {"input": 2, "hidden": 4, "output": 3, "projection": 2}


def of_catalogue(name: str) -> Callable[..., nn.Module]:
    sizes = {f"{size}_size": NUMBERS[size] for size in anyrnn.get(name).free_sizes}
    return lambda **options: Recurrent(name, **sizes, **options)


def of(kind: type[nn.Module], *arguments: Any, **given: Any) -> Callable[..., nn.Module]:
    return lambda **options: kind(*arguments, **given, **options)


OTHERS = ("article1_rnn", "article3_gru")  # of the articles; the rest have what these have
CELLS = {
    name: of_catalogue(name)
    for name in anyrnn.CATALOGUE
    if name in OTHERS or not name.startswith("article")
}
OPTIONS = {
    "layer norm": of(LSTM, 2, 4, norm="layer"),
    "rms norm": of(Recurrent, "lstm_peephole", 2, 4, norm="rms"),
    "heads": of(Recurrent, "gru_reset_before", 2, 4, heads=2),
    "independent": of(GRU, 2, 4, independent=True),
    "clip_state": of(LSTM, 2, 4, clip_state=0.3),
    "activations": of(GRU, 2, 4, activations={"tanh": "softplus"}),
    "proj_size": of(RNN, 2, 4, proj_size=2),
    "residual": of(
        GRU, 2, [2, 2], residual=True, learn_initial_state=True, bidirectional=True, merge="mul"
    ),
    "highway": of(Recurrent, ["lstm", "mingru"], 2, [2, 2], highway=True, learn_initial_state=True),
    "sizes": of(LSTM, 2, [3, 2], bidirectional=True, memory="low"),
}
LAYERS = CELLS | OPTIONS
each_layer = pytest.mark.parametrize("name", LAYERS)


def made(name: str, **options: Any) -> nn.Module:
    """A layer with random parameters: gains of 1 and initial states of 0 hide mistakes."""
    torch.manual_seed(0)
    layer = LAYERS[name](**{"dtype": float64, **options})
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def tensors(value: Any) -> list[Tensor]:
    """All tensors of a result, in order."""
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [t for part in value for t in tensors(part)]


def results(layer: nn.Module, x: Tensor, seed: int = 1) -> list[Tensor]:
    """Outputs, last states, and the gradients of a random weighting of them."""
    own = x.detach().clone().requires_grad_()
    found = tensors(layer(own))
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(part.shape, generator=generator).to(part.dtype) for part in found]
    return [*found, *torch.autograd.grad(found, [own, *layer.parameters()], weights)]


def function_of(layer: nn.Module) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """The layer as a function of its parameters, then its input; and its parameters."""
    names = [name for name, _ in layer.named_parameters()]

    def function(*arguments: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, arguments, strict=False))
        return tuple(tensors(functional_call(layer, named, (arguments[-1],))))

    return function, [parameter.detach() for parameter in layer.parameters()]


def loss_of(layer: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.cat(
            [part.sin().flatten() for part in tensors(functional_call(layer, parameters, (x,)))]
        ).sum()

    return loss


# derivatives


@each_layer
def test_derivatives_of_both_orders(name: str) -> None:
    function, parameters = function_of(made(name))
    x = torch.randn(2, 2, 2, dtype=float64)
    arguments = [tensor.clone().requires_grad_() for tensor in (*parameters, x)]
    assert gradcheck(function, arguments, fast_mode=True)
    assert gradgradcheck(function, arguments, fast_mode=True)


@pytest.mark.parametrize("name", ["lstm", "layer norm"])
def test_derivatives_element_by_element_and_several_at_a_time(name: str) -> None:
    layer, x = made(name), torch.randn(2, 1, 2, dtype=float64, requires_grad=True)
    function = lambda x: tuple(tensors(layer(x)))  # noqa: E731
    assert gradcheck(function, (x,), check_batched_grad=True, check_forward_ad=True)
    assert gradgradcheck(function, (x,), check_batched_grad=True, check_fwd_over_rev=True)


def test_hessians_and_third_derivatives() -> None:
    layer = GRU(2, 3, dtype=float64)
    loss, parameters = loss_of(layer), dict(layer.named_parameters())
    x = torch.randn(3, 2, 2, dtype=float64, requires_grad=True)
    own = lambda x: loss(parameters, x)  # noqa: E731
    wanted = torch.autograd.functional.hessian(own, x)
    for vectorize in (False, True):
        found = torch.autograd.functional.hessian(own, x, vectorize=vectorize)
        torch.testing.assert_close(found, wanted)
    for outer, inner in itertools.product((jacfwd, jacrev), repeat=2):
        torch.testing.assert_close(outer(inner(own))(x.detach()), wanted)
    slope = own(x)
    for _ in range(2):
        (part,) = torch.autograd.grad(slope, x, create_graph=True)
        slope = part.sin().sum()
    assert gradcheck(lambda x: torch.func.grad(lambda x: grad(own)(x).sin().sum())(x), (x,))
    (third,) = torch.autograd.grad(slope, x)
    again = grad(lambda x: grad(lambda x: grad(own)(x).sin().sum())(x).sin().sum())(x.detach())
    torch.testing.assert_close(third, again)


def test_a_second_derivative_under_autocast_is_no_rougher() -> None:
    layer, x = GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    found = []
    for mixed in (False, True):
        output = layer(x)[0].sum()
        with torch.autocast("cpu", bfloat16, enabled=mixed):
            (slope,) = torch.autograd.grad(output, x, create_graph=True)
        found.append(slope)
    assert torch.equal(*found)


@each_layer
def test_eval_mode_has_the_same_gradients(name: str) -> None:
    layer, x = made(name), torch.randn(4, 2, 2, dtype=float64)
    found = [results(layer.train(training), x) for training in (True, False)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_checkpointing_and_hooks_on_saved_tensors() -> None:
    layer = LSTM(3, 4, 2, dropout=0.5, dtype=float64)
    x, found = torch.randn(5, 2, 3, dtype=float64), []

    class Offloaded(nn.Module):
        def forward(self, x: Tensor) -> Any:
            with torch.autograd.graph.save_on_cpu():
                return layer(x)

    class Checkpointed(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return checkpoint(layer, x, use_reentrant=False)

    for call in (layer, Offloaded(), Checkpointed()):
        torch.manual_seed(2)
        leaves = [x.clone().requires_grad_(), *layer.parameters()]
        found.append(torch.autograd.grad(call(leaves[0])[0].sum(), leaves))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


# torch.func


@each_layer
def test_gradients_of_each_sample(name: str) -> None:
    layer, x = made(name), torch.randn(3, 4, 2, dtype=float64)
    parameters, loss = dict(layer.named_parameters()), loss_of(layer)
    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for row, sample in enumerate(x):
        wanted = torch.autograd.grad(loss(parameters, sample), list(parameters.values()))
        torch.testing.assert_close([part[row] for part in each.values()], list(wanted))


@each_layer
def test_forward_mode(name: str) -> None:
    layer, x = made(name), torch.randn(3, 2, 2, dtype=float64)
    function, parameters = function_of(layer)
    arguments = (*parameters, x)
    along = tuple(torch.randn_like(tensor) for tensor in arguments)
    values, found = jvp(function, arguments, along)
    torch.testing.assert_close(values, function(*arguments))
    with forward_ad.dual_level():
        dual = [forward_ad.make_dual(*pair) for pair in zip(arguments, along, strict=True)]
        tangents = tuple(forward_ad.unpack_dual(part).tangent for part in function(*dual))
    torch.testing.assert_close(tangents, found)
    inputs = [tensor.clone().requires_grad_() for tensor in arguments]
    outputs = function(*inputs)
    weights = [torch.randn_like(part) for part in outputs]
    slopes = torch.autograd.grad(outputs, inputs, weights)
    ours = sum((a * b).sum() for a, b in zip(found, weights, strict=True))
    theirs = sum((a * b).sum() for a, b in zip(slopes, along, strict=True))
    torch.testing.assert_close(ours, theirs)


def test_vmap_over_batches_steps_states_and_parameters() -> None:
    layers = [LSTM(3, 4, num_layers=2, dtype=float64) for _ in range(3)]
    layer, x = layers[0], torch.randn(3, 5, 2, 3, dtype=float64)
    state = tuple(torch.randn(3, 2, 2, 4, dtype=float64) for _ in range(2))
    close = torch.testing.assert_close
    close(vmap(layer)(x, state)[0], torch.stack([layer(*each)[0] for each in each_of(x, state)]))
    close(vmap(lambda x: layer(x)[0], 1, 1)(x[0].unsqueeze(2)), layer(x[0])[0].unsqueeze(2))
    close(vmap(layer.step)(x[:, 0], state)[0], vmap(layer)(x[:, :1], state)[0].squeeze(1))
    lengths, mask = [5, 0], torch.rand(5, 2) > 0.5
    found = vmap(lambda x: layer(x, lengths=lengths, mask=mask, resets=~mask)[0])(x)
    marked = [layer(each, lengths=lengths, mask=mask, resets=~mask)[0] for each in x]
    close(found, torch.stack(marked))
    own, kept = stack_module_state(layers)
    found = vmap(lambda *given: functional_call(layer, given, (x[0],))[0])(own, kept)
    close(found, torch.stack([each(x[0])[0] for each in layers]))


def each_of(x: Tensor, state: tuple[Tensor, ...]) -> Any:
    return zip(x, zip(*state, strict=True), strict=True)


DRAWS = {"recurrent_dropout": 0.4, "zoneout": 0.3}


@pytest.mark.parametrize("option", DRAWS)
def test_random_numbers_are_a_constant_of_every_derivative(option: str) -> None:
    layer = LSTM(2, 3, dtype=float64, **{option: DRAWS[option]})
    x = torch.randn(2, 2, 2, dtype=float64, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return layer(x)[0]

    options: dict[str, Any] = {"check_batched_grad": True, "check_forward_ad": True}
    assert gradcheck(function, (x,), **options)
    assert gradgradcheck(function, (x,), check_fwd_over_rev=True)


@pytest.mark.parametrize("option", DRAWS)
def test_random_numbers_under_vmap(option: str) -> None:
    layer = LSTM(2, 16, dtype=float64, **{option: DRAWS[option]})
    x = torch.randn(5, 1, 2, dtype=float64).expand(4, 5, 1, 2)
    call = lambda x: layer(x)[0]  # noqa: E731
    torch.manual_seed(0)
    one = vmap(call, randomness="same")(x)
    torch.manual_seed(0)
    torch.testing.assert_close(one, call(x[0]).expand(4, -1, -1, -1))
    several = vmap(call, randomness="different")(x)
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(several, 2))
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(call)(x)


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 7, 2**62 - 1])
def test_random_numbers_of_tensors_are_those_of_the_interpreter(seed: int) -> None:
    for stream, step in itertools.product(range(4), (0, 5, randomness.EVERY_STEP)):
        found = uniform(torch.tensor([seed]), stream, step, rows=5, units=7)
        wanted = randomness.uniform(seed, stream, step, rows=5, units=7)
        assert torch.equal(found, torch.from_numpy(wanted))


# traced graphs


class Every(nn.Module):
    """Layers beside each other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(made(name) for name in names)

    def forward(self, x: Tensor) -> list[Any]:
        return [layer(x) for layer in self.layers]


# norms in graphs: test_changed_cells.py; highways: test_layer_structure.py
SOME = ["lstm_projection", "rnn"]


def test_one_graph_of_many_layers() -> None:
    torch._dynamo.reset()
    model = Every(SOME)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
        for time, batch in ((5, 3), (3, 4)):
            x = torch.randn(time, batch, 2, dtype=float64)
            torch.testing.assert_close(results(compiled, x), results(model, x))


def test_many_layers_exported_for_all_sizes() -> None:
    model = Every(SOME).eval()
    sizes = {"x": {0: Dim("time"), 1: Dim("batch")}}
    given = torch.randn(5, 2, 2, dtype=float64)
    module = torch.export.export(model, (given,), dynamic_shapes=sizes).module()
    for time, batch in ((5, 2), (1, 3), (7, 1)):
        x = torch.randn(time, batch, 2, dtype=float64)
        torch.testing.assert_close(module(x), model(x))


def test_graphs_under_autocast_and_without_allow_rnn() -> None:
    torch._dynamo.reset()
    layer, own = Recurrent("gru", 3, 4), LSTM(3, 4)

    def mixed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", bfloat16):
            return layer(x)[0]

    compiled = torch.compile(mixed, fullgraph=True, dynamic=True, backend="aot_eager")
    for x in (torch.randn(5, 2, 3), torch.randn(4, 3, 3, dtype=bfloat16)):
        found = [
            torch.autograd.grad(call(x).sum(), [*layer.parameters()]) for call in (mixed, compiled)
        ]
        torch.testing.assert_close(*found)
        torch.testing.assert_close(mixed(x), compiled(x))
    x = torch.randn(5, 2, 3)
    broken = torch.compile(lambda x: own(x.sin())[0].cos(), backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(broken(x), own(x.sin())[0].cos())


def test_transforms_in_a_graph_end_it() -> None:
    torch._dynamo.reset()
    layer, x = Recurrent("gru", 3, 4), torch.randn(2, 5, 3)
    each = vmap(grad(loss_of(layer)), in_dims=(None, 0))
    parameters = dict(layer.named_parameters())
    compiled = torch.compile(each, backend="aot_eager")
    torch.testing.assert_close(compiled(parameters, x), each(parameters, x))


def test_marks_are_not_exported() -> None:
    layer, x = LSTM(3, 4), torch.randn(5, 2, 3)
    for marks in ({"lengths": [3, 1]}, {"mask": torch.ones(5, 2, dtype=torch.bool)}):
        with pytest.raises(InputError, match="export takes sequences of one length"):
            torch.export.export(layer, (x,), marks)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_by_jit() -> None:
    layer = LSTM(3, 4).eval()
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            traced = torch.jit.trace(layer, (torch.randn(5, 2, 3),))
            x = torch.randn(5, 2, 3)
            torch.testing.assert_close(traced(x), layer(x))


# types


@each_layer
def test_bfloat16(name: str) -> None:
    layer, x = made(name).bfloat16(), torch.randn(4, 2, 2).bfloat16()
    found = results(layer, x)
    assert {part.dtype for part in found} == {bfloat16}
    wanted = results(layer.double(), x.double())
    for ours, theirs in zip(found, wanted, strict=True):
        bound = 0.05 * max(1, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("name", ["rnn", "residual", "lstm_projection"])
def test_autocast(name: str) -> None:
    """What products multiply is rounded, and so are results; nothing else is."""
    layer, x = made(name, dtype=float32), torch.randn(4, 2, 2)
    wanted = results(layer, x)
    with torch.autocast("cpu", bfloat16):
        found = results(layer, x)
        assert layer.path.name == "compiled"
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype in (float32, bfloat16)
        scale = max(1, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=scale / 64)
    gradients = found[-1 - len(list(layer.parameters())) :]
    assert {part.dtype for part in gradients} == {float32}


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("own", [float32, bfloat16])
def test_masks_and_resets_in_other_types(kind: type[nn.Module], own: torch.dtype) -> None:
    layer, x = kind(3, 4, 2, bidirectional=True, learn_initial_state=True), torch.randn(6, 4, 3)
    marks: dict[str, Any] = {
        "lengths": [6, 0, 3, 1],
        "mask": torch.rand(6, 4) > 0.3,
        "resets": torch.rand(6, 4) > 0.7,
    }
    for given in ({"lengths": [6, 0, 3, 1]}, marks, {**marks, "padding": "carry"}):
        for returned in ("last", "all"):
            wanted = tensors(layer.float()(x, **given, return_states=returned))
            layer, rounded = layer.to(own), x.to(own)
            with torch.autocast("cpu", bfloat16, enabled=own == float32):
                found = tensors(layer(rounded, **given, return_states=returned))
            assert len({part.dtype for part in found}) == 1
            found = [part.float() for part in found]
            torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)


KINDS: dict[str, dict[str, Any]] = {
    "RNN": {},
    "LSTM": {},
    "GRU": {},
    "LSTM of two layers and directions": {"num_layers": 2, "bidirectional": True},
    "LSTM with a projection": {"proj_size": 2},
    "GRU without bias": {"bias": False},
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("low", [bfloat16, torch.float16])
def test_autocast_gives_the_types_that_torch_gives(kind: str, low: torch.dtype) -> None:
    name, options = kind.split()[0], KINDS[kind]
    if name == "LSTM" and low == bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 on this CPU: torch computes its LSTM in float32")
    types = (float32, float64) if low == bfloat16 else (float32,)
    for own, state in itertools.product(types, (None, float32, low)):
        theirs = getattr(nn, name)(3, 4, dtype=own, **options)
        ours = getattr(anyrnn.torch, name)(3, 4, dtype=own, **options)
        ours.load_state_dict(theirs.state_dict())
        for dtype in (own,) if own == float64 else (float32, low):
            x = torch.randn(5, 2, 3, dtype=dtype)
            packed = pack_sequence([x[:, 0], x[:3, 1]])
            for given in (x, x[0], packed):
                initial = None
                if state is not None and own != float64 and given is x:
                    shapes = [part.shape for part in tensors(theirs(x.to(own))[1])]
                    initial = tuple(torch.randn(shape, dtype=state) for shape in shapes)
                    initial = initial if name == "LSTM" else initial[0]
                with torch.autocast("cpu", low):
                    try:
                        wanted = tensors(theirs(given, initial))
                    except RuntimeError:  # torch has no float16 there
                        continue
                    found = tensors(ours(given, initial))
                assert [part.dtype for part in found] == [part.dtype for part in wanted]
                tolerance = {"rtol": 0.0, "atol": 1e-12 if own == float64 else 0.05}
                torch.testing.assert_close(found, wanted, **tolerance)


@pytest.mark.parametrize("kind", [RNNCell, LSTMCell, GRUCell])
def test_autocast_of_single_steps(kind: type[nn.Module]) -> None:
    ours, theirs = kind(3, 4), getattr(nn, kind.__name__)(3, 4)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3)
    for gradient in (False, True):
        with torch.autocast("cpu", bfloat16), torch.set_grad_enabled(gradient):
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0.05)


# the same bits


def bits(layer: nn.Module, x: Tensor, gradient: bool) -> list[Tensor]:
    if gradient:
        return results(layer, x)
    with torch.no_grad():
        return tensors(layer(x))


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", ["gru_reset_before", "residual", "layer norm"])
def test_the_same_bits_every_time_for_any_threads(name: str, gradient: bool) -> None:
    layer = made(name, dtype=float32)
    for shape in ((9, 7, 2), (3, 40, 2), (11, 1, 2), (1, 5, 2)):
        x, wanted = torch.randn(*shape), None
        try:
            for threads in (1, 1, 2, 3, 2):
                torch.set_num_threads(threads)
                found = bits(layer, x, gradient)
                wanted = wanted or found
                assert all(map(torch.equal, found, wanted))
        finally:
            torch.set_num_threads(1)


@pytest.mark.parametrize("make", [of(LSTM, 33, 130), of(GRU, 20, 40, 2, bidirectional=True)])
def test_the_same_bits_for_large_layers(make: Callable[..., nn.Module]) -> None:
    """Outputs for any threads and other rows in the batch, gradients for any threads."""
    torch.manual_seed(0)
    layer = make()
    x = torch.randn(6, 19, layer.input_size)  # type: ignore[arg-type]
    wanted = results(layer, x)
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert all(map(torch.equal, results(layer, x), wanted))
    finally:
        torch.set_num_threads(1)
    for rows in (slice(0, 5), slice(3, 18), slice(None, None, 2)):
        for gradient in (False, True):
            assert torch.equal(bits(layer, x[:, rows], gradient)[0], wanted[0][:, rows])


@pytest.mark.parametrize("kind", [GRU, LSTMCell, Recurrent])
def test_a_script_is_refused_with_the_way_out(kind: Any) -> None:
    module = kind("lstm", 3, 4) if kind is Recurrent else kind(3, 4)
    for each in (module, nn.Sequential(nn.Linear(3, 3), module)):
        with pytest.raises(InputError, match=r"torch\.jit\.script .*; use torch\.jit\.trace or"):
            torch.jit.script(each)
