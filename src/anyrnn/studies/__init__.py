"""Studies: what trains many times, to search, to compare and to learn about cells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyrnn.studies.tuning.tuning import tune

__all__ = ["tune"]

_PLACES = {"tune": "tuning.tuning"}


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
