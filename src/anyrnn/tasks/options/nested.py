"""Options in nested mappings, as files and the records of runs have them."""

from collections.abc import Iterator, Mapping
from typing import Any


def found_in(values: Mapping[str, Any], path: str) -> tuple[Any, ...]:
    """The value of an option in a nested mapping, or nothing."""
    group, _, rest = path.partition(".")
    if group not in values:
        return ()
    if not rest:
        return (values[group],)
    inner = values[group]
    return found_in(inner, rest) if isinstance(inner, Mapping) else ()


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the value of an option in a nested mapping."""
    group, _, rest = path.partition(".")
    if rest:
        inner = values.get(group)
        inner = dict(inner) if isinstance(inner, Mapping) else {}
        put(inner, rest, value)
        value = inner
    values[group] = value


def flattened(
    values: Mapping[str, Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of a nested mapping, each with its name behind those of its groups.

    Example:
        >>> list(flattened({"model": {"layers": 2}, "seed": 0}))
        [(('model', 'layers'), 2), (('seed',), 0)]
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, (*before, name))
        else:
            yield (*before, name), value


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The values that differ between nested mappings, by their paths; `None` where there is none.

    Example:
        >>> differing({"model": {"layers": 2}, "seed": 0}, {"model": {"layers": 1}, "seed": 0})
        {'model.layers': (2, 1)}
    """
    flat = [{".".join(path): value for path, value in flattened(each)} for each in (one, other)]
    pairs = {name: (flat[0].get(name), flat[1].get(name)) for name in {**flat[0], **flat[1]}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
