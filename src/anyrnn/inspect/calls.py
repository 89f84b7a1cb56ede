"""Calls of the recurrent layers within any PyTorch module, met while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anyrnn.errors import InputError
from anyrnn.torch.layer import Layer

Called = Callable[..., Any]
Met = TypeVar("Met")


def layers_of(model: nn.Module, names: Sequence[str] | None = None) -> dict[str, Layer]:
    """The recurrent layers of a module by their names in it; "" for the module itself.

    Args:
        model: The module.
        names: Which of them; all of them if not given.

    Raises:
        InputError: It is no module, has no such layer, or none at all.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}; expected a torch.nn.Module")
    found = {name: each for name, each in model.named_modules() if isinstance(each, Layer)}
    if not found:
        raise InputError(
            f"the model, a {type(model).__name__}, has no recurrent layer of anyrnn.torch; "
            "replace torch.nn.LSTM by anyrnn.torch.LSTM, which takes its weights"
        )
    if names is None:
        return found
    for name in names:
        if name not in found:
            known = ", ".join(map(repr, found))
            raise InputError(f"the model has no recurrent layer {name!r}; it has {known}")
    return {name: found[name] for name in names}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode whose parameters take no gradient, meanwhile."""
    training = [module for module in model.modules() if module.training]
    followed = [each for each in model.parameters() if each.requires_grad]
    model.eval()
    for parameter in followed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in followed:
            parameter.requires_grad_(True)


@contextmanager
def instead(
    layers: dict[str, Layer], made: Callable[[str, Layer], Called], calls: int | None = None
) -> Iterator[None]:
    """Compute the calls of some layers otherwise, meanwhile.

    Args:
        layers: The layers by name.
        made: Makes what is called in the place of a layer's `forward`.
        calls: How many calls of each layer; the ones after these are as usual. All, if not given.
    """
    for name, layer in layers.items():
        vars(layer)["forward"] = _first(calls, made(name, layer), layer.forward)
    try:
        yield
    finally:
        for layer in layers.values():
            del vars(layer)["forward"]


def _first(calls: int | None, other: Called, usual: Called) -> Called:
    """What is called for the first calls, and another function for those after these."""
    numbers = count()

    def forward(*given: Any, **others: Any) -> Any:
        function = other if calls is None or next(numbers) < calls else usual
        return function(*given, **others)

    return forward


@dataclass(frozen=True)
class Labels:
    """How values of layers are named: `h`, with what tells layers and modules apart."""

    several_modules: bool

    def __call__(self, module: str, name: str, suffix: str = "") -> str:
        """The name of a value, such as `encoder.h_l0`."""
        return (f"{module}." if module and self.several_modules else "") + name + suffix


def without_all_states(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer's call but for what it is to return.

    Raises:
        InputError: It is to return all states.
    """
    arguments = dict(arguments)
    if arguments.pop("return_states", "last") != "last":
        raise InputError(
            "the model calls a layer with return_states='all', which cannot be looked into; use "
            "the layer's outputs"
        )
    return arguments


def first_tensor(result: Any) -> Tensor:
    """The first tensor of floats in what a model returns.

    Raises:
        InputError: There is none.
    """
    left = [result]
    while left:
        value = left.pop(0)
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
        if hasattr(value, "data") and isinstance(value.data, Tensor):  # a PackedSequence
            return value.data
        if isinstance(value, dict):
            value = [*value.values()]
        if isinstance(value, tuple | list):
            left = [*value, *left]
    raise InputError(
        f"the model returned a {type(result).__name__} without a tensor of floats; say what of it "
        "to differentiate: of=lambda result: ..."
    )


def number_of(result: Any, of: Callable[[Any], Tensor] | None) -> Tensor:
    """The number to differentiate: what is chosen of a result, or half the sum of its squares.

    Raises:
        InputError: What is chosen is no number.
    """
    if of is None:
        found = first_tensor(result)
        return found if found.dim() == 0 else found.square().sum() / 2
    found = of(result)
    if not isinstance(found, Tensor) or found.numel() != 1 or not found.is_floating_point():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"of={getattr(of, '__name__', of)} gives {shape}; expected one number, a tensor that "
            "can be differentiated: add .sum()"
        )
    return found.reshape(())


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The values of calls one after the other, (batch, time, ...), as those of one sequence."""
    return parts[0] if len(parts) == 1 else torch.cat([*parts], dim=1)


def called_only(calls: Mapping[str, list[Met]]) -> dict[str, list[Met]]:
    """The layers that were called, with their calls.

    Raises:
        InputError: None was.
    """
    found = {name: each for name, each in calls.items() if each}
    if not found:
        names = ", ".join(map(repr, calls))
        raise InputError(f"the model did not call its recurrent layers: {names}")
    return found
