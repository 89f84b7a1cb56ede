"""What is measured: cells, shapes, modes; their weights, their inputs and the right results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

import anyrnn
from anyrnn import sigmoid, tanh
from anyrnn.graph.cell import Cell
from anyrnn.transforms import transform
from anyrnn.transforms.dropout import with_recurrent_dropout, with_zoneout

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
SMALL_SHAPES = ((1, 20, 64, 64), (4, 20, 32, 32), (16, 30, 32, 64), (8, 10, 16, 16))
LARGEST = 768  # sizes of random shapes
MOST_OPERATIONS = 14e9  # of an LSTM's inference, in random shapes: those of 32,100,512,512
LINEAR_SHAPES = ((1, 100, 512, 512), (32, 100, 256, 256), (256, 100, 64, 64))
MODES = ("inference", "training")

PLAIN, DROPOUT, ZONEOUT, NORM = "plain", "recurrent dropout", "zoneout", "layer norm"
LENGTHS, MASK, RESETS, PACKED = "lengths", "mask", "resets", "packed"
OTHER_LENGTHS = "other lengths"  # in each call
BFLOAT16, INT8 = "bfloat16", "int8"
SUBNORMAL = "subnormal"
OPTIONS: dict[str, dict[str, Any]] = {  # with the arguments of our layers
    PLAIN: {},
    DROPOUT: {"recurrent_dropout": 0.2},
    ZONEOUT: {"zoneout": 0.1},
    LENGTHS: {},
    OTHER_LENGTHS: {},
    MASK: {},
    RESETS: {},
    NORM: {"norm": "layer"},
    PACKED: {},
    BFLOAT16: {},  # under torch.autocast
    INT8: {},  # prepared with such weights
    SUBNORMAL: {},
}
RANDOM = (DROPOUT, ZONEOUT)
COUNTED = (LENGTHS, OTHER_LENGTHS, MASK, PACKED)  # where some steps do not count
HOLES, RESET = 0.5, 1 / 20  # the probabilities of both at a step
TINY = np.float32(1e-40)  # the smallest float32 of full precision is 1.2e-38
OPTION_SHAPES = ((32, 100, 128, 128), (64, 50, 256, 256))
PACKED_SHAPES = ((64, 400, 256, 256),)
BFLOAT16_SHAPES = ((32, 100, 512, 512), (64, 50, 256, 256), (16, 500, 256, 256))
INT8_SHAPES = (*BFLOAT16_SHAPES, (1, 100, 512, 512), (32, 100, 128, 128), (4, 20, 32, 32))
LINEAR_OPTION_SHAPES = ((32, 100, 256, 256),)


def random_shapes(count: int, seed: int) -> list[tuple[int, int, int, int]]:
    """Different shapes as people have them, from one row and step to large layers.

    The logarithm of each size is uniform; shapes with more than `MOST_OPERATIONS` are drawn again.

    Args:
        count: How many.
        seed: Other shapes for another one; the first shapes of more are the same.
    """
    random = np.random.default_rng(seed)
    most = np.array([256, 400, LARGEST, LARGEST])  # batch, time, input, hidden
    found: dict[tuple[int, int, int, int], None] = {}
    while len(found) < count:
        batch, time, inputs, hidden = map(int, np.exp(random.uniform(0, np.log(most + 1), 4)))
        if 8 * batch * time * hidden * (inputs + hidden) <= MOST_OPERATIONS and hidden >= 8:
            found[batch, time, inputs, hidden] = None
    return [*found]


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
        marks: Booleans, (time, batch): where the state is put back before a step, or which steps
            count; None where a case has neither.
    """

    x: np.ndarray
    output_gradient: np.ndarray
    members: Arrays
    marks: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """The number of steps that count in each sequence."""
        assert self.marks is not None
        return self.marks.sum(0)

    def other_lengths(self, number: int) -> list[np.ndarray]:
        """Lengths that are seldom the same, with as many steps in all; the second are `lengths`."""
        random, (time, batch) = np.random.default_rng(0), self.x.shape[:2]
        found = [self.lengths for _ in range(number)]
        for lengths in (found[0], *found[2:]):
            one, other = random.permutation(batch)[: batch // 2 * 2].reshape(2, -1)
            can = (lengths[one] > 1) & (lengths[one] < time) & (lengths[other] < time)
            lengths[one] -= can
            lengths[other] += can
        return found

    def beginning(self, steps: int) -> Data:
        """The first steps."""
        marks = None if self.marks is None else self.marks[:steps]
        return replace(
            self, x=self.x[:steps], output_gradient=self.output_gradient[:steps], marks=marks
        )

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
        option: A name in `OPTIONS`; none in the comparison of layers as they are.
    """

    cell: str
    shape: tuple[int, int, int, int]
    mode: str
    option: str = ""

    @property
    def equations(self) -> Cell:
        """The cell, as an option changes it."""
        cell = CELLS[self.cell]
        if self.option == DROPOUT:
            return with_recurrent_dropout(cell, OPTIONS[DROPOUT]["recurrent_dropout"])
        if self.option == ZONEOUT:
            return with_zoneout(cell, OPTIONS[ZONEOUT]["zoneout"])
        return transform(cell, norm="layer") if self.option == NORM else cell

    @property
    def is_random(self) -> bool:
        """Whether its results are random."""
        return self.option in RANDOM

    @property
    def is_stream(self) -> bool:
        """Whether it is the next step of a stream: each call goes on from the last one's states."""
        return self.shape[1] == 1 and self.mode == "inference"

    @property
    def states(self) -> int:
        """The number of states, counting the output where it is none."""
        return len({self.equations.output, *self.equations.states})

    @property
    def layout(self) -> Layout:
        """Our own stored parameters."""
        return {stored.name: stored.members for stored in self.equations.parameters}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        cell = self.equations
        sizes = cell.bind_sizes(input=self.shape[2], hidden=self.shape[3])
        return {stored.name: stored.shape_for(sizes) for stored in cell.parameters}

    @property
    def operations(self) -> int:
        """Additions and multiplications in matrix products."""
        entries = sum(prod(shape) for shape in self._shapes().values() if len(shape) == 2)
        return 2 * self.shape[0] * self.shape[1] * entries * (3 if self.mode == "training" else 1)

    def data(self) -> Any:
        """Random numbers, the same in every run: a `Data`; other kinds of cases have their own."""
        batch, time, inputs, hidden = self.shape
        random = np.random.default_rng(0)
        x, gradient = (random.normal(size=(time, batch, size)) for size in (inputs, hidden))
        stored = {n: random.uniform(-1, 1, s) / hidden**0.5 for n, s in self._shapes().items()}
        stored |= {n: 1 + v for n, v in stored.items() if n.endswith("gain")}
        members = {n: v.astype(np.float32) for n, v in unpack(self.layout, stored).items()}
        marks = self._marks(random)
        x, gradient = x.astype(np.float32), gradient.astype(np.float32)
        if self.option == SUBNORMAL:  # and so is whatever a step computes but gates and the weights
            x, gradient = x * TINY, gradient * TINY
            members = {n: v * TINY if v.ndim == 1 else v for n, v in members.items()}
        return Data(x, gradient, members, marks)

    def _marks(self, random: np.random.Generator) -> np.ndarray | None:
        batch, time = self.shape[:2]
        if self.option in (LENGTHS, OTHER_LENGTHS, PACKED):
            lengths = random.integers(1, time + 1, batch)
            lengths[random.integers(batch)] = time
            return np.arange(time)[:, None] < lengths
        share = {MASK: HOLES, RESETS: RESET}.get(self.option)
        return None if share is None else random.random((time, batch)) < share

    def reference(self, data: Any, calls: int) -> Arrays:
        """What the definition, the NumPy interpreter, gives.

        Args:
            data: The numbers.
            calls: How often the case has been called; a stream has then taken so many steps.

        Returns:
            `output`, and in training the gradients: of `x` and of each member.
        """
        cell, parameters = self.equations, data.pack(self.layout)
        if data.marks is not None:
            return self._marked_reference(data, parameters, data.marks)
        seed = 0 if self.is_random else None
        x = np.repeat(data.x, calls, axis=0) if self.is_stream else data.x
        found = anyrnn.interpret(cell, x, parameters=parameters, seed=seed)
        output = found.output[-len(data.x) :]
        if self.mode == "inference":
            return {"output": output}
        gradient = data.output_gradient
        found = anyrnn.gradients(
            cell, x, parameters=parameters, output_gradient=gradient, seed=seed
        )
        return {"output": output, "x": found.x, **unpack(self.layout, found.parameters)}

    def _marked_reference(self, data: Data, parameters: Arrays, marks: np.ndarray) -> Arrays:
        """The interpreter step by step: a state is carried where a step does not count, or put
        back to zero before it.
        """
        cell, marks = self.equations, marks[..., None]
        zeros = np.zeros((self.shape[0], self.shape[3]), np.float32)
        counts = np.ones_like(marks) if self.option == RESETS else marks
        keeps = ~marks if self.option == RESETS else np.ones_like(marks)
        states, before, outputs = [zeros for _ in cell.states], [], []
        for x, count, keep in zip(data.x, counts, keeps, strict=True):
            old = [np.where(keep, state, 0) for state in states]
            found = anyrnn.interpret(cell, x[None], old, parameters=parameters)
            pairs = zip(found.states, old, strict=True)
            states = [np.where(count, new, state) for new, state in pairs]
            outputs.append(np.where(count, found.output[0], 0))
            before.append(old)
        results = {"output": np.stack(outputs)}
        if self.mode == "inference":
            return results
        back, of_x = [zeros for _ in cell.states], np.zeros_like(data.x)
        total = {name: np.zeros_like(array) for name, array in parameters.items()}
        for step in reversed(range(len(data.x))):
            count = counts[step]
            found = anyrnn.gradients(
                cell,
                data.x[step][None],
                before[step],
                parameters=parameters,
                output_gradient=np.where(count, data.output_gradient[step], 0)[None],
                state_gradients=[np.where(count, gradient, 0) for gradient in back],
            )
            of_x[step] = found.x[0]
            for name, part in found.parameters.items():
                total[name] += part
            pairs = zip(found.states, back, strict=True)
            back = [
                np.where(keeps[step], through + np.where(count, 0, past), 0)
                for through, past in pairs
            ]
        return results | {"x": of_x, **unpack(self.layout, total)}


def _option_cases() -> list[Case]:
    every = [option for option in OPTIONS if option not in (PACKED, BFLOAT16, INT8)]
    groups = (
        (("lstm", "gru"), OPTION_SHAPES, MODES, every),
        (("lstm",), PACKED_SHAPES, MODES, [PACKED]),
        (("lstm", "gru"), BFLOAT16_SHAPES, MODES, [BFLOAT16]),
        (("lstm", "gru"), INT8_SHAPES, ("inference",), [INT8]),
        (LINEAR, LINEAR_OPTION_SHAPES, MODES, [PLAIN]),
    )
    return [Case(*each) for group in groups for each in product(*group)]


def _shapes_of(cell: str) -> tuple[tuple[int, int, int, int], ...]:
    if cell in LINEAR:
        return LINEAR_SHAPES
    return (*SHAPES, *SMALL_SHAPES) if cell in STANDARD else SHAPES


LAYER_CASES = [Case(cell, *each) for cell in CELLS for each in product(_shapes_of(cell), MODES)]
AVX2_CASES = [case for case in LAYER_CASES if case.cell in (*STANDARD, "fast_slow")]
RANDOM_CASES = [case for case in LAYER_CASES if case.cell in STANDARD]  # with shapes from a seed
OPTION_CASES = _option_cases()
