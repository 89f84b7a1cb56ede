"""Subcommands that have a command for each task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from anyrnn.cli.options import flag_parameter

if TYPE_CHECKING:
    from anyrnn.tasks.registry import Entry

_FILE = "Options from a file"

FROM_FILE = [
    flag_parameter(
        "config",
        Path | None,
        None,
        metavar="FILE",
        help="Options from a file (YAML, TOML, JSON); see [bold]anyrnn init-config[/bold].",
        rich_help_panel=_FILE,
    ),
    flag_parameter(
        "set",
        list[str],
        [],
        metavar="NAME=VALUE",
        help="An option as such a file names it, such as model.hidden_size=256; may be repeated. "
        "Flags win over these, and these over the file.",
        rich_help_panel=_FILE,
    ),
]


def task_app(made: Callable[[Entry], Any], help: str) -> typer.Typer:
    """A subcommand with a command for each task, made when it is asked for.

    Args:
        made: Makes the command of a task.
        help: The help of the subcommand.
    """

    class Tasks(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            from anyrnn.tasks.registry import TASKS, installed

            return [*TASKS, *installed()]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            from anyrnn.tasks.registry import entry_named

            return made(entry_named(cmd_name))

    app = typer.Typer(cls=Tasks, help=help, no_args_is_help=True, rich_markup_mode="rich")
    app.callback(help=help)(lambda: None)
    return app
