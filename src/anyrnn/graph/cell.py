"""A cell: its equations as a graph, its states, parameters and sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, NoReturn
from weakref import WeakValueDictionary

from anyrnn.errors import CellError, SizeError
from anyrnn.graph.nodes import Graph
from anyrnn.graph.parameters import StoredParameter, store
from anyrnn.graph.simplify import simplify
from anyrnn.graph.sizes import Atom, Size, as_whole
from anyrnn.graph.symbols import as_number, fail, shown
from anyrnn.graph.trace import Tracing


class Cell:
    """The equations of a recurrent cell, read once into a graph.

    Make one with the decorator `anyrnn.cell`, or take one from the catalogue with `anyrnn.get`.

    Attributes:
        name: The function's name.
        documentation: The function's docstring.
        graph: The step: the new states, and the output where it is none of them, as expressions.
        input: The name of the input.
        states: The names of the states.
        output: The name of the result that is the layer's output: `output`, or the first state.
        parameters: The arrays to train, in order.
        parameter_names: Their names.
        members: Their members as leaves of the graph, in order of first use.
        initial: The number that each element of a stored parameter starts with, by name, where the
            parameter is not drawn at random.
        sizes: Each named size as a form of the free ones.
        hyperparameters: The numbers that its user may choose, with the values in force.
        draws: Whether a step draws random numbers, so that a run needs a seed.
    """

    def __init__(
        self,
        tracing: Tracing,
        remake: Callable[..., Cell],
        reference: tuple[Callable[..., Cell], tuple[Any, ...]],
    ) -> None:
        self.name = tracing.name
        self.documentation = tracing.documentation
        self.input = tracing.input
        self.states = tracing.states
        self.output = tracing.output
        self.sizes = tracing.sizes
        self.hyperparameters = dict(tracing.hyperparameters)
        self.graph = simplify(tracing.graph)
        self.draws = self.graph.draws
        used = set(self.graph.leaves("parameter"))
        self.members = tuple(node for node in tracing.parameters if node in used)
        self.parameters = store(self.members, self.name)
        self.parameter_names = names = tuple(stored.name for stored in self.parameters)
        self.initial = {key: value for key, value in tracing.initial.items() if key in names}
        cancelled = tuple(node.name for node in tracing.parameters if node not in used)
        self.unused = tracing.unused + cancelled
        self._tracing = tracing
        self._remade: WeakValueDictionary[Any, Cell] = WeakValueDictionary()
        self._remake = remake
        self._reference = reference

    def __repr__(self) -> str:
        """For example `<cell lstm: states h, c; parameters W, U, b>`."""
        parameters = ", ".join(parameter.name for parameter in self.parameters)
        return f"<cell {self.name}: states {', '.join(self.states)}; parameters {parameters}>"

    def __call__(self, *arguments: object, **options: object) -> NoReturn:
        """Refuse to be called.

        Raises:
            CellError: In any case; it says what takes a cell.
        """
        fail(
            f"the cell '{self.name}' was called; a layer runs it, such as "
            "anyrnn.torch.Recurrent(cell, ...), and cells share equations by calling a function "
            "without @cell"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """A cell is pickled by reference, as a function is.

        Raises:
            CellError: The cell was made inside a function, where it could not be found again.
        """
        if "<locals>" in str(self._reference[1]):
            raise CellError(
                f"cell '{self.name}' cannot be saved: it is made inside a function; move it to the "
                "top level of a module"
            )
        return self._reference

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        """The cell itself: it is immutable."""
        return self

    @cached_property
    def output_size(self) -> Size:
        """The size of the layer's output."""
        return self.graph.outputs[self.output].type.shape[0]

    @cached_property
    def state_sizes(self) -> tuple[Size, ...]:
        """The size of each state."""
        return tuple(self.graph.outputs[state].type.shape[0] for state in self.states)

    @cached_property
    def places(self) -> dict[str, tuple[StoredParameter, int]]:
        """The stored parameter that each member is in, and its place among the members there."""
        return {
            name: (stored, place)
            for stored in self.parameters
            for place, name in enumerate(stored.members)
        }

    @property
    def free_sizes(self) -> list[str]:
        """The names of the sizes that a user has to choose."""
        return [name for name, size in self.sizes.items() if size == Size.of(name)]

    def check_options(
        self, constructors: Iterable[Callable[..., Any]], more: Iterable[str]
    ) -> None:
        """Check that no hyperparameter and no size is called as an option of a layer, which would
        hide it: as an argument of its constructors, or as one of `more`.

        Raises:
            CellError: One is.
        """
        options, sizes = {*more}, [f"{size}_size" for size in self.sizes]
        for constructor in constructors:
            given = inspect.signature(constructor).parameters.values()
            options |= {each.name for each in given if each.kind is not each.VAR_KEYWORD}
        for name in sizes:
            if name in options - {"input_size", "hidden_size"}:
                raise CellError(
                    f"the cell '{self.name}' has a size '{name.removesuffix('_size')}', and the "
                    f"layer an option '{name}': one would hide the other; rename the size"
                )
        options.update(sizes)
        for name in self.hyperparameters:
            if name in options:
                raise CellError(
                    f"the cell '{self.name}' has a hyperparameter '{name}', and the layer an "
                    f"option '{name}': one would hide the other; rename the hyperparameter"
                )

    def stored_shapes(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of each stored parameter in numbers, by name."""
        return {stored.name: stored.shape_for(sizes) for stored in self.parameters}

    def with_hyperparameters(self, /, **values: float) -> Cell:
        """The cell with other values of its hyperparameters; the same one for the same values.

        Raises:
            CellError: The cell has no hyperparameter of that name.
        """
        unknown = [name for name in values if name not in self.hyperparameters]
        if unknown:
            known = ", ".join(self.hyperparameters) or "none"
            raise CellError(
                f"cell '{self.name}' has no hyperparameter '{unknown[0]}'; it has: {known}"
            )
        for name, value in values.items():
            number = as_number(value)
            if number is None:
                raise CellError(f"{name}={shown(value)}: a hyperparameter is a number")
            values[name] = number
        if not values:
            return self
        key = tuple(sorted(values.items()))
        return self._remade.get(key) or self._remade.setdefault(key, self._remake(**values))

    def with_graph(
        self, graph: Graph, transform: Callable[..., Cell], *options: Any, **changes: Any
    ) -> Cell:
        """The cell with another graph.

        Args:
            graph: The new step.
            transform: The function at the top level of a module that makes this change to a cell.
            *options: What the function takes besides the cell, as values that JSON can hold.
            **changes: Further fields of `Tracing` that change. Of `parameters`, those that the
                graph does not have are left out; of a mapping, what is not given stays.
        """
        present = set(graph.leaves("parameter"))
        parameters = changes.pop("parameters", self.members)
        changes["parameters"] = tuple(node for node in parameters if node in present)
        for field in ("sizes", "reasons", "initial", "smaller"):
            changes[field] = {**getattr(self._tracing, field), **changes.get(field, {})}
        return Cell(
            replace(self._tracing, graph=graph, unused=(), **changes),
            remake=lambda **values: transform(self.with_hyperparameters(**values), *options),
            reference=(transform, (self, *options)),
        )

    def bind_sizes(self, /, **numbers: int | None) -> dict[str, int]:
        """Check the numbers given for the named sizes, `input=3, hidden=5`, and complete them; None
        leaves out one that follows from the others.

        Raises:
            SizeError: One is missing, unknown, not a positive whole number, or contradicts the
            equations.
        """
        given = {}
        for name, value in numbers.items():
            if value is None:
                continue
            if name not in self.sizes:
                known = ", ".join(f"{size}_size" for size in self.sizes)
                raise SizeError(f"cell '{self.name}' has no {name}_size; its sizes are: {known}")
            number = as_whole(value)
            if number is None:
                raise SizeError(f"{name}_size={value!r}: a size is a whole number")
            if number < 1:
                raise SizeError(f"{name}_size={number}: a size is at least 1")
            given[name] = number
        shown = ", ".join(f"{key}_size={value}" for key, value in given.items())
        given |= self._free_sizes(given)
        missing = [name for name in self.free_sizes if name not in given]
        if missing:
            raise SizeError(f"cell '{self.name}' needs {missing[0]}_size")
        result = {}
        for name, size in self.sizes.items():
            result[name] = size.evaluate(given)
            if given.get(name, result[name]) != result[name] or result[name] < 1:
                raise SizeError(f"{self._need(name)}, but {shown} was given")
        for name, size in self._tracing.smaller.items():
            if result[name] >= size.evaluate(result):
                raise SizeError(
                    f"cell '{self.name}' needs {name} smaller than {size}, but "
                    f"{name}_size={result[name]} and {size} = {size.evaluate(result)}"
                )
        self._check_slices(result)
        return result

    def _free_sizes(self, given: Mapping[str, int]) -> dict[str, int]:
        """The free sizes, as far as they are given or follow: of hidden = 2 head, head."""
        known: dict[Atom, Size] = {
            name: Size.of(given[name]) for name in self.free_sizes if name in given
        }
        found = True
        while found:
            found = False
            for name, number in given.items():
                size = self.sizes[name].substitute(known)
                if len(size.terms) == 1:
                    ((free, factor),) = size.terms
                    rest, found = number - size.constant, True
                    if rest % factor:
                        raise SizeError(f"{self._need(name)}, and {factor} does not divide {rest}")
                    known[free] = Size.of(rest // factor)
        return {str(name): size.constant for name, size in known.items()}

    def _need(self, name: str) -> str:
        """What the equations say of a size, for a message."""
        reason = self._tracing.reasons.get(name)
        because = f" ({reason})" if reason else ""
        return f"cell '{self.name}' needs {name} = {self.sizes[name]}{because}"

    def _check_slices(self, sizes: Mapping[str, int]) -> None:
        for node in self.graph.nodes():
            if node.operation == "slice":
                start, stop = node.bounds(sizes).values()
                length = node.arguments[0].type.shape[0].evaluate(sizes)
                if not 0 <= start < stop <= length:
                    raise SizeError(
                        f"cell '{self.name}' takes {start}:{stop} of a vector of size {length}"
                    )


def _load(module: str, name: str, chosen: Mapping[str, float]) -> Cell:
    """Find a pickled cell again."""
    found: Any = __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Cell):
        raise CellError(f"the cell '{name}' is not at the top level of the module '{module}'")
    return found.with_hyperparameters(**chosen)
