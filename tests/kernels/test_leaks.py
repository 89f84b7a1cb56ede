"""Memory does not grow with the number of calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the size of a process is not known"
)

NUMPY = '''
import os

import numpy as np
import anyrnn
from anyrnn.kernels.cpu.machine import engine, processor

loop = """
define void @enter(ptr %0) {
  br label %next
next:
  %n = phi i64 [ 0, %1 ], [ %m, %next ]
  %place = getelementptr i64, ptr %0, i64 %n
  store i64 %n, ptr %place
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, 9
  br i1 %more, label %next, label %end
end:
  ret void
}
"""
made = anyrnn.compile("lstm", {"input": 3, "hidden": 5}, threads=1)
weights = {
    stored.name: np.full(stored.shape_for(made.sizes), 0.1, np.float32)
    for stored in made.cell.parameters
}
x = np.ones((4, 2, 3), np.float32)
large = np.ones((40, 200, 3), np.float32)  # the memory of its arrays is used again

def infer(number):
    made.forward(x, parameters=weights)

def train(number):
    result = made.forward(x, parameters=weights, save=True)
    result.backward(result.output)

def train_with_large_arrays(number):
    result = made.forward(large, parameters=weights, save=True)
    result.backward(result.output)

def optimise(number):
    os.environ["ANYRNN_OPTIMISE"] = "on"
    engine._optimize(loop, processor.host())
    del os.environ["ANYRNN_OPTIMISE"]

def infer_with_other_sizes(number):
    made.forward(large[: 1 + number % 7, : 1 + number % 199], parameters=weights)
'''
TORCH = """
import torch
import anyrnn
from anyrnn import tanh
from anyrnn.torch import LSTM, Recurrent

torch.set_num_threads(1)
layer, x = LSTM(3, 5), torch.ones(4, 2, 3)
state = torch.zeros(1, 2, 5), torch.zeros(1, 2, 5)

def infer(number):
    with torch.no_grad():
        layer(x)

def train(number):
    layer(x)[0].sum().backward()

def step(number):
    global state
    with torch.no_grad():
        _, state = layer(x[:1], state)

def compile(number):
    @anyrnn.cell
    def own(x, h, *, W, U, scale=number):
        return tanh(W @ x + U @ h) + scale * h

    Recurrent(own, 3, 5)(x)[0].sum().backward()
    for cached in caches:
        cached.cache_clear()

train(0)  # loads all modules
import gc, functools
caches = [
    found
    for found in gc.get_objects()
    if isinstance(found, functools._lru_cache_wrapper) and found.__module__.startswith("anyrnn")
]
"""
MEASURED = """
import gc, json, sys

def size():
    gc.collect()
    with open("/proc/self/statm") as file:
        return sys.getallocatedblocks(), int(file.read().split()[1]) * 4

grown = {{}}
for name, (first, calls) in {calls}.items():
    call = globals()[name]
    for number in range(first):
        call(number)
    sizes = [size()]
    for start in (first, first + calls):
        for number in range(start, start + calls):
            call(number)
        sizes.append(size())
    blocks = [after - before for (before, _), (after, _) in zip(sizes, sizes[1:])]
    # what is kept for each call is kept in both halves, what happens once is not
    grown[name] = min(blocks) / calls, sizes[-1][1] - sizes[0][1]
print(json.dumps(grown))
"""


CALLS = {  # how many before the first measurement, and from there to the second and to the third
    NUMPY: {
        "infer": (300, 250),
        "train": (300, 250),
        "train_with_large_arrays": (30, 50),
        "optimise": (10, 20),
        "infer_with_other_sizes": (1100, 350),
    },
    TORCH: {
        "infer": (300, 250),
        "train": (300, 250),
        "step": (300, 250),
        "compile": (100, 10),  # until LLVM takes no more memory
    },
}
OTHERS = ("infer_with_other_sizes", "compile")  # keep other objects in the place of what they drop


@pytest.mark.parametrize("before", CALLS, ids=["numpy", "torch"])
def test_memory_stays(before: str) -> None:
    """Neither an object of Python for each call, nor memory."""
    code = before + MEASURED.format(calls=CALLS[before])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ANYRNN_CACHE": "off"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)
    assert grown.keys() == CALLS[before].keys()
    assert all(blocks < 0.9 for name, (blocks, _) in grown.items() if name not in OTHERS), grown
    assert all(kibibytes < 700 for _, kibibytes in grown.values()), grown
