"""The tasks that there are; what they need is imported when they are asked for it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyrnn.errors import OptionError, RunError
from anyrnn.tasks.options.declaration import OptionGroup

if TYPE_CHECKING:
    from anyrnn.tasks.task import Task


@dataclass(frozen=True)
class Entry:
    """A task as the command line knows it.

    Attributes:
        name: Its name.
        summary: What it does, in a sentence.
        example: The rest of a command that trains it.
        package: Where it is; its module `options` has `Options` and `PredictOptions`.
        kind: The name of the class in its module `task`.
        verb: The command that asks a run in the task's own way, if there is one besides `predict`.
        asked: The name of the options of that command, in the module `options`.
    """

    name: str
    summary: str
    example: str
    package: str
    kind: str
    verb: str = ""
    asked: str = "PredictOptions"

    @property
    def options(self) -> type[OptionGroup]:
        """What can be chosen for a training."""
        return self._module("options").Options

    @property
    def predict_options(self) -> type[OptionGroup]:
        """What can be chosen for predictions."""
        return self._module("options").PredictOptions

    @property
    def verb_options(self) -> type[OptionGroup]:
        """What can be chosen for its own command."""
        return getattr(self._module("options"), self.asked)

    @property
    def task(self) -> "type[Task]":
        """The task itself."""
        return getattr(self._module("task"), self.kind)

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")


TASKS = {
    entry.name: entry
    for entry in (
        Entry(
            "classify",
            "Train classifiers of texts or of sequences of numbers, and compare them.",
            "--data reviews.csv --text review --label sentiment --cell lstm --cell gru",
            "anyrnn.tasks.classify",
            "Classify",
        ),
        Entry(
            "tag",
            "Train taggers, which label each token of a sentence, and compare them.",
            "--data train.conllu --token-column form --tag-column upos --cell lstm --cell gru",
            "anyrnn.tasks.tag",
            "Tag",
        ),
        Entry(
            "generate",
            "Train language models, which write texts.",
            "--data book.txt --cell lstm --hidden-size 512",
            "anyrnn.tasks.generate",
            "Generate",
            verb="generate",
            asked="WritingOptions",
        ),
        Entry(
            "translate",
            "Train translators, which write a sentence for a sentence, and compare them.",
            "--source train.de --target train.en --cell gru --cell lstm",
            "anyrnn.tasks.translate",
            "Translate",
            verb="translate",
        ),
        Entry(
            "command",
            "Train networks that tell spoken words apart, and compare them.",
            "--data recordings --cell gru --cell lstm",
            "anyrnn.tasks.command",
            "Command",
            verb="listen",
            asked="ListenOptions",
        ),
        Entry(
            "transcribe",
            "Train networks that write down what is said in recordings, and compare them.",
            "--data spoken.tsv --recording file --transcript text --cell gru --cell lstm",
            "anyrnn.tasks.transcribe",
            "Transcribe",
            verb="transcribe",
            asked="TranscribeOptions",
        ),
        Entry(
            "speak",
            "Train voices, which speak texts, on recordings of one speaker.",
            "--data voice.tsv --recording file --transcript text --cell gru",
            "anyrnn.tasks.speak",
            "Speak",
            verb="speak",
        ),
        Entry(
            "caption",
            "Train networks that write captions of pictures, and compare them.",
            "--data captions.csv --picture image --caption caption --folder pictures",
            "anyrnn.tasks.caption",
            "Caption",
        ),
        Entry(
            "forecast",
            "Train networks that forecast series of numbers, and compare them with simple methods.",
            "--data weather.csv --time date --target temperature --horizon 24",
            "anyrnn.tasks.forecast",
            "Forecast",
        ),
    )
}
"""The tasks that people have data for; those of other packages are `installed`."""

PROBLEMS = {
    entry.name: entry
    for entry in (
        Entry(
            "adding",
            "Train networks on the adding problem: the sum of two values that are marked.",
            "--length 100 --cell lstm --cell gru",
            "anyrnn.tasks.problems.adding",
            "Adding",
        ),
        Entry(
            "copying",
            "Train networks on copy memory: ten symbols, a pause, and the symbols again.",
            "--pause 30 --cell lstm --cell gru",
            "anyrnn.tasks.problems.copying",
            "Copying",
        ),
    )
}
"""Problems with drawn data; nobody has data of theirs, so that they are not listed."""

_OURS = TASKS | PROBLEMS

GROUP = "anyrnn.tasks"
"""The group of entry points by which other packages name their tasks."""


def installed() -> dict[str, Entry]:
    """The tasks of other packages, by their names: each is an entry point of the group
    `anyrnn.tasks` that is an `Entry`. One that cannot be used is left out, with a warning.
    """
    found: dict[str, Entry] = {}
    for point in entry_points(group=GROUP):
        try:
            entry, problem = point.load(), ""
        except Exception as error:  # of code that is not ours
            entry, problem = None, f"{type(error).__name__}: {error}"
        if isinstance(entry, Entry) and entry.name not in _OURS:
            found[entry.name] = entry
            continue
        if isinstance(entry, Entry):
            problem = f"anyrnn itself has a task {entry.name!r}"
        problem = problem or f"{point.value} is no Entry of anyrnn.tasks.registry"
        warnings.warn(f"the task {point.name!r} is left out: {problem}", stacklevel=2)
    return found


def _every() -> Iterator[Entry]:
    """All tasks and problems; other packages are asked only for what is none of ours."""
    yield from _OURS.values()
    yield from installed().values()


def _find(name: str) -> Entry | None:
    return next((entry for entry in _every() if entry.name == name), None)


def entry_named(name: str) -> Entry:
    """A task or a problem by its name.

    Raises:
        OptionError: There is none; the message names the nearest one.
    """
    found = _find(name)
    if found is None:
        near = get_close_matches(name, [each.name for each in _every()], n=1, cutoff=0)
        raise OptionError(f"no task is called {name!r}; nearest: {near[0]}")
    return found


def entry_of_run(run: Path) -> Entry:
    """The task of a run.

    Raises:
        RunError: The folder is none of a task that there is.
    """
    from anyrnn.tasks.run_files import CONFIG, entry
    from anyrnn.tasks.run_folder import read_config

    name = entry(read_config(run), "task", str, run / CONFIG)
    found = _find(name)
    if found is None:
        raise RunError(f"{run} is a run of the task {name!r}, which this anyrnn does not know")
    return found


def entry_of(options: OptionGroup) -> Entry:
    """The task whose options these are.

    Raises:
        OptionError: They are of no task.
    """
    for entry in _every():
        if type(options).__module__.startswith(f"{entry.package}."):
            return entry
    raise OptionError(f"{type(options).__name__} are the options of no task")
