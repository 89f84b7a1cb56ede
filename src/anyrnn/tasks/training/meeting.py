"""Where the machines of a training, and the processes of one, find each other and leave word."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from anyrnn.errors import ProcessError, RunError, option_name
from anyrnn.tasks.training.interruption import Interruption

T = TypeVar("T")

POLL = 0.2
"""Seconds between two looks at signals and at what other machines say."""

GRACE = 10.0
"""Seconds that the others have to end by themselves after one has failed."""

_FEW = 8  # processes that any machine can have, to try them
_PATIENCE = 600.0  # seconds to wait for other machines


class Layout(Protocol):
    """How many processes there are, and where; the options of a training say so."""

    @property
    def devices(self) -> int:
        """The number of processes on each machine."""
        ...

    @property
    def nodes(self) -> int:
        """The number of machines."""
        ...

    @property
    def node_rank(self) -> int:
        """The number of this machine, from 0."""
        ...

    @property
    def rendezvous(self) -> str | None:
        """HOST:PORT of the first machine, if there are several."""
        ...

    def torch_device(self) -> torch.device:
        """Where a process computes."""
        ...


def check_layout(layout: Layout) -> None:
    """Refuse what cannot be.

    Raises:
        RunError: The numbers do not fit, or there are too few GPUs or CPU cores.
    """
    if layout.nodes > 1 and layout.rendezvous is None:
        raise RunError(
            f"{option_name('nodes')} is {layout.nodes}, so {option_name('rendezvous')} has to say "
            "where the first machine is: HOST:PORT, a free port of it"
        )
    if layout.node_rank >= layout.nodes:
        raise RunError(
            f"{option_name('node_rank')} is {layout.node_rank}, but has to be from 0 to "
            f"{layout.nodes - 1}: {option_name('nodes')} is {layout.nodes}"
        )
    if layout.torch_device().type == "cuda" and layout.devices > torch.cuda.device_count():
        raise RunError(
            f"{option_name('devices')} is {layout.devices}, but this machine has "
            f"{torch.cuda.device_count()} GPUs"
        )
    cores = os.cpu_count() or 1
    if layout.devices > max(_FEW, cores):
        raise RunError(
            f"{option_name('devices')} is {layout.devices}, but this machine has {cores} CPU cores"
        )


class Meeting:
    """Where machines, and the processes of one, find each other and leave word.

    The process that starts the others on the first machine holds it.

    Raises:
        RunError: The address cannot be used, or the machines were started differently.
        ProcessError: The other machines did not come.
        StoppedError: It was requested while waiting for them.
    """

    def __init__(
        self,
        layout: Layout,
        agreed: Mapping[str, object],
        interruption: Interruption,
        listener: Any,
    ) -> None:
        self._layout = layout
        self._interruption = interruption
        self.fault = ""
        host, port = address(layout)
        if layout.node_rank == 0:
            try:
                self._store = TCPStore(host, port, None, True, wait_for_workers=False)
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise RunError(
                    f"{option_name('rendezvous')}: cannot listen at {host}:{port}: {reason}"
                ) from None
        else:
            listener.noted(f"looking for the first machine at {host}:{port}")
            self._store = self._waited(
                lambda: TCPStore(host, port, timeout=timedelta(seconds=2)),
                f"there is no first machine at {host}:{port}",
            )
        self.port = self._store.port
        if layout.nodes > 1:
            self._gather(agreed, listener)

    def _gather(self, agreed: Mapping[str, object], listener: Any) -> None:
        mine, nodes = self._layout.node_rank, self._layout.nodes
        if self._store.add(f"come {mine}", 1) > 1:
            raise RunError(f"two machines were started with {option_name('node_rank', mine)}")
        self._store.set(f"node {mine}", repr(dict(agreed)))
        listener.noted(f"waiting for {nodes} machines")
        keys = [f"node {number}" for number in range(nodes)]

        def all_there() -> None:
            if not self._store.check(keys):
                time.sleep(POLL)
                raise RuntimeError

        self._waited(all_there, f"not all of the {nodes} machines have come")
        if self._store.get(keys[0]) != self._store.get(keys[mine]):
            raise RunError(
                f"the machines number 0 and {mine} were started with different options; start the "
                f"same command on both, but for {option_name('node_rank')}"
            )

    def _waited(self, attempt: Callable[[], T], problem: str) -> T:
        """Try until it succeeds."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            self._interruption.check()
            try:
                return attempt()
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise ProcessError(f"{problem}, after {_PATIENCE:.0f} seconds") from None

    def heard(self, name: str) -> bool:
        """Whether another machine left that word; if none can be reached, that is a fault."""
        if self._layout.nodes == 1:
            return False
        try:
            if not self._store.check([name]):
                return False
            if name == "fault":
                self.fault = self._store.get(name).decode()
            return True
        except RuntimeError:
            self.fault = self.fault or "the first machine cannot be reached any more"
            return name == "fault"

    def tell(self, name: str, text: str) -> None:
        """Leave word for the other machines."""
        if self._layout.nodes > 1:
            with suppress(RuntimeError):
                self._store.set(name, text)

    def leave(self, fault: str) -> None:
        """Say that all is over here; the first machine waits for the others to say so."""
        if fault:
            self.tell("fault", fault)
        self.tell(f"left {self._layout.node_rank}", "yes")
        if self._layout.node_rank > 0:
            return
        deadline = time.monotonic() + (GRACE if fault or self.fault else _PATIENCE)
        left = [f"left {number}" for number in range(self._layout.nodes)]
        while self._layout.nodes > 1 and time.monotonic() < deadline:
            if self._store.check(left):
                return
            time.sleep(POLL)


def address(layout: Layout) -> tuple[str, int]:
    """Host and port of the first machine; port 0 is any that is free."""
    if layout.nodes == 1:
        return "127.0.0.1", 0
    host, _, port = (layout.rendezvous or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise RunError(
            f"{option_name('rendezvous')} is {layout.rendezvous!r}, but has to be HOST:PORT, "
            "such as 192.168.0.10:29500"
        )
    return host, int(port)
