"""What was worked out for a part of the data, kept beside a task."""

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

Part = TypeVar("Part")
Found = TypeVar("Found")


class Kept(Generic[Part, Found]):
    """What was worked out for parts of the data, as long as they are there. Parts are told apart by
    what they are, not by what they hold; in another process nothing is kept yet.

    Example:
        >>> class Part: ...
        >>> part, kept = Part(), Kept()
        >>> kept.of(part, lambda: 1), kept.of(part, lambda: 2), kept.of(Part(), lambda: 3)
        (1, 1, 3)
    """

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Part, Found] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()

    def of(self, part: Part, make: Callable[[], Found]) -> Found:
        """What was found for a part, or else what is made for it now."""
        if part not in self._found:
            self._found[part] = make()
        return self._found[part]
