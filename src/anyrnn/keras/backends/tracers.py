"""Detection of tracers and exporters that frameworks do not report, by frames on the stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

EXPORTERS = (
    "keras.src.export",
    "tensorflow.python.saved_model",
    "jax.experimental.jax2tf",
    "jax._src.export",
)


def callers() -> Iterator[FrameType]:
    """The frames of the call stack, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def exporter() -> str | None:
    """Whether a model is being exported: what calls our kernels cannot leave the process."""
    for frame in callers():
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(EXPORTERS):
            return "inside an export, which no kernel of this process can be a part of"
    return None
