"""Studies: what trains many times, to search, to compare and to learn about cells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyrnn.studies.comparison.compare import compare
    from anyrnn.studies.comparison.options import CompareOptions
    from anyrnn.studies.options import StudyOptions
    from anyrnn.studies.tuning.tuning import tune

__all__ = ["CompareOptions", "StudyOptions", "compare", "tune"]

_PLACES = {
    "CompareOptions": "comparison.options",
    "StudyOptions": "options",
    "compare": "comparison.compare",
    "tune": "tuning.tuning",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for: the options alone are light."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
