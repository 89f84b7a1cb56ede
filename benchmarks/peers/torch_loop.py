"""A cell of one's own in torch: a loop over the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, Data
from benchmarks.equations import EQUATIONS, States
from benchmarks.peers import Run
from benchmarks.peers.torch_layers import run


class Torch:
    """What the equations need."""

    sigmoid, tanh, product = torch.sigmoid, torch.tanh, torch.addmm

    @staticmethod
    def split(v: Tensor, count: int) -> tuple[Tensor, ...]:
        """Equal parts of the last axis."""
        return v.chunk(count, -1)


class Loop:
    """A layer: one product for the whole input, then step after step."""

    def __init__(self, case: Case, data: Data) -> None:
        self.step, self.layout = EQUATIONS[case.cell]
        self.count, self.hidden = case.states, case.shape[3]
        arrays = data.pack(self.layout, columns=True)
        self.weights = {n: torch.from_numpy(v).requires_grad_() for n, v in arrays.items()}

    def __call__(self, x: Tensor, states: States | None) -> tuple[Tensor, States]:
        """As a layer of torch.nn."""
        weights = self.weights
        a = torch.addmm(weights["b"], x.flatten(0, 1), weights["W"]).view(*x.shape[:2], -1)
        if states is None:
            states = tuple(x.new_zeros(x.shape[1], self.hidden) for _ in range(self.count))
        outputs = []
        for a_t, x_t in zip(a.unbind(0), x.unbind(0), strict=True):
            states = self.step(Torch, a_t, x_t, states, weights)
            outputs.append(states[0])
        return torch.stack(outputs), states


def run_loop(loop: Loop, layer: Any, case: Case, data: Data) -> Run:
    """The run of a loop, or of what torch.compile has made of it."""
    return run(layer, loop.weights, case, data, loop.layout, columns=True)


def eager(case: Case, data: Data) -> Run:
    """Operation after operation."""
    loop = Loop(case, data)
    return run_loop(loop, loop, case, data)
