"""The singular values of what carries states from a step to the end of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anyrnn.errors import InputError
from anyrnn.inspect.calls import evaluating, instead, layers_of, without_all_states
from anyrnn.kernels.run import Array
from anyrnn.torch.layer import Layer
from anyrnn.torch.layer_part import LayerPart
from anyrnn.torch.shifts import Shifts

MOST_UNITS = 512


def singular_values(
    model: nn.Module,
    *inputs: Any,
    layer: str | None = None,
    calls: int | None = None,
    **options: Any,
) -> dict[str, Array]:
    """The singular values of d state_T / d state_t, the Jacobian of the states at the end of a
    sequence with respect to those so many steps before: all below 1 where every perturbation
    shrinks.

    Exact, for small models: a compiled run backwards for each unit of the states. The states of all
    layers count together, and those of a lower layer act on the layers above at the same step, too;
    where layers run in both directions, the states of each direction of the last layer count by
    themselves. The model runs in evaluation mode.

    Args:
        model: A recurrent layer, or any module with one in it.
        *inputs: What the model is called with.
        layer: The name of the recurrent layer in the model, where there are several.
        calls: 1 to take the first call only of a layer that the model calls several times.
        **options: What else the model is called with.

    Returns:
        By layer and direction (`all layers`, `l0`, `l1_reverse`), the singular values, the largest
        first, (batch, steps before the end, size); NaN where a sequence has no such step.

    Raises:
        InputError: The model has no such layer, several, or calls it more than once; its states are
            too large; or the memory that is free does not suffice.

    Example:
        >>> import torch
        >>> from anyrnn.inspect import singular_values
        >>> from anyrnn.torch import GRU
        >>> singular_values(GRU(3, 5), torch.randn(7, 2, 3))["l0"].shape
        (2, 7, 5)
    """
    known = layers_of(model, None if layer is None else [layer])
    if len(known) > 1:
        names = ", ".join(map(repr, known))
        raise InputError(f"the model has several recurrent layers; give layer=, one of {names}")
    results: list[tuple[Shifts, Any]] = []

    def made(name: str, found: Layer) -> Callable[..., Any]:
        _check_size(found)

        def forward(*given: Any, **others: Any) -> Any:
            shifts = Shifts(False)
            result = found.shifted(shifts, *given, **without_all_states(others))
            results.append((shifts, result[1]))
            return result

        return forward

    with evaluating(model), torch.enable_grad():
        with instead(known, made, calls):
            model(*inputs, **options)
        if len(results) != 1:
            raise InputError(
                f"the model calls its recurrent layer {len(results)} times; expected one call, or "
                "calls=1 for the first one only"
            )
        (found,) = known.values()
        return {name: _singular(*results[0], parts) for name, parts in _groups(found).items()}


def _groups(layer: Layer) -> dict[str, list[LayerPart]]:
    """The layers and directions whose states count together."""
    parts = [*layer._made().parts]
    if layer._made().bidirectional:
        return {part.suffix[1:]: [part] for part in parts[-2:]}
    return {"all layers" if len(parts) > 1 else "l0": parts}


def _check_size(layer: Layer) -> None:
    for parts in _groups(layer).values():
        units = sum(sum(part.state_sizes) for part in parts)
        if units > MOST_UNITS:
            raise InputError(
                f"the states have {units:,} units together; the Jacobian takes a run for each of "
                f"them, and {MOST_UNITS} is the most; use gradient_flow, or a smaller layer"
            )


def _singular(shifts: Shifts, last: Any, parts: list[LayerPart]) -> Array:
    suffixes = [part.suffix for part in parts]
    rows: list[Tensor] = []
    for part, state in shifts.last_states(last):
        if part.suffix not in suffixes:
            continue
        for unit in range(state.shape[-1]):
            gradients = torch.autograd.grad(
                state[..., unit].sum(), shifts.tensors, retain_graph=True, allow_unused=True
            )
            found = shifts.by_state(gradients)
            rows.append(torch.cat([v for (s, _), v in found.items() if s in suffixes], dim=-1))
    whole = torch.stack(rows, dim=2).double().cpu().numpy()  # (batch, time, to, from)
    reverse = parts[0].direction == 1
    batch, time, units, _ = whole.shape
    values = np.full((batch, time, units), np.nan)
    for row, jacobians in enumerate(whole):
        own = jacobians[~np.isnan(jacobians[:, 0, 0])]
        own = own if reverse else own[::-1]
        values[row, : len(own)] = np.linalg.svd(own, compute_uv=False)
    return values
