"""What many tests need: random arrays for a cell, and comparison element by element."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import anyrnn
from anyrnn import Cell, Gradients, SequenceResult
from anyrnn.errors import KernelError
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.run import Run
from anyrnn.torch.execute import execute, forced

PATHS = ("compiled", "operations")  # of any cell
SIZES = (1, 2, 3, 5, 7)


def poisoned(make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """What makes arrays full of NaN: in each type of ours that is what a number of ones is."""

    def made(*arguments: Any, **options: Any) -> np.ndarray:
        array = make(*arguments, **options)
        if array.dtype != object:
            array.reshape(-1).view(np.uint8).fill(255)
        return array

    return made


def _usable(name: str) -> bool:
    try:
        host(name)
    except KernelError:
        return False
    return True


# cells of the catalogue that only letters, a sign or an activation tell from another one
TWINS = ("rnn_relu", "lstm_coupled", "article1_gru", "article2_gru", "article4_rnn", "article4_gru")
# the kinds of CPU that this one can play
TARGETS = [name for name in ("avx512", "avx2", "sse2", "neon") if _usable(name)]


def optimised(names: Iterable[str], chosen: Collection[str]) -> list[Any]:
    """Values of a parameter, some of them with kernels as they are compiled for users."""
    mark = pytest.mark.optimised
    return [pytest.param(name, marks=mark) if name in chosen else name for name in names]


def spread(names: Collection[str], chosen: Collection[str] = ()) -> list[Any]:
    """Names with a type and a kind of CPU: each name meets both types, twins one of them, each kind
    meets all pairs of a type and a neighbour; the chosen names meet every pair, with kernels as for
    users.
    """
    every = [*product((np.float32, np.float64), TARGETS)]
    found = []
    for place, name in enumerate(names):
        pairs = [
            (dtype, TARGETS[(place + other) % len(TARGETS)])
            for other, dtype in enumerate((np.float32, np.float64))
        ]
        mark = [pytest.mark.optimised] if name in chosen else []
        pairs = every if name in chosen else pairs[: 1 if name in TWINS else 2]
        found += [pytest.param(name, *pair, marks=mark) for pair in pairs]
    return found


@dataclass(frozen=True)
class Case:
    """A cell with random sizes, inputs, states, parameters and gradients of its results."""

    cell: Cell
    sizes: dict[str, int]
    x: np.ndarray
    states: tuple[np.ndarray, ...]
    parameters: dict[str, np.ndarray]
    output_gradient: np.ndarray
    state_gradients: tuple[np.ndarray, ...]

    def as_type(self, dtype: Any) -> Case:
        return replace(
            self,
            x=self.x.astype(dtype),
            states=tuple(state.astype(dtype) for state in self.states),
            parameters={name: array.astype(dtype) for name, array in self.parameters.items()},
            output_gradient=self.output_gradient.astype(dtype),
            state_gradients=tuple(gradient.astype(dtype) for gradient in self.state_gradients),
        )

    def interpret(self) -> SequenceResult:
        return anyrnn.interpret(self.cell, self.x, self.states, parameters=self.parameters)

    def gradients(self) -> Gradients:
        return anyrnn.gradients(
            self.cell,
            self.x,
            self.states,
            parameters=self.parameters,
            output_gradient=self.output_gradient,
            state_gradients=self.state_gradients,
        )

    def loss(self) -> Any:
        """The number that `gradients` differentiates."""
        result = self.interpret()
        total = (result.output * self.output_gradient).sum()
        for state, gradient in zip(result.states, self.state_gradients, strict=True):
            total = total + (state * gradient).sum()
        return total

    def execute(self, path: str = "operations") -> tuple[SequenceResult, Gradients]:
        """Results on one of the paths of `anyrnn.torch`, and their gradients by autograd."""
        assert path in PATHS
        with forced(path):
            return self._execute()

    def _execute(self) -> tuple[SequenceResult, Gradients]:
        x, states, parameters = to_torch(self.x, self.states, self.parameters)
        for leaf in (x, *states, *parameters.values()):
            leaf.requires_grad_()
        time, batch, features = x.shape
        run = Run(self.cell, tuple(self.sizes.items()))
        flat = x.reshape(time * batch, features)
        rows, last = execute(run, flat, [batch] * time, states, parameters)
        output = rows.reshape(time, batch, -1)
        given = [torch.as_tensor(g) for g in (self.output_gradient, *self.state_gradients)]
        leaves = [x, *states, *parameters.values()]
        found = torch.autograd.grad(
            [output, *last], leaves, given, allow_unused=True, materialize_grads=True
        )
        arrays = [gradient.numpy() for gradient in found]
        count = 1 + len(states)
        return (
            SequenceResult(
                output.detach().numpy(), tuple(s.detach().numpy() for s in last), history=()
            ),
            Gradients(
                arrays[0],
                tuple(arrays[1:count]),
                dict(zip(parameters, arrays[count:], strict=True)),
            ),
        )


def to_torch(
    x: np.ndarray, states: tuple[np.ndarray, ...], parameters: Mapping[str, np.ndarray]
) -> tuple[torch.Tensor, list[torch.Tensor], dict[str, torch.Tensor]]:
    return (
        torch.tensor(x),
        [torch.tensor(state) for state in states],
        {name: torch.tensor(array) for name, array in parameters.items()},
    )


def make_case(
    cell: Cell,
    seed: int,
    time: int = 4,
    batch: int = 3,
    sizes: Mapping[str, int] | None = None,
    smallest: int = 1,
) -> Case:
    """Random arrays for a cell; sizes that are not given are drawn too."""
    random = np.random.default_rng(seed)
    drawn = {
        name: int(random.choice([size for size in SIZES if size >= smallest]))
        for name in cell.free_sizes
    }
    numbers = cell.bind_sizes(**(drawn | dict(sizes or {})))
    state_sizes = [size.evaluate(numbers) for size in cell.state_sizes]
    output_size = cell.output_size.evaluate(numbers)
    return Case(
        cell,
        numbers,
        random.normal(size=(time, batch, numbers["input"])),
        tuple(random.normal(size=(batch, size)) for size in state_sizes),
        {s.name: 0.7 * random.normal(size=s.shape_for(numbers)) for s in cell.parameters},
        random.normal(size=(time, batch, output_size)),
        tuple(random.normal(size=(batch, size)) for size in state_sizes),
    )


def close(found: Any, wanted: Any, tolerance: float, what: str = "") -> None:
    """Equal shapes and types, and each element within the tolerance times the larger of 1 and the
    largest element; NaN nowhere.
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape, f"{what}: shapes {found.shape} and {wanted.shape}"
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=tolerance * scale, equal_nan=False, err_msg=what
    )


def close_results(found: SequenceResult, wanted: SequenceResult, tolerance: float) -> None:
    close(found.output, wanted.output, tolerance, "output")
    assert len(found.states) == len(wanted.states)
    for place, (ours, theirs) in enumerate(zip(found.states, wanted.states, strict=True)):
        close(ours, theirs, tolerance, f"state {place}")


def close_gradients(found: Gradients, wanted: Gradients, tolerance: float) -> None:
    close(found.x, wanted.x, tolerance, "gradient of x")
    assert len(found.states) == len(wanted.states)
    for place, (ours, theirs) in enumerate(zip(found.states, wanted.states, strict=True)):
        close(ours, theirs, tolerance, f"gradient of state {place}")
    assert found.parameters.keys() == wanted.parameters.keys()
    for name, ours in found.parameters.items():
        close(ours, wanted.parameters[name], tolerance, f"gradient of {name}")


def one_line(error: BaseException) -> str:
    """The message of an error, which must be one line that says something."""
    message = str(error)
    assert "\n" not in message
    assert len(message) > 10
    return message
