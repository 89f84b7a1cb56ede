"""Takes trials from the storage and trains them: the work of one process of a study."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from anyrnn.errors import AnyrnnError, StoppedError
from anyrnn.studies import trial_queue
from anyrnn.studies.storage import opened, quiet, reached
from anyrnn.studies.trials import PrunedError, Trainer, TrialPlan, TrialRecord
from anyrnn.tasks.task import Task
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.listener import Epoch, Listener

_SAMPLED_AT_RANDOM = 10  # trials, until it is known what is good
_FEWEST_BATCHES = 3  # from which the time of an epoch is estimated


class Space(Protocol):
    """What a study may choose for a trial."""

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Values by the paths of options, chosen by Optuna."""
        ...


@dataclass(frozen=True)
class Sampling:
    """How trials are chosen that are not planned.

    Attributes:
        space: What may be chosen.
        trials: How many trials there are to be, with those that were planned.
        seed: Decides what is chosen.
        pruned_from: The epoch from which trials are given up that are worse than the median of
            the others; 0 for never.
        pruned_after: The number of trials that are trained to the end before any is given up.
    """

    space: Space
    trials: int
    seed: int = 0
    pruned_from: int = 2
    pruned_after: int = 5


@dataclass(frozen=True)
class Job:
    """What every process of a study has to know.

    Attributes:
        name: The study's name in the storage.
        folder: Its folder.
        url: The URL of its storage, if that is a database.
        sampling: How trials are chosen beside those that are planned.
        deadline: When its time is over, in seconds since 1970.
        budget: How many seconds it has altogether.
    """

    name: str
    folder: Path
    url: str | None
    sampling: Sampling | None = None
    deadline: float | None = None
    budget: float | None = None

    @property
    def time_is_over(self) -> bool:
        """Whether no more trials are to begin."""
        return self.deadline is not None and time.time() >= self.deadline


class OutOfTimeError(StoppedError):
    """The time of a study is over; what was not finished can be gone on with.

    Attributes:
        seconds: How long an epoch seems to take, if that is known.
    """

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class StudyListener:
    """What a caller may want to be told while a study goes on; does nothing by itself."""

    def prepared(self, task: Task) -> None:
        """The data were read; the task knows its figures."""

    def noted(self, text: str) -> None:
        """Something about the data or a choice that was made."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Large data are read: how much of how much was done."""

    def trial_started(self, number: int, plan: TrialPlan) -> None:
        """The training of a trial begins or is taken up."""

    def batch_done(self, number: int, epoch: int, done: int, total: int) -> None:
        """A batch of an epoch (numbered from 1) of a trial was trained on."""

    def epoch_done(self, number: int, epoch: Epoch) -> None:
        """An epoch of a trial was trained and validated."""

    def trial_done(self, record: TrialRecord) -> None:
        """It is known what became of a trial."""


def load_study(job: Job) -> optuna.Study:
    """The study in its storage.

    Raises:
        StorageError: The storage cannot be reached, or has no such study.
    """
    quiet()
    storage = opened(job.url, job.folder, _tried_again)
    pruner, sampler = optuna.pruners.NopPruner(), None
    if job.sampling:
        sampler = _RepeatableSampler(job.sampling.seed)
        if job.sampling.pruned_from:
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=job.sampling.pruned_after, n_warmup_steps=job.sampling.pruned_from
            )
    with reached(job.url, job.folder):
        return optuna.load_study(
            study_name=job.name, storage=storage, sampler=sampler, pruner=pruner
        )


def _tried_again(study: optuna.Study, trial: FrozenTrial) -> None:
    trial_queue.requeue(study, trial, killed=True)


def work(job: Job, trainer: Trainer, listener: StudyListener, interruption: Interruption) -> None:
    """Train trials until none is left or the time is over.

    Args:
        job: What there is to do.
        trainer: Trains them.
        listener: Told what happens.
        interruption: Where a request to stop is asked for.

    Raises:
        StoppedError: Ctrl-C or SIGTERM, or `OutOfTimeError`.
        StorageError: The storage cannot be reached any more.
        WriteError: The disk is full, or the folder cannot be written.
    """
    study = load_study(job)
    with reached(job.url, job.folder):
        while _is_left(study, job) and not job.time_is_over:
            interruption.check()
            objective = _Objective(study, job, trainer, listener)
            try:
                study.optimize(objective, n_trials=1, catch=(_FailedError,))
            except AnyrnnError:  # that of a trial is in its record
                trial_queue.requeue_lost(
                    study, [trial_queue.worker_name(os.getpid())], killed=False
                )
                raise


def _is_left(study: optuna.Study, job: Job) -> bool:
    if trial_queue.waiting(study):
        return True
    return job.sampling is not None and trial_queue.count(study) < job.sampling.trials


class _FailedError(Exception):
    """A trial could not be trained; its record says why."""


class _Objective:
    """Trains a trial of Optuna's, and keeps the record."""

    def __init__(
        self, study: optuna.Study, job: Job, trainer: Trainer, listener: StudyListener
    ) -> None:
        self._study, self._job = study, job
        self._trainer, self._listener = trainer, listener

    def __call__(self, trial: optuna.Trial) -> float:
        study, sampling = self._study, self._job.sampling
        trial.set_user_attr(trial_queue.WORKER, trial_queue.worker_name(os.getpid()))
        number = trial_queue.number_of(study, trial)
        plan = trial_queue.plan_in(trial)
        if plan is None:
            if sampling is None or number >= sampling.trials:  # others were faster
                trial.set_user_attr(trial_queue.SURPLUS, True)
                raise _FailedError
            plan = self._sampled(trial, sampling.space)
        self._listener.trial_started(number, plan)
        told = _TrialListener(study, trial, number, self._job, self._trainer, self._listener)
        record = self._trainer.train(number, plan, self._job.folder, told)
        trial_queue.keep_record(trial, record)
        self._listener.trial_done(record)
        if record.state == "finished":
            assert record.deciding is not None
            return record.deciding
        if trial_queue.OUTCOMES[record.state] == TrialState.PRUNED:
            raise optuna.TrialPruned
        raise _FailedError

    def _sampled(self, trial: optuna.Trial, space: Space) -> TrialPlan:
        options = self._trainer.options
        changes = space.suggest(trial)
        cell = changes.pop("cells", options.cells[0])
        return TrialPlan(cell, options.training.seed, changes)


class _TrialListener(Listener):
    """Reports the epochs of a trial to Optuna, and gives it up when that advises to, or when the
    time is over.
    """

    def __init__(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        number: int,
        job: Job,
        trainer: Trainer,
        listener: StudyListener,
    ) -> None:
        self._trial, self._number, self._job = trial, number, job
        self._trainer, self._listener = trainer, listener
        self._sampled = trial_queue.plan_in(trial) is None
        every = trial_queue.trials_of(study)
        self._reported = set(every[trial.number].intermediate_values)
        self._untried = not any(each.intermediate_values for each in every)
        self._since = 0.0

    def preparing(self, what: str, done: int, total: int) -> None:
        self._listener.preparing(what, done, total)

    def epochs_taken_up(self, epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            self._report(epoch)

    def batch_done(self, epoch: int, done: int, total: int) -> None:
        self._listener.batch_done(self._number, epoch, done, total)
        if self._job.deadline is None or self._job.budget is None:
            return
        if done == 1:  # which may have compiled
            self._since = time.time()
        seconds = (time.time() - self._since) / (done - 1) * total if done > 1 else None
        hopeless = done > _FEWEST_BATCHES and seconds and seconds > 2 * self._job.budget
        if self._job.time_is_over or (self._untried and hopeless):
            raise OutOfTimeError("the time is over", seconds)

    def epoch_done(self, epoch: Epoch) -> None:
        self._listener.epoch_done(self._number, epoch)
        self._untried = False
        self._report(epoch)
        if self._sampled and self._trial.should_prune():
            raise PrunedError(f"half of the others were better after epoch {epoch.number}")

    def _report(self, epoch: Epoch) -> None:
        if epoch.number not in self._reported:
            self._trial.report(self._trainer.deciding(epoch.figures), epoch.number)
            self._reported.add(epoch.number)


class _RepeatableSampler(BaseSampler):
    """Optuna's TPE sampler, whose random numbers follow from the number of the trial: so they do
    not depend on whether the study was interrupted.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler = TPESampler(seed=seed, n_startup_trials=_SAMPLED_AT_RANDOM)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin the random numbers of a trial."""
        numbers = numpy.random.SeedSequence([self._seed, trial_queue.number_of(study, trial)])
        seed = int(numbers.generate_state(1)[0])
        self._sampler = TPESampler(seed=seed, n_startup_trials=_SAMPLED_AT_RANDOM)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """See `TPESampler`."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See `TPESampler`."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """See `TPESampler`."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)
