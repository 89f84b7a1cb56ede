"""What every cell keeps, those of the catalogue and those invented for it: the interpreter, torch
operations and the derivative agree, whatever the sizes.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import anyrnn
from anyrnn import CATALOGUE
from anyrnn.torch import Recurrent
from checks import PATHS, SIZES, Case, close, close_gradients, close_results, make_case
from invented_cells import INVENTED, SMALLEST

CELLS = {**CATALOGUE, **INVENTED}
each_path = pytest.mark.parametrize("path", PATHS)
each_cell = pytest.mark.parametrize("name", CELLS)


def case(name: str, seed: int = 0, **options: object) -> Case:
    return make_case(CELLS[name], seed, smallest=SMALLEST.get(name, 1), **options)


@each_cell
@each_path
@pytest.mark.parametrize("seed", range(2))
def test_every_path_is_the_interpreter(name: str, path: str, seed: int) -> None:
    random = case(name, seed)
    results, gradients = random.execute(path)
    close_results(results, random.interpret(), 1e-12)
    close_gradients(gradients, random.gradients(), 1e-11)


@each_cell
@each_path
def test_large_odd_sizes(name: str, path: str) -> None:
    sizes = dict(zip(CELLS[name].free_sizes, (37, 23, 31, 29), strict=False))
    random = case(name, 1, time=3, batch=11, sizes=sizes)
    results, gradients = random.execute(path)
    close_results(results, random.interpret(), 1e-12)
    close_gradients(gradients, random.gradients(), 1e-11)


@each_cell
@each_path
@pytest.mark.parametrize(("time", "batch"), [(1, 1), (1, 3), (5, 1)])
def test_one_step_and_one_row(name: str, path: str, time: int, batch: int) -> None:
    random = case(name, 2, time=time, batch=batch)
    results, gradients = random.execute(path)
    close_results(results, random.interpret(), 1e-12)
    close_gradients(gradients, random.gradients(), 1e-11)


@each_cell
@each_path
def test_all_sizes_smallest(name: str, path: str) -> None:
    smallest = SMALLEST.get(name, 1)
    random = case(name, 3, sizes=dict.fromkeys(CELLS[name].free_sizes, smallest))
    results, gradients = random.execute(path)
    close_results(results, random.interpret(), 1e-12)
    close_gradients(gradients, random.gradients(), 1e-11)


@each_cell
@each_path
def test_float32(name: str, path: str) -> None:
    random = case(name, 4)
    exact = random.interpret()
    results, gradients = random.as_type(np.float32).execute(path)
    own = random.as_type(np.float32).interpret()
    for array in (own.output, *own.states, *own.history, results.output, *results.states):
        assert array.dtype == np.float32
    close_results(own, exact, 1e-5)
    close_results(results, exact, 1e-5)
    close_gradients(gradients, random.gradients(), 1e-4)


@each_cell
def test_longdouble(name: str) -> None:
    random = case(name, 5)
    wide = random.as_type(np.longdouble)
    result, gradients = wide.interpret(), wide.gradients()
    arrays = (result.output, *result.states, *result.history, gradients.x, *gradients.states)
    for array in (*arrays, *gradients.parameters.values()):
        assert array.dtype == np.longdouble
    close_results(random.interpret(), result, 1e-12)
    close_gradients(random.gradients(), gradients, 1e-12)


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps == np.finfo(float).eps, reason="longdouble is float64 here"
)
@pytest.mark.parametrize("name", ["lstm", "gru", "normalised", "every_function"])
def test_longdouble_is_wider_all_the_way(name: str) -> None:
    wide = case(name, 5).as_type(np.longdouble)
    for array in (wide.interpret().output, wide.gradients().x):
        assert np.any(array != array.astype(np.float64))


def _central_differences(random: Case) -> None:
    """Compare each element of each gradient with a difference of losses."""
    wide = random.as_type(np.longdouble)
    epsilon = float(np.finfo(np.longdouble).eps)
    step, tolerance = np.longdouble(epsilon ** (1 / 3)), max(1e-9, 1e4 * epsilon ** (2 / 3))
    gradients = wide.gradients()
    pairs = [(wide.x, gradients.x), *zip(wide.states, gradients.states, strict=True)]
    pairs += [(array, gradients.parameters[name]) for name, array in wide.parameters.items()]
    for array, gradient in pairs:
        differences = np.empty_like(array)
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + step
            above = wide.loss()
            array[place] = kept - step
            differences[place] = (above - wide.loss()) / (2 * step)
            array[place] = kept
        close(gradient, differences, tolerance)


@each_cell
def test_gradients_are_central_differences(name: str) -> None:
    sizes = dict(zip(CELLS[name].free_sizes, (2, 3, 1, 3), strict=False))
    if name in SMALLEST:
        sizes = dict.fromkeys(sizes, SMALLEST[name])
    _central_differences(case(name, 6, time=3, batch=2, sizes=sizes))


@each_cell
def test_two_pieces_are_one_sequence(name: str) -> None:
    random = case(name, 7, time=5)
    whole = random.interpret()
    first = replace(random, x=random.x[:2]).interpret()
    second = replace(random, x=random.x[2:], states=first.states).interpret()
    np.testing.assert_array_equal(np.concatenate([first.output, second.output]), whole.output)
    for ours, wanted in zip(second.states, whole.states, strict=True):
        np.testing.assert_array_equal(ours, wanted)
    for place, history in enumerate(whole.history):
        assert history.shape == (6, *whole.states[place].shape)
        np.testing.assert_array_equal(history[0], random.states[place])
        np.testing.assert_array_equal(history[-1], whole.states[place])


@each_cell
@each_path
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rows_are_independent(name: str, path: str) -> None:
    random = case(name, 8, time=3, batch=4)
    clean, clean_gradients = random.execute(path)
    spoilt = replace(random, x=random.x.copy(), states=tuple(s.copy() for s in random.states))
    spoilt.x[:, 2] = np.nan
    for state in spoilt.states:
        state[2] = np.nan
    others = [0, 1, 3]
    results, gradients = spoilt.execute(path)
    for result in (results, spoilt.interpret()):
        close(result.output[:, others], clean.output[:, others], 1e-12)
        for ours, wanted in zip(result.states, clean.states, strict=True):
            close(ours[others], wanted[others], 1e-12)
    for found in (gradients, spoilt.gradients()):
        close(found.x[:, others], clean_gradients.x[:, others], 1e-12)
        for ours, wanted in zip(found.states, clean_gradients.states, strict=True):
            close(ours[others], wanted[others], 1e-12)


@each_cell
@pytest.mark.parametrize("num_layers", [1, 2])
def test_layer_is_the_interpreter(name: str, num_layers: int) -> None:
    random = case(name, 9)
    cell = random.cell
    sizes = {f"{size}_size": number for size, number in random.sizes.items()}
    layer = Recurrent(cell, **sizes, num_layers=num_layers, dtype=torch.float64)
    initial = [np.stack([state, 0.5 * state][:num_layers]) for state in random.states]
    tensors = tuple(map(torch.tensor, initial))
    output, last = layer(torch.tensor(random.x), tensors if len(tensors) > 1 else tensors[0])
    last = last if isinstance(last, tuple) else (last,)
    x = random.x
    for place in range(num_layers):
        parameters = {
            stored.name: getattr(layer, f"{stored.name}_l{place}").detach().numpy()
            for stored in cell.parameters
        }
        states = [state[place] for state in initial]
        result = anyrnn.interpret(cell, x, states, parameters=parameters)
        x = result.output
        for ours, wanted in zip(last, result.states, strict=True):
            close(ours[place].detach(), wanted, 1e-12)
    close(output.detach(), x, 1e-12)


@given(
    name=st.sampled_from(["lstm", "gru", "lstm_projection", "normalised", "three_states"]),
    data=st.data(),
)
def test_any_sizes(name: str, data: st.DataObject) -> None:
    sizes = {s: data.draw(st.integers(1, 9), s) for s in CELLS[name].free_sizes}
    time, batch = data.draw(st.sampled_from(SIZES), "time"), data.draw(st.integers(1, 6), "batch")
    random = case(name, data.draw(st.integers(0, 99), "seed"), time=time, batch=batch, sizes=sizes)
    results, gradients = random.execute()
    close_results(results, random.interpret(), 1e-12)
    close_gradients(gradients, random.gradients(), 1e-11)


@pytest.mark.parametrize("name", CATALOGUE)
def test_documentation(name: str) -> None:
    """A sentence or two in a paragraph, and what else there is after an empty line."""
    cell = anyrnn.get(name)
    first, _, further = cell.documentation.partition("\n\n")
    assert re.fullmatch(r"[A-Z].{10,}\.", first, re.DOTALL)
    assert first.count("\n") < 3
    assert further == further.strip()
    assert (anyrnn.get(name), cell.name) == (CATALOGUE[name], name)


def test_the_same_hyperparameters_give_the_same_cell() -> None:
    @anyrnn.cell
    def leaky(x, h, *, W, U, keep=0.5):
        return keep * h + (1 - keep) * anyrnn.tanh(W @ x + U @ h)

    assert leaky.with_hyperparameters(keep=0.9) is leaky.with_hyperparameters(keep=0.9)
    assert leaky.with_hyperparameters(keep=0.9) is not leaky.with_hyperparameters(keep=0.8)
