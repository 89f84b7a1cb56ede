"""Options, each declared once: type, default, bounds and help in one place.

From the declaration follow the Python constructor and its checks, the command line, the file of
`--config`, the JSON schema and the reference page.
"""

import dataclasses
import functools
import inspect
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin, get_type_hints

import pydantic
import pydantic.dataclasses

from anyrnn.errors import OptionError, option_name, option_value
from anyrnn.tasks.options.nested import put
from anyrnn.tasks.options.option_checks import (
    DataNeed,
    Declaration,
    Need,
    alternatives,
    checked_type,
    choices,
    translated,
    without_none,
)

Group = TypeVar("Group", bound="OptionGroup")


@dataclass(frozen=True)
class Option:
    """An option of a group, or of a group within it.

    Attributes:
        name: Its own name, which no other option of the task has.
        path: Its name with those of its groups, such as "model.hidden_size".
        type: Its type, but for `None`.
        optional: Whether it may be `None`.
        panel: The title of its group.
        declaration: What is declared about it.
    """

    name: str
    path: str
    type: Any
    optional: bool
    panel: str
    declaration: Declaration

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.declaration.default is ...

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that it may have, if they are named."""
        return choices(self.type)

    @property
    def several(self) -> bool:
        """Whether its value is a list."""
        return get_origin(self.type) is tuple

    @property
    def bounds(self) -> str:
        """The bounds that are declared, in words, if it is a number."""
        found = self.declaration
        if self.type not in (int, float):
            return ""
        lower = "" if found.ge is None else f"{found.ge} or more"
        lower = lower if found.gt is None else f"above {found.gt}"
        upper = "" if found.le is None else f"{found.le} or less"
        upper = upper if found.lt is None else f"below {found.lt}"
        if lower and upper:
            return f"from {lower.removesuffix(' or more')} to {upper.removesuffix(' or less')}"
        return lower or upper


def option(default: Any, help: str, **declaration: Any) -> Any:
    """Declare an option of an `OptionGroup`.

    Args:
        default: Its default; `...` if it has to be given.
        help: What it is, in a sentence.
        declaration: The other attributes of `Declaration`.
    """
    return Declaration(default=default, help=help, **declaration)


@dataclass_transform(frozen_default=True)
class OptionGroup:
    """Options that belong together: a subclass is a frozen dataclass whose values are checked.

    What has a type and an `option` is an option; what has another `OptionGroup` as its type is a
    group within the group.

    Args:
        panel: The title of the group in help.
        needs: Without which values of other options none of the group has an effect.
        last: Whether its options stand behind those that a subclass adds.

    Raises:
        SizeError: A number is out of its bounds, or is none.
        OptionError: A value is missing, of another type, or none of its choices; or there is no
            such option, then the message names the nearest one.

    Example:
        >>> class Training(OptionGroup, panel="Training"):
        ...     epochs: int = option(20, "The largest number of passes.", ge=1)
        >>> Training()
        Training(epochs=20)
        >>> Training(epochs=0)
        Traceback (most recent call last):
        ...
        anyrnn.errors.SizeError: epochs is 0, but has to be 1 or more
    """

    __panel__: ClassVar[str] = ""
    __declared__: ClassVar[dict[str, tuple[Any, Declaration | None]]] = {}
    """The type of each option or group, and what is declared about it."""
    __last__: ClassVar[bool] = False

    def __init_subclass__(
        cls, panel: str = "", needs: tuple[Need, ...] = (), last: bool = False, **keywords: Any
    ) -> None:
        super().__init_subclass__(**keywords)
        cls.__panel__, cls.__last__ = panel or cls.__panel__, last
        hints = get_type_hints(cls)
        inherited = [base for base in cls.__bases__ if issubclass(base, OptionGroup)]
        behind = {n: o for base in inherited if base.__last__ for n, o in base.__declared__.items()}
        cls.__declared__ = {n: o for base in inherited for n, o in base.__declared__.items()}
        annotations = {name: hints[name] for name in inspect.get_annotations(cls)}
        for name in annotations:
            found = vars(cls).get(name)
            declaration = found if isinstance(found, Declaration) else None
            cls.__declared__[name] = (hints[name], declaration)
            if declaration:
                annotations[name] = checked_type(hints[name], declaration)
                if declaration.default is ...:
                    delattr(cls, name)
                else:
                    setattr(cls, name, declaration.default)
        for name, (type_, declaration) in cls.__declared__.items() if needs else ():
            if declaration:
                declaration = dataclasses.replace(declaration, needs=(*declaration.needs, *needs))
                cls.__declared__[name] = (type_, declaration)
        for name in behind:
            cls.__declared__[name] = cls.__declared__.pop(name)
        cls.__annotations__ = annotations
        config = pydantic.ConfigDict(extra="forbid")
        pydantic.dataclasses.dataclass(cls, frozen=True, kw_only=True, config=config)
        cls.__init__ = _with_our_errors(cls, cls.__init__)

    def in_effect(self) -> dict[str, tuple[Any, ...]]:
        """What the names of files tell, a value for each file: by the names of options that leave
        a choice to the data, and of what a `DataNeed` asks.
        """
        groups = (getattr(self, name) for name in self.__declared__)
        found = (group.in_effect() for group in groups if isinstance(group, OptionGroup))
        return {name: values for each in found for name, values in each.items()}

    def plain(self) -> dict[str, Any]:
        """The values as JSON and YAML know them, in the groups that they are in."""
        values: dict[str, Any] = {}
        for name in self.__declared__:
            value = getattr(self, name)
            if isinstance(value, OptionGroup):
                value = value.plain()
            elif isinstance(value, tuple):
                value = [str(part) if isinstance(part, Path) else part for part in value]
            values[name] = str(value) if isinstance(value, Path) else value
        return values


def declared(kind: type[OptionGroup], prefix: str = "", panel: str = "") -> Iterator[Option]:
    """The options of a group and of the groups within it, in order.

    Args:
        kind: The group.
        prefix: What their paths begin with.
        panel: The title of a group that has none of its own.
    """
    panel = kind.__panel__ or panel
    for name, (type_, declaration) in kind.__declared__.items():
        if _is_group(type_):
            yield from declared(type_, f"{prefix}{name}.", panel)
        elif declaration:
            yield Option(name, prefix + name, *without_none(type_), panel, declaration)


def from_mapping(kind: type[Group], values: Mapping[Any, Any]) -> Group:
    """The options of a type from a nested mapping, as a file holds it.

    Args:
        kind: The type.
        values: A value for each option that has not its default; groups are mappings. A group of
            which nothing is said may be `None`.

    Raises:
        SizeError, OptionError: See `OptionGroup`.
    """
    check_names(kind, values)
    return kind(**_without_empty_groups(kind, values))


def check_names(kind: type[OptionGroup], values: Mapping[Any, Any], prefix: str = "") -> None:
    """Refuse a nested mapping that names what is no option.

    Args:
        kind: Whose options.
        values: The mapping.
        prefix: The path of the group that it is for.

    Raises:
        OptionError: There is no such option; the message names the nearest one.
    """
    for name, value in values.items():
        if name not in kind.__declared__:
            raise OptionError(_unknown(kind, f"{prefix}{name}", prefix))
        type_, _ = kind.__declared__[name]
        if _is_group(type_) and isinstance(value, Mapping):
            check_names(type_, value, f"{prefix}{name}.")
        elif _is_group(type_) and value is not None and not isinstance(value, type_):
            first = next(declared(type_, f"{prefix}{name}.")).path
            raise OptionError(
                f"{prefix}{name} is {option_value(value)}, but has to be a group of options, "
                f"such as {first}"
            )


def flat(options: OptionGroup) -> dict[str, Any]:
    """The value of each option by its own name, whatever group it is in."""
    return {
        found.name: functools.reduce(getattr, found.path.split("."), options)
        for found in declared(type(options))
    }


def from_flat(kind: type[Group], values: Mapping[str, Any]) -> Group:
    """The options of a type from values by their own names: the inverse of `flat`.

    Raises:
        SizeError, OptionError: See `OptionGroup`.
    """
    paths = {found.name: found.path for found in declared(kind)}
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name not in paths:
            raise OptionError(_unknown(kind, name))
        put(nested, paths[name], value)
    return from_mapping(kind, nested)


def void(
    options: OptionGroup, data: Mapping[str, tuple[Any, ...]] | None = None
) -> Iterator[tuple[Option, Need, Any]]:
    """The options that have no effect beside the others or on the data.

    Args:
        options: All options.
        data: What the data hold, as `Data.in_effect`, if they are known.

    Yields:
        Such an option, what it needs, and what is there instead.
    """
    chosen = {name: (value,) for name, value in flat(options).items()}
    in_effect = {**chosen, **options.in_effect(), **(data or {})}
    for found in declared(type(options)):
        for need in found.declaration.needs:
            actual = in_effect.get(need.name, ())
            if actual and not any(map(need.met, actual)):
                yield found, need, actual[0]
                break


def check_needs(
    options: OptionGroup,
    names: Container[str] | None = None,
    data: Mapping[str, tuple[Any, ...]] | None = None,
) -> None:
    """Refuse an option that differs from its default and has no effect.

    Args:
        options: All options.
        names: Which of them are asked about; without names all.
        data: See `void`.

    Raises:
        OptionError: There is one; the message names what makes it void.
    """
    values = flat(options)
    for found, need, actual in void(options, data):
        asked = names is None or found.name in names
        if asked and values[found.name] != found.declaration.default:
            raise OptionError(_void(found.name, need, actual))


def replaced(options: Group, **changes: Any) -> Group:
    """The same options but for some.

    Raises:
        SizeError, OptionError: See `OptionGroup`.
    """
    return dataclasses.replace(options, **changes)  # pyright: ignore[reportArgumentType]


def schema(kind: type[OptionGroup]) -> dict[str, Any]:
    """The JSON schema of a file with options of a type."""
    return pydantic.TypeAdapter(kind).json_schema()


def _is_group(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, OptionGroup)


def _with_our_errors(cls: type[OptionGroup], init: Any) -> Any:
    names = list(cls.__declared__)

    @functools.wraps(init)
    def __init__(self: OptionGroup, *arguments: Any, **values: Any) -> None:  # noqa: N807
        if len(arguments) > len(names):
            raise OptionError(f"{cls.__name__} has only {len(names)} options")
        given = dict(zip(names, arguments, strict=False))
        if twice := given.keys() & values.keys():
            raise OptionError(f"{min(twice)} is given twice")
        check_names(cls, values)
        try:
            init(self, **given, **values)
        except pydantic.ValidationError as error:
            types = {found.path: found.type for found in declared(cls)}
            raise translated(error.errors(include_url=False)[0], types) from None

    return __init__


def _unknown(kind: type[OptionGroup], path: str, prefix: str = "") -> str:
    """What is said of a name that no option of a type has."""
    known = [found.path for found in declared(kind, prefix)]
    known += [f"{prefix}{name}" for name in kind.__declared__]
    last = path.rpartition(".")[2]
    same = [other for other in known if other.rpartition(".")[2] == last]
    near = same or get_close_matches(path, known, n=1, cutoff=0.5)
    near = near or [
        other
        for other in known
        if get_close_matches(last, [other.rpartition(".")[2]], n=1, cutoff=0.7)
    ]
    there = f"; there are {', '.join(kind.__declared__)}"
    return f"{path} is no option{f'; did you mean {near[0]}?' if near else there}"


def _void(name: str, need: Need, value: Any) -> str:
    """What is said of an option that has no effect with a value of another."""
    here, other = option_name(name), option_name(need.name)
    if value is None:
        return f"{here} has no effect without {other}; give both, or leave {here} out"
    if isinstance(need, DataNeed):
        return f"{here} has no effect on {value}; leave {here} out"
    said = f"{here} has no effect with {option_name(need.name, value)}"
    said += f", {need.why}" if need.why else ""
    if need.values in ((None,), (False,)):
        return f"{said}; leave one of them out"
    if not need.values:
        return f"{said}; give another value of {other}, or leave {here} out"
    choices = alternatives([option_name(need.name, each) for each in need.values])
    return f"{said}; use {choices}, or leave {here} out"


def _without_empty_groups(kind: type[OptionGroup], values: Mapping[str, Any]) -> dict[str, Any]:
    """A group of which a file says nothing is `None` there."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        type_, _ = kind.__declared__[name]
        if _is_group(type_):
            value = value if isinstance(value, type_) else _without_empty_groups(type_, value or {})
        found[name] = value
    return found
