"""What a study was begun with: it goes on only with the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anyrnn.errors import RunError, option_name, option_value
from anyrnn.tasks.options.declaration import declared
from anyrnn.tasks.options.nested import differing, flattened

_FREE = ("training.seeds",)  # a study may go on with more


def without_files(options: Any) -> dict[str, Any]:
    """The options but for the places of files, which differ between machines; that the content is
    the same is checked.
    """
    files = {each.path for each in declared(type(options)) if _is_file(each.type)}
    return {
        ".".join(path): value
        for path, value in flattened(options.plain())
        if ".".join(path) not in files
    }


def _is_file(type_: Any) -> bool:
    return type_ is Path or Path in getattr(type_, "__args__", ())


def check_same(where: str, was: Mapping[str, Any], now: Mapping[str, Any], other: str) -> None:
    """Refuse to go on with a study that was begun with other settings.

    Args:
        where: The study.
        was, now: Its settings.
        other: The option that names another study.

    Raises:
        RunError: They differ.
    """
    plain = json.loads(json.dumps(now))
    for name, (before, wanted) in differing(was, plain).items():
        shown = name.removeprefix("options.")
        if shown not in _FREE:
            raise RunError(
                f"cannot go on with {where}: {shown} was {option_value(before)} and is "
                f"{option_value(wanted)} now; repeat the command as it was, or choose another "
                f"{option_name(other)}"
            )
