"""What a study may choose: ranges and lists of values of the declared options."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from anyrnn.cells.catalogue import get
from anyrnn.errors import AnyrnnError, OptionError, SizeError
from anyrnn.studies.changes import changed
from anyrnn.tasks.options.declaration import Option, check_needs, declared
from anyrnn.tasks.options.nested import found_in
from anyrnn.tasks.options.option_files import read_setting

if TYPE_CHECKING:
    import optuna

CELLS = "cells"

# What says where and how often to train, or on what is measured: no value of it is better.
_NOT_SEARCHED = {
    f"training.{name}"
    for name in ("seed", "seeds", "device", "devices", "nodes", "node_rank", "rendezvous")
} | {"training.tensorboard", "deciding"}
_KEYS = ("low", "high", "log", "step")


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
    found = _default_dimensions({path: found_in(options.plain(), path)[0] for path in paths})
    if len(options.cells) > 1:
        found.insert(0, Choice(CELLS, tuple(options.cells)))
    return Space(tuple(found))


def _default_dimensions(values: Mapping[str, Any]) -> list[Dimension]:
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


def space_of(options: Any, section: Mapping[str, Any], where: str = "search") -> Space:
    """The space that a section of a file describes.

    Args:
        options: The options of the task, of which it names some.
        section: For each option, by its path or in its group, a mapping with `low` and `high`, and
            if wanted `log` and `step`; or a list of values.
        where: What messages begin with.

    Raises:
        SizeError, OptionError: A name is none of an option, or a value cannot be; the message
            names the option.

    Example:
        >>> from anyrnn.tasks.classify import DataOptions, Options
        >>> options = Options(DataOptions("reviews.csv", "review", "label"))
        >>> space_of(options, {"model": {"layers": {"low": 1, "high": 3}}}).dimensions
        (Range(path='model.layers', low=1, high=3, log=False, step=None),)
    """
    if not isinstance(section, Mapping):
        raise OptionError(f"{where} has to name options, such as model.hidden_size: [64, 128]")
    every = {each.path: each for each in declared(type(options))}
    made: dict[str, Dimension] = {}
    for name, wanted in _entries(section, every):
        found = _named(name, every, where)
        if found.path in made:
            raise OptionError(f"{where}: {found.path} occurs twice")
        made[found.path] = _dimension(options, found, wanted, f"{where}: {found.path}")
    if not made:
        raise OptionError(f"{where} is empty: it has no option")
    return Space(tuple(made.values()))


def read_search(text: str) -> tuple[str, Any]:
    """The name of an option and what is searched of it, as a command line gives them:
    "hidden_size=32..256:log", "model.layers=1..3", "optimiser=adam,sgd", or YAML after the sign.

    Raises:
        OptionError: It is none.

    Example:
        >>> read_search("hidden_size=32..256:log")
        ('hidden_size', {'low': 32, 'high': 256, 'log': True})
        >>> read_search("dropout=0..0.5:step=0.1")
        ('dropout', {'low': 0, 'high': 0.5, 'step': 0.1})
        >>> read_search("optimiser=adam,sgd")
        ('optimiser', ['adam', 'sgd'])
    """
    name, equals, wanted = text.partition("=")
    if not equals or not name.strip() or not wanted.strip():
        raise OptionError(
            f"{text!r} searches nothing; write NAME=LOW..HIGH, such as hidden_size=32..256:log, or "
            "NAME=VALUE,VALUE"
        )
    wanted = wanted.strip()
    if wanted[0] in "{[":
        return read_setting(text)
    if ".." not in wanted:
        return name.strip(), [read_setting(f"x={part.strip()}")[1] for part in wanted.split(",")]
    bounds, *others = wanted.split(":")
    low, _, high = bounds.partition("..")
    made: dict[str, Any] = {
        "low": read_setting(f"x={low}")[1],
        "high": read_setting(f"x={high}")[1],
    }
    for other in others:
        key, equals, value = other.partition("=")
        made[key.strip()] = read_setting(f"x={value}")[1] if equals else True
    return name.strip(), made


def _entries(
    section: Mapping[str, Any], every: Mapping[str, Option], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """The names of a section and what is wanted of each; groups are mappings, too."""
    groups = {path.rpartition(".")[0] for path in every}
    for name, wanted in section.items():
        path = f"{prefix}{name}"
        if path in groups and isinstance(wanted, Mapping):
            yield from _entries(wanted, every, f"{path}.")
        else:
            yield path, wanted


def _named(name: str, every: Mapping[str, Option], where: str) -> Option:
    """An option by its path, or by its own name."""
    own = {each.name: each for each in every.values()} | {"cell": every[CELLS]}
    found = every.get(name) or own.get(name)
    if found is None:
        known = [path for path in every if _searchable(every[path])]
        same = [path for path in known if path.rpartition(".")[2] == name.rpartition(".")[2]]
        near = same or get_close_matches(name, [*known, *own], n=1, cutoff=0)
        raise OptionError(f"{where}: {name} is no option; nearest: {near[0]}")
    if not _searchable(found):
        raise OptionError(
            f"{where}: {found.path} cannot be searched: it decides on what, where or how often "
            "networks are trained, not how good they become"
        )
    return found


def _searchable(found: Option) -> bool:
    fixed = found.path.startswith(("data.", "decoding.")) or found.path in _NOT_SEARCHED
    return not (fixed or found.required)


def _dimension(options: Any, found: Option, wanted: Any, where: str) -> Dimension:
    if isinstance(wanted, Mapping):
        return _range(options, found, wanted, where)
    if isinstance(wanted, list | tuple):
        return _choice(options, found, wanted, where)
    raise OptionError(
        f"{where} is {wanted!r}, but has to be a range, such as {{low: 1, high: 3}}, or a list of "
        "values"
    )


def _choice(options: Any, found: Option, wanted: Sequence[Any], where: str) -> Choice:
    values = tuple(dict.fromkeys(wanted)) if all(map(_is_plain, wanted)) else ()
    if len(values) < 2:
        raise OptionError(
            f"{where} is {list(wanted)!r}, but has to be a list of two or more different values"
        )
    for value in values:
        if found.path == CELLS:
            get(str(value))
        _check(options, found, value, where)
    return Choice(found.path, values)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _range(options: Any, found: Option, wanted: Mapping[Any, Any], where: str) -> Range:
    for key in wanted:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1, cutoff=0)
            raise OptionError(f"{where} has {key!r}; nearest: {near[0]}")
    if found.type not in (int, float):
        raise OptionError(f"{where} is no number: give a list of values instead of a range")
    for key in ("low", "high"):
        if key not in wanted:
            raise OptionError(f"{where} has no {key!r}; write {{low: ..., high: ...}}")
        _check(options, found, wanted[key], f"{where}, {key}")
    low, high = (found.type(wanted[key]) for key in ("low", "high"))
    log, step = wanted.get("log", False), wanted.get("step")
    if low >= high:
        raise SizeError(f"{where}: low is {low}, but has to be below high, which is {high}")
    if not isinstance(log, bool):
        raise OptionError(f"{where}: log is {log!r}, but has to be true or false")
    if log and low <= 0:
        raise SizeError(f"{where}: low is {low}, but has to be above 0 with log")
    if step is not None:
        high = _stepped(found.type, low, high, step, log, where)
        step = found.type(step)
    return Range(found.path, low, high, log, step)


def _stepped(kind: type, low: float, high: float, step: Any, log: bool, where: str) -> Any:
    """The largest number that steps from the lowest one lead to.

    Raises:
        SizeError, OptionError: There are no such steps.
    """
    number = isinstance(step, kind | int) and not isinstance(step, bool)
    if not number or not 0 < step <= high - low:
        raise SizeError(
            f"{where}: step is {step!r}, but has to be above 0 and at most the distance of low and "
            "high"
        )
    if log:
        raise OptionError(f"{where} has log and step; leave one of them out")
    return kind(low + math.floor((high - low) / step + 1e-9) * step)


def _check(options: Any, found: Option, value: Any, where: str) -> None:
    """Refuse a value that the option cannot have."""
    try:
        put(options, found.path, value)
    except AnyrnnError as error:
        said = str(error).partition(" is ")[2] or str(error)
        raise type(error)(f"{where} is {said}") from None


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of the section, for the options of a task."""
    properties: dict[str, Any] = {}
    for found in declared(kind):
        if not _searchable(found):
            continue
        wanted = {"anyOf": _schemas(found)}
        properties[found.path] = wanted
        properties.setdefault(found.name, wanted)
        group, _, name = found.path.rpartition(".")
        if group:
            inner = properties.setdefault(
                group, {"type": "object", "properties": {}, "additionalProperties": False}
            )
            inner["properties"][name] = wanted
    return {
        "type": "object",
        "description": "What anyrnn tune searches: for each option a range or a list of values.",
        "properties": properties,
        "additionalProperties": False,
        "minProperties": 1,
    }


def _schemas(found: Option) -> list[dict[str, Any]]:
    names = {int: "integer", float: "number", bool: "boolean"}
    kind = names.get(found.type, "string")
    values = {"type": [kind, "null"] if found.optional else kind}
    if found.choices:
        values = {"enum": [*found.choices, *([None] if found.optional else [])]}
    several = {"type": "array", "items": values, "minItems": 2, "uniqueItems": True}
    if found.type not in (int, float):
        return [several]
    limits = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    bounds = {
        word: getattr(found.declaration, name)
        for name, word in limits.items()
        if getattr(found.declaration, name) is not None
    }
    number = {"type": kind, **bounds}
    several["items"] = {"anyOf": [number, {"type": "null"}]} if found.optional else number
    between = {
        "type": "object",
        "properties": {
            "low": number,
            "high": number,
            "log": {"type": "boolean"},
            "step": {"type": kind, "exclusiveMinimum": 0},
        },
        "required": ["low", "high"],
        "additionalProperties": False,
    }
    return [between, several]


def commented(kind: type, command: str) -> str:
    """The section as a comment in a file of options: what is searched if it is not there.

    Args:
        kind: The type of the options.
        command: The command that reads it.
    """
    lines = [
        f"# What {command} searches: for each option a range or a list of values.",
        "# search:",
    ]
    for each in _default_dimensions(
        {each.path: each.declaration.default for each in declared(kind)}
    ):
        shown = json.dumps(each.plain()).replace('"', "")
        lines.append(f"#   {each.path}: {shown}")
    return "\n".join(lines) + "\n"
