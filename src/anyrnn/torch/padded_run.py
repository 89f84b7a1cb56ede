"""Sequences whose lengths are on a device, run with torch.nn's operator, which takes lengths from
the CPU only: padded, so that nothing waits for the device. Exact: what is computed beyond the end
of a sequence comes into no result, and its gradient is zero.

The last state of a sequence is its output at its last step. The cell state of an LSTM is no output,
so it is held from there on: a further feature of the input, which is 1 beyond the end, closes the
input gate and opens the forget gate until they are 0 and 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.kernels.run import Arrays, DeviceSteps, Run
from anyrnn.torch import vendor_path
from anyrnn.torch.device_layout import RowChoice
from anyrnn.torch.tensors import Results, check_parameters

CLOSED = 8192.0  # a sigmoid of it is 1, with a derivative of 0, in each type; TF32 has it exactly
FURTHER = 8  # features: matrices of float16 have to have a multiple of it


def padded_rows(steps: DeviceSteps, reverse: bool) -> RowChoice:
    """The rows of all steps at each step of each sequence, (time * sequences, ...), from its first
    step on, or from its last.
    """
    lengths, every = steps.lengths, torch.arange(len(steps.batch_sizes), device=steps.step.device)
    step, own = every[:, None].expand(-1, steps.batch), steps.step
    there = step < lengths
    if reverse:
        step, own = lengths - 1 - step, lengths[steps.sequence] - 1 - own
    index = steps.offsets[step.clamp(min=0)] + steps.sequences
    back = own.clamp(min=0) * steps.batch + steps.sequence
    index = index.clamp(max=steps.rows - 1)
    return RowChoice(index.flatten(), there.flatten(), back, steps.live)


def _held(x: Tensor, there: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The input of an LSTM and its matrix, with the feature that holds the cell state."""
    beyond = functional.pad((~there).to(x.dtype)[..., None], (0, FURTHER - 1))
    hidden = len(weights) // 4
    column = weights.new_zeros(4 * hidden, FURTHER)
    column[:hidden, 0].fill_(-CLOSED)
    column[hidden : 2 * hidden, 0].fill_(CLOSED)
    return torch.cat([x, beyond], 2), torch.cat([weights, column], 1)


def execute(run: Run, arrays: Arrays) -> Results:
    """Run a cell of torch.nn over sequences whose lengths are on a device; as
    `anyrnn.torch.operations_path.execute`.
    """
    steps, parameters = run.steps, dict(arrays.parameters)
    check_parameters(run, parameters, arrays.rows)
    mode = vendor_path.mode(run.cell)
    assert mode is not None, "a path is chosen before it is taken"
    choice, time = padded_rows(steps, run.reverse), len(steps.batch_sizes)
    x = choice.of(arrays.rows).unflatten(0, (time, steps.batch))
    if mode == "LSTM":
        there = choice.chosen.view(time, steps.batch)
        x, parameters["W"] = _held(x, there, parameters["W"])
    output, (last,) = vendor_path.run_layers(mode, x, None, [arrays.states], [parameters])
    output = output.flatten(0, 1)
    ends = (steps.lengths - 1).clamp(min=0) * steps.batch + steps.sequences
    _, *cells = last
    return choice.adjoint.of(output), (output.index_select(0, ends), *cells)
