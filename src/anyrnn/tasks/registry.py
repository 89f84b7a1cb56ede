"""The tasks that there are; what they need is imported when they are asked for it."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
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
"""The tasks that people have data for."""

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

_ENTRIES = TASKS | PROBLEMS


def entry_named(name: str) -> Entry:
    """A task or a problem by its name.

    Raises:
        OptionError: There is none; the message names the nearest one.
    """
    if name not in _ENTRIES:
        near = get_close_matches(name, _ENTRIES, n=1, cutoff=0)
        raise OptionError(f"no task is called {name!r}; nearest: {near[0]}")
    return _ENTRIES[name]


def entry_of_run(run: Path) -> Entry:
    """The task of a run.

    Raises:
        RunError: The folder is none of a task that there is.
    """
    from anyrnn.tasks.run_files import CONFIG, entry
    from anyrnn.tasks.run_folder import read_config

    name = entry(read_config(run), "task", str, run / CONFIG)
    if name not in _ENTRIES:
        raise RunError(f"{run} is a run of the task {name!r}, which this anyrnn does not know")
    return _ENTRIES[name]


def entry_of(options: OptionGroup) -> Entry:
    """The task whose options these are.

    Raises:
        OptionError: They are of no task.
    """
    for entry in _ENTRIES.values():
        if type(options).__module__.startswith(f"{entry.package}."):
            return entry
    raise OptionError(f"{type(options).__name__} are the options of no task")
