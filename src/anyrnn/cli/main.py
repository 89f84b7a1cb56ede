"""The program `anyrnn`: its subcommands, and how mistakes are told."""

import sys
from typing import Annotated, Any

import typer

from anyrnn.cli import cache, cells, convert, evaluate, predict, show, train
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
app.command("convert")(convert.convert)
app.command("cache")(cache.cache)


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
        code = app(standalone_mode=False)
    except AnyrnnError as error:
        # What a signal stopped is no mistake.
        code = _tell(str(error), error.exit_code, mistake=error.exit_code < 128)
    except (typer.Abort, KeyboardInterrupt):
        code = _tell("stopped", 130, mistake=False)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not of those for a mistake on the command line
            raise
        usage: Any = error
        message = usage.format_message().replace("Value error, ", "")
        code = _tell(message, usage.exit_code) if message else usage.exit_code
    sys.exit(code or 0)


def _tell(message: str, code: int, mistake: bool = True) -> int:
    """Print a message in one line; the exit code is given back."""
    line = " ".join(message.split())
    print(f"anyrnn: error: {line}" if mistake else f"anyrnn: {line}", file=sys.stderr)
    return code
