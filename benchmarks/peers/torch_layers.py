"""torch.nn, and our layers in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import anyrnn.torch
from anyrnn.kernels.cpu.team import trust_threads
from benchmarks.cases import CELLS, STANDARD, Case, Data, Layout, named, unpack
from benchmarks.peers import SGEMM_SIZE, Run

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ""}
FAMILIES = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "d"}


def layer(case: Case, data: Data) -> Run:
    """A layer of torch.nn."""
    module = getattr(nn, case.cell.upper())(*case.shape[2:])
    return _filled(module, case, data, _layout(case, "_l0"))


def ours(case: Case, data: Data) -> Run:
    """Our layer in its place, or of any other cell."""
    trust_threads()  # the process that forks this one has computed nothing
    if case.cell in STANDARD:
        module = getattr(anyrnn.torch, case.cell.upper())(*case.shape[2:])
        return _filled(module, case, data, _layout(case, "_l0"))
    module = anyrnn.torch.Recurrent(CELLS[case.cell], *case.shape[2:])
    return _filled(module, case, data, {f"{n}_l0": of for n, of in case.layout.items()})


class Step(nn.Module):
    """A sequence of one step, by a module for single steps."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """As a layer of torch.nn."""
        state = self.cell(x[0], state)
        return (state[0] if isinstance(state, tuple) else state)[None], state


def step(case: Case, data: Data) -> Run:
    """A module of torch.nn for single steps."""
    module = Step(getattr(nn, f"{case.cell.upper()}Cell")(*case.shape[2:]))
    layout = {f"cell.{name}": members for name, members in _layout(case, "").items()}
    return _filled(module, case, data, layout)


def sgemm(case: Case, data: Data) -> Run:
    """The product of two large matrices."""
    a, b = torch.rand(2, SGEMM_SIZE, SGEMM_SIZE)
    result = torch.empty_like(a)
    return Run(lambda _: (torch.mm(a, b, out=result), None), lambda raw: {})


def _layout(case: Case, suffix: str) -> Layout:
    """Every gate has two biases; the second one is used where the equations have it."""
    return {name + suffix: named(of, GATES[case.cell]) for name, of in FAMILIES.items()}


def _filled(module: nn.Module, case: Case, data: Data, layout: Layout) -> Run:
    arrays = {name: torch.from_numpy(array) for name, array in data.pack(layout).items()}
    module.load_state_dict(arrays)
    return run(module, dict(module.named_parameters()), case, data, layout)


def run(
    module: Any,
    parameters: Mapping[str, Tensor],
    case: Case,
    data: Data,
    layout: Layout,
    columns: bool = False,
) -> Run:
    """The run of whatever is called as a layer of torch.nn: `output, states = module(x, states)`.

    Args:
        module: It.
        parameters: Its parameters by name.
        case: What is run.
        data: Its numbers.
        layout: The members of each parameter.
        columns: As in `Data.pack`.
    """
    x, output_gradient = torch.from_numpy(data.x), torch.from_numpy(data.output_gradient)

    def infer(states: Any) -> tuple[Tensor, Any]:
        with torch.inference_mode():
            return module(x, states)

    def train(states: Any) -> tuple[Tensor, Any]:
        for leaf in (x, *parameters.values()):
            leaf.grad = None
        output = module(x, None)[0]
        output.backward(output_gradient)
        return output.detach(), None

    def read(output: Tensor) -> dict[str, Any]:
        gradients = {name: tensor.grad for name, tensor in parameters.items()}
        return {"output": output, "x": x.grad, **unpack(layout, gradients, columns)}

    if case.mode == "inference":
        return Run(infer, lambda output: {"output": output})
    x.requires_grad_()
    return Run(train, read)
