"""The program `anyrnn`: its subcommands, and how mistakes are told."""

import io
import os
import sys
import warnings
from contextlib import suppress
from typing import Annotated, Any, TextIO

import typer

from anyrnn.cli import (
    cache,
    cells,
    check_install,
    compare,
    convert,
    evaluate,
    generate,
    init_config,
    inspect,
    listen,
    predict,
    runs,
    show,
    speak,
    study,
    train,
    transcribe,
    translate,
    tune,
)
from anyrnn.cli.options import LazyCommand, flag
from anyrnn.cli.terminal import shown
from anyrnn.errors import AnyrnnError

# What a value has to be, by the type of pydantic's error.
_NUMBERS = {"int_parsing": "a whole number", "float_parsing": "a number"}

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
app.add_typer(tune.app, name="tune")
app.add_typer(compare.app, name="compare")
app.command("init-config")(init_config.init_config)
app.command("evaluate", cls=LazyCommand)(evaluate.evaluate)
app.command("predict", cls=LazyCommand)(predict.predict)
app.command("inspect", cls=LazyCommand)(inspect.inspect)
app.command("generate", cls=LazyCommand)(generate.generate)
app.command("transcribe", cls=LazyCommand)(transcribe.transcribe)
app.command("translate", cls=LazyCommand)(translate.translate)
app.command("listen", cls=LazyCommand)(listen.listen)
app.command("speak", cls=LazyCommand)(speak.speak)
app.command("study", cls=LazyCommand)(study.study)
app.command("runs")(runs.runs)
app.command("convert")(convert.convert)
app.command("cache")(cache.cache)
app.command("check-install")(check_install.check_install)


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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what it cannot encode, it shows as an escape
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no text come as in an argument
        with suppress(io.UnsupportedOperation):  # a program has read some of it already
            sys.stdin.reconfigure(errors="surrogateescape")
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        sys.exit(_run())


def _run() -> int:
    """The exit code of the program."""
    try:
        code = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # while it can still be told that this fails
        return _tell("stopped", 130, mistake=False) if code == 130 else code or 0
    except AnyrnnError as error:
        # What a signal stopped is no mistake.
        return _tell(error.told(flag), error.exit_code, mistake=error.exit_code < 128)
    except (typer.Abort, KeyboardInterrupt):
        return _tell("stopped", 130, mistake=False)
    except (BrokenPipeError, SystemExit) as error:  # whoever read the output has enough of it
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _discard_output()
        return 141  # as if SIGPIPE had ended it, which Python ignores
    except OSError as error:
        _discard_output()
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        place = f"{name}: " if name else "cannot write the output: "
        return _tell(f"{place}{error.strerror or error}", 2)
    except MemoryError:
        return _tell("there is not enough memory", 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not of those for a mistake on the command line
            raise
        usage: Any = error
        message = _no_number(usage) or usage.format_message().replace("Value error, ", "")
        return _tell(message, usage.exit_code) if message else usage.exit_code


def _no_number(usage: Any) -> str:
    """What is said of a value that is no number; empty of other mistakes."""
    found = getattr(usage.__cause__, "errors", list)()
    wanted = _NUMBERS.get(found[0]["type"]) if found else None
    name = usage.param.opts[0] if wanted else ""
    return f"{name} is {found[0]['input']!r}, but has to be {wanted}" if wanted else ""


def _tell(message: str, code: int, mistake: bool = True) -> int:
    """Print a message in one line; the exit code is given back."""
    _tell_line(f"anyrnn: error: {message}" if mistake else f"anyrnn: {message}")
    return code


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _tell_line(f"anyrnn: warning: {message}")


def _tell_line(text: str) -> None:
    with suppress(OSError, AttributeError):  # there is nowhere else to tell it
        sys.stderr.write(shown(" ".join(text.split())) + "\n")
        sys.stderr.flush()


def _discard_output() -> None:
    """What is still to be written would fail again when the process ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
