"""A cell of one's own in torch: a loop over the steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.cases import DROPOUT, OPTIONS, ZONEOUT, Case, Data
from benchmarks.equations import States, advance, equations, inputs
from benchmarks.peers import Run
from benchmarks.peers.torch_layers import run


class Torch:
    """What the equations need."""

    sigmoid, tanh, product, where = torch.sigmoid, torch.tanh, torch.addmm, torch.where

    @staticmethod
    def split(v: Tensor, count: int) -> tuple[Tensor, ...]:
        """Equal parts of the last axis."""
        return v.chunk(count, -1)

    @staticmethod
    def layer_norm(v: Tensor) -> Tensor:
        """Over the last axis."""
        return functional.layer_norm(v, v.shape[-1:])


class Loop:
    """A layer: one product for the whole input, then step after step."""

    def __init__(self, case: Case, data: Data) -> None:
        self.step: Callable[..., tuple[States, Any]] = partial(advance, case, Torch)
        _, self.layout = equations(case)
        self.option, self.count, self.hidden = case.option, case.states, case.shape[3]
        self.marks = None if data.marks is None else torch.from_numpy(data.marks[..., None])
        arrays = data.pack(self.layout, columns=True)
        self.weights = {n: torch.from_numpy(v).requires_grad_() for n, v in arrays.items()}

    def __call__(self, x: Tensor, states: States | None) -> tuple[Tensor, States]:
        """As a layer of torch.nn."""
        weights, marks = self.weights, self.marks
        time, batch, _ = x.shape
        a = inputs(Torch, x.flatten(0, 1), weights).view(time, batch, -1)
        if states is None:
            states = tuple(x.new_zeros(batch, self.hidden) for _ in range(self.count))
        if self.option == DROPOUT:
            ones = x.new_ones(batch, self.hidden)
            kept = functional.dropout(ones, OPTIONS[DROPOUT]["recurrent_dropout"])
            weights = {**weights, "kept": kept}
        if self.option == ZONEOUT:
            every = torch.empty(time, self.count, batch, self.hidden, dtype=torch.bool)
            marks = every.bernoulli_(OPTIONS[ZONEOUT]["zoneout"])
        outputs = []
        each = [None] * time if marks is None else marks.unbind(0)
        for a_t, x_t, mark in zip(a.unbind(0), x.unbind(0), each, strict=True):
            states, output = self.step(a_t, x_t, states, weights, mark)
            outputs.append(output)
        return torch.stack(outputs), states


def run_loop(loop: Loop, layer: Any, case: Case, data: Data) -> Run:
    """The run of a loop, or of what torch.compile has made of it."""
    return run(layer, loop.weights, case, data, loop.layout, columns=True)


def eager(case: Case, data: Data) -> Run:
    """Operation after operation."""
    loop = Loop(case, data)
    return run_loop(loop, loop, case, data)
