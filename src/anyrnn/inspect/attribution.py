"""How much each input step adds to an output: gradient x input, and integrated gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from anyrnn.errors import InputError
from anyrnn.inspect.calls import evaluating, instead, layers_of, number_of, without_all_states
from anyrnn.kernels.run import Array
from anyrnn.torch.layer import Layer
from anyrnn.torch.packed_rows import Input
from anyrnn.torch.shifts import Shifts, as_batch

_POINTS = (16, 64, 256)  # of the integral, until the sum agrees
_GAP = 0.01


@dataclass(frozen=True)
class Saliency:
    """How much each step of an input adds to a number.

    Attributes:
        value: The number.
        baseline_value: The number for an input of zeros.
        gradient_times_input: The gradient at the input times the input, (batch, time, features);
            0 at steps that do not count.
        integrated: The integrated gradients from an input of zeros to the input, likewise.
        points: How many gradients the integral was computed from.
    """

    value: float
    baseline_value: float
    gradient_times_input: Array
    integrated: Array
    points: int

    @property
    def by_step(self) -> Array:
        """The integrated gradients of each step, (batch, time)."""
        return self.integrated.sum(axis=-1)

    @property
    def gap(self) -> float:
        """How far the integrated gradients are from complete: what their sum lacks of the
        difference of the two numbers, relative to the sum of their sizes.
        """
        lacking = self.value - self.baseline_value - float(self.integrated.sum())
        size = max(abs(self.value - self.baseline_value), float(np.abs(self.by_step).sum()))
        return abs(lacking) / size if size else 0.0


def saliency(
    model: nn.Module,
    *inputs: Any,
    of: Callable[[Any], Tensor] | None = None,
    layer: str | None = None,
    calls: int | None = None,
    **options: Any,
) -> Saliency:
    """How much each step of the input of a recurrent layer adds to an output.

    What is attributed to is what the layer reads: of a text the vectors of its tokens, otherwise
    the numbers given. Gradients come from one forward and one backward run of compiled code each.
    Integrated gradients (Sundararajan, Taly & Yan 2017) go from zeros to the input along a straight
    line, by Gauss-Legendre quadrature with as many points as it takes, 256 at most; their sum is
    the difference of the output at both ends, which `gap` checks. The model runs in evaluation
    mode.

    Args:
        model: A recurrent layer, or any module with one in it.
        *inputs: What the model is called with.
        of: What of the model's result is explained: gives one number. By default half the sum of
            the squares of the first tensor in it.
        layer: The name of the recurrent layer in the model, where there are several.
        calls: 1 to explain by what the first call of the layer reads, where there are several.
        **options: What else the model is called with.

    Returns:
        The shares of each step and feature.

    Raises:
        InputError: The model has no such layer, several, or calls it more than once; there is no
            number to differentiate; or the memory that is free does not suffice.

    Example:
        >>> import torch
        >>> from anyrnn.inspect import saliency
        >>> from anyrnn.torch import GRU
        >>> found = saliency(GRU(3, 5), torch.randn(7, 2, 3), of=lambda found: found[0][-1].sum())
        >>> found.by_step.shape, found.gap < 1e-3
        ((2, 7), True)
    """
    known = layers_of(model, None if layer is None else [layer])
    if len(known) > 1:
        names = ", ".join(map(repr, known))
        raise InputError(f"the model has several recurrent layers; give layer=, one of {names}")
    name, found = next(iter(known.items()))
    return _attributed(model, _LayerProbe(model, name, found, (inputs, options), of, calls))


def saliency_of(model: nn.Module, call: Callable[[Tensor], Tensor], read: Tensor) -> Saliency:
    """How much each place of what a model reads adds to a number, as `saliency` has it of steps:
    for what is no sequence of a recurrent layer, such as regions that a decoder attends to.

    Args:
        model: The model; it runs in evaluation mode.
        call: Gives the number for what the model reads.
        read: What it reads, (batch, places, features).

    Returns:
        The shares of each place and feature.

    Raises:
        InputError: The number does not depend on what is read.

    Example:
        >>> import torch
        >>> from anyrnn.inspect.attribution import saliency_of
        >>> layer = torch.nn.Linear(3, 1, bias=False)
        >>> found = saliency_of(layer, lambda read: layer(read).sum(), torch.randn(2, 5, 3))
        >>> found.by_step.shape, found.gap < 1e-3
        ((2, 5), True)
    """
    return _attributed(model, _TensorProbe(call, read.detach()))


def _attributed(model: nn.Module, probe: _Probe) -> Saliency:
    """Gradient times input, and the integral of the gradient from zeros to the input."""
    with evaluating(model), torch.enable_grad():
        value, gradient, entering = probe.at(1.0)
        baseline, *_ = probe.at(0.0, gradient=False)
        total, points = torch.zeros_like(gradient), 0
        for points in _POINTS:
            total = probe.mean_gradient(points)
            lacking = abs(value - baseline - float((total * entering).sum()))
            size = max(abs(value - baseline), float((total * entering).sum(-1).abs().sum()))
            if lacking <= _GAP * size:
                break
    products = [each * entering for each in (gradient, total)]
    slope, whole = (probe.laid_out(each).double().cpu().numpy() for each in products)
    return Saliency(value, baseline, slope, whole, points)


class _Probe(ABC):
    """A model that reads a share of its input."""

    @abstractmethod
    def at(self, share: float, gradient: bool = True) -> tuple[float, Tensor, Tensor]:
        """The number where a share of the input is read, the gradient there, and the input."""

    @abstractmethod
    def laid_out(self, values: Tensor) -> Tensor:
        """Values laid out as the input, as (batch, time, features)."""

    def mean_gradient(self, points: int) -> Tensor:
        """The mean of the gradient on the line from zeros to the input."""
        places, weights = np.polynomial.legendre.leggauss(points)
        found = [
            weight / 2 * self.at((place + 1) / 2)[1]
            for place, weight in zip(places.tolist(), weights.tolist(), strict=True)
        ]
        return torch.stack(found).sum(0)


class _TensorProbe(_Probe):
    """A function of a tensor, (batch, places, features)."""

    def __init__(self, call: Callable[[Tensor], Tensor], read: Tensor) -> None:
        self._call, self._read = call, read

    def at(self, share: float, gradient: bool = True) -> tuple[float, Tensor, Tensor]:
        leaf = (self._read * share).requires_grad_()
        value = self._call(leaf)
        if not gradient:
            return value.item(), self._read, self._read
        return value.item(), _gradient(value, leaf, "what the model reads"), self._read

    def laid_out(self, values: Tensor) -> Tensor:
        return values


class _LayerProbe(_Probe):
    """A model with one layer that reads a share of its input."""

    def __init__(
        self,
        model: nn.Module,
        name: str,
        layer: Layer,
        call: tuple[tuple[Any, ...], dict[str, Any]],
        of: Callable[[Any], Tensor] | None,
        calls: int | None,
    ) -> None:
        self._calls = calls
        self._model, self._name, self._layer, self._call = model, name, layer, call
        self._of = of
        self._given: Any = None

    def at(self, share: float, gradient: bool = True) -> tuple[float, Tensor, Tensor]:
        """The number where the layer reads a share of its input, the gradient there, and the
        input.
        """
        leaves: list[tuple[Tensor, Tensor]] = []

        def made(name: str, layer: Layer) -> Callable[..., Any]:
            def forward(given: Any, *states: Any, **others: Any) -> Any:
                if leaves:
                    raise InputError(
                        f"the model calls its recurrent layer {name!r} several times, which "
                        "saliency does not follow; choose a layer that reads the whole input, "
                        "or calls=1 for what the first call reads"
                    )
                self._given = given
                whole = (given.data if isinstance(given, PackedSequence) else given).detach()
                leaf = (whole * share).requires_grad_()
                leaves.append((leaf, whole))
                part = _like(given, leaf)
                return layer.shifted(Shifts(False), part, *states, **without_all_states(others))

            return forward

        inputs, options = self._call
        with instead({self._name: self._layer}, made, self._calls):
            value = number_of(self._model(*inputs, **options), self._of)
        if not leaves:
            raise InputError(f"the model did not call its recurrent layer {self._name!r}")
        leaf, whole = leaves[0]
        if not gradient:
            return value.item(), whole, whole
        return value.item(), _gradient(value, leaf, "what the recurrent layer reads"), whole

    def laid_out(self, values: Tensor) -> Tensor:
        """Values laid out as the layer's input, as (batch, time, features)."""
        return as_batch(_like(self._given, values), self._layer.batch_first)


def _gradient(value: Tensor, leaf: Tensor, of: str) -> Tensor:
    """The gradient of a number; 0 where it does not depend on the leaf."""
    if not value.requires_grad:
        raise InputError(
            f"the number to explain does not depend on {of}: it is detached from it, or computed "
            "under torch.no_grad()"
        )
    (found,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def _like(given: Input, values: Tensor) -> Input:
    """Values in the layout of an input."""
    return values if isinstance(given, Tensor) else given._replace(data=values)
