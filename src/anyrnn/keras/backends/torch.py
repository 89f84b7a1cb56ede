"""Running a cell on PyTorch, as the layers of `anyrnn.torch` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from anyrnn.graph.cell import Cell
from anyrnn.graph.randomness import WORD
from anyrnn.kernels.run import Run
from anyrnn.torch.execute import breaks_graph, execute
from anyrnn.torch.inputs import NO_MARKS, Marks, read_input
from anyrnn.torch.path import choose
from anyrnn.torch.tracing import untraced


def refusal(tensors: Sequence[Tensor]) -> str | None:
    """Why kernels cannot take some tensors; as `anyrnn.keras.backends.refusal`."""
    path = choose(None, tensors)
    return None if path.name == "compiled" else path.reason


def run(
    cell: Cell,
    sizes: Mapping[str, int],
    x: Tensor,
    states: Sequence[Tensor],
    parameters: Sequence[Tensor],
    mask: Tensor | None,
    reverse: bool,
    sequences: bool,
    seed: Tensor | None,
    recorded: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Run a cell; as `anyrnn.keras.backends.run`. PyTorch knows itself what to record."""
    if breaks_graph(cell, x, mask, parameters):
        options = mask, reverse, sequences, seed, recorded
        return untraced(run, cell, sizes, x, states, parameters, *options)
    if reverse:
        x, mask = x.flip(1), None if mask is None else mask.flip(1)
    marks = NO_MARKS if mask is None else Marks(mask=mask.bool(), padding="carry")
    rows = read_input(x, x, sizes["input"], True, marks)
    made = Run(cell, tuple(sizes.items()))
    output, last = execute(
        made,
        rows.data,
        None if torch.compiler.is_compiling() else rows.batch_sizes,
        [rows.begin(state, state, False) for state in states],
        dict(zip(made.cell.parameter_names, parameters, strict=True)),
        None if seed is None else _whole(seed),
    )
    restored = rows.restore(output) if sequences else None
    assert isinstance(restored, Tensor | None)
    both = zip(last, states, strict=True)
    return restored, [rows.end(part, state, state, False) for part, state in both]


def _whole(seed: Tensor) -> Tensor:
    """One whole number of 64 bits, (1,), of one, or of the two words that Keras gives."""
    words = seed.reshape(-1).to(torch.int64)
    return words if len(words) == 1 else words[:1] << 32 | words[1:] & WORD
