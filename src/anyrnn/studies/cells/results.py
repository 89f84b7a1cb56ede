"""What a study found, as it is stored: all that its pages and pictures are made of."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pydantic

from anyrnn.errors import DataError
from anyrnn.files import reading
from anyrnn.tasks.run_files import write_text
from anyrnn.tasks.scores.figures import Figure

FORMAT, FORMAT_VERSION = "anyrnn study of cells", 1

_DIGITS = 5  # significant ones of what is stored


@dataclass(frozen=True)
class TrialResult:
    """A training of a cell at its learning rate.

    Attributes:
        seed: Decided weights and order.
        state: "finished", "diverged" or "failed".
        figure: The figure that is told, on the test part; `None` if it was not finished.
        best_epoch: The number of the epoch whose weights were kept.
        curve: The same figure on the validation part after each epoch.
        seconds: The time of each epoch, on average.
        reason: Why it was not finished.
    """

    seed: int
    state: str
    figure: float | None
    best_epoch: int | None
    curve: list[float]
    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class CellResult:
    """A cell in a setting.

    Attributes:
        hidden_size: The size of its layer.
        parameters: The number of its network's parameters.
        rate: The learning rate that was the best on the validation part.
        rates: What decided, by learning rate as a text; `None` where the training did not end well.
        trials: Its trainings at that rate.
    """

    hidden_size: int
    parameters: int
    rate: float
    rates: dict[str, float | None]
    trials: list[TrialResult]

    @property
    def values(self) -> list[float]:
        """The figure of each training that was finished."""
        return [each.figure for each in self.trials if each.figure is not None]

    @property
    def by_seed(self) -> dict[int, float]:
        """The same by seed."""
        return {each.seed: each.figure for each in self.trials if each.figure is not None}


@dataclass(frozen=True)
class StoredFigure:
    """A figure as JSON knows it; see `Figure`."""

    name: str
    title: str
    percent: bool
    larger_is_better: bool

    @classmethod
    def of(cls, figure: Figure) -> "StoredFigure":
        """A figure of a task."""
        return cls(figure.name, figure.title, figure.percent, figure.larger_is_better)

    @property
    def figure(self) -> Figure:
        """The figure itself."""
        return Figure(**asdict(self))


@dataclass(frozen=True)
class SettingResult:
    """A problem in one length.

    Attributes:
        problem, task: Its problem, and the task that trains it.
        steps: The steps that a network reads: the number, or the median of the training part.
        sequences: How many sequences each part has, by its name.
        epochs, updates: The most epochs of a training, and the updates of the weights in each.
        figure: The figure that is told.
        decided_by: The title of the figure that decides on epochs and learning rates.
        baselines: That figure of methods without a network, by their names.
        cells: The cells, by their names.
        timed: Whether nothing else ran meanwhile, so that the times of trainings say something.
    """

    problem: str
    task: str
    steps: int
    sequences: dict[str, int]
    epochs: int
    updates: int
    figure: StoredFigure
    decided_by: str
    baselines: dict[str, float]
    cells: dict[str, CellResult]
    timed: bool = False


@dataclass(frozen=True)
class Cost:
    """What a training step of a network costs.

    Attributes:
        hidden_size: The size of its layer.
        parameters: The number of parameters.
        training_seconds: The time of a training step without the update, of a batch.
        inference_seconds: The time of a prediction, of a batch.
        memory_bytes: The most memory that a training step needs beside the network; `None` if the
            system does not tell.
    """

    hidden_size: int
    parameters: int
    training_seconds: float
    inference_seconds: float
    memory_bytes: int | None = None


@dataclass(frozen=True)
class CostResult:
    """The costs of all cells on batches of one setting.

    Attributes:
        setting: The setting.
        batch_size, steps: The size of a batch.
        equal_parameters, equal_hidden: The cost by cell, at the sizes of the study and at one
            hidden size.
    """

    setting: str
    batch_size: int
    steps: int
    equal_parameters: dict[str, Cost]
    equal_hidden: dict[str, Cost]


@dataclass(frozen=True)
class FlowResult:
    """How the gradient of a cell goes back in a setting.

    Attributes:
        share: What is left of it so many steps before the end: the median of the seeds.
        steps_left: By seed, after how many steps 1 % is left; `None` if more is left at the first.
    """

    share: list[float]
    steps_left: list[int | None]

    @property
    def median_steps(self) -> float:
        """The median of the steps; infinite where more than 1 % is left at the first one."""
        return median(math.inf if each is None else each for each in self.steps_left)


@dataclass(frozen=True)
class FlowResults:
    """The flows of all cells in a setting, before the training and after it."""

    fresh: dict[str, FlowResult]
    trained: dict[str, FlowResult]


@dataclass(frozen=True)
class StudyResults:
    """Everything that a study found.

    Attributes:
        date: The day on which it was finished.
        machine: The processor and the number of cores.
        versions: Of Python and the libraries.
        quick: Whether it only tried that everything works.
        cells: The cells in their order.
        settings: By their names.
        costs: What a step costs, if that was measured.
        flows: By the names of settings.
    """

    date: str
    machine: str
    versions: dict[str, str]
    quick: bool
    cells: list[str]
    settings: dict[str, SettingResult]
    costs: CostResult | None = None
    flows: dict[str, FlowResults] = field(default_factory=dict)

    def of(self, problem: str) -> list[tuple[str, SettingResult]]:
        """The settings of a problem with their names, the shortest first."""
        found = [(name, each) for name, each in self.settings.items() if each.problem == problem]
        return sorted(found, key=lambda pair: pair[1].steps)

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most trainings that a cell of a setting has."""
        counts = [
            len(cell.trials) for each in self.settings.values() for cell in each.cells.values()
        ]
        return min(counts), max(counts)


def read_results(path: Path) -> StudyResults:
    """The results of a study.

    Raises:
        DataError: The file is missing or holds something else.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        found = pydantic.TypeAdapter(_Stored).validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} holds no results of a study: {place}: {first['msg']}") from None
    if (found.format, found.version) != (FORMAT, FORMAT_VERSION):
        raise DataError(
            f"{path} holds {found.format!r}, version {found.version}, but has to hold {FORMAT!r}, "
            f"version {FORMAT_VERSION}"
        )
    return found.results


def write_results(path: Path, results: StudyResults) -> None:
    """Store results, with as many digits as count.

    Raises:
        WriteError: The file cannot be written.
    """
    stored = {"format": FORMAT, "version": FORMAT_VERSION, "results": rounded(asdict(results))}
    write_text(path, "\n".join(_lines(stored)) + "\n")


def rounded(value: Any) -> Any:
    """A value whose numbers have five significant digits, and are JSON's.

    Example:
        >>> rounded({"loss": [0.123456789, 1234567.8], "steps": 1234567})
        {'loss': [0.12346, 1234600.0], 'steps': 1234567}
    """
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Readable JSON in which a list of numbers takes one line."""
    import json

    plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict) or len(plain) + len(indent) < 100:
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            yield "["
            for number, each in enumerate(value):
                text = json.dumps(each, ensure_ascii=False, allow_nan=False)
                yield f"{indent}  {text}{',' * (number + 1 < len(value))}"
            yield f"{indent}]"
        else:
            yield plain
        return
    yield "{"
    for number, (name, each) in enumerate(value.items()):
        first, *others = _lines(each, indent + "  ")
        found = [f"{indent}  {json.dumps(name, ensure_ascii=False)}: {first}", *others]
        found[-1] += "," * (number + 1 < len(value))
        yield from found
    yield f"{indent}}}"


@dataclass(frozen=True)
class _Stored:
    format: str
    version: int
    results: StudyResults
