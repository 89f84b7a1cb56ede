"""What is told while networks train."""

from collections.abc import Sequence
from dataclasses import dataclass

from anyrnn.tasks.task import Task


@dataclass(frozen=True)
class Epoch:
    """What is told about an epoch: its number from 1, its seconds, and its figures by name."""

    number: int
    seconds: float
    figures: dict[str, float]


class Listener:
    """What a caller may want to be told while networks train; does nothing by itself."""

    def prepared(self, task: Task) -> None:
        """The data were read; the task knows its figures."""

    def noted(self, text: str) -> None:
        """Something about the data or a choice that was made."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Large data is read, or put in another form: how much of how much was done."""

    def trial_started(self, cell: str, seed: int | None, number: int, total: int) -> None:
        """The training of a cell begins or is taken up.

        Args:
            cell: The cell.
            seed: The seed, if each cell has several.
            number: Which of all trainings it is, from 1 on.
            total: How many there are.
        """

    def epochs_taken_up(self, epochs: Sequence[Epoch]) -> None:
        """The training goes on after these epochs, which were trained before it was interrupted."""

    def trial_done(self) -> None:
        """The cell was trained and measured."""

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        """A batch of an epoch (numbered from 1) was trained on."""

    def epoch_done(self, epoch: Epoch) -> None:
        """An epoch was trained and validated."""
