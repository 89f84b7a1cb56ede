"""Calls of a layer that autograd follows, looked at once for those of one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from anyrnn.kernels.run import Run
from anyrnn.torch.compiled_path import TENSORS, Recording, apply
from anyrnn.torch.kept_call import KeptCall, repeatable, time_first
from anyrnn.torch.known_run import CallLayout, KnownRun, known_run


class RecordedCall(KeptCall):
    """A call of a layer that autograd follows, to be run again with tensors of the same kind.

    Args:
        known: What is run.
        names: What the layer calls the parameters.
        rows: The input, as a caller gives it.
        stored: The parameters.
    """

    def __init__(
        self, known: KnownRun, names: Iterable[str], rows: Tensor, stored: Sequence[Tensor]
    ) -> None:
        states = [rows.detach().new_zeros((1, *shape)) for shape in known.states]
        super().__init__(names, [rows, *states], stored, recorded=True)
        self.known, self.flat = known, [zeros.squeeze(0) for zeros in self.zeros]

    def __call__(
        self, rows: Any, state: Any, parameters: Mapping[str, Any], out: Any = None
    ) -> tuple[Tensor, Any] | None:
        """As `KeptCall.__call__`."""
        found = self.read(rows, state, parameters)
        if found is None or out is not None:
            return None
        (x, *tensors), starts = found
        if self.known.layout.batch_first:
            x = time_first(x)
            starts[0] = x.data_ptr()
        states = self.count - 1
        tensors[:states] = self.flat if state is None else [t.squeeze(0) for t in tensors[:states]]
        call = Recording(self.known.run, None, self.known.layout, self.known, starts)
        output, *new = apply(call, x, *tensors)
        return output, new[0] if len(new) == 1 else tuple(new)


def recorded_call(
    run: Run, names: Iterable[str], rows: Tensor, stored: Sequence[Tensor], batch_first: bool
) -> RecordedCall | None:
    """The run over sequences of one length that was just recorded, to be recorded again; None if
    there is no such thing.

    Args:
        run: What was run.
        names: What the layer calls the parameters.
        rows: The input, as the caller gave it.
        stored: The parameters.
        batch_first: Whether the input has the batch before the time.
    """
    found = repeatable(run, rows, stored, batch_first)
    if found is None:
        return None
    run, target = found
    known = known_run(target, run, TENSORS, CallLayout(True, True, batch_first))
    known.learn("record")
    return None if known.ways["record", ()] is None else RecordedCall(known, names, rows, stored)
