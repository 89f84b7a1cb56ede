"""Pretty-printing of graphs: equations, LaTeX, a list of nodes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from anyrnn.graph.keys import Cotangent, Gradient, Key, Name, NewValue, take_name
from anyrnn.graph.nodes import Graph, Node, topological

ATOM = 4  # the precedence of a name, a number, a call


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


class Equations:
    """Prints a graph as equations.

    Args:
        graph: The graph.
        latex: LaTeX instead of text.
        lines: The nodes that have an equation of their own, with the names on its left; chosen if
            not given.
    """

    def __init__(
        self, graph: Graph, latex: bool = False, lines: Mapping[Node, Name] | None = None
    ) -> None:
        self.graph = graph
        self.latex = latex
        reached = set(graph.nodes())
        named = [node for node in graph.names if node in reached]
        self.order = topological([*named, *graph.outputs.values()])
        self.named = [node for node in self.order if "name" in node.attributes]
        self.states = {leaf.name for leaf in graph.leaves("state")}
        self.lines = self._choose_lines() if lines is None else lines

    def _choose_lines(self) -> Mapping[Node, Name]:
        """The results, what the cell has a name for, and what is used twice."""
        results = {node: name for name, node in self.graph.outputs.items() if not node.is_leaf}
        taken = {str(node.name) for node in self.order if node.traits.named}
        taken |= {f"{name}'" for name in self.graph.outputs}
        uses = Counter(argument for node in self.order for argument in node.arguments)
        lines: dict[Node, Name] = {}
        for node in self.order:
            if node.is_leaf:
                continue
            if node in results:
                lines[node] = self._result(results[node])
                taken.add(str(lines[node]))
            elif node in self.graph.names:
                lines[node] = take_name(self.graph.names[node], taken)
            elif uses[node] > 1 and any(not a.is_leaf for a in node.arguments):
                lines[node] = take_name(None, taken)
        return lines

    def _result(self, name: Name) -> Name:
        """What a result is called: a new state has a prime, an output the name that the cell
        gives it.
        """
        if name == "output":
            own = self.graph.names.get(self.graph.outputs[name], name)
            return name if own in {leaf.name for leaf in self.named} else own
        return name if isinstance(name, Gradient) else NewValue(name)

    def text(self) -> str:
        """All equations, one a line; in LaTeX an `aligned` block."""
        rows = [(self._left(name, node), self.right(node)) for node, name in self.lines.items()]
        for name, node in self.graph.outputs.items():
            if node not in self.lines or self._result(name) != self.lines[node]:
                rows.append((self._left(self._result(name), node), self.name(node)))
        if self.latex:
            body = " \\\\\n".join(f"{left} &= {right}" for left, right in rows)
            return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"
        width = max(len(left) for left, _ in rows)
        return "\n".join(f"{left:<{width}} = {right}" for left, right in rows)

    def _left(self, name: Name, node: Node) -> str:
        """A name in the chosen form; in LaTeX with the time that the value belongs to."""
        if not self.latex:
            return str(name)
        old = isinstance(name, str | Gradient) and getattr(name, "of", name) in self.states
        return latex_name(name, ("t-1" if old else "t") if node.type.per_row else "")

    def right(self, node: Node) -> str:
        """A value's expression."""
        return self._expression(node)[0]

    def name(self, node: Node, threshold: int = 0) -> str:
        """What a value is called. Where it has no name, its expression, in brackets if it binds
        less tightly than `threshold`.
        """
        if node in self.lines:
            return self._left(self.lines[node], node)
        text, precedence = self._expression(node)
        if precedence >= threshold:
            return text
        return f"\\left({text}\\right)" if self.latex else f"({text})"

    def _expression(self, node: Node) -> tuple[str, int]:
        """A node's text and how tightly it binds."""
        if node.is_leaf:
            return self._leaf(node), ATOM
        row = node.traits
        precedence = row.precedence
        if self.latex and node.operation == "divide":  # a fraction keeps its arguments apart
            precedence = ATOM
        call = row.view and (self.latex or not row.broadcast)
        thresholds = [ATOM if call else 0] * len(node.arguments)
        if precedence < ATOM:
            thresholds = [precedence, precedence + 1][: len(node.arguments)]
            if node.operation == "add":
                thresholds[1] = precedence
        parts = [
            self.name(argument, threshold)
            for argument, threshold in zip(node.arguments, thresholds, strict=True)
        ]
        template = row.latex if self.latex else row.text
        return template.format(*parts, all=", ".join(parts), **node.attributes), precedence

    def _leaf(self, node: Node) -> str:
        if "name" in node.attributes:
            return self._left(node.name, node)
        if node.operation == "constant":
            number = _number(node.attributes["value"])
            return _latex_number(number) if self.latex else number
        size = str(node.attributes["size"])
        if self.latex:
            return node.traits.latex.format(size=_latex_size(size))
        return node.traits.text.format(size=size)


GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "lambda", "mu", "nu")


def latex_name(name: Name, time: str) -> str:
    """A name as in a paper: `W.i` is W_{i}, the new value of h at time t is h_{t}, its cotangent is
    h_{t} with a bar.
    """
    base, _, member = str(name.of if isinstance(name, Key) else name).partition(".")
    letters, digits = re.fullmatch(r"(.*?)(\d*)", base).groups()  # type: ignore[union-attr]
    if letters in GREEK:
        letters = f"\\{letters}"
    elif len(letters) > 1:
        letters = r"\mathrm{" + letters.replace("_", r"\ ") + "}"
    elif letters == "_":
        letters = r"\_"
    if digits:
        letters = f"{letters}^{{({digits})}}"
    if isinstance(name, Gradient | Cotangent):
        letters = f"\\bar{{{letters}}}"
    below = member.replace("_", r"\ ") or time
    return f"{letters}_{{{below}}}" if below else letters


def _latex_number(number: str) -> str:
    """A number as a paper has it: 1e-05 is 10^{-5}."""
    digits, exponential, exponent = number.partition("e")
    if not exponential:
        return number.replace("inf", r"\infty")
    power = f"10^{{{int(exponent)}}}"
    return {"1": power, "-1": f"-{power}"}.get(digits, f"{digits} \\cdot {power}")


def _latex_size(size: str) -> str:
    """A size whose names are names in LaTeX."""
    return re.sub(r"[^\W\d]\w*", lambda found: latex_name(found[0], ""), size)


def equations(graph: Graph) -> str:
    """A graph as equations.

    Example:
        >>> import anyrnn
        >>> from anyrnn.graph.show import equations
        >>> print(equations(anyrnn.get("rnn").graph))
        h' = tanh(W @ x + U @ h + b)
    """
    return Equations(graph).text()


def latex(graph: Graph) -> str:
    """A graph as LaTeX, in an `aligned` block."""
    return Equations(graph, latex=True).text()


def listing(graph: Graph) -> str:
    """A graph node by node: number, operation, arguments, type, and what the cell calls it."""
    order = graph.nodes()
    numbers = {node: f"%{index}" for index, node in enumerate(order)}
    results = {node: name for name, node in graph.outputs.items()}
    rows = []
    for node in order:
        parts = [node.operation, *(numbers[argument] for argument in node.arguments)]
        parts.extend(_details(node))
        marks = [str(graph.names.get(node, ""))] if not node.is_leaf else []
        if node in results:
            marks = [f"-> {results[node]}"]
        rows.append((numbers[node], " ".join(parts), str(node.type), *marks))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(_row(row, widths) for row in rows)


def _details(node: Node) -> Iterable[str]:
    if node.operation == "slice":
        yield "{start}:{stop}".format_map(node.attributes)
        return
    for key, value in node.attributes.items():
        if key != "type":
            yield _number(value) if isinstance(value, float) else f"{value}"


def _row(row: tuple[str, ...], widths: list[int]) -> str:
    columns = [f"{text:<{width}}" for text, width in zip(row, widths, strict=False)]
    return "  ".join([*columns, *row[3:]]).rstrip()
