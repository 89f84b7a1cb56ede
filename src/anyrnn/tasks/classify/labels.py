"""Labels: several in one value, and their order, which is that of the classes."""

import math


def split_labels(label: str, separator: str | None) -> list[str]:
    """The labels of a row, each once.

    Example:
        >>> split_labels("sport; news;", ";"), split_labels("a;b", None), split_labels("", ";")
        (['sport', 'news'], ['a;b'], [])
    """
    if separator is None:
        return [label]
    return list(dict.fromkeys(filter(None, map(str.strip, label.split(separator)))))


def label_order(label: str) -> tuple[int, float, str]:
    """Numbers first; "nan" and "inf" are words, because no order has a place for the former."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (0, number, label) if math.isfinite(number) else (1, 0.0, label)
