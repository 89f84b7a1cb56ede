"""Symbolic tracing: a cell's function runs once on symbols, sizes are inferred, and the equations
become a graph.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anyrnn.errors import SizeError
from anyrnn.graph.hyperparameters import Hyperparameter
from anyrnn.graph.nodes import Graph, Node, topological
from anyrnn.graph.sizes import Size, SizeVariable
from anyrnn.graph.symbols import Family, Symbol, Traced
from anyrnn.graph.tracer import DeclaredSizes, Tracer


@dataclass(frozen=True)
class Tracing:
    """What is known of a cell once its function has run."""

    name: str  # the function's name
    documentation: str  # its docstring
    input: str  # the name of the input
    hyperparameters: Mapping[str, float]  # the numbers that it ran with
    graph: Graph  # the new states, and the output where it is none of them, as expressions
    output: str  # the name of the result that is the layer's output
    states: tuple[str, ...]  # their names, in order
    parameters: tuple[Node, ...]  # those that have influence, in the order of first use
    unused: tuple[str, ...]  # the names of the others
    sizes: Mapping[str, Size]  # each named size as a form of the free ones
    # the line of the cell from which a size follows; the size that another has to be smaller than;
    # the number that each element of a stored parameter starts with
    reasons: Mapping[str, str] = field(default_factory=dict)
    smaller: Mapping[str, Size] = field(default_factory=dict)
    initial: Mapping[str, float] = field(default_factory=dict)


def trace(
    function: Callable[..., Any],
    name: str,
    positional: list[str],
    families: list[str],
    hyperparameters: Mapping[str, float],
    declared: DeclaredSizes,
) -> Tracing:
    """Run a cell's function once and infer every size.

    Args:
        function: The cell's function.
        name: What errors call the cell.
        positional: The names of the input and the states.
        families: The names of the families of parameters.
        hyperparameters: The numbers to run it with.
        declared: Sizes that cannot be inferred, by the name of a state or a parameter.

    Raises:
        CellError: The equations cannot be read.
        SizeError: The sizes do not fit together, or are not determined.
    """
    tracer = Tracer(name, function.__code__, declared)
    leaves: list[Traced] = []
    for place, leaf in enumerate(positional):
        declared_size = tracer.declared.get(leaf)
        variable = SizeVariable("input" if place == 0 else f"size of {leaf}")
        tracer.kept.append(variable)
        shape = (declared_size or Size.of(variable),)
        leaves.append(tracer.leaf("state" if place else "input", leaf, shape, True))
        tracer.names[leaves[-1]] = leaf
    for key, leaf in [("input", leaves[0]), *(("hidden", state) for state in leaves[1:])]:
        variable = tracer.declared_variables.get(key)
        if variable is not None and leaf.attributes["name"] not in declared:
            tracer.unifier.unify(Size.of(variable), leaf.shape[0])
    keywords: dict[str, Symbol] = {family: Family(tracer, family) for family in families}
    for key, value in hyperparameters.items():
        attributes = {"value": float(value), "name": key}
        keywords[key] = Hyperparameter(tracer, Traced("constant", (), (), "", attributes), value)
    returned = tracer.run(function, [Symbol(tracer, leaf) for leaf in leaves], keywords)
    results = _results(tracer, returned, leaves[1:])
    for key in declared:
        if key not in positional[1:] and key not in tracer.parameters:
            near = difflib.get_close_matches(key, [*positional[1:], *tracer.parameters], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            tracer.fail(
                f"sizes names '{key}', which is neither a state nor a parameter{hint}", line=""
            )
    used = topological(traced for _, traced in results)
    parameters = {name: traced for name, traced in tracer.parameters.items() if traced in used}
    sizes, reasons = _name_sizes(tracer, leaves, parameters)
    nodes = tracer.build(used)
    outputs = {key: nodes[traced] for key, traced in results}
    for key, node in outputs.items():
        if not node.type.per_row:
            tracer.fail(f"the new {key} depends neither on the input nor on a state", line="")
    names = {nodes[traced]: local for traced, local in tracer.names.items() if traced in nodes}
    return Tracing(
        name=name,
        documentation=inspect.getdoc(function) or "",
        input=positional[0],
        hyperparameters=hyperparameters,
        graph=Graph(outputs, names),
        output=results[0][0],
        states=tuple(positional[1:]),
        parameters=tuple(nodes[traced] for traced in parameters.values()),
        unused=tuple(name for name in tracer.parameters if name not in parameters),
        sizes=sizes,
        reasons=reasons,
    )


def _results(tracer: Tracer, returned: Any, states: list[Traced]) -> list[tuple[str, Traced]]:
    """The output, where there is one apart from the states, and the new states, by name."""
    values = returned if isinstance(returned, tuple | list) else (returned,)
    names = [state.attributes["name"] for state in states]
    wanted = f"{len(states)} new state{'s' * (len(states) > 1)} ({', '.join(names)})"
    if len(values) == len(states) + 1:
        names = ["output", *names]
    elif len(values) != len(states):
        tracer.fail(
            f"returns {len(values)} values; expected the {wanted}, or an output and the {wanted}",
            line="",
        )
    results = []
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Symbol):
            what = repr(value)
            if isinstance(value, Generator | Coroutine):
                what = f"a {type(value).__name__}, as a function with yield or async does,"
                value.close()
            tracer.fail(f"returns {what} as the new {name}, which is no value of the cell", line="")
        results.append((name, tracer._operand(tracer._number(value), rank=1)))
    for state, (name, traced) in zip(states, results[-len(states) :], strict=True):
        same = len(traced.shape) == 1 and tracer._equal(
            state.shape[0], traced.shape[0], traced.line
        )
        if not same:
            tracer.fail(
                f"state {name} has size {tracer.describe(state.shape)}, but its new value has size "
                f"{tracer.describe(traced.shape)}; bring it back, for example with a matrix: "
                f"W.name @ value",
                line=traced.line,
                error=SizeError,
            )
    if len(results[0][1].shape) != 1:
        tracer.fail("the output is one number; expected a vector", line="", error=SizeError)
    return results


def _name_sizes(
    tracer: Tracer, leaves: list[Traced], parameters: Mapping[str, Traced]
) -> tuple[dict[str, Size], dict[str, str]]:
    """Give each undetermined size its name: input, hidden, or what the decorator says. The sizes by
    name, and the lines from which those follow that are not free.
    """
    resolve, free = tracer.unifier.resolve, set[str]()
    wanted = [("input", leaves[0].shape[0])]
    wanted += [(key, Size.of(variable)) for key, variable in tracer.declared_variables.items()]
    undeclared = [leaf for leaf in leaves[1:] if leaf.attributes["name"] not in tracer.declared]
    wanted += [("hidden", leaf.shape[0]) for leaf in undeclared]
    for name, size in wanted:
        resolved = resolve(size)
        if resolved.variables and resolved == Size.of(resolved.variables[0]):
            if name in free:
                states = ", ".join(leaf.attributes["name"] for leaf in undeclared)
                tracer.fail(
                    f"the sizes of the states {states} are independent; name them: "
                    f"@cell(sizes={{'{undeclared[-1].attributes['name']}': 'a name'}})",
                    line="",
                    error=SizeError,
                )
            free.add(name)
            tracer.unifier.unify(resolved, Size.of(name))
    for name, traced in parameters.items():
        for size in traced.shape:
            if resolve(size).variables:
                tracer.fail(
                    f"the size of {name} does not follow from the equations; name it in the "
                    f"decorator: @cell(sizes={{'{name}': 'hidden'}}), or with a name of its own",
                    line=traced.line,
                    error=SizeError,
                )
    sizes: dict[str, Size] = {}
    reasons: dict[str, str] = {}
    for name, size in wanted:
        if name in sizes:
            continue
        sizes[name] = resolve(size)
        if sizes[name] != Size.of(name):
            reasons[name] = next(
                (tracer.reasons[v] for v in size.variables if v in tracer.reasons), ""
            )
    return sizes, reasons
