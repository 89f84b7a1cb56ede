"""A study: a task trained many times with some options changed, in a folder of its own.

Its trials are planned by `Study.enqueue` or chosen by Optuna (`Sampling`), and trained by
`Study.run`, by one process or several.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.exceptions import DuplicatedStudyError

from anyrnn.errors import (
    AnyrnnError,
    RunError,
    SizeError,
    StoppedError,
    StorageError,
    option_name,
)
from anyrnn.files import locked, writing
from anyrnn.studies import trial_queue
from anyrnn.studies.clock import TIME, Clock, seconds_in
from anyrnn.studies.listing import FORMAT, STUDY
from anyrnn.studies.place import FORMAT_VERSION, Place
from anyrnn.studies.processes import train_in_processes
from anyrnn.studies.settings import check_same, without_files
from anyrnn.studies.storage import JOURNAL, mended, opened, quiet, reached, shown_url
from anyrnn.studies.trials import Trainer, TrialPlan, TrialRecord, record_path
from anyrnn.studies.worker import (
    Job,
    OutOfTimeError,
    Sampling,
    StudyListener,
    work,
)
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.run_files import write_json
from anyrnn.tasks.run_folder import remove_run
from anyrnn.tasks.scores.figures import duration
from anyrnn.tasks.task import Task
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.listener import Listener

TRIALS = "trials"

_SETTINGS = "settings"
_NAME, _RESUME, _STORAGE, _BUDGET = map(option_name, ("name", "resume", "storage", "budget"))


class Study:
    """A study, with its folder locked while it is entered.

    Args:
        kind: What it is for: "tune", "compare".
        options: The options of the task, of which trials change some.
        place: Where it is kept.
        settings: Whatever else its result depends on.
        listener: Told what happens.
        data: The data, if they do not come from files.

    Attributes:
        trainer: Trains its trials; it knows the data and the task.
        task: The task.
        folder: The folder of the study.

    Raises:
        DataError: The data cannot be used.
        RunError: A study of that name exists, there is none to go on with, or it differs.
        StorageError: The storage cannot be reached.
    """

    def __init__(
        self,
        kind: str,
        options: Any,
        place: Place,
        *,
        settings: Mapping[str, Any] | None = None,
        listener: StudyListener | None = None,
        data: Data | None = None,
    ) -> None:
        self.folder, self._place = place.folder, place
        self._listener = listener or StudyListener()
        self._data = data
        place.check()
        if place.url is not None:  # before the data are read, which may take long
            self._known(opened(place.url, place.folder))
        self.trainer = Trainer(options, _Reading(self._listener), data)
        self.task: Task = self.trainer.task
        self._listener.prepared(self.task)
        self._settings = {
            "kind": kind,
            "task": self.task.name,
            "options": without_files(options),
            "content": self.trainer.content,
            **(settings or {}),
        }
        self._lock: int | None = None
        self._begun = False

    def __enter__(self) -> Self:
        """Make the folder and the study, or go on with the one that is there."""
        place = self._place
        with writing(place.folder):
            place.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = locked(place.folder)
        except BlockingIOError:
            raise RunError(
                f"another process works on the study {place.folder} just now; "
                f"choose another {_NAME}"
            ) from None
        try:
            mended(place.folder)
            self._study = self._created()
        except BaseException:
            self._leave()
            with suppress(OSError):
                place.folder.rmdir()  # if it is empty
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the folder free; remove what is not worth going on with."""
        if error is not None and self._begun and not self._worth_keeping():
            self._discard()
        self._leave()

    def enqueue(self, plans: Iterable[TrialPlan]) -> None:
        """Plan trials, in their order, but for those that are planned already.

        Raises:
            StorageError: The storage cannot be reached.
        """
        with reached(self._place.url, self.folder):
            trial_queue.enqueue(self._study, plans)

    def enqueue_values(self, values: Mapping[str, Any]) -> None:
        """Plan a trial with values of what Optuna chooses otherwise, if there is no trial yet."""
        with reached(self._place.url, self.folder):
            if not trial_queue.count(self._study):
                self._study.enqueue_trial(dict(values))

    def run(
        self,
        *,
        sampling: Sampling | None = None,
        workers: int = 1,
        budget: float | None = None,
    ) -> bool:
        """Train the trials that are planned, and those that are chosen.

        Args:
            sampling: How trials are chosen, if they are.
            workers: The number of processes that train.
            budget: The time in seconds that the study may take altogether, also before it was
                interrupted; a training that is not done by then is not counted.

        Returns:
            Whether all trials were trained: otherwise the time was over.

        Raises:
            SizeError: The budget is too small for one epoch.
            StoppedError: Ctrl-C or SIGTERM; the study can be gone on with.
            StorageError: The storage cannot be reached any more.
            WriteError: The disk is full, or the folder cannot be written.
        """
        clock = Clock(self.folder / TIME, self._listener)
        deadline = None if budget is None else time.time() + budget - clock.before
        job = Job(self._place.name, self.folder, self._place.url, sampling, deadline, budget)
        try:
            self._work(job, workers, clock)
            over = OutOfTimeError("the time is over") if job.time_is_over else None
        except OutOfTimeError as error:
            over = error
        except StoppedError:
            raise StoppedError(
                f"stopped; go on with the same command and {option_name('resume', True)}"
            ) from None
        finally:
            clock.write()
        if over is not None:
            self._check_tried(job, over)
        return over is None

    def records(self) -> list[TrialRecord]:
        """What became of the trials that were trained, in the order of their numbers."""
        with reached(self._place.url, self.folder):
            return trial_queue.records(self._study)

    def drop_runs(self, kept: Callable[[TrialRecord], bool]) -> None:
        """Remove the run folders of trials that are not kept: their records stay."""
        for record in self.records():
            if record.run is not None and not kept(record):
                remove_run(self.folder / record.run)

    def keep(self, name: str, value: object) -> None:
        """Keep a value beside the trials, for every process and machine of the study.

        Raises:
            StorageError: The storage cannot be reached.
        """
        with reached(self._place.url, self.folder):
            trial_queue.put_text(self._study.set_user_attr, name, value)

    def kept(self, name: str) -> Any:
        """What `keep` kept under a name, or `None`."""
        with reached(self._place.url, self.folder):
            return trial_queue.text_in(self._study.user_attrs, name)

    @property
    def inner(self) -> optuna.Study:
        """The study as Optuna knows it."""
        return self._study

    def _work(self, job: Job, workers: int, listener: StudyListener) -> None:
        with reached(job.url, job.folder):
            trial_queue.requeue_lost(self._study, self._gone(), killed=False)
        if workers == 1:
            with Interruption() as interruption:
                work(job, self.trainer, listener, interruption)
        else:
            train_in_processes(job, self.trainer.options, self._data, workers, listener)

    def _gone(self) -> list[str] | None:
        """The processes that are no more: of a study in this folder all, as it is locked; in a
        database those of this machine.
        """
        if self._place.url is None:
            return None
        return trial_queue.gone_workers(self._study)

    def _created(self) -> optuna.Study:
        """The study in the storage, new or as it was.

        Raises:
            RunError: There is one, or none.
        """
        place = self._place
        storage = opened(place.url, place.folder)
        with reached(place.url, place.folder):
            if self._known(storage):
                study = optuna.load_study(study_name=place.name, storage=storage)
                known = trial_queue.text_in(study.user_attrs, _SETTINGS)
                if known is None:
                    raise StorageError(f"{place.shown} is none of anyrnn; choose another {_NAME}")
                check_same(place.shown, known, self._settings, place.other)
            else:
                study = self._new(storage)
        if not (self.folder / STUDY).exists():
            self._write()
        return study

    def _known(self, storage: optuna.storages.BaseStorage) -> bool:
        """Whether the storage has the study.

        Raises:
            RunError: It has and is not to be gone on with, or the reverse.
        """
        place = self._place
        quiet()
        with reached(place.url, place.folder):
            known = place.name in optuna.get_all_study_names(storage)
        if known and not place.resume:
            raise RunError(
                f"{place.shown} exists: go on with it by {option_name('resume', True)}, "
                f"or choose another {_NAME}"
            )
        if not known and place.resume:
            raise RunError(f"there is no {place.shown[4:]} to go on with; leave {_RESUME} out")
        return known

    def _new(self, storage: optuna.storages.BaseStorage) -> optuna.Study:
        direction = "maximize" if self.trainer.larger_is_better else "minimize"
        try:
            study = optuna.create_study(
                study_name=self._place.name, storage=storage, direction=direction
            )
        except DuplicatedStudyError:
            raise RunError(f"{self._place.shown} exists: another machine was faster") from None
        self._begun = True
        trial_queue.put_text(study.set_user_attr, _SETTINGS, self._settings)
        return study

    def _write(self) -> None:
        place = self._place
        storage = JOURNAL if place.url is None else shown_url(place.url)
        record = {"format": FORMAT, "version": FORMAT_VERSION, "name": place.name}
        write_json(self.folder / STUDY, {**record, "storage": storage, **self._settings})

    def _check_tried(self, job: Job, error: OutOfTimeError) -> None:
        """Refuse a budget in which not one epoch could be trained."""
        if any(each.intermediate_values for each in trial_queue.trials_of(self._study)):
            return
        assert job.budget is not None
        needed = f": one takes about {duration(error.seconds)}" if error.seconds else ""
        raise SizeError(
            f"{_BUDGET} is {duration(job.budget)}, which is too little for one epoch{needed}; "
            "give more time, or train on less data"
        )

    @property
    def seconds(self) -> float:
        """How long the study has taken so far."""
        return seconds_in(self.folder / TIME)

    def _worth_keeping(self) -> bool:
        """Whether anything was trained, be it a part of an epoch, of which a checkpoint is left."""
        if any((self.folder / TRIALS).glob("*.partial")):
            return True
        try:
            return any(each.intermediate_values for each in trial_queue.trials_of(self._study))
        except Exception:  # the storage cannot be reached: what is lost in it is not known
            return True

    def _discard(self) -> None:
        """Remove what was written."""
        with suppress(AnyrnnError), reached(self._place.url, self.folder):
            for record in trial_queue.records(self._study):
                record_path(self.folder, record.number).unlink(missing_ok=True)
            optuna.delete_study(study_name=self._place.name, storage=self._study._storage)
            for name in (STUDY, JOURNAL, TIME):
                (self.folder / name).unlink(missing_ok=True)
        for folder in (self.folder / TRIALS, self.folder):
            with suppress(OSError):
                folder.rmdir()

    def _leave(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Reading(Listener):
    """Passes on what is told while the data are read."""

    def __init__(self, listener: StudyListener) -> None:
        self.noted = listener.noted
        self.preparing = listener.preparing
