"""What several processes that train one network together agree on.

`launch` starts them. A process alone is a group of one, in which all of this costs nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

from anyrnn.errors import AnyrnnError

T = TypeVar("T")


def size() -> int:
    """The number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """The number of this process among them, from 0; the first one writes the run."""
    return distributed.get_rank() if _together() else 0


def first(make: Callable[..., T], *arguments: Any) -> T:
    """What the first process makes from the arguments, in all of them.

    Raises:
        AnyrnnError, OSError, ValueError: What `make` raises in the first process, in all of them.
    """
    if not _together():
        return make(*arguments)
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = make(*arguments)
        except (AnyrnnError, OSError, ValueError) as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def every(value: T) -> list[T]:
    """The value of each process, in all of them."""
    if not _together():
        return [value]
    found: list[Any] = [None] * size()
    distributed.all_gather_object(found, value)
    return found


def any_of(flag: bool) -> bool:
    """Whether one of the processes says so, in all of them."""
    if not _together():
        return flag
    value = torch.tensor(int(flag))
    distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return bool(value)


def mean_of_all(mean: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor | int]:
    """The mean over what all processes have counted, and their count.

    Args:
        mean: The mean over what this process has counted, without a gradient.
        count: Of how many that is the mean.
    """
    if not _together():
        return mean, count
    sums = torch.stack([mean.double() * count, mean.new_full((), count).double()])
    distributed.all_reduce(sums)
    return (sums[0] / sums[1]).to(mean.dtype), sums[1]


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
