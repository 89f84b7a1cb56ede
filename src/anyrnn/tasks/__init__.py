"""Tasks: what people have data for and want an answer to.

`task` says what a task is, `registry` which there are. `experiment` trains one and writes its run:
`run_folder`, `run_files`, `report`; `runs` are those that are there, and `trained` loads and asks
one. `estimator` gives a task the verbs of scikit-learn, `answers` those of the command line.
`extras` are libraries that only some tasks need; `torchvision_import` mends one; `data_urls` are
files that a page holds.

What several tasks have lies in folders: `options`, `data`, `scores`, `networks`, `decoding` (texts
that are written), `audio`, `training`. Each of the others is a task.
"""

import importlib.util
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyrnn.errors import MissingExtraError
from anyrnn.tasks.torchvision_import import TorchvisionFinder

_NEEDED = (
    "pydantic",
    "yaml",
    "torch",
    "lightning",
    "torchmetrics",
    "pandas",
    "pyarrow",
    "tokenizers",
    "sacrebleu",
    "safetensors",
    "sklearn",
    "statsmodels",
    "jinja2",
    "matplotlib",
)

for _module in _NEEDED:
    if importlib.util.find_spec(_module) is None:
        raise MissingExtraError(f"the tasks need {_module!r}; pip install 'anyrnn[tasks]'")

sys.meta_path.insert(0, TorchvisionFinder())

if TYPE_CHECKING:
    from anyrnn.tasks.caption.estimator import Captioner
    from anyrnn.tasks.classify.estimator import SequenceClassifier, TextClassifier
    from anyrnn.tasks.command.estimator import CommandRecognizer
    from anyrnn.tasks.experiment import train
    from anyrnn.tasks.forecast.estimator import Forecaster
    from anyrnn.tasks.generate.estimator import LanguageModel
    from anyrnn.tasks.speak.estimator import Synthesizer
    from anyrnn.tasks.tag.estimator import Tagger
    from anyrnn.tasks.trained import evaluate, load
    from anyrnn.tasks.transcribe.estimator import Transcriber
    from anyrnn.tasks.translate.estimator import Translator

__all__ = [
    "Captioner",
    "CommandRecognizer",
    "Forecaster",
    "LanguageModel",
    "SequenceClassifier",
    "Synthesizer",
    "Tagger",
    "TextClassifier",
    "Transcriber",
    "Translator",
    "evaluate",
    "load",
    "train",
]

_PLACES = {
    "Captioner": "caption.estimator",
    "CommandRecognizer": "command.estimator",
    "Forecaster": "forecast.estimator",
    "LanguageModel": "generate.estimator",
    "SequenceClassifier": "classify.estimator",
    "Synthesizer": "speak.estimator",
    "Tagger": "tag.estimator",
    "TextClassifier": "classify.estimator",
    "Transcriber": "transcribe.estimator",
    "Translator": "translate.estimator",
    "evaluate": "trained",
    "load": "trained",
    "train": "experiment",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch only when it is asked for: the options alone are light."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
