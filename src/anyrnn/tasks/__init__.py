"""Ready problems: data, model, training, metrics. Each task is a module or package of its own.

What tasks share: `registry`; `options`, `option_checks`, `option_files` and `common_options`;
`tables` and `encoding` (files), `split`, `vocabulary`, `batches`, `training` (Lightning),
`interruption`, `run_folder`, `run_files`, `report`.
"""

import importlib.util

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
    "jinja2",
    "matplotlib",
)

for _module in _NEEDED:
    if importlib.util.find_spec(_module) is None:
        raise MissingExtraError(f"the tasks need {_module!r}; pip install 'anyrnn[tasks]'")
