"""Every cell of the catalogue with every pair of transforms, compiled, against the interpreter.

`make contract` checks the complete product: each cell with each option, and with each two that go
together, in float64, for several sizes, forward and every gradient. A part is a cell; `make
contract CELLS="lstm gru"` checks some parts. Each failure is a line. The tests check combinations
of several options at a time, which together have all of them for every cell.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import combinations
from random import Random
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console

import anyrnn
from anyrnn import Cell, Gradients, SequenceResult
from anyrnn.errors import CellError
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.row_layout import lay_out
from anyrnn.kernels.step_rows import SomeSteps
from anyrnn.transforms import transform
from anyrnn.transforms.bias import with_two_biases, without_bias
from anyrnn.transforms.dropout import with_input_dropout, with_recurrent_dropout, with_zoneout
from anyrnn.transforms.outputs import with_states_as_output, with_values_as_output
from checks import TWINS, Case, close_gradients, close_results, make_case

Options = tuple[str, ...]
SEED = 7
TOGETHER = 7  # options of a combination of the tests


def _activations(cell: Cell) -> Cell:
    """Another function in the place of the cell's first one; a gate stays above zero, because the
    minLSTM divides by a sum of gates.
    """
    used = {node.operation for node in cell.graph.nodes()}
    first = next(name for name in ("tanh", "sigmoid", "relu") if name in used)
    return transform(cell, activations={first: "hard_sigmoid" if first == "tanh" else "softplus"})


# The options in the order in which a layer takes them. Of one line only one can be chosen.
CHANGES: tuple[dict[str, Callable[[Cell], Cell]], ...] = (
    {"no bias": without_bias, "two biases": with_two_biases},
    {"activations": _activations},
    {kind: lambda cell, kind=kind: transform(cell, norm=kind) for kind in ("layer", "rms")},
    {
        "heads": lambda cell: transform(cell, heads=2),
        "independent": lambda cell: transform(cell, independent=True),
        "projection": lambda cell: transform(cell, projection=True),
    },
    {
        "clip_state": lambda cell: transform(cell, clip_state=0.6),
        "clip_state of one": lambda cell: transform(cell, clip_state={cell.states[-1]: 0.4}),
    },
    {"clip_gradient": lambda cell: transform(cell, clip_gradient=0.3)},
    {
        "zoneout": lambda cell: with_zoneout(cell, 0.3),
        "zoneout expected": lambda cell: with_zoneout(cell, 0.3, expected=True),
    },
    {
        "recurrent_dropout": lambda cell: with_recurrent_dropout(cell, 0.4),
        "recurrent_dropout per gate": lambda cell: with_recurrent_dropout(cell, 0.4, True),
    },
    {
        "input_dropout": lambda cell: with_input_dropout(cell, 0.4),
        "input_dropout per gate": lambda cell: with_input_dropout(cell, 0.4, True),
    },
    {"all states": with_states_as_output, "all values": with_values_as_output},
)
RUNS = (
    ("memory=low",),
    ("products first",),  # those with the input, before the loop
    ("lengths", "mask", "carry", "resets"),
)
LINES = (*map(tuple, CHANGES), *RUNS)
OPTIONS = tuple(option for line in LINES for option in line)
LINE = {option: place for place, line in enumerate(LINES) for option in line}
PAIRS = tuple(pair for pair in combinations(OPTIONS, 2) if LINE[pair[0]] != LINE[pair[1]])

# time, batch, and sizes: one and more than a vector, rows for a tile and fewer
Sizes = tuple[int, int, dict[str, int]]
SIZES: tuple[Sizes, ...] = (
    (4, 3, {"input": 3, "hidden": 5, "hidden_head": 3, "projection": 2, "output": 2}),
    (1, 1, {"input": 1, "hidden": 2, "hidden_head": 1, "projection": 1, "output": 1}),
    (3, 2, {"input": 5, "hidden": 19, "hidden_head": 7, "projection": 11, "output": 3}),
    (3, 13, {"input": 17, "hidden": 9, "hidden_head": 9, "projection": 3, "output": 5}),
)


@cache
def changed(name: str, options: Options) -> Cell:
    """A cell of the catalogue with some options.

    Raises:
        CellError: The cell cannot have them.
    """
    if not options:
        return anyrnn.get(name)
    *before, last = sorted(options, key=OPTIONS.index)
    cell = changed(name, tuple(before))
    return CHANGES[LINE[last]][last](cell) if LINE[last] < len(CHANGES) else cell


def can_have(name: str, options: Options) -> bool:
    """Whether a cell can have some options."""
    try:
        changed(name, options)
    except CellError:
        return False
    return True


def marks_of(options: Options, time: int, batch: int) -> dict[str, Any]:
    """Which steps count, and where states are put back."""
    random = np.random.default_rng(1)
    if "lengths" in options:
        return {"lengths": random.integers(0, time + 1, batch)}
    if "mask" in options or "carry" in options:
        padding = "carry" if "carry" in options else "zero"
        return {"mask": random.random((time, batch)) < 0.7, "padding": padding}
    return {"resets": random.random((time, batch)) < 0.3} if "resets" in options else {}


def interpreted(case: Case, marks: Mapping[str, Any]) -> tuple[SequenceResult, Gradients]:
    """What the interpreter makes of a case.

    With marks, each sequence of rows of the run by itself, beside those before it: random numbers
    follow from a row's place.
    """
    seed = SEED if case.cell.draws else None
    if not marks:
        return run_interpreter(case, seed)
    time, batch = case.x.shape[:2]
    given = {name: array for name, array in marks.items() if name != "padding"}
    layout = lay_out(("time", "batch"), (time, batch), **given)
    if layout is None:
        return run_interpreter(case, seed)
    steps = SomeSteps(layout, marks.get("padding") == "carry")
    rows, begun = steps.enter(case.x, [*case.states])
    width = case.output_gradient.shape[2]
    gradient_rows = steps.outputs_back(case.output_gradient)
    ended, given_back = steps.last_back([*case.state_gradients])
    offsets = np.cumsum([0, *steps.batch_sizes])
    output, x_gradient = np.zeros((len(rows), width)), np.zeros_like(rows)
    last, begun_gradients = ([np.zeros_like(state) for state in begun] for _ in range(2))
    total = {name: np.zeros_like(array) for name, array in case.parameters.items()}
    for row in range(steps.batch_sizes[0]):
        length = sum(size > row for size in steps.batch_sizes)
        until = slice(row + 1)  # those before it are as long
        x = np.stack([rows[offsets[t] :][until] for t in range(length)])
        places = offsets[:length] + row
        gradient = np.zeros((length, row + 1, width))
        gradient[:, row] = gradient_rows[places]
        of_states = [np.zeros_like(state[until]) for state in begun]
        for own, whole in zip(of_states, ended, strict=True):
            own[row] = whole[row]
        one = replace(
            case,
            x=x,
            states=tuple(state[until] for state in begun),
            output_gradient=gradient,
            state_gradients=tuple(of_states),
        )
        found, gradients = run_interpreter(one, seed)
        output[places], x_gradient[places] = found.output[:, row], gradients.x[:, row]
        for place, state in enumerate(found.states):
            last[place][row] = state[row]
            begun_gradients[place][row] = gradients.states[place][row]
        for name, part in gradients.parameters.items():
            total[name] += part
    outputs, states = steps.outputs(output), steps.last(last, [*case.states])
    of_x = steps.inputs_back(x_gradient)
    of_states = steps.begun_back(begun_gradients, given_back)
    return SequenceResult(outputs, tuple(states), ()), Gradients(of_x, tuple(of_states), total)


def run_interpreter(case: Case, seed: int | None) -> tuple[SequenceResult, Gradients]:
    """Results and gradients."""
    arguments = (case.cell, case.x, case.states)
    result = anyrnn.interpret(*arguments, parameters=case.parameters, seed=seed)
    gradients = anyrnn.gradients(
        *arguments,
        parameters=case.parameters,
        output_gradient=case.output_gradient,
        state_gradients=case.state_gradients,
        seed=seed,
    )
    return result, gradients


@contextmanager
def conditions(options: Options) -> Iterator[None]:
    """Compiled quickly, as how well LLVM does is not the question."""
    few, cached = (99, 0) if "products first" in options else (0, policy.CACHED)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, ANYRNN_OPTIMISE="off"))
        stack.enter_context(mock.patch.multiple(policy, FEW_ROWS=few, CACHED=cached))
        yield


def check(
    name: str,
    options: Options,
    places: Sequence[int] = range(len(SIZES)),
    inference: bool = True,
    every: Sequence[Sizes] = SIZES,
    dtype: Any = float,
    tolerance: float = 1e-11,
) -> None:
    """Compare what is compiled with the interpreter.

    Args:
        name: A cell of the catalogue.
        options: Its options.
        places: Which of the sizes.
        inference: Whether the forward pass is compared without residuals too: another kernel, which
            differs in what it stores only.
        every: The numbers of steps and of sequences, and sizes, that these are.
        dtype: The type of all arrays.
        tolerance: How far results may be off; gradients ten times as far.

    Raises:
        AssertionError: A number differs.
    """
    cell = changed(name, options)
    memory = "low" if "memory=low" in options else "high"
    for place in places:
        time, batch, numbers = every[place]
        sizes = {size: numbers[size] for size in cell.free_sizes}
        case, marks = make_case(cell, place, time, batch, sizes), marks_of(options, time, batch)
        wanted, wanted_gradients = interpreted(case, marks)
        case = case.as_type(dtype)
        given = {"parameters": case.parameters, "seed": SEED if cell.draws else None, **marks}
        with conditions(options):
            made = anyrnn.compile(cell, case.sizes, dtype=dtype, memory=memory, threads=1)
            alone = [made.forward(case.x, case.states, **given)] if inference else []
            saved = made.forward(case.x, case.states, **given, save=True)
            gradients = saved.backward(case.output_gradient, case.state_gradients)
        for found in (*alone, saved):
            close_results(SequenceResult(found.output, found.states, ()), wanted, tolerance)
        close_gradients(gradients, wanted_gradients, 10 * tolerance)


def spread() -> list[tuple[str, Options]]:
    """Combinations of several options, so that every cell has every option that it can have, and
    pairs that were not there before, as far as possible. Twins of other cells have one combination.
    """
    random, seen = Random(0), Counter[tuple[str, str]]()
    found = []
    for name in anyrnn.CATALOGUE:
        left = [option for option in OPTIONS if can_have(name, (option,))]
        possible = [*left]
        while left:
            chosen: list[str] = []
            for pool in (left, possible):
                while len(chosen) < TOGETHER:
                    lines = {LINE[option] for option in chosen}
                    open_ = [option for option in pool if LINE[option] not in lines]
                    open_ = [o for o in open_ if not any(excludes(*pair(o, c)) for c in chosen)]
                    if not open_:
                        break
                    random.shuffle(open_)
                    chosen.append(min(open_, key=lambda o: sum(seen[pair(o, c)] for c in chosen)))
            left = [option for option in left if option not in chosen]
            seen.update(pair(*each) for each in combinations(chosen, 2))
            found.append((name, tuple(option for option in OPTIONS if option in chosen)))
            if name in TWINS:
                break
    return found


def pair(one: str, other: str) -> tuple[str, str]:
    """Two options in their order."""
    first, second = sorted((one, other), key=OPTIONS.index)
    return first, second


def excludes(one: str, other: str) -> bool:
    """Independent units leave no matrix whose vectors could be dropped."""
    return one == "independent" and other.startswith("recurrent_dropout")


def everything(name: str) -> list[Options]:
    """A cell as it is, with each option and with each pair of options."""
    every: list[Options] = [(), *((option,) for option in OPTIONS), *PAIRS]
    return [options for options in every if can_have(name, options)]


# the command


def part(name: str) -> None:
    """Check a cell, and print a line for each combination: its options, and why it failed."""
    for options in everything(name):
        try:
            check(name, options)
            failure = ""
        except Exception as error:
            said = " ".join(str(error).split())
            failure = f"{type(error).__name__}: {said}"[:300]
        print(json.dumps([options, failure]), flush=True)


def run_part(name: str, console: Console) -> tuple[int, int]:
    """Check a cell in a process of its own: how many combinations, and how many failed."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--part", name], stdout=subprocess.PIPE, encoding="utf-8"
    )
    done = failures = 0
    for line in process.stdout or ():
        options, failure = json.loads(line)
        done += 1
        if failure:
            failures += 1
            console.print(f"{name}, {' + '.join(options)}: {failure}", markup=False, soft_wrap=True)
    if process.wait():
        failures += 1
        console.print(f"{name}: its process has ended with {process.returncode}")
    console.print(f"{name}: {done} combinations, {failures} failures")
    return done, failures


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cells", nargs="*", help="cells of the catalogue; all if not given")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time")
    parser.add_argument("--part", help="check this cell only, and print a line for each check")
    given = parser.parse_args()
    os.environ["ANYRNN_CACHE"] = "off"
    if given.part:
        part(given.part)
        return 0
    console = Console()
    with ThreadPoolExecutor(given.processes) as pool:
        names = given.cells or [*anyrnn.CATALOGUE]
        found = list(pool.map(lambda name: run_part(name, console), names))
    done, failures = map(sum, zip(*found, strict=True))
    console.print(f"{done} combinations in all, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
