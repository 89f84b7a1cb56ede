"""What else the machine is doing: times that are measured beside other work say little."""

from __future__ import annotations

import os
import time
from pathlib import Path

STATISTICS = Path("/proc/stat")
WARNED, REFUSED = 0.5, 1.5  # busy cores


def busy_cores(seconds: float) -> float | None:
    """The number of cores that others keep busy.

    This process sleeps meanwhile, and the libraries' processes are stopped between rows, so nothing
    that is counted is the benchmark's own. Time that the host of a virtual machine gives to others
    counts, too.

    Args:
        seconds: How long to look.

    Returns:
        Busy cores in the mean over that time. Where the system does not tell: its mean number of
        running processes in the last minute, into which the benchmark's own work of that minute
        goes; None where it does not tell that either.
    """
    if not STATISTICS.exists():
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    before = _ticks()
    time.sleep(seconds)
    idle, total = (now - then for now, then in zip(_ticks(), before, strict=True))
    return round((os.cpu_count() or 1) * (1 - idle / max(total, 1)), 2)


def _ticks() -> tuple[int, int]:
    """The ticks of all cores since the start in which they were idle, and all."""
    with STATISTICS.open() as file:
        fields = [*map(int, file.readline().split()[1:9])]  # those after are parts of the first two
    return sum(fields[3:5]), sum(fields)


def objection(load: float | None) -> str | None:
    """Why not to measure now, in a sentence, or nothing."""
    if load is None or load <= REFUSED:
        return None
    return (
        f"other programs keep {load:.1f} cores busy, more than {REFUSED}; measure at a quiet time, "
        "or --force it"
    )


def warning(load: float | None) -> str | None:
    """What to say before measuring, or nothing."""
    if load is None or load <= WARNED:
        return None
    return f"warning: other programs keep {load:.1f} cores busy; times will be longer by that"
