"""Compiled loops against the interpreter: every cell, every kind of CPU that this one can play."""

from __future__ import annotations

import numpy as np
import pytest

import anyrnn
from anyrnn.errors import KernelError
from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Graph, constant, make
from anyrnn.graph.operations import Type
from anyrnn.graph.parameters import split_parameters
from anyrnn.graph.sizes import Size
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.emit.elementwise import COMPUTE
from anyrnn.kernels.cpu.emit.lower import unsupported
from anyrnn.kernels.cpu.emit.tiles import tile
from anyrnn.kernels.cpu.machine.processor import host
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_kernel import Loop
from anyrnn.kernels.cpu.program.step_rows import SegmentSteps
from anyrnn.kernels.cpu.program.varying import RecordedSteps
from anyrnn.kernels.cpu.target import CPU
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.run import Steps
from anyrnn.schedule.build import schedule
from anyrnn.schedule.forms import Schedule, Stage
from benchmarks.cases import fast_slow
from checks import TARGETS, spread

SIZES = [(3, 2, 3, 5), (2, 13, 2, 37), (4, 1, 5, 18), (1, 3, 1, 1)]  # time, batch, input, hidden


def case(cell, dtype, time, batch, input_size, hidden, seed=0):
    """Random numbers for a cell: sizes, parameters, input, states."""
    random = np.random.default_rng(seed)
    chosen = {"input": input_size, "hidden": hidden, "projection": max(1, hidden // 2), "output": 4}
    sizes = cell.bind_sizes(**{name: chosen[name] for name in cell.free_sizes})
    parameters = {
        stored.name: (random.normal(size=stored.shape_for(sizes)) / hidden**0.5).astype(dtype)
        for stored in cell.parameters
    }
    x = random.normal(size=(time, batch, input_size)).astype(dtype)
    states = [
        random.normal(size=(batch, size.evaluate(sizes))).astype(dtype) for size in cell.state_sizes
    ]
    return sizes, parameters, x, states


def run_loop(cell, target, dtype, sizes, parameters, x, states, threads=2):
    """The outputs and last states of a compiled loop; what it writes to starts as NaN."""
    planned = schedule(cell.graph, cell.states, [cell.output])
    computing = arithmetic(host(target), dtype)
    loop = Loop(planned, computing)
    time, batch = x.shape[:2]
    leaves = split_parameters(cell, parameters, sizes)
    leaves[cell.input] = x.reshape(time * batch, -1)
    roots = [
        n for n in (*planned.once, *planned.before, *planned.loop_inputs) if n.operation != "state"
    ]
    values = evaluate(roots, leaves, sizes, np.dtype(dtype))
    recorded = RecordedSteps(Steps((batch,) * time), 1)
    commands, given = CommandBuffer(computing, threads, recorded), []

    def give(array):
        given.append(np.array(array, dtype, order="C"))
        return commands.give(given[-1].shape)

    places = {node: give(array) for node, array in values.items() if np.ndim(array)}
    places |= {
        node: commands.constant(array) for node, array in values.items() if not np.ndim(array)
    }
    pairs = {
        name: (give(state), give(np.full_like(state, np.nan)))
        for name, state in zip(cell.states, states, strict=True)
    }
    for node in planned.emitted:
        size = node.type.shape[0].evaluate(sizes)
        places[node] = give(np.full((time * batch, size), np.nan))
    loop.prepare(commands, places, sizes, batch).run(
        SegmentSteps(recorded.segments[0], time), places, pairs, False
    )
    arrays = dict(zip(commands.given, commands.finish().run(NUMPY_ARRAYS, given), strict=True))
    return [arrays[places[node]] for node in planned.emitted], [
        arrays[pairs[name][time % 2]] for name in cell.states
    ]


def test_what_a_loop_cannot_compute_is_refused(monkeypatch) -> None:
    """A row of the table of operations without a line in the CPU's table."""

    @anyrnn.cell
    def own(x, h, *, W, U):
        return anyrnn.tanh(W @ x + U @ h)

    with monkeypatch.context() as changed:
        changed.delitem(COMPUTE, "tanh")
        assert "tanh" in (CPU().refusal(own, "float32") or "")
    size = Size.of("hidden")
    x = make("input", name="x", type=Type((size,), per_row=True))
    node = make("clip_gradient", x, constant(1))
    stages, nodes = (Stage(0, size, (), (node,)),), (node,)
    planned = Schedule(
        Graph({"y": node}), (), ("y",), (), (), (x,), nodes, nodes, (), stages, joins={}
    )
    assert "clip_gradient" in (unsupported(planned) or "")
    with pytest.raises(KernelError, match="clip_gradient"):
        Loop(planned, arithmetic(host(), np.float32))


@pytest.mark.parametrize(("name", "dtype", "target"), spread(anyrnn.CATALOGUE))
def test_loop_is_the_interpreter(name, dtype, target) -> None:
    cell = anyrnn.get(name)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for time, batch, input_size, hidden in SIZES:
        sizes, parameters, x, states = case(cell, dtype, time, batch, input_size, hidden)
        emitted, last = run_loop(cell, target, dtype, sizes, parameters, x, states)
        expected = anyrnn.interpret(cell, x, states, parameters=parameters)
        for ours, theirs in zip(last, expected.states, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)
        assert all(np.isfinite(array).all() for array in emitted)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["gru", "fast_slow"])
def test_every_number_of_rows_of_a_tile(name, target) -> None:
    """Products of one tile with fewer sums a row are computed for more rows at a time."""
    cell = {"fast_slow": fast_slow, "gru": anyrnn.get("gru")}[name]
    for batch in range(1, 14):
        sizes, parameters, x, states = case(cell, np.float64, 2, batch, 3, 19, seed=batch)
        _, last = run_loop(cell, target, np.float64, sizes, parameters, x, states, threads=1)
        expected = anyrnn.interpret(cell, x, states, parameters=parameters)
        for ours, theirs in zip(last, expected.states, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", anyrnn.CATALOGUE)
def test_the_sums_of_a_tile_are_in_registers(name, target) -> None:
    cell = anyrnn.get(name)
    computing = arithmetic(host(target), np.float32)
    for stage in schedule(cell.graph, cell.states, [cell.output]).stages:
        cut = tile(stage, computing)
        for group in cut.groups:
            sums = len(group.accumulators) * cut.blocks * group.rows
            assert sums + 2 <= host(target).registers  # with a weight and a number
            assert group.rows <= cut.rows


@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "article1_rnn"])
def test_threads_and_neighbours_change_no_bit(name) -> None:
    cell = anyrnn.get(name)
    sizes, parameters, x, states = case(cell, np.float32, 5, 7, 3, 33)
    _, alone = run_loop(cell, None, np.float32, sizes, parameters, x, states, threads=1)
    _, team = run_loop(cell, None, np.float32, sizes, parameters, x, states, threads=2)
    few = [state[2:4] for state in states]
    _, part = run_loop(cell, None, np.float32, sizes, parameters, x[:, 2:4], few, threads=2)
    one = [state[2:3] for state in states]
    _, single = run_loop(cell, None, np.float32, sizes, parameters, x[:, 2:3], one, threads=2)
    for whole, other, two, row in zip(alone, team, part, single, strict=True):
        np.testing.assert_array_equal(whole, other)
        np.testing.assert_array_equal(whole[2:4], two)
        np.testing.assert_array_equal(whole[2:3], row)


def test_unknown_target() -> None:
    with pytest.raises(KernelError, match="cannot run abacus; usable: "):
        host("abacus")
