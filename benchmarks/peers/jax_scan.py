"""JAX: a scan over the steps, compiled for the shape."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.cases import Case, Data, unpack
from benchmarks.equations import EQUATIONS, States
from benchmarks.peers import Run


class Jax:
    """What the equations need."""

    sigmoid, tanh = jax.nn.sigmoid, jnp.tanh

    @staticmethod
    def split(v: Any, count: int) -> list[Any]:
        """Equal parts of the last axis."""
        return jnp.split(v, count, axis=-1)

    @staticmethod
    def product(a: Any, h: Any, U: Any) -> Any:
        """a + h @ U."""
        return a + h @ U


def build(case: Case, data: Data) -> Run:
    """One product for the whole input, a scan over the steps, all of it under jit."""
    equations, layout = EQUATIONS[case.cell]
    parameters = jax.tree.map(jnp.asarray, data.pack(layout, columns=True))
    x, output_gradient = jnp.asarray(data.x), jnp.asarray(data.output_gradient)
    zeros = (jnp.zeros((case.shape[0], case.shape[3]), x.dtype),) * case.states

    def layer(p: Any, x: Any, states: States) -> tuple[Any, States]:
        def step(states: States, given: tuple[Any, Any]) -> tuple[States, Any]:
            states = equations(Jax, *given, states, p)
            return states, states[0]

        states, output = jax.lax.scan(step, states, (x @ p["W"] + p["b"], x))
        return output, states

    def train(p: Any, x: Any, gradient: Any) -> tuple[Any, ...]:
        output, pull = jax.vjp(lambda p, x: layer(p, x, zeros)[0], p, x)
        return output, *pull(gradient)

    def read(raw: Any) -> dict[str, Any]:
        output, of_parameters, of_x = raw
        return {"output": output, "x": of_x, **unpack(layout, of_parameters, columns=True)}

    if case.mode == "training":
        trained = jax.jit(train).lower(parameters, x, output_gradient).compile()
        done = jax.block_until_ready
        return Run(lambda _: (done(trained(parameters, x, output_gradient)), None), read)
    inferred = jax.jit(layer).lower(parameters, x, zeros).compile()
    return Run(
        lambda states: jax.block_until_ready(inferred(parameters, x, states)),
        lambda output: {"output": output},
        zeros,
    )
