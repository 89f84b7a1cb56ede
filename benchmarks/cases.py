"""What is measured: cells, shapes, modes; their weights, their inputs and the right results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

import anyrnn
from anyrnn import sigmoid, tanh

Arrays = dict[str, np.ndarray]
Layout = Mapping[str, Sequence[str]]  # the members that each array of a library is made of


@anyrnn.cell
def fast_slow(x, h, c, *, W, U, p, b):
    """A cell that no library has, invented for this comparison: a slow state c, a fast one h."""
    s = sigmoid(W.s @ x + U.s @ h + p.s * c + b.s)
    z = sigmoid(W.z @ x + U.z @ h + b.z)
    n = tanh(W.n @ x + U.n @ h + b.n)
    c = s * c + (1 - s) * n
    h = z * h + (1 - z) * tanh(n + p.n * c)
    return h, c


STANDARD = ("lstm", "gru", "rnn")
CUSTOM = ("gru_reset_before", "lstm_peephole", "lstm_coupled", "fast_slow")
LINEAR = ("mingru", "minlstm", "sru", "qrnn")
CELLS = {
    name: fast_slow if name == "fast_slow" else anyrnn.get(name)
    for name in (*STANDARD, *CUSTOM, *LINEAR)
}
SHAPES = (  # batch, time, input, hidden
    (1, 1, 128, 128),
    (1, 100, 128, 128),
    (1, 100, 512, 512),
    (8, 200, 256, 256),
    (32, 100, 128, 128),
    (32, 100, 512, 512),
    (64, 50, 256, 256),
    (128, 28, 28, 128),
    (256, 100, 64, 64),
    (16, 500, 256, 256),
    (20, 35, 650, 650),
    (33, 101, 97, 203),
)
LINEAR_SHAPES = ((1, 100, 512, 512), (32, 100, 256, 256), (256, 100, 64, 64))
MODES = ("inference", "training")


def named(family: str, gates: str) -> list[str]:
    """The members of a family in the order of its gates; a family without gates is its member."""
    return [f"{family}.{gate}" for gate in gates] or [family]


def unpack(layout: Layout, arrays: Mapping[str, Any], columns: bool = False) -> Arrays:
    """The members that `Data.pack` has joined, or their gradients."""
    found = {}
    for name, members in layout.items():
        parts = np.split(np.asarray(arrays[name]), len(members), axis=-1 if columns else 0)
        found |= {m: part.T if columns else part for m, part in zip(members, parts, strict=True)}
    return found


@dataclass(frozen=True)
class Data:
    """The numbers of a case, in float32.

    Attributes:
        x: The input, (time, batch, input).
        output_gradient: The gradient with respect to the output, (time, batch, hidden).
        members: The parameters by their names in the equations (`W.i`, `b.f`).
    """

    x: np.ndarray
    output_gradient: np.ndarray
    members: Arrays

    def pack(self, layout: Layout, columns: bool = False) -> Arrays:
        """The arrays of a library: members one below the other, or transposed and side by side.

        A member that the cell does not have is a bias of zeros.
        """
        zeros = np.zeros(self.output_gradient.shape[-1], np.float32)
        found = {}
        for name, members in layout.items():
            parts = [self.members.get(member, zeros) for member in members]
            parts = [part.T for part in parts] if columns else parts
            found[name] = np.ascontiguousarray(np.concatenate(parts, axis=-1 if columns else 0))
        return found


@dataclass(frozen=True)
class Case:
    """A row of the comparison.

    Attributes:
        cell: A name in `CELLS`.
        shape: batch, time, input, hidden.
        mode: `inference`, or `training`: the outputs, and the gradients of input and parameters.
    """

    cell: str
    shape: tuple[int, int, int, int]
    mode: str

    @property
    def is_stream(self) -> bool:
        """Whether it is the next step of a stream: each call goes on from the last one's states."""
        return self.shape[1] == 1 and self.mode == "inference"

    @property
    def states(self) -> int:
        """The number of states, counting the output where it is none."""
        cell = CELLS[self.cell]
        return len({cell.output, *cell.states})

    @property
    def layout(self) -> Layout:
        """Our own stored parameters."""
        return {stored.name: stored.members for stored in CELLS[self.cell].parameters}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        cell = CELLS[self.cell]
        sizes = cell.bind_sizes(input=self.shape[2], hidden=self.shape[3])
        return {stored.name: stored.shape_for(sizes) for stored in cell.parameters}

    @property
    def operations(self) -> int:
        """Additions and multiplications in matrix products."""
        entries = sum(prod(shape) for shape in self._shapes().values() if len(shape) == 2)
        return 2 * self.shape[0] * self.shape[1] * entries * (3 if self.mode == "training" else 1)

    def data(self) -> Data:
        """Random numbers, the same in every run."""
        batch, time, inputs, hidden = self.shape
        random = np.random.default_rng(0)
        x, gradient = (random.normal(size=(time, batch, size)) for size in (inputs, hidden))
        stored = {n: random.uniform(-1, 1, s) / hidden**0.5 for n, s in self._shapes().items()}
        members = {n: v.astype(np.float32) for n, v in unpack(self.layout, stored).items()}
        return Data(x.astype(np.float32), gradient.astype(np.float32), members)

    def reference(self, data: Data, calls: int) -> Arrays:
        """What the definition, the NumPy interpreter, gives.

        Args:
            data: The numbers.
            calls: How often the case has been called; a stream has then taken so many steps.

        Returns:
            `output`, and in training the gradients: of `x` and of each member.
        """
        cell, parameters = CELLS[self.cell], data.pack(self.layout)
        x = np.repeat(data.x, calls, axis=0) if self.is_stream else data.x
        output = anyrnn.interpret(cell, x, parameters=parameters).output[-len(data.x) :]
        if self.mode == "inference":
            return {"output": output}
        gradient = data.output_gradient
        found = anyrnn.gradients(cell, x, parameters=parameters, output_gradient=gradient)
        return {"output": output, "x": found.x, **unpack(self.layout, found.parameters)}
