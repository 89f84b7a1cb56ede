"""Derivatives of any order and torch.func, on every cell and on layers with options."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._dynamo
from citizens import (
    bfloat16,
    each_layer,
    float64,
    loss_of,
    made,
    results,
    tensors,
)
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from anyrnn.graph import randomness
from anyrnn.torch import GRU, LSTM
from anyrnn.torch.torch_ops import uniform

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


def function_of(layer: nn.Module) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """The layer as a function of its parameters, then its input; and its parameters."""
    names = [name for name, _ in layer.named_parameters()]

    def function(*arguments: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(names, arguments, strict=False))
        return tuple(tensors(functional_call(layer, named, (arguments[-1],))))

    return function, [parameter.detach() for parameter in layer.parameters()]


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
