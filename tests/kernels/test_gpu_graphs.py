"""Graphs of launches, with a stand-in for CUDA's that records what is launched with addresses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from anyrnn.kernels.gpu import compile, form, graphs
from anyrnn.kernels.gpu.graphs import LaunchGraphs
from anyrnn.kernels.gpu.target import GPU
from anyrnn.kernels.target import registered
from anyrnn.torch import Recurrent, compiled_path
from anyrnn.torch.compiled_path import TENSORS
from anyrnn.torch.execute import forced

pytest.importorskip("triton")


class Place(NamedTuple):
    """A tensor as a launch knows it: where its memory is."""

    address: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """What is there now."""
        size = self.dtype.itemsize
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        memory = (ctypes.c_char * ((last + 1) * size)).from_address(self.address)
        return torch.frombuffer(memory, dtype=self.dtype).as_strided(self.shape, self.stride)


class Graph:
    """The stand-in for torch.cuda.CUDAGraph.

    Attributes:
        current: The graph that records, if one does.
        made: All of them.
    """

    current: Graph | None = None
    made: list[Graph]

    def __init__(self) -> None:
        self.nodes: list[Callable[[], None]] = []
        self.replays = 0
        Graph.made.append(self)

    def capture_begin(self, capture_error_mode: str) -> None:
        assert Graph.current is None
        Graph.current = self

    def capture_end(self) -> None:
        Graph.current = None

    def replay(self) -> None:
        self.replays += 1
        for node in self.nodes:
            node()


class Recording:
    """A kernel of Triton's interpreter that a graph may record."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def launch(*given: Any, **options: Any) -> None:
            if Graph.current is None:
                self.kernel[grid](*given, **options)
                return
            known = [
                Place(part.data_ptr(), part.dtype, tuple(part.shape), part.stride())
                if isinstance(part, Tensor)
                else part
                for part in given
            ]

            def node() -> None:
                arrays = (part.tensor() if isinstance(part, Place) else part for part in known)
                self.kernel[grid](*arrays, **options)

            Graph.current.nodes.append(node)

        return launch


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Graph]]:
    """Graphs are asked for, and loops have a launch for each step."""
    Graph.made = []
    functions = compile.functions
    monkeypatch.setattr(
        compile,
        "functions",
        lambda *given: {name: Recording(made) for name, made in functions(*given).items()},
    )
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: device)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(graphs, "GRAPHS", LaunchGraphs())
    monkeypatch.setenv(graphs.VARIABLE, "1")
    monkeypatch.setattr(form, "KEPT", 0)
    monkeypatch.setattr(form, "CACHED", 0)
    return Graph


def test_what_is_replayed_has_the_same_bits(
    recorded: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer = Recurrent("lstm_peephole", 3, 5, recurrent_dropout=0.3)
    x, lengths = torch.randn(4, 3, 3, requires_grad=True), torch.tensor([2, 4, 0])
    # addresses are taken to be the same: the second call records, and replays what it recorded
    monkeypatch.setattr(compiled_path, "TENSORS", replace(TENSORS, address=lambda tensor: 0))
    monkeypatch.setattr("anyrnn.torch.execute.TENSORS", compiled_path.TENSORS)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        with registered(GPU("cpu")), forced("compiled"):
            output, (h, _) = layer(x, lengths=lengths)
            total = output.square().sum() + h.sum()
            found.append([output, h, *torch.autograd.grad(total, [x, *layer.parameters()])])
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert [graph.replays for graph in recorded.made] == [1, 1]
    assert all(len(graph.nodes) >= 4 for graph in recorded.made)


def test_one_graph_for_the_same_addresses(
    recorded: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for all calls with the same; another one where one of them, or a number, is another."""
    launched: list[int] = []
    kept = LaunchGraphs()

    def call(*key: int) -> None:
        kept.launch(key, lambda: launched.append(len(recorded.made)), None, torch.empty(0), device)

    assert TENSORS.on_device is not None
    device = TENSORS.on_device
    for _ in range(5):
        call(1, 2)
    assert launched == [0, 1]  # once to compile, once to record
    assert [graph.replays for graph in recorded.made] == [4]
    call(1, 3)
    call(1, 2)
    assert [graph.replays for graph in recorded.made] == [5]
    call(1, 3)
    assert [graph.replays for graph in recorded.made] == [5, 1]
    device = replace(device, queue=lambda like: None)  # somebody else records
    call(1, 2)
    assert launched == [0, 1, 1, 2, 2]
    assert [graph.replays for graph in recorded.made] == [5, 1]


def test_graphs_that_are_not_used_are_dropped(
    recorded: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = LaunchGraphs()
    assert TENSORS.on_device is not None
    for key in (*range(graphs.KEPT + 1), 0):
        for _ in range(2):
            kept.launch(key, lambda: None, None, torch.empty(0), TENSORS.on_device)
    assert len(recorded.made) == graphs.KEPT + 2


def test_a_launch_that_fails_leaves_nothing_behind(recorded: type[Graph]) -> None:
    kept = LaunchGraphs()
    assert TENSORS.on_device is not None

    def fails() -> None:
        if recorded.current is not None:
            raise RuntimeError("no memory")

    kept.launch(1, fails, None, torch.empty(0), TENSORS.on_device)
    with pytest.raises(RuntimeError, match="no memory"):
        kept.launch(1, fails, None, torch.empty(0), TENSORS.on_device)
    assert recorded.current is None
    kept.launch(1, lambda: None, None, torch.empty(0), TENSORS.on_device)  # the usual way again


def test_graphs_have_to_be_asked_for(
    recorded: type[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = Recurrent("gru", 3, 5), torch.randn(2, 1, 3)
    for value in ("0", ""):
        monkeypatch.setenv(graphs.VARIABLE, value)
        assert not graphs.wanted()
    with torch.no_grad(), registered(GPU("cpu")), forced("compiled"):
        for _ in range(3):
            layer(x)
    assert not recorded.made
