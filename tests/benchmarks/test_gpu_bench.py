"""The benchmark of GPUs, with the CPU in the place of one, and Triton's interpreter."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.target import registered
from benchmarks import gpu

pytest.importorskip("triton")


class Event:
    """The stand-in for torch.cuda.Event."""

    def __init__(self, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: Event) -> float:
        return 1e3 * (other.at - self.at)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "WARM", 0)
    monkeypatch.setattr(gpu, "LEAST", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "compile", lambda **options: lambda function: function)


def run(monkeypatch: pytest.MonkeyPatch, output: Path, *given: str) -> dict[str, Any]:
    fixed = ["--shape", "2,2,3,3", "--seconds", "0", "--rounds", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["gpu", *fixed, *given])
    with registered(GPU("cpu")):
        assert gpu.main() == 0
    return json.loads(output.read_text())


@pytest.mark.usefixtures("there")
def test_each_peer_is_timed_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, before = tmp_path / "found.json", torch.get_float32_matmul_precision()
    found = run(monkeypatch, output, "--cell", "lstm", "--type", "float32")
    assert torch.get_float32_matmul_precision() == before
    plain, packed = found["rows"]
    all_of_them = {"ours", "our kernels", "cuDNN", "operations"}
    assert plain["packed"] < packed["packed"]
    for row in (plain, packed):
        further = {"torch.compile"} if row is plain else set[str]()
        for mode in gpu.TRAINED:
            assert {*row["milliseconds"][mode]} == all_of_them | further
        assert {*row["missing"]} == gpu.PEERS.keys() - all_of_them - further
    assert "TorchRL" in plain["missing"]
    said = capsys.readouterr().out
    assert "lstm (2, 2, 3, 3) float32: FlashRNN left out: FlashRNN's fused kernels are" in said
    shown = output.with_suffix(".md").read_text()
    assert shown in said
    assert shown.startswith("Milliseconds (medians) on a card, ")
    assert len(shown.splitlines()) == 4 + 2 * 2


@pytest.mark.usefixtures("there")
def test_a_peer_without_memory_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = gpu.time_of
    calls: list[Callable[[], Any]] = []

    def full(call: Callable[[], Any], seconds: float) -> list[float]:
        calls.append(call)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return timed(call, seconds)

    monkeypatch.setattr(gpu, "time_of", full)
    row = run(monkeypatch, tmp_path / "o.json", "--cell", "gru", "--type", "float32")["rows"][0]
    assert row["missing"]["our kernels"] == "OutOfMemoryError: CUDA out of memory"
    others = {"ours", "cuDNN", "operations", "torch.compile"}
    assert {*row["milliseconds"]["forward and backward"]} == others
