"""Options on the files of a training, and on what a network is asked about."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any, Literal

from anyrnn.errors import OptionError, option_name
from anyrnn.tasks.options.declaration import OptionGroup, flat, option
from anyrnn.tasks.options.option_checks import DataNeed, Need
from anyrnn.tasks.options.suffixes import is_json_lines, is_parquet

_KIND_OF_TABLE = "kind of table"
NOT_PARQUET = DataNeed(_KIND_OF_TABLE, but="parquet")
_WITH_SEPARATORS = DataNeed(_KIND_OF_TABLE, ("CSV", "TSV"))


def files_of(options: Any) -> list[Path]:
    """The files that a group of options names, those of the training first."""
    data = options.data if isinstance(options.data, tuple) else (options.data,)
    others = (getattr(options, name, None) for name in ("validation_data", "test_data"))
    return [*filter(None, (*data, *others))]


def _kind_of_table(path: Path) -> str:
    if is_parquet(path):
        return "parquet"
    return "JSON lines" if is_json_lines(path) else "CSV"


def encoding(needs: tuple[Need, ...] = ()) -> Any:
    """The option of the encoding of tables and texts."""
    return option("utf-8", "The encoding of the files.", metavar="NAME", needs=needs)


def separator(needs: tuple[Need, ...] = ()) -> Any:
    """The option of what separates the columns of tables."""
    return option(
        None,
        "What separates the columns.",
        metavar="CHARACTER",
        shown="comma in .csv, tab in .tsv",
        needs=(*needs, _WITH_SEPARATORS),
    )


def header(needs: tuple[Need, ...] = ()) -> Any:
    """The option of tables whose first line is a row like the others."""
    return option(
        True,
        "The first line names the columns; if not, they are called 1, 2, ...",
        needs=(*needs, _WITH_SEPARATORS),
    )


def decimal(needs: tuple[Need, ...] = ()) -> Any:
    """The option of tables of numbers that may have decimal commas."""
    return option(".", "The decimal sign of numbers.", needs=needs)


_PARTS = {
    "validation": "Data that decide when to stop.",
    "test": "Held-out data that measure the result.",
}


def part_of_its_own(part: Literal["validation", "test"], help: str = "") -> Any:
    """The option of a file that is a part of the data, which is split off if there is none."""
    help = help or _PARTS[part]
    return option(None, help, metavar="FILE", shown="split off the data", evaluation="left out")


_SHARES = {
    "validation": "The share of the data that is split off for validation; with 0 the training "
    "part itself decides when to stop.",
    "test": "The share of the data that is split off to measure the result; with 0 the validation "
    "part does.",
}


def share_of(part: Literal["validation", "test"], needs: tuple[Need, ...] = ()) -> Any:
    """The option of the share that is split off for a part that has no file of its own."""
    needs = (Need(f"{part}_data", (None,)), *needs)
    return option(0.1, _SHARES[part], ge=0, lt=1, evaluation="left out", needs=needs)


_SPLIT = "what becomes of the data"
IF_SPLIT = DataNeed(_SPLIT, but="data of which nothing is split off")


class PartOptions(OptionGroup, last=True):
    """Files of the parts of the data, or what is split off for them."""

    validation_data: Path | None = part_of_its_own("validation")
    test_data: Path | None = part_of_its_own("test")
    validation_share: float = share_of("validation")
    test_share: float = share_of("test")

    def own_files(self) -> dict[str, Path]:
        """The files of the parts that have one of their own, by the names of the parts."""
        files = {name: getattr(self, f"{name}_data") for name in _PARTS}
        return {name: path for name, path in files.items() if path is not None}

    def shares(self, there: Container[str] = ()) -> dict[str, float]:
        """The shares of the data that are split off for parts, by the names of the parts.

        Args:
            there: The parts that need not be split off.

        Raises:
            OptionError: Nothing is left to train on.
        """
        shares = {name: getattr(self, f"{name}_share") for name in _PARTS if name not in there}
        shares = {name: share for name, share in shares.items() if share}
        if sum(shares.values()) >= 1:
            names = " and ".join(option_name(f"{name}_share") for name in shares)
            raise OptionError(
                f"{names} leave nothing to train on; together they have to be below 1"
            )
        return shares

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """Whether a part is split off."""
        shares = (getattr(self, f"{name}_share") for name in _PARTS if name not in self.own_files())
        found = {} if any(shares) else IF_SPLIT.lacking
        return {**super().in_effect(), **found}


class TableOptions(OptionGroup, last=True):
    """How files that may be tables are read."""

    encoding: str = encoding((NOT_PARQUET,))
    separator: str | None = separator()
    header: bool = header()

    @property
    def reading(self) -> dict[str, Any]:
        """How a table is read."""
        given = flat(self)
        return {name: given[name] for name in ("encoding", "separator", "header")}

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """The kind of each file."""
        return {_KIND_OF_TABLE: tuple(map(_kind_of_table, files_of(self)))}


def given_texts(what: str = "Texts", one: str = "TEXT") -> Any:
    """The option of the texts that a command line asks about."""
    return option(
        (),
        f"{what}; without any, they are read from standard input.",
        metavar=f"[{one}]...",
        argument=True,
    )


def given_file(what: str = "texts") -> Any:
    """The option of a file of what a command line asks about."""
    return option(None, f"A file of {what}, one a line; - for standard input.", metavar="FILE")


KIND_OF_INPUT = "kind of input"
ARGUMENTS, LINES, TOKENS = "texts of the command line", "lines of text", "files of tokens"
"""What a network may be asked about."""


def input_encoding(need: Need = DataNeed(KIND_OF_INPUT, but=ARGUMENTS)) -> Any:  # noqa: B008
    """The option of the encoding of what a network is asked about."""
    help = "The encoding of the file or standard input."
    return option("utf-8", help, metavar="NAME", needs=(need,))


class InputOptions(OptionGroup):
    """What a network is asked about: texts, or what a task has in their place."""

    texts: tuple[str, ...] = given_texts()
    file: Path | None = given_file()
    encoding: str = input_encoding()

    def in_effect(self) -> dict[str, tuple[str, ...]]:
        """The kinds of input that are given."""
        kinds = [ARGUMENTS] if self.texts else []
        if self.file is not None or not kinds:
            kinds.append(self.kind_of(self.file))
        return {KIND_OF_INPUT: tuple(kinds)}

    def kind_of(self, file: Path | None) -> str:
        """What a file holds, or without one standard input."""
        return LINES
