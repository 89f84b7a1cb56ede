"""Invented results of a study of cells, for what is made of results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from anyrnn.studies.cells.results import (
    CellResult,
    Cost,
    CostResult,
    FlowResult,
    FlowResults,
    SettingResult,
    StoredFigure,
    StudyResults,
    TrialResult,
)
from anyrnn.studies.cells.settings import CELLS, SETTINGS

Value = Callable[[str, str, int], float]
FIGURES = {
    "loss": StoredFigure("loss", "loss", False, False),
    "recalled": StoredFigure("recalled", "symbols recalled", True, True),
    "accuracy": StoredFigure("accuracy", "accuracy", True, True),
    "mase": StoredFigure("mase", "MASE", False, False),
}
BASELINES = {"adding": {"always 1": 1 / 6}, "copying": {"no memory": 1 / 8}}


def of_cell(number: int, values: Sequence[float], epochs: Sequence[int] = ()) -> CellResult:
    """A cell whose trainings reach some values, each at an epoch."""
    trials = [
        TrialResult(
            seed,
            "finished",
            value,
            3,
            [0.2, 0.1, value]
            if not epochs
            else [0.2 if epoch < epochs[seed] else value for epoch in range(1, 6)],
        )
        for seed, value in enumerate(values)
    ]
    return CellResult(32 + number, 4500 - number, 0.006, {"0.002": 0.2, "0.006": 0.1}, trials)


def made(value: Value, seeds: int = 6, cells: Sequence[str] = CELLS) -> dict[str, SettingResult]:
    """Every setting, with a value for each setting, cell and seed."""
    return {
        name: SettingResult(
            setting.problem,
            setting.task,
            setting.steps or 9,
            {"training": 6400, "validation": 1000, "test": 4000},
            15,
            100,
            FIGURES[setting.figure],
            "loss",
            BASELINES.get(setting.problem, {"majority": 0.1}),
            {
                cell: of_cell(n, [value(name, cell, seed) for seed in range(seeds)])
                for n, cell in enumerate(cells)
            },
        )
        for name, setting in SETTINGS.items()
    }


def flow(per_step: float, steps: int = 100) -> FlowResult:
    """A gradient that is multiplied at each step."""
    share = [per_step**step for step in range(steps)]
    left = None if share[-1] > 0.01 else math.ceil(math.log(0.01) / math.log(per_step))
    return FlowResult(share, [left] * 3)


def flows(fresh: Mapping[str, float], trained: Mapping[str, float]) -> FlowResults:
    """Gradients of cells before and after training."""
    return FlowResults(
        {cell: flow(each) for cell, each in fresh.items()},
        {cell: flow(each) for cell, each in trained.items()},
    )


def costs(lstm: float = 2e-3, gru: float = 1.5e-3) -> CostResult:
    """Costs of all cells, with the times of a training step of LSTM and GRU."""
    times = dict.fromkeys(CELLS, 1e-3) | {"lstm": lstm, "gru": gru}
    parameters = dict.fromkeys(CELLS, 20_000) | {"lstm": 67_000, "gru": 50_000}
    hidden = {c: Cost(128, parameters[c], times[c], times[c] / 3) for c in CELLS}
    equal = {c: Cost(40, 4500, 1.1 * times[c], times[c] / 3, 2_500_000) for c in CELLS}
    return CostResult("adding-100", 64, 100, equal, hidden)


def study(value: Value | None = None, seeds: int = 6) -> StudyResults:
    """Results in which everything is there."""
    quiet: Value = lambda name, cell, seed: 0.3 + 0.01 * seed + 0.001 * len(cell)  # noqa: E731
    return StudyResults(
        "2026-11-30",
        "2 cores of something",
        {"python": "3.11.7", "torch": "2.13.0"},
        False,
        list(CELLS),
        made(value or quiet, seeds),
        costs(),
        {"adding-100": flows(dict.fromkeys(CELLS, 0.5), dict.fromkeys(CELLS, 0.9))},
    )
