"""What calls of a layer with tensors of the same kind have in common, looked at once.

A call that comes again looks whether its tensors are as they were, and goes straight to the
kernels; if they are not, it goes the usual way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anyrnn.kernels.run import Run
from anyrnn.kernels.target import Target, target_for
from anyrnn.torch.compiled_path import over
from anyrnn.torch.path import choose, is_ordinary
from anyrnn.torch.tensors import DTYPE, DTYPES, PLAIN, REQUIRES_GRAD, SHAPE, address_reader

SEVERAL = frozenset((tuple, list))


class KeptCall:
    """A kind of call.

    Args:
        names: What the layer calls the parameters that it reads.
        given: The input, as a caller gives it, and the states.
        stored: The parameters.
        recorded: Whether autograd follows.
    """

    def __init__(
        self,
        names: Iterable[str],
        given: Sequence[Tensor],
        stored: Sequence[Tensor],
        recorded: bool,
    ) -> None:
        self.count, self.names, self.recorded = len(given), [*names], recorded
        self.target, self.threads = target_for("cpu"), torch.get_num_threads()
        self.shapes, self.dtypes = ([*map(of, (*given, *stored))] for of in (SHAPE, DTYPE))
        self.starts = address_reader(self.shapes, self.dtypes)
        with torch.inference_mode(False):
            self.zeros = [
                torch.zeros(shape, dtype=self.dtypes[0], device="cpu")
                for shape in self.shapes[1 : self.count]
            ]

    def __call__(
        self, rows: Any, state: Any, parameters: Mapping[str, Any], out: Any = None
    ) -> tuple[Tensor, Any] | None:
        """Run; None if anything is not as it was.

        Args:
            rows: The input.
            state: The states as a caller gives them; None for zeros.
            parameters: The layer's parameters by name.
            out: Where to write the results; None for new tensors.
        """
        raise NotImplementedError

    def read(
        self, rows: Any, state: Any, parameters: Mapping[str, Any]
    ) -> tuple[list[Any], list[int]] | None:
        """The input, the states and the parameters, and where each begins; None if anything is not
        as it was. Arguments are those of a call.
        """
        if (
            not is_ordinary()
            or torch.is_autocast_enabled("cpu")
            or torch.get_num_threads() != self.threads
            or target_for("cpu") is not self.target
        ):
            return None
        if type(state) in PLAIN:
            given = [rows, state]
        elif state is None:
            given = [rows, *self.zeros]
        elif type(state) in SEVERAL and self.count > 2:
            given = [rows, *state]
        else:
            return None
        tensors: list[Any] = [*given, *map(parameters.get, self.names)]
        starts = self.starts(tensors)
        if starts is None:
            return None
        if (torch.is_grad_enabled() and any(map(REQUIRES_GRAD, tensors))) is not self.recorded:
            return None
        return tensors, starts


def time_first(tensor: Tensor) -> Tensor:
    """A tensor (batch, time, size) as (time, batch, size), contiguous."""
    return tensor.transpose(0, 1).contiguous()


def alike(tensors: Sequence[Tensor]) -> bool:
    """Whether tensors have one type of those that kernels take, without mixed precision."""
    found = {*map(DTYPE, tensors)}
    return len(found) == 1 and found.issubset(DTYPES) and not torch.is_autocast_enabled("cpu")


def repeatable(
    run: Run, rows: Tensor, stored: Sequence[Tensor], batch_first: bool
) -> tuple[Run, Target] | None:
    """The run of a call that was just made, over sequences of one length, and what ran it; None if
    that were no kernels, or if it is no call like many others.

    Args:
        run: What was run.
        rows: The input, as the caller gave it.
        stored: The parameters.
        batch_first: Whether the input has the batch before the time.
    """
    target = target_for("cpu")
    if target is None or not is_ordinary() or not alike([rows, *stored]):
        return None
    if choose(run.cell, [rows, *stored]).name != "compiled" or not rows.is_cpu:
        return None
    if not all(map(Tensor.is_contiguous, (rows, *stored))):
        return None
    batch, time = rows.shape[:2] if batch_first else rows.shape[1::-1]
    return over(run, (batch,) * time, rows), target
