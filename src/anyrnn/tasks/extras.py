"""Libraries of the extras, imported where they are first used."""

from importlib import import_module
from typing import Any

from anyrnn.errors import MissingExtraError


def library(name: str, extra: str) -> Any:
    """A library that only some tasks need.

    Args:
        name: What is imported.
        extra: The extra of anyrnn that brings it.

    Raises:
        MissingExtraError: It is not installed, or it lacks what it needs itself.
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library that is not there
        raise MissingExtraError(
            f"this task needs {name!r}, which cannot be imported ({error}); "
            f"pip install 'anyrnn[{extra}]'"
        ) from None
