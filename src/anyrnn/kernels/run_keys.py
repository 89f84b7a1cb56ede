"""String keys for runs. A traced graph cannot hold a cell, so a key names the module, the
transforms and a hash of the equations from which it is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell, _load
from anyrnn.graph.show import listing
from anyrnn.kernels.run import Run

_runs: dict[str, Run] = {}


def key(run: Run, residuals: Sequence[object] = ()) -> str:
    """The key of a run, without what is known only when it runs: the same in every process.

    Args:
        run: The run.
        residuals: What its forward pass saves, where a graph knows their shapes: code that was
            compiled of a graph, and is kept on disk, is then not taken for one with others.
    """
    cell = run.cell
    found, transforms = cell, []
    while (reference := found._reference)[0] is not _load:
        transform, (found, *options) = reference
        place = f"{transform.__module__}:{transform.__qualname__}"  # type: ignore[attr-defined]
        transforms.insert(0, [place, *options])
    module, name, hyperparameters = reference[1]
    told: dict[str, Any] = {
        "cell": f"{module}:{name}",
        "hyperparameters": hyperparameters,
        "transforms": transforms,
        "equations": _digest(cell),
        "sizes": dict(run.sizes),
        "reverse": run.reverse,
        "memory": run.memory,
        "operand": run.operand,
    }
    if residuals:
        told["residuals"] = [*map(repr, residuals)]
    text = json.dumps(told)
    _runs.setdefault(text, Run(cell, run.sizes, run.reverse, run.memory, run.operand))
    return text


def _digest(cell: Cell) -> str:
    """A few letters that other equations, or another order of parameters, change."""
    parameters = [stored.members for stored in cell.parameters]
    text = f"{cell.states} {cell.output} {parameters}\n{listing(cell.graph)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_of(key: str) -> Run:
    """The run of a key.

    Raises:
        CellError: It is no key; its cell is not in this process, or has other equations by
            now.
    """
    found = _runs.get(key)
    if found is None:
        try:
            told = json.loads(key)
            place = told["cell"].partition(":")
            transforms = [(str(transform), options) for transform, *options in told["transforms"]]
            sizes = tuple((name, int(number)) for name, number in told["sizes"].items())
            options = bool(told["reverse"]), str(told["memory"]), told.get("operand")
            equations = told["equations"]
            hyperparameters = dict(told["hyperparameters"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CellError(f"no run is called {key!r}") from error
        cell = _find(place[0], place[2], hyperparameters, transforms)
        if _digest(cell) != equations:
            raise CellError(
                f"the cell '{place[2]}' of the module '{place[0]}' has other equations than when "
                "the graph was traced; trace it again"
            )
        found = _runs[key] = Run(cell, sizes, *options)
    return found


def _find(
    module: str,
    name: str,
    hyperparameters: Mapping[str, float],
    transforms: list[tuple[str, list[Any]]],
) -> Cell:
    """A cell of a graph that another process has traced; only modules of ours are imported."""
    if "<locals>" in name:
        raise CellError(
            f"the graph runs the cell '{name}', which was made inside a function and is not found "
            "again; make it at the top level of a module, and trace it again"
        )
    if module not in sys.modules and not module.startswith("anyrnn."):
        raise CellError(
            f"the graph runs the cell '{name}' of the module '{module}'; import that module first"
        )
    cell = _load(module, name, hyperparameters)
    for transform, options in transforms:
        place, _, function = transform.partition(":")
        if not place.startswith("anyrnn.transforms."):
            raise CellError(
                f"the graph runs the cell '{name}' changed by '{transform}', which is no transform "
                "of anyrnn; make the changed cell at the top level of a module, and trace it again"
            )
        cell = getattr(__import__(place, fromlist=["_"]), function)(cell, *options)
    return cell
