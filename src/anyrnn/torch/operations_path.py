"""Run a cell over sequences in PyTorch operations."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anyrnn.graph.cell import Cell
from anyrnn.graph.interpret import DRAW, drawing, evaluate
from anyrnn.graph.nodes import Node
from anyrnn.graph.parameters import split_parameters
from anyrnn.kernels.evaluator import Evaluator, Values
from anyrnn.kernels.run import Arrays, DeviceSteps, Run
from anyrnn.schedule.build import place_operations
from anyrnn.schedule.neighbours import products_together
from anyrnn.torch.tensors import Results, beside, check_parameters, number
from anyrnn.torch.torch_ops import TORCH, uniform


def execute(run: Run, arrays: Arrays) -> Results:
    """Run a cell over sequences of falling lengths; as `anyrnn.torch.compiled_path.execute`, with
    PyTorch's own derivative, to any order.

    Raises:
        ArrayError: A parameter is not as the cell has it.
    """
    if isinstance(run.steps, DeviceSteps):
        return _counted(run, arrays)
    rows, states, seed = arrays.rows, arrays.states, arrays.seed
    if seed is not None and rows.is_cuda:  # numbers are drawn there, not copied at each step
        seed = beside(seed, rows.device)
    check_parameters(run, arrays.parameters, rows)
    cell, sizes, batch_sizes = run.cell, dict(run.sizes), run.steps.batch_sizes
    placement = place_operations(cell)
    once, before, loop = _groups(cell)
    evaluator = Evaluator(cell, arrays.parameters, sizes, TORCH)
    graph = placement.graph
    given = {**split_parameters(cell, arrays.parameters, sizes), cell.input: rows}
    leaves = [n for n in graph.nodes() if n.is_leaf and n.operation != "state"]
    values: Values = evaluate(
        leaves, given, sizes, None, TORCH, lambda value, _: number(value, rows)
    )
    state_leaves = {leaf: cell.states.index(leaf.name) for leaf in graph.leaves("state")}
    evaluator.run(once, values)
    evaluator.run(before, values, len(rows))
    output = graph.outputs[cell.output]
    hoisted = {output}.intersection([*graph.leaves("input"), *placement.before])
    hoisted.update(placement.loop_inputs)
    loop_inputs = {node: values[node].split(list(batch_sizes)) for node in hoisted}

    def numbers(*given: Any) -> Tensor:
        return uniform(*given).to(rows)

    current = list(states)
    ended: list[list[Tensor]] = [[] for _ in states]  # rows of sequences over, or not begun
    if run.reverse:
        ended = [[state] for state in states]
        current = [state[:0] for state in states]
    outputs: list[Tensor] = [rows] * len(batch_sizes)
    order = range(len(batch_sizes))
    for time in reversed(order) if run.reverse else order:
        current = _resize(current, ended, batch_sizes[time], run.reverse)
        values.update({node: parts[time] for node, parts in loop_inputs.items()})
        values.update({leaf: current[place] for leaf, place in state_leaves.items()})
        if seed is not None:
            values[DRAW] = drawing(seed, time, batch_sizes[time], sizes, numbers)
        evaluator.run(loop, values, batch_sizes[time])
        outputs[time] = values[output]
        current = [values[graph.outputs[name]] for name in cell.states]
    last = tuple(
        torch.cat([state, *reversed(parts)]) if parts and not run.reverse else state
        for state, parts in zip(current, ended, strict=True)
    )
    return torch.cat(outputs), last


def _counted(run: Run, arrays: Arrays) -> Results:
    """Run over sequences whose lengths are on a device, which are copied from it."""
    steps, rows, states = run.steps, arrays.rows, arrays.states
    sizes = [size for size in steps.offsets.diff().tolist() if size]
    count, batch = sum(sizes), max(sizes, default=0)
    if not count:
        return rows.new_zeros(run.output_shape(len(rows))), tuple(map(Tensor.clone, states))
    known = run.over(sizes, run.dtype, run.threads)
    begun = [state[:batch] for state in states]
    output, last = execute(known, arrays._replace(rows=rows[:count], states=begun))
    output = functional.pad(output, (0, 0, 0, len(rows) - count))
    both = zip(last, states, strict=True)
    return output, tuple(torch.cat([part, state[batch:]]) for part, state in both)


@lru_cache(maxsize=256)
def _groups(cell: Cell) -> list[list[tuple[Node, ...]]]:
    """What is computed together: once, before the loop and in it."""
    placement = place_operations(cell)
    phases = placement.once, placement.before, placement.loop
    return [products_together(cell, nodes) for nodes in phases]


def _resize(
    states: list[Tensor], ended: list[list[Tensor]], size: int, reverse: bool
) -> list[Tensor]:
    """The states of the rows of a step: rows that end are put aside, rows that begin are added."""
    if len(states[0]) == size:
        return states
    if reverse:
        return [
            torch.cat([state, initial[len(state) : size]]) if len(state) else initial[:size]
            for state, (initial,) in zip(states, ended, strict=True)
        ]
    for state, parts in zip(states, ended, strict=True):
        parts.append(state[size:])
    return [state[:size] for state in states]
