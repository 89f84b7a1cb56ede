"""The hidden size of each cell: the same for all, or such that parameters or time are equal."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any, Literal

import torch

from anyrnn.errors import AnyrnnError, OptionError, SizeError, option_name
from anyrnn.tasks.data.batches import BatchSource
from anyrnn.tasks.options.declaration import replaced
from anyrnn.tasks.run_files import without_drawing
from anyrnn.tasks.task import Task

Sizes = Literal["equal-parameters", "equal-time", "equal-hidden"]

# A hidden size is at most so many times that of the reference cell; where it is timed, fewer.
_LARGEST = 16
_LARGEST_TIMED = 4
# Sizes are timed to such a share of that of the reference cell: times are no more exact.
_TIMED_TO = 16
_EQUAL_HIDDEN = f"; use {option_name('sizes', 'equal-hidden')}"
# Times are measured so often, of two cells in turn; the median of the ratios counts.
_REPEATS = 5
_BATCHES = 3  # on which a training step is timed


def with_hidden_size(task: Task, hidden_size: int) -> Task:
    """The task with networks of another hidden size."""
    options: Any = task.options
    model = replaced(options.model, hidden_size=hidden_size)
    made: Any = task
    return replace(made, options=replaced(options, model=model))


def check_cells(task: Task, cells: Sequence[str]) -> None:
    """Refuse a cell that the networks of a task cannot have.

    Raises:
        OptionError: There is one; the message says why.
        UnknownCellError: There is no cell of this name.
    """
    from anyrnn.cells.catalogue import get

    for cell in cells:
        get(cell)
        with _taken(task, cell):
            parameters(task, cell, task.options.model.hidden_size)


@contextmanager
def _taken(task: Task, cell: str, advice: str = "") -> Iterator[None]:
    """Tell that networks of a task cannot have a cell.

    Raises:
        OptionError: They cannot.
    """
    try:
        yield
    except AnyrnnError as error:
        raise OptionError(
            f"{task.name} cannot take the cell {cell}: {error.message}{advice}"
        ) from None


def parameters(task: Task, cell: str, hidden_size: int) -> int:
    """How many parameters a network has; it is not made for that.

    Raises:
        SizeError: There can be no network of such a size.
    """
    with torch.device("meta"), without_drawing():
        try:
            network = with_hidden_size(task, hidden_size).network(cell)
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, AnyrnnError):
                raise
            reason = str(error).splitlines()[0]
            raise SizeError(f"a network of these sizes cannot be made: {reason}") from None
    return sum(each.numel() for each in network.parameters())


def equal_parameters(task: Task, cells: Sequence[str], hidden_size: int) -> dict[str, int]:
    """The hidden size of each cell whose network comes nearest to the first one's parameters.

    Args:
        task: The task.
        cells: The cells; the first one has the hidden size that was asked for.
        hidden_size: That size.
    """
    wanted = parameters(task, cells[0], hidden_size)
    found = {cells[0]: hidden_size}
    for cell in cells[1:]:
        with _taken(task, cell, _EQUAL_HIDDEN):
            found[cell] = nearest(
                lambda size, cell=cell: parameters(task, cell, size), wanted, hidden_size * _LARGEST
            )
    return found


def equal_time(
    task: Task, cells: Sequence[str], hidden_size: int, seconds: Callable[[Task, str], float]
) -> dict[str, int]:
    """The hidden size of each cell with which a training step takes about as long as the first
    one's, as measured here and now.

    Args:
        task: The task.
        cells: The cells; the first one has the hidden size that was asked for.
        hidden_size: That size.
        seconds: Measures a training step of a task with a cell.
    """
    first, found = with_hidden_size(task, hidden_size), {cells[0]: hidden_size}
    for cell in cells[1:]:

        def ratio(size: int, cell: str = cell) -> float:
            changed = with_hidden_size(task, size)
            pairs = [(seconds(changed, cell), seconds(first, cells[0])) for _ in range(_REPEATS)]
            return median(one / reference for one, reference in pairs)

        largest, step = hidden_size * _LARGEST_TIMED, max(1, hidden_size // _TIMED_TO)
        with _taken(task, cell, _EQUAL_HIDDEN):
            found[cell] = step * nearest(
                lambda steps, ratio=ratio, step=step: ratio(step * steps), 1.0, largest // step
            )
    return found


def nearest(value: Callable[[int], float], wanted: float, largest: int) -> int:
    """The size whose value comes nearest to what is wanted, of values that grow with the size.

    Args:
        value: The value of a size.
        wanted: What is wanted.
        largest: The largest size that is tried; the smallest one is 1.

    Example:
        >>> nearest(lambda size: size**2, 50, 100)
        7
    """
    low, high = 1, largest
    while high - low > 1:
        middle = (low + high) // 2
        if value(middle) <= wanted:
            low = middle
        else:
            high = middle
    return min((low, high), key=lambda size: abs(value(size) - wanted))


class StepTimer:
    """Measures training steps on a few batches of the training data.

    Args:
        batches: The batches of an epoch.
        device: Where to compute.
    """

    def __init__(self, batches: BatchSource, device: torch.device) -> None:
        self._device = device
        self._networks: dict[str, tuple[int, torch.nn.Module]] = {}
        self._batches = [batch.to(device) for batch in islice(batches, _BATCHES)]

    def seconds(self, task: Task, cell: str) -> float:
        """The time of a training step: the mean over the batches.

        Args:
            task: The task with the sizes of the network.
            cell: The cell.
        """
        network = self._network(task, cell)
        start = time.perf_counter()
        for batch in self._batches:
            network.zero_grad(set_to_none=True)
            task.step(network, batch).loss.backward()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / len(self._batches)

    def _network(self, task: Task, cell: str) -> torch.nn.Module:
        """The network, warm: a cell is compiled when it first runs."""
        options: Any = task.options
        size, network = self._networks.get(cell, (0, None))
        if network is None or size != options.model.hidden_size:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = task.network(cell).train().to(self._device)
            task.step(network, self._batches[0]).loss.backward()
            self._networks[cell] = (options.model.hidden_size, network)
        return network
