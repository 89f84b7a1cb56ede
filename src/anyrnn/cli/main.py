"""The program `anyrnn`: its subcommands, and how mistakes are told."""

import sys
from typing import Annotated

import typer

from anyrnn.cli import cells, evaluate, predict, show, train
from anyrnn.errors import AnyrnnError

app = typer.Typer(
    name="anyrnn",
    help="Write a recurrent cell as its equations; get an exact, trainable layer.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("cells")(cells.cells)
app.command("show")(show.show)
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"anyrnn {version('anyrnn')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Carry the options that stand before a subcommand."""


def main() -> None:
    """Run the program; a user's mistake is told in one line and makes the exit code 2."""
    try:
        app()
    except AnyrnnError as error:
        message = " ".join(str(error).split())
        code = error.exit_code
        # What a signal stopped is no mistake.
        print(f"anyrnn: {message}" if code > 128 else f"anyrnn: error: {message}", file=sys.stderr)
        sys.exit(code)
