"""Runs that read a padded input and write a padded output themselves: no row is copied before or
after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from anyrnn.errors import ArrayError
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.row_layout import Layout
from anyrnn.kernels.run import Arrays, Run
from anyrnn.kernels.target import places, target_for
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.kept_call import alike
from anyrnn.torch.packed_rows import GatheredRows, Start, flattened
from anyrnn.torch.path import choose, is_ordinary
from anyrnn.torch.tensors import DTYPES, Results, wants_gradient


def run_placed(
    run: Run,
    rows: GatheredRows,
    starts: Sequence[Start],
    parameters: Mapping[str, Tensor],
    packed: PackedWeights | None,
) -> Results | None:
    """Run a cell, without a gradient.

    Args:
        run: What to run, without its steps.
        rows: The input.
        starts: What each state begins with.
        parameters: The stored parameters by name.
        packed: Where packed weights are kept from one run to the next, if they are.

    Returns:
        The output in the layout of the input, and the last states, (batch, size); None if it has to
        be run over gathered rows.

    Raises:
        ArrayError: A tensor is not as the cell has it.
    """
    target, tensors = target_for("cpu"), [rows.data, *parameters.values()]
    if not isinstance(rows.layout, Layout) or rows.carry or target is None or run.cell.draws:
        return None
    if not rows.layout.rows or len(rows.layout.batch_sizes) == 1:  # one step has its own kernel
        return None
    if torch.compiler.is_compiling() or not is_ordinary() or not alike(tensors):
        return None
    states = [*map(rows.starts, starts)]
    tensors += states
    if choose(run.cell, tensors).name != "compiled" or not rows.data.is_cpu:
        return None
    if wants_gradient(tensors):
        return None
    flat, batch_first = flattened(rows.data)
    steps = rows.layout.placed(batch_first, rows.batch_first, run.reverse)
    dtype = DTYPES[flat.dtype]
    run = run._replace(steps=steps, dtype=dtype, threads=torch.get_num_threads())
    if not places(target, run):
        return None
    try:
        output, last = target.forward(run, Arrays(TENSORS, flat, states, parameters, None, packed))
    except ArrayError as error:
        raise ArrayError(error.kind, run.name_of(error.name), error.problem) from None
    return output.unflatten(0, rows.shape), tuple(last)
