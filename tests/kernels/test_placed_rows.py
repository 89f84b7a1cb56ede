"""A run that reads a padded input and writes a padded output computes what one over gathered rows
does, bit by bit, and has zeros elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import anyrnn
from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.cpu.program import program_plan, varying
from anyrnn.kernels.cpu.target import CPU, _forward
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.row_layout import Layout, lay_out
from anyrnn.kernels.run import Array, Arrays, Run, Steps
from anyrnn.kernels.target import places
from checks import Case, make_case, poisoned
from invented_cells import INVENTED

TIME, BATCH = 9, 8
CELLS = {
    **{name: anyrnn.get(name) for name in ("lstm", "gru", "mingru")},
    "delayed": INVENTED["delayed"],
}


@pytest.fixture(autouse=True)
def conditions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory is full of NaN; small runs take several threads."""
    monkeypatch.setattr(memory, "empty", poisoned(memory.empty))
    monkeypatch.setattr("anyrnn.kernels.cpu.policy.PARALLEL", 0)
    monkeypatch.setattr(varying, "LEADING", 1)
    _forward.cache_clear()
    yield
    _forward.cache_clear()


def layouts() -> Iterator[Layout]:
    """Layouts of lengths, of which some are 0; of masks, and of resets."""
    random = np.random.default_rng(0)
    for _ in range(3):
        shape, further = (TIME, BATCH), {}
        lengths = random.integers(0, TIME, BATCH)
        mask, resets = (random.random(shape) < share for share in (0.5, 0.3))
        for further in (
            {"lengths": lengths},
            {"mask": mask},
            {"resets": resets},
            {"mask": mask, "resets": resets},
        ):
            found = lay_out(("time", "batch"), shape, **further)
            assert found is not None
            yield found


def _flat(array: Array, batch_first: bool) -> Array:
    return np.ascontiguousarray(array.swapaxes(0, 1) if batch_first else array).reshape(
        TIME * BATCH, -1
    )


def _poisoned(array: Array, layout: Layout, batch_first: bool) -> Array:
    """Padded rows with NaN where no step is."""
    found = _flat(array, batch_first).copy()
    found[layout.rest(batch_first)] = np.nan
    return found


def _padded(rows: Any, layout: Layout, batch_first: bool) -> Array:
    found = np.zeros((TIME * BATCH, rows.shape[1]), rows.dtype)
    found[layout.places(batch_first)] = rows
    return found


def _both(
    case: Case, run: Run, layout: Layout, read: bool, write: bool
) -> tuple[list[Array], list[Array]]:
    """What both runs compute: the output, and the last states."""
    count = 1 + layout.resets
    starts = [np.concatenate([part, part[::-1]][:count]) for part in case.states]
    gathered = _flat(case.x, False)[layout.places(False)]
    begun = [start[layout.begin(run.reverse)] for start in starts]
    steps = Steps(tuple(layout.batch_sizes))
    given = NUMPY_ARRAYS, gathered, begun, case.parameters
    rows, last = CPU().forward(run._replace(steps=steps), Arrays(*given))
    wanted = [_padded(rows, layout, write)]
    for state, start in zip(last, starts, strict=True):
        wanted.append(np.concatenate([state, start])[layout.end(run.reverse)])
    run = run._replace(steps=layout.placed(read, write, run.reverse))
    assert places(CPU(), run)
    given = NUMPY_ARRAYS, _poisoned(case.x, layout, read), starts, case.parameters
    output, last = CPU().forward(run, Arrays(*given))
    return wanted, [output, *last]


def _both_back(
    case: Case, run: Run, layout: Layout, read: bool, write: bool
) -> tuple[list[Array], list[Array]]:
    """What both runs compute with a gradient: the same, and the gradients of the input, of the
    states with which rows begin and of the parameters. Of the last states these are given for each
    sequence of rows, where states are put back.
    """
    random, target, names = np.random.default_rng(1), CPU(), run.cell.parameter_names
    count, wants = 1 + layout.resets, [True] * (1 + len(names))
    starts = [np.concatenate([part, part[::-1]][:count]) for part in case.states]
    begin, end = layout.begin(run.reverse), layout.end(run.reverse)
    gathered = _flat(case.x, False)[layout.places(False)]
    packed = run._replace(steps=Steps(tuple(layout.batch_sizes)))
    begun = [start[begin] for start in starts]
    given = Arrays(NUMPY_ARRAYS, gathered, begun, case.parameters)
    rows, last, saved = target.record(packed, given)
    wanted = [_padded(rows, layout, write)]
    for state, start in zip(last, starts, strict=True):
        wanted.append(np.concatenate([state, start])[end])

    above = random.standard_normal((TIME, BATCH, rows.shape[1])).astype(rows.dtype)
    own = [random.standard_normal(part.shape).astype(rows.dtype) for part in case.states]
    ended = [np.zeros((layout.sequences + len(s), s.shape[1]), s.dtype) for s in starts]
    for into, part in zip(ended, own, strict=True):
        into[end] = part
    behind = [part[: layout.sequences] for part in ended]
    gradients = [_flat(above, False)[layout.places(False)], *behind]
    x, states, parameters = target.backward(packed, given, saved, gradients, wants)
    wanted += [_padded(x, layout, read), *(parameters[name] for name in names)]
    for state, into in zip(states, ended, strict=True):
        whole = into[layout.sequences :].copy()
        whole[begin] += state
        wanted.append(state if layout.resets else whole)

    run = run._replace(steps=layout.placed(read, write, run.reverse))
    assert places(target, run, recorded=True)
    given = Arrays(NUMPY_ARRAYS, _poisoned(case.x, layout, read), starts, case.parameters)
    output, last, saved = target.record(run, given)
    back = run._replace(steps=layout.placed(read, write, run.reverse, backward=True))
    gradients = [_poisoned(above, layout, write), *(behind if layout.resets else own)]
    x, states, parameters = target.backward(back, given, saved, gradients, wants)
    assert x is not None
    return wanted, [output, *last, x, *(parameters[name] for name in names), *states]


@pytest.mark.parametrize(
    ("reverse", "threads", "segment", "operand"),
    [
        (False, 1, 8 << 20, None),
        (True, 2, 8 << 20, None),
        (False, 3, 1, None),
        (True, 1, 1, "bfloat16"),
        (False, 2, 8 << 20, "int8"),
    ],
)
@pytest.mark.parametrize("name", CELLS)
def test_the_bits_of_gathered_rows(
    name: str,
    reverse: bool,
    threads: int,
    segment: int,
    operand: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program_plan, "SEGMENT_BYTES", segment)
    case = make_case(CELLS[name], 1, time=TIME, batch=BATCH).as_type(np.float32)
    run = Run(case.cell, tuple(case.sizes.items()), reverse, operand=operand)
    run = run._replace(dtype=case.x.dtype, threads=threads)
    for number, layout in enumerate(layouts()):
        order = number % 2 == 0, number % 3 == 0
        for compute in (_both, _both_back)[: 1 + (operand != "int8")]:
            wanted, found = compute(case, run, layout, *order)
            for ours, theirs in zip(found, wanted, strict=True):
                assert np.isfinite(theirs).all()
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", CELLS)
def test_a_gradient_from_the_states_alone(name: str) -> None:
    case = make_case(CELLS[name], 1, time=TIME, batch=BATCH).as_type(np.float32)
    run = Run(case.cell, tuple(case.sizes.items()), memory="low", dtype=case.x.dtype)
    for layout in layouts():
        wanted, found = _both_back(case, run, layout, False, True)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_products_with_the_input_before_the_loop() -> None:
    """With few rows they come first: the rows are gathered for them."""
    cell, shape = CELLS["lstm"], (TIME, BATCH)
    case = make_case(cell, 1, time=TIME, batch=BATCH).as_type(np.float32)
    lengths = np.zeros(BATCH, np.int64)
    lengths[[1, 4]] = 7, 3
    layout = lay_out(("time", "batch"), shape, lengths=lengths)
    assert layout is not None
    run = Run(cell, tuple(case.sizes.items()), dtype=case.x.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyrnn.kernels.cpu.policy.CACHED", 0)
        for compute in (_both, _both_back):
            wanted, found = compute(case, run, layout, False, False)
            for ours, theirs in zip(found, wanted, strict=True):
                assert np.isfinite(theirs).all()
                np.testing.assert_array_equal(ours, theirs)


def test_a_target_that_places_no_rows() -> None:
    class Other:
        device = "cpu"

    other: Any = Other()
    assert not places(other, Run(CELLS["lstm"], ()))
