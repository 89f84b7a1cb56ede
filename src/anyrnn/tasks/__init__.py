"""Ready problems: data, model, training, metrics. Each task is a module or package of its own.

What tasks share: `registry`; `options`, `option_checks`, `option_files` and `common_options`;
`tables` and `encoding` (files), `split`, `vocabulary`, `batches`, `streams`, `metrics`, `training`
(Lightning), `interruption`, `run_folder`, `run_files`, `report`.
"""

import importlib.util
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyrnn.errors import MissingExtraError

_NEEDED = (
    "pydantic",
    "yaml",
    "torch",
    "lightning",
    "torchmetrics",
    "pandas",
    "pyarrow",
    "tokenizers",
    "safetensors",
    "sklearn",
    "statsmodels",
    "jinja2",
    "matplotlib",
)

for _module in _NEEDED:
    if importlib.util.find_spec(_module) is None:
        raise MissingExtraError(f"the tasks need {_module!r}; pip install 'anyrnn[tasks]'")

if TYPE_CHECKING:
    from anyrnn.tasks.classify.estimator import TextClassifier
    from anyrnn.tasks.experiment import evaluate, load, train
    from anyrnn.tasks.forecast.estimator import Forecaster
    from anyrnn.tasks.generate.estimator import LanguageModel

__all__ = ["Forecaster", "LanguageModel", "TextClassifier", "evaluate", "load", "train"]

_PLACES = {
    "Forecaster": "forecast.estimator",
    "LanguageModel": "generate.estimator",
    "TextClassifier": "classify.estimator",
    "evaluate": "experiment",
    "load": "experiment",
    "train": "experiment",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for: the options alone are light."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
