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
    output = np.zeros((TIME * BATCH, rows.shape[1]), rows.dtype)
    output[layout.places(write)] = rows
    wanted = [output]
    for state, start in zip(last, starts, strict=True):
        wanted.append(np.concatenate([state, start])[layout.end(run.reverse)])
    run = run._replace(steps=layout.placed(read, write, run.reverse))
    assert places(CPU(), run)
    given = NUMPY_ARRAYS, _flat(case.x, read), starts, case.parameters
    output, last = CPU().forward(run, Arrays(*given))
    return wanted, [output, *last]


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
        wanted, found = _both(case, run, layout, number % 2 == 0, number % 3 == 0)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_only_where_the_loop_alone_has_the_rows() -> None:
    """With few rows the products with the input come before the loop; and the gathered rows are of
    what a target is asked that places none.
    """
    layout = lay_out(("time", "batch"), (TIME, 2), lengths=np.array([TIME, 3]))
    assert layout is not None
    run = Run(CELLS["lstm"], (("input", 700), ("hidden", 700)), dtype=np.dtype(np.float32))
    run = run._replace(steps=layout.placed(False, False, False))
    assert not places(CPU(), run)

    class Other:
        device = "cpu"

    other: Any = Other()
    assert not places(other, run)
