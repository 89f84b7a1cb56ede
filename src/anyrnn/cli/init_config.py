"""`anyrnn init-config TASK`: a file of options to be filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from anyrnn.cli.options import SEARCH
from anyrnn.cli.terminal import say
from anyrnn.errors import OptionError, WriteError, option_name
from anyrnn.files import whole

_YAML = (".yaml", ".yml")


def init_config(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The task, such as classify.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write; one that exists stays as it is.",
            show_default="standard output",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="The JSON schema of such a file, for editors.")
    ] = False,
) -> None:
    """Write a file with every option of a task, its default and what it means.

    As a comment at its end there is what [bold]anyrnn tune[/bold] searches.

    [bold]Example:[/bold] anyrnn init-config classify --output run.yaml

    Then: anyrnn train classify --config run.yaml
    """
    from anyrnn.studies import search_section
    from anyrnn.tasks.options.declaration import schema as schema_of
    from anyrnn.tasks.options.option_files import commented
    from anyrnn.tasks.registry import entry_named

    entry = entry_named(task)
    if output is not None and not schema and output.suffix.lower() not in _YAML:
        raise OptionError(
            f"{option_name('output')} is {output}, but has to end in .yaml: options with comments "
            "are written as YAML"
        )
    if schema:
        described = schema_of(entry.options)
        described["properties"][SEARCH] = search_section.schema(entry.options)
        text = json.dumps(described, indent=2) + "\n"
    else:
        text = commented(entry.options, f"anyrnn train {task} --config FILE")
        text += "\n" + search_section.commented(entry.options, f"anyrnn tune {task} --config FILE")
    if output is None:
        print(text, end="")
        return
    try:
        with whole(output, replace=False) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise WriteError(f"{output} exists; choose another {option_name('output')}") from None
    except OSError as error:
        raise WriteError(f"cannot write {output}: {error.strerror or error}") from None
    say(f"options: {output}")
