"""The catalogue of cells: `catalogue.toml` has what is known about each without its equations. A
family's module is imported, which traces its equations, when one of its cells is first asked for.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from anyrnn.errors import CellError, UnknownCellError
from anyrnn.graph.cell import Cell


class Recurrence(StrEnum):
    """How a cell's new states follow from its old ones.

    Attributes:
        DENSE: Through matrices and activations: a step has to wait for the step before.
        DIAGONAL: Through activations, but each unit sees its own old state only.
        LINEAR: Linearly, unit by unit, with factors that follow from the inputs: steps can be
            scanned in parallel.
    """

    DENSE = "dense"
    DIAGONAL = "diagonal"
    LINEAR = "linear"


@dataclass(frozen=True)
class Source:
    """Where the equations of a cell are printed.

    Attributes:
        authors: Its authors, as they are cited.
        year: When it was published; None where that is not known.
        reference: Its arXiv number or title, and the section.
    """

    authors: str
    year: int | None
    reference: str

    def __str__(self) -> str:
        """For example `Elman 1990`."""
        return f"{self.authors} {self.year}" if self.year else f"{self.authors}, {self.reference}"


@dataclass(frozen=True)
class CellRecord:
    """What is known about a cell without its equations.

    Attributes:
        name: Its name.
        family: Its family: the module with its function.
        summary: What it is, in a few words.
        recurrence: How its new states follow from its old ones.
        source: Where its equations are printed.
    """

    name: str
    family: str
    summary: str
    recurrence: Recurrence
    source: Source


class Catalogue(Mapping[str, Cell]):
    """Cells by name, each imported when it is first asked for.

    Args:
        path: A TOML file with a table `[family.name]` for each cell.
        package: The package with a module for each family.
    """

    def __init__(self, path: Path, package: str) -> None:
        self._path = path
        self._package = package

    @cached_property
    def records(self) -> dict[str, CellRecord]:
        """What is known about each cell, by name."""
        import tomllib

        families: dict[str, Any] = tomllib.loads(self._path.read_text("utf-8"))
        return {
            name: CellRecord(
                name,
                family,
                row["summary"],
                Recurrence(row["recurrence"]),
                Source(row["authors"], row.get("year"), row["reference"]),
            )
            for family, rows in families.items()
            for name, row in rows.items()
        }

    def __getitem__(self, name: str) -> Cell:
        module = importlib.import_module(f"{self._package}.{self.records[name].family}")
        return getattr(module, name)

    def __contains__(self, name: object) -> bool:
        return name in self.records

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        """The names."""
        return f"<catalogue: {', '.join(self)}>"


CATALOGUE = Catalogue(Path(__file__).with_name("catalogue.toml"), "anyrnn.cells")


def get(cell: str | Cell) -> Cell:
    """The cell of a name; a cell itself is returned as it is.

    Args:
        cell: A name in the catalogue, or a cell.

    Returns:
        The cell.

    Raises:
        UnknownCellError: No cell of that name; the message has the nearest ones.
        CellError: The argument is neither a name nor a cell.

    Example:
        >>> import anyrnn
        >>> anyrnn.get("gru").states
        ('h',)
    """
    if isinstance(cell, Cell):
        return cell
    if not isinstance(cell, str):
        raise CellError(
            f"{cell!r} is no cell; give a name such as 'lstm', or decorate the function with @cell"
        )
    found = CATALOGUE.get(cell.lower().replace("-", "_"))
    if found is None:
        near = difflib.get_close_matches(cell.lower(), CATALOGUE, 3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(CATALOGUE)}"
        raise UnknownCellError(f"no cell is called '{cell}'; {hint}")
    return found
