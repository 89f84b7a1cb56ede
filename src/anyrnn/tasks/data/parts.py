"""The parts of the user's data: rows that are learned from, that decide, that measure."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import numpy
from numpy.typing import NDArray

from anyrnn.errors import DataError
from anyrnn.tasks.data.columns import taken
from anyrnn.tasks.data.split import key_of, split_rows

USES = {"training": "train", "validation": "validate", "test": "test"}
"""What the parts of the data are there to do, by their names."""

SomePart = TypeVar("SomePart")


@dataclass(frozen=True)
class Groups:
    """Which rows of a part stay together where it is split.

    Attributes:
        keys: A number for each row, of 64 bits; equal ones land in the same part.
        unit: What is counted if there are too few.
        hint: What is said of it then.
    """

    keys: NDArray[numpy.uint64]
    unit: str
    hint: str = ""

    @classmethod
    def equal(cls, contents: Iterable[str | bytes], unit: str, hint: str = "") -> Self:
        """Rows of equal contents stay together."""
        return cls(numpy.fromiter(map(key_of, contents), numpy.uint64), unit, hint)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of the user's data; a subclass adds what each row has.

    Attributes:
        path: The file that they come from, for messages.
        digests: A hash of the content of each file; of what was split off, none.
        skipped: How many rows of the files were left out, by reason; likewise.
    """

    columns: ClassVar[tuple[str, ...]]
    """The names of the attributes that have a value for each row, or are `None`."""

    path: Path
    digests: Sequence[str] = field(default=(), kw_only=True)
    skipped: dict[str, int] = field(default_factory=dict, kw_only=True)

    def __len__(self) -> int:
        """The number of rows."""
        return len(getattr(self, self.columns[0]))

    def take(self, rows: Sequence[int]) -> Self:
        """The part that consists of some rows."""
        columns = {name: getattr(self, name) for name in self.columns}
        chosen = {name: taken(all_, rows) for name, all_ in columns.items() if all_ is not None}
        return replace(self, digests=(), skipped={}, **chosen)

    def spread(self, most: int) -> range:
        """The numbers of so many rows or fewer, evenly over all."""
        return range(0, len(self), max(1, len(self) // most))[:most]

    def groups(self) -> Groups:
        """Which rows stay together where rows are split at random."""
        raise NotImplementedError


P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class Data(Generic[SomePart]):
    """The user's data, read and split.

    Attributes:
        training: The part that a network learns from.
        validation: The part that decides on its best epoch; without one, the training part does.
        test: The part that measures it; without one, the part that decides does.
        digests: A hash of the content of each file.
        facts: What a reader of the report wants to know, such as counts.
        notes: The same in sentences, told before the training.
        skipped: How many rows of each file were left out, by reason.
        in_effect: What a `DataNeed` of an option asks, by its name, if only the content tells.
    """

    training: SomePart
    validation: SomePart | None = None
    test: SomePart | None = None
    digests: Sequence[str] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    in_effect: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        parts: Mapping[str, SomePart],
        read: Iterable[Part] = (),
        facts: Mapping[str, object] | None = None,
        **others: Any,
    ) -> "Data[SomePart]":
        """The data of parts by their names.

        Args:
            parts: The parts.
            read: What was read of files, before it was split.
            facts: The attribute; by default the number of rows of each part.
            others: Other attributes.
        """
        found, sized = list(read), cast(Mapping[str, Sized], parts)
        counts = {name: len(part) for name, part in sized.items()} if facts is None else facts
        of_files = {
            "digests": [digest for part in found for digest in part.digests],
            "skipped": {str(part.path): part.skipped for part in found if part.skipped},
        }
        return cls(
            parts["training"],
            parts.get("validation"),
            parts.get("test"),
            facts=counts,
            **{**of_files, **others},
        )

    def told(self) -> Iterator[str]:
        """The notes, what was left out, and what follows from a part that is not there."""
        yield from self.notes
        for path, reasons in self.skipped.items():
            listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            yield f"skipped in {path}: {listed}"
        if self.validation is None:
            yield (
                "no validation part: the training part decides on the best epoch, and what is "
                "called validation below is measured on it"
            )
        if self.test is None:
            yield f"no test part: the {self.deciding[0]} part measures the result"

    @property
    def deciding(self) -> tuple[str, SomePart]:
        """The name of the part that decides on the best epoch and the best cell, and the part."""
        if self.validation is None:
            return "training", self.training
        return "validation", self.validation

    @property
    def measured(self) -> tuple[str, SomePart]:
        """The name of the part that results are measured on, and the part."""
        return self.deciding if self.test is None else ("test", self.test)


def divided(
    part: P,
    shares: Mapping[str, float],
    groups: Sequence[Hashable] | NDArray[Any],
    strata: Sequence[Hashable],
    seed: int,
) -> dict[str, P]:
    """Split a part: the others get their shares, "training" gets the rest.

    Args:
        part: What is split.
        shares: The share of each other part, by its name.
        groups, strata, seed: See `split_rows`.
    """
    sizes = [1 - sum(shares.values()), *shares.values()]
    rows = split_rows(groups, strata, sizes, seed)
    names = ["training", *shares]
    return {name: part.take(chosen) for name, chosen in zip(names, rows, strict=True)}


def divided_at_random(part: P, shares: Mapping[str, float], seed: int) -> dict[str, P]:
    """Split a part whose rows are all of one stratum; the rest is for training.

    Args:
        part: What is split.
        shares: The share of each other part, by its name.
        seed: Decides who goes where.

    Raises:
        DataError: There are too few rows.
    """
    if not shares:
        return {"training": part}
    groups, names = part.groups(), ["training", *shares]
    different = len(numpy.unique(groups.keys))
    if different < len(names):
        raise DataError(
            f"{part.path} has {different} different {groups.unit}(s), but {len(names)} are needed "
            f"to split into {', '.join(names)}{groups.hint}"
        )
    return divided(part, shares, groups.keys, [0] * len(groups.keys), seed)


def overlap(parts: Mapping[str, Part]) -> int:
    """How many rows of the test part would have stayed together with rows of the training part, had
    they been split: they were seen.

    Args:
        parts: The parts, by their names.
    """
    if "test" not in parts:
        return 0
    return int(numpy.isin(parts["test"].groups().keys, parts["training"].groups().keys).sum())


def told_overlap(count: int, units: str) -> list[str]:
    """What is said of an overlap, if there is one."""
    if not count:
        return []
    return [f"{count:,} of the test {units} also occur in the training {units}"]


def sizes(
    parts: Mapping[str, Sized], shown: Callable[[Any], str] = lambda part: f"{len(part):,}"
) -> str:
    """How many rows each part has, and what for.

    Args:
        parts: The parts, by their names.
        shown: The size of one in words.

    Example:
        >>> sizes({"training": range(1200), "test": range(50)})
        '1,200 to train, 50 to test'
    """
    return ", ".join(f"{shown(part)} to {USES[name]}" for name, part in parts.items())
