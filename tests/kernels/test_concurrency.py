"""Calls from several Python threads at once give the same bits as one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.program import single_step
from anyrnn.kernels.cpu.program.loop_kernel import compiled_loop
from anyrnn.torch import LSTM, LSTMCell, Recurrent
from checks import make_case

Run = Callable[[int], list[np.ndarray]]
SIZES = {"input": 5, "hidden": 19}


def numpy_training() -> Run:
    case = make_case(anyrnn.get("lstm_peephole"), 0, time=7, batch=9, sizes=SIZES)
    made = anyrnn.compile(case.cell, case.sizes, dtype=float, threads=2)

    def run(number: int) -> list[np.ndarray]:
        x = case.x * number
        result = made.forward(x, case.states, parameters=case.parameters, save=True)
        gradients = result.backward(case.output_gradient, case.state_gradients)
        return [result.output, gradients.x, *gradients.parameters.values()]

    return run


def numpy_inference() -> Run:
    case = make_case(anyrnn.get("gru"), 1, time=7, batch=3, sizes=SIZES)
    made = anyrnn.compile(case.cell, case.sizes, dtype=float, threads=2)
    # runs of several lengths share what follows from sizes
    return lambda number: [made.forward(case.x[:number], parameters=case.parameters).output]


def single_steps() -> Run:
    layer, x = LSTM(5, 19), torch.randn(6, 3, 5)

    def run(number: int) -> list[np.ndarray]:
        state, found = None, []
        with torch.no_grad():
            for step in range(6):
                output, state = layer(number * x[step : step + 1], state)
                found.append(output.numpy())
        return found

    return run


def cell_steps() -> Run:
    cell, x, state = LSTMCell(5, 19), torch.randn(3, 5), (torch.randn(3, 19), torch.randn(3, 19))

    def run(number: int) -> list[np.ndarray]:
        with torch.inference_mode():
            return [part.numpy() for part in cell(number * x, state)]

    return run


def torch_training() -> Run:
    layer = Recurrent("gru_reset_before", 5, 19, bidirectional=True, num_layers=2)
    x = torch.randn(7, 9, 5)

    def run(number: int) -> list[np.ndarray]:
        own = (number * x).requires_grad_()
        output, _ = layer(own, lengths=[7, 7, 6, 5, 4, 4, 3, 2, 1])
        gradients = torch.autograd.grad(output.square().sum(), [own, *layer.parameters()])
        return [part.detach().numpy() for part in (output, *gradients)]

    return run


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(policy, "PARALLEL", 0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "make", [numpy_training, numpy_inference, single_steps, cell_steps, torch_training]
)
def test_eight_threads(make: Callable[[], Run]) -> None:
    torch.manual_seed(0)
    for cached in (compiled_loop, single_step.single_step):  # all compile at once too
        cached.cache_clear()
    call = make()
    start = threading.Barrier(8)
    found: list[tuple[int, list[np.ndarray]]] = []

    def work(thread: int) -> None:
        start.wait()
        for place in range(12):
            number = 1 + (thread + place) % 4
            found.append((number, call(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {number: call(number) for number in range(1, 5)}
    assert len(found) == 96
    for number, arrays in found:
        for ours, theirs in zip(arrays, wanted[number], strict=True):
            np.testing.assert_array_equal(ours, theirs)
