"""What is best for a CPU: how many threads, and which products leave the loop over time."""

from __future__ import annotations

from functools import lru_cache

from anyrnn.graph.cell import Cell
from anyrnn.kernels.cpu.machine import team
from anyrnn.kernels.run import Run, Sizes
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import FUSED, Policy, Schedule
from anyrnn.schedule.phases import multiplies_each_step

FEW_ROWS = 3  # as many or fewer make little use of a matrix each time that they read it
CACHED = 1 << 18  # elements of matrices that stay in the caches from one step to the next
NEAR = 1 << 14  # those that stay so near that one row does not wait for them
PARALLEL = 1 << 20  # multiplications of a run from which on several threads pay


@lru_cache(maxsize=1024)
def _matrix_elements(cell: Cell, sizes: Sizes) -> int:
    shapes = (stored.shape_for(dict(sizes)) for stored in cell.parameters if stored.is_matrix)
    return sum(rows * columns for rows, columns in shapes)


@lru_cache(maxsize=256)
def inference(cell: Cell, policy: Policy) -> Schedule:
    """The schedule of a step without residuals."""
    return schedule(cell.graph, cell.states, [cell.output], policy)


@lru_cache(maxsize=256)
def _waits_for_no_product(cell: Cell) -> bool:
    """Whether no step waits for a product with what depends on a state, and nothing is left to be
    computed after all steps: then products with the input come first without changing a bit.
    """
    return not (multiplies_each_step(cell.graph, cell.states) or inference(cell, Policy()).after)


def of_run(run: Run) -> Policy:
    """Whether to multiply all inputs first, so that a step reads fewer matrices.

    The products of a step are better computed together, those of the input and those of the state,
    but where few rows wait for large matrices, or for none with the state.
    """
    if run.steps.batch > FEW_ROWS:
        return FUSED
    most = min(NEAR, CACHED) if run.steps.batch == 1 else CACHED
    large = _matrix_elements(run.cell, run.sizes) > most
    return Policy() if large or _waits_for_no_product(run.cell) else FUSED


def team_size(run: Run) -> int:
    """The number of threads that pay for a run, and that there are."""
    pays = run.steps.rows * _matrix_elements(run.cell, run.sizes) >= PARALLEL
    return run.threads if pays and team.available() else 1
