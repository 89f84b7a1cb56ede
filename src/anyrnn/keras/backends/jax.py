"""Running a cell on JAX: as a custom call, which is traced, compiled and differentiated as any
other operation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import jax
from jax import Array
from jax import numpy as jnp
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.interpreters.ad import JVPTracer

from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.keras.backends import NO_SECOND, ffi, tracers
from anyrnn.kernels import run_keys
from anyrnn.kernels.callbacks import Callback
from anyrnn.kernels.compiled_cell import usual_threads
from anyrnn.kernels.run import Run

TARGET = "anyrnn"


class CustomCall(NamedTuple):
    """What a custom call does.

    Attributes:
        key: The key of the run, see `anyrnn.kernels.run_keys.key`.
        turned: As `anyrnn.kernels.callbacks.Callback` has it, and so the next three.
        sequences: Whether there is an output.
        masked: Whether a mask is among the arguments.
        seeded: Whether a seed is.
        does: `forward`, `record` or `backward`, as `anyrnn.kernels.callbacks.Batch` has them.
        wanted: Whether the gradient of the input is wanted, and of each parameter.
    """

    key: str
    turned: bool
    sequences: bool
    masked: bool
    seeded: bool
    does: str = "forward"
    wanted: tuple[bool, ...] = ()

    @property
    def callback(self) -> Callback:
        """What it calls back for."""
        return Callback(
            run_keys.run_of(self.key), self.turned, self.sequences, self.masked, self.seeded
        )

    def call(self, shapes: Sequence[tuple[int, ...]], dtype: Any, *arguments: Array) -> Any:
        """Have it done, and get arrays of some shapes."""
        results = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
        made = jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")
        return made(*arguments, job=json.dumps(self))


@lru_cache(maxsize=1024)
def _read(text: str) -> CustomCall:
    told = CustomCall(*json.loads(text))
    return told._replace(wanted=tuple(told.wanted))


def _threads() -> int:
    """As many as there are cores, or one if XLA is told so."""
    alone = "--xla_cpu_multi_thread_eigen=false" in os.environ.get("XLA_FLAGS", "")
    return 1 if alone else usual_threads()


def _handle(text: str, arguments: list[Any], results: list[Any]) -> None:
    """Do what a custom call asks for."""
    call = _read(text)
    callback = call.callback
    batch, more = callback.read(_threads(), arguments)
    if call.does == "backward":
        count = callback.residuals
        kept, gradients = more[:count], more[count:]
        batch.backward(kept, gradients, call.wanted, results)
    else:
        getattr(batch, call.does)(results)


@cache
def _register() -> None:
    """Done when there is something to run: it compiles the way in."""
    ffi.register(TARGET, _handle)


Further = tuple[Array | None, Array | None]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    call: CustomCall, x: Array, states: list[Array], parameters: list[Array], further: Further
) -> list[Array]:
    """Output, if it is a result, and last states; `further` are the mask and the seed."""
    shapes = call.callback.result_shapes(*x.shape[:2])
    return call.call(shapes, x.dtype, x, *states, *parameters, *_there(further))


def _there(further: Further) -> list[Array]:
    return [array for array in further if array is not None]


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Wanted:
    """What is wanted, among what is kept.

    Attributes:
        gradients: Whether the gradient of the input is, and of each parameter.
    """

    gradients: tuple[bool, ...]


def _record(call: CustomCall, *given: Any) -> tuple[list[Array], Any]:
    x, states, parameters, further = jax.tree.map(lambda part: part.value, given)
    callback = call.callback
    results = callback.result_shapes(*x.shape[:2])
    shapes = [*results, *callback.residual_shapes(*x.shape[:2])]
    arguments = x, *states, *parameters, *_there(further)
    found: list[Array] = _once(call._replace(does="record"), tuple(shapes), arguments)
    wanted = _Wanted(tuple(part.perturbed for part in (given[0], *given[2])))
    kept = found[len(results) :]
    return found[: len(results)], (wanted, x, states, parameters, further, kept)


def _derivative(call: CustomCall, residuals: Any, gradients: list[Any]) -> tuple[Any, ...]:
    static, x, states, parameters, further, kept = residuals
    wanted = static.gradients
    given = [
        jnp.zeros(part.shape, x.dtype) if isinstance(part, SymbolicZero) else part
        for part in gradients
    ]
    asked = [x] * wanted[0] + [*states]
    asked += [part for part, needed in zip(parameters, wanted[1:], strict=True) if needed]
    call = call._replace(does="backward", wanted=wanted)
    arguments = x, *states, *parameters, *_there(further), *kept, *given
    found = iter(_once(call, tuple(part.shape for part in asked), arguments))
    return (
        next(found) if wanted[0] else None,
        [next(found) for _ in states],
        [next(found) if needed else None for needed in wanted[1:]],
        None,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _once(call: CustomCall, shapes: tuple[Any, ...], arguments: tuple[Array, ...]) -> list[Array]:
    """A part of a derivative, which cannot be differentiated again."""
    return call.call(shapes, arguments[0].dtype, *arguments)


def _no_second(*_: Any) -> Any:
    raise InputError(NO_SECOND)


_run.defvjp(_record, _derivative, symbolic_zeros=True)
_once.defvjp(lambda *given: (_once(*given), None), _no_second)


def _is_forward_mode(tensor: Any) -> bool:
    """Whether JAX differentiates a tensor in forward mode, which a custom_vjp refuses.

    Where grad does not linearize directly, as in older versions, it cannot be told from jvp, and
    JAX raises its own error for jvp.
    """
    if not getattr(jax.config, "jax_use_direct_linearize", False):
        return False
    while isinstance(tensor, Tracer):  # vmap wraps what is below it
        if isinstance(tensor, JVPTracer):
            return True
        tensor = getattr(tensor, "val", None)
    return False


def refusal(tensors: Sequence[Array]) -> str | None:
    """Why kernels cannot take some tensors; as `anyrnn.keras.backends.refusal`."""
    traced = False
    for tensor in tensors:
        if isinstance(tensor, Tracer):
            traced = True
            if _is_forward_mode(tensor):
                return "forward-mode differentiation"
            if not all(isinstance(size, int) for size in tensor.shape):
                return "inside an export, with sizes that are not known"
        else:
            platforms = {device.platform for device in jnp.asarray(tensor).devices()}
            if platforms != {"cpu"}:
                return f"tensors on {', '.join(sorted(platforms))}"
    if traced and jax.default_backend() != "cpu":
        return f"a program for {jax.default_backend()}"
    return tracers.exporter() if traced else None


def run(
    cell: Cell,
    sizes: Mapping[str, int],
    x: Array,
    states: Sequence[Array],
    parameters: Sequence[Array],
    mask: Array | None,
    reverse: bool,
    sequences: bool,
    seed: Array | None,
    recorded: bool,
) -> tuple[Array | None, list[Array]]:
    """Run a cell; as `anyrnn.keras.backends.run`. JAX knows itself what to record."""
    _register()
    key = run_keys.key(Run(cell, tuple(sizes.items())))
    call = CustomCall(key, reverse, sequences, mask is not None, cell.draws)
    mask = None if mask is None else mask.astype(bool)
    further = mask, seed if cell.draws else None
    found: list[Array] = _run(call, x, list(states), list(parameters), further)
    return (found.pop(0) if sequences else None), found
