"""`anyrnn cache`: compiled code and prepared data on disk."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from anyrnn.cli.terminal import say, say_table
from anyrnn.kernels import store


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
) -> None:
    """List compiled code and prepared data on disk, the last used first; or remove them.

    The environment variable ANYRNN_CACHE names another folder, or turns it off: ANYRNN_CACHE=off.
    """
    folder = store.folder()
    if folder is None:
        say(f"compiled code is not kept on disk: turned off by {store.VARIABLE}")
        return
    if clear:
        count, size = store.clear()
        say(f"removed {_counted(count, size)} from {folder}")
        return
    entries = store.entries()
    code = [entry.size for entry in entries if entry.label != store.PREPARED]
    data = [entry.size for entry in entries if entry.label == store.PREPARED]
    say(f"{folder}: {_counted(len(code), sum(code))} of at most {_amount(store.LIMIT)}")
    if data:
        say(f"data prepared for trainings: {_counted(len(data), sum(data))}")
    if not entries:
        return
    rows = []
    for entry in entries:
        label = "damaged; built again when needed" if entry.damaged else entry.label
        rows.append((label, entry.target, _amount(entry.size), _time(entry.used)))
    say_table(("code", "target", "size", "last use"), rows, right=["size"])


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a clock that was far off
        return "unknown"


def _counted(count: int, size: int) -> str:
    return f"{count} {'file' if count == 1 else 'files'}, {_amount(size)}"


def _amount(size: int) -> str:
    """Bytes in a unit that is easy to read."""
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**10:.0f} KiB" if size < 2**20 else f"{size / 2**20:.0f} MiB"
