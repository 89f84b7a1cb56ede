"""What a study may choose: ranges and lists of values of the declared options.

How a file and a command line write it: `search_section`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyrnn.studies.changes import changed
from anyrnn.tasks.options.declaration import check_needs, declared
from anyrnn.tasks.options.nested import found_in

if TYPE_CHECKING:
    import optuna

CELLS = "cells"


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, which belong to it.

    Attributes:
        path: The option.
        low, high: The bounds.
        log: Whether a number is as likely between 1 and 10 as between 10 and 100.
        step: The distance of the numbers that are tried.
    """

    path: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def holds(self, value: Any) -> bool:
        """Whether it is one of the numbers."""
        inside = isinstance(value, int | float) and self.low <= value <= self.high
        if not inside or self.step is None:
            return inside
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def suggest(self, trial: optuna.Trial) -> Any:
        """One of the numbers, chosen by Optuna."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            return trial.suggest_int(self.path, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)

    def plain(self) -> Any:
        """The same as a file has it."""
        shown: dict[str, Any] = {"low": self.low, "high": self.high}
        shown |= {"log": True} if self.log else {}
        return shown | ({} if self.step is None else {"step": self.step})


@dataclass(frozen=True)
class Choice:
    """Some values.

    Attributes:
        path: The option.
        values: The values.
    """

    path: str
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return value in self.values

    def suggest(self, trial: optuna.Trial) -> Any:
        """One of the values, chosen by Optuna."""
        return trial.suggest_categorical(self.path, self.values)

    def plain(self) -> Any:
        """The same as a file has it."""
        return list(self.values)


Dimension = Range | Choice


@dataclass(frozen=True)
class Space:
    """What a study may choose.

    Attributes:
        dimensions: A range or list of values for each option that is searched.
    """

    dimensions: tuple[Dimension, ...]

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """A value of each option, chosen by Optuna, by the options' paths."""
        return {each.path: each.suggest(trial) for each in self.dimensions}

    def plain(self) -> dict[str, Any]:
        """The same as the section of a file has it."""
        return {each.path: each.plain() for each in self.dimensions}

    def values_of(self, options: Any) -> dict[str, Any] | None:
        """The values that options have, if the space holds them all."""
        found = {each.path: value_of(options, each.path) for each in self.dimensions}
        return found if all(each.holds(found[each.path]) for each in self.dimensions) else None

    def check_needs(self, options: Any, data: Mapping[str, tuple[Any, ...]] | None = None) -> None:
        """Refuse an option that has no effect, whatever is chosen of the others.

        Args:
            options: The options of the task.
            data: What the data hold, as `Data.in_effect`, if that is known.

        Raises:
            OptionError: There is one; the message names what makes it void.
        """
        every = {each.path: each for each in declared(type(options))}
        searched = {every[each.path].name for each in self.dimensions}
        for each in self.dimensions:
            found = every[each.path]
            if {need.name for need in found.declaration.needs} & searched:
                continue
            ends = each.values if isinstance(each, Choice) else (each.low, each.high)
            for value in ends:
                if each.path != CELLS:
                    with_value = put(options, each.path, value)
                    check_needs(with_value, (found.name,), data)


def together(spaces: Iterable[Space]) -> Space:
    """What several spaces hold; of an option that several have, the last one counts."""
    found = {each.path: each for space in spaces for each in space.dimensions}
    return Space(tuple(found.values()))


def value_of(options: Any, path: str) -> Any:
    """The value of an option; of the cells the first one."""
    (value,) = found_in(options.plain(), path)
    return value[0] if path == CELLS else value


def put(options: Any, path: str, value: Any) -> Any:
    """Options with one of them changed."""
    return changed(options, {path: (value,) if path == CELLS else value}, keep=True)


def default_space(options: Any) -> Space:
    """What is searched if nothing else is said: learning rate, hidden size, layers and dropout, as
    far as the task has them, around the values that the options have.

    Example:
        >>> from anyrnn.tasks.classify import DataOptions, Options
        >>> space = default_space(Options(DataOptions("reviews.csv", "review", "label")))
        >>> space.plain()["model.hidden_size"]
        {'low': 32, 'high': 256, 'log': True}
    """
    paths = [each.path for each in declared(type(options))]
    found = default_dimensions({path: found_in(options.plain(), path)[0] for path in paths})
    if len(options.cells) > 1:
        found.insert(0, Choice(CELLS, tuple(options.cells)))
    return Space(tuple(found))


def default_dimensions(values: Mapping[str, Any]) -> list[Dimension]:
    """Ranges around the values of options, by their paths."""
    rate, size = values["training.learning_rate"], values.get("model.hidden_size")
    made: list[Dimension] = [
        Range("training.learning_rate", _rounded(rate / 10), _rounded(rate * 10), True)
    ]
    if size is not None:
        made.append(Range("model.hidden_size", max(1, size // 4), size * 2, True))
    if "model.layers" in values:
        made.append(Range("model.layers", 1, max(2, values["model.layers"])))
    if "model.dropout" in values:
        made.append(Range("model.dropout", 0.0, max(0.6, values["model.dropout"])))
    return made


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
