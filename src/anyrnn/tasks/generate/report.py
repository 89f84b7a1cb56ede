"""What the report of a language model adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyrnn.tasks.decoding.written_tokens import END_MARK, UNKNOWN_MARK

if TYPE_CHECKING:
    from anyrnn.tasks.training.results import CellResult

# The colour behind a piece of text is full where it has so many bits.
_MOST_BITS = 12.0
_LISTED_FILES = 3


def pictures(results: Sequence[CellResult], files: Sequence[Path]) -> dict[str, object]:
    """The values that `generate.html` uses beside those of all reports.

    Args:
        results: The cells.
        files: What the training read.
    """
    names = [path.name for path in files[:_LISTED_FILES]]
    names += ["..."] if len(files) > _LISTED_FILES else []
    return {
        "names": ", ".join(names),
        "most_bits": _MOST_BITS,
        "end_mark": END_MARK,
        "unknown_mark": UNKNOWN_MARK,
        "all_bits": {
            result.cell: result.scores.figures["loss"] * result.scores.count / math.log(2)
            for result in results
        },
    }
