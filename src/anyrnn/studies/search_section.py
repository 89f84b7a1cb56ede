"""What a study may choose, as the section `search` of a file and a command line write it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from anyrnn.cells.catalogue import get
from anyrnn.errors import AnyrnnError, OptionError, SizeError
from anyrnn.studies.space import CELLS, Choice, Dimension, Range, Space, default_dimensions, put
from anyrnn.tasks.options.declaration import Option, declared
from anyrnn.tasks.options.option_files import read_setting

# What says where and how often to train, or on what is measured: no value of it is better.
_NOT_SEARCHED = {
    f"training.{name}"
    for name in ("seed", "seeds", "device", "devices", "nodes", "node_rank", "rendezvous")
} | {"training.tensorboard", "deciding"}
_KEYS = ("low", "high", "log", "step")


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
    for each in default_dimensions(
        {each.path: each.declaration.default for each in declared(kind)}
    ):
        shown = json.dumps(each.plain()).replace('"', "")
        lines.append(f"#   {each.path}: {shown}")
    return "\n".join(lines) + "\n"
