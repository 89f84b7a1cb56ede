"""Starting and watching the processes of this machine that train one network together."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from anyrnn.errors import AnyrnnError, ProcessError, StoppedError
from anyrnn.tasks.training.interruption import Interruption
from anyrnn.tasks.training.meeting import GRACE, POLL, Layout, Meeting, address, check_layout

T = TypeVar("T")

_CPP_LOG = "TORCH_CPP_LOG_LEVEL"
_TIMEOUT = timedelta(minutes=30)  # of an exchange: a process that is so late is gone


def launch(
    function: Callable[..., T],
    arguments: Sequence[Any],
    layout: Layout,
    agreed: Mapping[str, object],
    listener: Any,
) -> T:
    """Run a function in every process of a group.

    Args:
        function: Called with the arguments and a listener; it has to be importable.
        arguments: The arguments; they have to be picklable.
        layout: The processes.
        agreed: What has to be the same on all machines, by name.
        listener: Told what the first process of this machine tells its own.

    Returns:
        What the first process of this machine returned.

    Raises:
        AnyrnnError: What the function raised.
        StoppedError: It was requested; all processes have stopped.
        ProcessError: A process was killed, or the other machines were not there.
    """
    check_layout(layout)
    with Interruption() as interruption:
        meeting = Meeting(layout, agreed, interruption, listener)
        workers = [_Worker(number, layout) for number in range(layout.devices)]
        threads = max(1, torch.get_num_threads() // layout.devices)
        try:
            for worker in workers:
                place = _Place(worker.rank, layout, meeting.port, threads)
                worker.start(function, arguments, place)
            _watch(workers, meeting, interruption, listener)
        finally:
            for worker in workers:
                worker.kill()
            meeting.leave(_fault(workers, interruption.requested))
    return _outcome(workers, meeting, interruption.requested)


@dataclass(frozen=True)
class _Place:
    """Where a process stands: its number among all, the layout, and where the group meets."""

    rank: int
    layout: Layout
    port: int
    threads: int

    @property
    def host(self) -> str:
        return address(self.layout)[0]

    @property
    def size(self) -> int:
        return self.layout.devices * self.layout.nodes

    @property
    def local_rank(self) -> int:
        return self.rank % self.layout.devices


class _Worker:
    """A process of this machine, seen from the one that started it."""

    def __init__(self, number: int, layout: Layout) -> None:
        self.rank = layout.node_rank * layout.devices + number
        self.title = f"process {self.rank + 1} of {layout.devices * layout.nodes}"
        self.outcome: tuple[str, Any] | None = None
        self.killed = False
        self.running = False

    def start(self, function: Callable[..., Any], arguments: Sequence[Any], place: _Place) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(function, arguments, place, theirs))
        with inherited():
            self.process.start()
        theirs.close()  # now the pipe ends when the process does
        self.running = True

    def receive(self, listener: Any) -> None:
        """Take a message."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE)
            if self.process.is_alive():  # its work is done, and it does not come to an end
                self.process.kill()
                self.process.join()
            self.running = False
            return
        if kind == "event":
            name, values = value
            getattr(listener, name)(*values)
        else:
            self.outcome = (kind, value)

    @property
    def failed(self) -> bool:
        """Whether it has ended, or is about to, without having done its work."""
        if self.outcome is None:
            return not self.running
        kind, value = self.outcome
        return kind != "done" and not isinstance(value, StoppedError)

    def stop(self) -> None:
        """Ask it to stop at the next batch."""
        if self.running:
            self.process.terminate()

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.running:
            self.killed = self.outcome is None
            self.process.kill()
            self.process.join()
            self.running = False


def _watch(
    workers: Sequence[_Worker],
    meeting: Meeting,
    interruption: Interruption,
    listener: Any,
) -> None:
    """Pass on what the workers tell until all have ended; one that fails ends the others."""
    deadline = None
    stopping = False
    while running := [worker for worker in workers if worker.running]:
        ready = connection.wait([worker.pipe for worker in running], POLL)
        for worker in running:
            if worker.pipe in ready:
                worker.receive(listener)
        interruption.requested = interruption.requested or meeting.heard("stop")
        if interruption.requested and not stopping:
            stopping = True
            meeting.tell("stop", "yes")
            for worker in workers:
                worker.stop()
        if deadline is None and (any(w.failed for w in workers) or meeting.heard("fault")):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            return


def _fault(workers: Sequence[_Worker], stopped: bool) -> str:
    """How the first of the workers that did not end by itself has ended; nothing if all did."""
    for worker in workers:
        if worker.outcome or worker.running or worker.killed:
            continue
        code = worker.process.exitcode or 0
        if code >= 0:
            return f"{worker.title} ended (exit code {code})"
        if not (stopped and code == -signal.SIGTERM):  # it had not yet begun to listen
            return f"{worker.title} was killed (signal {-code})"
    return ""


def _outcome(workers: Sequence[_Worker], meeting: Meeting, stopped: bool) -> Any:
    """What the first worker returned, or what is the cause of all else."""
    fault = _fault(workers, stopped)
    if fault:
        raise ProcessError(fault)
    outcomes = [worker.outcome for worker in workers if worker.outcome]
    for kind, value in outcomes:
        if kind == "error":
            raise value
    if meeting.fault:
        raise ProcessError(meeting.fault)
    for kind, value in outcomes:
        if kind == "failed":  # a mistake in the program, whose place is of interest
            raise RuntimeError(f"a process of the training failed:\n{value}")
    if stopped:
        raise StoppedError("stopped")
    if len(outcomes) < len(workers):
        raise ProcessError("a process of the training did not answer, and was ended")
    return outcomes[0][1]


@contextmanager
def inherited() -> Iterator[None]:
    """What a process is born with: it ignores what a terminal sends to all that it has started, as
    it is asked to stop by the one that began it; and torch's C++ gives no advice.
    """
    level = os.environ.get(_CPP_LOG)
    os.environ.setdefault(_CPP_LOG, "ERROR")
    main = threading.current_thread() is threading.main_thread()
    names = [name for name in ("SIGINT", "SIGHUP") if main and hasattr(signal, name)]
    before = {name: signal.signal(signal.Signals[name], signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(signal.Signals[name], handler)
        if level is None:
            del os.environ[_CPP_LOG]


def _work(
    function: Callable[..., Any], arguments: Sequence[Any], place: _Place, pipe: Connection
) -> None:
    """What a worker does from beginning to end."""
    threading.Thread(target=_stop_without_parent, daemon=True).start()
    os.environ |= {"LOCAL_RANK": str(place.local_rank), "NODE_RANK": str(place.layout.node_rank)}
    torch.set_num_threads(place.threads)
    try:
        if place.layout.torch_device().type == "cuda":
            torch.cuda.set_device(place.local_rank)
        store = TCPStore(place.host, place.port, timeout=_TIMEOUT)
        # Without a backend: gloo for what lies on the CPU, NCCL for what lies on GPUs.
        distributed.init_process_group(
            store=PrefixStore("group", store),
            rank=place.rank,
            world_size=place.size,
            timeout=_TIMEOUT,
        )
        result = function(*arguments, _Told(pipe if place.local_rank == 0 else None))
        outcome = ("done", result if place.local_rank == 0 else None)
    except AnyrnnError as error:
        outcome = ("error", error)
    except BaseException:
        outcome = ("failed", traceback.format_exc())
    with suppress(OSError):
        pipe.send(outcome)
    pipe.close()


class _Told:
    """A listener that passes on what it is told, if there is somebody to pass it on to."""

    def __init__(self, pipe: Connection | None) -> None:
        self._pipe = pipe

    def __getattr__(self, name: str) -> Callable[..., None]:
        def told(*values: Any) -> None:
            if self._pipe:
                with suppress(OSError):
                    self._pipe.send(("event", (name, values)))

        return told


def _stop_without_parent() -> None:
    """Stop as on a signal when the process that began this one is gone."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
