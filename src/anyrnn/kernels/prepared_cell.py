"""A compiled cell with its weights, for inference call after call and for streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anyrnn.errors import InputError
from anyrnn.kernels import host
from anyrnn.kernels.arguments import as_array
from anyrnn.kernels.numpy_arrays import address
from anyrnn.kernels.packed_weights import PackedWeights
from anyrnn.kernels.run import Array

if TYPE_CHECKING:
    from anyrnn.kernels.compiled_cell import Compiled
    from anyrnn.kernels.result import Result

Results = tuple[Array, tuple[Array, ...]]  # an output, and the states after the step
SIZES = 64  # sizes of batches whose steps are kept


class _Place(NamedTuple):
    """Where a step for batches of one size reads and writes.

    Attributes:
        run: Runs it there.
        given: The input and the states before the step.
        made: The output and the states after it.
    """

    run: Callable[[], None]
    given: list[Array]
    made: list[Array]


class PreparedCell:
    """A cell with weights; `Compiled.prepare` makes one. It may run in several threads at once.

    Attributes:
        compiled: The compiled cell.
        parameters: Its own copy of the stored parameters by name, which cannot be written.
    """

    def __init__(self, compiled: Compiled, parameters: Mapping[str, Array]) -> None:
        self.compiled = compiled
        self.parameters = {name: _aligned(array) for name, array in parameters.items()}
        for array in self.parameters.values():
            array.flags.writeable = False
        self._packed = PackedWeights()
        self._idle: dict[int, list[_Place]] = {}  # by the size of batches

    def __reduce__(self) -> tuple[Any, ...]:
        """What is copied and pickled: the cell and its weights, no memory of kernels."""
        return PreparedCell, (self.compiled, self.parameters)

    def forward(
        self,
        x: Array,
        states: Sequence[Array] | None = None,
        *,
        save: bool = False,
        seed: int | None = None,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        padding: str = "zero",
    ) -> Result:
        """Run over a batch of sequences; arguments, results and errors as those of
        `Compiled.forward`, but for `parameters`; with weights in int8 there is no `save`.

        Example:
            >>> import numpy as np
            >>> import anyrnn
            >>> gru = anyrnn.compile("gru", {"input": 2, "hidden": 3})
            >>> shapes = {p.name: p.shape_for(gru.sizes) for p in gru.cell.parameters}
            >>> prepared = gru.prepare({name: np.ones(shapes[name], "f") for name in shapes})
            >>> prepared.forward(np.ones((4, 1, 2), "f")).output.shape
            (4, 1, 3)
        """
        marks = lengths, mask, resets, padding
        given = x, states, self.parameters, save, seed, *marks
        return self.compiled._forward(*given, packed=self._packed)

    def step(
        self, x: Array, states: Sequence[Array] | None = None, *, out: Results | None = None
    ) -> Results:
        """Run for one step of a stream.

        Args:
            x: The input, (batch, input).
            states: The states before the step, each (batch, size); zeros if not given.
            out: What an earlier step has returned: this one's results are written there; these
                may be the states before the step, too.

        Returns:
            The output, (batch, output size), and the states after the step, each (batch, size).

        Raises:
            InputError: A shape or a type does not fit, `out` cannot be written, or the cell draws
                random numbers.

        Example:
            >>> import numpy as np
            >>> import anyrnn
            >>> rnn = anyrnn.compile("rnn", {"input": 2, "hidden": 2}, dtype=float)
            >>> weights = {"W": np.eye(2), "U": np.eye(2), "b": np.zeros(2)}
            >>> prepared, states = rnn.prepare(weights), None
            >>> for x in np.ones((3, 1, 2)):
            ...     output, states = prepared.step(x, states)
            >>> output.round(3)
            array([[0.96, 0.96]])
        """
        idle = self._idle.get(len(x)) if type(x) is np.ndarray and x.ndim == 2 else None
        if idle and isinstance(states, tuple | list):
            try:
                place = idle.pop()
            except IndexError:  # another thread was faster
                return self._careful_step(x, states, out)
            try:
                if self._filled(place, (x, *states)):
                    place.run()
                    return _results(place.made, out)
            finally:
                idle.append(place)
        return self._careful_step(x, states, out)

    def _filled(self, place: _Place, given: Sequence[object]) -> bool:
        """Fill a place with arrays, if they are as they have to be."""
        if len(given) != len(place.given):
            return False
        dtype = self.compiled.dtype
        for own, array in zip(place.given, given, strict=True):
            if type(array) is not np.ndarray or array.shape != own.shape or array.dtype != dtype:
                return False
            own[...] = array
        return True

    def _careful_step(self, x: object, states: Any, out: Results | None) -> Results:
        """One step of whatever a caller gives, for which there may be no place yet."""
        compiled = self.compiled
        rows, size = as_array("the input", x), compiled.sizes["input"]
        if rows.ndim != 2:
            raise InputError(f"the input has shape {rows.shape}; expected (batch, {size})")
        batch = len(rows)
        x = compiled._check("the input", x, (batch, size))
        if states is None:
            shapes = compiled._run.state_shapes(batch)
            states = [np.zeros(shape, compiled.dtype) for shape in shapes]
        given = x, *compiled._states("the state", states, batch)
        place = self._taken(batch)
        if place is None:
            result = self.forward(x[None], given[1:])
            return _results([result.output[0], *result.states], out)
        try:
            for own, array in zip(place.given, given, strict=True):
                own[...] = array
            place.run()
            return _results(place.made, out)
        finally:
            if batch not in self._idle and len(self._idle) >= SIZES:
                self._idle.clear()
            self._idle.setdefault(batch, []).append(place)

    def _taken(self, batch: int) -> _Place | None:
        """A place for batches of a size that no other thread uses; None if there can be none."""
        with suppress(LookupError):
            return self._idle[batch].pop()
        return self._place(batch)

    def _place(self, batch: int) -> _Place | None:
        """A new place for batches of a size; None if the target has no single step of the cell."""
        compiled = self.compiled
        if not batch or compiled.cell.draws or compiled.products is not None:
            return None
        run = compiled._run.over((batch,), compiled.dtype, compiled.threads)
        step = compiled.target.step(run)
        if step is None:
            return None
        shapes = run.state_shapes(batch)
        given, made = (
            [first, *shapes]
            for first in ((batch, compiled.sizes["input"]), run.output_shape(batch))
        )
        arrays = [[host.empty(shape, compiled.dtype) for shape in part] for part in (given, made)]
        weights = self.parameters.values()
        return _Place(step.bind([*map(address, (*arrays[0], *weights, *arrays[1]))]), *arrays)


def _aligned(array: Array) -> Array:
    """A copy that begins with a cache line, of which a kernel reads whole ones."""
    copy = host.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _results(made: Sequence[Array], out: Any) -> Results:
    """Copies of results, or those that a caller gives.

    Raises:
        InputError: These have not the form of the results.
    """
    if out is None:
        output, *states = [array.copy() for array in made]
        return output, tuple(states)
    if not (
        isinstance(out, tuple | list)
        and len(out) == 2
        and isinstance(out[1], tuple | list)
        and len(out[1]) == len(made) - 1
    ):
        raise InputError(
            f"out is a {type(out).__name__}; expected what step() returns: (output, states)"
        )
    found: Any = out
    into = found[0], *found[1]
    for array, place in zip(made, into, strict=True):
        if (
            type(place) is not np.ndarray
            or place.shape != array.shape
            or place.dtype != array.dtype
            or not place.flags.writeable
        ):
            raise InputError(f"out has {_described(place)}; expected {_described(array)}")
    for array, place in zip(made, into, strict=True):
        place[...] = array
    return found


def _described(given: object) -> str:
    if not isinstance(given, np.ndarray):
        return f"a {type(given).__name__}"
    kind = "an array" if given.flags.writeable else "a read-only array"
    return f"{kind} of {given.dtype} with shape {given.shape}"
