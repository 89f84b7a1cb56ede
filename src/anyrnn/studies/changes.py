"""Options of which a study changes some, by their paths."""

import functools
from collections.abc import Mapping
from typing import Any

from anyrnn.tasks.options.declaration import OptionGroup, replaced, void


def changed(options: Any, changes: Mapping[str, Any], *, keep: bool = False) -> Any:
    """Options with some changed by their paths.

    Args:
        options: The options.
        changes: The values, by the paths of the options.
        keep: Whether a change stays that has no effect beside the others; otherwise it is left out.

    Raises:
        SizeError, OptionError: A value cannot be.

    Example:
        >>> from anyrnn.tasks.options.declaration import OptionGroup, option
        >>> class Model(OptionGroup):
        ...     layers: int = option(1, "The number of layers.", ge=1)
        >>> class Options(OptionGroup):
        ...     model: Model = Model()
        >>> changed(Options(), {"model.layers": 2})
        Options(model=Model(layers=2))
    """
    found = functools.reduce(lambda made, each: _put(made, *each), changes.items(), options)
    for option, _, _ in () if keep else void(found):
        if option.path in changes:
            found = _put(found, option.path, option.declaration.default)
    return found


def _put(options: OptionGroup, path: str, value: Any) -> Any:
    name, _, rest = path.partition(".")
    return replaced(options, **{name: _put(getattr(options, name), rest, value) if rest else value})
