"""torch.nn, and our layers in its place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import torch
import torch.ao.quantization
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import anyrnn.torch
from anyrnn.kernels.cpu.machine.team import trust_threads
from benchmarks.cases import (
    BFLOAT16,
    CELLS,
    INT8,
    LENGTHS,
    MASK,
    OPTIONS,
    OTHER_LENGTHS,
    PACKED,
    PLAIN,
    RESETS,
    STANDARD,
    Case,
    Data,
    Layout,
    named,
    unpack,
)
from benchmarks.peers import SGEMM_SIZE, Run

GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ""}
FAMILIES = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "d"}


def layer(case: Case, data: Data) -> Run:
    """A layer of torch.nn."""
    module = getattr(nn, case.cell.upper())(*case.shape[2:])
    called = partial(padded, module) if case.option in (LENGTHS, OTHER_LENGTHS) else module
    return _filled(module, case, data, _layout(case, "_l0"), called)


def padded(module: nn.RNNBase, x: Tensor, state: Any, lengths: Tensor) -> tuple[Tensor, Any]:
    """A call with lengths, as torch.nn has it."""
    first = module.batch_first
    packed, state = module(pack_padded_sequence(x, lengths, first, enforce_sorted=False), state)
    return pad_packed_sequence(packed, first, total_length=x.shape[int(first)])[0], state


def _with_next(called: Any, lengths: Iterator[Tensor], x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """A call with the next lengths."""
    return called(x, state, lengths=next(lengths))


def _low(module: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """A call with automatic mixed precision; the output is float32 as the input."""
    with torch.autocast("cpu", torch.bfloat16):
        output, state = module(x, state)
    return output.float(), state


def dynamic(case: Case, data: Data) -> Run:
    """A layer of torch.nn, quantised dynamically."""
    kind, layout = getattr(nn, case.cell.upper()), _layout(case, "_l0")
    model = nn.Sequential(kind(*case.shape[2:]))
    arrays = {name: torch.from_numpy(array) for name, array in data.pack(layout).items()}
    model[0].load_state_dict(arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to be in a package of its own one day
        quantised = torch.ao.quantization.quantize_dynamic(model.eval(), {kind}, torch.qint8)
    return run(quantised[0], {}, case, data, layout)


def ours(case: Case, data: Data) -> Run:
    """Our layer in its place, or of any other cell."""
    module, layout = _ours(case)
    if case.option == INT8:
        anyrnn.torch.prepare(module.eval(), weights="int8")
    return _filled(module, case, data, layout)


def prepared(case: Case, data: Data) -> Run:
    """Our layer, prepared for inference."""
    module, layout = _ours(case)
    return _filled(anyrnn.torch.prepare(module.eval()), case, data, layout)


def _ours(case: Case) -> tuple[nn.Module, Layout]:
    trust_threads()  # the process that forks this one has computed nothing
    if case.cell in STANDARD:
        options = OPTIONS[case.option or PLAIN]
        module = getattr(anyrnn.torch, case.cell.upper())(*case.shape[2:], **options)
        return module, _layout(case, "_l0")
    module = anyrnn.torch.Recurrent(CELLS[case.cell], *case.shape[2:])
    return module, {f"{n}_l0": of for n, of in case.layout.items()}


def ours_plain(case: Case, data: Data) -> Run:
    """Our layer without the option."""
    plain = replace(case, option=PLAIN)
    return ours(plain, plain.data())


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


def products_and_copy(case: Case, data: Data) -> Run:
    """What a cell without a matrix on the state cannot do without, in PyTorch's operators.

    The product of the input with all matrices, and a copy of as many numbers as the output has; in
    training the gradients of both factors too, and a second copy.
    """
    x, output = (torch.from_numpy(v).flatten(0, 1) for v in (data.x, data.output_gradient))
    trains = case.mode == "training"
    columns = case.operations // (2 * x.numel() * (3 if trains else 1))
    weights = torch.rand(x.shape[1], columns)
    gates, copied = x.new_empty(len(x), columns), torch.empty_like(output)
    x_gradient, weights_gradient = torch.empty_like(x), torch.empty_like(weights)

    def run(_: object) -> tuple[Tensor, None]:
        torch.mm(x, weights, out=gates)
        copied.copy_(output)
        if trains:
            copied.copy_(output)
            torch.mm(gates, weights.T, out=x_gradient)
            torch.mm(x.T, gates, out=weights_gradient)
        return copied, None

    return Run(run, lambda raw: {})


def _layout(case: Case, suffix: str) -> Layout:
    """Every gate has two biases; the second one is used where the equations have it."""
    layout = {name + suffix: named(of, GATES[case.cell]) for name, of in FAMILIES.items()}
    added = {name: of for name, of in case.layout.items() if name not in FAMILIES.values()}
    return layout | {name + suffix: of for name, of in added.items()}


def _filled(module: nn.Module, case: Case, data: Data, layout: Layout, layer: Any = None) -> Run:
    arrays = {name: torch.from_numpy(array) for name, array in data.pack(layout).items()}
    module.load_state_dict(arrays)
    given = {}
    if case.option == LENGTHS:
        given = {"lengths": torch.from_numpy(data.lengths)}
    if case.option in (MASK, RESETS):
        given = {case.option: torch.from_numpy(data.marks)}
    called = partial(layer or module, **given) if given else layer or module
    if case.option == OTHER_LENGTHS:
        called = partial(_with_next, called, cycle(map(torch.from_numpy, data.other_lengths(500))))
    called = partial(_low, called) if case.option == BFLOAT16 else called
    return run(called, dict(module.named_parameters()), case, data, layout)


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
    layer, padded = module, lambda rows: rows
    if case.option == PACKED:
        lengths = torch.from_numpy(data.lengths)
        like = pack_padded_sequence(x, lengths, enforce_sorted=False)
        x = like.data
        output_gradient = pack_padded_sequence(output_gradient, lengths, enforce_sorted=False).data

        def layer(x: Tensor, states: Any) -> tuple[Tensor, Any]:
            return module(like._replace(data=x), states)[0].data, None

        def padded(rows: Tensor) -> Tensor:
            return pad_packed_sequence(like._replace(data=rows))[0]

    def infer(states: Any) -> tuple[Tensor, Any]:
        with torch.inference_mode():
            return layer(x, states)

    def train(states: Any) -> tuple[Tensor, Any]:
        for leaf in (x, *parameters.values()):
            leaf.grad = None
        output = layer(x, None)[0]
        output.backward(output_gradient)
        return output.detach(), None

    def read(output: Tensor) -> dict[str, Any]:
        gradients = {name: tensor.grad for name, tensor in parameters.items()}
        assert x.grad is not None
        results = {"output": padded(output), "x": padded(x.grad)}
        return results | unpack(layout, gradients, columns)

    if case.mode == "inference":
        return Run(infer, lambda output: {"output": padded(output)})
    x.requires_grad_()
    return Run(train, read)
