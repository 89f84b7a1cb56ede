"""Our layers beside Keras' own, with options, sizes and masks as they are drawn.

KERAS_BACKEND=jax JAX_ENABLE_X64=1 EXAMPLES=1000 EXPLORE=1 pytest tests/keras/comparison.py draws
others in each run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import keras
import numpy as np
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

import anyrnn.keras
from anyrnn.graph.nodes import Node
from anyrnn.graph.randomness import EVERY_STEP, uniform
from anyrnn.keras import backends
from anyrnn.keras.activations import ACTIVATIONS
from anyrnn.keras.gate_order import GATES

BACKEND = keras.config.backend()
EXPLORE = "EXPLORE" in os.environ
# of the largest number of an array; only on TensorFlow does Keras compute in float64
TOLERANCE = {"float32": 1e-4, "float64": 1e-10 if BACKEND == "tensorflow" else 1e-4}
NAMES = {"SimpleRNN": "rnn", "LSTM": "lstm", "GRU": "gru"}
PLAIN = ("tanh", "sigmoid", "linear", "relu")

settings.register_profile(
    "comparison",
    deadline=None,
    database=None,
    derandomize=not EXPLORE,
    max_examples=int(os.environ.get("EXAMPLES", 10)),
    print_blob=False,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("comparison")

sizes = st.sampled_from([1, 2, 3, 5])
activations = st.one_of(st.sampled_from(PLAIN), st.sampled_from([None, "gelu", *ACTIVATIONS]))
rates = st.sampled_from([0.0, 0.0, 0.5, 0.25])
SEEDED = [{"class_name": name, "config": {"seed": 3}} for name in ("Orthogonal", "GlorotUniform")]
initializers = st.sampled_from(["zeros", "ones", *SEEDED])
regularizers = st.sampled_from([None, None, "l1", "l2"])
constraints = st.sampled_from([None, None, "non_neg", "unit_norm"])


@st.composite
def options(draw: Any, name: str) -> dict[str, Any]:
    """Arguments of a layer of Keras."""
    flags = ["use_bias", "return_sequences", "return_state", "go_backwards", "unroll"]
    found: dict[str, Any] = {flag: draw(st.booleans()) for flag in flags}
    found |= {
        "units": draw(st.sampled_from([1, 2, 3, 5, 17])),
        "activation": draw(activations),
        "seed": draw(sizes),
    }
    found |= {"dropout": draw(rates), "recurrent_dropout": draw(rates)}
    for family in ("kernel", "recurrent", "bias"):
        found[f"{family}_initializer"] = draw(
            initializers if family != "bias" else st.sampled_from(["zeros", "ones"])
        )
        found[f"{family}_regularizer"] = draw(regularizers)
        found[f"{family}_constraint"] = draw(constraints)
    found["activity_regularizer"] = draw(regularizers)
    found["zero_output_for_mask"] = draw(st.booleans())
    found["stateful"] = draw(st.integers(0, 4)) == 0
    found["dtype"] = draw(st.sampled_from(["float32", "float64"]))
    if name != "SimpleRNN":
        found["recurrent_activation"] = draw(activations)
        found["implementation"] = draw(st.sampled_from([1, 2]))
        # with a list of masks Keras' fast path fails
        several = found["implementation"] == 1 and found["dropout"]
        found["use_cudnn"] = False if several else draw(st.sampled_from([False, "auto"]))
    if name == "LSTM":
        found["unit_forget_bias"] = draw(st.booleans())
    if name == "GRU":
        found["reset_after"] = draw(st.booleans())
    return found


def masks(batch: int, time: int) -> st.SearchStrategy[np.ndarray | None]:
    """None; steps that do not count at the end, at the beginning, anywhere; sequences of none."""
    lengths = st.lists(st.integers(0, time), min_size=batch, max_size=batch).map(np.array)
    right = lengths.map(lambda length: np.arange(time) < length[:, None])
    holes = st.lists(st.booleans(), min_size=batch * time, max_size=batch * time)
    return st.one_of(
        st.none(),
        right,
        right.map(lambda mask: mask[:, ::-1].copy()),
        holes.map(lambda mask: np.array(mask).reshape(batch, time)),
    )


@st.composite
def calls(draw: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A layer, its arguments, and what it is called with."""
    name = draw(st.sampled_from(sorted(NAMES)))
    batch, time, features = draw(sizes), draw(sizes), draw(sizes)
    given = {
        "shape": (batch, time, features),
        "mask": draw(masks(batch, time)),
        "states": draw(st.booleans()),
        "training": draw(st.booleans()),
        "traced": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }
    chosen = draw(options(name))
    if BACKEND == "torch" and chosen["go_backwards"] and given["mask"] is not None:
        chosen["unroll"] = False  # in which Keras' own loop fails
    return name, chosen, given


class Drawn:
    """The masks of dropout that our layer has drawn in a call.

    Args:
        name: The cell.
        mask: Which steps count.
        dtype: Of the masks.
    """

    def __init__(self, name: str, mask: np.ndarray | None, dtype: str) -> None:
        self.gates, self.dtype, self.compiled = GATES[name], dtype, False
        self.kept: dict[str, Any] = {}
        self.rows = None if mask is None else np.argsort(-mask.sum(1), kind="stable")

    def run(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`anyrnn.keras.backends.run`, watched."""

        def watched(call: backends.CellCall) -> Any:
            self.compiled = True
            if call.cell.draws:
                words = [int(word) for word in np.ravel(keras.ops.convert_to_numpy(call.seed))]
                seed = words[0] << 32 | words[1] & 0xFFFFFFFF
                self._read(call.cell, seed, call.x.shape, call.sizes)
            return original(call)

        return watched

    def _read(self, cell: Any, seed: int, shape: Any, sizes: Any) -> None:
        for product in cell.graph.nodes():
            if product.operation != "product":
                continue
            matrix, vector = product.arguments
            for draws in _random(vector):
                stream, rate = draws.arguments[0].attributes["stream"], draws.arguments[1]
                units = sizes["input"] if matrix.name[0] == "W" else sizes["hidden"]
                numbers = uniform(seed, stream, EVERY_STEP, shape[0], units)
                kept = np.where(numbers >= rate.attributes["value"], 1.0, 0.0)
                kept /= 1 - rate.attributes["value"]
                if self.rows is not None:
                    kept[self.rows] = kept.copy()
                self.kept[matrix.name] = kept.astype(self.dtype)

    def watch(self, cell: Any) -> None:
        """Keep the mask of the input that Keras draws for our layer."""
        draw = cell.get_dropout_mask

        def watched(step: Any) -> Any:
            self.kept["x"] = draw(step)
            return self.kept["x"]

        cell.get_dropout_mask = watched

    def give(self, cell: Any) -> None:
        """Have a cell of Keras use the same masks: one, or a list with one for each gate."""
        for name, family in ("get_dropout_mask", "W"), ("get_recurrent_dropout_mask", "U"):
            found = [self.kept.get(f"{family}.{gate}") for gate in self.gates]
            given = found if found and found[0] is not None else self.kept.get(family)
            if given is None and family == "W":
                given = self.kept.get("x")
            if given is not None:
                given = keras.tree.map_structure(keras.ops.convert_to_tensor, given)
                setattr(cell, name, lambda _, given=given: given)


def _random(node: Node) -> list[Node]:
    """The comparisons with a random number that a vector is multiplied with."""
    if node.operation == "greater_equal" and node.arguments[0].operation == "random":
        return [node]
    if node.operation == "product":
        return []
    return [found for argument in node.arguments for found in _random(argument)]


def differentiated(layer: Any, call: Callable[..., Any], *values: Any, traced: bool) -> Any:
    """What a call gives, a sum of it, and its gradients by values and weights.

    Args:
        layer: The layer.
        call: Calls it with the values.
        values: Tensors.
        traced: Whether to compile the call, where the backend has a compiler.
    """
    weights = [variable.value for variable in layer.trainable_variables]

    def added(found: Any, losses: Any) -> Any:
        total: Any = sum(losses)
        for output in found:
            shape = tuple(output.shape)
            counts = np.cos(np.arange(np.prod(shape))).reshape(shape)
            total = total + keras.ops.sum(output * keras.ops.cast(counts, output.dtype))
        return total

    if BACKEND == "torch":
        import torch

        leaves = [value.detach().requires_grad_() for value in values]
        found = keras.tree.flatten(call(*leaves))
        total = added(found, layer.losses)
        gradients = torch.autograd.grad(total, [*leaves, *weights], allow_unused=True)
        return found, total, gradients
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def run(*values: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(values)
                found = keras.tree.flatten(call(*values))
                total = added(found, layer.losses)
            zero = tf.UnconnectedGradients.ZERO
            return found, total, tape.gradient(total, [*values, *weights], None, zero)

        return (tf.function(run) if traced else run)(*values)
    import jax

    def summed(values: Any, weights: Any) -> Any:
        pairs = zip(layer.trainable_variables, weights, strict=True)
        with keras.StatelessScope(pairs, collect_losses=True) as scope:
            found = keras.tree.flatten(call(*values))
            total = added(found, [*scope.losses, *layer._get_regularization_losses()])
        return total, found

    run = jax.value_and_grad(summed, (0, 1), has_aux=True)
    (total, found), (of_values, of_weights) = (jax.jit(run) if traced else run)(values, weights)
    return found, total, [*of_values, *of_weights]


def as_arrays(found: Any) -> list[np.ndarray]:
    """What `differentiated` gives, one after another; what nothing depends on is zero."""
    outputs, total, gradients = found
    return [
        np.zeros(()) if value is None else keras.ops.convert_to_numpy(value)
        for value in (*outputs, total, *gradients)
    ]


@given(calls())
def test_the_same_as_keras(drawn: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    name, options, given = drawn
    note(repr(drawn))
    random = np.random.default_rng(given["seed"])
    dtype, batch = options["dtype"], given["shape"][0]
    ours, theirs = (getattr(module, name)(**options) for module in (anyrnn.keras, keras.layers))
    for layer in (ours, theirs):
        layer.build(given["shape"])
    assert ours.get_config() == {**theirs.get_config(), "name": ours.name}
    for own, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (own, other)))
        own.assign(random.normal(size=own.shape) * 0.5)
        other.assign(own)
    states = [random.normal(size=(batch, options["units"])) for _ in ours.state_size]
    values = [random.normal(size=given["shape"]), *(states if given["states"] else [])]
    values = [keras.ops.convert_to_tensor(value, dtype) for value in values]
    cell = NAMES[name] + "_reset_before" * (name == "GRU" and not options["reset_after"])
    mask, training = given["mask"], given["training"]
    draws = training and (options["dropout"] > 0 or options["recurrent_dropout"] > 0)
    traced, kept = given["traced"] and not draws, Drawn(cell, mask, dtype)

    def run(layer: Any) -> list[np.ndarray]:
        def call(x: Any, *states: Any, training: bool = training) -> Any:
            initial = {"initial_state": list(states)} if states else {}
            marks = None if mask is None else keras.ops.convert_to_tensor(mask)
            return layer(x, mask=marks, training=training, **initial)

        if options["stateful"]:
            call(*values, training=False)
        return as_arrays(differentiated(layer, call, *values, traced=traced))

    kept.watch(ours.cell)
    with mock.patch.object(backends, "run", kept.run(backends.run)):
        found = run(ours)
    kept.give(theirs.cell)
    expected = run(theirs)
    used = [options["activation"], options.get("recurrent_activation")]
    assert kept.compiled == ("gelu" not in used), ours.compute_path
    assert len(found) == len(expected)
    for place, (own, other) in enumerate(zip(found, expected, strict=True)):
        assume(np.isfinite(other).all())
        assert own.shape == other.shape or own.size == other.size == 1, place
        far = np.abs(own - other).max() / max(1.0, np.abs(other).max())
        assert far <= TOLERANCE[dtype], (place, far, own, other)
