"""Commands whose flags come from the declarations of a task's options."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from anyrnn.errors import AnyrnnError

if TYPE_CHECKING:
    from anyrnn.tasks.options.declaration import Group, Option, OptionGroup
    from anyrnn.tasks.registry import Entry


def flag(name: str) -> str:
    """The flag of an option, for messages that know nothing else of it."""
    return "--" + name.rpartition(".")[2].replace("_", "-")


def flags(found: Option) -> tuple[str, ...]:
    """The flags of an option, the one that messages name first."""
    return found.declaration.flags or (flag(found.name),)


def names(options: Iterable[Option]) -> Callable[[str], str]:
    """How a command line names its options, those without a flag by what stands for them in help;
    and any other option, of which only the name is known.
    """
    known = {
        found.name: found.declaration.metavar if found.declaration.argument else flags(found)[0]
        for found in options
    }
    return lambda name: known.get(name.rpartition(".")[2]) or flag(name)


def parameter(found: Option, *, as_trained: bool = False) -> inspect.Parameter:
    """The parameter of a command for an option.

    Args:
        found: The option.
        as_trained: Whether its default is what the training had.
    """
    declaration = found.declaration
    default = None if found.required or as_trained else declaration.default
    settings: dict[str, Any] = {"help": declaration.help, "rich_help_panel": found.panel}
    if declaration.metavar:
        settings["metavar"] = declaration.metavar
    if as_trained and declaration.evaluation == "as trained":
        settings["show_default"] = "as trained"
    elif declaration.shown or default is False:
        settings["show_default"] = declaration.shown or False
    elif found.required or (as_trained and declaration.evaluation == "required"):
        settings["help"] += r" [red]\[required][/red]"
    # Typer makes numbers of the parts.
    kind = list[get_args(found.type)[0]] if found.several else found.type
    kind = kind if default is not None else kind | None
    if declaration.argument:
        del settings["rich_help_panel"]
        info = typer.Argument(**settings, show_default=False)
    else:
        names = flags(found)
        if found.type is bool and not declaration.flags:
            names = (f"{names[0]}/{names[0].replace('--', '--no-', 1)}",)
        info = typer.Option(*names, **settings)
    return _parameter(found.name, Annotated[kind, info], default)


def flag_parameter(name: str, type: Any, default: Any, *flags: str, **settings: Any) -> Any:
    """The parameter of a command for a flag that is no option of a task."""
    info = typer.Option(*(flags or (flag(name),)), **settings)
    return _parameter(name, Annotated[type, info], default)


def command(
    function: Callable[..., None],
    parameters: Iterable[inspect.Parameter],
    name: str,
    help: str,
) -> Any:
    """A command with made parameters.

    Args:
        function: Called with the context and every parameter by name.
        parameters: The parameters.
        name: The command's name.
        help: Its help.
    """

    def called(ctx: typer.Context, **values: Any) -> None:
        function(ctx, **values)

    context = _parameter("ctx", typer.Context)
    made = [context, *parameters]
    called.__signature__ = inspect.Signature(made)  # pyright: ignore[reportFunctionMemberAccess]
    called.__annotations__ = {each.name: each.annotation for each in made}
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
    app.command(name, help=help, context_settings={"help_option_names": ["-h", "--help"]})(called)
    return typer.main.get_command(app)


def given(ctx: typer.Context, options: Iterable[Option]) -> dict[str, Any]:
    """The values that were given on the command line, by the names of the options."""
    names = [found.name for found in options]
    sources = {name: ctx.get_parameter_source(name) for name in names}
    told = {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}
    return {name: _as_typed(ctx.params[name]) for name in names if name in told}


def _as_typed(value: Any) -> Any:
    """A value whose text is UTF-8, where the locale says nothing of it (`LC_ALL=C`); names of files
    stay as the system has them.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(_as_typed, value))
    if isinstance(value, str) and re.search("[\udc80-\udcff]", value):  # bytes beyond the locale
        with suppress(UnicodeError):
            return os.fsencode(value).decode()
    return value


def chosen(ctx: typer.Context, kind: type[Group]) -> Group:
    """The options that a command line gives, checked; messages name them as it does.

    Args:
        ctx: The context of the command.
        kind: The type of the options.

    Raises:
        SizeError, OptionError: A value cannot be, or has no effect with others.
    """
    from anyrnn.tasks.options.declaration import check_needs, declared, from_flat

    with telling(names(declared(kind))):
        options = from_flat(kind, given(ctx, declared(kind)))
        check_needs(options)
    return options


SEARCH = "search"
"""The section of a file of options that says what is searched: it is no option."""


class Sources:
    """The values of options from a file, from settings and from flags; the later ones win.

    Args:
        kind: The type of the options.
        file: The file, if there is one.
        settings: Such as "model.hidden_size=256".
        flags: Values by the names of the options.
        defaults: Values of what nothing else gives, by the paths of the options.
        found: The options as the command has them, if some have other flags.

    Attributes:
        search: The section of the file that says what `anyrnn tune` searches, if it has one.

    Raises:
        DataError: The file cannot be read.
        OptionError: What the file or a setting names is no option.
    """

    def __init__(
        self,
        kind: type[Group],
        file: Path | None,
        settings: Iterable[str],
        flags: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] | None = None,
        found: Iterable[Option] = (),
    ) -> None:
        from anyrnn.tasks.options.declaration import check_names, declared
        from anyrnn.tasks.options.nested import put
        from anyrnn.tasks.options.option_files import read_options, read_setting

        options = {each.name: each for each in (*declared(kind), *found)}
        self._options = options
        self._places: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._kind = kind
        self.search: Any = None
        for path, value in (defaults or {}).items():
            put(self._values, path, value)
        if file:
            values = read_options(file)
            if SEARCH in values:
                self.search = values.pop(SEARCH) or {}
            with _beginning(f"{file}: "):
                check_names(kind, values)
            self._take(values, f" in {file}")
        for setting in settings:
            path, value = read_setting(setting)
            nested: dict[str, Any] = {}
            put(nested, path, value)
            with _beginning(f"--set {setting}: "):
                check_names(kind, nested)
            self._take(nested, " in --set")
        for name, value in flags.items():
            put(self._values, options[name].path, value)
            self._places.pop(name, None)

    def options(self) -> Any:
        """The options themselves.

        Raises:
            SizeError, OptionError: A value cannot be.
        """
        from anyrnn.tasks.options.declaration import from_mapping

        return from_mapping(self._kind, self._values)

    def given_in_place(self, name: str) -> str:
        """Where a file or a setting gave an option, such as " in --set"; or ""."""
        return self._places.get(name, "")

    def flag(self, name: str) -> str:
        """How a message names an option: by where it was given, or by the flag that gives it."""
        name = name.rpartition(".")[2]
        if name in self._places:
            return self._options[name].path + self._places[name]
        return names(self._options.values())(name)

    def _take(self, values: Mapping[str, Any], place: str) -> None:
        from anyrnn.tasks.options.nested import found_in, put

        for name, found in self._options.items():
            for value in found_in(values, found.path):
                put(self._values, found.path, value)
                self._places[name] = place


def _parameter(name: str, annotation: Any, default: Any = ...) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


@contextmanager
def telling(flag: Callable[[str], str]) -> Iterator[None]:
    """Give the messages of errors within the names of options that the user knows."""
    try:
        yield
    except AnyrnnError as error:
        error.args = (error.told(flag),)
        raise


@contextmanager
def _beginning(start: str) -> Iterator[None]:
    try:
        yield
    except AnyrnnError as error:
        error.args = (start + error.message,)
        raise


class LazyCommand(TyperCommand):
    """A command whose flags are made when it is called: see `pass_on`, `ask`, `call`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave everything to the command that is made."""
        ctx.args = list(args)
        return ctx.args


def pass_on(ctx: typer.Context, made: Callable[[Sequence[Entry]], Any]) -> None:
    """Call the command that is made for the task of the run that a command line names.

    Args:
        ctx: The context of a `LazyCommand` command.
        made: Makes the command for a task, or, where no run is named, for the help on all.
    """
    from anyrnn.tasks.registry import TASKS, entry_of_run, installed

    runs = [text for text in ctx.args if not text.startswith("-")]
    found = [text for text in runs if os.path.exists(os.path.join(text, "config.json"))]
    if not found and runs == ctx.args[: len(runs)]:
        found = runs
    every = [*TASKS.values(), *installed().values()]
    call(ctx, made([entry_of_run(Path(found[0]))] if found else every))


def ask(ctx: typer.Context, task: str, help: str, answer: Callable[[Any, Any], None]) -> None:
    """Call the command of a task that asks a network of a run in the task's own way.

    Args:
        ctx: The context of a `LazyCommand` command.
        task: The name of the task.
        help: The command's help.
        answer: Prints what is asked for; it is given the loaded network and the options.
    """
    from anyrnn.tasks.options.declaration import declared
    from anyrnn.tasks.registry import TASKS

    entry = TASKS[task]

    def run(
        inner: typer.Context, run: Path, cell: str | None, weights: str | None, **_: Any
    ) -> None:
        from anyrnn.tasks.trained import load

        options = chosen(inner, entry.verb_options)
        answer(load(run, cell, entry.task, weights), options)

    found = map(parameter, declared(entry.verb_options))
    call(ctx, command(run, [RUN, *found, CELL, WEIGHTS], entry.verb, help))


def call(ctx: typer.Context, command: Any) -> None:
    """Call a command with what was left to it.

    Args:
        ctx: The context of a `LazyCommand`.
        command: The command.
    """
    with command.make_context(ctx.info_name, ctx.args, parent=ctx.parent) as inner:
        command.invoke(inner)


def options_of(
    entries: Sequence[Entry], kind: Callable[[Entry], type[OptionGroup]]
) -> list[Option]:
    """The options of one task; or those of several, each in a panel that names its task, with the
    arguments of the first one: a command can have only one list of them.
    """
    from anyrnn.tasks.options.declaration import declared

    found: dict[str, Option] = {}
    for entry in entries:
        for option in declared(kind(entry)):
            panel = option.panel if len(entries) == 1 else f"{option.panel} ({entry.name})"
            name = "argument" if option.declaration.argument else option.name
            found.setdefault(name, dataclasses.replace(option, panel=panel))
    return list(found.values())


RUN = _parameter(
    "run",
    Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.", show_default=False)],
)
CELL = flag_parameter(
    "cell",
    str | None,
    None,
    metavar="NAME",
    help="Which model of the run.",
    show_default="the best on validation",
)


class Weights(StrEnum):
    """How the layers of a network multiply."""

    INT8 = "int8"


WEIGHTS = flag_parameter(
    "weights",
    Weights | None,
    None,
    help="Have the layers multiply in int8: faster, and less exact.",
    show_default="float32",
)
