"""A layer with masks and resets as a plain loop says it, of PyTorch's operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anyrnn.kernels.run import Arrays, Run
from anyrnn.torch import Recurrent
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.operations_path import execute

States = list[tuple[Tensor, ...]]


def loop(
    layer: Any, x: Tensor, counts: Tensor, resets: Tensor, initial: States, reset: States
) -> tuple[Tensor, States, States]:
    """Run a layer without options over (time, batch, input).

    Args:
        layer: The layer.
        x: The input; what does not count has to be finite.
        counts: Whether each step counts, (time, batch).
        resets: Whether the state is put back before each step.
        initial: The initial states of each part.
        reset: What they are put back to.

    Returns:
        The outputs, zero where no step counts; for each part the states after every step; and its
        last states.
    """
    time = len(x)
    every: States = []
    last: States = []
    for directions in layer._made().layers:
        outputs = []
        for part in directions:
            states, found = initial[len(every)], {}
            for step in range(time)[::-1] if part.direction else range(time):
                behind = step + 1 if part.direction else step
                if behind < time:
                    states = _where(resets[behind], reset[len(every)], states)
                weights = layer._weights(part)
                run = Run(part.cell, part.size_items).over((x.shape[1],), None, 1)
                arrays = Arrays(TENSORS, x[step], states, weights)
                output, new = execute(run, arrays)
                states = _where(counts[step], new, states)
                output = torch.where(counts[step][:, None], output, torch.zeros_like(output))
                found[step] = output, states
            outputs.append(torch.stack([found[step][0] for step in range(time)]))
            steps = zip(*(found[step][1] for step in range(time)), strict=True)
            every.append(tuple(torch.stack(state) for state in steps))
            last.append(states)
        x = torch.cat(outputs, dim=-1)
    return x, every, last


def _where(chosen: Tensor, some: Any, others: Any) -> tuple[Tensor, ...]:
    both = zip(some, others, strict=True)
    return tuple(torch.where(chosen[:, None], a, b) for a, b in both)


def carried(output: Tensor, counts: Tensor) -> Tensor:
    """The outputs, repeated over steps that do not count."""
    rows, before = [], torch.zeros_like(output[0])
    for row, own in zip(output, counts, strict=True):
        before = torch.where(own[:, None], row, before)
        rows.append(before)
    return torch.stack(rows)


def make(name: str, layers: int = 1, both: bool = False, **options: Any) -> Recurrent:
    """A layer of a cell, in float64, without equal sizes."""
    sizes: dict[str, Any] = {"lstm_projection": {"projection_size": 2}}.get(name, {})
    sizes |= {"output_size": 3} if name == "rnn_output" else {}
    options = {"num_layers": layers, "bidirectional": both, **sizes, **options}
    return Recurrent(name, 3, 4, **options, dtype=torch.float64)


def draw_states(layer: Any, batch: int) -> States:
    """Random states of each part."""
    return [
        tuple(torch.randn(batch, n, dtype=torch.float64).requires_grad_() for n in part.state_sizes)
        for part in layer._made().parts
    ]


def as_given(states: States) -> Any:
    """The states of parts that are alike in the form of a caller; (..., size) each."""
    stacked = tuple(torch.stack(part) for part in zip(*states, strict=True))
    return stacked if len(stacked) > 1 else stacked[0]
