"""Run a cell as compiled code on NumPy arrays, without any framework."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from anyrnn.cells.catalogue import get
from anyrnn.errors import InputError, SizeError
from anyrnn.graph.cell import Cell
from anyrnn.graph.sizes import as_whole
from anyrnn.kernels.arguments import as_array, checked_dtype, checked_threads, named_sizes
from anyrnn.kernels.int8 import check_weights, refusal
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.padded_run import PaddedRun
from anyrnn.kernels.prepared_cell import PreparedCell
from anyrnn.kernels.result import Result
from anyrnn.kernels.row_layout import check_padding, lay_out
from anyrnn.kernels.run import BFLOAT16, Array, Run
from anyrnn.kernels.step_rows import AllSteps, SomeSteps
from anyrnn.kernels.target import Target, default_target
from anyrnn.schedule.residuals import check_memory


@dataclass(eq=False, repr=False)
class Compiled:
    """A cell compiled for this machine; `anyrnn.compile` makes one.

    Attributes:
        cell: The cell.
        sizes: The named sizes.
        dtype: The type of all arrays.
        threads: The most threads that a run uses.
        target: What kind of machine the code is for.
        memory: `high` or `low`: whether a run saves what its derivative needs, or the states only.
        products: `bfloat16` if what matrix products multiply is rounded, `int8` in a prepared cell
            if it is quantised; None if neither.
    """

    cell: Cell
    sizes: dict[str, int]
    dtype: np.dtype[Any]
    threads: int
    target: Target
    memory: str
    products: str | None

    def __post_init__(self) -> None:
        sizes = tuple(self.sizes.items())
        self._run = Run(self.cell, sizes, memory=self.memory, operand=self.products)
        self._shapes = self.cell.stored_shapes(self.sizes)
        for name, shape in self._shapes.items():
            self._check_memory(f"the parameter {name}", shape)
        for name, shape in zip(self.cell.states, self._run.state_shapes(1), strict=True):
            self._check_memory(f"the state {name}", shape)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled: what it is compiled from. Another machine compiles it for itself."""
        best = default_target().variant(None).name
        options = {name: getattr(self, name) for name in ("dtype", "threads", "memory", "products")}
        target = None if self.target.name == best else self.target.name
        return partial(_again, target=target, **options), (self.cell, self.sizes)

    def __repr__(self) -> str:
        """The cell, the sizes and what the code is for."""
        sizes = ", ".join(f"{name}={size}" for name, size in self.sizes.items())
        return f"<compiled {self.cell.name}: {sizes}; {self.dtype}, {self.target.name}>"

    def _check_memory(self, what: str, shape: tuple[int, ...], there: bool = False) -> None:
        """Check that memory can be as large as an array; or that it is."""
        size, reason = prod(shape) * self.dtype.itemsize, "can be addressed"
        if size <= sys.maxsize:
            if not there:
                return
            try:
                np.empty(shape, self.dtype)
                return
            except MemoryError:
                reason = "there are"
        shown = " x ".join(map(str, shape))
        raise SizeError(
            f"cell '{self.cell.name}': {what} of {shown} numbers takes {size} bytes, more than "
            f"{reason}; use smaller sizes"
        )

    def _check(self, what: str, given: object, shape: Sequence[int]) -> Array:
        """An array of our type and a given shape; lists of numbers are made one."""
        array = as_array(what, given)
        if isinstance(given, list | tuple) and array.dtype.kind in "iuf":
            array = array.astype(self.dtype)
        if array.dtype != self.dtype:
            raise InputError(
                f"{what} is {array.dtype}, but the cell is compiled for {self.dtype}; convert it "
                f"with .astype(np.{self.dtype}), or compile with another dtype"
            )
        if array.shape != tuple(shape):
            raise InputError(f"{what} has shape {array.shape}; expected {tuple(shape)}")
        return np.require(array, requirements=["C", "ALIGNED"])

    def _states(self, what: str, given: Iterable[Array], batch: int) -> list[Array]:
        names = self.cell.states
        if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
            raise InputError(
                f"{what}: a {type(given).__name__} was given; expected a list of arrays, for "
                f"{', '.join(names)}"
            )
        given = list(given)
        if len(given) != len(names):
            raise InputError(
                f"cell '{self.cell.name}' has the states {', '.join(names)}; "
                f"{len(given)} were given"
            )
        return [
            self._check(f"{what} {name}", state, shape)
            for name, state, shape in zip(names, given, self._run.state_shapes(batch), strict=True)
        ]

    def forward(
        self,
        x: Array,
        states: Sequence[Array] | None = None,
        *,
        parameters: Mapping[str, Array],
        save: bool = False,
        seed: int | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        padding: str = "zero",
    ) -> Result:
        """Run over a batch of sequences.

        Args:
            x: The input, (time, batch, input).
            states: The initial states, each (batch, size); zeros if not given.
            parameters: The stored parameters by name, as `cell.parameters` lists them.
            save: Whether to save what `Result.backward` needs.
            seed: What the random numbers of a cell that draws some follow from.
            lengths: The number of steps of each sequence, in any order; 0 is one too.
            mask: Whether each step counts, booleans (time, batch). Over a step that does not count
                the states are carried. Besides lengths, both have to hold.
            resets: Whether the states are put back to the initial ones before each step, booleans
                (time, batch); the gradient does not go past it.
            padding: What the output is at steps that do not count: `zero`, or `carry` for the last
                one before them.

        Returns:
            The output and the last states.

        Raises:
            InputError: A shape or a type does not fit, a parameter is missing or unknown, or a
                length is out of range.
            SizeError: The result is larger than memory can be.
        """
        arrays = self._parameters(parameters)
        marks = lengths, mask, resets, padding
        return self._forward(x, states, arrays, save, seed, *marks)

    def _forward(
        self,
        x: Array,
        states: Sequence[Array] | None,
        parameters: Mapping[str, Array],
        save: bool = False,
        seed: int | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        padding: str = "zero",
        packed: PackedWeights | None = None,
    ) -> Result:
        """As `forward`, with parameters that are checked."""
        rows = as_array("the input", x)
        if rows.ndim != 3:
            raise InputError(
                f"the input has shape {rows.shape}; expected (time, batch, {self.sizes['input']})"
            )
        time, batch, _ = rows.shape
        self._check_memory("the output", self._run.output_shape(time, batch), there=True)
        x = self._check("the input", x, (time, batch, self.sizes["input"]))
        if states is None:
            states = [np.zeros(shape, self.dtype) for shape in self._run.state_shapes(batch)]
        states = self._states("the state", states, batch)
        steps = _steps(time, batch, lengths, mask, resets, check_padding(padding))
        words = self._seed(seed) if any(steps.batch_sizes) else None
        given = x, states, parameters, words, packed
        made = PaddedRun(self.target, self._run, self.threads, steps, *given)
        rows, last, residuals = made.forward(save)
        saved = (self, made, residuals) if save else None
        return Result(steps.outputs(rows), tuple(last), saved)

    def prepare(self, parameters: Mapping[str, Array], weights: str | None = None) -> PreparedCell:
        """The cell with a copy of weights, which are packed once: for inference call after call,
        and for streams. Weights that change later are not noticed; prepare it again.

        Args:
            parameters: The stored parameters by name, as `cell.parameters` lists them.
            weights: `int8` to quantise matrices, and what they multiply, to int8: faster, and less
                exact. None for products as the cell is compiled for.

        Returns:
            It.

        Raises:
            InputError: A shape or a type does not fit, a parameter is missing or unknown; or
                weights cannot be int8.

        Example:
            >>> import numpy as np
            >>> import anyrnn
            >>> rnn = anyrnn.compile("rnn", {"input": 2, "hidden": 2}, dtype=float)
            >>> weights = {"W": np.eye(2), "U": np.eye(2), "b": np.zeros(2)}
            >>> prepared = rnn.prepare(weights)
            >>> prepared.forward(np.ones((3, 1, 2))).output[-1].round(3)
            array([[0.96, 0.96]])
        """
        compiled, checked = self, self._parameters(parameters)
        if check_weights(weights) is not None:
            refused = refusal(self.cell, self.sizes, self.dtype)
            if self.products is not None:
                refused = f"the cell is compiled for products in {self.products}"
            if refused is not None:
                raise InputError(f"weights='{weights}' cannot be: {refused}")
            compiled = replace(self, products=weights)
        return PreparedCell(compiled, checked)

    def _seed(self, given: int | None) -> Array | None:
        """A seed as kernels read it, if the cell draws random numbers."""
        if not self.cell.draws:
            return None
        if given is None:
            raise InputError(
                f"cell '{self.cell.name}' draws random numbers; give a seed, forward(seed=1)"
            )
        number = as_whole(given)
        if number is None:
            raise InputError(f"seed={given!r}; expected a whole number")
        if not 0 <= number < 1 << 64:
            raise InputError(f"seed={number}; expected a number from 0 to 2**64 - 1")
        return np.array([number], np.uint64).view(np.int64)

    def _parameters(self, given: Mapping[str, Array]) -> dict[str, Array]:
        if not isinstance(given, Mapping):
            raise InputError(
                f"parameters: a {type(given).__name__} was given; expected arrays by name, for "
                f"{', '.join(self._shapes) or 'none'}"
            )
        missing = [name for name in self._shapes if name not in given]
        if missing:
            names = ", ".join(map(str, given)) or "none"
            raise InputError(
                f"cell '{self.cell.name}' needs the parameter '{missing[0]}'; given: {names}"
            )
        unknown = [name for name in given if name not in self._shapes]
        if unknown:
            raise InputError(
                f"cell '{self.cell.name}' has no parameter '{unknown[0]}'; it has: "
                f"{', '.join(self._shapes) or 'none'}"
            )
        return {
            name: self._check(f"the parameter {name}", given[name], shape)
            for name, shape in self._shapes.items()
        }


def _steps(
    time: int, batch: int, lengths: object, mask: object, resets: object, carry: bool
) -> AllSteps:
    """Which steps of a run count, and where states are put back."""
    given = {"lengths": lengths, "mask": mask, "resets": resets} if time else {}
    marks = {name: as_array(name, array) for name, array in given.items() if array is not None}
    layout = lay_out(("time", "batch"), (time, batch), **marks) if marks else None
    return AllSteps(time, batch) if layout is None else SomeSteps(layout, carry)


def _again(*given: Any, products: str | None, **options: Any) -> Compiled:
    """What was compiled elsewhere, compiled here."""
    return replace(compile(*given, **options), products=products)


def compile(
    cell: str | Cell,
    sizes: Mapping[str, int],
    *,
    dtype: Any = np.float32,
    threads: int | None = None,
    target: str | None = None,
    memory: str = "high",
    products: str | None = None,
) -> Compiled:
    """Compile a cell for this machine, to run it on NumPy arrays without any framework.

    Code is compiled when it first runs, and is kept on disk for the next process.

    Args:
        cell: A cell, or the name of one in the catalogue.
        sizes: The sizes by name: `{"input": 3, "hidden": 5}`.
        dtype: float32 or float64: the type of all arrays.
        threads: The most threads that a run uses, never more than there are cores; if not given,
            as many as those, or as the environment variable OMP_NUM_THREADS says.
        target: A kind of CPU to restrict the code to (`avx512`, `avx2`, `sse2`, `neon`); the best
            one that this machine has if not given.
        memory: `low` to save the states only; going backward computes the rest again.
        products: `bfloat16` to round what matrix products multiply, in a run and in going backward;
            they are summed in float32. Faster where the CPU has instructions for it.

    Returns:
        The compiled cell.

    Raises:
        UnknownCellError: No cell of that name.
        SizeError: A size is missing, not positive, contradicts the equations, or is too large.
        InputError: Another type, or no number of threads; memory is neither `high` nor `low`; sizes
            or target of another kind; products of another type, or not with float32.
        KernelError: This machine cannot run such code.

    Example:
        >>> import numpy as np
        >>> import anyrnn
        >>> rnn = anyrnn.compile("rnn", {"input": 2, "hidden": 2}, dtype=float)
        >>> weights = {"W": np.eye(2), "U": np.zeros((2, 2)), "b": np.zeros(2)}
        >>> result = rnn.forward(np.zeros((4, 1, 2)), parameters=weights, save=True)
        >>> result.output.shape
        (4, 1, 2)
        >>> result.backward(np.ones((4, 1, 2))).parameters["b"]
        array([4., 4.])
    """
    found = get(cell)
    numbers = found.bind_sizes(**named_sizes(sizes))
    kind = checked_dtype(dtype)
    threads = checked_threads(threads)
    if target is not None and not isinstance(target, str):
        raise InputError(f"target={target!r}; expected the name of a kind of CPU")
    if products not in (None, BFLOAT16):
        raise InputError(
            f"products={products!r}; expected '{BFLOAT16}', or None for the dtype's own"
        )
    if products and kind != np.float32:
        raise InputError(f"products in {products} need dtype=float32; {kind} was given")
    memory = check_memory(memory)
    variant = default_target().variant(target)
    return Compiled(found, numbers, kind, threads, variant, memory, products)
