"""Series from the user's table, split by time into training, validation and test."""

from collections.abc import Mapping
from typing import Any

import numpy

from anyrnn.tasks.data.frequency import in_words
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.table import Table
from anyrnn.tasks.data.table_files import read_table
from anyrnn.tasks.forecast.columns import Columns
from anyrnn.tasks.forecast.options import (
    DATES,
    NO_TIMES,
    NUMBERS,
    SEVERAL_TARGETS,
    DataOptions,
    Options,
    check,
)
from anyrnn.tasks.forecast.panel import Panel, panel
from anyrnn.tasks.forecast.windows import Part, split


def table(options: DataOptions, columns: Columns | None = None) -> Table:
    """A table with the columns that are needed."""
    if columns is None:
        columns = Columns.of(options, read_table(options.data, **options.reading, wanted=[]).names)
    return read_table(options.data, **options.reading, wanted=columns.all)


def data_of(table: Table, options: Options, *, test: bool = True) -> Data[Part]:
    """Series from a table, split by time.

    Args:
        table: The table.
        options: Columns, sizes of the parts, look-back and horizon.
        test: Whether there is a test part.

    Raises:
        DataError: It cannot be used.
    """
    check(options)
    forecast = options.forecast
    made = panel(table, options.data)
    parts, short = split(made, options.data, forecast.steps_read, forecast.horizon, test=test)
    counts = {name: len(part) for name, part in parts.items()}
    found = {name: value for name, value in made.found.items() if value}
    if short:
        found["series that are too short"] = len(short)
    return Data.of(
        parts,
        digests=[table.digest],
        facts={
            **counts,
            "series": len(made) - len(short),
            "step": in_words(made.frequency),
            "targets": list(made.columns.targets),
            **_first_times(parts),
            **found,
        },
        notes=_notes(made, parts, found),
        in_effect=_in_effect(made),
    )


def _in_effect(made: Panel) -> dict[str, tuple[str, ...]]:
    times = NUMBERS if made.frequency.kind == "number" else DATES
    found = {"times": (times if made.columns.time else NO_TIMES,)}
    return found | (SEVERAL_TARGETS.lacking if len(made.columns.targets) == 1 else {})


def _first_times(parts: Mapping[str, Part]) -> dict[str, str]:
    """The first forecast time of each part, of all series together."""
    found = {}
    for name, part in parts.items():
        first = part.origins[part.panel.times[part.origins].argmin()]
        found[f"{name}_from"] = part.panel.time(int(first))
    return found


def _notes(made: Panel, parts: Mapping[str, Part], found: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    notes = [
        f"{len(made):,} series, {len(made.columns.targets)} target(s), a step is "
        f"{in_words(made.frequency)}; windows: {counts}"
    ]
    if found.get("unsorted"):
        notes.append("the rows were not in the order of time and were sorted")
    missing = int(numpy.isnan(made.targets).sum())
    if gaps := found.get("missing times"):
        notes.append(f"{gaps:,} times are missing between the first and the last ones")
    if missing:
        notes.append(
            f"{missing:,} of {made.targets.size:,} target values are missing: the network reads "
            "the last known value in their place, and they count in no loss and no figure"
        )
    for name, value in found.items():
        if name not in ("unsorted", "missing times", "rows"):
            notes.append(f"left out: {value:,} {name}")
    notes += _shorter_targets(made) + _constant_columns(made, parts["training"])
    return notes


def _shorter_targets(made: Panel) -> list[str]:
    notes = []
    for column, name in enumerate(made.columns.targets):
        known = ~numpy.isnan(made.targets[:, column])
        for number, (start, end) in enumerate(zip(made.starts, made.ends, strict=False)):
            there = numpy.flatnonzero(known[start:end])
            if len(there) and end - start - 1 > there[-1]:
                notes.append(
                    f"{name!r} of {made.series(number)} ends {end - start - 1 - there[-1]:,} steps "
                    "before the others; its last value is read from there on"
                )
    return notes[:5]


def _constant_columns(made: Panel, training: Part) -> list[str]:
    notes = []
    for (name, _), values in zip(made.columns.values, made.values.T, strict=True):
        for number, border in enumerate(training.borders):
            part = values[made.starts[number] : border]
            known = part[~numpy.isnan(part)]
            if len(known) and known.min() == known.max():
                notes.append(
                    f"{name!r} of {made.series(number)} is always {known[0]:g} in the training part"
                )
    return notes[:5]
