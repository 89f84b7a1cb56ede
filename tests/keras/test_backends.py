"""Cells run with the tensors of each backend of Keras, against the compiled cell on NumPy arrays.

They run on the backend that Keras has in this process; `test_layers_on_backends.py` runs them on
the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("keras")

import keras
from keras import ops

import anyrnn
from anyrnn.errors import InputError
from anyrnn.graph.cell import Cell
from anyrnn.keras import backends
from anyrnn.kernels.callbacks import Batch
from anyrnn.transforms.dropout import with_recurrent_dropout

BACKEND = keras.config.backend()
pytestmark = pytest.mark.skipif(BACKEND not in backends.BACKENDS, reason="a backend of Keras only")

if BACKEND == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)
elif BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "torch":
    import torch

Array = Any
CELLS = ("lstm", "gru", "rnn", "gru_reset_before", "rnn_output", "lstm_projection")
SIZES = {"input": 3, "hidden": 5, "output": 2, "projection": 4}


class Case(NamedTuple):
    """Random arrays for a cell, and what is to come out."""

    cell: Cell
    sizes: dict[str, int]
    x: Array
    states: list[Array]
    parameters: list[Array]
    mask: Array
    output_gradient: Array
    state_gradients: list[Array]

    @property
    def arrays(self) -> list[Array]:
        return [self.x, *self.states, *self.parameters]

    def expected(self, turned: bool = False, seed: int | None = None) -> list[Array]:
        """Output, last states and all gradients, by the compiled cell on NumPy arrays."""
        order = slice(None, None, -1) if turned else slice(None)
        mask = None if self.mask is None else self.mask[:, order].T
        names = [stored.name for stored in self.cell.parameters]
        made = anyrnn.compile(self.cell, self.sizes, dtype=self.x.dtype)
        result = made.forward(
            self.x[:, order].transpose(1, 0, 2),
            self.states,
            parameters=dict(zip(names, self.parameters, strict=True)),
            save=True,
            seed=seed,
            mask=mask,
            padding="carry",
        )
        found = result.backward(self.output_gradient.transpose(1, 0, 2), self.state_gradients)
        return [
            result.output.transpose(1, 0, 2),
            *result.states,
            found.x.transpose(1, 0, 2)[:, order],
            *found.states,
            *(found.parameters[name] for name in names),
        ]


def make(
    name: str | Cell, mask: Any = None, batch: int = 3, time: int = 4, dtype: Any = np.float64
) -> Case:
    cell, random = anyrnn.get(name), np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape).astype(dtype)

    sizes = cell.bind_sizes(**{name: SIZES[name] for name in cell.free_sizes})
    states = [size.evaluate(sizes) for size in cell.state_sizes]
    if mask == "random":
        mask = random.random((batch, time)) < 0.6
    elif mask == "nothing":
        mask = np.zeros((batch, time), bool)
    elif mask == "everything":
        mask = np.ones((batch, time), bool)
    return Case(
        cell,
        sizes,
        draw(batch, time, sizes["input"]),
        [draw(batch, size) for size in states],
        [draw(*stored.shape_for(sizes)) for stored in cell.parameters],
        mask,
        draw(batch, time, cell.output_size.evaluate(sizes)),
        [draw(batch, size) for size in states],
    )


def as_keras_has(parameter: Any) -> Any:
    """A parameter as Keras has it."""
    return ops.transpose(parameter) if len(parameter.shape) == 2 else parameter


def run(
    case: Case, tensors: list[Any], turned: bool = False, seed: Any = None, recorded: bool = True
) -> list[Any]:
    """Output and last states."""
    count = 1 + len(case.states)
    mask = None if case.mask is None else ops.convert_to_tensor(case.mask)
    seed = None if seed is None else ops.convert_to_tensor(np.array(seed))
    given = tensors[0], tensors[1:count], [*map(as_keras_has, tensors[count:])], recorded
    call = backends.CellCall(case.cell, case.sizes, *given, mask=mask, reverse=turned, seed=seed)
    output, last = backends.run(call)
    return [output, *last]


def loss(case: Case, results: list[Any]) -> Any:
    gradients = [case.output_gradient, *case.state_gradients]
    given = map(ops.convert_to_tensor, gradients)
    return sum(ops.sum(one * other) for one, other in zip(results, given, strict=True))


def differentiate(case: Case, traced: bool = False, **options: Any) -> list[Array]:
    """Output, last states and all gradients, by the backend; eagerly, or in a graph."""
    if BACKEND == "torch":
        leaves = [torch.tensor(array, requires_grad=True) for array in case.arrays]
        results = run(case, leaves, **options)
        found = torch.autograd.grad(loss(case, results), leaves, allow_unused=True)
        found = [
            torch.zeros_like(leaf) if part is None else part
            for leaf, part in zip(leaves, found, strict=True)
        ]
        return [part.detach().numpy() for part in (*results, *found)]
    if BACKEND == "jax":

        def both(tensors: list[Any]) -> Any:
            results = run(case, tensors, **options)
            return loss(case, results), results

        compute = jax.value_and_grad(both, has_aux=True)
        (_, results), found = (jax.jit(compute) if traced else compute)(
            [jax.numpy.asarray(array) for array in case.arrays]
        )
        return [np.asarray(part) for part in (*results, *found)]

    def taped(*tensors: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results = run(case, [*tensors], **options)
            total = loss(case, results)
        return [*results, *tape.gradient(total, tensors)]

    compute = tf.function(taped, autograph=False) if traced else taped
    return [part.numpy() for part in compute(*map(tf.constant, case.arrays))]


def agree(found: list[Array], expected: list[Array], tolerance: float = 1e-11) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_as_the_compiled_cell(name: str) -> None:
    """Of two neighbours one has its mask forward, the other backward."""
    for turned in (False, True):
        mask = None if (CELLS.index(name) % 2 == 0) == turned else "random"
        case = make(name, mask)
        agree(differentiate(case, turned=turned), case.expected(turned))


@pytest.mark.parametrize("mask", ["random", "nothing", "everything", None])
def test_in_a_graph(mask: str | None) -> None:
    for recorded in (True, False):
        case = make("gru", mask)
        found = differentiate(case, traced=True, turned=True, recorded=recorded)
        agree(found, case.expected(True))


def test_float32() -> None:
    case = make("lstm", "random", dtype=np.float32)
    found = differentiate(case)
    assert {part.dtype for part in found} == {np.dtype(np.float32)}
    agree(found, case.expected(), 1e-4)


def test_central_differences() -> None:
    case, step = make("lstm", "random", time=3), 1e-6
    found = differentiate(case, turned=True)[1 + len(case.states) :]

    def value() -> float:
        results = run(case, [ops.convert_to_tensor(array) for array in case.arrays], turned=True)
        return float(ops.convert_to_numpy(loss(case, results)))

    for array, gradient in zip(case.arrays, found, strict=True):
        for index in list(np.ndindex(array.shape))[::7]:
            before = array[index]
            array[index] = before + step
            above = value()
            array[index] = before - step
            below = value()
            array[index] = before
            assert abs((above - below) / (2 * step) - gradient[index]) < 1e-6


@pytest.mark.parametrize("traced", [False, True])
def test_random_numbers_follow_from_the_seed(traced: bool) -> None:
    case = make(with_recurrent_dropout(anyrnn.get("lstm"), 0.5))
    for seed, number in ([7], 7), ([3, 9], 3 << 32 | 9):
        found = differentiate(case, traced, seed=seed)
        agree(found, case.expected(seed=number))
    assert not np.allclose(found[0], case.expected(seed=10)[0])


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("time", [1, 2])
def test_few(batch: int, time: int) -> None:
    for mask in (None, "everything"):
        case = make("lstm", mask, batch, time)
        agree(differentiate(case), case.expected())


def test_results_are_memory_of_their_own() -> None:
    case = make("gru", batch=1, time=1)
    tensors = [ops.convert_to_tensor(array) for array in case.arrays]
    for mask in (None, np.zeros((1, 1), bool)):
        results = run(case._replace(mask=mask), tensors)
        kept = [np.array(ops.convert_to_numpy(part)) for part in results]
        for _ in range(3):
            run(case, [tensor * 2 for tensor in tensors])
        agree([ops.convert_to_numpy(part) for part in results], kept, 0)


def test_several_threads() -> None:
    case = make("lstm", "random", batch=8, time=20)
    expected, wrong = case.expected(), []

    def work() -> None:
        try:
            for _ in range(5):
                agree(differentiate(case), expected)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_shapes_that_do_not_fit() -> None:
    case = make("lstm", "everything")
    for place in range(len(case.arrays)):
        arrays = [ops.convert_to_tensor(array) for array in case.arrays]
        arrays[place] = ops.concatenate([arrays[place], arrays[place]], axis=-1)
        with pytest.raises(InputError, match=r"has shape .*; expected"):
            run(case, arrays)
    arrays = [ops.convert_to_tensor(array) for array in case.arrays]
    with pytest.raises(InputError, match=r"the mask has shape \(3, 3\); expected \(3, 4\)"):
        run(case._replace(mask=case.mask[:, :3]), arrays)
    with pytest.raises(InputError, match="a sequence length of 0"):
        run(case, [arrays[0][:, :0], *arrays[1:]])


def resident() -> int:
    """The bytes of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no such file on this system")
def test_no_memory_is_lost() -> None:
    case = make("lstm", "random", batch=8, time=50)
    compute = repeated(case)
    for _ in range(100):
        compute()
    before = resident()
    for _ in range(400):
        compute()
    assert resident() - before < 14 << 20  # one call keeps a sixteenth of a megabyte


def repeated(case: Case) -> Callable[[], Any]:
    """A run with its derivative, traced once."""
    if BACKEND == "jax":
        tensors = [jax.numpy.asarray(array) for array in case.arrays]
        gradient = jax.jit(jax.grad(lambda given: loss(case, run(case, given))))
        return lambda: gradient(tensors)[0].block_until_ready()
    if BACKEND == "torch":
        return lambda: differentiate(case)
    tensors = [tf.constant(array) for array in case.arrays]

    @tf.function(autograph=False)
    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = loss(case, run(case, tensors))
        return tape.gradient(total, tensors)

    return gradient


def test_nothing_is_refused_on_a_cpu() -> None:
    case = make("lstm")
    assert backends.refusal([ops.convert_to_tensor(array) for array in case.arrays]) is None


def test_prepared_layers() -> None:
    """On each backend, with the same bits; where it gains nothing, nothing is kept."""
    layer = anyrnn.keras.GRU(5)
    x = np.ones((2, 3, 4), "float32")
    wanted = np.array(ops.convert_to_numpy(layer(x)))
    assert anyrnn.keras.prepare(layer) is layer
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), wanted)
    assert (layer._kept == (None,)) == (BACKEND != "torch")


if BACKEND == "jax":

    def test_a_constant_in_a_program() -> None:
        """Of which nothing else is a number."""
        layer = anyrnn.keras.LSTM(5)
        x = np.ones((2, 3, 4), "float32")
        wanted = layer(x)
        weights, rest = (
            [each.value for each in part]
            for part in (layer.trainable_variables, layer.non_trainable_variables)
        )
        found = jax.jit(lambda given: layer.stateless_call(given, rest, x)[0])(weights)
        np.testing.assert_allclose(found, wanted, atol=1e-6)

    def test_second_derivatives_are_refused() -> None:
        case = make("gru")

        def first(given: Any) -> Any:
            return jax.grad(lambda given: loss(case, run(case, given)))(given)[0].sum()

        with pytest.raises(InputError, match="a second derivative was asked for"):
            jax.grad(first)([jax.numpy.asarray(array) for array in case.arrays])

    def test_under_vmap() -> None:
        case = make("lstm")
        many = jax.numpy.stack([case.x, 2 * case.x])

        def compute(x: Any) -> Any:
            return jax.value_and_grad(lambda x: loss(case, run(case, [x, *case.arrays[1:]])))(x)

        values, gradients = jax.jit(jax.vmap(compute))(many)
        for x, value, gradient in zip(many, values, gradients, strict=True):
            agree([value, gradient], list(compute(x)))

    def test_forward_mode_takes_keras_own_loop() -> None:
        layer = anyrnn.keras.GRU(4, return_sequences=True)
        x = jax.numpy.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), "float32")
        layer(x)
        weights = [variable.value for variable in layer.trainable_variables]
        others = [variable.value for variable in layer.non_trainable_variables]

        def compute(x: Any) -> Any:
            return layer.stateless_call(weights, others, x)[0]

        _, found = jax.jvp(compute, (x,), (x,))
        assert str(layer.compute_path) == "keras: forward-mode differentiation"
        near = (compute(x * 1.01) - compute(x * 0.99)) / 0.02
        np.testing.assert_allclose(found, near, atol=1e-3)
        twice = jax.hessian(lambda x: compute(x).sum())(x)
        assert str(layer.compute_path) == "keras: forward-mode differentiation"
        assert twice.shape == 2 * x.shape
        jax.grad(lambda x: compute(x).sum())(x)
        assert layer.compute_path.name == "compiled"

    def test_only_what_is_wanted_is_computed() -> None:
        case = make("lstm")

        def total(parameters: Any) -> Any:
            return loss(case, run(case, [case.x, *case.states, *parameters]))

        text = str(jax.make_jaxpr(jax.grad(total))(case.parameters))
        assert text.count("[false, true, true, true]") == 1

    def test_an_exception_in_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
        case = make("lstm")
        tensors = [jax.numpy.asarray(array) for array in case.arrays]
        for error in (InputError("no such thing"), ZeroDivisionError("of our own")):

            def fail(*_: Any, error: Exception = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(Batch, "forward", fail)
                with pytest.raises(Exception, match=str(error)):
                    jax.block_until_ready(run(case, tensors))
        agree(run(case, tensors), case.expected()[:3])

    def test_the_process_ends_while_a_call_is_under_way() -> None:
        text = """
            import anyrnn, jax, numpy
            from anyrnn.keras import backends
            cell, sizes = anyrnn.get("rnn"), {"input": 64, "hidden": 64}
            x = numpy.ones((64, 500, 64))
            parameters = [numpy.ones(each.shape_for(sizes)) for each in cell.parameters]
            states = [numpy.zeros((64, 64))]
            call = backends.CellCall(cell, sizes, x, states, parameters, recorded=True)
            run = jax.jit(lambda x: backends.run(call._replace(x=x)))
            jax.block_until_ready(run(x))
            last = run(x), run(x)
        """
        subprocess.run([sys.executable, "-c", dedent(text)], check=True, timeout=300)

    def test_exports_are_refused() -> None:
        from jax import export

        reasons = []

        def compute(x: Any) -> Any:
            reasons.append(backends.refusal([x]))
            return x

        export.export(jax.jit(compute))(jax.ShapeDtypeStruct((2, 3), np.float32))
        assert "export" in reasons[0]


if BACKEND == "tensorflow":

    def test_second_derivatives_are_refused() -> None:
        case = make("gru")
        tensors = [tf.constant(array) for array in case.arrays]
        with tf.GradientTape() as outer:
            outer.watch(tensors)
            with tf.GradientTape() as inner:
                inner.watch(tensors)
                total = loss(case, run(case, tensors))
            first = tf.reduce_sum(inner.gradient(total, tensors)[0])
        with pytest.raises(InputError, match="a second derivative was asked for"):
            outer.gradient(first, tensors)

    def test_sizes_that_are_not_known() -> None:
        case = make("lstm", "random")
        signature = [tf.TensorSpec((None, None, 3), tf.float64)]

        @tf.function(input_signature=signature, autograph=False)
        def compute(x: Any) -> Any:
            output, *_ = run(case._replace(mask=None), [x, *case.arrays[1:]])
            assert output.shape.as_list() == [None, None, 5]
            return output

        agree([compute(case.x)], case._replace(mask=None).expected()[:1])

    def test_graphs_that_leave_the_process_are_refused(tmp_path: Path) -> None:
        reasons = []

        def compute(x: Any) -> Any:
            reasons.append(backends.refusal([x]))
            return x + 1

        x = tf.constant([1.0])
        tf.function(compute, jit_compile=True, autograph=False)(x)
        tf.function(compute, autograph=False)(x)
        assert reasons == ["a graph for XLA (jit_compile=True)", None]
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serve", compute, [tf.TensorSpec((1,), tf.float32)])
        archive.write_out(str(tmp_path / "saved"), verbose=False)
        assert "inside an export" in reasons[-1]


if BACKEND == "torch":

    def test_second_derivatives() -> None:
        case = make("gru")
        leaves = [torch.tensor(array, requires_grad=True) for array in case.arrays]
        assert torch.autograd.gradgradcheck(
            lambda x: run(case, [x, *leaves[1:]])[0].square(), leaves[:1]
        )
