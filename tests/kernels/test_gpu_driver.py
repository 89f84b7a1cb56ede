"""Kernels by Triton's own compiler, driver and launcher, without a GPU: the driver of CUDA that
these call has none, and prints what is launched. Nothing is computed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
GCC = shutil.which("gcc")
pytestmark = [pytest.mark.long, pytest.mark.skipif(GCC is None, reason="no compiler of C")]
SOURCE = Path(__file__).with_name("stub_cuda.c")
CHILD = """
import ctypes, sys
from types import SimpleNamespace

ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
import torch

torch.cuda.is_available = lambda: True
torch.cuda.current_device = lambda: 0
torch.cuda.get_device_capability = lambda device=None: (9, 0)
torch.cuda.current_stream = lambda device=None: SimpleNamespace(cuda_stream=64)

from anyrnn.kernels.gpu import compile, form
from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.target import registered
from anyrnn.torch import Recurrent
from anyrnn.torch.execute import forced

assert GPU("cuda").refusal(None, "float32") is None
assert compile.own_options() == compile.options("cuda")
form.KEPT = form.CACHED = 0
with registered(GPU("cpu")), forced("compiled"):
    for name, batch in (("mingru", 3), ("rnn_relu", 37)):
        layer, x = Recurrent(name, 5, 40), torch.randn(3, batch, 5)
        output, _ = layer(x)
        print("back", flush=True)
        output.sum().backward()
"""


def test_triton_launches_what_is_written(tmp_path: Path) -> None:
    library = tmp_path / "libcuda.so.1"
    options = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}"]
    subprocess.run([str(GCC), *options, "-o", str(library), str(SOURCE)], check=True)
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_LIBCUDA_PATH": str(tmp_path),
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", CHILD, str(library)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr[-2000:]
    threads, scan = "threads 256 stream 0x40 first", "3 2 1"
    step = f"2 2 1 {threads}"
    assert found.stdout.splitlines() == [
        f"mingru_forward {scan} {threads} 3",
        "back",
        f"mingru_backward {scan} {threads} 3",
        *(f"rnn_relu_forward_stage_1 {step} {number}" for number in range(3)),
        "back",
        *(
            f"rnn_relu_backward_stage_{stage} {step} {number}"
            for number in (2, 1, 0)
            for stage in (1, 2)
        ),
    ]
