"""What a task is: its data, network, loss, figures and predictions.

`experiment` does everything else, for every task alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import torch

from anyrnn.errors import OptionError, RunError, option_name
from anyrnn.tasks.data.batches import Batch, BatchSource
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.scores.figures import LOSS, Figure

if TYPE_CHECKING:
    from torchmetrics import Metric

    from anyrnn.tasks.inspection.examined import Examined
    from anyrnn.tasks.inspection.options import InspectOptions
else:
    Metric = Any  # to import torchmetrics takes seconds, and only training needs it

Part = TypeVar("Part")
TaskOptions = TypeVar("TaskOptions")
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Step:
    """What a network made of a batch.

    Attributes:
        loss: The mean loss.
        count: Of how many rows, tokens or values it is the mean.
        output: What the figures are computed from.
        carried: The state that the following batch of the same streams begins with.
    """

    loss: torch.Tensor
    count: int
    output: Any
    carried: Any = None

    @classmethod
    def mean_of(cls, losses: torch.Tensor, count: int, output: Any, carried: Any = None) -> "Step":
        """The step whose loss is the mean of some losses.

        Args:
            losses: The losses of all that counts, 0 where something does not, in any shape.
            count: How many count; of none the mean is 0.
            output, carried: The attributes.
        """
        return cls(losses.sum() / max(1, count), count, output, carried)


REPORT_ONLY = {"report only": True}
"""The metadata of a field of `Scores` that is drawn in the report, and in no other file."""


@dataclass(frozen=True)
class Scores:
    """The figures of one network on one part; a task adds its own fields.

    Attributes:
        count: The number of rows, tokens or values.
        figures: The figures, by name.
        baselines: The figures of methods without a network on the same part, by their names; those
            that need the training part too are `Task.baselines`.
    """

    count: int
    figures: dict[str, float]
    baselines: dict[str, dict[str, float]] = field(default_factory=dict, kw_only=True)

    def plain(self) -> dict[str, Any]:
        """The fields as JSON knows them, but for those that are `REPORT_ONLY`."""
        every = asdict(self)
        return {each.name: every[each.name] for each in fields(self) if not each.metadata}


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores.

    Attributes:
        columns: The headings.
        rows: The cells.
        numbers: Whether all columns but the first one hold numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = True


class Task(ABC, Generic[TaskOptions, Part, Network]):
    """A kind of problem that people have data for; an instance knows one user's data.

    An instance is made by `prepare` from the training data, or by `restore` from a run. What it
    learned from the data before any network (vocabulary, labels, scales) is its state.

    Attributes:
        name: Its name on the command line.
        options_type: The type of its options.
        title: Its name in sentences.
        unit, units: What a row is, such as "text", and in the plural.
        figures: The figures, the most important one first. Where these or the words for a row
            depend on the data, they are fields of the instance.
        template: The template of its report, which extends `run.html`; by default the report shows
            what all reports show.
        options: What the user chose.
    """

    name: ClassVar[str]
    options_type: ClassVar[type]
    title: ClassVar[str]
    unit: str
    units: str
    figures: tuple[Figure, ...]
    template: ClassVar[str] = "plain.html"

    options: TaskOptions

    @classmethod
    @abstractmethod
    def read(cls, options: TaskOptions) -> Data[Part]:
        """Read the files that the options name.

        Raises:
            DataError: They cannot be used.
        """

    @classmethod
    @abstractmethod
    def prepare(cls, options: TaskOptions, training: Part, noted: Callable[[str], None]) -> Self:
        """Learn vocabulary, labels, scales or the like from the training part.

        Args:
            options: What the user chose.
            training: The part.
            noted: Called with a sentence on each choice that was made for the user.
        """

    @classmethod
    @abstractmethod
    def restore(cls, options: TaskOptions, state: Mapping[str, Any], run: Path) -> Self:
        """The task of a run.

        Args:
            options: Those of the training.
            state: What `state` gave.
            run: The folder with the files that `files` gave.

        Raises:
            RunError: The run is damaged.
        """

    @classmethod
    def main_file(cls, options: TaskOptions) -> Path:
        """The file that a run is called after, if it is given no name."""
        data: Any = options
        files = data.data.data
        return files[0] if isinstance(files, tuple) else files

    def check_named(self, changes: Mapping[str, Any]) -> None:
        """Refuse to measure a network on no file.

        Args:
            changes: The options on data that differ from the training's.

        Raises:
            OptionError: None of them names a file.
        """
        if "data" not in changes:
            raise OptionError(f"{option_name('data')} is missing: name a file")

    @abstractmethod
    def read_part(self, options: Any) -> tuple[Part, dict[str, object]]:
        """Read one file to measure a network on.

        Args:
            options: The group `data` of the options, with the file as `data`.

        Returns:
            The part, and what was found in the file: counts, what was skipped and why.

        Raises:
            DataError: It cannot be used, or has what the task does not know.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `restore` needs beside the options, as JSON knows it."""

    def files(self) -> dict[str, str]:
        """The name and the text of each file that `restore` needs."""
        return {}

    @abstractmethod
    def network(self, cell: str) -> Network:
        """A network with this cell, its weights drawn."""

    @abstractmethod
    def batches(self, part: Part, batch_size: int, seed: int | None) -> BatchSource:
        """The batches of a part.

        Args:
            part: The part.
            batch_size: The number of sequences in a batch.
            seed: Decides the order of training; `None` for the order that is fastest.
        """

    @abstractmethod
    def step(self, network: Network, batch: Batch, carried: Any = None) -> Step:
        """Run the network on a batch.

        Args:
            network: The network.
            batch: The batch.
            carried: What the step before gave, if the batch continues its streams.
        """

    def metrics(self) -> dict[str, Metric]:
        """What computes those figures on the validation data that do not follow from the loss."""
        return {}

    def measure(self, metrics: Mapping[str, Metric], step: Step, batch: Batch) -> None:
        """Update the metrics with a step."""

    def calibrate(self, network: Network, validation: Part, check: Callable[[], None]) -> None:
        """Add to a network that has learned what only the validation part tells, as buffers.

        Args:
            network: The network, in evaluation mode.
            validation: The part.
            check: Called now and then; it raises `StoppedError` when a stop was requested.
        """

    @abstractmethod
    def score(
        self, network: Network, part: Part, check: Callable[[], None] = lambda: None
    ) -> Scores:
        """Measure a network that has learned.

        Args:
            network: The network, in evaluation mode.
            part: The part.
            check: Called now and then; it raises `StoppedError` when a stop was requested.
        """

    def tables(self, scores: Any) -> list["ScoreTable"]:
        """What is shown of the scores beside the figures."""
        return []

    def baselines(self, data: Data[Part]) -> dict[str, dict[str, float]]:
        """What methods without a network reach on the part that results are measured on: the
        figures of each, by its name.
        """
        return {}

    @abstractmethod
    def predict(self, network: Network, inputs: Any) -> Any:
        """What the network says about new inputs, for Python."""

    @abstractmethod
    def answers(self, network: Network, options: Any) -> Iterator[dict[str, object]]:
        """What the network says about new inputs, for the command line: JSON objects.

        Args:
            network: The network.
            options: The task's `PredictOptions`.

        Raises:
            DataError: The inputs cannot be read or used.
        """

    def examined(self, network: Network, options: "InspectOptions") -> "Examined":
        """An input as the network reads it, to be looked into: what the function `examined` says,
        in the module of that name beside the task's.

        Args:
            network: The network, in evaluation mode.
            options: Which input, and which output of it is explained.

        Raises:
            OptionError: The task has no such module, or an option does not fit.
            DataError: The input cannot be read or used.
        """
        module = f"{type(self).__module__.rpartition('.')[0]}.examined"
        if find_spec(module) is None:
            raise OptionError(
                f"a run of the task {self.name!r} cannot be inspected: its network reads no "
                "sequence that could be given; anyrnn.inspect looks into its layers in Python"
            )
        return import_module(module).examined(self, network, options)

    def pictures(self, results: Sequence[Any]) -> dict[str, object]:
        """What the template of the report uses beside what all reports have."""
        return {}

    @property
    def deciding(self) -> str:
        """The name of the figure that decides on the best epoch and the best cell: what the option
        `deciding` says, or the loss.
        """
        return getattr(self.options, "deciding", LOSS.name)

    def decides(self) -> Figure:
        """The figure that decides on the best epoch and the best cell."""
        known = {figure.name: figure for figure in (*self.figures, LOSS)}
        return known[self.deciding]

    def goodness(self, figures: Mapping[str, float]) -> float:
        """The validation figure that decides, so that the larger is the better."""
        value = figures[f"validation_{self.deciding}"]
        return value if self.decides().larger_is_better else -value

    def shown(
        self, reached: Mapping[str, float], digits: tuple[int, int] | None = None
    ) -> list[str]:
        """The figures as people read them, in the order of `shown_figures`; "" for one that is not
        there, as of a simple method.

        Args:
            reached: The figures, by name.
            digits: How many of them, in per cent and otherwise.
        """
        return [
            figure.shown(reached[figure.name], digits and digits[not figure.percent])
            if figure.name in reached
            else ""
            for figure in self.shown_figures()
        ]

    def shown_figures(self) -> tuple[Figure, ...]:
        """The figures told in tables: the loss, too."""
        return self.figures if LOSS in self.figures else (*self.figures, LOSS)

    def epoch_figures(self) -> tuple[Figure, ...]:
        """Those that are told after each epoch."""
        figures = self.shown_figures()
        return tuple(each for each in figures if not each.once or each.name == self.deciding)


def steps(
    task: Task, network: torch.nn.Module, batches: BatchSource, check: Callable[[], None]
) -> Iterator[tuple[Batch, Step]]:
    """Run a network that has learned over batches, on the device that it is on.

    Args:
        task: Whose batches they are.
        network: The network; it is left in evaluation mode.
        batches: The batches.
        check: Called after each batch.
    """
    network.eval()
    device = next(network.parameters()).device
    carried = None
    with torch.inference_mode():
        for batch in batches:
            batch = batch.to(device)
            step = task.step(network, batch, carried if batch.continues else None)
            carried = step.carried
            yield batch, step
            check()


def check_finite(output: torch.Tensor) -> None:
    """Refuse what a network gives if it is no number.

    Raises:
        RunError: It is none.
    """
    if not output.isfinite().all():
        raise RunError("the network gives results that are no number: its weights are too large")
