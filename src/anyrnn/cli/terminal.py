"""What the program prints: text that would steer the terminal is shown, never sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence

from rich.box import Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Control characters, half characters, other line ends, and what changes the direction of writing.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


def shown(text: str) -> str:
    r"""A text in one line whose control characters are escapes, as Python writes them.

    Example:
        >>> print(shown("\x1b[2J caf\udce9"))
        \x1b[2J caf\xe9
    """
    return _STEERING.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number < 0xDD00:  # a byte of a name that is no UTF-8
        number -= 0xDC00
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}
    return named.get(character) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def terminal() -> Console:
    """Standard output, as wide as it says, if that can be."""
    console = Console()
    if console.width < 10:
        console.width = 80
    return console


def say(
    text: str = "", style: str = "", *, wrap: bool = False, console: Console | None = None
) -> None:
    """Print lines of text.

    Args:
        text: The lines.
        style: How they look on a terminal.
        wrap: Whether a line that is too long is broken between words.
        console: Where to print, if not on standard output.
    """
    lines = "\n".join(map(shown, text.split("\n")))
    (console or terminal()).print(Text(lines, style), soft_wrap=not wrap)


def say_json(value: object, indent: int | None = None) -> None:
    """Print a value as JSON, whatever characters the terminal knows."""
    plain = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=plain, indent=indent, allow_nan=False)
    text = "\n".join(
        _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n")
    )
    print(text)


def say_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    box: Box | None = None,
    title: str = "",
    caption: str = "",
) -> None:
    """Print a table. If it is too wide, columns move together, then cells are broken; if that is
    not enough, there is one value a line.

    Args:
        columns: The names of the columns.
        rows: The cells.
        right: The columns that are aligned to the right.
        box: The lines around it.
        title, caption: What stands above and below.
    """
    console = terminal()
    table = Table(box=box, header_style="bold", pad_edge=box is not None)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    cells = [[shown(cell) for cell in row] for row in rows]
    for row in cells:
        table.add_row(*map(Text, row))
    if title:
        say(title, "italic", wrap=True, console=console)
    unlimited = console.options.update(max_width=1_000_000)
    if console.measure(table, options=unlimited).maximum > console.width:
        table.padding, table.pad_edge = (0, 0, 0, 1), False
    if console.measure(table, options=unlimited).minimum <= console.width:
        console.print(table)
    else:
        for row in cells:
            for name, cell in zip(columns, row, strict=True):
                console.print(Text.assemble((f"{name} ", "bold"), cell))
            console.print()
    if caption:
        say(caption, "dim italic", wrap=True, console=console)
