"""What pydantic checks of an option, and our errors in the place of its own."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError

from anyrnn.errors import AnyrnnError, OptionError, SizeError, option_name, option_value

LARGEST_COUNT = 2**31 - 1
LARGEST_SEED = 2**63 - 1  # of all libraries that draw
_LARGEST_NUMBER = 1e38  # a float32 has no larger power of ten


@dataclass(frozen=True)
class Need:
    """The values of another option with which an option has an effect.

    Attributes:
        name: The other option; it decides nothing in a task that lacks it.
        values: Those values; `None` is that of an option that was not given.
        but: If no values are listed: the only one without an effect.
        why: What is said of a value without an effect: a clause that begins with "which".

    Example:
        >>> Need("schedule", ("plateau", "step")).met("constant")
        False
    """

    name: str
    values: tuple[Any, ...] = ()
    but: Any = None
    why: str = ""

    def met(self, value: Any) -> bool:
        """Whether there is an effect with a value of the other option."""
        return value in self.values if self.values else value != self.but

    @property
    def words(self) -> str:
        """With which values there is an effect, with places for the name and the values."""
        if self.values in ((None,), (False,)):
            return "only without {name}"
        if self.values:
            return "only with {name} {values}"
        return "only with {name}" if self.but is None else "only with {name} other than {values}"

    def shown(self) -> tuple[str, ...]:
        """The values that its words name."""
        return tuple(map(str, self.values or (self.but,)))


class DataNeed(Need):
    """The data on which an option has an effect: values are words, such as "parquet".

    Its name is no option, but what is asked of the data; `OptionGroup.in_effect` answers what the
    names of files tell, and `Data.in_effect` what they hold.
    """

    @property
    def words(self) -> str:
        """On which data there is an effect."""
        return f"only for {alternatives(self.shown())}" if self.values else f"not for {self.but}"

    @property
    def lacking(self) -> dict[str, tuple[str]]:
        """What is answered of data without an effect, where `but` says which these are."""
        return {self.name: (self.but,)}


def alternatives(words: Sequence[str], comma: str = ", ", last: str = " or ") -> str:
    """Words of which one is to be chosen.

    Example:
        >>> alternatives(["ts", "csv", "npz"])
        'ts, csv or npz'
    """
    return last.join(filter(None, (comma.join(words[:-1]), words[-1])))


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What is declared about an option, besides its name and type.

    Attributes:
        default: Its default; `...` if it has to be given.
        help: What it is, in a sentence.
        ge, gt, le, lt: The bounds of a number; `ge` also of the length of a list.
        metavar: What stands for its value in help, such as "FILE".
        shown: A default that is worked out, in words.
        flags: Its flags on the command line; by default its name with dashes.
        argument: Whether it is what follows without a flag on the command line.
        evaluation: What an evaluation takes: the value of the training unless it is given, one that
            has to be given, one only if it is given, or none.
        distinct: Whether a value that a list repeats counts once.
        needs: Without which values of other options it has no effect.
    """

    default: Any
    help: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    metavar: str = ""
    shown: str = ""
    flags: tuple[str, ...] = ()
    argument: bool = False
    evaluation: Literal["as trained", "required", "if given", "left out"] = "as trained"
    distinct: bool = False
    needs: tuple[Need, ...] = ()


def checked_type(type_: Any, declaration: Declaration) -> Any:
    """The type with the checks of a declaration, as pydantic knows them."""
    inner, optional = without_none(type_)
    found = declaration
    bounds = {name: getattr(found, name) for name in ("ge", "gt", "le", "lt")}
    bounds = {name: bound for name, bound in bounds.items() if bound is not None}
    checks: list[Any] = []
    if inner in (int, float):
        if not {"le", "lt"} & bounds.keys():
            bounds["le"] = LARGEST_COUNT if inner is int else _LARGEST_NUMBER
        finite = {"allow_inf_nan": False} if inner is float else {}
        checks.append(pydantic.Field(strict=True, **finite, **bounds))
        checks.append(pydantic.BeforeValidator(_as_int if inner is int else _as_python))
    elif inner is bool:
        checks.append(pydantic.Field(strict=True))
        checks.append(pydantic.BeforeValidator(_as_python))
    elif inner is Path:
        inner = _PATH
    elif get_origin(inner) is tuple:
        parts = (part if part is ... else _strict(part) for part in get_args(inner))
        inner = tuple[tuple(parts)]
        checks.append(pydantic.BeforeValidator(lambda value: _as_tuple(value, found.distinct)))
        checks.append(pydantic.Field(min_length=bounds.get("ge")))
    checks.append(pydantic.Field(description=found.help))
    annotated: Any = Annotated[(inner, *checks)]
    return annotated | None if optional else annotated


def _strict(type_: Any) -> Any:
    """The type of a part of a list: True is no number, and "2" is none."""
    if type_ in (int, float, bool):
        return Annotated[type_, pydantic.Field(strict=True)]
    return _PATH if type_ is Path else type_


def _possible(path: Path) -> Path:
    """A path that a file can have."""
    if "\0" in str(path):
        raise PydanticCustomError("zero_byte", "no name of a file has a zero byte")
    return path


_PATH: Any = Annotated[Path, pydantic.AfterValidator(_possible)]


def _as_int(value: Any) -> Any:
    """NumPy's whole numbers are whole numbers; True is none."""
    with suppress(TypeError):
        return value if isinstance(value, bool) else index(value)
    return value


def _as_python(value: Any) -> Any:
    """NumPy's numbers, truth values and lists as Python's."""
    convert = getattr(value, "tolist", None)
    return convert() if callable(convert) else value


def _as_tuple(value: Any, distinct: bool) -> Any:
    value = _as_python(value)
    if isinstance(value, str | Path):
        value = (value,)
    if isinstance(value, list | tuple) and distinct:
        return tuple(value[i] for i in range(len(value)) if value[i] not in value[:i])
    return value


def choices(type_: Any) -> tuple[Any, ...]:
    """The values of a type that names them."""
    return get_args(type_) if get_origin(type_) is Literal else ()


def without_none(type_: Any) -> tuple[Any, bool]:
    """A type but for `None`, and whether it could be that."""
    if get_origin(type_) in (Union, UnionType):
        (other,) = (inner for inner in get_args(type_) if inner is not type(None))
        return other, True
    return type_, False


_WANTED: dict[str, tuple[type[AnyrnnError], str]] = {
    "greater_than_equal": (SizeError, "{ge} or more"),
    "greater_than": (SizeError, "above {gt}"),
    "less_than_equal": (SizeError, "{le} or less"),
    "less_than": (SizeError, "below {lt}"),
    "finite_number": (SizeError, "a finite number"),
    "int_type": (SizeError, "a whole number"),
    "float_type": (SizeError, "a number"),
    "bool_type": (OptionError, "true or false"),
    "string_type": (OptionError, "text"),
    "string_unicode": (OptionError, "text that Unicode knows"),
    "path_type": (OptionError, "a path"),
    "tuple_type": (OptionError, "a list"),
    "literal_error": (OptionError, "one of {choices}"),
    "too_short": (OptionError, "a list of {min_length} or more"),
}
"""What a value has to be, by the type of pydantic's error."""


def translated(error: ErrorDetails, types: Mapping[str, Any]) -> AnyrnnError:
    """Our error for one of pydantic's.

    Args:
        error: Theirs.
        types: The type of each option, by its path.
    """
    path = ".".join(part for part in error["loc"] if isinstance(part, str))
    if error["type"] == "missing":
        first = next((other for other in types if other.startswith(f"{path}.")), path)
        return OptionError(f"{option_name(first)} is missing")
    value = option_value(error["input"])
    if error["type"] not in _WANTED:
        return OptionError(f"{option_name(path)} is {value}: {error['msg']}")
    kind, wanted = _WANTED[error["type"]]
    bounds = {
        key: int(bound) if isinstance(bound, float) and bound in range(1000) else bound
        for key, bound in error.get("ctx", {}).items()
    }
    wanted = wanted.format(choices=", ".join(map(str, choices(types.get(path)))), **bounds)
    if wanted == "text" and isinstance(error["input"], bool | int | float):
        wanted = "text; in a file, put it in quotes"
    return kind(f"{option_name(path)} is {value}, but has to be {wanted}")
