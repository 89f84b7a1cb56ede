"""Cells drawn at random keep the contract too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz
from anyrnn.derivative.reverse import derivative
from anyrnn.graph.nodes import Node, topological
from anyrnn.graph.operations import LEAVES, OPERATIONS
from anyrnn.graph.show import equations, latex, listing
from anyrnn.graph.verify import verify
from anyrnn.kernels.cpu.emit.elementwise import COMPUTE
from anyrnn.schedule.forms import Schedule
from anyrnn.schedule.residuals import step_schedules
from checks import TARGETS, close_gradients, close_results, make_case
from fuzz import LENGTHS, TOLERANCE, Trial, search
from random_cells import SMALLEST, RandomCell, make, random_cells

WAYS = ("target", "dtype", "memory", "threads", "reverse")
CHOICES = ("reverse", "alone", "hoist", "pieces", "optimised")


@given(random_cells(), st.integers(0, 99))
@settings(max_examples=60)
def test_torch_operations(drawn: RandomCell, seed: int) -> None:
    case = make_case(drawn.cell, seed, time=3, batch=2, smallest=SMALLEST)
    results, gradients = case.execute()
    close_results(results, case.interpret(), 1e-10)
    close_gradients(gradients, case.gradients(), 1e-9)
    reverse = derivative(drawn.cell.graph)
    verify(reverse)
    for graph in (drawn.cell.graph, reverse):
        assert equations(graph)
        assert latex(graph).count("{") == latex(graph).count("}")
        assert listing(graph)


def in_the_loop(planned: Schedule) -> Iterable[Node]:
    """What a kernel computes."""
    before = {*planned.before, *planned.once}
    nodes = topological([*planned.new_states.values(), *planned.emitted])
    return (node for node in nodes if node not in before and not node.is_leaf)


def kinds_of(drawn: Trial) -> set[object]:
    """What a cell has that others have not, and how it is run."""
    cell = make(drawn.source + "\n")
    planned = step_schedules(cell, drawn.memory)
    nodes = [*cell.graph.nodes(), *derivative(cell.graph).nodes()]
    found: set[object] = {node.operation for node in nodes}
    for part in (planned.forward, planned.reverse):
        found |= {f"{node.operation} in the loop" for node in in_the_loop(part)}
    levels = 1 + max(stage.level for stage in planned.forward.stages)
    found |= {f"{len(cell.states)} states", f"{min(levels, 3)} stages"}
    for node in cell.graph.nodes():
        operations = {argument.operation for argument in node.arguments}
        if node.operation == "multiply" and operations == {"parameter", "state"}:
            found.add("a recurrence that is a vector")
    leaves = cell.graph.leaves("parameter")
    found |= {f"a parameter of {len(leaf.type.shape)} axes" for leaf in leaves}
    if any("." not in leaf.name for leaf in leaves):
        found.add("a parameter that is a whole family")
    uses = [argument for node in cell.graph.nodes() for argument in node.arguments]
    if any(uses.count(leaf) > 1 for leaf in leaves):
        found.add("a parameter used twice")
    if cell.output not in cell.states:
        found.add("an output apart from the states")
    if cell.output_size not in cell.state_sizes:
        found.add("an output of another size")
    if "rate" in drawn.source.split("):", 1)[1]:
        found.add("a hyperparameter")
    options = {name: value for name, value in vars(drawn).items() if name not in ("source", "seed")}
    return found | set(options.items())


def test_all_kinds_compiled() -> None:
    """Cells of every kind, run in every way; of those that are drawn, the ones with a kind that has
    not been compiled twice before for such a CPU, in such a type, with so much memory, so many
    threads or in such a direction. Some as for users, the others compiled quickly.
    """
    found = Counter[object]()
    failed: list[Trial] = []
    checked = 0

    def once(trial: Trial) -> bool:
        nonlocal checked
        kinds = kinds_of(trial)
        new = kinds.union(product(kinds, ((name, getattr(trial, name)) for name in WAYS)))
        if all(found[each] >= 2 for each in new) and not failed:
            return False
        try:
            fuzz.check(trial)
        except Exception:
            failed.append(trial)  # and what is shrunk from it is checked, too
            raise
        found.update(new)
        checked += 1
        return False

    failure = search(0, 200, [True, *[False] * 9], once)
    assert not failure, failure
    assert checked >= 50, checked
    wanted: set[object] = {
        *(OPERATIONS.keys() - {"random"}),
        "1 states",
        "2 states",
        "3 states",
        "2 stages",
        "3 stages",
    }
    reductions = {name for name, row in OPERATIONS.items() if row.reduction}
    computed = {*COMPUTE, *reductions, "product", "slice", "concatenate"} - {"expand"}
    wanted |= {f"{operation} in the loop" for operation in computed - LEAVES}
    wanted |= {f"a parameter of {axes} axes" for axes in range(3)}
    wanted |= {
        "a parameter that is a whole family",
        "a parameter used twice",
        "a recurrence that is a vector",
        "a hyperparameter",
        "an output apart from the states",
        "an output of another size",
    }
    wanted |= {("target", name) for name in TARGETS}
    wanted |= {("dtype", name) for name in TOLERANCE} | {("memory", n) for n in ("high", "low")}
    wanted |= {("threads", number) for number in (1, 2)} | {("lengths", n) for n in LENGTHS}
    wanted |= {(name, v) for name in CHOICES for v in (True, False)}
    wanted |= {("widest", size) for size in (7, 19, 67)}
    assert wanted <= found.keys(), wanted - found.keys()


def test_a_failure_is_shrunk_and_printed_as_python() -> None:
    def check(trial: Trial) -> bool:
        if "hard_sigmoid" in trial.source:
            raise AssertionError("a hard\nsigmoid")
        return False

    failure = search(1, 200, [True], check)
    assert failure.endswith("# a hard\n# sigmoid\n")
    made: list[Trial] = []
    exec(failure, {"check": made.append, "Trial": Trial})
    assert "hard_sigmoid" in made[0].source
    assert len(made[0].source) < 250
    assert made[0].case().cell.states[0] == "h"
    assert not search(1, 20, [True], lambda trial: False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_crashes_and_endless_kernels_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(trial: Trial) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    def endless(trial: Trial) -> bool:
        time.sleep(60)
        return True

    def mistaken(trial: Trial) -> bool:
        raise KeyError("no such thing")

    trial = Trial("")
    monkeypatch.setattr(fuzz, "LIMIT", 1)
    for check, message in (
        (crash, "its process has ended with -9"),
        (endless, "it has not ended after 1 s"),
        (mistaken, "KeyError: 'no such thing'"),
    ):
        monkeypatch.setattr(fuzz, "check", check)
        with pytest.raises(AssertionError, match=message):
            fuzz.isolated(trial)
    monkeypatch.setattr(fuzz, "check", lambda trial: True)
    assert fuzz.isolated(trial)


def test_the_command() -> None:
    done = subprocess.run(
        [sys.executable, fuzz.__file__, "3", "--processes", "1"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "3 different cells in " in done.stdout
    assert "; 0 failures; " in done.stdout
