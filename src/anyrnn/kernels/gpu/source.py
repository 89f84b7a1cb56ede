"""Writes the kernels of a loop as source text in Triton's language, in the form that fits it: a
scan over time; a kernel that loops over time, with a barrier after each stage; or kernels of one
stage of one step each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from anyrnn.graph.keys import Name
from anyrnn.kernels.evaluation import evaluations, uncomputed
from anyrnn.kernels.gpu.elementwise import COMPUTE
from anyrnn.kernels.gpu.form import SUMS, Form, Loop, Tile
from anyrnn.kernels.gpu.layout import Layout
from anyrnn.kernels.gpu.scan_writer import ScanWriter, scan_evaluation
from anyrnn.kernels.gpu.stage_writer import StageWriter
from anyrnn.kernels.gpu.tile_writer import Lines
from anyrnn.schedule.forms import Schedule, Stage


@lru_cache(maxsize=256)
def unsupported(schedule: Schedule) -> str | None:
    """Why a schedule's loop cannot be written, or None if it can."""
    sums = max((len(stage.accumulators) for stage in schedule.stages), default=0)
    if sums > SUMS:
        return (
            f"a step adds up {sums} sums of matrix products at a time, and the registers of a GPU "
            f"hold {SUMS}"
        )
    return uncomputed(evaluations(schedule, packed=True), COMPUTE, "GPU")


@dataclass(frozen=True)
class Kernel:
    """A kernel of a loop.

    Attributes:
        name: The function.
        tiles: The number of tiles of units that a launch is over.
        cuts: How its stages over units are cut, in order.
    """

    name: str
    tiles: int = 1
    cuts: tuple[Tile, ...] = ()


@dataclass(frozen=True)
class LoopSource:
    """The source of a loop.

    Attributes:
        text: The text of the kernels.
        kernels: Each kernel, in the order in which they are launched.
        layout: The arrays that each of them takes.
        draws: Whether they take a seed.
        form: The form.
    """

    text: str
    kernels: tuple[Kernel, ...]
    layout: Layout
    draws: bool
    form: Form


class _Writer:
    def __init__(
        self,
        name: str,
        schedule: Schedule,
        sizes: Mapping[str, int],
        histories: frozenset[Name],
        form: Form,
    ) -> None:
        self.name, self.schedule, self.form, self.out = name, schedule, form, Lines()
        self.planned = evaluations(schedule, packed=True)
        if form.loop is Loop.SCAN:
            self.planned = [scan_evaluation(schedule)]
        self.layout = Layout(schedule, self.planned, histories, sizes)

    def write(self) -> LoopSource:
        write = {Loop.SCAN: self._scan, Loop.STEPS: self._steps}
        kernels = tuple(write.get(self.form.loop, self._over_time)())
        text = "\n".join(self.out.lines).strip() + "\n"
        return LoopSource(text, kernels, self.layout, self.schedule.graph.draws, self.form)

    def _scan(self) -> Iterator[Kernel]:
        writer = ScanWriter(self.out, self.layout, self.form)
        with self._kernel(self.name):
            writer.write()
        yield Kernel(self.name, -(-writer.size // writer.cut.units), (writer.cut,))

    def _over_time(self) -> Iterator[Kernel]:
        writer = StageWriter(self.out, self.layout, self.form)
        with self._kernel(self.name):
            writer.rows_of_tile()
            if self.form.loop is Loop.RESIDENT:
                writer.leave_if("longest == 0")
                writer.keep(self.schedule.stages)
            step = "longest - 1 - index" if self.form.reverse else "index"
            with self.out.block("for index in range(longest):"):
                self.out.add(f"step = {step}")
                writer.rows_of_step()
                stages = zip(self.schedule.stages, self.planned, strict=True)
                for number, each in enumerate(stages, 1):
                    writer.stage(number, *each)
                    self.out.add("tl.debug_barrier()")
        cuts = tuple(writer.cut(each) for each in self.schedule.stages if isinstance(each, Stage))
        yield Kernel(self.name, cuts=cuts)

    def _steps(self) -> Iterator[Kernel]:
        writer = StageWriter(self.out, self.layout, self.form)
        stages = zip(self.schedule.stages, self.planned, strict=True)
        for number, (stage, planned) in enumerate(stages, 1):
            name = f"{self.name}_stage_{number}"
            with self._kernel(name, "step"):
                writer.rows_of_tile()
                writer.leave_if("step >= longest")
                writer.rows_of_step()
                writer.stage(number, stage, planned)
            if isinstance(stage, Stage):
                cut = writer.cut(stage)
                yield Kernel(name, -(-writer.size(stage) // cut.units), (cut,))
            else:
                yield Kernel(name)

    @contextmanager
    def _kernel(self, name: str, *clock: str) -> Iterator[None]:
        seed = ["seed"] if self.schedule.graph.draws else []
        same = [*clock, "batch", "rows"]
        arrays = [array.text for array in self.layout.arguments]
        self.out.add("", "", f"@triton.jit(do_not_specialize={same!r})".replace("'", '"'))
        with self.out.block(f"def {name}("):
            for each in (*same, "offsets", "lengths", *seed, *arrays):
                self.out.add(f"{each},")
        with self.out.block("):"):
            yield


@lru_cache(maxsize=512)
def loop_source(
    name: str,
    schedule: Schedule,
    sizes: tuple[tuple[str, int], ...],
    histories: frozenset[Name],
    form: Form,
) -> LoopSource:
    """The source of a loop.

    Args:
        name: What its kernels are called.
        schedule: The schedule of the loop.
        sizes: The named sizes.
        histories: The states of which the value after each step is kept.
        form: The form.
    """
    return _Writer(name, schedule, dict(sizes), histories, form).write()
