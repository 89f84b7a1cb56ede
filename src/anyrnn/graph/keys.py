"""Keys: names of leaves and results that are made of other names, such as that of a gradient."""

from __future__ import annotations

from typing import Any, ClassVar, Self


class Key(tuple[Any, ...]):
    """A name made of another one; its text is for people only. A tuple of its class and that name,
    because calls look many up, and Python hashes tuples without running Python.
    """

    __slots__ = ()
    __match_args__ = ("of",)
    pattern: ClassVar[str]

    def __init_subclass__(cls, pattern: str) -> None:
        """Name how such keys are printed."""
        cls.pattern = pattern

    def __new__(cls, of: Any) -> Self:
        """The key of another name."""
        return super().__new__(cls, (cls, of))

    def __getnewargs__(self) -> tuple[Any]:
        return (self.of,)

    @property
    def of(self) -> Any:
        """The other name."""
        return self[1]

    def __str__(self) -> str:
        """The name as it is printed."""
        return self.pattern.format(self.of)


class NewValue(Key, pattern="{}'"):
    """A result of a step, where its old value has a name too."""


class Gradient(Key, pattern="d_{}"):
    """The gradient with respect to a leaf of a step: the input, a state, a parameter."""


class Cotangent(Key, pattern="d_{}'"):
    """The gradient with respect to a result of a step, which its derivative is given."""


class OutputGradient(Key, pattern="gradient:{}"):
    """The gradient with respect to a layer's output, without what comes through a state."""


class Before(Key, pattern="before:{}"):
    """A state before a step, which the step's derivative reads."""


class Saved(Key, pattern="saved:{}"):
    """A value that the forward step saves for the backward pass, by its number."""


Name = str | Key


def take_name(name: Name | None, taken: set[str]) -> Name:
    """A name that is not taken yet, which is taken then: the name itself, or with a number after
    it; for None `t1`, `t2` and so on.
    """
    number = 0 if name else 1
    while str(free := _numbered(name or "t", number)) in taken:
        number += 1
    taken.add(str(free))
    return free


def _numbered(name: Name, number: int) -> Name:
    if not number:
        return name
    return type(name)(f"{name.of}{number}") if isinstance(name, Key) else f"{name}{number}"
