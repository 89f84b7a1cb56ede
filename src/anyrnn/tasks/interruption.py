"""Stopping at the next safe point: Ctrl-C and SIGTERM while a model trains."""

import signal
import threading
from types import FrameType, TracebackType

from anyrnn.errors import StoppedError


class Interruption:
    """While it is entered, the first Ctrl-C or SIGTERM is a request, which the training asks for.

    A second Ctrl-C interrupts at once. Outside the main thread signals are left alone.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.requested
        False
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        """Take over the two signals."""
        self.listen()
        return self

    def listen(self) -> None:
        """Take the signals over, again if a library has taken them meanwhile."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
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
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
