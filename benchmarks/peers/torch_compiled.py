"""A cell of one's own in torch, through torch.compile."""

from __future__ import annotations

import torch
import torch._inductor.compile_fx  # with the library, not with the first row
from torch._inductor.cpu_vec_isa import pick_vec_isa

from benchmarks.cases import Case, Data
from benchmarks.peers import Run
from benchmarks.peers.torch_loop import Loop, run_loop

pick_vec_isa()  # likewise: it compiles and runs a test


def step(case: Case, data: Data) -> Run:
    """The step is compiled, the loop around it is Python's."""
    made = Loop(case, data)
    made.step = torch.compile(made.step, dynamic=False, fullgraph=True)
    return run_loop(made, made, case, data)


def loop(case: Case, data: Data) -> Run:
    """The whole loop is compiled; it is unrolled."""
    made = Loop(case, data)
    layer = torch.compile(made.__call__, dynamic=False, fullgraph=True)
    run = run_loop(made, layer, case, data)
    _, states = run.call(None)
    run.call(states)  # the first step of a stream has no states, the others have
    return run
