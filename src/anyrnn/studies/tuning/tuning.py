"""The search for the options with which a task's network becomes best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyrnn.errors import OptionError, RunError, SizeError, option_name
from anyrnn.studies.options import StudyOptions
from anyrnn.studies.place import Place
from anyrnn.studies.search import Study
from anyrnn.studies.search_section import space_of
from anyrnn.studies.space import CELLS, Choice, Space, default_space
from anyrnn.studies.tuning.options import TuneOptions
from anyrnn.studies.tuning.report import render_tuning
from anyrnn.studies.tuning.result import TuneResult, importance_in, write_result
from anyrnn.studies.worker import Sampling, StudyListener
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.options.declaration import check_needs, from_flat
from anyrnn.tasks.registry import entry_of
from anyrnn.tasks.run_files import write_text


def tune(
    options: Any,
    space: Space | Mapping[str, Any] | None = None,
    *,
    data: Data | None = None,
    listener: StudyListener | None = None,
    **chosen: Any,
) -> TuneResult:
    """Find the options with which a task's network becomes best on the validation data.

    Each trial is a training with other options, chosen by Optuna's TPE from those before; the first
    one has the options as they are. What looks worse than the median of the others is given up.

    Args:
        options: Those of a task: files, cells, and the values that are not searched.
        space: What is searched: for each option, by its path, a mapping with `low` and `high`, and
            if wanted `log` and `step`, or a list of values. By default learning rate, hidden size,
            layers and dropout, as far as the task has them. Several cells in the options are
            searched, too.
        data: The data, if they do not come from files.
        listener: Told what happens.
        chosen: What `StudyOptions` and `TuneOptions` have: `output`, `trials`, `budget`, `workers`,
            `storage`, `resume`, ...

    Returns:
        The trials, the best one first in `ranked`; `run` is the best run folder.

    Raises:
        OptionError: What is searched is no option, or has no effect.
        SizeError: A value cannot be, or the budget is too small for one epoch.
        DataError: The data cannot be used.
        RunError: A study of that name exists, there is none to go on with, or no training was
            finished.
        StorageError: The storage cannot be reached.
        StoppedError: Ctrl-C or SIGTERM; the study can be gone on with by `resume`.
    """
    study, tuning = _chosen(chosen)
    if not isinstance(space, Space):
        space = default_space(options) if space is None else space_of(options, space)
    return Search(options, space, study, tuning).run(data, listener)


def _chosen(values: Mapping[str, Any]) -> tuple[StudyOptions, TuneOptions]:
    kinds = (StudyOptions, TuneOptions)
    for name in values:
        if not any(name in kind.__declared__ for kind in kinds):
            known = ", ".join(name for kind in kinds for name in kind.__declared__)
            raise OptionError(f"{name} is no option; there are {known}")
    own = [
        {name: value for name, value in values.items() if name in kind.__declared__}
        for kind in kinds
    ]
    return from_flat(StudyOptions, own[0]), from_flat(TuneOptions, own[1])


@dataclass(frozen=True)
class Search:
    """A search for the best options.

    Attributes:
        options: Those of a task.
        space: What is searched.
        study: Where the study is kept, and by how many processes and how long it is worked on.
        tuning: How options are chosen.

    Raises:
        OptionError: An option has no effect, or cannot be chosen here.
    """

    options: Any
    space: Space
    study: StudyOptions
    tuning: TuneOptions

    def __post_init__(self) -> None:
        """Search the cells, too, if several are asked for, and check what can be without data."""
        options, training = self.options, self.options.training
        if len(options.cells) > 1 and CELLS not in {each.path for each in self.space.dimensions}:
            cells = Choice(CELLS, tuple(options.cells))
            object.__setattr__(self, "space", Space((cells, *self.space.dimensions)))
        if training.seeds > 1:
            raise OptionError(
                f"{option_name('seeds')} has no effect on a search: each trial is one training; "
                "leave it out"
            )
        if training.nodes > 1:
            raise OptionError(
                f"{option_name('nodes')} has no effect on a search: several machines share it by "
                f"{option_name('storage')}"
            )
        check_needs(self.tuning)
        self.space.check_needs(options)

    def run(self, data: Data | None = None, listener: StudyListener | None = None) -> TuneResult:
        """Train the trials, or those that are left, and write the folder of the study; see `tune`.

        Args:
            data: The data, if they do not come from files.
            listener: Told what happens.
        """
        named = entry_of(self.options).task.main_file(self.options).name
        seconds = self.study.seconds
        place = Place.of(self.study, named)
        tuning = self.tuning
        settings = {
            "space": self.space.plain(),
            "search_seed": tuning.search_seed,
            "prune_from": tuning.prune_from if tuning.prune else 0,
            "prune_after": tuning.prune_after if tuning.prune else 0,
        }
        with Study(
            "tune", self.options, place, settings=settings, listener=listener, data=data
        ) as study:
            self.space.check_needs(self.options, study.trainer.data.in_effect)
            values = self.space.values_of(self.options)
            if values is not None:
                study.enqueue_values(values)
            done = study.run(sampling=self._sampling(), workers=self.study.workers, budget=seconds)
            return self._finish(study, done)

    def _sampling(self) -> Sampling:
        tuning = self.tuning
        return Sampling(
            self.space,
            tuning.trials,
            tuning.search_seed,
            tuning.prune_from if tuning.prune else 0,
            tuning.prune_after,
        )

    def _finish(self, study: Study, done: bool) -> TuneResult:
        """Write what the trials resulted in.

        Raises:
            RunError: None was trained to the end.
        """
        records = study.records()
        if not any(each.state == "finished" for each in records):
            self._check_finished(study, done)
        result = TuneResult(
            study.folder,
            study.task,
            self.space,
            records,
            self.tuning.trials,
            importance_in(study.inner, self.tuning.search_seed),
            study.seconds,
            self.options,
        )
        write_text(study.folder / "report.html", render_tuning(result))
        write_result(result)
        if not self.study.keep_runs:
            study.drop_runs(lambda record: record.number == result.best.number)
        return result

    def _check_finished(self, study: Study, done: bool) -> None:
        """Say why no trial was trained to the end."""
        if not done:
            raise SizeError(
                f"{option_name('budget')} was over before any training was finished; go on with "
                f"more of it by {option_name('resume', True)}"
            )
        first = study.records()[0]
        raise RunError(f"no training was finished; the first one: {first.reason}")
