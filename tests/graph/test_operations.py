"""The table of operations is complete, and the only place that says what an operation is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import anyrnn
from anyrnn.derivative.rules import RULES
from anyrnn.graph.interpret import NUMPY
from anyrnn.graph.operations import LEAVES, OPERATIONS
from anyrnn.graph.symbols import FUNCTIONS
from anyrnn.kernels.cpu.emit.elementwise import COMPUTE
from anyrnn.kernels.gpu.elementwise import COMPUTE as COMPUTE_ON_GPU
from anyrnn.torch.torch_ops import TORCH

SOURCE = Path(anyrnn.__file__).parent
EXPORTS = "__all__"
MERGES = "MERGES"  # of two directions, some called as operations are: sum, mean
TEXTS = "COMPUTE"  # what computes each operation, written in a kernel's language


def rows(trait: str) -> set[str]:
    return {name for name, row in OPERATIONS.items() if getattr(row, trait)}


def test_every_operation_has_a_rule_and_a_line_in_every_target() -> None:
    computed = set(OPERATIONS) - LEAVES - {"random"}  # draws have a generator in each target
    assert set(RULES) == set(OPERATIONS)
    assert set(NUMPY) == set(TORCH) == computed


def test_every_operation_is_one_that_kernels_compute() -> None:
    """A new row is pointwise, with a line in `COMPUTE`, or of a class that kernels know."""
    pointwise = rows("pointwise") - {"random", "clip_gradient"}  # the latter is the value itself
    assert set(COMPUTE) == set(COMPUTE_ON_GPU) == pointwise
    assert rows("reduction") == {"sum", "mean", "softmax"}
    assert rows("batch_sum") == {"outer", "batch_sum"}
    classes = LEAVES | rows("pointwise") | rows("reduction") | rows("batch_sum") | rows("view")
    assert set(OPERATIONS) - classes == {"product", "concatenate"}


def test_traits_agree() -> None:
    assert rows("comparison") | rows("activation") <= rows("elementwise")
    assert rows("named") | {"constant", "size"} == LEAVES
    assert rows("activation") <= set(FUNCTIONS)
    for name in rows("activation"):
        assert OPERATIONS[name].arity == 1
    for name in rows("signs"):
        assert len(OPERATIONS[name].signs) == OPERATIONS[name].arity


def collections(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """The operations that each literal collection of a module names; a dictionary counts where its
    values are literals, which makes it a column of the table; else it says what computes them.
    """
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assign):
            names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
            if names & {EXPORTS, MERGES, TEXTS}:
                statement.value = ast.Tuple([])
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            found = node.elts
        elif isinstance(node, ast.Dict) and all(isinstance(v, ast.Constant) for v in node.values):
            found = node.keys
        else:
            continue
        yield getattr(node, "lineno", 0), {e.value for e in found if isinstance(e, ast.Constant)}


def test_no_other_module_lists_operations() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name != "operations.py" or path.parent.name != "graph":
            for line, named in collections(ast.parse(path.read_text("utf-8"))):
                if len(named & set(OPERATIONS)) > 1:
                    found.append(f"{path.relative_to(SOURCE)}:{line}: {sorted(map(str, named))}")
    assert not found, found


def test_a_list_of_operations_would_be_found() -> None:
    source = "x in ('add', 'subtract')\ny = {'sum': 1, 'mean': 2}\nz = {'sum': f, 'mean': g}"
    found = [named for _, named in collections(ast.parse(source))]
    assert {"add", "subtract"} in found
    assert {"sum", "mean"} in found
    assert len(found) == 2
