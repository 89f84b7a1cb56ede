"""Running a cell on PyTorch, as the layers of `anyrnn.torch` do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from anyrnn.keras.backends import CellCall
from anyrnn.kernels.callbacks import whole_number
from anyrnn.torch.execute import breaks_graph, execute
from anyrnn.torch.inputs import NO_MARKS, Marks, read_input
from anyrnn.torch.packed_rows import Start
from anyrnn.torch.path import choose
from anyrnn.torch.tracing import untraced


def refusal(tensors: Sequence[Tensor]) -> str | None:
    """Why kernels cannot take some tensors; as `anyrnn.keras.backends.refusal`."""
    path = choose(None, tensors)
    return None if path.name == "compiled" else path.reason


def run(call: CellCall) -> tuple[Tensor | None, list[Tensor]]:
    """Run a cell; as `anyrnn.keras.backends.run`. PyTorch knows itself what to record."""
    x, mask, states, parameters = call.x, call.mask, call.states, call.parameters
    if breaks_graph(call.cell, x, mask, parameters):
        return untraced(run, call)
    if call.reverse:
        x, mask = x.flip(1), None if mask is None else mask.flip(1)
    marks = NO_MARKS if mask is None else Marks(mask=mask.bool(), padding="carry")
    rows = read_input(x, x, call.sizes["input"], True, marks)
    starts = [Start(state, state, False) for state in states]
    output, last = execute(
        call.run,
        rows.data,
        rows.batch_sizes,
        [*map(rows.begin, starts)],
        dict(zip(call.cell.parameter_names, parameters, strict=True)),
        None if call.seed is None else whole_number(call.seed.to(torch.int64)),
    )
    restored = rows.restore(output) if call.sequences else None
    assert isinstance(restored, Tensor | None)
    return restored, [*map(rows.end, last, starts)]
