"""The most memory that a piece of work had."""

from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_PROCESS = Path("/proc/self")  # Linux


class PeakMemory:
    """Measures the most memory that was in use while it is entered: that of the process, or of the
    GPU where one is used.

    Attributes:
        bytes: The most, once it was left; `None` where the system does not tell.

    Example:
        >>> with PeakMemory() as memory:
        ...     numbers = list(range(1000))
        >>> memory.bytes is None or memory.bytes > 1000
        True
    """

    def __init__(self) -> None:
        self.bytes: int | None = None

    def __enter__(self) -> Self:
        """Begin anew."""
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            (_PROCESS / "clear_refs").write_text("5")  # what was most so far is forgotten
            self._resets = True
        except OSError:
            self._resets = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the figure."""
        if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
            self.bytes = torch.cuda.max_memory_allocated()
        elif self._resets:
            lines = (_PROCESS / "status").read_text().splitlines()
            peak = next((line for line in lines if line.startswith("VmHWM:")), None)
            self.bytes = int(peak.split()[1]) * 1024 if peak else None
