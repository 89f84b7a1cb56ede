"""Windows into series: where they may begin, and batches of them that are cut when needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy
import torch

from anyrnn.errors import DataError, option_name
from anyrnn.tasks.data.batches import Batches, Column
from anyrnn.tasks.forecast.draws import keys
from anyrnn.tasks.forecast.options import DataOptions, Options
from anyrnn.tasks.forecast.panel import Panel

GIVEN = ("read", "seen", "features", "known", "draws")
"""The columns of a batch that a network is given, in its order."""


@dataclass(frozen=True, eq=False)
class Part:
    """Windows into series.

    Attributes:
        panel: The series, whole.
        origins: The first forecast step of each window.
        borders: The step of each series at which its training part ends.
    """

    panel: Panel
    origins: numpy.ndarray
    borders: numpy.ndarray

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.origins)

    @property
    def series(self) -> numpy.ndarray:
        """The number of the series of each window."""
        return numpy.searchsorted(self.panel.starts, self.origins, side="right") - 1


@dataclass(frozen=True)
class WindowColumn(Column):
    """The steps of an array around the origin of each window.

    Attributes:
        values: The origins.
        array: Values for all steps, (steps, ...).
        first, last: The half-open range of steps, counted from the origin.
    """

    array: numpy.ndarray = field(default_factory=lambda: numpy.empty(0))
    first: int = 0
    last: int = 0

    def taken(self, rows: numpy.ndarray) -> torch.Tensor:
        """The steps of some windows, (windows, steps, ...)."""
        origins = numpy.asarray(self.values)[rows]
        return torch.from_numpy(self.array[origins[:, None] + numpy.arange(self.first, self.last)])


def origins(
    panel: Panel, first: numpy.ndarray, last: numpy.ndarray, look_back: int, horizon: int
) -> numpy.ndarray:
    """The first forecast steps of all windows with a known target and something to read.

    Args:
        panel: The series.
        first, last: For each series, the half-open range in which the forecast steps lie.
        look_back: The number of steps before.
        horizon: The number of forecast steps.
    """
    known = numpy.concatenate([[0], numpy.cumsum((~numpy.isnan(panel.targets)).any(1))])
    found = []
    for number in range(len(panel)):
        begin = max(int(first[number]), int(panel.starts[number]) + look_back)
        found.append(numpy.arange(begin, int(last[number]) - horizon + 1))
    every = numpy.concatenate(found)
    read = known[every] - known[every - look_back]
    wanted = known[every + horizon] - known[every]
    return every[(read > 0) & (wanted > 0)]


def split(
    panel: Panel, options: DataOptions, look_back: int, horizon: int, *, test: bool = True
) -> tuple[dict[str, Part], list[int]]:
    """Split each series by time into training, validation and test.

    The look-back of a validation or test window may lie in the part before; what it forecasts lies
    in its own part.

    Args:
        panel: The series.
        options: The sizes of the parts.
        look_back, horizon: The steps of a window.
        test: Whether there is a test part.

    Returns:
        The parts, and the numbers of the series that are too short and were left out.

    Raises:
        DataError: A series is too short, or all are.
    """
    lengths = panel.ends - panel.starts[:-1]
    tests = _sizes(lengths, options.test_size, horizon) if test else lengths * 0
    validations = _sizes(lengths, options.validation_size, horizon)
    if test and options.test_size < 1 and options.validation_size < 1:
        # As published splits round: the training part and the test part down.
        rest = (lengths * (1 - options.validation_size - options.test_size)).astype(numpy.int64)
        validations = numpy.maximum(validations, lengths - tests - rest)
    borders = panel.ends - tests - validations
    short = numpy.flatnonzero(borders - panel.starts[:-1] < look_back + horizon)
    if len(short) and (not options.skip_bad or len(short) == len(panel)):
        raise _too_short(panel, int(short[0]), len(short), look_back, horizon, tests, validations)
    ends = panel.ends.copy()
    begins = panel.starts[:-1].copy()
    begins[short] = ends[short]
    borders[short] = validations_end = ends[short]
    middle = panel.ends - tests
    middle[short] = validations_end
    parts = {
        "training": (begins, borders),
        "validation": (borders, middle),
    } | ({"test": (middle, ends)} if test else {})
    made = {
        name: Part(panel, origins(panel, first, last, look_back, horizon), borders)
        for name, (first, last) in parts.items()
    }
    for name, part in made.items():
        if not len(part):
            raise DataError(
                f"{panel.label} has no window for the {name} part in which a target is known: "
                "too many values are missing"
            )
    return made, short.tolist()


def _sizes(lengths: numpy.ndarray, size: float, horizon: int) -> numpy.ndarray:
    """The steps of a part of each series: enough for one window."""
    steps = (lengths * size).astype(numpy.int64) if size < 1 else lengths * 0 + int(size)
    return numpy.maximum(steps, horizon)


def _too_short(
    panel: Panel,
    number: int,
    count: int,
    look_back: int,
    horizon: int,
    tests: numpy.ndarray,
    validations: numpy.ndarray,
) -> DataError:
    length = int(panel.ends[number] - panel.starts[number])
    needed = look_back + horizon + int(tests[number]) + int(validations[number])
    others = f" ({count - 1} more are too short)" if count > 1 else ""
    out = (
        f", or leave such series out with {option_name('skip_bad', True)}"
        if panel.columns.group
        else ""
    )
    return DataError(
        f"{panel.label}: {panel.series(number)} has {length} steps{others}, but {needed} are "
        f"needed: a look-back of {look_back} and a horizon of {horizon} to train, "
        f"{validations[number]} steps to validate, {tests[number]} to test; use a smaller "
        f"{option_name('look_back')} or {option_name('horizon')}{out}"
    )


def batches(
    part: Part,
    arrays: Mapping[str, numpy.ndarray],
    options: Options,
    batch_size: int,
    seed: int | None,
) -> Batches:
    """Batches of windows; nothing but their origins is kept.

    Args:
        part: The windows.
        arrays: For all steps: `read`, `seen` and `features` before an origin; `known`, `target` and
            `observed` from it on.
        options: The steps of a window, and the seed of what is drawn.
        batch_size: The number of windows in a batch.
        seed: Decides the order; `None` for that of the series and times.
    """
    look_back, panel = options.forecast.steps_read, part.panel
    before, after = (-look_back, 0), (0, options.forecast.horizon)
    ranges = {
        "read": ("target", before),
        "seen": ("observed", before),
        "features": ("features", before),
        "known": ("known", after),
        "target": ("target", after),
        "observed": ("observed", after),
    }
    numbers, times = part.series, panel.times[part.origins]
    columns: dict[str, Column] = {
        name: WindowColumn(part.origins, array=arrays[array], first=first, last=last)
        for name, (array, (first, last)) in ranges.items()
    }
    columns["series"] = Column(numbers)
    columns["draws"] = Column(keys(panel.names, numbers, times, options.training.seed))
    # Each target is read as a row of its own.
    steps = look_back * len(panel.columns.targets)
    return Batches(columns, batch_size, seed, steps=steps)
