"""Trainings of classifiers by Keras, with its layers and optimisers.

First weights and batches are those of the task, and so are the losses. A batch is padded to the
longest of all, so that a backend compiles once; layers get a mask only where a result depends on
it: in both directions. Language models are left out: the states of a batch are those after the one
before, and Keras' `stateful` layers carry none on JAX and have no gradient on PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch
from keras import layers, ops

from benchmarks.cases import Data, unpack
from benchmarks.models import LAYERS, keras_layout
from benchmarks.peers import Run
from benchmarks.trainings import SEED, Training

Weights = list[np.ndarray]
# Of Adam. Keras adds it before the mean of squares is corrected, which makes it 30 to 7 times as
# large in the first 20 steps; torch adds 1e-8 after that.
EPSILON = 1e-9


def build(case: Training, data: None) -> Run:
    """The training of a classifier."""
    prepared = case.prepared()
    torch.manual_seed(SEED)
    given = prepared.task.network(case.cell)
    longest = max(batch["inputs"].shape[1] for batch in prepared.batches)
    batches = [
        (
            [_padded(batch["inputs"].numpy(), longest), _numbers(batch.lengths["inputs"])],
            _numbers(batch["class"]),
        )
        for batch in prepared.batches
    ]
    model = _model(case, given, batches[0][0][0])
    model.compile(
        _optimiser(prepared.options, _held(model, case)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def train(_: None) -> tuple[list[float], None]:
        losses = []
        for inputs, targets in batches:
            model.reset_metrics()  # the loss is that of this batch
            losses.append(float(model.train_on_batch(inputs, targets)))
        return losses, None

    return Run(train, lambda losses: {"losses": losses})


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy().astype(np.int32)


def _padded(inputs: np.ndarray, longest: int) -> np.ndarray:
    after = [(0, 0)] * inputs.ndim
    after[1] = 0, longest - inputs.shape[1]
    padded = np.pad(inputs, after)
    return padded.astype(np.int32) if padded.dtype == np.int64 else padded


def _model(case: Training, given: Any, example: np.ndarray) -> Any:
    """The network of a classifier in Keras, with the same weights."""
    values = keras.Input(example.shape[1:], dtype=example.dtype.name)
    lengths = keras.Input((), dtype="int32")
    ours, both, vectors = given.recurrent, given.bidirectional, values
    filled: list[tuple[Any, Weights]] = []
    if given.embedding is not None:
        table = given.embedding.weight.detach().numpy()
        filled.append((layers.Embedding(*table.shape), [table]))
        vectors = filled[-1][0](values)
    steps = np.arange(example.shape[1], dtype=np.int32)[None]
    counts: Any = ops.less(steps, ops.expand_dims(lengths, 1))
    for number in range(ours.num_layers):
        options: dict[str, Any] = {"reset_after": True} if case.cell == "gru" else {}
        kind = getattr(layers, LAYERS[case.cell])
        layer = kind(ours.hidden_size, return_sequences=True, **options)
        layer = layers.Bidirectional(layer) if both else layer
        vectors = layer(vectors, mask=counts) if both else layer(vectors)
        ends = ("", "_reverse") if both else ("",)
        parts = [_weights(case, ours, f"_l{number}{end}") for end in ends]
        filled.append((layer, [array for part in parts for array in part]))
    dense = layers.Dense(given.dense.out_features)
    filled.append((dense, [v.detach().numpy() for v in (given.dense.weight.T, given.dense.bias)]))
    model = keras.Model([values, lengths], dense(_pooled(vectors, lengths, counts, given)))
    for layer, weights in filled:
        layer.set_weights(weights)
    return model


def _pooled(vectors: Any, lengths: Any, counts: Any, given: Any) -> Any:
    if given.pool == "mean":
        total: Any = ops.sum(ops.where(counts[..., None], vectors, 0.0), axis=1)
        return total / ops.expand_dims(ops.cast(lengths, "float32"), 1)
    if given.pool != "last" or given.bidirectional:
        raise ValueError(
            f"pooling is {given.pool}; there are the mean, and the last in one direction"
        )
    ends = ops.expand_dims(lengths - 1, (1, 2))
    return ops.squeeze(ops.take_along_axis(vectors, ends, axis=1), 1)


def _weights(case: Training, ours: Any, suffix: str) -> Weights:
    """Those of one of our layers in one direction, as Keras has them."""
    stored = {name: tensor.detach().numpy() for name, tensor in ours.named_parameters()}
    members = unpack({name + suffix: of for name, of in case.layout.items()}, stored)
    zeros = np.zeros((1, ours.hidden_size), np.float32)  # of biases that the equations lack
    arrays = Data(zeros, zeros, members).pack(keras_layout(case.cell), columns=True)
    kernel, recurrent, *biases = arrays.values()
    return [kernel, recurrent, np.stack(biases) if len(biases) > 1 else biases[0]]


def _held(model: Any, case: Training) -> list[Any]:
    """For each variable which elements are trained, None for all: a second bias as far as the
    equations have it.
    """
    there = {member for of in case.layout.values() for member in of}
    layout = keras_layout(case.cell).get("recurrent_bias", ())
    masks: list[Any] = []
    for variable in model.trainable_variables:
        held = layout and variable.name == "bias" and len(variable.shape) == 2
        mask = np.ones(variable.shape, np.float32) if held else None
        if mask is not None:
            parts = np.split(mask[1], len(layout))  # views
            for part, member in zip(parts, layout, strict=True):
                part[:] = member in there
        masks.append(mask)
    return masks


def _optimiser(options: Any, masks: Sequence[Any]) -> Any:
    """That of the training, which leaves some elements as they are."""
    shared: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay or None,
        "global_clipnorm": options.clip or None,
    }
    if options.optimiser == "sgd":
        found: Any = keras.optimizers.SGD(momentum=options.momentum, **shared)
    else:
        adam = keras.optimizers.AdamW if options.weight_decay else keras.optimizers.Adam
        found = adam(epsilon=EPSILON, **shared)
    if any(mask is not None for mask in masks):
        apply = found.apply

        def masked(gradients: Any, variables: Any = None) -> Any:
            pairs = zip(gradients, masks, strict=True)
            return apply([g if mask is None else g * mask for g, mask in pairs], variables)

        found.apply = masked
    return found
