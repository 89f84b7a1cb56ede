"""Keras' layers on each of its backends, compiled where the backend has a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from benchmarks.cases import COUNTED, DROPOUT, OPTIONS, Case, Data, unpack
from benchmarks.models import LAYERS, keras_layout
from benchmarks.peers import Run


def build(case: Case, data: Data) -> Run:
    """A layer with (batch, time, features), as Keras has it."""
    batch, time, inputs, hidden = case.shape
    kind = LAYERS[case.cell]
    options: Any = {"return_sequences": True, "return_state": case.mode == "inference"}
    # other weights are set below; to draw orthogonal ones takes seconds
    options |= {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    if kind == "GRU":
        options["reset_after"] = case.cell == "gru"
    if case.option == DROPOUT:
        options |= {**OPTIONS[DROPOUT], "seed": 0}
    if case.option in COUNTED:
        options["zero_output_for_mask"] = True
    layer = getattr(keras.layers, kind)(hidden, **options)
    layer.build((batch, time, inputs))
    layout = keras_layout(case.cell)
    kernel, recurrent, *bias = data.pack(layout, columns=True).values()
    layer.set_weights([kernel, recurrent, np.stack(bias) if len(bias) > 1 else bias[0]])
    given: dict[str, Any] = {"training": True} if case.option == DROPOUT else {}
    if case.option in COUNTED and data.marks is not None:
        given["mask"] = data.marks.T.copy()
    x, gradient = (v.swapaxes(0, 1).copy() for v in (data.x, data.output_gradient))

    def read(raw: Any) -> dict[str, Any]:
        output, of_x, (kernel, recurrent, bias) = raw
        biases = np.asarray(bias).reshape(len(layout) - 2, -1)
        arrays = dict(zip(layout, (kernel, recurrent, *biases), strict=True))
        results = {"output": np.swapaxes(output, 0, 1), "x": np.swapaxes(of_x, 0, 1)}
        return results | unpack(layout, arrays, columns=True)

    backend = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[keras.config.backend()]
    if case.mode == "training":
        train, _ = backend(layer, x, [], gradient, given)
        return Run(lambda _: (train(), None), read)
    states = [np.zeros((batch, hidden), np.float32)] * case.states
    infer, states = backend(layer, x, states, None, given)

    def call(states: Any) -> tuple[Any, Any]:
        output, *states = infer(states)
        return output, states

    return Run(call, lambda output: {"output": np.swapaxes(output, 0, 1)}, states)


Made = tuple[Callable[..., Any], Any]  # (states) -> output and states; or () -> gradients


def _jax(layer: Any, x: Any, states: Any, gradient: Any, given: Any) -> Made:
    import jax

    weights, others = (
        [variable.value for variable in variables]
        for variables in (layer.trainable_variables, layer.non_trainable_variables)
    )
    x, states, gradient = jax.tree.map(jax.numpy.asarray, (x, states, gradient))

    def infer(weights: Any, x: Any, states: Any) -> Any:
        return layer.stateless_call(weights, others, x, initial_state=states or None, **given)[0]

    def train(weights: Any, x: Any, gradient: Any) -> Any:
        output, pull = jax.vjp(lambda w, x: infer(w, x, None), weights, x)
        of_weights, of_x = pull(gradient)
        return output, of_x, of_weights

    if gradient is not None:
        trained = jax.jit(train).lower(weights, x, gradient).compile()
        return lambda: jax.block_until_ready(trained(weights, x, gradient)), states
    inferred = jax.jit(infer).lower(weights, x, states).compile()
    return lambda states: jax.block_until_ready(inferred(weights, x, list(states))), states


def _tensorflow(layer: Any, x: Any, states: Any, gradient: Any, given: Any) -> Made:
    import tensorflow as tf

    weights = [variable.value for variable in layer.trainable_variables]
    x, states = tf.constant(x), [tf.constant(state) for state in states]

    def train(x: Any, gradient: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, **given)
        of_x, *of_weights = tape.gradient(output, [x, *weights], output_gradients=gradient)
        return output, of_x, of_weights

    if gradient is not None:
        gradient = tf.constant(gradient)
        trained = tf.function(train).get_concrete_function(x, gradient)
        return lambda: trained(x, gradient), states
    inferred = tf.function(lambda x, states: layer(x, initial_state=states, **given))
    inferred.get_concrete_function(x, states)
    return lambda states: inferred(x, states), states


def _torch(layer: Any, x: Any, states: Any, gradient: Any, given: Any) -> Made:
    import torch

    weights = [variable.value for variable in layer.trainable_variables]
    x, states = torch.from_numpy(x), [torch.from_numpy(state) for state in states]

    def infer(states: Any) -> Any:
        with torch.inference_mode():
            return layer(x, initial_state=states, **given)

    def train() -> Any:
        for leaf in (x, *weights):
            leaf.grad = None
        output = layer(x, **given)
        output.backward(gradient)
        return output.detach(), x.grad, [weight.grad for weight in weights]

    if gradient is None:
        return infer, states
    x.requires_grad_()
    gradient = torch.from_numpy(gradient)
    return train, states
