"""A number added to each new state: the gradient with respect to it is that of the state."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import count

from anyrnn.graph.cell import Cell
from anyrnn.graph.nodes import Graph, Node, make, resized, rewrite
from anyrnn.graph.operations import Type
from anyrnn.graph.sizes import Atom, Size


def _own_name(cell: Cell) -> str:
    """What the size of the cell's own input is called, beside the sizes that it has."""
    names = (f"unshifted{number or ''}" for number in count())
    return next(name for name in names if name not in cell.sizes)


@lru_cache(maxsize=256)
def with_shifted_states(cell: Cell) -> Cell:
    """The cell with something added to each of its new states, given as further inputs.

    The step after it, and the cell's output where that is a state or computed from a new one, read
    the sum; the other new states of the same step do not. So with zeros the cell is as it was, and
    the gradient of these inputs at a step is the gradient of the states after it.

    Args:
        cell: A cell.

    Returns:
        The cell; its input is followed by the shifts of its states, in order.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> from anyrnn.transforms.shifts import with_shifted_states
        >>> print(equations(with_shifted_states(anyrnn.get("rnn")).graph))
        x1 = x[0:unshifted]
        h1 = tanh(W @ x1 + U @ h + b)
        h' = h1 + x[unshifted:hidden + unshifted]
    """
    own = _own_name(cell)
    sizes: dict[Atom, Size] = {}
    if cell.sizes["input"] == Size.of("input"):
        sizes["input"] = Size.of(own)
    input_size = cell.sizes["input"].substitute(sizes)
    widths = [size.substitute(sizes) for size in cell.state_sizes]
    total = sum(widths, start=input_size)
    x = make("input", name=cell.input, type=Type((total,), per_row=True))

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node.operation == "input":
            return make("slice", x, start=Size.of(0), stop=input_size)
        return resized(node, arguments, sizes)

    graph, start = rewrite(cell.graph, rule), input_size
    outputs: dict[str, Node] = {}
    for name, width in zip(cell.states, widths, strict=True):
        shift = make("slice", x, start=start, stop=start + width)
        outputs[name], start = graph.outputs[name] + shift, start + width
    if cell.output not in cell.states:
        shifted = {graph.outputs[name]: outputs[name] for name in reversed(cell.states)}
        read = _reading_shifted(graph.outputs[cell.output], shifted)
        outputs = {cell.output: read, **outputs}
    named = {name: size.substitute(sizes) for name, size in cell.sizes.items()}
    return cell.with_graph(
        Graph(outputs, graph.names),
        with_shifted_states,
        parameters=[resized(leaf, (), sizes) for leaf in cell.members],
        sizes=named | {own: input_size, "input": total},
    )


def _reading_shifted(output: Node, shifted: Mapping[Node, Node]) -> Node:
    """An output that is computed from new states, computed from shifted ones."""

    def rule(node: Node, arguments: tuple[Node, ...]) -> Node:
        if node in shifted and not node.is_leaf:
            return shifted[node]
        return resized(node, arguments, {})

    return rewrite(Graph({"output": output}), rule).outputs["output"]


def shifted_sizes(cell: Cell, sizes: Mapping[str, int]) -> dict[str, int]:
    """The named sizes of the cell with shifted states, for those of the cell as numbers."""
    states = sum(size.evaluate(sizes) for size in cell.state_sizes)
    return {**sizes, _own_name(cell): sizes["input"], "input": sizes["input"] + states}
