"""Lets torchvision be imported beside a build of torch for which its operators were not made.

timm needs torchvision, and torchmetrics imports it wherever it is installed. Beside such a torch (a
build for CPUs, say) its compiled operators cannot be loaded, and its import ends with an error, so
that no task could train. None of the tasks, and neither of the two libraries as the tasks use them,
calls these operators: declared without code they do no harm.
"""

from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("torchvision::nms", "torchvision::qnms")  # those that its import asks for


class TorchvisionFinder(MetaPathFinder):
    """Finds torchvision as Python does, and imports it again if its operators are missing."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is; see `importlib.abc.MetaPathFinder`."""
        if fullname != "torchvision":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            try:
                execute(module)
            except RuntimeError as error:
                if _OPERATORS[0] not in str(error):
                    raise
                import torch

                for operator in _OPERATORS:
                    torch.library.define(operator, _SCHEMA)
                execute(module)

        spec.loader.exec_module = exec_module
        return spec
