"""Cells drawn at random over the whole language, with their source text.

`random_cells()` is a hypothesis strategy of `RandomCell`: equations written as a person would, run
by the decorator as any other cell. Values stay bounded and inside the domains of log, sqrt and
division, so that results can be compared closely.
"""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import strategies as st

import anyrnn
from anyrnn.errors import UnusedParameterWarning

SMALLEST = 3  # of every named size: slices take up to two elements from either end
NUMBERS = ("0.5", "2", "-1", "0.1", "3", "1.5", "0", "1")
_files = count()


@dataclass(frozen=True)
class RandomCell:
    """A cell and the text it was made of."""

    cell: anyrnn.Cell
    source: str

    def __repr__(self) -> str:
        return f"RandomCell of\n{self.source}"


def make(source: str, name: str = "drawn", **further: Any) -> anyrnn.Cell:
    """The cell that a source text defines, which may use the functions of anyrnn and further names;
    its lines are known to error messages.
    """
    file = f"<cell {next(_files)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    functions = {known: getattr(anyrnn, known) for known in anyrnn.__all__ if known != "torch"}
    namespace: dict[str, Any] = {**functions, **further, "__name__": __name__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedParameterWarning)
        exec(compile(source, file, "exec"), namespace)
    return namespace[name]


@dataclass
class Writer:
    """Writes expressions; each has a known size, so that all sizes can be inferred."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    values: dict[str, list[str]]
    parameters: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    single: list[str] = field(default_factory=list)

    def choose(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def value(self, size: str) -> str:
        """The input, a state or a line that is written already."""
        return self.choose(self.values[size])

    def parameter(self, rows: str, columns: str = "") -> str:
        """A matrix or a vector, new or used before."""
        known = self.parameters.setdefault((rows, columns), [])
        if known and self.draw(st.booleans()):
            return self.choose(known)
        total = sum(map(len, self.parameters.values()))
        family = self.choose(("W.m", "U.m", "K") if columns else ("b.v", "p.v", "a"))
        known.append(f"{family}{total}")
        return known[-1]

    def single_number(self) -> str:
        if not self.single or self.draw(st.booleans()):
            self.single.append(f"s.n{len(self.single)}")
            return self.single[-1]
        return self.choose(self.single)

    def number(self, depth: int) -> str:
        """One number, the same for all rows or not."""
        kind = self.choose(["literal", "rate", "single", "mean", "sum"])
        if kind == "literal" or depth <= 0:
            return self.choose(NUMBERS)
        if kind == "rate":
            return "rate"
        if kind == "single":
            return f"tanh({self.single_number()})"
        size = self.choose(self.values)
        inside = f"{self.value(size)} * {self.vector(size, depth - 1)}"
        return f"mean({inside})" if kind == "mean" else f"tanh(sum({inside}))"

    def matrix(self, rows: str, columns: str) -> str:
        kind = self.choose(["plain", "plain", "plain", "transposed", "antisymmetric"])
        # a name that was no product yet is taken for a vector, so the transpose goes first
        if kind == "antisymmetric" and rows == columns:
            name = self.parameter(rows, columns)
            return f"(0.5 * {name}.T - {name} + {self.choose(['0.1', 'rate'])})"
        if kind == "transposed":
            template = self.choose(["{0}.T", "{0}.T", "tanh({0}.T)", "({0}.T * rate)"])
            return template.format(self.parameter(columns, rows))
        return self.parameter(rows, columns)

    def product(self, size: str, depth: int) -> str:
        """A product with a vector whose size is known by itself."""
        columns = self.choose(self.values)
        kind = self.choose(["value", "gated", "joined", "long", "sliced"])
        if kind == "sliced":
            cut = self.choose(["1:", ":-1", "-2:", ":2"])
            length = "2" if "2" in cut else f"{columns} - 1"
            return f"{self.parameter(size, length)} @ {self.value(columns)}[{cut}]"
        if kind == "joined":
            other = self.choose(self.values)
            vector = f"concatenate({self.value(columns)}, {self.value(other)})"
            return f"{self.parameter(size, f'{columns} {other}')} @ {vector}"
        if kind == "long" and depth > 1:
            inside = f"{self.value(columns)} + {self.vector(columns, depth - 1)}"
            return f"{self.matrix(size, columns)} @ ({inside})"
        if kind == "gated" and depth > 0:
            inside = f"{self.value(columns)} * {self.vector(columns, depth - 1)}"
            return f"{self.matrix(size, columns)} @ ({inside})"
        return f"{self.matrix(size, columns)} @ {self.value(columns)}"

    def vector(self, size: str, depth: int) -> str:
        """A vector of a size."""
        if depth <= 0:
            return self.draw(
                st.one_of(
                    st.builds(lambda: self.value(size)),
                    st.builds(lambda: self.parameter(size)),
                )
            )
        rules = ["product", "product", "product", "affine", "affine", "call", "call", "bounded"]
        rules += ["bounded", "binary", "extreme", "where", "number", "peephole", "turned"]
        rules += ["normalised", "condition", "power", "value"]
        return getattr(self, f"_{self.choose(rules)}")(size, depth - 1)

    def _value(self, size: str, depth: int) -> str:
        return self.value(size)

    def _product(self, size: str, depth: int) -> str:
        return f"({self.product(size, depth)})"

    def _affine(self, size: str, depth: int) -> str:
        terms = [self.product(size, depth), self.product(size, depth), self.parameter(size)]
        return f"({' + '.join(terms)})"

    def _call(self, size: str, depth: int) -> str:
        function = self.choose(
            ["sigmoid", "tanh", "relu", "softplus", "abs", "hard_sigmoid", "-", "softmax"]
        )
        inside = self.vector(size, depth)
        if function == "softmax":  # its size must be known by itself
            inside = f"{self.value(size)} + {inside}"
        return f"{function}({inside})"

    def _bounded(self, size: str, depth: int) -> str:
        template = self.choose(
            [
                "exp(tanh({0}))",
                "exp(-abs({0}))",
                "log(1.5 + tanh({0}))",
                "sqrt(0.3 + {0} * {0})",
                "(0.2 + abs({0})) ** 0.5",
                "1 / (1 + softplus({0}))",
                "1 - sigmoid({0})",
                "clip_gradient({1} * {0}, 0.1)",
            ]
        )
        return f"({template.format(self.vector(size, depth), self.value(size))})"

    def _power(self, size: str, depth: int) -> str:
        return f"tanh({self.vector(size, depth)}) ** {self.choose('234')}"

    def _binary(self, size: str, depth: int) -> str:
        left, right = self.vector(size, depth), self.vector(size, depth)
        operator = self.choose(["+", "-", "*", "/", "mix"])
        if operator == "/":
            return f"{left} / (1.5 + tanh({right}))"
        if operator == "mix":
            gate = f"sigmoid({self.vector(size, depth)})"
            return f"({gate} * {left} + (1 - {gate}) * {right})"
        return f"({left} {operator} {right})"

    def _extreme(self, size: str, depth: int) -> str:
        right = self.vector(size, depth) if self.draw(st.booleans()) else self.number(depth)
        operands = [self.vector(size, depth), right]
        if self.draw(st.booleans()):
            operands.reverse()
        return f"{self.choose(['maximum', 'minimum'])}({', '.join(operands)})"

    def _where(self, size: str, depth: int) -> str:
        parts = [self.vector(size, depth), self.number(depth)]
        if self.draw(st.booleans()):
            parts.reverse()
        # not the bare value: where both sides are one number but for rounding, either may be larger
        left = f"0.7 * {self.value(size)} + 0.05"
        right = self.vector(size, depth) if self.draw(st.booleans()) else self.choose(NUMBERS)
        return f"where({left} {self.choose(['>', '>=', '<', '<='])} {right}, {', '.join(parts)})"

    def _condition(self, size: str, depth: int) -> str:
        return (
            f"(0.7 * {self.value(size)} - 0.05 > {self.number(depth)}) * {self.vector(size, depth)}"
        )

    def _number(self, size: str, depth: int) -> str:
        operator = self.choose("+-*")
        parts = [self.number(depth), self.vector(size, depth)]
        if self.draw(st.booleans()):
            parts.reverse()
        return f"({parts[0]} {operator} {parts[1]})"

    def _peephole(self, size: str, depth: int) -> str:
        return f"{self.parameter(size)} * {self.vector(size, depth)}"

    def _turned(self, size: str, depth: int) -> str:
        name = self.parameter(size) if self.draw(st.booleans()) else self.value(size)
        cut = self.choose(["1", "2", "-1", "-2"])
        parts = [f"{name}[{cut}:]", f"{name}[:{cut}]"]
        if self.draw(st.booleans()):
            parts[0] = f"tanh({parts[0]})"
        return f"concatenate({', '.join(parts)})"

    def _normalised(self, size: str, depth: int) -> str:
        return f"layer_norm({self.value(size)} + {self.vector(size, depth)}, 0.1)"


@st.composite
def random_cells(draw: Callable[[st.SearchStrategy[Any]], Any], depth: int = 3) -> RandomCell:
    """Cells with one to three states of one or two sizes, with or without an output apart."""
    states = {"h": "hidden"}
    if draw(st.booleans()):
        states["c"] = draw(st.sampled_from(["hidden", "cell"]))
    if len(states) == 2 and draw(st.booleans()):
        states["m"] = draw(st.sampled_from([states["c"], "hidden"]))
    values: dict[str, list[str]] = {"input": ["x"]}
    for name, size in states.items():
        values.setdefault(size, []).append(name)
    writer = Writer(draw, values)
    lines = []
    for place in range(draw(st.integers(0, 3))):
        size = writer.choose(values)
        lines.append(f"v{place} = {writer.value(size)} * {writer.vector(size, depth)}")
        values[size].append(f"v{place}")
    results = []
    for size in states.values():
        new = draw(st.sampled_from(["tanh", "tanh", "mix", "mix", "line", "handed on"]))
        own = states_of(states, size)
        if new == "handed on":
            results.append(writer.choose(own))
            continue
        inside = writer.value(size) if new == "line" else writer.vector(size, depth)
        bounded = f"tanh({inside})"
        if new == "mix":
            gate = f"sigmoid({writer.vector(size, depth - 1)})"
            bounded = f"{gate} * {writer.choose(own)} + (1 - {gate}) * {bounded}"
        # a result that depends on parameters only would be none
        results.append(f"{bounded} + 0.01 * {writer.choose(own)}")
    declared: dict[str, str | int] = {name: size for name, size in states.items() if name != "h"}
    apart = draw(st.sampled_from(["no", "hidden", "its own size"]))
    if apart == "hidden":
        results.insert(0, f"{writer.value('hidden')} + {writer.vector('hidden', depth)}")
    elif apart == "its own size":
        size = writer.choose(values)
        results.insert(0, f"softmax(V @ ({writer.value(size)} + {writer.vector(size, depth)}))")
        writer.parameters["output", size] = ["V"]
        declared["V"] = "output"
    declared |= dict.fromkeys(writer.single, 1)
    names = [name for known in writer.parameters.values() for name in known]
    families = sorted({name.split(".")[0] for name in names})
    families += ["s"] if writer.single else []
    source = "\n    ".join(
        [
            f"@cell(sizes={declared!r})\ndef drawn("
            f"{', '.join(['x', *states, '*', *families, 'rate=0.3'])}):",
            *lines,
            f"return {', '.join(results)}",
        ]
    )
    return RandomCell(make(source + "\n"), source)


def states_of(states: dict[str, str], size: str) -> list[str]:
    """The states of a size."""
    return [name for name, own in states.items() if own == size]
