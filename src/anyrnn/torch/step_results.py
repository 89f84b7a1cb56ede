"""Results of a step that are written where a caller wants them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as modules

from anyrnn.errors import InputError
from anyrnn.torch.tensors import DTYPE, IS_CPU, PLAIN, REQUIRES_GRAD, SHAPE, Results, is_freed

FORWARD, FORWARD_PRE = modules._global_forward_hooks, modules._global_forward_pre_hooks
BACKWARD, BACKWARD_PRE = modules._global_backward_hooks, modules._global_backward_pre_hooks


def is_direct(module: nn.Module) -> bool:
    """Whether a call of a module is its class's `forward` and nothing else: it has no hooks."""
    return (
        not (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
            or "forward" in module.__dict__
            or FORWARD
            or FORWARD_PRE
            or BACKWARD
            or BACKWARD_PRE
        )
        and _is_ours(type(module))
        and module._compiled_call_impl is None
    )


@lru_cache(maxsize=256)
def _is_ours(kind: type[nn.Module]) -> bool:
    called: Any = kind.forward
    return called.__module__.startswith("anyrnn.") and kind.__call__ is nn.Module.__call__


def direct_results(
    out: Any, given: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]
) -> Results | None:
    """Tensors that a kernel can write results into while it reads what it is given.

    Args:
        out: An output, and a new state or several.
        given: What the kernel reads.
        shapes: Those of the output and the new states.

    Returns:
        The tensors; None if anything is in the way: another shape, shared memory, ...
    """
    if not isinstance(out, tuple | list) or len(out) != 2:
        return None
    output, new = out
    new = (new,) if type(new) in PLAIN else new
    if not isinstance(new, tuple | list):
        return None
    tensors = [output, *new]
    if not PLAIN.issuperset(map(type, tensors)):
        return None
    try:
        if (
            [*map(SHAPE, tensors)] != shapes
            or {*map(DTYPE, tensors)} != {given[0].dtype}
            or not all(map(IS_CPU, tensors))
            or not all(map(Tensor.is_contiguous, tensors))
            or any(map(REQUIRES_GRAD, tensors))
            or any(map(Tensor.is_neg, tensors))
        ):
            return None
        every = *tensors, *given
        starts, sizes = tuple(map(Tensor.data_ptr, every)), tuple(map(Tensor.numel, every))
    except RuntimeError:  # a tensor without a shape or without memory
        return None
    if 0 in starts:
        return None
    return (output, tuple(new)) if disjoint(starts, sizes, output.itemsize) else None


@lru_cache(maxsize=256)
def disjoint(starts: tuple[int, ...], sizes: tuple[int, ...], itemsize: int) -> bool:
    """Whether no two of some arrays share memory."""
    parts = sorted(
        (start, start + size * itemsize) for start, size in zip(starts, sizes, strict=True)
    )
    return all(end <= start for (_, end), (start, _) in pairwise(parts))


def write_results(found: tuple[Tensor, Any], out: Any) -> Any:
    """Copy results into tensors that have the form of results.

    Raises:
        InputError: They have not, autograd follows, or they cannot be written.
    """
    pairs: list[tuple[str, Tensor, Tensor]] = []
    _pair("out", found, out, pairs)
    for name, result, place in pairs:
        if result.requires_grad or place.requires_grad:
            raise InputError(
                "step(out=...) writes results without a gradient; call it under torch.no_grad(), "
                "or leave out out"
            )
        if place.shape != result.shape or place.dtype != result.dtype:
            raise InputError(
                f"{name} is {place.dtype} of shape {tuple(place.shape)}; expected {result.dtype} "
                f"of shape {tuple(result.shape)}"
            )
        if is_freed(place):
            raise InputError(f"{name} has no memory: its storage was freed")
    for name, result, place in pairs:
        try:
            place.copy_(result)
        except RuntimeError as error:  # elements share memory, or it was made in inference mode
            reason = " ".join(str(error).split())
            raise InputError(f"{name} cannot be written: {reason}") from None
    return out


def _pair(name: str, found: Any, out: Any, pairs: list[tuple[str, Tensor, Tensor]]) -> None:
    if isinstance(found, Tensor):
        if not isinstance(out, Tensor):
            raise InputError(f"{name} is a {type(out).__name__}; expected a tensor")
        pairs.append((name, found, out))
    elif not isinstance(out, tuple | list):
        wanted = "an output and a state" if name == "out" else f"{len(found)} tensors"
        raise InputError(f"{name} is a {type(out).__name__}; expected {wanted}, as step() returns")
    elif len(out) != len(found):
        raise InputError(f"{name} has {len(out)} parts; expected {len(found)}, as step() returns")
    else:
        for place, (part, given) in enumerate(zip(found, out, strict=True)):
            _pair(f"{name}[{place}]", part, given, pairs)
