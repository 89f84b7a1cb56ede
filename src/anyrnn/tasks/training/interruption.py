"""Stopping at the next safe point: Ctrl-C and other signals while a model trains."""

import signal
import threading
from types import FrameType, TracebackType

from anyrnn.errors import StoppedError


class Interruption:
    """While it is entered, the first Ctrl-C, SIGTERM or SIGHUP is a request, which the training
    asks for.

    A second one interrupts at once. Signals that the process ignores, as behind `nohup`, stay
    ignored; outside the main thread they are left alone.

    Args:
        patient: Whether a second one is no more than the first.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.requested
        False
    """

    def __init__(self, patient: bool = False) -> None:
        self.requested = False
        self._patient = patient
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        """Take over the signals."""
        self.listen()
        return self

    def listen(self) -> None:
        """Take the signals over, again if a library has taken them meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    handler = signal.signal(number, self._request)
                    self._previous.setdefault(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._previous.clear()

    def check(self) -> None:
        """Stop here if it was requested.

        Raises:
            StoppedError: It was requested.
        """
        if self.requested:
            raise StoppedError("stopped")

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self._patient:
            # Not a KeyboardInterrupt: on that Lightning ends the process.
            raise StoppedError("stopped")
        self.requested = True
