"""Running a cell on JAX: as a custom call of XLA, which JAX traces and compiles as any operation,
with a custom derivative (`jax.custom_vjp`), which is a custom call too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import compress
from typing import Any, NamedTuple

import jax
from jax import Array
from jax import numpy as jnp
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jax.interpreters.ad import JVPTracer

from anyrnn.keras.backends import CellCall, ffi, no_second, tracers
from anyrnn.kernels import run_keys
from anyrnn.kernels.callbacks import Callback
from anyrnn.kernels.host import usual_threads

TARGET = "anyrnn"


class CustomCall(NamedTuple):
    """A custom call without its arrays: what its handler is told, as JSON.

    Attributes:
        key: The key of the run, see `anyrnn.kernels.run_keys.key`.
        options: The other fields of an `anyrnn.kernels.callbacks.Callback`.
        wanted: For the derivative: whether the gradient of the input is wanted, and of each
            parameter; nothing for the run itself.
    """

    key: str
    options: tuple[bool, bool, bool, bool]
    wanted: tuple[bool, ...] = ()

    @property
    def callback(self) -> Callback:
        """The run that its handler computes."""
        return Callback(run_keys.run_of(self.key), *self.options)

    def call(self, shapes: Sequence[tuple[int, ...]], dtype: Any, *arguments: Array) -> Any:
        """Call it with arrays; the results, whose shapes are given."""
        results = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
        made = jax.ffi.ffi_call(TARGET, results, vmap_method="sequential")
        return made(*arguments, job=json.dumps(self))


@lru_cache(maxsize=1024)
def _decode(text: str) -> CustomCall:
    return CustomCall(*json.loads(text))


def _threads() -> int:
    """The most threads of a run: those of the cores, or one if XLA is told to use one."""
    alone = "--xla_cpu_multi_thread_eigen=false" in os.environ.get("XLA_FLAGS", "")
    return 1 if alone else usual_threads()


def _handle(text: str, arguments: list[Any], results: list[Any]) -> None:
    """The handler of all custom calls."""
    call = _decode(text)
    batch = call.callback.read(_threads(), arguments)
    if call.wanted:
        batch.backward(call.wanted, results)
    else:
        batch.forward(results)


@cache
def _register() -> None:
    """Register the handler when the first cell runs, because this compiles machine code."""
    ffi.register(TARGET, _handle)


Further = tuple[Array | None, Array | None]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    call: CustomCall, x: Array, states: list[Array], parameters: list[Array], further: Further
) -> list[Array]:
    """The output, if it is asked for, and the last states; `further` are the mask and the seed."""
    shapes = call.callback.result_shapes(*x.shape[:2])
    return call.call(shapes, x.dtype, x, *states, *parameters, *_given(further))


def _given(further: Further) -> list[Array]:
    return [array for array in further if array is not None]


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Wanted:
    """Static information among the residuals of a custom_vjp.

    Attributes:
        gradients: Whether the gradient of the input is wanted, and of each parameter.
    """

    gradients: tuple[bool, ...]


def _record(call: CustomCall, *given: Any) -> tuple[list[Array], Any]:
    x, states, parameters, further = jax.tree.map(lambda part: part.value, given)
    callback = call.callback
    results = callback.result_shapes(*x.shape[:2])
    shapes = [*results, *callback.residual_shapes(*x.shape[:2])]
    arguments = x, *states, *parameters, *_given(further)
    found: list[Array] = _once(call, tuple(shapes), arguments)
    wanted = _Wanted(tuple(part.perturbed for part in (given[0], *given[2])))
    saved = found[len(results) :]
    return found[: len(results)], (wanted, x, states, parameters, further, saved)


def _derivative(call: CustomCall, residuals: Any, gradients: list[Any]) -> tuple[Any, ...]:
    static, x, states, parameters, further, saved = residuals
    wanted = static.gradients
    given = [
        jnp.zeros(part.shape, x.dtype) if isinstance(part, SymbolicZero) else part
        for part in gradients
    ]
    asked = [x] * wanted[0] + [*states, *compress(parameters, wanted[1:])]
    call = call._replace(wanted=wanted)
    arguments = x, *states, *parameters, *_given(further), *saved, *given
    found = iter(_once(call, tuple(part.shape for part in asked), arguments))
    return (
        next(found) if wanted[0] else None,
        [next(found) for _ in states],
        [next(found) if needed else None for needed in wanted[1:]],
        None,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _once(call: CustomCall, shapes: tuple[Any, ...], arguments: tuple[Array, ...]) -> list[Array]:
    """A custom call inside a derivative, which cannot be differentiated again."""
    return call.call(shapes, arguments[0].dtype, *arguments)


_run.defvjp(_record, _derivative, symbolic_zeros=True)
_once.defvjp(lambda *given: (_once(*given), None), no_second)


def _is_forward_mode(tensor: Any) -> bool:
    """Whether JAX differentiates a tensor in forward mode, which a custom_vjp does not support.

    In versions of JAX whose grad does not linearize directly, a jvp cannot be told from it: there
    JAX raises its own error.
    """
    if not getattr(jax.config, "jax_use_direct_linearize", False):
        return False
    while isinstance(tensor, Tracer):  # vmap wraps what is below it, and so does grad
        if isinstance(tensor, JVPTracer):
            return True
        tensor = getattr(tensor, "val", getattr(tensor, "primal", None))
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
        elif isinstance(tensor, Array):  # else one of NumPy
            platforms = {device.platform for device in tensor.devices()}
            if platforms != {"cpu"}:
                return f"tensors on {', '.join(sorted(platforms))}"
    if traced and jax.default_backend() != "cpu":
        return f"a program for {jax.default_backend()}"
    return tracers.exporter() if traced else None


def run(call: CellCall) -> tuple[Array | None, list[Array]]:
    """Run a cell; as `anyrnn.keras.backends.run`. JAX knows itself what to record."""
    _register()
    key = run_keys.key(call.run)
    mask = None if call.mask is None else call.mask.astype(bool)
    further = mask, call.seed if call.cell.draws else None
    custom = CustomCall(key, call.options)
    found: list[Array] = _run(custom, call.x, list(call.states), list(call.parameters), further)
    return (found.pop(0) if call.sequences else None), found
