"""A single step, entered with addresses only: for streams, where every microsecond counts.

What a call needs besides addresses is computed once, for a cell and sizes; weights are read as they
are, so that nothing has to be remembered between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from anyrnn.graph.interpret import evaluate
from anyrnn.graph.nodes import Node
from anyrnn.kernels.cpu import policy
from anyrnn.kernels.cpu.emit.arithmetic import arithmetic
from anyrnn.kernels.cpu.machine.job_entry import Enter
from anyrnn.kernels.cpu.machine.processor import Processor
from anyrnn.kernels.cpu.program.buffer_view import BufferView
from anyrnn.kernels.cpu.program.commands import CommandBuffer
from anyrnn.kernels.cpu.program.loop_kernel import compiled_loop
from anyrnn.kernels.cpu.program.prepared_commands import new_block
from anyrnn.kernels.cpu.program.step_rows import OneStep
from anyrnn.kernels.numpy_arrays import NUMPY_ARRAYS
from anyrnn.kernels.run import Run
from anyrnn.schedule.forms import FUSED


class SingleStep:
    """One step of a cell with given sizes; it may be called by several threads at a time.

    Attributes:
        possible: Whether a step can be run like this; if not, a parameter has to be computed from
        others first, or random numbers are drawn.
        output_size: The size of the output.
        parameters: The stored parameters that a run is given.
    """

    def __init__(self, run: Run, processor: Processor, short: bool) -> None:
        cell = run.cell
        kind = arithmetic(processor, run.dtype, run.operand, False, short)
        self.loop = compiled_loop(policy.inference(cell, FUSED), kind)
        self.cell, self.sizes, self.short = cell, dict(run.sizes), short
        self.batch = run.steps.batch
        self.idle: list[Enter] = []
        commands = CommandBuffer(kind, policy.team_size(run))
        planned = self.loop.schedule
        output = planned.graph.outputs[cell.output]
        self.output_size = output.type.size.evaluate(self.sizes)
        record = self.loop.lowered.record
        parameters = [*record.parameters, *(matrix for matrix, _ in record.matrices)]
        self.parameters: list[BufferView] = []
        self.possible = (
            all(self._is_given(node) for node in parameters)
            and output in planned.emitted
            and not planned.after
            and not planned.graph.draws
        )
        if self.possible:
            self._write(commands, output, parameters)

    @staticmethod
    def _is_given(node: Node) -> bool:
        """Whether a value is a parameter, or a part of one, or a size."""
        return node.is_leaf or (node.operation == "slice" and node.arguments[0].is_leaf)

    def _write(self, commands: CommandBuffer, output: Node, parameters: Sequence[Node]) -> None:
        cell, batch = self.cell, self.batch
        x = commands.give((batch, self.sizes["input"]))
        before = [commands.give((batch, size.evaluate(self.sizes))) for size in cell.state_sizes]
        members: dict[str, BufferView] = {}
        for stored in cell.parameters:
            dtype = np.dtype(np.uint16) if self.short and stored.is_matrix else None
            name = ("parameter", stored.name)
            view = commands.give(stored.shape_for(self.sizes), dtype, name)
            members |= {name: view[rows] for name, rows in stored.rows(self.sizes).items()}
            self.parameters.append(view)

        def locate(node: Node) -> BufferView:
            if node.operation == "slice":
                return locate(node.arguments[0])[..., slice(*node.bounds(self.sizes).values())]
            if node.operation == "parameter":
                return members[node.name]
            return commands.constant(evaluate([node], {}, self.sizes, commands.dtype)[node])

        values = {node: locate(node) for node in parameters}
        values |= dict.fromkeys(self.loop.schedule.graph.leaves("input"), x)
        values[output] = commands.result((batch, self.output_size))
        pairs = [(state, commands.result(state.shape)) for state in before]
        prepared = self.loop.prepare(commands, values, self.sizes, batch)
        states = dict(zip(cell.states, pairs, strict=True))
        prepared.run(OneStep(batch), values, states, False)
        self.commands = commands.finish()
        (job,) = self.commands.steps
        assert isinstance(job, int), "nothing in a step is computed by a function of Python"
        self.job = job
        self.given = len(commands.given) + len(commands.results)

    def run(self, addresses: list[int]) -> None:
        """As `anyrnn.kernels.target.Step.run`."""
        idle = self.idle
        enter = idle.pop() if idle else self._entry(self.given)
        try:
            enter(addresses)
        finally:
            idle.append(enter)

    def bind(self, addresses: Sequence[int]) -> Callable[[], None]:
        """As `anyrnn.kernels.target.Step.bind`."""
        return partial(self._entry(0, addresses), [])

    def _entry(self, count: int, addresses: Sequence[int] | None = None) -> Enter:
        """What enters the step, in memory of its own, given so many addresses, or none."""
        commands = self.commands
        bindings = commands.memory(NUMPY_ARRAYS)
        blocks = new_block(commands.room), new_block(commands.weights)
        given = addresses or [0] * self.given
        commands.write(bindings, [*given, *(block.start for block in blocks)])
        return commands.caller(bindings, count, self.job, (commands, blocks))


single_step = lru_cache(maxsize=256)(SingleStep)
