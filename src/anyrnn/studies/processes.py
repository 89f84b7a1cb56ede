"""Several processes of one machine that take trials of a study."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

import torch

from anyrnn.errors import AnyrnnError, StoppedError
from anyrnn.studies import trial_queue
from anyrnn.studies.storage import reached
from anyrnn.studies.trials import Trainer
from anyrnn.studies.worker import Job, OutOfTimeError, StudyListener, load_study, work
from anyrnn.tasks.data.parts import Data
from anyrnn.tasks.data.prepared import watched
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.launch import inherited

_POLL = 0.2  # seconds
_GRACE = 10.0  # seconds in which a process that is asked to stop has to


def train_in_processes(
    job: Job, options: Any, data: Data | None, count: int, listener: StudyListener
) -> None:
    """Train the trials of a study in several processes; one that is killed is replaced, and its
    trial tried again.

    Args:
        job: What there is to do.
        options: The options of the task.
        data: The data, if they do not come from files.
        count: The number of processes.
        listener: Told what happens.

    Raises:
        AnyrnnError: What one of them raised; the others have stopped.
        StoppedError: It was requested, or `OutOfTimeError`; all have stopped.
    """
    study = load_study(job)
    threads = max(1, torch.get_num_threads() // count)
    with Interruption() as interruption, reached(job.url, job.folder):
        pool = _Pool(lambda: _Worker((job, options, data, threads)), listener)
        try:
            while not (interruption.requested or pool.error):
                _fill(pool, study, job, count)
                if not pool.workers:
                    break
                _lost(study, pool.watch())
        finally:
            killed = pool.stop()
            trial_queue.requeue_lost(study, killed, killed=False)
        if pool.error:
            raise pool.error
        interruption.check()
        if pool.out_of_time:
            raise pool.out_of_time


def _fill(pool: "_Pool", study: Any, job: Job, count: int) -> None:
    """Start as many processes as there is work for."""
    if job.time_is_over or pool.out_of_time:
        return
    left = trial_queue.waiting(study)
    if job.sampling is not None:
        left += max(0, job.sampling.trials - trial_queue.count(study))
    while len(pool.workers) < count and left > pool.unoccupied:
        pool.start()


def _lost(study: Any, killed: list[str]) -> None:
    """Try the trials of processes again that were killed."""
    if killed:
        trial_queue.requeue_lost(study, killed, killed=True)


class _Worker:
    """A process that takes trials, seen from the one that started it."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(*arguments, theirs))
        with inherited():
            self.process.start()
        theirs.close()  # now the pipe ends when the process does
        self.name = trial_queue.worker_name(self.process.pid or 0)
        self.occupied = False


class _Pool:
    """The processes of a study.

    Attributes:
        workers: Those that run.
        error: What the first of them raised that failed.
        out_of_time: What the first of them raised whose time was over.
    """

    def __init__(self, make: Callable[[], _Worker], listener: StudyListener) -> None:
        self.workers: list[_Worker] = []
        self.error: BaseException | None = None
        self.out_of_time: OutOfTimeError | None = None
        self._make, self._listener = make, listener

    @property
    def unoccupied(self) -> int:
        """How many have not begun a trial yet."""
        return sum(not worker.occupied for worker in self.workers)

    def start(self) -> None:
        """Start one more."""
        self.workers.append(self._make())

    def watch(self) -> list[str]:
        """Pass on what they tell, for a moment; the names of those that were killed."""
        killed = []
        for pipe in connection.wait([each.pipe for each in self.workers], _POLL):
            worker = next(each for each in self.workers if each.pipe is pipe)
            if self._receive(worker):
                continue
            worker.process.join()
            self.workers.remove(worker)
            if worker.process.exitcode != 0:
                killed.append(worker.name)
        return killed

    def stop(self) -> list[str]:
        """Ask all to stop, and end those that do not; the names of all that ran."""
        names = [worker.name for worker in self.workers]
        for worker in self.workers:
            worker.process.terminate()
        deadline = time.monotonic() + _GRACE
        while self.workers and time.monotonic() < deadline:
            self.watch()
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
        return names

    def _receive(self, worker: _Worker) -> bool:
        """Take a message; whether there was one."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            return False
        if kind == "event":
            name, values = value
            worker.occupied = worker.occupied or name == "trial_started"
            getattr(self._listener, name)(*values)
        elif kind == "failed":
            self.error = self.error or RuntimeError(f"a process of the study failed:\n{value}")
        elif isinstance(value, OutOfTimeError):
            self.out_of_time = self.out_of_time or value
        elif not isinstance(value, StoppedError):
            self.error = self.error or value
        return True


def _work(job: Job, options: Any, data: Data | None, threads: int, pipe: Connection) -> None:
    """What a process does from beginning to end."""
    threading.Thread(target=_end_without_parent, daemon=True).start()
    torch.set_num_threads(threads)
    told: Any = _Told(pipe)
    try:
        with Interruption(patient=True) as interruption:

            def watch(what: str, done: int, total: int) -> None:
                interruption.check()

            with watched(watch):
                trainer = Trainer(options, data=data)
            work(job, trainer, told, interruption)
    except AnyrnnError as error:
        _send(pipe, ("error", error))
    except BaseException:
        _send(pipe, ("failed", traceback.format_exc()))
    pipe.close()


def _send(pipe: Connection, message: tuple[str, Any]) -> None:
    with suppress(OSError):
        pipe.send(message)


class _Told:
    """A listener that passes on what it is told."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: _send(self._pipe, ("event", (name, values)))


def _end_without_parent() -> None:
    """End at once when the process that began this one is gone: another one may go on with its
    trial then, from the last checkpoint.
    """
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
