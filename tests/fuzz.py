"""Compile cells drawn at random, and compare what they compute with the interpreter.

`make fuzz N=10000` draws until N different cells have been compiled. Each is checked in a process
of its own, so that a crash and a kernel without end are failures like others, and nothing piles up.
Every failure is shrunk to the smallest cell that still fails, and printed as Python.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import anyrnn
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.machine import memory
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program import packing, prepared_commands, program_plan, varying
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.row_layout import Layout
from anyrnn.kernels.run import Arrays, Run, Steps
from checks import TARGETS, Case, make_case, poisoned
from random_cells import SMALLEST, make, random_cells

PART = 200  # cells that are drawn one after the other; the first ones of them are small
LIMIT = 300  # seconds after which a check has failed
SIZES = (SMALLEST, 5, 7, 17, 19, 33, 67)
LENGTHS = [(1,), (1, 1, 1), (2,), (3, 3), (2, 2, 2, 2, 2), (3, 2, 2, 1), (5, 1), (2,) * 13]
TOLERANCE = {"float64": 1e-10, "float32": 3e-5}
NOISE = 64  # how many times as far as rounding of the given numbers alone explains
Named = dict[str, np.ndarray]


@dataclass(frozen=True)
class Trial:
    """A cell and a way to run it; its text is Python that makes it again.

    Attributes:
        source: The cell's text.
        seed: What its numbers are drawn with.
        target: The kind of CPU to compile for.
        dtype: float32 or float64.
        memory: `high` or `low`.
        threads: The most threads to use.
        lengths: The number of steps of each sequence, never rising.
        reverse: Whether to run from the last step to the first.
        alone: Whether to run without a derivative too.
        hoist: Whether to multiply all inputs first.
        pieces: Whether to cut everything into many small pieces.
        widest: The largest size.
        optimised: Whether to compile as for users; if not, quickly.
    """

    source: str
    seed: int = 0
    target: str = "sse2"
    dtype: str = "float64"
    memory: str = "high"
    threads: int = 1
    lengths: tuple[int, ...] = (1,)
    reverse: bool = False
    alone: bool = True
    hoist: bool = False
    pieces: bool = False
    widest: int = 7
    optimised: bool = True

    def __repr__(self) -> str:
        options = {name: value for name, value in vars(self).items() if name != "source"}
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f'check(Trial("""\n{self.source}\n""", {listed}))'

    def case(self) -> Case:
        """The cell with random numbers, which float32 can hold."""
        cell = make(self.source + "\n")
        random = np.random.default_rng(self.seed)
        options = [size for size in SIZES if size <= self.widest]
        sizes = {name: int(random.choice(options)) for name in cell.free_sizes}
        case = make_case(cell, self.seed, self.lengths[0], len(self.lengths), sizes)
        scale = min(1.0, 2 / max(case.sizes.values()) ** 0.5)
        parameters = {name: scale * array for name, array in case.parameters.items()}
        case = replace(case, parameters=parameters)
        return case.as_type(np.float32).as_type(np.float64)

    @contextmanager
    def conditions(self) -> Iterator[None]:
        """What is chosen by size for users is chosen by the trial; fresh arrays are full of NaN."""
        changes = [
            mock.patch.dict(os.environ, ANYRNN_OPTIMISE="on" if self.optimised else "off"),
            mock.patch.object(memory, "empty", poisoned(memory.empty)),
            mock.patch.object(prepared_commands, "KEPT", -1),
            mock.patch.object(policy, "PARALLEL", 0),
            mock.patch.object(packing, "PARALLEL", 0),
            mock.patch.object(policy, "FEW_ROWS", len(self.lengths) if self.hoist else 0),
            mock.patch.object(policy, "CACHED", -1),
        ]
        if self.pieces:
            changes += [mock.patch.object(program_plan, "SEGMENT_BYTES", 1)]
            changes += [mock.patch.object(varying, "PART", 2)]
        with ExitStack() as entered, np.errstate(all="ignore"):
            for change in changes:
                entered.enter_context(change)
            yield


@st.composite
def trials(draw: Callable[[st.SearchStrategy[Any]], Any], optimised: list[bool]) -> Trial:
    """Random cells, by turns in every way to run them."""
    options = {
        "seed": st.integers(0, 99),
        "target": st.sampled_from(TARGETS[::-1]),
        "dtype": st.sampled_from(["float64", "float64", "float32"]),
        "memory": st.sampled_from(["high", "high", "low"]),
        "threads": st.sampled_from([1, 1, 2]),
        "lengths": st.sampled_from(LENGTHS),
        "reverse": st.booleans(),
        "alone": st.booleans(),
        "hoist": st.booleans(),
        "pieces": st.booleans(),
        "widest": st.sampled_from([7, 7, 19, 67]),
        "optimised": st.sampled_from(optimised),
    }
    chosen = {name: draw(strategy) for name, strategy in options.items()}
    return Trial(draw(random_cells()).source, **chosen)


def named(case: Case, result: anyrnn.SequenceResult, gradients: anyrnn.Gradients) -> Named:
    """Everything that is computed, by what it is called."""
    names = case.cell.states
    found = {"output": result.output, "gradient of x": gradients.x}
    found |= {f"state {n}": part for n, part in zip(names, result.states, strict=True)}
    found |= {
        f"gradient of state {n}": part for n, part in zip(names, gradients.states, strict=True)
    }
    return found | {f"gradient of {n}": part for n, part in gradients.parameters.items()}


def interpreted(case: Case, lengths: tuple[int, ...], reverse: bool) -> Named:
    """What the interpreter makes of sequences, one at a time; zeros where they have ended."""
    total: Named = {}
    order = slice(None, None, -1 if reverse else 1)
    for row, length in enumerate(lengths):
        one = replace(
            case,
            x=case.x[:length, row : row + 1][order],
            states=tuple(state[row : row + 1] for state in case.states),
            output_gradient=case.output_gradient[:length, row : row + 1][order],
            state_gradients=tuple(part[row : row + 1] for part in case.state_gradients),
        )
        for name, part in named(case, one.interpret(), one.gradients()).items():
            if name in ("output", "gradient of x"):
                shape = (lengths[0], len(lengths), part.shape[2])
                total.setdefault(name, np.zeros(shape))[:length, row] = part[order][:, 0]
            elif name.removeprefix("gradient of ").startswith("state "):
                total.setdefault(name, np.zeros((len(lengths), part.shape[1])))[row] = part[0]
            else:
                total[name] = total.get(name, 0) + part
    return total


def compiled(trial: Trial, case: Case) -> Iterator[Named]:
    """What kernels make of the same: with a derivative, and without."""
    dtype, target = np.dtype(trial.dtype), CPU(host(trial.target))
    steps = Steps(tuple(sum(n > t for n in trial.lengths) for t in range(trial.lengths[0])))
    places = [(t, row) for t, size in enumerate(steps.batch_sizes) for row in range(size)]
    times, rows = np.array(places).T
    case = case.as_type(dtype)
    sizes = tuple(case.sizes.items())
    run = Run(case.cell, sizes, trial.reverse, trial.memory, None, steps, dtype, trial.threads)
    x = case.x[times, rows]

    def spread(packed: np.ndarray) -> np.ndarray:
        whole = np.zeros((trial.lengths[0], len(trial.lengths), packed.shape[1]), dtype)
        whole[times, rows] = packed
        return whole

    given = run, Arrays(NUMPY_ARRAYS, x, case.states, case.parameters)
    output, last, residuals = target.record(*given)
    x_gradient, states, totals = target.backward(
        *given,
        residuals,
        [case.output_gradient[times, rows], *case.state_gradients],
        [True] * (1 + len(case.parameters)),
    )
    if x_gradient is None:
        x_gradient = np.zeros_like(x)
    for name, array in case.parameters.items():
        totals.setdefault(name, np.zeros_like(array))
    result = anyrnn.SequenceResult(spread(output), tuple(last), ())
    yield named(case, result, anyrnn.Gradients(spread(x_gradient), tuple(states), totals))
    if not trial.alone:
        return
    if trial.lengths[0] > 1:
        output, last = target.forward(*given)
    else:
        single = target.step(run)
        if single is None:
            return
        output = memory.empty((len(x), single.output_size), dtype)
        last = [memory.empty(state.shape, dtype) for state in case.states]
        arrays = [x, *case.states, *case.parameters.values(), output, *last]
        single.run([array.ctypes.data for array in arrays])
    yield forwards(case, spread(output), last)
    counts = np.arange(trial.lengths[0])[:, None] < trial.lengths
    steps = Layout(counts, lengths=np.array(trial.lengths)).placed(False, False, trial.reverse)
    placed = run._replace(steps=steps)
    if len(counts) > 1 and target.places(placed):
        padded = np.ascontiguousarray(case.x[: len(counts)]).reshape(counts.size, -1)
        arrays = Arrays(NUMPY_ARRAYS, padded, case.states, case.parameters)
        output, last = target.forward(placed, arrays)
        yield forwards(case, output.reshape(*counts.shape, -1), last)


def forwards(case: Case, output: np.ndarray, last: Sequence[np.ndarray]) -> Named:
    """What a run without a derivative computes, by name."""
    states = {f"state {n}": part for n, part in zip(case.cell.states, last, strict=True)}
    return {"output": output, **states}


def disturbed(case: Case, dtype: str, random: np.random.Generator) -> Case:
    """The case with every number changed by as much as rounding may."""
    epsilon = 4 * float(np.finfo(dtype).eps)

    def change(array: np.ndarray) -> np.ndarray:
        return array * (1 + epsilon * random.normal(size=array.shape))

    return replace(
        case,
        x=change(case.x),
        states=tuple(map(change, case.states)),
        parameters={name: change(array) for name, array in case.parameters.items()},
    )


def rounding(trial: Trial, case: Case) -> dict[str, float]:
    """How far the interpreter's own results are apart: in the trial's type and in a wider one, and
    when the given numbers are rounded.
    """
    random = np.random.default_rng(trial.seed)
    others = [case.as_type(trial.dtype), *(disturbed(case, trial.dtype, random) for _ in range(10))]
    wide = interpreted(case.as_type(np.longdouble), trial.lengths, trial.reverse)
    noise = dict.fromkeys(wide, 0.0)
    for other in others:
        for name, array in interpreted(other, trial.lengths, trial.reverse).items():
            noise[name] = max(noise[name], float(np.abs(array - wide[name]).max(initial=0)))
    return noise


def check(trial: Trial) -> bool:
    """Compare what is compiled with the interpreter.

    At a kink, and where a cell makes small differences large, rounding changes the interpreter's
    own results as much. There a difference is no mistake.

    Returns:
        Whether this was so.

    Raises:
        AssertionError: They differ.
    """
    case = trial.case()
    wanted = interpreted(case, trial.lengths, trial.reverse)
    with trial.conditions():
        all_found = list(compiled(trial, case))
    noise: dict[str, float] = {}
    for name, array in (item for found in all_found for item in found.items()):
        assert array.shape == wanted[name].shape, f"{name}: shape {array.shape}"
        tolerance = TOLERANCE[trial.dtype] * (10 if name.startswith("gradient") else 1)
        tolerance *= max(1.0, float(np.abs(wanted[name]).max(initial=0)))
        errors = np.abs(array - wanted[name])
        if (errors <= tolerance).all():
            continue
        noise = noise or rounding(trial, case)
        if not (errors <= tolerance + NOISE * noise[name]).all():
            raise AssertionError(
                f"{name} is up to {errors.max():.3g} away; rounding explains {noise[name]:.3g}\n"
                f"{array}\ninstead of\n{wanted[name]}"
            )
    return bool(noise)


def search(
    number: int,
    examples: int,
    optimised: list[bool],
    check: Callable[[Trial], bool] = check,
    tell: Callable[[Trial, bool], None] = lambda trial, close: None,
) -> str:
    """Check random cells until one fails, and shrink that one.

    Args:
        number: What they are drawn with.
        examples: How many.
        optimised: How to compile, by turns.
        check: Checks a trial.
        tell: Is told of every trial that was right, and what `check` has returned.

    Returns:
        The smallest trial that fails, as Python; empty if none does.
    """
    last: list[Trial] = []

    def one(trial: Trial) -> None:
        last[:] = [trial]
        tell(trial, check(trial))

    chosen = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    try:
        seed(number)(chosen(given(trials(optimised))(one)))()
    except Exception as error:  # hypothesis runs the smallest one last
        return f"{last[0]!r}\n" + "".join(f"# {line}\n" for line in str(error).splitlines())
    return ""


# many of them


SIMPLE = """
@cell
def drawn(x, h, *, W, U):
    return tanh(W @ x + U @ h)
"""


def isolated(trial: Trial) -> bool:
    """As `check`, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def work() -> None:
        try:
            send.send((check(trial), ""))
        except AssertionError as error:
            send.send((False, str(error)))
        except Exception:
            send.send((False, traceback.format_exc()))

    process = context.Process(target=work)
    process.start()
    send.close()
    close, message = False, ""
    try:
        # second by second: what stops this process too is not counted
        if any(receive.poll(1) for _ in range(LIMIT)):
            close, message = receive.recv()
        else:
            process.kill()
            message = f"it has not ended after {LIMIT} s"
    except EOFError:
        process.join()
        message = f"its process has ended with {process.exitcode}"
    process.join()
    if message:
        raise AssertionError(message)
    return close


def part(number: int) -> None:
    """Check the cells of one part, and print a line for each."""
    seen: set[str] = set()
    failed: list[Trial] = []
    ready: set[Trial] = set()

    def once(trial: Trial) -> bool:
        if trial.source in seen and not failed:
            return False
        how = {name: getattr(trial, name) for name in ("target", "dtype", "optimised")}
        simple = Trial(SIMPLE, **how)
        if simple not in ready:  # what every cell needs is compiled once, not in each process
            check(simple)
            ready.add(simple)
        try:
            return isolated(trial)
        except AssertionError:
            failed.append(trial)
            raise

    def tell(trial: Trial, close: bool) -> None:
        if trial.source not in seen:
            seen.add(trial.source)
            cell = blake2b(trial.source.encode(), digest_size=10).hexdigest()
            print(json.dumps((cell, close, trial.optimised)), flush=True)

    failure = search(number, PART, [True, False, False, False], once, tell)
    print(json.dumps(failure), flush=True)


class Campaign:
    """Parts in several processes, until enough different cells have been checked.

    Args:
        wanted: The number of cells.
        first: The number of the first part.
        console: Where failures and progress are shown.
    """

    def __init__(self, wanted: int, first: int, console: Console) -> None:
        self.wanted, self.console = wanted, console
        self.numbers = count(first)
        self.cells: set[str] = set()
        self.trials = self.optimised = self.close = self.failures = 0
        self.unfinished: set[int] = set()
        self.running: set[subprocess.Popen[str]] = set()
        self.over = False
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("cells"), TimeElapsedColumn()
        self.progress = Progress(*columns, console=console)
        self.task = self.progress.add_task("", total=wanted)

    def run(self, processes: int) -> int:
        """Run; the exit code."""
        threads = [threading.Thread(target=self._work) for _ in range(processes)]
        try:
            with self.progress:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        except KeyboardInterrupt:
            self._stop()
            first = min(self.unfinished, default=0)
            self.console.print(f"interrupted; to go on: make fuzz N={self.wanted} FIRST={first}")
            return 130
        finally:
            self.console.print(
                f"{len(self.cells)} different cells in {self.trials} trials, "
                f"{self.optimised} of them optimised; {self.failures} failures; "
                f"{self.close} trials decided by rounding alone"
            )
        return 1 if self.failures else 0

    def _stop(self) -> None:
        self.over = True
        for process in list(self.running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _work(self) -> None:
        while not self.over:
            number = next(self.numbers)
            self.unfinished.add(number)
            if self._part(number):
                self.unfinished.remove(number)

    def _part(self, number: int) -> bool:
        """Run one part; whether it came to its end."""
        process = subprocess.Popen(
            [sys.executable, __file__, "--part", str(number)],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self.running.add(process)
        failure = None
        for line in process.stdout or ():
            if line[0] not in '["':  # hypothesis says something of its own
                continue
            found = json.loads(line)
            if isinstance(found, str):
                failure = found
            elif not self.over:
                self._count(*found)
        code = process.wait()
        self.running.remove(process)
        if self.over:
            return False
        if failure is None:
            failure = f"its process has ended with {code}"
        if failure:
            self.failures += 1
            self.console.print(f"# part {number}\n{failure}", markup=False)
        return True

    def _count(self, cell: str, close: bool, optimised: bool) -> None:
        self.cells.add(cell)
        self.trials += 1
        self.close += close
        self.optimised += optimised
        self.progress.update(self.task, completed=len(self.cells))
        if len(self.cells) >= self.wanted:
            self._stop()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="check random cells, compiled")
    parser.add_argument("cells", type=int, nargs="?", default=1000, help="how many different ones")
    parser.add_argument("--first", type=int, default=0, help="the number of the first part")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time")
    parser.add_argument("--part", type=int, help="check this part only, a line for each cell")
    given = parser.parse_args()
    os.environ["ANYRNN_CACHE"] = "off"
    if given.part is not None:
        part(given.part)
        return 0
    return Campaign(given.cells, given.first, Console()).run(given.processes)


if __name__ == "__main__":
    sys.exit(main())
