"""What a study was begun with: it goes on only with the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anyrnn.errors import RunError, option_name
from anyrnn.tasks.options.declaration import declared
from anyrnn.tasks.options.nested import flattened

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


def check_same(where: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a study that was begun with other settings.

    Args:
        where: The study.
        was, now: Its settings.

    Raises:
        RunError: They differ.
    """
    before, wanted = (
        {".".join(path): value for path, value in flattened(each)} for each in (was, _plain(now))
    )
    for name in {**before, **wanted}:
        shown = name.removeprefix("options.")
        if shown not in _FREE and before.get(name) != wanted.get(name):
            raise RunError(
                f"cannot go on with {where}: {shown} was {before.get(name)!r} and is "
                f"{wanted.get(name)!r} now; repeat the command as it was, or choose another "
                f"{option_name('name')}"
            )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
