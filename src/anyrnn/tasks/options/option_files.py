"""Files of options: YAML, TOML and JSON read, YAML written with comments."""

import json
import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anyrnn.errors import DataError, OptionError
from anyrnn.files import reading
from anyrnn.tasks.options.declaration import Option, OptionGroup, declared
from anyrnn.tasks.options.option_checks import alternatives


class _Loader(yaml.SafeLoader):
    """YAML 1.2: `no` and 2020-01-01 are text, 1e-3 is a number; no name occurs twice."""

    yaml_implicit_resolvers = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        found = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if name in found:
                line = key.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"{name!r} occurs twice, again in line {line}")
            found.add(name)
        return super().construct_mapping(node, deep)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*|\.?[0-9]+(?=[eE.])|\.[0-9]+)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$"), _first
    )


def read_options(path: Path) -> dict[str, Any]:
    """The values in a file of options.

    Args:
        path: A file whose suffix is .yaml, .yml, .toml or .json.

    Raises:
        DataError: It is missing, empty, damaged, or holds no mapping.
    """
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".toml", ".json"):
        raise DataError(f"cannot tell what {path} is by its name; use .yaml, .toml or .json")
    try:
        with reading(path):
            text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not utf-8: byte {error.start}") from None
    try:
        if suffix == ".toml":
            values = tomllib.loads(text)
        elif suffix == ".json":
            values = json.loads(text, object_pairs_hook=_once) if text.strip() else None
        else:
            values = yaml.load(text, _Loader)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        kind = "JSON" if suffix == ".json" else "TOML" if suffix == ".toml" else "YAML"
        raise DataError(f"{path} is not {kind}: {_reason(error)}") from None
    if values is None or values == {}:
        raise DataError(f"{path} is empty: it has no option")
    if not isinstance(values, Mapping):
        kind = "a list" if isinstance(values, list) else "a single value"
        raise DataError(f"{path} is {kind}, but has to name options, such as model: ...")
    return dict(values)


def read_setting(setting: str) -> tuple[str, Any]:
    """The path and the value of "model.hidden_size=256"; the value is YAML.

    Raises:
        OptionError: It is none.
    """
    path, equals, text = setting.partition("=")
    if not equals or not all(map(str.strip, path.split("."))):
        raise OptionError(f"{setting!r} sets nothing; write NAME=VALUE, such as model.layers=2")
    try:
        return path.strip(), yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f"the value of {setting!r} is not YAML: {_reason(error)}") from None


def commented(kind: type[OptionGroup], title: str) -> str:
    """A file with every option and its default, as YAML with comments.

    Args:
        kind: Whose options.
        title: The comment at its beginning.
    """
    lines = [f"# {title}"]
    group = ""
    for found in declared(kind):
        inner = found.path.rpartition(".")[0]
        if inner != group:
            lines += ["", f"{inner}:"] if inner else [""]
            group = inner
        indent = "  " if inner else ""
        lines += [f"{indent}# {line}" for line in textwrap.wrap(_explanation(found), 90)]
        if found.required:
            lines.append(f"{indent}# {found.name}: {found.declaration.metavar or '...'}")
        else:
            lines.append(f"{indent}{found.name}: {_written(found.declaration.default)}")
    return "\n".join(lines) + "\n"


def described(found: Option) -> str:
    """What an option may be: its choices, or its type and bounds."""
    if found.choices:
        return ", ".join(map(str, found.choices))
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    kind = "list" if found.several else names.get(found.type, "path")
    return f"{kind}, {found.bounds}" if found.bounds else kind


def _explanation(found: Option) -> str:
    declaration = found.declaration
    needs = [
        need.words.format(name=need.name, values=alternatives(need.shown()))
        for need in declaration.needs
    ]
    note = "REQUIRED" if found.required else ""
    note = f"null: {declaration.shown}" if declaration.shown else note
    help = re.sub(r"\[/?\w+\]", "", declaration.help)
    return f"{help} ({'; '.join(filter(None, (described(found), note, *needs)))})"


def _written(value: Any) -> str:
    """A value in one line of YAML; JSON is YAML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} occurs twice")
    return dict(pairs)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"{error.problem or error.context}{place}"
    return str(error)
