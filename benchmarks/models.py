"""What is measured in Keras: models as programs have them, in `fit` and `predict`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import anyrnn
from anyrnn.graph.cell import Cell
from benchmarks.cases import (
    CELLS,
    DROPOUT,
    LENGTHS,
    PLAIN,
    STANDARD,
    Arrays,
    Case,
    Layout,
    named,
    unpack,
)

FIT, PREDICT = "fit", "predict"
MODEL_MODES = (FIT, PREDICT)
MODEL_OPTIONS = (PLAIN, DROPOUT, LENGTHS)
MODEL_SHAPE = (32, 100, 128, 128)
BACKENDS = ("torch", "jax", "tensorflow")
BATCHES = 10  # in a call: an epoch of fit, or all that predict is given
RATE, EPSILON = 0.01, 1e-3  # of Adam; a large epsilon, so that rounding never turns a step around
DECAYS = 0.9, 0.999

LAYERS = {"lstm": "LSTM", "gru": "GRU", "gru_reset_before": "GRU", "rnn": "SimpleRNN"}
GATES = {"LSTM": "ifgo", "GRU": "zrn", "SimpleRNN": ""}


def keras_layout(cell: str) -> Layout:
    """The members of each array of a layer of Keras, and of each row of its bias."""
    families = {"kernel": "W", "recurrent_kernel": "U", "bias": "b"}
    if cell == "gru":  # the equations have its second bias for n only
        families["recurrent_bias"] = "d"
    return {name: named(family, GATES[LAYERS[cell]]) for name, family in families.items()}


@dataclass(frozen=True)
class ModelData:
    """The numbers of a model, in float32.

    Attributes:
        x: The inputs, (rows, time, input), zero after the end of a sequence.
        targets: What the model is to say, (rows, 1).
        arrays: Its weights by name; each row of a bias is an array.
        marks: Which steps count, (rows, time).
    """

    x: np.ndarray
    targets: np.ndarray
    arrays: Arrays
    marks: np.ndarray

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights as Keras has them."""
        kernel, recurrent, *biases, head, head_bias = self.arrays.values()
        bias = biases[0] if len(biases) == 1 else np.stack(biases)
        return [kernel, recurrent, bias, head, head_bias]

    def changes(self, weights: Sequence[Any]) -> Arrays:
        """By how much weights, as Keras has them, differ from these."""
        kernel, recurrent, bias, head, head_bias = map(np.asarray, weights)
        biases = bias.reshape(-1, bias.shape[-1])
        found = zip(self.arrays, (kernel, recurrent, *biases, head, head_bias), strict=True)
        return {name: array - self.arrays[name] for name, array in found}


class Model(Case):
    """A row of the comparison: a recurrent layer of Keras, and a head of one unit on its last
    output. `recurrent dropout` acts in `fit` only; for `lengths`, `Masking` finds the padding.
    """

    @property
    def is_random(self) -> bool:
        """Whether its results are random."""
        return super().is_random and self.mode == FIT

    @property
    def equations(self) -> Cell:
        """The cell, as an option changes it."""
        return super().equations if self.is_random else CELLS[self.cell]

    @property
    def operations(self) -> int:
        """Additions and multiplications in matrix products."""
        batch, time, inputs, hidden = self.shape
        entries = len(keras_layout(self.cell)["kernel"]) * hidden * (inputs + hidden)
        return 2 * BATCHES * batch * time * entries * (3 if self.mode == FIT else 1)

    def data(self) -> ModelData:
        """Random numbers, the same in every run."""
        batch, time, inputs, hidden = self.shape
        rows, random = BATCHES * batch, np.random.default_rng(0)
        shapes = {"kernel": (inputs, hidden), "recurrent_kernel": (hidden, hidden)}
        arrays = {
            name: np.hstack([random.uniform(-1, 1, shapes.get(name, hidden)) for _ in gates])
            for name, gates in keras_layout(self.cell).items()
        }
        arrays |= {"head": random.uniform(-1, 1, (hidden, 1)), "head_bias": np.zeros(1)}
        arrays = {name: (v / hidden**0.5).astype(np.float32) for name, v in arrays.items()}
        x, targets = random.normal(size=(rows, time, inputs)), random.normal(size=(rows, 1))
        lengths = np.full(rows, time)
        if self.option == LENGTHS:
            lengths = random.integers(1, time + 1, rows)
        marks = np.arange(time) < lengths[:, None]
        x = (x * marks[..., None]).astype(np.float32)
        return ModelData(x, targets.astype(np.float32), arrays, marks)

    def reference(self, data: Any, calls: int) -> Arrays:
        """What the definition, the NumPy interpreter, gives.

        Args:
            data: The numbers.
            calls: How often the model has been called; so many epochs of `fit` it has then seen.

        Returns:
            `output`; for `fit`, by how much each array has changed.
        """
        batches = np.split(np.arange(len(data.x)), BATCHES)
        if self.mode == PREDICT:
            outputs = [self._run(data.arrays, data, rows, None)[1] for rows in batches]
            return {"output": np.concatenate(outputs)}
        arrays = dict(data.arrays)
        means, squares = ({n: np.zeros_like(v) for n, v in arrays.items()} for _ in range(2))
        for step, rows in enumerate(batches * calls):
            gradients = self._gradients(arrays, data, rows, step if self.is_random else None)
            of_mean, of_square = (1 - decay ** (step + 1) for decay in DECAYS)
            for name, gradient in gradients.items():
                means[name] += (1 - DECAYS[0]) * (gradient - means[name])
                squares[name] += (1 - DECAYS[1]) * (gradient**2 - squares[name])
                size = np.sqrt(squares[name]) + EPSILON
                arrays[name] = arrays[name] - RATE * of_square**0.5 / of_mean * means[name] / size
        return {name: array - data.arrays[name] for name, array in arrays.items()}

    def _parameters(self, arrays: Arrays) -> Arrays:
        """What the equations read; a second bias that they do not have is added to the first."""
        members = unpack(keras_layout(self.cell), arrays, columns=True)
        there = {member for of in self.layout.values() for member in of}
        for name in set(members) - there:
            members["b" + name[1:]] = members["b" + name[1:]] + members[name]
        return {name: np.concatenate([members[m] for m in of]) for name, of in self.layout.items()}

    def _run(
        self, arrays: Arrays, data: ModelData, rows: np.ndarray, seed: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The last outputs of the layer, where each sequence ends, and the model's."""
        x, ends = data.x[rows].swapaxes(0, 1), data.marks[rows].sum(1) - 1
        parameters = self._parameters(arrays)
        found = anyrnn.interpret(self.equations, x, parameters=parameters, seed=seed)
        last = found.output[ends, np.arange(len(ends))]
        return last, last @ arrays["head"] + arrays["head_bias"]

    def _gradients(
        self, arrays: Arrays, data: ModelData, rows: np.ndarray, seed: int | None
    ) -> Arrays:
        """Those of the mean of the squares of what the model is wrong by."""
        x, ends = data.x[rows].swapaxes(0, 1), data.marks[rows].sum(1) - 1
        last, said = self._run(arrays, data, rows, seed)
        of_said = 2 * (said - data.targets[rows]) / len(said)
        of_outputs = np.zeros((*x.shape[:2], self.shape[3]), np.float32)
        of_outputs[ends, np.arange(len(ends))] = of_said @ arrays["head"].T
        found = anyrnn.gradients(
            self.equations,
            x,
            parameters=self._parameters(arrays),
            output_gradient=of_outputs,
            seed=seed,
        )
        members = unpack(self.layout, found.parameters)
        gradients = {
            name: np.hstack([members[m if m in members else "b" + m[1:]].T for m in of])
            for name, of in keras_layout(self.cell).items()
        }
        return gradients | {"head": last.T @ of_said, "head_bias": of_said.sum(0)}


MODELS = [
    Model(cell, MODEL_SHAPE, mode, option)
    for cell, mode, option in product(STANDARD, MODEL_MODES, MODEL_OPTIONS)
]
