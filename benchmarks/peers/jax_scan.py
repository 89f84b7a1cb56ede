"""JAX: a scan over the steps, compiled for the shape."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.cases import DROPOUT, OPTIONS, ZONEOUT, Case, Data, unpack
from benchmarks.equations import States, advance, equations, inputs
from benchmarks.peers import Run


class Jax:
    """What the equations need."""

    sigmoid, tanh, where = jax.nn.sigmoid, jnp.tanh, jnp.where

    @staticmethod
    def split(v: Any, count: int) -> list[Any]:
        """Equal parts of the last axis."""
        return jnp.split(v, count, axis=-1)

    @staticmethod
    def layer_norm(v: Any) -> Any:
        """Over the last axis."""
        centred = v - v.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)

    @staticmethod
    def product(a: Any, h: Any, U: Any) -> Any:
        """a + h @ U."""
        return a + h @ U


def build(case: Case, data: Data) -> Run:
    """One product for the whole input, a scan over the steps, all of it under jit."""
    _, layout = equations(case)
    parameters = jax.tree.map(jnp.asarray, data.pack(layout, columns=True))
    x, output_gradient = jnp.asarray(data.x), jnp.asarray(data.output_gradient)
    shape = (case.shape[0], case.shape[3])
    zeros = (jnp.zeros(shape, x.dtype),) * case.states
    given = None if data.marks is None else jnp.asarray(data.marks[..., None])
    key = jax.random.key(0, impl="rbg")  # several times faster than the usual one
    calls = itertools.count()

    def layer(p: Any, x: Any, states: States, call: Any) -> tuple[Any, States]:
        marks, random = given, jax.random.fold_in(key, call)
        if case.option == DROPOUT:
            keep = 1 - OPTIONS[DROPOUT]["recurrent_dropout"]
            p = {**p, "kept": jax.random.bernoulli(random, keep, shape) / keep}
        if case.option == ZONEOUT:
            rate, every = OPTIONS[ZONEOUT]["zoneout"], (case.states, len(x), *shape)
            marks = tuple(jax.random.bernoulli(random, rate, every))

        def step(states: States, given: tuple[Any, Any, Any]) -> tuple[States, Any]:
            a, x, mark = given
            return advance(case, Jax, a, x, states, p, mark)

        states, output = jax.lax.scan(step, states, (inputs(Jax, x, p), x, marks))
        return output, states

    def train(p: Any, x: Any, gradient: Any, call: Any) -> tuple[Any, ...]:
        output, pull = jax.vjp(lambda p, x: layer(p, x, zeros, call)[0], p, x)
        return output, *pull(gradient)

    def read(raw: Any) -> dict[str, Any]:
        output, of_parameters, of_x = raw
        return {"output": output, "x": of_x, **unpack(layout, of_parameters, columns=True)}

    if case.mode == "training":
        trained = jax.jit(train).lower(parameters, x, output_gradient, 0).compile()
        done = jax.block_until_ready
        return Run(
            lambda _: (done(trained(parameters, x, output_gradient, next(calls))), None), read
        )
    inferred = jax.jit(layer).lower(parameters, x, zeros, 0).compile()
    return Run(
        lambda states: jax.block_until_ready(inferred(parameters, x, states, next(calls))),
        lambda output: {"output": output},
        zeros,
    )
