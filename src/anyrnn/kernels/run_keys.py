"""Runs that are called by a text: where a graph of a framework calls a run, a cell is no value of
that graph; the text says where its cell is found.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from anyrnn.errors import CellError
from anyrnn.graph.cell import Cell, _load
from anyrnn.graph.show import listing
from anyrnn.schedule.residuals import BEFORE, training

Sizes = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Run:
    """What a run is besides its tensors.

    Attributes:
        cell: The cell.
        sizes: The named sizes as numbers.
        reverse: Whether it goes from the last step to the first.
        memory: `high`, or `low` to keep the states only for the derivative.
        operand: `bfloat16` if what products multiply is rounded.
    """

    cell: Cell
    sizes: Sizes
    reverse: bool
    memory: str
    operand: str | None = None

    @cached_property
    def histories(self) -> dict[str, str]:
        """The saved values that are new states whose history is kept anyway, with the states."""
        planned = training(self.cell, self.memory)
        outputs = planned.forward.graph.outputs
        states = {outputs[name]: name for name in planned.histories}
        return {name: states[outputs[name]] for name in planned.saved if outputs[name] in states}

    @cached_property
    def kept(self) -> dict[str, int]:
        """What is kept for the derivative, by name, with the numbers for each row."""
        planned = training(self.cell, self.memory)
        sizes, found = dict(self.sizes), {}
        for name, node in planned.saved.items():
            if name not in self.histories:
                found[name] = node.type.shape[0].evaluate(sizes) if node.type.shape else 1
        for name in planned.histories:
            place = self.cell.states.index(name)
            found[BEFORE + name] = self.cell.state_sizes[place].evaluate(sizes)
        return found


_runs: dict[str, Run] = {}


def key(cell: Cell, sizes: Sizes, reverse: bool, memory: str, operand: str | None = None) -> str:
    """The text that a run is called by.

    Args:
        cell: The cell.
        sizes: The named sizes as numbers.
        reverse: Whether the run goes from the last step to the first.
        memory: How much is kept for the derivative.
        operand: What products round what they multiply to.

    Returns:
        The same text for the same run, in every process.
    """
    found, transforms = cell, []
    while (reference := found._reference)[0] is not _load:
        transform, (found, *options) = reference
        place = f"{transform.__module__}:{transform.__qualname__}"  # type: ignore[attr-defined]
        transforms.insert(0, [place, *options])
    module, name, hyperparameters = reference[1]
    text = json.dumps(
        {
            "cell": f"{module}:{name}",
            "hyperparameters": hyperparameters,
            "transforms": transforms,
            "equations": _digest(cell),
            "sizes": dict(sizes),
            "reverse": reverse,
            "memory": memory,
            "operand": operand,
        }
    )
    _runs.setdefault(text, Run(cell, sizes, reverse, memory, operand))
    return text


def names(cell: Cell) -> tuple[str, ...]:
    """The names of a cell's parameters, in the order in which operators take them."""
    return tuple(stored.name for stored in cell.parameters)


def _digest(cell: Cell) -> str:
    """A few letters that other equations, or another order of parameters, change."""
    parameters = [stored.members for stored in cell.parameters]
    text = f"{cell.states} {cell.output} {parameters}\n{listing(cell.graph)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_of(key: str) -> Run:
    """The run that is called by a text.

    Raises:
        CellError: No run is called so; its cell is not in this process, or has other equations by
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
