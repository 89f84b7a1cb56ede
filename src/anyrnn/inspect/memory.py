"""How long a perturbation of the states survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from anyrnn.errors import InputError
from anyrnn.inspect.calls import (
    Labels,
    called_only,
    evaluating,
    instead,
    layers_of,
    without_all_states,
)
from anyrnn.inspect.flow import SHARE, Flow, from_start, whole
from anyrnn.torch.layer import Layer
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.shifts import Added, laid_out, row_numbers


@dataclass(frozen=True)
class Persistence:
    """How far states stay apart after a perturbation.

    Attributes:
        flows: For each layer and direction that was perturbed, the distance to the states without
            the perturbation, from its step on.
        whole: That of the whole network, as of `GradientFlow`.
    """

    flows: tuple[Flow, ...]
    whole: Flow = field(repr=False)

    def steps_left(self, share: float = SHARE) -> int | None:
        """The number of steps after which no more than a share of the perturbation is left; None if
        more is left at the end.
        """
        return self.whole.steps_left(share)


def persistence(
    model: nn.Module,
    *inputs: Any,
    step: int = 0,
    size: float = 0.01,
    directions: int = 4,
    seed: int = 0,
    layers: Sequence[str] | None = None,
    calls: int | None = None,
    **options: Any,
) -> Persistence:
    """How long a perturbation of the states survives, of any cell.

    After one step a small vector of a random direction is added to the states; from then on the
    distance to the states without it is followed, in compiled runs forwards. A network in one
    direction is perturbed in all its layers; one in both directions in the last layer, where each
    direction counts steps in its own order. The model runs in evaluation mode.

    Args:
        model: A recurrent layer, or any module with such layers in it, each of which reads its
            whole input in one call.
        *inputs: What the model is called with.
        step: After which step, from 0, the states are perturbed.
        size: The norm of the perturbation, as a share of that of the states.
        directions: Over how many directions is averaged.
        seed: Decides the directions.
        layers: The names of the recurrent layers in the model; all of them by default.
        calls: 1 to follow the first call only of a layer that the model calls several times.
        **options: What else the model is called with.

    Returns:
        The distances, and how much is left after how many steps.

    Raises:
        InputError: The model has no such layer, does not call it or does so several times; no
            sequence has a step after that of the perturbation; or size or directions are not
            positive.

    Example:
        >>> import torch
        >>> from anyrnn.inspect import persistence
        >>> from anyrnn.torch import GRU
        >>> found = persistence(GRU(3, 5), torch.randn(40, 2, 3))
        >>> found.whole.share.shape, found.steps_left() < 40
        ((40,), True)
    """
    if not size > 0 or directions < 1 or step < 0:
        raise InputError(
            f"step={step}, size={size}, directions={directions}; expected a step from 0 on, a size "
            "above 0 and at least one direction"
        )
    generator = torch.Generator().manual_seed(seed)
    followed = layers_of(model, layers)
    met: dict[str, list[dict[str, Any]]] = {name: [] for name in followed}

    def made(name: str, layer: Layer) -> Callable[..., Any]:
        usual = layer.forward

        def forward(*given: Any, **others: Any) -> Any:
            if met[name]:
                raise InputError(
                    f"the model calls its recurrent layer {name!r} several times; choose layers "
                    "that read their whole input in one call, or calls=1 for the first one only"
                )
            marks = without_all_states(others)
            marks.pop("padding", None)
            follow = _Followed(layer, (given, marks), step, size, generator)
            met[name].append(follow.distances(directions))
            return usual(*given, **others)

        return forward

    with evaluating(model), torch.no_grad(), instead(followed, made, calls):
        model(*inputs, **options)
    called = called_only(met)
    label, flows = Labels(len(called) > 1), []
    for module, each in called.items():
        for suffix, distances in each[0].items():
            norms = distances.cpu().numpy()
            reverse = suffix.endswith("_reverse")
            flow = from_start(label(module, suffix[1:]), norms, backwards=reverse)
            flows.append(from_start(flow.name, flow.norms[:, step:], backwards=False))
    if not any(flow.norms.shape[1] > 1 for flow in flows):
        raise InputError(
            f"step={step}: no sequence has a step after that one; choose an earlier one"
        )
    return Persistence(tuple(flows), whole(flows))


class _Followed:
    """One call of a layer, with and without a perturbation."""

    def __init__(
        self,
        layer: Layer,
        call: tuple[tuple[Any, ...], dict[str, Any]],
        step: int,
        size: float,
        generator: torch.Generator,
    ) -> None:
        self._layer, (self._given, self._marks) = layer, call
        self._step, self._size, self._generator = step, size, generator
        self._rows, self._usual = self._states(None)
        self._numbers = row_numbers(self._rows)

    def _states(self, shifts: Added | None) -> tuple[Any, list[tuple[LayerPart, Tensor]]]:
        """The states of each part side by side, packed as rows."""
        rows, parts = self._layer.named_values(
            *self._given, **self._marks, returned="all", shifts=shifts
        )
        return rows, [(part, torch.cat([*states.values()], dim=-1)) for part, states in parts]

    def distances(self, directions: int) -> dict[str, Tensor]:
        """For each part, the root of the mean squared distance over some directions, (batch, time);
        NaN at steps that do not count.
        """
        bidirectional = any(part.direction for part, _ in self._usual)
        perturbed = self._usual[-2:] if bidirectional else self._usual
        suffixes = [part.suffix for part, _ in perturbed]
        squares: dict[str, Tensor] = {}
        for _ in range(directions):
            shift = {part.suffix: self._perturbation(part, usual) for part, usual in perturbed}
            _, found = self._states(Added(shift))
            for (part, usual), (_, other) in zip(self._usual, found, strict=True):
                if part.suffix not in suffixes:
                    continue
                square = (other.double() - usual.double()).square().sum(-1).flatten()
                squares[part.suffix] = squares.get(part.suffix, 0) + square / directions
        return {
            suffix: laid_out(square.sqrt()[:, None], self._numbers)[..., 0]
            for suffix, square in squares.items()
        }

    def _perturbation(self, part: LayerPart, states: Tensor) -> Tensor:
        """What is added to the states of a part: something at one step of each sequence."""
        numbers = self._numbers
        counts = (numbers >= 0).long()
        order = counts.flip(1).cumsum(1).flip(1) if part.direction else counts.cumsum(1)
        chosen = numbers[(order == self._step + 1) & (counts > 0)]
        flat = states.flatten(0, -2)
        drawn = torch.randn(len(chosen), flat.shape[1], generator=self._generator).to(flat)
        norms = flat[chosen].norm(dim=1, keepdim=True)
        norms = torch.where(norms > 0, norms, 1) * self._size
        found = torch.zeros_like(flat)
        found[chosen] = drawn / drawn.norm(dim=1, keepdim=True) * norms
        return found.reshape(states.shape)
