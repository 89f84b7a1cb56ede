"""Ctrl-C in the middle of runs and of compiling: KeyboardInterrupt, and right results after it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another matter on Windows")

NUMPY = """
import numpy as np
import anyrnn
from anyrnn.kernels.cpu import policy

policy.PARALLEL = 0
random = np.random.default_rng(0)
made = anyrnn.compile("lstm", {"input": 5, "hidden": 37}, threads=2)
weights = {
    stored.name: random.normal(size=stored.shape_for(made.sizes)).astype(np.float32) / 8
    for stored in made.cell.parameters
}
x = random.normal(size=(9, 3, 5)).astype(np.float32)

def work():
    result = made.forward(x, parameters=weights, save=True)
    return [result.output, result.backward(result.output).x]
"""

TORCH = """
import torch
from anyrnn.kernels.cpu import policy
from anyrnn.torch import LSTM

policy.PARALLEL = 0
torch.set_num_threads(2)
torch.manual_seed(0)
layer, x = LSTM(5, 37), torch.randn(9, 3, 5, requires_grad=True)

def work():
    with torch.no_grad():
        step, state = layer(x[:1])
        step, state = layer(x[1:2], state)
    with torch.enable_grad():  # no_grad itself may have been interrupted before it ended
        output = layer(x)[0]
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
    return [part.detach().numpy() for part in (step, output, gradient)]
"""

COMPILE = """
import numpy as np
import anyrnn
from anyrnn.kernels.cpu.program import loop_kernel, program
from anyrnn.schedule.build import schedule

weights = {"W": np.eye(2), "U": np.eye(2), "b": np.zeros(2)}

def work():
    loop_kernel.compiled_loop.cache_clear()
    made = anyrnn.compile("rnn", {"input": 2, "hidden": 2}, dtype=float)
    return [made.forward(np.ones((3, 2, 2)), parameters=weights).output]
"""

LOOP = """
import signal, threading, time

signal.signal(signal.SIGINT, signal.default_int_handler)
expected = work()
found = []

def check():
    found.append(all(map(np.array_equal, work(), expected)))

while len(found) < 2 * {times}:
    try:
        print("at work", flush=True)
        end = time.monotonic() + 1
        while time.monotonic() < end:  # what interrupts a destructor is lost, as always in Python
            work()
    except KeyboardInterrupt:
        pass
    check()
    other = threading.Thread(target=check)  # it would wait for a lock that was left locked
    other.start()
    other.join(60)
print(f"{{sum(found)}} right", flush=True)
while True:
    work()
"""
TIMES = 10


@pytest.mark.parametrize("code", [NUMPY, TORCH, COMPILE], ids=["numpy", "torch", "compile"])
def test_interrupted(code: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import numpy as np\n" + code + LOOP.format(times=TIMES)],
        env={**os.environ, "ANYRNN_CACHE": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    chance, limit = random.Random(0), threading.Timer(120, process.kill)
    limit.start()
    try:
        for line in process.stdout or ():
            if line != "at work\n":
                break
            time.sleep(chance.uniform(0.005, 0.05))
            process.send_signal(signal.SIGINT)
        else:
            line = "no end"
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, error = process.communicate()
    finally:
        limit.cancel()
    assert line == f"{2 * TIMES} right\n", error
    assert process.returncode == -signal.SIGINT
    assert error.splitlines()[-1] == "KeyboardInterrupt"
